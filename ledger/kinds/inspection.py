"""What is looked into and what is told: inspections, incidents, reports, service levels, jobs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    DIVERSIONS_KEPT,
    Diversion,
    Facts,
    Incident,
    Inspection,
    Key,
    Report,
    Retention,
)
from ledger.kinds.device import Level, Tenants
from ledger.values import (
    EVERY_ROLE,
    Amount,
    Any_,
    Date,
    Identifier,
    Money,
    SerialsOrNone,
    Sha256,
    Text,
    Timestamp,
)

Seconds = Annotated[int, Field(ge=0, le=100_000_000)]


class InspectionRequested(Kind, kind="inspection.requested"):
    """Asks to see the devices of a site: an end-use check, or one that the contract allows."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"authority", "exporter"})
    example: ClassVar[dict[str, Any]] = {
        "inspection": "EUC-2027-014",
        "site": "SHA-1",
        "purpose": "end-use check",
        "serials": ["SN000001"],
    }

    inspection: Identifier
    site: Identifier
    purpose: Text
    serials: SerialsOrNone = ()
    """Devices to be shown; every one at the site, if none is named."""

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Inspection.name, f"{event.contract}/{self.inspection}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        # Asked for again under its number it would get more time.
        if facts.get(Inspection, f"{event.contract}/{self.inspection}") is None:
            facts.put(
                Inspection(
                    contract=event.contract,
                    inspection=self.inspection,
                    site=self.site,
                    asked_by=event.actor.party,
                    asked_at=at,
                )
            )


class InspectionCompleted(Kind, kind="inspection.completed"):
    """Says how an inspection ended; who asked for it says so."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = InspectionRequested.said_by
    example: ClassVar[dict[str, Any]] = {
        "inspection": "EUC-2027-014",
        "result": "satisfied",
        "seen": ["SN000001"],
        "absent": [],
        "report_sha256": "1d" * 32,
    }

    inspection: Identifier
    result: Literal["satisfied", "not_satisfied", "refused"]
    seen: SerialsOrNone = ()
    absent: SerialsOrNone = ()
    report_sha256: Sha256

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if both := sorted(set(self.seen) & set(self.absent)):
            raise ValueError(f"{both[0]} is seen and absent, must be one of these")
        return self

    def speaks_of(self) -> Iterable[str]:
        return (*self.seen, *self.absent)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Inspection.name, f"{event.contract}/{self.inspection}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        inspection = facts.get(Inspection, f"{event.contract}/{self.inspection}")
        if (
            inspection is not None
            and inspection.asked_by == event.actor.party
            and inspection.state == "asked"
        ):
            facts.update(inspection, state="completed", result=self.result, completed_at=at, completed=index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        inspection = facts.get(Inspection, f"{event.contract}/{self.inspection}")
        if inspection is not None and inspection.completed == index:
            facts.update(inspection, state="asked", result=None, completed_at=None, completed=None)
        return None


class IncidentReported(Kind, kind="incident.reported"):
    """Something has gone wrong: devices lost, diverted, tampered with, misused."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "incident": "INC-7",
        "what": "loss",
        "serials": ["SN000998", "SN000999"],
        "shipment": "SH-1",
        "narrative": "two of 1,000 were not in the crates that arrived",
        "cause": 41,
    }

    incident: Identifier
    what: Literal["loss", "diversion", "tampering", "misuse", "security", "outage", "other"]
    """Diversion: goods have gone where no license lets them."""
    serials: SerialsOrNone = ()
    shipment: Identifier | None = None
    narrative: Text
    cause: Annotated[int, Field(ge=0)] | None = None
    """Index of the entry that called for the report."""

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Incident.name, f"{event.contract}/{self.incident}"
        if self.what == "diversion":
            yield Retention.name, event.contract

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        known = facts.get(Incident, f"{event.contract}/{self.incident}")
        if known is None or known.withdrawn:
            facts.put(
                Incident(
                    contract=event.contract,
                    incident=self.incident,
                    what=self.what,
                    index=index,
                    reported_at=at,
                )
            )
        # Records are kept longer for every diversion that is told of, under whatever number.
        if self.what == "diversion":
            retention = facts.get(Retention, event.contract) or Retention(contract=event.contract)
            diversions = (*retention.diversions, Diversion(index=index, at=at))
            facts.update(retention, diversions=diversions[-DIVERSIONS_KEPT:])

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        known = facts.get(Incident, f"{event.contract}/{self.incident}")
        if known is not None and known.index == index:
            facts.update(known, withdrawn=True)
        if self.what == "diversion":
            retention = facts.get(Retention, event.contract)
            if retention is not None:
                left = tuple(one for one in retention.diversions if one.index != index)
                facts.update(retention, diversions=left)
        return None


