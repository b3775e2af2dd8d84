"""Single devices: tested, enrolled, installed, in use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    AWAY,
    CLAIMS_KEPT,
    Bearer,
    Device,
    DeviceTest,
    Enrolled,
    Enrolment,
    Facts,
    Identity,
    Interruptions,
    Key,
)
from ledger.facts.device import DeviceState
from ledger.kinds.withdrawal import interrupt, interrupted_after, interrupted_by, resume
from ledger.values import (
    SERIALS_PER_EVENT_MAX,
    Any_,
    Country,
    Identifier,
    Serial,
    Sha256,
    Text,
    Timestamp,
    Value,
    unique_by,
)

AT_HOME = ("known", "enrolled", "tested", "failed")
"""States of a device that has not left."""


class TestResult(Value):
    serial: Serial
    tpp: Annotated[int, Field(ge=0, le=10_000_000)]
    """Total processing performance as measured, in the unit of 3A090 (TOPS × bit length)."""
    bandwidth_gb_s: Annotated[int, Field(ge=0, le=1_000_000)]
    """Total DRAM bandwidth, GB/s."""
    result: Literal["pass", "fail"]


class LabTested(Kind, kind="lab.tested"):
    """A laboratory has measured devices, serial by serial."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"laboratory"})
    example: ClassVar[dict[str, Any]] = {
        "laboratory": "Independent Test House",
        "country": "US",
        "accreditation": "ISO/IEC 17025",
        "independent": True,
        "sku": "H200-SXM",
        "results": [
            {"serial": "SN000001", "tpp": 15832, "bandwidth_gb_s": 4800, "result": "pass"},
            {"serial": "SN000002", "tpp": 15832, "bandwidth_gb_s": 4800, "result": "fail"},
        ],
    }

    laboratory: Text
    country: Country
    accreditation: Text
    independent: bool
    sku: Identifier
    results: Annotated[
        tuple[TestResult, ...],
        Field(strict=False, min_length=1, max_length=SERIALS_PER_EVENT_MAX),
        unique_by("serial"),
    ]

    def speaks_of(self) -> Iterable[str]:
        return (result.serial for result in self.results)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        for result in self.results:
            yield Device.name, result.serial

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for result in self.results:
            device = facts.get(Device, result.serial) or Device(serial=result.serial)
            # A test says nothing of where a device is: only one that has not left changes state.
            if device.state in AT_HOME:
                state = "tested" if result.result == "pass" else "failed"
            else:
                state = device.state
            test = DeviceTest(
                contract=event.contract,
                # Nobody but an independent laboratory can pass a device.
                result=result.result if self.independent else "fail",
                index=index,
                country=self.country,
                sku=self.sku,
            )
            others = tuple(t for t in device.tests if t.contract != event.contract)
            facts.update(device, state=state, tests=(*others, test))

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        contract = event.contract
        devices = [
            device
            for device in facts.devices(self.speaks_of())
            if (test := device.test_for(contract)) is not None and test.index == index
        ]
        if any(device.contract == contract for device in devices):
            return "correction.dependents"
        for device in devices:
            state = "known" if device.state in AT_HOME else device.state
            facts.update(device, state=state, tests=tuple(t for t in device.tests if t.index != index))
        return None


