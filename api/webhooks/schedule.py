"""When a delivery that failed is attempted again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIES_S = (5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 10 * 3_600)
"""Between an attempt and the next one (Standard Webhooks, "Deliverability and reliability")."""
TRIES_MAX = len(RETRIES_S) + 1
JITTER = 0.1
"""A delay is longer or shorter by up to this part of it: what failed together does not return together."""
RETRY_AFTER_S_MAX = 3_600
"""A receiver may ask for so much patience: a notice that does not arrive must be missed one day."""


def delay_s(tries: int, *, retry_after_s: float | None, random: Callable[[], float]) -> float | None:
    """How long after the attempt of that number, from 1, the next is due; None: that was the last one.

    `random` gives a number from 0 up to 1.
    """
    if tries >= TRIES_MAX:
        return None
    planned = RETRIES_S[tries - 1] * (1 + JITTER * (2 * random() - 1))
    return max(planned, min(retry_after_s or 0, RETRY_AFTER_S_MAX))


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """What a `Retry-After` asks for (RFC 9110 §10.2.3); None where it cannot be read."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(value[:12])
    try:
        at = parsedate_to_datetime(value[:64])
    except (ValueError, OverflowError):  # the latter of a zone or a year of many digits
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
