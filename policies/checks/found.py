"""What the checks work with: a finding without its place, and parameters with what they declare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from ledger.values import Elapsed, day_of
from policies.conditions.declared import Severity, Use
from policies.conditions.parameters import Parameters
from policies.document import REACKNOWLEDGE, Bound, BoundObligation, PolicyDocument
from policies.tree import Path

M = TypeVar("M")
B = TypeVar("B", bound=Bound | BoundObligation)


@dataclass(frozen=True, slots=True)
class Found:
    severity: Severity
    path: Path
    concerns: tuple[str, ...]
    words: str


class Item(NamedTuple, Generic[B]):
    """A condition or an obligation, and where it stands."""

    path: Path
    uses: str
    bound: B
    use: Use

    @property
    def id(self) -> str:
        return self.bound.id

    @property
    def parameters(self) -> Parameters:
        return self.bound.parameters

    def at(self, field: str) -> Path:
        """The path of a parameter, or of `field/3`, something in it."""
        steps = tuple(int(s) if s.isdecimal() else s for s in field.split("/")) if field else ()
        return (*self.path, *steps)


ConditionItem = Item[Bound]
ObligationItem = Item[BoundObligation]


def conditions_of(document: PolicyDocument) -> Iterator[ConditionItem]:
    begins, until = _force(document)
    for number, bound in enumerate(document.conditions):
        denies = bound.action == "deny" and bool(set(bound.at).intersection(bound.condition.requests))
        use = Use(bound.at, denies, begins, until)
        yield Item(("conditions", number), bound.condition.name, bound, use)


def obligations_of(document: PolicyDocument) -> Iterator[ObligationItem]:
    begins, until = _force(document)
    for number, bound in enumerate(document.obligations):
        slack = bound.grace + bound.steps[0].after
        path: Path = ("transition", REACKNOWLEDGE) if bound.id == REACKNOWLEDGE else ("obligations", number)
        yield Item(path, bound.obligation.name, bound, Use((), False, begins, until, slack))


def _force(document: PolicyDocument) -> tuple[date, date | None]:
    ends = document.ends
    return day_of(document.begins, document.zone), None if ends is None else day_of(ends, document.zone)


@cache
def declarations(parameters: type[Parameters]) -> tuple[tuple[str, tuple[object, ...]], ...]:
    """Each parameter, and what is declared beside its type."""
    return tuple((name, tuple(field.metadata)) for name, field in parameters.model_fields.items())


def declared(parameters: Parameters, kind: type[M]) -> Iterator[tuple[str, Any, M]]:
    """Each parameter beside whose type a word of that kind stands: its name, its value, the word."""
    for name, words in declarations(type(parameters)):
        for word in words:
            if isinstance(word, kind):
                yield name, getattr(parameters, name), word


GRAVITY: Final = {"shadow": 0, "flag": 1, "hold": 2, "deny": 3}
DOES: Final = {"shadow": "shadows", "flag": "flags", "hold": "holds", "deny": "denies"}


def weight_at(bound: Bound, kind: str) -> str:
    """What it does there: what has happened is flagged and never refused."""
    fact = kind in bound.condition.facts
    return "flag" if fact and bound.action in ("deny", "hold") else bound.action


def spelled(value: object) -> str:
    """A parameter as a reader of the document knows it."""
    match value:
        case timedelta():
            return _spelled_duration(value)
        case Decimal():
            return f"{value:f}"
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:,}"
        case tuple():
            return ", ".join(map(spelled, value)) or "nothing"
        case BaseModel():
            given = (getattr(value, name) for name in type(value).model_fields)
            return " ".join(spelled(one) for one in given if one is not None)
        case None:
            return "not given"
    return str(value)


def _spelled_duration(duration: timedelta) -> str:
    # Hours that are counted by the clock are not days of the calendar (`parse_duration`).
    by_clock = isinstance(duration, Elapsed)
    days, seconds = (0, int(duration.total_seconds())) if by_clock else (duration.days, duration.seconds)
    parts = ((seconds // 3600, "H"), (seconds // 60 % 60, "M"), (seconds % 60, "S"))
    clock = "".join(f"{number}{unit}" for number, unit in parts if number)
    whole = f"{days}D" if days else ""
    return f"P{whole}T{clock}" if clock else f"P{whole or 'T0S'}"
