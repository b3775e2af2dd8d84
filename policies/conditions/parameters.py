"""What a policy document may say to a condition: frozen types, checked when it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainValidator, Tag

from ledger.facts import License
from ledger.values import Amount, Elapsed, Value
from policies.conditions.declared import Cap, Doubt, Use


class Parameters(Value):
    """The parameters of one condition. Most have none."""

    def doubts(self, use: Use) -> Iterator[Doubt]:
        """What is wrong, or strange, with these values as they are used."""
        return iter(())

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        """Parameters that have no effect at these kinds beside the others, and why."""
        return {}

    def caps(self) -> Iterator[Cap]:
        """The fixed figures within which something is kept; of a duty, that it asks for."""
        return iter(())


def one_of(what: str, names: tuple[str, ...]) -> BeforeValidator:
    """Refuse text that is none of `names`, and say which it is nearest to."""

    def validate(name: object) -> object:
        if isinstance(name, str) and name not in names:
            raise ValueError(f"{name[:80]} is not {what}; {nearest(name, names)}")
        return name

    return BeforeValidator(validate)


def nearest(name: str, names: tuple[str, ...]) -> str:
    """The nearest of `names`, or all of them where none is near, in words."""
    near = get_close_matches(name, names, 1)
    return f"the nearest is {near[0]}" if near else f"known: {', '.join(names)}"


# --- durations ------------------------------------------------------------------------------------

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d{1,4})W|(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,9})S)?)?)",
    re.ASCII,
)


def parse_duration(text: object) -> timedelta:
    """An ISO 8601 duration of weeks, or of days, hours, minutes and seconds.

    Months and years are refused: they have no one length. `P1D` is a day of the calendar, which ends with
    23 or 25 hours where the clocks change; `PT24H` is always as long (`Elapsed`).
    """
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    parts = {k: int(v) for k, v in match.groupdict().items() if v} if match else {}
    if not parts:
        raise ValueError("must be a duration of weeks, days, hours, minutes or seconds, such as P7D or PT72H")
    return timedelta(**parts) if parts.keys() & {"weeks", "days"} else Elapsed(**parts)


# Not a validator before pydantic's own, which would make a plain timedelta of any.
Duration = Annotated[timedelta, PlainValidator(parse_duration)]


def _whole_days(duration: timedelta) -> timedelta:
    if duration != timedelta(days=duration.days):
        raise ValueError("must be whole days or weeks, such as P30D")
    return duration


Days = Annotated[Duration, AfterValidator(_whole_days)]
"""Counted in days of the calendar: the last of them ends at 24:00 in the contract's zone."""


# --- numbers --------------------------------------------------------------------------------------


def _positive(rate: Decimal) -> Decimal:
    if not rate:
        raise ValueError("is 0, must be more")
    return rate


Rate = Annotated[Amount, AfterValidator(_positive)]
"""A decimal in a string: `"0.25"` is 25 %."""

ROUNDINGS: Final = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "up": ROUND_UP}
Rounding = Annotated[Literal["half_up", "half_even", "up"], one_of("a way of rounding", tuple(ROUNDINGS))]


# --- read from the license ------------------------------------------------------------------------

SOURCES: Final[dict[str, Callable[[License], int]]] = {
    "license.quantity": lambda license_: license_.quantity,
}
"""What a document may take from the license, so that an amendment moves it."""


class From(Value):
    """`{from: license.quantity}`: the number that the license states when the event is judged."""

    source: Annotated[
        Literal["license.quantity"],
        one_of("a known source", tuple(SOURCES)),
        Field(alias="from"),
    ]


def _shape(limit: object) -> str:
    return "(from)" if isinstance(limit, dict | From) else "(number)"


Limit = Annotated[
    Annotated[int, Field(ge=0, le=1_000_000_000), Tag("(number)")] | Annotated[From, Tag("(from)")],
    Discriminator(_shape),
]


def limit_of(limit: int | From, license_: License) -> int:
    return limit if isinstance(limit, int) else SOURCES[limit.source](license_)
