"""What a condition declares about its own parameters, so that a document can be checked unasked.

A parameter says, beside its type, which way it is stricter, what it lists, which figure it fixes; a
class of parameters says what it doubts of its own values (`Parameters.doubts`). `policies.checks`
knows these words and no condition by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "remark"]
"""`error`: the document cannot mean what it says. `remark`: worth a lawyer's look."""


# --- beside a parameter's type ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stricter:
    """The way in which a parameter fails more: what fails under the laxer value fails under the stricter."""

    way: Literal["less", "more", "fewer", "further"]
    """A smaller or a greater figure; a list that allows fewer or asks further. `None` is no limit."""


LESS: Final = Stricter("less")
MORE: Final = Stricter("more")
FEWER: Final = Stricter("fewer")
FURTHER: Final = Stricter("further")


@dataclass(frozen=True, slots=True)
class Includes:
    """Some values of a parameter ask all that others ask."""

    others: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Allows:
    """A list, or one value, of what alone is let through; fewer is stricter."""

    what: str
    by: str = ""
    """The attribute of each that counts."""
    none_is_any: bool = False
    """Left out, everything is allowed; otherwise what the license or the contract says."""


@dataclass(frozen=True, slots=True)
class Forbids:
    """A list of what is never let through; further is stricter."""

    what: str


@dataclass(frozen=True, slots=True)
class Names:
    """A list that says something of each; it should have all that the document allows, and no other."""

    what: str
    by: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of which a document can have one only, wherever it stands."""

    what: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Below:
    """A figure of that name must be below this parameter."""

    what: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, where `one` is all of it: 1, or 100."""

    one: Literal[1, 100]
    beyond: Severity | None = None
    """What it is to ask for more than all; None: the type refuses it."""


@dataclass(frozen=True, slots=True)
class Scale:
    """In what something is counted: at a figure that the document fixes, one is a multiple of the other."""


@dataclass(frozen=True, slots=True)
class WholeDays:
    """Only whole days count."""


# What lists, figures and caps of several conditions are about.
CURRENCY: Final = "currency of orders and releases"
END_USER: Final = "end user"
RELEASED: Final = "units released under a license"
TIME_TO_REPORT: Final = "time to report a loss"
UNIT_TPP: Final = "TPP of one unit"


# --- what a class of parameters says ---------------------------------------------------------------


class Doubt(NamedTuple):
    """What a condition or obligation has to say of its own parameters."""

    severity: Severity
    field: str
    """The parameter as it is written; empty: all of it."""
    words: str


class Cap(NamedTuple):
    """At most so much in each window of so many months, or for ever. Of a duty: at least so much."""

    what: str
    most: int | Decimal
    months: int | None
    field: str


@dataclass(frozen=True, slots=True)
class Use:
    """How a document uses a condition or an obligation."""

    kinds: tuple[str, ...]
    """Of a condition: at which it is asked."""
    denies: bool
    """It refuses a request."""
    begins: date
    """First day on which the document is in force, in its own zone."""
    until: date | None
    """First day on which it no longer is."""
    slack: timedelta = timedelta(0)
    """Of an obligation: from the due date to its first step."""

    def fails_always(self, field: str, words: str) -> Doubt:
        """To refuse everything is to ask for nothing; to mark or to hold everything can be meant."""
        return Doubt("error" if self.denies else "remark", field, words)


def late_at_once(parameters: object, use: Use, *fields: str) -> Iterator[Doubt]:
    """Of a duty that is counted on the clock: it cannot be met in no time."""
    for field in fields:
        if not getattr(parameters, field) and not use.slack:
            yield Doubt(
                "error", field, f"{field} is no time at all and nothing is added to it: it is late at once"
            )
