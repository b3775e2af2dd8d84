"""Chips at work: fleets that attest, cases of repair, inspections, incidents and reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, Literal

from ledger.facts.base import Fact

HOURS_KEPT = 48
"""Of one operator at one site, the latest: a batch that comes two days late is still told from a repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHour:
    """One batch of attestations."""

    begins: datetime
    ends: datetime
    index: int
    devices: int
    """Leaves of its Merkle tree."""
    expected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet(Fact):
    """What one operator has attested at one site, hour by hour."""

    name: ClassVar[str] = "fleet"
    contract: str
    operator: str
    site: str
    hours: tuple[FleetHour, ...] = ()
    """By beginning, earliest first; `HOURS_KEPT` of them."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.operator}/{self.site}"

    def overlapping(self, begins: datetime, ends: datetime) -> FleetHour | None:
        """The first batch that reports some of that time already."""
        return next((hour for hour in self.hours if hour.begins < ends and begins < hour.ends), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    defective: str
    replacement: str
    index: int
    """Of the entry that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rma(Fact):
    """A case of repair: defective devices, and what may stand in for them."""

    name: ClassVar[str] = "rma"
    contract: str
    rma: str
    license: str
    serials: tuple[str, ...]
    """The defective devices."""
    replacements: int
    """Devices asked for in their place."""
    advance: int
    """Of these, what may come before the defective ones go back."""
    state: Literal["requested", "opened", "closed", "cancelled"] = "requested"
    """Closed: every defective device has gone back."""
    requested: int
    """Index of the request."""
    requested_at: datetime
    opened_at: datetime | None = None
    replaced: tuple[Replaced, ...] = ()
    returned: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.rma}"

    @property
    def outstanding(self) -> int:
        """Advance replacements for which nothing has gone back yet."""
        return 0 if self.state == "cancelled" else max(0, self.advance - len(self.returned))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advances(Fact):
    """Units in excess under a license, because replacements may come before what they replace goes back."""

    name: ClassVar[str] = "advances"
    license: str
    contract: str
    outstanding: int = 0

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.license}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection(Fact):
    """An inspection that was asked for, and whether it has been made."""

    name: ClassVar[str] = "inspection"
    contract: str
    inspection: str
    site: str
    asked_by: str
    """Party: it alone says how the inspection ended."""
    asked_at: datetime
    state: Literal["asked", "completed"] = "asked"
    result: Literal["satisfied", "not_satisfied", "refused"] | None = None
    completed_at: datetime | None = None
    completed: int | None = None
    """Index of the entry that completed it."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.inspection}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(Fact):
    """Something that went wrong and was reported."""

    name: ClassVar[str] = "incident"
    contract: str
    incident: str
    what: str
    index: int
    reported_at: datetime
    withdrawn: bool = False
    """It was declared in error."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.incident}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Fact):
    """A periodic report that was filed; the first for its period counts."""

    name: ClassVar[str] = "report"
    contract: str
    report: str
    """What it reports on, such as `use`."""
    ends: date
    """The last day of its period."""
    begins: date
    index: int
    filed_at: datetime
    withdrawn: bool = False
    """It was declared in error: another one may take its place."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.report}/{self.ends.isoformat()}"