GpuUuid = Annotated[
    str, StringConstraints(pattern=r"^GPU-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
"""As the driver names a GPU (NVML)."""


class Binding(Value):
    """The three names of one chip: none of them follows from another."""

    serial: Serial
    gpu_uuid: GpuUuid
    certificate_sha256: Sha256
    """Fingerprint of the certificate of the key that signs its attestations."""


class DeviceEnrolled(Kind, kind="device.enrolled"):
    """Binds the serial on a board to the GPU's UUID and to the key that signs its attestations."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "laboratory", "data_centre"})
    example: ClassVar[dict[str, Any]] = {
        "devices": [
            {
                "serial": "SN000001",
                "gpu_uuid": "GPU-00000000-0000-4000-8000-000000000001",
                "certificate_sha256": "c1" * 32,
            }
        ],
    }

    devices: Annotated[
        tuple[Binding, ...],
        Field(strict=False, min_length=1, max_length=SERIALS_PER_EVENT_MAX),
        unique_by("serial"),
        unique_by("gpu_uuid"),
    ]

    def speaks_of(self) -> Iterable[str]:
        return (device.serial for device in self.devices)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        for device in self.devices:
            yield Device.name, device.serial
            yield Enrolment.name, device.serial
            yield Identity.name, device.gpu_uuid

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for said in self.devices:
            device = facts.get(Device, said.serial) or Device(serial=said.serial)
            facts.update(device, state="enrolled" if device.state == "known" else device.state)
            _claim(said, event.contract, facts, index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        for said in self.devices:
            enrolment = facts.get(Enrolment, said.serial)
            identity = facts.get(Identity, said.gpu_uuid)
            if enrolment is None or identity is None:
                continue
            claims = tuple(claim for claim in enrolment.claims if claim.index != index)
            facts.update(enrolment, claims=claims)
            facts.update(identity, bearers=tuple(b for b in identity.bearers if b.index != index))
            device = facts.get(Device, said.serial)
            if device is not None and device.state == "enrolled" and not claims:
                facts.update(device, state="known")
        return None


def _claim(said: Binding, contract: str, facts: Facts, index: int) -> None:
    enrolment = facts.get(Enrolment, said.serial) or Enrolment(serial=said.serial)
    ours = enrolment.claims_of(contract)
    # What is said again stays as old as it was: a correction of the repeat takes nothing away.
    if len(ours) < CLAIMS_KEPT and all(claim.gpu_uuid != said.gpu_uuid for claim in ours):
        claim = Enrolled(
            contract=contract,
            gpu_uuid=said.gpu_uuid,
            certificate_sha256=said.certificate_sha256,
            index=index,
        )
        facts.update(enrolment, claims=(*enrolment.claims, claim))
    identity = facts.get(Identity, said.gpu_uuid) or Identity(gpu_uuid=said.gpu_uuid)
    bearers = identity.bearers_of(contract)
    if len(bearers) < CLAIMS_KEPT and all(bearer.serial != said.serial for bearer in bearers):
        bearer = Bearer(contract=contract, serial=said.serial, index=index)
        facts.update(identity, bearers=(*identity.bearers, bearer))


_AT_WORK: Final[frozenset[DeviceState]] = frozenset({"installed", "attesting", "overdue"})


class Installation(Value):
    serial: Serial
    rack: Identifier
    slot: Identifier


class DeviceInstalled(Kind, kind="device.installed"):
    """Devices stand in their racks."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre"})
    example: ClassVar[dict[str, Any]] = {
        "site": "SHA-1",
        "devices": [{"serial": "SN000001", "rack": "R12", "slot": "7"}],
    }

    site: Identifier
    devices: Annotated[
        tuple[Installation, ...],
        Field(strict=False, min_length=1, max_length=SERIALS_PER_EVENT_MAX),
        unique_by("serial"),
    ]

    def speaks_of(self) -> Iterable[str]:
        return (device.serial for device in self.devices)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        for device in self.devices:
            yield Device.name, device.serial
            yield Interruptions.name, device.serial

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for device in facts.devices_of(event.contract, self.speaks_of()):
            if device.state in _AT_WORK:
                # Installed again: what it was is kept, for this may be the mistake, and not the first.
                interrupt(device, facts, state="installed", site=self.site, index=index)
            elif device.state not in AWAY:
                facts.update(device, state="installed", site=self.site)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        devices = list(facts.devices_of(event.contract, self.speaks_of()))
        again = interrupted_by(index, event.contract, self.speaks_of(), facts)
        first = [d for d in devices if d.serial not in again and d.state in _AT_WORK]
        if any(d.state == "attesting" for d in devices) or interrupted_after(
            index, event.contract, (d.serial for d in first), facts
        ):
            return "correction.dependents"
        if code := resume(event.contract, again, facts, state="installed", index=index):
            return code
        for device in first:
            facts.update(device, state="received")
        return None


