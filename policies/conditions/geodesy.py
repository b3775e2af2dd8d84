"""How far apart two places are, at the least, and to the same metre on every machine.

Distances on the ellipsoid of WGS 84 are never shorter than those of the same latitudes and longitudes on
a sphere of its smallest radius of curvature, a(1 - e²) = 6,335,439 m: along meridians it curves no more
than that anywhere, along parallels less. So what is found here is about 1 % too short at most, and never
too long: nobody is told to be farther away than he is. All of it is decimal arithmetic of fixed
precision; the sine of the C library is not the same on every machine.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from typing import Final, NamedTuple

RADIUS_M: Final = 6_335_439
_ARITHMETIC: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)
_NEGLIGIBLE: Final = Decimal("1e-38")
_PI: Final = Decimal("3.14159265358979323846264338327950288419716939937511")
_HALVINGS: Final = 3


class Place(NamedTuple):
    latitude_e6: int
    """Millionths of a degree north."""
    longitude_e6: int
    """Millionths of a degree east."""


@lru_cache(maxsize=4096)
def distance_m(first: Place, second: Place) -> int:
    """Whole metres between two places, rounded down (haversine formula)."""
    with localcontext(_ARITHMETIC):
        north, south = _radians(first.latitude_e6), _radians(second.latitude_e6)
        across = _radians(second.longitude_e6 - first.longitude_e6)
        half = _sine((south - north) / 2) ** 2
        half += _cosine(north) * _cosine(south) * _sine(across / 2) ** 2
        # Antipodes come out a hair over 1, or their cosine a hair under 0.
        arc = 2 * _arcsine(min(max(half, Decimal(0)), Decimal(1)).sqrt())
        return int((arc * RADIUS_M).to_integral_value(ROUND_FLOOR))


def _radians(microdegrees: int) -> Decimal:
    return Decimal(microdegrees) * _PI / 180_000_000


def _sine(angle: Decimal) -> Decimal:
    """Of an angle within half a turn, by its Taylor series."""
    term = total = angle
    n = 1
    while abs(term) > _NEGLIGIBLE:
        term = -term * angle * angle / ((n + 1) * (n + 2))
        total += term
        n += 2
    return total


def _cosine(angle: Decimal) -> Decimal:
    return _sine(_PI / 2 - angle)


def _arcsine(sine: Decimal) -> Decimal:
    """Of a sine from 0 to 1: halved thrice, so that the series converges fast."""
    for _ in range(_HALVINGS):
        sine = sine / (2 * (1 + (1 - sine * sine).sqrt())).sqrt()
    term = total = sine
    n = 1
    while abs(term) > _NEGLIGIBLE:
        term = term * sine * sine * n * n / ((n + 1) * (n + 2))
        total += term
        n += 2
    return total * 2**_HALVINGS
