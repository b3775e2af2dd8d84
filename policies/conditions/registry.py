"""Every condition there is, by its permanent name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, Literal, NamedTuple, TypeVar

from ledger.event import Event
from ledger.facts import Facts, Key
from policies.conditions.case import Case, Found
from policies.conditions.parameters import Parameters

P = TypeVar("P", bound=Parameters)

Clock = Literal["recorded_at", "none"]
"""No condition of language 1 goes by a claimed time, and none reads the wall clock."""


Reads = Callable[[Event, Facts, Any], Iterable[Key]]
"""(event, facts, parameters): asked again once what it names is loaded, until it names nothing new."""


class Misfit(NamedTuple):
    """Why parameters are none for the kinds of event that they are bound to."""

    field: str
    words: str


Fit = Callable[[Any, tuple[str, ...]], Parameters | Misfit]
"""(parameters, kinds): the parameters as they are judged at these kinds."""


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    """Permanent: it stands in committed decisions. A changed meaning is a new name."""
    number: int
    """In the catalogue of contract conditions."""
    parameters: type[Parameters]
    requests: tuple[str, ...]
    """Kinds it may refuse."""
    facts: tuple[str, ...]
    """Kinds it may flag: what has happened is never refused."""
    clock: Clock
    unit: str
    sentences: Mapping[str, str]
    """How a finding reads, by code; `pass` where nothing is wrong. `{observed}`, `{limit}`,
    `{shortfall}`, `{headroom}`, `{unit}` and `{subjects}` stand for what was found."""
    check: Callable[[Case, Any], Found]
    text: str
    """What it demands and where that comes from."""
    reads: Reads | None
    """The facts it looks at beyond those that the kinds of event name themselves."""
    fit: Fit | None = None
    """Where what the parameters mean depends on the kinds."""

    @property
    def kinds(self) -> tuple[str, ...]:
        return (*self.requests, *self.facts)


CONDITIONS: dict[str, Condition] = {}


def condition(
    *,
    number: int,
    parameters: type[P],
    requests: tuple[str, ...] = (),
    facts: tuple[str, ...] = (),
    clock: Clock = "none",
    unit: str,
    sentences: Mapping[str, str],
    reads: Reads | None = None,
    fit: Fit | None = None,
) -> Callable[[Callable[[Case, P], Found]], Callable[[Case, P], Found]]:
    """Enter a function under its own name; its docstring is the text of the catalogue."""

    def register(check: Callable[[Case, P], Found]) -> Callable[[Case, P], Found]:
        name = check.__name__
        if name in CONDITIONS:
            raise TypeError(f"condition {name} is declared twice")
        CONDITIONS[name] = Condition(
            name, number, parameters, requests, facts, clock, unit, sentences, check,
            cleandoc(check.__doc__ or ""), reads, fit,
        )  # fmt: skip
        return check

    return register
