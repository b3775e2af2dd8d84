"""Sums of money in conditions: exact, rounded once and as the document says, committed as text."""

from __future__ import annotations

from decimal import Context, Decimal

from policies.conditions.parameters import ROUNDINGS

# Wide enough for any sum that an amount's own limits allow; never the caller's ambient context.
EXACT = Context(prec=80)
_QUANTA = tuple(Decimal(1).scaleb(-digits) for digits in range(10))


def share_of(basis: Decimal, rate: Decimal, *, rounding: str, digits: int) -> Decimal:
    """`basis` × `rate`, rounded to `digits` after the point."""
    return EXACT.multiply(basis, rate).quantize(_QUANTA[digits], ROUNDINGS[rounding], EXACT)


def whole_units(amount: Decimal) -> int:
    """Without its fraction: a part of a unit is none."""
    return int(amount.to_integral_value("ROUND_FLOOR", EXACT))


def plain(amount: Decimal, digits: int = 2) -> str:
    """Without an exponent, with at least `digits` after the point, and none of its own dropped."""
    text = f"{amount:f}"
    whole, _, fraction = text.partition(".")
    return text if len(fraction) >= digits else f"{whole}.{fraction:0<{digits}}"
