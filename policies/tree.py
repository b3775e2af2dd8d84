"""Strict YAML 1.2, or the JSON within it: text to plain values, each with its line and column.

A value is an object, a list, text, a whole number, `true` or `false`. Nothing else is guessed: `NO`
is Norway, `2030-02-09` is text, and `0.25` must be put in quotes, because a float would lose what
the lawyer wrote. No anchors, aliases, tags, merge keys, directives, second document; no key twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from ledger.errors import Fault, MalformedInput

TEXT_CHARS_MAX: Final = 200_000
DEPTH_MAX: Final = 16
NODES_MAX: Final = 20_000
"""Values in the document: 200 conditions have fewer, and a scanner in Python takes its time."""

Path = tuple[str | int, ...]

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
# Whatever else YAML 1.2 reads as a number (core schema, §10.3.2), or a reader might.
_NUMBER = re.compile(
    r"[-+]?(?:[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)"
    r"|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
# What no committed document may hold (`ledger.canonical`), and what a terminal would obey.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class PolicyDocumentError(MalformedInput):
    """The text is not a policy document. Each fault gives line, column, and what would be known."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something begins in the text; lines and columns count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(slots=True)
class Tree:
    value: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def written(self, path: Path) -> Path:
        """`path`, or that of the nearest thing around it that is there."""
        while path not in self.values:
            path = path[:-1]
        return path

    def fault(self, path: Path, words: str, *, at_key: bool = False) -> Fault:
        """A fault at `path`, or at the nearest thing around it that is there."""
        known = self.written(path)
        place = (self.keys if at_key else self.values).get(known) or self.values[known]
        return Fault(pointer_of(path), f"{place}: {words}")


def pointer_of(path: Path) -> str:
    """RFC 6901."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def read(text: str) -> Tree:
    """Raise PolicyDocumentError at the first thing that is not in the strict language."""
    if len(text) > TEXT_CHARS_MAX:
        raise PolicyDocumentError(Fault("", f"is {len(text)} characters, must be at most {TEXT_CHARS_MAX}"))
    try:
        # Events come one by one, so that depth is refused before the scanner suffers from it.
        return _Reader(YAML(typ="safe", pure=True).parse(text)).document()
    except MarkedYAMLError as error:
        raise PolicyDocumentError(Fault("", _not_yaml(error))) from None
    except YAMLError as error:
        at = getattr(error, "position", None)
        place = "" if at is None else f"{_place_in(text, at)}: "
        words = "is not YAML: it holds a character that YAML does not allow"
        raise PolicyDocumentError(Fault("", f"{place}{words}")) from None


_QUOTE: Final = "is meant as text, write it in quotes"
_SCANNED: Final = (
    # What the scanner says, and what whoever wrote the document must know.
    ("found character '\\t'", "a tab stands where spaces must"),
    ("mapping values are not allowed", f"a colon begins a value here; where it {_QUOTE}"),
    ("that cannot start any token", f"a value cannot begin with this character; where it {_QUOTE}"),
    ("<block end>", "this line is not indented as those before it that belong with it"),
    ("expected ',' or '}'", "the { before it is not closed"),
    ("expected ',' or ']'", "the [ before it is not closed"),
    ("found unexpected end of stream", "the quotes before it are not closed"),
    ("could not find expected ':'", "a key has no colon and no value after it"),
)
"""By what stands in the scanner's words; what is not here is told in its own."""


def _not_yaml(error: MarkedYAMLError) -> str:
    said = ", ".join(words for words in (error.context, error.problem) if words)
    words = next((ours for theirs, ours in _SCANNED if theirs in said), said)
    mark = error.problem_mark or error.context_mark
    opened = error.context_mark
    if opened is not None and words.endswith("not closed"):
        words += f", opened at {Place(opened.line + 1, opened.column + 1)}"
    place = f"{Place(mark.line + 1, mark.column + 1)}: " if mark else ""
    return f"{place}is not YAML: {words}"


def _place_in(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


class _Reader:
    """Composes the events of ruamel.yaml by hand: its own composers resolve what we refuse."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._tree = Tree()

    def document(self) -> Tree:
        first = self._next()
        while isinstance(first, StreamStartEvent):
            first = self._next()
        if not isinstance(first, DocumentStartEvent):
            raise PolicyDocumentError(Fault("", "the document is empty"))
        if first.version or first.tags:
            raise _refused(first, (), "directives are not allowed")
        self._tree.value = self._node(self._next(), (), DEPTH_MAX)
        self._next()  # the end of the document
        last = self._next()
        if not isinstance(last, StreamEndEvent):
            raise _refused(last, (), "a second document begins, there must be one")
        return self._tree

    def _next(self) -> Event:
        event = next(self._events)
        if getattr(event, "anchor", None) is not None:
            what = "aliases" if isinstance(event, AliasEvent) else "anchors"
            raise _refused(event, (), f"{what} are not allowed: write it out")
        if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent) and event.tag:
            raise _refused(event, (), f"tags such as {str(event.tag)[:80]} are not allowed")
        return event

    def _node(self, event: Event, path: Path, room: int) -> object:
        self._tree.values[path] = _place(event)
        if len(self._tree.values) > NODES_MAX:
            raise _refused(event, path, f"has more than {NODES_MAX} values before it")
        if isinstance(event, ScalarEvent):
            return _scalar(event, path)
        if not room:
            raise _refused(event, path, f"is nested deeper than {DEPTH_MAX} levels")
        if isinstance(event, MappingStartEvent):
            return self._mapping(path, room)
        return self._sequence(path, room)

    def _mapping(self, path: Path, room: int) -> dict[str, object]:
        value: dict[str, object] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise _refused(event, path, "a key must be text")
            key = _text(event, path)
            if key == "<<" and event.style is None:
                raise _refused(event, path, "merge keys are not allowed: write it out")
            below = (*path, key)
            if key in value:
                first = self._tree.keys[below]
                raise _refused(event, below, f"{key[:80]} stands twice, first on line {first.line}")
            self._tree.keys[below] = _place(event)
            following = self._next()
            if isinstance(following, ScalarEvent) and following.style is None and not following.value:
                # The scanner finds nothing at the next thing that there is, lines below.
                raise _refused(event, below, f"{key[:80]} is empty; leave the key out, or write a value")
            value[key] = self._node(following, below, room - 1)
        return value

    def _sequence(self, path: Path, room: int) -> list[object]:
        value: list[object] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            value.append(self._node(event, (*path, len(value)), room - 1))
        return value


def _scalar(event: ScalarEvent, path: Path) -> str | int | bool:
    text = _text(event, path)
    if event.style is not None:  # in quotes, or a block: text, whatever it looks like
        return text
    if text in ("true", "false"):
        return text == "true"
    if text in _NULL:
        raise _refused(event, path, "is empty; leave the key out, or write a value")
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    if re.fullmatch(r"-?[1-9][0-9]{16,}", text):
        raise _refused(event, path, f"{text[:40]} is too large a number: at most 16 digits")
    if _NUMBER.fullmatch(text):
        raise _refused(
            event,
            path,
            f"{text[:40]} is no plain whole number, such as 10; "
            f'if it is not meant as one, write it in quotes, "{text[:40]}"',
        )
    return text


def _text(event: ScalarEvent, path: Path) -> str:
    text = str(event.value)
    if _UNSAFE.search(text):
        raise _refused(event, path, "holds a control character or half a surrogate pair")
    return text


def _place(event: Event) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _refused(event: Event, path: Path, words: str) -> PolicyDocumentError:
    return PolicyDocumentError(Fault(pointer_of(path), f"{_place(event)}: {words}"))
