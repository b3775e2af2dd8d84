"""What an expression may name: the data of the event, its envelope, and the facts it leads to.

A variable has a dotted name and is bound alone, and only if the expression names it. What an event does
not say is not bound, and an expression that asks for it comes to an error; `has(event.name)` asks whether
it is there. A decimal `x` is the integer `x_micros`, x × 10⁶, which is exact since a decimal has at most six
fraction digits. A date is text, 2027-03-01. Of a list of objects each field that all of them have is
a list of its own: `event.results.result`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Context, Decimal
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

import ledger.kinds  # noqa: F401 - declares every kind
from ledger.event import KINDS, Event, Kind
from ledger.facts import Fact, Facts, Key, License, Order, Shipment
from ledger.values import Value
from policies.conditions.case import Case

Scalar = Literal["bool", "int", "string", "timestamp"]
Type = Literal[
    "bool", "int", "string", "timestamp",
    "list(bool)", "list(int)", "list(string)", "list(timestamp)",
]  # fmt: skip

_SCALARS: Final[Mapping[type, Scalar]] = {
    bool: "bool", int: "int", str: "string", datetime: "timestamp", date: "string", Decimal: "int",
}  # fmt: skip
_LISTS: Final[Mapping[Scalar, Type]] = {
    "bool": "list(bool)", "int": "list(int)", "string": "list(string)", "timestamp": "list(timestamp)",
}  # fmt: skip
_MICROS: Final = Decimal(1_000_000)
# Wide enough for any sum that an amount's own limits allow; never the caller's ambient context.
_EXACT: Final = Context(prec=80)
HAS: Final = "has."
"""Before the name of a variable: whether it is there."""


class Subject(NamedTuple):
    """What the variables of one judgement are read from."""

    case: Case
    facts: Mapping[type[Fact], Fact | None]
    """The license, order and shipment that the event leads to, as far as they are asked for."""


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    typed: Type
    read: Callable[[Subject], object] = field(compare=False)
    """Its value as CEL takes it; None where it is not there."""
    path: tuple[str, ...] = ()
    """Where event data holds it: kinds that have the name at other places do not have it alike."""
    fact: type[Fact] | None = None
    """The kind of fact that it is read from."""


# --- the event ------------------------------------------------------------------------------------


Path = tuple[str, ...]
"""Attributes, from the event data on."""


def _follow(value: Any, path: Path) -> Any:
    for step in path:
        if value is None:
            return None
        value = getattr(value, step)
    return value


def plain(value: object) -> object:
    """As CEL takes it."""
    if isinstance(value, tuple):  # of one type: mostly text, and then as long as 10,000 serials
        return list(value) if value and isinstance(value[0], str) else list(map(plain, value))
    if isinstance(value, Decimal):
        return int(_EXACT.multiply(value, _MICROS))
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return value


def _fields_of(model: type[Value], name: str = "event", path: Path = ()) -> Iterator[Variable]:
    for attribute, said in model.model_fields.items():
        below, to = f"{name}.{said.alias or attribute}", (*path, attribute)
        of, many, _ = _shape(said.annotation)
        if of is None:
            continue
        if not issubclass(of, Value):
            yield _field(below, of, to, many=many)
        elif many:
            yield from _columns(of, below, to)
        else:
            yield from _fields_of(of, below, to)


def _columns(model: type[Value], name: str, path: Path, column: Path = ()) -> Iterator[Variable]:
    for attribute, said in model.model_fields.items():
        below, to = f"{name}.{said.alias or attribute}", (*column, attribute)
        of, many, optional = _shape(said.annotation)
        if of is None or many or optional:
            continue  # a list cannot hold what is not there, nor another list
        if issubclass(of, Value):
            yield from _columns(of, below, path, to)
        else:
            yield _field(below, of, path, to, many=True)


def _field(name: str, of: type, path: Path, column: Path = (), *, many: bool) -> Variable:
    def read(subject: Subject) -> object:
        found = _follow(subject.case.data, path)
        if found is None or not column:
            return plain(found)
        return [plain(_follow(item, column)) for item in found]

    type_ = _SCALARS[of]
    name = f"{name}_micros" if of is Decimal else name
    return Variable(name, _LISTS[type_] if many else type_, read, (*path, *column))


def _shape(annotation: Any) -> tuple[type | None, bool, bool]:
    """Of what, in a list or not, and whether it may be missing; None where no expression can say it."""
    if isinstance(annotation, type):
        return (annotation if annotation in _SCALARS or issubclass(annotation, Value) else None), False, False
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        kinds = {type(argument) for argument in arguments}
        return (kinds.pop() if len(kinds) == 1 else None), False, False
    if hasattr(annotation, "__metadata__"):
        return _shape(arguments[0])
    if get_origin(annotation) is tuple:
        of, many, optional = _shape(arguments[0])
        return (None if many or optional else of), True, False
    shapes = {_shape(argument) for argument in arguments if argument is not type(None)}
    if len(shapes) != 1:
        return None, False, False
    of, many, optional = shapes.pop()
    return of, many, optional or type(None) in arguments


# --- beside the event -----------------------------------------------------------------------------


def _envelope() -> Iterator[Variable]:
    yield Variable("actor.party", "string", lambda s: s.case.event.actor.party)
    yield Variable("actor.role", "string", lambda s: s.case.event.actor.role)
    yield Variable("occurred_at", "timestamp", lambda s: s.case.event.occurred_at)
    yield Variable("recorded_at", "timestamp", lambda s: s.case.at)
    yield Variable("contract.zone", "string", lambda s: s.case.contract.zone)
    yield Variable("contract.exporter", "string", lambda s: s.case.contract.exporter)
    yield Variable("contract.sites", "list(string)", lambda s: plain(s.case.contract.sites))
    yield Variable("contract.licenses", "list(string)", lambda s: plain(s.case.contract.licenses))


FACTS: Final[Mapping[type[Fact], Mapping[str, Type]]] = {
    License: {
        "state": "string", "sku": "string", "eccn": "string", "quantity": "int", "ordered": "int",
        "released": "int", "value_micros": "int", "currency": "string", "tpp": "int",
        "bandwidth_gb_s": "int", "begins": "timestamp", "ends": "timestamp", "end_users": "list(string)",
        "consignees": "list(string)", "forwarders": "list(string)",
    },
    Order: {
        "state": "string", "sku": "string", "units": "int", "dispatched": "int", "released": "int",
        "received": "int", "accepted": "int", "unit_value_micros": "int", "paid_micros": "int",
        "currency": "string", "consignee": "string", "end_user": "string", "placed_at": "timestamp",
    },
    Shipment: {
        "state": "string", "sku": "string", "serials": "list(string)", "dispatched": "list(string)",
        "received": "list(string)", "missing": "list(string)", "damaged": "list(string)",
        "country": "string", "value_micros": "int", "currency": "string", "released_at": "timestamp",
        "dispatched_at": "timestamp",
    },
}  # fmt: skip
"""By the kind of fact, what of it may be named."""


def _reader(fact: type[Fact], name: str) -> Callable[[Subject], object]:
    attribute = name.removesuffix("_micros")

    def read(subject: Subject) -> object:
        found = subject.facts.get(fact)
        return None if found is None else plain(getattr(found, attribute))

    return read


_LEADS: Final = {"license": (License,), "order": (Order, License), "shipment": (Shipment, Order, License)}
"""To which facts a field of that name leads."""


def trail(event: Event, look: Callable[[type[Fact], str], Fact | None]) -> Iterator[tuple[type[Fact], str]]:
    """The shipment, order and license that an event is about, each with its key.

    An event that does not name its license is about that of its order, or else of its shipment.
    """
    shipment = order = None
    if (number := _said(event.data, "shipment")) is not None:
        key = f"{event.contract}/{number}"
        yield Shipment, key
        shipment = look(Shipment, key)
    number = _said(event.data, "order") or (shipment.order if isinstance(shipment, Shipment) else None)
    if number is not None:
        key = f"{event.contract}/{number}"
        yield Order, key
        order = look(Order, key)
    number = _said(event.data, "license")
    for found in (order, shipment):
        if number is None and isinstance(found, Order | Shipment):
            number = found.license
    if number is not None:
        yield License, number


def _said(data: Kind, name: str) -> str | None:
    return getattr(data, name) if name in type(data).model_fields else None


def subject_of(case: Case, asked: frozenset[type[Fact]]) -> Subject:
    """`asked`: the kinds of fact that will be read. They must be loaded (`reads`)."""
    found: dict[type[Fact], Fact | None] = {}
    for fact, key in trail(case.event, case.facts.get) if asked else ():
        # Another contract's license is none of ours, even if it is named here.
        found[fact] = case.license(key) if fact is License else case.facts.get(fact, key)
    return Subject(case, found)


def reads(event: Event, facts: Facts, asked: frozenset[type[Fact]]) -> Iterable[Key]:
    """The facts that `subject_of` looks at."""
    return ((fact.name, key) for fact, key in trail(event, facts.peek)) if asked else ()


# --- all of it ------------------------------------------------------------------------------------

JUDGED: Final[tuple[str, ...]] = tuple(
    sorted({name for (name, _), kind in KINDS.items() if kind.nature != "own" and not kind.setup})
)
"""The kinds of event that a document judges: not setup, nor what the ledger itself says."""


@cache
def of_kind(kind: str) -> Mapping[str, Variable]:
    """What an expression may name at that kind of event: of its data, and of the facts it leads to."""
    versions = [model for (name, _), model in KINDS.items() if name == kind]
    found = _alike([{v.name: v for v in _fields_of(model)} for model in versions])
    leads = chain.from_iterable(facts for name, facts in _LEADS.items() if f"event.{name}" in found)
    for fact in dict.fromkeys(leads):
        for attribute, type_ in FACTS[fact].items():
            name = f"{fact.name}.{attribute}"
            found[name] = Variable(name, type_, _reader(fact, attribute), fact=fact)
    return found


def _alike(tables: Sequence[Mapping[str, Variable]]) -> dict[str, Variable]:
    first, *others = tables
    return {name: found for name, found in first.items() if all(t.get(name) == found for t in others)}


ALWAYS: Final[Mapping[str, Variable]] = {variable.name: variable for variable in _envelope()}
"""What an expression may name at every kind of event."""


@lru_cache(maxsize=64)
def variables(kinds: tuple[str, ...]) -> Mapping[str, Variable]:
    """What an expression may name at all of these kinds: the same name, of the same type."""
    return {**_alike([of_kind(kind) for kind in kinds]), **ALWAYS}


def presence(known: Mapping[str, Variable], name: str) -> Variable | None:
    """The variable behind `has(name)`: of a variable, or of an object that holds one."""
    whole = known.get(name)
    inside = [v for n, v in known.items() if n.startswith(f"{name}.")] if whole is None else [whole]
    if not inside:
        return None
    return Variable(
        HAS + name, "bool", lambda s: any(v.read(s) is not None for v in inside), fact=inside[0].fact
    )