Microdegrees = Annotated[int, Field(ge=-180_000_000, le=180_000_000)]


Level = Literal["L0", "L1", "L2", "L3", "L4"]
"""How far a statement can be trusted (`UsageAttested`)."""


class LocationBound(Value):
    """How long an answer took to an observer who knows where it stands: no signal is faster than light."""

    observer: Identifier
    latitude_e6: Annotated[int, Field(ge=-90_000_000, le=90_000_000)]
    """Of the observer, in millionths of a degree north (WGS 84)."""
    longitude_e6: Microdegrees
    """Of the observer, in millionths of a degree east."""
    rtt_us: Annotated[int, Field(ge=1, le=60_000_000)]
    """The shortest round trip of the period, microseconds."""


class Tenants(Value):
    """Remote users of the devices, and how many of them were checked (know your customer)."""

    total: Annotated[int, Field(ge=0, le=100_000_000)]
    covered: Annotated[int, Field(ge=0, le=100_000_000)]

    @model_validator(mode="after")
    def _part(self) -> Self:
        if self.covered > self.total:
            raise ValueError(f"covered is {self.covered}, must not be more than total {self.total}")
        return self


class Attestation(Value):
    serial: Serial
    outcome: Literal["pass", "fail", "indeterminate"]
    """Indeterminate: the evidence is in order, and what it measures is not known."""
    busy_seconds: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    measurements: Literal["match", "mismatch", "unknown"] | None = None
    """Firmware and driver as measured, against the vendor's reference values."""
    firmware: Identifier | None = None
    """Version that the device reports."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.measurements == "mismatch" and self.outcome != "fail":
            raise ValueError(f"outcome is {self.outcome}, must be fail where measurements do not match")
        if self.measurements == "unknown" and self.outcome == "pass":
            raise ValueError("outcome is pass, must be indeterminate where measurements are unknown")
        return self


class ProjectUse(Value):
    """How long the devices worked for one project."""

    project: Identifier
    gpu_seconds: Annotated[int, Field(ge=0, le=10**15)]


class UsageAttested(Kind, kind="usage.attested"):
    """Devices of one site were in use over a period, at a stated level of assurance.

    L0 declaration, L1 telemetry of the driver, L2 that telemetry signed by an operator's key,
    L3 evidence signed by the device, L4 the same with a location bound (RATS roles, RFC 9334).
    """

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre"})
    example: ClassVar[dict[str, Any]] = {
        "site": "SHA-1",
        "from": "2027-06-01T00:00:00Z",
        "until": "2027-06-01T01:00:00Z",
        "level": "L1",
        "purpose": "inference",
        "devices": [{"serial": "SN000001", "outcome": "pass", "busy_seconds": 3120}],
    }

    site: Identifier
    from_: Annotated[Timestamp, Field(alias="from")]
    until: Timestamp
    level: Level
    purpose: Identifier | None = None
    tenants: Tenants | None = None
    locations: Any_[LocationBound] = ()
    """Bounds on where the site is, one for each observer."""
    projects: Annotated[Any_[ProjectUse], unique_by("project")] = ()
    """What the time went to, where the operator says so."""
    devices: Annotated[
        tuple[Attestation, ...],
        Field(strict=False, min_length=1, max_length=SERIALS_PER_EVENT_MAX),
        unique_by("serial"),
    ]

    @model_validator(mode="after")
    def _period(self) -> Self:
        if self.until <= self.from_:
            raise ValueError("until must be after from")
        return self

    def speaks_of(self) -> Iterable[str]:
        return (device.serial for device in self.devices)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        for device in self.devices:
            yield Device.name, device.serial

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        contract = event.contract
        for said in self.devices:
            device = facts.get(Device, said.serial)
            if device is None or device.contract != contract or device.state in AWAY:
                continue
            if said.outcome == "pass":
                facts.update(device, state="attesting", site=self.site, attested_at=at, failures=0)
            elif said.outcome == "fail":
                facts.update(device, failures=device.failures + 1)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        # The next attestation, or its absence, tells what is true of the device now.
        return None
