"""What an exporter has sent of a product, what it says of its supply, and supply that needs no license."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from ledger.facts.base import Fact

STATEMENTS_KEPT = 12
"""Of each sort, the latest: an older one rules nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToCountry:
    country: str
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports(Fact):
    """Units of one product that one exporter has released, across all contracts, by country.

    An exporter is whoever asks for a release as one: nobody else's requests count.
    """

    name: ClassVar[str] = "exports"
    exporter: str
    sku: str
    countries: tuple[ToCountry, ...] = ()
    """By country code, none twice."""

    @property
    def key(self) -> str:
        return exports_key(self.exporter, self.sku)

    def units_to(self, countries: tuple[str, ...]) -> int:
        return sum(to.units for to in self.countries if to.country in countries)

    def with_units(self, country: str, units: int) -> tuple[ToCountry, ...]:
        """The countries once `units`, which may be less than none, are added to one."""
        by_country = {to.country: to.units for to in self.countries}
        by_country[country] = by_country.get(country, 0) + units
        return tuple(ToCountry(country=c, units=u) for c, u in sorted(by_country.items()) if u)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was shipped to end users in the exporter's own country over a period."""

    index: int
    units: int | None
    tpp: int | None
    """Aggregate, of all the units."""
    begins: date
    ends: date
    """The last day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certification:
    """What the exporter has certified of its supply, and of which day."""

    index: int
    dated: date
    """As written; the day of recording, where that is the earlier."""
    certifications: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply(Fact):
    """What one exporter has said of its supply of one product, in whichever contract."""

    name: ClassVar[str] = "supply"
    exporter: str
    sku: str
    baselines: tuple[Baseline, ...] = ()
    certifications: tuple[Certification, ...] = ()
    """Oldest first; `STATEMENTS_KEPT` of each."""

    @property
    def key(self) -> str:
        return exports_key(self.exporter, self.sku)

    @property
    def baseline(self) -> Baseline | None:
        """The latest."""
        return self.baselines[-1] if self.baselines else None

    @property
    def certification(self) -> Certification | None:
        """The latest by its own date, and of one date the latest recorded."""
        return max(self.certifications, key=lambda c: (c.dated, c.index), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity(Fact):
    """Base-tier supply at one site: chips that need no license."""

    name: ClassVar[str] = "capacity"
    contract: str
    site: str
    units: int = 0
    tpp: int = 0
    """Aggregate, of all the units."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.site}"


def exports_key(exporter: str, sku: str) -> str:
    return f"{exporter}/{sku}"
