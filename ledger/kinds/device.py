"""Single devices: tested, installed, in use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import Device, DeviceTest, Facts, Key
from ledger.values import (
    SERIALS_PER_EVENT_MAX,
    Country,
    Identifier,
    Serial,
    Text,
    Timestamp,
    Value,
    unique_by,
)

AT_HOME = ("known", "tested", "failed")
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

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for device in facts.devices_of(event.contract, self.speaks_of()):
            facts.update(device, state="installed", site=self.site)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        devices = list(facts.devices_of(event.contract, self.speaks_of()))
        if any(device.state == "attesting" for device in devices):
            return "correction.dependents"
        for device in devices:
            facts.update(device, state="received")
        return None


class Attestation(Value):
    serial: Serial
    outcome: Literal["pass", "fail", "indeterminate"]
    busy_seconds: Annotated[int, Field(ge=0, le=10_000_000)] | None = None


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
    level: Literal["L0", "L1", "L2", "L3", "L4"]
    purpose: Identifier | None = None
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
        passed = (said.serial for said in self.devices if said.outcome == "pass")
        for device in facts.devices_of(event.contract, passed):
            facts.update(device, state="attesting", site=self.site, attested_at=at)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        # The next attestation, or its absence, tells what is true of the device now.
        return None
