"""Parts of a whole in percent: compared exactly, printed cut off after two digits.

Cut off and never rounded: what is short of a limit must not read as if it had reached it.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Annotated, Final

from pydantic import AfterValidator

from ledger.values import Amount
from policies.conditions.money import EXACT, plain

_HUNDREDTH: Final = Decimal("0.01")
_HUNDRED: Final = Decimal(100)


def _at_most_100(percent: Decimal) -> Decimal:
    if percent > _HUNDRED:
        raise ValueError(f"is {percent}, must be 100 at most")
    return percent


Percent = Annotated[Amount, AfterValidator(_at_most_100)]
"""A decimal in a string: `"99.5"` is 99.5 %."""


def percent_of(part: int, whole: int) -> str:
    """`part` of `whole` in percent, such as 99.79; all of nothing is 100."""
    if whole == 0:
        return "100.00"
    share = EXACT.divide(EXACT.multiply(Decimal(part), _HUNDRED), Decimal(whole))
    return f"{share.quantize(_HUNDREDTH, ROUND_DOWN, EXACT):f}"


def spelled(percent: Decimal) -> str:
    """A limit as it stands beside what `percent_of` prints."""
    return plain(percent)


def needed(whole: int, percent: Decimal) -> int:
    """The fewest of `whole` that reach the percentage."""
    return int(_part(whole, percent).to_integral_value(ROUND_CEILING, EXACT))


def allowed(whole: int, percent: Decimal) -> int:
    """The most of `whole` that may be missing for the percentage to be reached."""
    return int(_part(whole, EXACT.subtract(_HUNDRED, percent)).to_integral_value(ROUND_FLOOR, EXACT))


def _part(whole: int, percent: Decimal) -> Decimal:
    return EXACT.divide(EXACT.multiply(Decimal(whole), percent), _HUNDRED)
