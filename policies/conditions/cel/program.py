"""From the text of an expression to something that can be asked, or to the words that refuse it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.facts import Fact
from policies.conditions.cel import checked
from policies.conditions.cel.checked import Node
from policies.conditions.cel.cost import steps
from policies.conditions.cel.dialect import COST_MAX, DEPTH_MAX, FUNCTIONS, MACROS, config, spelled
from policies.conditions.cel.variables import HAS, Subject, Variable, presence, variables
from policies.conditions.parameters import nearest

if TYPE_CHECKING:
    from cel_expr_python import cel

LIBRARY: Final = "cel-expr-python"

_TOO_DEAR: Final = "the expression costs more than is allowed, whatever the event"

_SCALAR: Final = ("bool", "int", "string", "timestamp", "duration")
_TYPES: Final = frozenset((*_SCALAR, *(f"list({name})" for name in _SCALAR)))
_MIRRORED: Final = {
    "_<=_": "_>=_", "_<_": "_>_", "_>=_": "_<=_", "_>_": "_<_", "_==_": "_==_", "_!=_": "_!=_",
}  # fmt: skip

# A literal or a comment is passed over, so that what it holds is never taken for code.
_HAS: Final = re.compile(
    r"""[bB]?[rR](?:"[^"\n]*"|'[^'\n]*')|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|//[^\n]*"""
    r"""|\b(?P<has>has)\s*(?:\.|\((?:\s*(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)\s*\))?)""",
    re.ASCII,
)
_FAULT: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_NO_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")


class Refusal(NamedTuple):
    """Why an expression is none of the dialect."""

    words: str
    """Where it stands in the expression, and what would be known."""


@dataclass(frozen=True, slots=True)
class Program:
    """A checked expression, for some kinds of event. Threads may share it."""

    named: tuple[Variable, ...]
    """What it names: all that is bound."""
    facts: frozenset[type[Fact]]
    comparison: str | None
    """`_<=_` and the like, where it compares two integers and does nothing else: they are its value."""
    loops: Node | None
    """The whole of it, where it has a loop; what has none is as cheap as its text is short."""
    compiled: cel.Expression = field(compare=False, repr=False)

    def evaluate(self, subject: Subject) -> bool | tuple[int, int] | None:
        """What it comes to; of a comparison, both sides. None: an error, or it costs too much."""
        bound = {}
        for variable in self.named:
            if (value := variable.read(subject)) is not None:
                bound[variable.name] = value
        if self.loops is not None and steps(self.loops, bound) > COST_MAX:
            return None
        try:
            found = self.compiled.eval(data=bound).plain_value()
        except RuntimeError:  # the library's own budget: other errors are values of no type that is asked for
            return None
        if isinstance(found, list) and len(found) == 2:
            return found[0], found[1]
        return found if isinstance(found, bool) else None


def version() -> str | None:
    """Of the CEL library; None where it is not installed."""
    try:
        return metadata.version(LIBRARY)
    except metadata.PackageNotFoundError:
        return None


# --- reading --------------------------------------------------------------------------------------

# The library makes its compiler and its programs when they are first asked for, and not twice at once.
_lock = Lock()


def read(expression: str, kinds: tuple[str, ...]) -> Program | Refusal:
    """Type-check an expression for all of these kinds of event."""
    known = variables(tuple(sorted(kinds)))
    every = dict(known)
    written = _with_presence(expression, every)
    if isinstance(written, Refusal):
        return written
    with _lock:
        environment = _environment(tuple((v.name, v.typed) for v in every.values()))
        if environment is None:
            return Refusal(f"a custom condition needs {LIBRARY}, which is not installed here")
        try:
            whole = environment.compile(written)
        except RuntimeError as error:
            return Refusal(_reason(str(error), expression, known))
        tree = checked.read(whole.serialize())
        if (refusal := _refused(tree, expression)) is not None:
            return refusal
        comparison, sides = _sides(tree, written)
        compiled = whole
        if comparison is not None:
            try:
                compiled = environment.compile(sides)
            except RuntimeError:
                comparison = None  # the whole of it stands in brackets
        try:
            compiled.eval(data={})  # makes the program, so that no thread has to
        except RuntimeError:
            return Refusal(_TOO_DEAR)
    named = tuple(every[name] for name in sorted({node.name for node in tree.walk()} & every.keys()))
    return Program(
        named,
        frozenset(fact for fact in (variable.fact for variable in named) if fact is not None),
        comparison,
        tree if any(node.form == "loop" for node in tree.walk()) else None,
        compiled,
    )


