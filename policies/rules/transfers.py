"""Transfers: of devices that are there, from whoever has them, and as they were asked for."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import Device, Shipment, Transfer
from ledger.kinds.transfer import DeviceTransferred, TransferRequested
from ledger.kinds.withdrawal import ABROAD
from policies.conditions import Case
from policies.rules.devices import in_no_state_of, not_ours
from policies.rules.rule import broken, broken_by_devices, rule


@rule(
    "transfer.requested",
    sentences={
        "transfer_new.exists": "the transfer number is taken",
        "transfer_giver.unknown": "no party to the contract: {subjects}",
    },
)
def transfer_new(case: Case, data: TransferRequested) -> Iterator[Finding]:
    if case.facts.get(Transfer, f"{case.event.contract}/{data.transfer}") is not None:
        yield broken(case, "transfer_new.exists")
    if case.license(data.license) is None:
        yield broken(case, "license_known.unknown")
    # Who receives is what the documents judge: a stranger may be asked for, and be refused by its clause.
    if not case.contract.roles_of(data.from_.party):
        yield broken(case, "transfer_giver.unknown", subjects=(data.from_.party,))


@rule(
    "transfer.requested",
    "device.transferred",
    sentences={
        "transfer_devices.elsewhere": "{shortfall} of {limit} devices are at another site: {subjects}",
        "transfer_devices.license": "{shortfall} of {limit} devices were released under another license: "
        "{subjects}",
    },
)
def transfer_devices(case: Case, data: TransferRequested | DeviceTransferred) -> Iterator[Finding]:
    yield from not_ours(case, data.serials)
    yield from in_no_state_of(case, data.serials, ABROAD)
    ours = list(case.facts.devices_of(case.event.contract, data.serials))
    elsewhere = tuple(d.serial for d in ours if d.site is not None and d.site != data.from_.site)
    if elsewhere:
        yield broken_by_devices(case, "transfer_devices.elsewhere", len(data.serials), elsewhere)
    if not isinstance(data, TransferRequested):
        return
    others = tuple(device.serial for device in ours if _license_of(case, device) != data.license)
    if others:
        yield broken_by_devices(case, "transfer_devices.license", len(data.serials), others)


def _license_of(case: Case, device: Device) -> str | None:
    release = None if device.shipment is None else case.facts.get(Shipment, device.shipment)
    return None if release is None else release.license


@rule(
    "device.transferred",
    sentences={
        "transfer_known.unasked": "nobody asked for this transfer",
        "transfer_known.devices": "{shortfall} of {limit} devices are none that the transfer was asked for: "
        "{subjects}",
        "transfer_known.receiver": "the transfer was asked for to {limit}, it went to {observed}",
    },
)
def transfer_known(case: Case, data: DeviceTransferred) -> Iterator[Finding]:
    asked = None
    if data.transfer is not None:
        asked = case.facts.get(Transfer, f"{case.event.contract}/{data.transfer}")
    if asked is None or asked.state == "cancelled":
        yield broken(case, "transfer_known.unasked")
        return
    if others := tuple(serial for serial in data.serials if serial not in set(asked.serials)):
        yield broken_by_devices(case, "transfer_known.devices", len(data.serials), others)
    went, meant = f"{data.to.party}/{data.to.site}", f"{asked.receiver}/{asked.site}"
    if went != meant:
        yield broken(case, "transfer_known.receiver", observed=went, limit=meant)