class ReportFiled(Kind, kind="report.filed"):
    """A report for a period that the license or the contract asks for."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE - {"laboratory"}
    example: ClassVar[dict[str, Any]] = {
        "report": "use",
        "from": "2026-07-01",
        "until": "2026-12-31",
        "sha256": "2e" * 32,
        "tenants": {"total": 1200, "covered": 1200},
    }

    report: Identifier
    """What it reports on."""
    from_: Annotated[Date, Field(alias="from")]
    until: Date
    """The last day of the period."""
    sha256: Sha256
    """Of the report."""
    tenants: Tenants | None = None

    @model_validator(mode="after")
    def _period(self) -> Self:
        if self.until < self.from_:
            raise ValueError(f"until is {self.until}, must not be before from {self.from_}")
        return self

    def key(self, event: Event) -> str:
        return f"{event.contract}/{self.report}/{self.until.isoformat()}"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Report.name, self.key(event)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        known = facts.get(Report, self.key(event))
        # A second one for the period does not make the first one later.
        if known is None or known.withdrawn:
            facts.put(
                Report(
                    contract=event.contract,
                    report=self.report,
                    begins=self.from_,
                    ends=self.until,
                    index=index,
                    filed_at=at,
                )
            )

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        known = facts.get(Report, self.key(event))
        if known is not None and known.index == index:
            facts.update(known, withdrawn=True)
        return None


class _Told(Kind):
    """Changes no fact: it is judged as it comes, and read by whoever reckons figures from the log."""

    nature: ClassVar[Nature] = "fact"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        return

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        return None


class SlaReported(_Told, kind="sla.reported"):
    """How long a service was down in a period."""

    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre", "end_user", "buyer"})
    example: ClassVar[dict[str, Any]] = {
        "service": "cluster-1",
        "from": "2027-01-01T00:00:00Z",
        "until": "2027-01-31T00:00:00Z",
        "period_seconds": 2592000,
        "down_seconds": 1200,
        "fee": {"amount": "100000.00", "currency": "USD"},
    }

    service: Identifier
    from_: Annotated[Timestamp, Field(alias="from")]
    until: Timestamp
    period_seconds: Annotated[int, Field(ge=1, le=100_000_000)]
    """Of agreed service: maintenance that was agreed on does not count."""
    down_seconds: Seconds
    fee: Money | None = None
    """What the service of the period costs: a credit may be a part of it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.until <= self.from_:
            raise ValueError("until must be after from")
        if self.period_seconds > (self.until - self.from_).total_seconds():
            raise ValueError(f"period_seconds is {self.period_seconds}, must fit between from and until")
        if self.down_seconds > self.period_seconds:
            raise ValueError(
                f"down_seconds is {self.down_seconds}, must not be more than {self.period_seconds}"
            )
        return self


class JobReported(_Told, kind="job.reported"):
    """How a job ran, as its operator declares; the level says how far that can be trusted."""

    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre", "end_user"})
    example: ClassVar[dict[str, Any]] = {
        "job": "JOB-2027-0212",
        "job_class": "pretraining-70b",
        "site": "SHA-1",
        "level": "L0",
        "from": "2027-02-12T00:00:00Z",
        "until": "2027-02-13T00:00:00Z",
        "gpus": 1024,
        "tokens_per_second": 1843200,
        "communication_share": "0.18",
        "productive_seconds": 82800,
        "recovery_seconds": [420, 610],
    }

    job: Identifier
    job_class: Identifier
    """What it may be compared with."""
    site: Identifier
    level: Level
    from_: Annotated[Timestamp, Field(alias="from")]
    until: Timestamp
    gpus: Annotated[int, Field(ge=1, le=10_000_000)]
    tokens_per_second: Annotated[int, Field(ge=0, le=1_000_000_000_000)]
    """Of the whole job."""
    communication_share: Amount | None = None
    """Of the time of a step, as a decimal from 0 to 1."""
    productive_seconds: Seconds | None = None
    recovery_seconds: Any_[Seconds] = ()
    """From each failure to the step after it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.until <= self.from_:
            raise ValueError("until must be after from")
        if self.communication_share is not None and self.communication_share > 1:
            raise ValueError(f"communication_share is {self.communication_share}, must be 1 at most")
        wall = (self.until - self.from_).total_seconds()
        if self.productive_seconds is not None and self.productive_seconds > wall:
            raise ValueError(
                f"productive_seconds is {self.productive_seconds}, must fit between from and until"
            )
        return self
