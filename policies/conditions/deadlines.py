"""When something is due: a number of days ends with the last of them, at 24:00 in the contract's zone.

Each function gives the first instant that is too late, in UTC.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple

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


class Heartbeat(NamedTuple):
    due: datetime
    flagged_from: datetime
    """It is late beyond the grace."""
    suspended_from: datetime
    """A suspension is proposed."""


def heartbeat_after(
    last: datetime, *, every: timedelta, grace: timedelta, suspend_after: timedelta
) -> Heartbeat:
    """What follows if nothing is attested after `last`; for a first attestation, after the installation.

    Of a first one `every` is the time in which it must come.
    """
    due = last + every
    flagged = due + grace
    return Heartbeat(due, flagged, flagged + suspend_after)