@lru_cache(maxsize=32)
def _environment(names: tuple[tuple[str, str], ...]) -> cel.Env | None:
    try:
        from cel_expr_python import cel  # 14 MB, which only these documents need
    except ImportError:
        return None
    types: dict[str, Any] = {
        "bool": cel.Type.BOOL, "int": cel.Type.INT, "string": cel.Type.STRING,
        "timestamp": cel.Type.TIMESTAMP,
    }  # fmt: skip
    types.update({f"list({name})": cel.Type.List(type_) for name, type_ in types.items()})
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(config()), variables={name: types[type_] for name, type_ in names}
    )


def _with_presence(expression: str, known: dict[str, Variable]) -> str | Refusal:
    """`has(event.x)` as a name of its own, `has.event.x`, of the same length, so that columns stay.

    These names are added to those that are known.
    """
    pieces, end = [], 0
    for match in _HAS.finditer(expression):
        if match["has"] is None:
            continue
        if match["name"] is None:
            return Refusal(f"{_place(expression, match.start())}has must be written has(event.name)")
        name = re.sub(r"\s", "", match["name"])
        variable = presence(known, name)
        if variable is None:
            return Refusal(_place(expression, match.start("name")) + _unknown(name, known))
        known[variable.name] = variable
        pieces += [expression[end : match.start()], (HAS + name).ljust(match.end() - match.start())]
        end = match.end()
    return "".join((*pieces, expression[end:]))


def _refused(tree: Node, expression: str) -> Refusal | None:
    """What the library knows and the dialect does not: it is seen by its type."""
    strange = [node for node in tree.walk() if node.type not in _TYPES or node.form == "other"]
    if strange:
        first = min(strange, key=lambda node: node.at or 0)
        place = _place(expression, first.at)
        return Refusal(f"{place}is of type {first.type}; there are {', '.join(_SCALAR)}, and lists of one")
    if tree.type != "bool":
        return Refusal(f"the expression comes to {tree.type}, must come to true or false")
    return Refusal(_TOO_DEAR) if steps(tree, {}) > COST_MAX else None


def _sides(tree: Node, written: str) -> tuple[str | None, str]:
    """Of a comparison of two integers, which one it is, and both as a list: one evaluation then gives both.

    The limit comes last: `500 >= size(event.received)` is turned round.
    """
    if tree.form != "call" or tree.name not in _MIRRORED or tree.at is None:
        return None, ""
    if any(side.type != "int" for side in tree.parts):
        return None, ""
    sides = [written[: tree.at], written[tree.at + len(spelled(tree.name)) :]]
    varies = [any(node.form == "name" for node in side.walk()) for side in tree.parts]
    turned = varies == [False, True]
    # A side may end with a comment, which goes to the end of its line.
    listed = f"[{sides[turned]}\n,{sides[not turned]}\n]"
    return _MIRRORED[tree.name] if turned else tree.name, listed


# --- in words -------------------------------------------------------------------------------------


def _place(expression: str, at: int | None) -> str:
    if at is None:
        return "the expression "
    before = expression[:at]
    return _at(before.count("\n") + 1, at - before.rfind("\n"))


def _reason(message: str, expression: str, known: Mapping[str, Variable]) -> str:
    """The library's words as ours; of several faults, the first."""
    if "recursion" in message:
        return f"the expression is nested deeper than {DEPTH_MAX} levels"
    fault = _FAULT.search(message)
    if fault is None or int(fault[1]) < 1:
        return f"the expression cannot be read: {message.splitlines()[0][:200]}"
    line, column = int(fault[1]), int(fault[2])
    text = expression.split("\n")[line - 1]
    if (undeclared := _UNDECLARED.match(fault[3])) is not None:
        name = undeclared[1]
        if text[column - 1 : column] == "(":
            return _at(line, column) + _no_function(name)
        if text[: column - 1].endswith(before := name.rpartition(".")[0]):  # it is given at its last dot
            column -= len(before)
        return _at(line, column) + _unknown(name, known)
    if (overload := _NO_OVERLOAD.match(fault[3])) is not None:
        return f"{_at(line, column)}{spelled(overload[1])} does not take ({overload[2]})"
    words = fault[3].partition(" expecting {")[0]
    if "'<EOF>'" in words:
        words = "Syntax error: the expression ends too early"
    return f"{_at(line, column)}{words[:200]}"


def _at(line: int, column: int) -> str:
    return f"{f'line {line}, ' if line > 1 else ''}column {column} of the expression: "


def _unknown(name: str, known: Mapping[str, Variable]) -> str:
    return f"{name} is not known; {nearest(name, tuple(sorted(known)))}"


def _no_function(name: str) -> str:
    if name in FUNCTIONS:
        return f"{name} is not called so: of a time it takes nothing else, and no time zone"
    names = (*(function for function in FUNCTIONS if function.isalpha()), *MACROS, "has")
    return f"{name} is no function of the dialect; {nearest(name, names)}"
