"""Transfers: devices that were delivered pass to other hands, or to another place."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ledger.event import Event, Kind, Nature
from ledger.facts import Device, Facts, Key, License, Shipment, Transfer
from ledger.facts.device import DeviceState
from ledger.kinds.withdrawal import ABROAD, Withdrawal
from ledger.values import Country, Identifier, PartyId, Serials, Text, Value

_HOLDERS = frozenset({"exporter", "buyer", "consignee", "end_user", "data_centre"})


class Place(Value):
    """Whose hands, and where."""

    party: PartyId
    site: Identifier
    country: Country


_SERIALS = ["SN000001", "SN000002"]
_FROM = {"party": "dragon-dc", "site": "SHA-1", "country": "CN"}
_TO = {"party": "dragon-affiliate", "site": "SHA-2", "country": "CN"}


class TransferRequested(Kind, kind="transfer.requested"):
    """Asks to pass delivered devices on: to another party, another site, or both."""

    nature: ClassVar[Nature] = "request"
    said_by: ClassVar[frozenset[str]] = _HOLDERS
    example: ClassVar[dict[str, Any]] = {
        "transfer": "TR-1",
        "license": "D-100200",
        "serials": _SERIALS,
        "from": _FROM,
        "to": _TO,
        "reason": "the affiliate runs the second hall",
    }

    transfer: Identifier
    license: Identifier
    """Under which the devices were released."""
    serials: Serials
    from_: Annotated[Place, Field(alias="from")]
    to: Place
    reason: Text

    def subject(self) -> str:
        return f"transfer/{self.transfer}"

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Transfer.name, f"{event.contract}/{self.transfer}"
        yield License.name, self.license
        yield from releases_of(event.contract, self.serials, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(
            Transfer(
                contract=event.contract,
                transfer=self.transfer,
                license=self.license,
                serials=self.serials,
                giver=self.from_.party,
                receiver=self.to.party,
                site=self.to.site,
                country=self.to.country,
                requested=index,
            )
        )

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        transfer = facts.get(Transfer, f"{event.contract}/{self.transfer}")
        if transfer is None or transfer.state == "cancelled":
            return None
        if transfer.transferred:
            return "correction.dependents"
        facts.update(transfer, state="cancelled")
        return None


class DeviceTransferred(Withdrawal, kind="device.transferred"):
    """Devices have passed to other hands, or to another place."""

    said_by: ClassVar[frozenset[str]] = _HOLDERS | {"forwarder"}
    example: ClassVar[dict[str, Any]] = {
        "transfer": "TR-1",
        "serials": _SERIALS,
        "from": _FROM,
        "to": _TO,
    }
    moves_from: ClassVar[frozenset[DeviceState]] = ABROAD
    moves_to: ClassVar[DeviceState] = "transferred"

    transfer: Identifier | None = None
    """What was asked for, if it was."""
    from_: Annotated[Place, Field(alias="from")]
    to: Place

    def rests_on(self) -> Iterable[str]:
        return () if self.transfer is None else (f"transfer/{self.transfer}",)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from super().reads(event, facts)
        if self.transfer is not None:
            yield Transfer.name, f"{event.contract}/{self.transfer}"

    def site_of(self, device: Device) -> str:
        return self.to.site

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        super().fold(event, facts, index=index, at=at)
        transfer = self._asked(event, facts)
        if transfer is not None:
            told = dict.fromkeys((*transfer.transferred, *self.serials))
            _moved(transfer, facts, (s for s in transfer.serials if s in told))

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        refused = super().undo(event, facts, index=index)
        if refused is not None:
            return refused
        transfer = self._asked(event, facts)
        if transfer is not None:
            _moved(transfer, facts, (s for s in transfer.transferred if s not in self.serials))
        return None

    def _asked(self, event: Event, facts: Facts) -> Transfer | None:
        if self.transfer is None:
            return None
        transfer = facts.get(Transfer, f"{event.contract}/{self.transfer}")
        return None if transfer is None or transfer.state == "cancelled" else transfer


def releases_of(contract: str, serials: Iterable[str], facts: Facts) -> Iterable[Key]:
    """The keys of devices and, once they are loaded, of the releases that hold those of the contract."""
    releases: dict[str, None] = {}
    for serial in serials:
        yield Device.name, serial
        device = facts.peek(Device, serial)
        if device is not None and device.contract == contract and device.shipment is not None:
            releases[device.shipment] = None
    for release in releases:
        yield Shipment.name, release


def licenses_of(contract: str, serials: Iterable[str], facts: Facts) -> tuple[str, ...]:
    """The licenses under which devices of the contract were released, in their order."""
    found: dict[str, None] = {}
    for device in facts.devices_of(contract, serials):
        release = None if device.shipment is None else facts.get(Shipment, device.shipment)
        if release is not None:
            found[release.license] = None
    return tuple(found)


def _moved(transfer: Transfer, facts: Facts, serials: Iterable[str]) -> None:
    transferred = tuple(serials)
    whole = len(transferred) == len(transfer.serials)
    facts.update(
        transfer,
        transferred=transferred,
        state="transferred" if whole else "part_transferred" if transferred else "requested",
    )
