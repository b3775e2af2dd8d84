"""Months, as counts by month are kept: `2027-03`, and no more of them than a condition may ask for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from ledger.values import day_of

MONTHS_KEPT = 24
"""Counted back from the latest. A window of a contract is a year at most, and the one before it may
still be asked about."""


def month_of(day: date) -> str:
    # Not strftime("%Y"): glibc drops the leading zeros of a year before 1000.
    return f"{day.year:04}-{day.month:02}"


def month_at(instant: datetime, zone: str) -> str:
    return month_of(day_of(instant, zone))


def month_number(month: str) -> int:
    """Months since the year 0: two of them are as far apart as their numbers."""
    return int(month[:4]) * 12 + int(month[5:]) - 1


def kept(months: Iterable[str]) -> list[str]:
    """Those that are kept, earliest first."""
    ordered = sorted(months)
    return [m for m in ordered if month_number(ordered[-1]) - month_number(m) < MONTHS_KEPT]
