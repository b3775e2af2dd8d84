"""A license and what is open under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
    state: Literal["granted", "active", "suspended", "revoked"]
    sku: str
    eccn: str
    quantity: int
    zone: str
    valid_from: date
    valid_until: date
    """The last day, which ends at 24:00 in `zone`."""
    conditions_sha256: str
    must_acknowledge: tuple[str, ...]
    acknowledged: tuple[str, ...] = ()
    ordered: int = 0
    """Units reserved by orders that stand."""
    released: int = 0
    """Units consumed by releases that stand."""
    suspended_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def key(self) -> str:
        return self.license

    @property
    def begins(self) -> datetime:
        return midnight(self.valid_from, self.zone)

    @property
    def ends(self) -> datetime:
        """The first instant at which it is no longer valid."""
        return midnight(self.valid_until + timedelta(days=1), self.zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Under(Fact):
    """What is open under a license, looked up when it is asked for: never stored as a fact."""

    name: ClassVar[str] = "under"
    stored: ClassVar[bool] = False
    license: str
    orders: tuple[str, ...]
    """Keys of the orders that may still reserve units."""
    shipments: tuple[str, ...]
    """Keys of the shipments that may still be released or on their way."""

    @property
    def key(self) -> str:
        return self.license
