"""Fleets: one batch of attestations for each operator, site and hour, by the root of a Merkle tree."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from ledger.event import Event, Evidence, Kind, Nature
from ledger.facts import HOURS_KEPT, Facts, Fleet, FleetHour, Key
from ledger.kinds.device import Level, LocationBound, Tenants
from ledger.values import Any_, Identifier, SerialsOrNone, Sha256, Timestamp, Value

DEVICES_MAX = 10_000_000
ABSENT_MAX = 1_000

Count = Annotated[int, Field(ge=0, le=DEVICES_MAX)]


class Outcomes(Value):
    """How many devices attested to what."""

    passed: Count
    failed: Count = 0
    indeterminate: Count = 0

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.indeterminate


class FleetAttested(Kind, kind="fleet.attested"):
    """The devices of one operator at one site over one hour, in one batch.

    Each device's own statement is a leaf of a Merkle tree (RFC 9162, section 2.1): the canonical JSON
    that `usage.attested` would hold for it, leaves in the order of their serials. `leaves` says where
    they are kept; 17 hashes prove one of 100,000. Whoever is expected and is no leaf is absent.
    """

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre"})
    example: ClassVar[dict[str, Any]] = {
        "site": "SHA-1",
        "from": "2027-02-01T00:00:00Z",
        "until": "2027-02-01T01:00:00Z",
        "level": "L2",
        "root": "f1" * 32,
        "leaf_count": 99998,
        "expected_count": 100000,
        "absent": ["SN000417", "SN000999"],
        "absent_count": 2,
        "outcomes": {"passed": 99997, "failed": 1, "indeterminate": 0},
        "leaves": {
            "sha256": "1e" * 32,
            "media_type": "application/x-ndjson",
            "uri": "https://evidence.example/SHA-1/2027-02-01T00",
        },
    }

    site: Identifier
    from_: Annotated[Timestamp, Field(alias="from")]
    until: Timestamp
    level: Level
    root: Sha256
    leaf_count: Count
    expected_count: Annotated[int, Field(ge=1, le=DEVICES_MAX)]
    """Devices that stand installed at the site."""
    absent: SerialsOrNone = ()
    """The first of them, by serial."""
    absent_count: Count
    outcomes: Outcomes
    leaves: Evidence
    """Where the leaves are kept."""
    tenants: Tenants | None = None
    locations: Any_[LocationBound] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not timedelta(0) < self.until - self.from_ <= timedelta(hours=1):
            raise ValueError("until must be after from, by an hour at most")
        if self.leaf_count + self.absent_count != self.expected_count:
            raise ValueError(
                f"expected_count is {self.expected_count}, must be leaf_count {self.leaf_count} "
                f"and absent_count {self.absent_count} together"
            )
        if self.outcomes.total != self.leaf_count:
            raise ValueError(
                f"outcomes are {self.outcomes.total}, must be as many as leaves, {self.leaf_count}"
            )
        if len(self.absent) != min(self.absent_count, ABSENT_MAX):
            raise ValueError(
                f"absent names {len(self.absent)} devices, must name all {self.absent_count}, "
                f"or the first {ABSENT_MAX}"
            )
        return self

    def speaks_of(self) -> Iterable[str]:
        return self.absent

    def key(self, event: Event) -> str:
        return f"{event.contract}/{event.actor.party}/{self.site}"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Fleet.name, self.key(event)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        fleet = facts.get(Fleet, self.key(event)) or Fleet(
            contract=event.contract, operator=event.actor.party, site=self.site
        )
        # The first batch for an hour counts: a second one is flagged, and must not unsay it.
        if fleet.overlapping(self.from_, self.until) is not None:
            return
        hour = FleetHour(
            begins=self.from_,
            ends=self.until,
            index=index,
            devices=self.leaf_count,
            expected=self.expected_count,
        )
        hours = sorted((*fleet.hours, hour), key=lambda one: one.begins)
        facts.update(fleet, hours=tuple(hours[-HOURS_KEPT:]))

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        fleet = facts.get(Fleet, self.key(event))
        if fleet is not None:
            facts.update(fleet, hours=tuple(hour for hour in fleet.hours if hour.index != index))
        return None
