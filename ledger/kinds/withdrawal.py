"""Devices go out of use, and some come back: lost and found, quarantined, decommissioned, destroyed.

Each moves only the devices that were released under its own contract, and each can be taken back once
nothing later has moved the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Final

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    INTERRUPTIONS_KEPT,
    Device,
    Facts,
    Interruption,
    Interruptions,
    Key,
)
from ledger.facts.device import DeviceState
from ledger.values import Any_, Identifier, PartyId, Serials, Sha256, Text, Value

_HOLDERS: Final = frozenset({"exporter", "forwarder", "consignee", "end_user", "data_centre"})
ABROAD: Final[frozenset[DeviceState]] = frozenset(
    {"received", "damaged", "installed", "attesting", "overdue", "quarantined", "transferred", "found"}
)
"""States of a device that has arrived and is in nobody else's hands."""


class Withdrawal(Kind):
    """Takes devices of the contract from some states into another; what stands elsewhere is not moved."""

    nature: ClassVar[Nature] = "fact"
    moves_from: ClassVar[frozenset[DeviceState]]
    moves_to: ClassVar[DeviceState]

    serials: Serials

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        for serial in self.serials:
            yield Device.name, serial
            yield Interruptions.name, serial

    def site_of(self, device: Device) -> str | None:
        """Where the device is afterwards."""
        return device.site

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for device in facts.devices_of(event.contract, self.serials):
            if device.state in self.moves_from:
                interrupt(device, facts, state=self.moves_to, site=self.site_of(device), index=index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        return resume(event.contract, self.serials, facts, state=self.moves_to, index=index)


def interrupt(device: Device, facts: Facts, *, state: DeviceState, site: str | None, index: int) -> None:
    """Move a device, and keep what it was before entry `index`."""
    assert device.contract is not None, "nobody moves a device that is under no contract"
    before = _interruptions(device.serial, device.contract, facts)
    now = Interruption(index=index, state=device.state, site=device.site)
    facts.update(before, interruptions=(*before.interruptions, now)[-INTERRUPTIONS_KEPT:])
    facts.update(device, state=state, site=site)


def interrupted_by(index: int, contract: str, serials: Iterable[str], facts: Facts) -> tuple[str, ...]:
    """Those of the contract's devices that entry `index` has moved, as far back as is kept."""
    return tuple(
        device.serial
        for device in facts.devices_of(contract, serials)
        if any(one.index == index for one in _interruptions(device.serial, contract, facts).interruptions)
    )


def interrupted_after(index: int, contract: str, serials: Iterable[str], facts: Facts) -> bool:
    """Whether an entry after `index` has moved one of these devices, as far back as is kept."""
    known = (_interruptions(serial, contract, facts).interruptions for serial in serials)
    return any(one.index > index for interruptions in known for one in interruptions)


def resume(
    contract: str, serials: Iterable[str], facts: Facts, *, state: DeviceState, index: int
) -> str | None:
    """Put back what entry `index` moved to `state`; a code, where a later entry has moved it on."""
    moved = [
        (device, _interruptions(device.serial, contract, facts))
        for device in facts.devices(interrupted_by(index, contract, serials, facts))
    ]
    for device, known in moved:
        if device.state != state or known.interruptions[-1].index != index:
            return "correction.dependents"
    for device, known in moved:
        *earlier, before = known.interruptions
        facts.update(known, interruptions=tuple(earlier))
        facts.update(device, state=before.state, site=before.site)
    return None


def _interruptions(serial: str, contract: str, facts: Facts) -> Interruptions:
    known = facts.get(Interruptions, serial)
    # Another contract may have held the device before.
    if known is None or known.contract != contract:
        return Interruptions(serial=serial, contract=contract)
    return known


class DeviceLost(Withdrawal, kind="device.lost"):
    """Nobody knows where the devices are. An incident report says how that came about."""

    said_by: ClassVar[frozenset[str]] = _HOLDERS
    example: ClassVar[dict[str, Any]] = {
        "serials": ["SN000001"],
        "last_seen": "SHA-1",
        "reason": "not in its rack at the yearly count",
    }
    moves_from: ClassVar[frozenset[DeviceState]] = ABROAD | {"released", "in_transit", "missing", "rma_out"}
    moves_to: ClassVar[DeviceState] = "lost"

    last_seen: Identifier | None = None
    """Site."""
    reason: Text

    def site_of(self, device: Device) -> str | None:
        return None


class DeviceFound(Withdrawal, kind="device.found"):
    """Devices that were lost, or missing from a delivery, have turned up."""

    said_by: ClassVar[frozenset[str]] = _HOLDERS | {"authority"}
    example: ClassVar[dict[str, Any]] = {
        "serials": ["SN000001"],
        "site": "SHA-1",
        "circumstances": "behind rack R12, sealed",
    }
    moves_from: ClassVar[frozenset[DeviceState]] = frozenset({"lost", "missing"})
    moves_to: ClassVar[DeviceState] = "found"

    site: Identifier
    circumstances: Text

    def site_of(self, device: Device) -> str | None:
        return self.site


class DeviceQuarantined(Withdrawal, kind="device.quarantined"):
    """Devices are kept from use until it is known what they are; the next attestation that passes ends it."""

    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre", "end_user", "exporter", "authority"})
    example: ClassVar[dict[str, Any]] = {
        "serials": ["SN000001"],
        "reason": "firmware measured that no reference value knows",
    }
    moves_from: ClassVar[frozenset[DeviceState]] = ABROAD - {"quarantined"}
    moves_to: ClassVar[DeviceState] = "quarantined"

    reason: Text


class DeviceDecommissioned(Withdrawal, kind="device.decommissioned"):
    """Devices are out of use for good; they are still there, until they are destroyed."""

    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre", "end_user"})
    example: ClassVar[dict[str, Any]] = {"serials": ["SN000001"], "reason": "end of its service life"}
    moves_from: ClassVar[frozenset[DeviceState]] = ABROAD
    moves_to: ClassVar[DeviceState] = "decommissioned"

    reason: Text


class Witness(Value):
    """Who saw it done."""

    name: Text
    organisation: Text
    party: PartyId | None = None
    """Where the witness speaks for a party to the contract."""


class DeviceDestroyed(Withdrawal, kind="device.destroyed"):
    """Devices no longer exist, nor does anything that computes in them."""

    said_by: ClassVar[frozenset[str]] = frozenset({"data_centre", "end_user", "exporter"})
    example: ClassVar[dict[str, Any]] = {
        "serials": ["SN000001"],
        "method": "shredded",
        "witnesses": [{"name": "J. Doe", "organisation": "Independent Test House"}],
        "report_sha256": "de" * 32,
    }
    moves_from: ClassVar[frozenset[DeviceState]] = ABROAD | {
        "released", "in_transit", "missing", "lost", "rma_out", "returned", "replaced", "decommissioned",
    }  # fmt: skip
    moves_to: ClassVar[DeviceState] = "destroyed"

    method: Identifier
    witnesses: Any_[Witness] = ()
    report_sha256: Sha256 | None = None
    """Of the record of the destruction."""

    def site_of(self, device: Device) -> str | None:
        return None
