"""A license and what is open under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import ClassVar, Literal

from ledger.facts.base import Fact
from ledger.values import midnight


@dataclass(frozen=True, slots=True, kw_only=True)
class License(Fact):
    """A license, its counters and what is open under it. Keyed by its number across all contracts."""

    name: ClassVar[str] = "license"
    license: str
    contract: str
    authority: str
    state: Literal["granted", "active", "suspended", "revoked", "expired", "withdrawn"]
    """Withdrawn: its grant was declared in error, so that it was never granted."""
    sku: str
    eccn: str
    quantity: int
    zone: str
    valid_from: date
    valid_until: date
    """The last day, which ends at 24:00 in `zone`."""
    conditions_sha256: str
    granted: int
    """Index of the entry that granted it: one of its number that was withdrawn is another."""
    must_acknowledge: tuple[str, ...]
    acknowledged: tuple[str, ...] = ()
    acknowledgements: tuple[int, ...] = ()
    """Index of the entry in which each of them did."""
    ordered: int = 0
    """Units reserved by orders that stand."""
    released: int = 0
    """Units consumed by releases that stand."""
    value: Decimal | None = None
    """What may be released under it is worth at most, where it says so."""
    currency: str | None = None
    """Of `value`."""
    suspended_at: datetime | None = None
    """Of the suspension that stands, or stood when it ended."""
    revoked_at: datetime | None = None
    application: str | None = None
    """What it answers."""
    tpp: int | None = None
    """Total processing performance of one unit, as licensed."""
    bandwidth_gb_s: int | None = None
    """Total DRAM bandwidth of one unit, as licensed."""
    consignees: tuple[str, ...] = ()
    """Parties that it names; none: any consignee of the contract."""
    end_users: tuple[str, ...] = ()
    """As `consignees`."""
    forwarders: tuple[str, ...] = ()
    """As `consignees`."""

    @property
    def key(self) -> str:
        return self.license

    @property
    def was_granted(self) -> bool:
        """By an entry that has not been declared in error."""
        return self.state != "withdrawn"

    @property
    def exhausted(self) -> bool:
        """All that it permits is released; an amendment reopens it."""
        return self.state == "active" and self.released >= self.quantity

    @property
    def unacknowledged(self) -> tuple[str, ...]:
        """The parties that have yet to take its conditions on."""
        return tuple(p for p in dict.fromkeys(self.must_acknowledge) if p not in self.acknowledged)

    @property
    def begins(self) -> datetime:
        return midnight(self.valid_from, self.zone)

    @property
    def ends(self) -> datetime:
        """The first instant at which it is no longer valid."""
        return midnight(self.valid_until + timedelta(days=1), self.zone)


CHANGES_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """What a license said, and how it stood, until entry `index` changed it."""

    index: int
    state: Literal["granted", "active", "suspended", "revoked", "expired", "withdrawn"]
    suspended_at: datetime | None
    revoked_at: datetime | None
    quantity: int
    valid_until: date
    conditions_sha256: str
    must_acknowledge: tuple[str, ...]
    acknowledged: tuple[str, ...]
    acknowledgements: tuple[int, ...]
    value: Decimal | None
    currency: str | None
    consignees: tuple[str, ...]
    end_users: tuple[str, ...]
    forwarders: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseChanges(Fact):
    """What amendments, suspensions and the like of a license replaced: the last one can be taken back."""

    name: ClassVar[str] = "license_changes"
    license: str
    before: tuple[Once, ...] = ()
    """Oldest first; `CHANGES_KEPT` of them."""

    @property
    def key(self) -> str:
        return self.license


@dataclass(frozen=True, slots=True, kw_only=True)
class Application(Fact):
    """An exporter has applied for a license."""

    name: ClassVar[str] = "application"
    contract: str
    application: str
    exporter: str
    sku: str
    quantity: int
    index: int
    applied_at: datetime
    """When it was recorded."""
    license: str | None = None
    """What was granted in answer."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.application}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    party: str
    revocation: int
    """Index of the entry that revoked the license; there are several where one was in error."""
    index: int
    """Of the entry in which it says so."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgements(Fact):
    """Who has acknowledged the revocation of a license, in order."""

    name: ClassVar[str] = "acknowledgements"
    contract: str
    license: str
    by: tuple[Acknowledged, ...] = ()
    """Of a revocation no party twice: the first counts."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.license}"

    def of(self, revocation: int) -> tuple[Acknowledged, ...]:
        return tuple(one for one in self.by if one.revocation == revocation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Under(Fact):
    """What is under a license, looked up when it is asked for: never stored as a fact."""

    name: ClassVar[str] = "under"
    stored: ClassVar[bool] = False
    license: str
    orders: tuple[str, ...]
    """Keys of the orders that may still reserve units."""
    shipments: tuple[str, ...]
    """Keys of the shipments that were not cancelled."""

    @property
    def key(self) -> str:
        return self.license
