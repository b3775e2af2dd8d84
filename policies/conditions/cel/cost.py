"""How many steps an expression takes at most, known before it is evaluated.

The library counts rounds of loops alone, and a round can be dear: it may search a list, or a long text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policies.conditions.cel.checked import Node

Bound = Mapping[str, object]
"""The values that an expression names."""

_WALKS: Final = frozenset({"@in", "_==_", "_!=_", "_+_"})
"""Functions that walk the lists they are given."""
_CHARS_PER_STEP: Final = 32


def steps(root: Node, bound: Bound) -> int:
    """As `dialect.COST_MAX` counts them."""
    return _Count(root, bound).steps(root)


class _Count:
    def __init__(self, root: Node, bound: Bound) -> None:
        self._bound = bound
        lists = (value for value in bound.values() if isinstance(value, list))
        self._longest_item = max((len(i) for items in lists for i in items if isinstance(i, str)), default=0)
        texts = [value for value in bound.values() if isinstance(value, str)]
        texts += [node.name for node in root.walk() if node.form == "constant"]
        self._longest = max(map(len, texts), default=0)

    def steps(self, node: Node) -> int:
        inner = [self.steps(part) for part in node.parts]
        if node.form != "loop":
            return 1 + sum(inner) + self._walked(node)
        over, start, condition, step, result = inner
        rounds = self._items(node.parts[0])
        # For each item that `filter` or `map` adds the library walks those that it has: with 10,000 it
        # would take seconds.
        grown = rounds * rounds if node.type.startswith("list") else 0
        return over + start + rounds * (condition + step) + grown + result

    def _walked(self, node: Node) -> int:
        if node.form != "call":
            return 0
        items = sum(map(self._items, node.parts)) if node.name in _WALKS else 0
        chars = [self._chars(part) for part in node.parts if part.type == "string"]
        if node.name == "contains":  # at worst it compares all of one at each character of the other
            return items + chars[0] * chars[1] // (_CHARS_PER_STEP * _CHARS_PER_STEP)
        return items + sum(chars) // _CHARS_PER_STEP

    def _items(self, node: Node) -> int:
        """Of a list at most; 0 of anything else."""
        if not node.type.startswith("list"):
            return 0
        if node.form == "name":
            found = self._bound.get(node.name)
            return len(found) if isinstance(found, list) else 0
        if node.form == "list":
            return len(node.parts)
        if node.form == "loop":
            return self._items(node.parts[0])
        return sum(map(self._items, node.parts))

    def _chars(self, node: Node) -> int:
        """Of a text at most."""
        if node.form == "constant":
            return len(node.name)
        if node.form == "name":
            found = self._bound.get(node.name)
            return len(found) if isinstance(found, str) else self._longest_item  # the item of a loop
        return max(self._longest, self._longest_item)
