"""Windows of the calendar in a contract's zone: what is due in one, and what it may hold at most."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final, Literal, NamedTuple

from ledger.facts.calendar import month_of
from ledger.values import day_of, midnight
from policies.conditions.parameters import one_of

LENGTHS: Final = {"month": 1, "quarter": 3, "half_year": 6, "year": 12}
"""In months."""
Length = Annotated[Literal["month", "quarter", "half_year", "year"], one_of("a window", tuple(LENGTHS))]


class Window(NamedTuple):
    months: tuple[str, ...]
    """Such as 2027-03."""
    begins: date
    ends: date
    """The first day that is no longer in it."""

    @property
    def name(self) -> str:
        """`2027-03`, or `2027-01/2027-03`."""
        return self.months[0] if len(self.months) == 1 else f"{self.months[0]}/{self.months[-1]}"

    def over(self, zone: str) -> datetime:
        """The instant at which it has ended: what is due in it is late from then on."""
        return midnight(self.ends, zone)


def window_of(day: date, length: str) -> Window:
    """The month, quarter or year in which the day lies."""
    months = LENGTHS[length]
    first = (day.month - 1) // months * months
    begins = date(day.year, first + 1, 1)
    names = tuple(month_of(date(day.year, first + 1 + n, 1)) for n in range(months))
    after = first + months
    return Window(names, begins, date(day.year + after // 12, after % 12 + 1, 1))


def window_at(instant: datetime, zone: str, length: str) -> Window:
    return window_of(day_of(instant, zone), length)
