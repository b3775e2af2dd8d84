"""What the CEL library has checked: the tree, the type of each part, and where it stands.

The library gives it as the bytes of a `cel.expr.CheckedExpr` (github.com/google/cel-spec,
proto/cel/expr/checked.proto and syntax.proto) within a `google.protobuf.Any`. Field numbers are theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

Fields = dict[int, list[int | bytes]]

_ANY_VALUE = 2
_REFERENCES, _TYPES, _SOURCE, _ROOT = 2, 3, 5, 4
_POSITIONS = 4
_PRIMITIVES: Final = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN: Final = {2: "timestamp", 3: "duration"}
_OTHERS: Final = {
    1: "dyn", 2: "null", 4: "a wrapper", 7: "map", 8: "function", 9: "a message", 10: "dyn", 11: "type",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    form: str
    """constant, name, call, list, loop, or other."""
    name: str
    """Of a variable in full, `event.received`; of a function, `_<=_`; of a text, the text."""
    type: str
    """In CEL's own words: `list(string)`."""
    at: int | None
    """The character at which it stands, from 0: of an operator, the operator itself."""
    parts: tuple[Node, ...]
    """Of a call its arguments, the target first; of a loop its range, start, condition, step and result."""

    def walk(self) -> Iterator[Node]:
        """It, and all that it is made of."""
        yield self
        for part in self.parts:
            yield from part.walk()


def read(serialized: bytes) -> Node:
    """The whole tree, of `cel.Expression.serialize()`."""
    checked = _message(_bytes(_message(serialized), _ANY_VALUE))
    references = ((part, _message(raw)) for part, raw in _objects(checked, _REFERENCES))
    # What names overloads (3) is a function.
    names = {part: _bytes(found, 1).decode() for part, found in references if 3 not in found}
    types = {part: _type(raw) for part, raw in _objects(checked, _TYPES)}
    positions = dict(_entries(_message(_bytes(checked, _SOURCE)), _POSITIONS))
    return _Reader(names, types, positions).node(_bytes(checked, _ROOT))


class _Reader:
    def __init__(
        self, names: Mapping[int, str], types: Mapping[int, str], positions: Mapping[int, int | bytes]
    ) -> None:
        self._names, self._types, self._positions = names, types, positions

    def node(self, raw: bytes) -> Node:
        fields = _message(raw)
        id_ = _int(fields, 2)
        form, name, parts = self._form(fields, self._names.get(id_, ""))
        at = self._positions.get(id_)
        return Node(form, name, self._types.get(id_, "?"), at if isinstance(at, int) else None, parts)

    def _form(self, fields: Fields, variable: str) -> tuple[str, str, tuple[Node, ...]]:
        if variable:
            return "name", variable, ()
        if 3 in fields:
            return "constant", _bytes(_message(_bytes(fields, 3)), 6).decode(), ()
        if 4 in fields:
            return "name", _bytes(_message(_bytes(fields, 4)), 1).decode(), ()
        if 6 in fields:
            call = _message(_bytes(fields, 6))
            return "call", _bytes(call, 2).decode(), self._nodes(call, 1, 3)
        if 7 in fields:
            return "list", "", self._nodes(_message(_bytes(fields, 7)), 1)
        if 9 in fields:
            return "loop", "", self._nodes(_message(_bytes(fields, 9)), 2, 4, 5, 6, 7)
        return "other", "", ()

    def _nodes(self, fields: Fields, *numbers: int) -> tuple[Node, ...]:
        return tuple(
            self.node(raw) for number in numbers for raw in fields.get(number, ()) if isinstance(raw, bytes)
        )


def _type(raw: bytes) -> str:
    fields = _message(raw)
    if 3 in fields:
        return _PRIMITIVES.get(_int(fields, 3), "?")
    if 5 in fields:
        return _WELL_KNOWN.get(_int(fields, 5), "any")
    if 6 in fields:
        return f"list({_type(_bytes(_message(_bytes(fields, 6)), 1))})"
    return next((words for number, words in _OTHERS.items() if number in fields), "dyn")


# --- the wire format of Protocol Buffers ----------------------------------------------------------


def _message(raw: bytes) -> Fields:
    fields: Fields = {}
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(raw, at)
        else:
            # 1: eight bytes, such as a double; 5: four; else so many as it says.
            size, at = (8, at) if key & 7 == 1 else (4, at) if key & 7 == 5 else _varint(raw, at)
            value, at = raw[at : at + size], at + size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _entries(fields: Fields, number: int) -> Iterator[tuple[int, int | bytes]]:
    """Of a map from integers; what is 0 is not written."""
    for raw in fields.get(number, ()):
        if isinstance(raw, bytes):
            entry = _message(raw)
            yield _int(entry, 1), entry.get(2, [0])[0]


def _objects(fields: Fields, number: int) -> Iterator[tuple[int, bytes]]:
    """Of a map from integers to messages."""
    return ((key, value) for key, value in _entries(fields, number) if isinstance(value, bytes))


def _bytes(fields: Fields, number: int) -> bytes:
    found = fields.get(number, [b""])[0]
    assert isinstance(found, bytes)
    return found


def _int(fields: Fields, number: int) -> int:
    found = fields.get(number, [0])[0]
    assert isinstance(found, int)
    return found
