"""When something is due: a number of days ends with the last of them, at 24:00 in the contract's zone.

Each function gives the first instant that is too late, in UTC.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from ledger.values import day_of, midnight


def end_of(day: date, zone: str) -> datetime:
    """The instant at which `day` has ended."""
    return midnight(day + timedelta(days=1), zone)


def days_after(instant: datetime, days: int, zone: str) -> datetime:
    """`days` after the day of `instant`: installed, inspected, returned by then."""
    return end_of(day_of(instant, zone) + timedelta(days=days), zone)


def years_after(instant: datetime, years: int, zone: str) -> datetime:
    """`years` after the day of `instant`; of 29 February, 1 March where the year has no such day."""
    day = day_of(instant, zone)
    try:
        last = day.replace(year=day.year + years)
    except ValueError:
        last = date(day.year + years, 3, 1)
    return end_of(last, zone)


def report_due(period_ends: date, within_days: int, zone: str) -> datetime:
    """A report for the period that ends with that day, due so many days later."""
    return end_of(period_ends + timedelta(days=within_days), zone)
