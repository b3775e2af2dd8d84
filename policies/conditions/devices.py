"""Conditions on single devices: where they stand, which they are, how they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

from pydantic import Field

from ledger.event import Event
from ledger.facts import Contract, Device, Enrolment, Facts, Identity, Key, License, Shipment
from ledger.kinds.delivery import DeliveryReceived
from ledger.kinds.device import DeviceEnrolled, DeviceInstalled, LabTested, UsageAttested
from ledger.kinds.fleet import FleetAttested
from ledger.kinds.shipment import ShipmentRequested
from ledger.kinds.withdrawal import DeviceDestroyed
from ledger.values import Identifier, Many
from policies.conditions.case import NOT_APPLICABLE, Case, Found, Proposes
from policies.conditions.declared import MORE, Allows
from policies.conditions.parameters import Parameters
from policies.conditions.registry import condition


def shipments_of(contract: str, serials: Iterable[str], facts: Facts) -> Iterator[Key]:
    """The keys of the releases that the contract's own devices came with: they name the license."""
    for serial in serials:
        device = facts.peek(Device, serial)
        if device is not None and device.contract == contract and device.shipment is not None:
            yield Shipment.name, device.shipment


def suspensions(case: Case, serials: Iterable[str]) -> tuple[Proposes, ...]:
    """For each license that one of the contract's own devices was released under, once."""
    keys = dict.fromkeys(key for _, key in shipments_of(case.event.contract, serials, case.facts))
    shipments = (case.facts.get(Shipment, key) for key in keys)
    licenses = dict.fromkeys(shipment.license for shipment in shipments if shipment is not None)
    return tuple(Proposes("suspension", license=license_) for license_ in licenses)


# --- 6 --------------------------------------------------------------------------------------------


class SiteAllowList(Parameters):
    sites: Annotated[
        Many[Identifier] | None,
        Allows("site"),
        Field(description="Sites that are allowed; those of the contract, as amended, if not given."),
    ] = None


_AtSite = ShipmentRequested | DeliveryReceived | DeviceInstalled | UsageAttested | FleetAttested


def _site_of(data: _AtSite) -> str:
    return data.destination.site if isinstance(data, ShipmentRequested) else data.site


def _allowed(contract: Contract, parameters: SiteAllowList) -> tuple[str, ...]:
    return contract.sites if parameters.sites is None else parameters.sites


def _off_site_reads(event: Event, facts: Facts, parameters: SiteAllowList) -> Iterator[Key]:
    data = event.data
    if not isinstance(data, _AtSite) or isinstance(data, ShipmentRequested):
        return
    contract = facts.peek(Contract, event.contract)
    # Only where something is wrong: nearly every attestation comes from where it should.
    if contract is None or data.site in _allowed(contract, parameters):
        return
    if isinstance(data, FleetAttested):
        for number in contract.licenses:
            yield License.name, number
    else:
        yield from shipments_of(event.contract, data.speaks_of(), facts)


@condition(
    number=6,
    parameters=SiteAllowList,
    requests=("shipment.requested",),
    facts=("delivery.received", "device.installed", "usage.attested", "fleet.attested"),
    unit="site",
    sentences={
        "pass": "{observed} is an allowed site",
        "not_listed": "{observed} is none of the sites that are allowed",
    },
    reads=_off_site_reads,
)
def site_allow_list(case: Case, parameters: SiteAllowList) -> Found:
    """Devices go to, stand at and work at sites on a list, and nowhere else.

    The list is the document's, or the contract's own. A destination that is not on it is refused; a
    delivery, an installation or an attestation elsewhere is flagged, and a suspension of the licenses
    proposed under which the devices were released. A license is for the end user at the address that it
    names; another place needs an amendment.
    """
    data = case.data
    if not isinstance(data, _AtSite):
        return NOT_APPLICABLE
    site = _site_of(data)
    if site in _allowed(case.contract, parameters):
        return Found("pass", None, site)
    if isinstance(data, ShipmentRequested):
        return Found("fail", "not_listed", site)
    if isinstance(data, FleetAttested):
        # A batch names no device that is there, so it speaks for every license of the contract.
        proposes = tuple(Proposes("suspension", license=number) for number in case.own_licenses)
    else:
        proposes = suspensions(case, data.speaks_of())
    return Found("fail", "not_listed", site, proposes=proposes)


# --- 26 -------------------------------------------------------------------------------------------


class UniqueIdentity(Parameters):
    pass


_AT_WORK: Final = frozenset({"installed", "attesting", "overdue"})
_Identified = LabTested | DeviceEnrolled | ShipmentRequested | DeliveryReceived | DeviceInstalled


def _identity_reads(event: Event, facts: Facts, parameters: UniqueIdentity) -> Iterator[Key]:
    yield from shipments_of(event.contract, event.data.speaks_of(), facts)
    uuids: list[str] = []
    for serial in event.data.speaks_of():
        yield Enrolment.name, serial
        enrolment = facts.peek(Enrolment, serial)
        if enrolment is not None:
            uuids += (claim.gpu_uuid for claim in enrolment.claims_of(event.contract))
    if isinstance(event.data, DeviceEnrolled):
        uuids += (device.gpu_uuid for device in event.data.devices)
    for uuid in uuids:
        yield Identity.name, uuid
        identity = facts.peek(Identity, uuid)
        for bearer in identity.bearers if identity is not None else ():
            yield Device.name, bearer.serial


@condition(
    number=26,
    parameters=UniqueIdentity,
    requests=("shipment.requested",),
    facts=("lab.tested", "device.enrolled", "delivery.received", "device.installed"),
    unit="devices",
    sentences={
        "pass": "{observed} of {limit} devices are one of a kind",
        "elsewhere": "{shortfall} of {limit} devices are active under another contract: {subjects}",
        "two_sites": "{shortfall} of {limit} devices work at another site: {subjects}",
        "two_uuids": "{shortfall} of {limit} serials stand under more than one GPU UUID: {subjects}",
        "two_serials": "{shortfall} of {limit} devices share a GPU UUID with another serial: {subjects}",
    },
    reads=_identity_reads,
)
def unique_identity(case: Case, parameters: UniqueIdentity) -> Found:
    """A serial is one device, a GPU UUID is one device, and a device is in one place.

    Active elsewhere is a serial that another contract has released, or that works at another site of
    this one. Enrolments are compared with those of the same contract, and with those of another contract
    for the serials that it has released: nobody else's word counts against a device. While two enrolments
    differ, neither device is released, until one of them is declared in error. Where they arrive or are
    installed all the same, a suspension is proposed.
    """
    data = case.data
    if not isinstance(data, _Identified):
        return NOT_APPLICABLE
    serials = tuple(data.speaks_of())
    for code, wrong in (
        ("elsewhere", _elsewhere(case, serials)),
        ("two_sites", _at_two_sites(case, data, serials)),
        ("two_uuids", _under_two_uuids(case, data, serials)),
        ("two_serials", _under_two_serials(case, data, serials)),
    ):
        if wrong:
            arrived = isinstance(data, DeliveryReceived | DeviceInstalled)
            return Found(
                "fail",
                code,
                len(serials) - len(wrong),
                len(serials),
                len(wrong),
                subjects=wrong,
                proposes=suspensions(case, serials) if arrived else (),
            )
    return Found("pass", None, len(serials), len(serials))


def _elsewhere(case: Case, serials: tuple[str, ...]) -> tuple[str, ...]:
    ours = (None, case.event.contract)
    return tuple(device.serial for device in case.devices(serials) if device.contract not in ours)


def _at_two_sites(case: Case, data: _Identified, serials: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(data, DeliveryReceived | DeviceInstalled):
        return ()
    ours = case.facts.devices_of(case.event.contract, serials)
    return tuple(d.serial for d in ours if d.state in _AT_WORK and d.site not in (None, data.site))


def _uuids(case: Case, data: _Identified, serial: str) -> list[str]:
    """The UUIDs under which this contract has enrolled the serial, or does so now."""
    enrolment = case.facts.get(Enrolment, serial)
    uuids = [claim.gpu_uuid for claim in enrolment.claims_of(case.event.contract)] if enrolment else []
    if isinstance(data, DeviceEnrolled):
        uuids += (device.gpu_uuid for device in data.devices if device.serial == serial)
    return list(dict.fromkeys(uuids))


def _under_two_uuids(case: Case, data: _Identified, serials: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(serial for serial in serials if len(_uuids(case, data, serial)) > 1)


def _under_two_serials(case: Case, data: _Identified, serials: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        serial
        for serial in serials
        if any(_others_bear(case, uuid, serial) for uuid in _uuids(case, data, serial))
    )


def _others_bear(case: Case, uuid: str, serial: str) -> bool:
    identity = case.facts.get(Identity, uuid)
    for bearer in identity.bearers if identity is not None else ():
        if bearer.serial == serial:
            continue
        if bearer.contract == case.event.contract:
            return True
        held = case.facts.get(Device, bearer.serial)
        if held is not None and held.contract == bearer.contract:
            return True
    return False


# --- 32 -------------------------------------------------------------------------------------------


class DestructionEvidence(Parameters):
    witnesses: Annotated[int, MORE, Field(ge=1, le=100, description="How many must have seen it.")] = 1
    independent: Annotated[
        bool,
        MORE,
        Field(description="Whether a witness counts only if not of the party that reports it."),
    ] = False
    report: Annotated[bool, MORE, Field(description="Whether the digest of a report must be given.")] = False
    methods: Annotated[
        Many[Identifier] | None,
        Allows("way of destruction", none_is_any=True),
        Field(description="Ways of destruction that count; any, if not given."),
    ] = None


def _destroyed_reads(event: Event, facts: Facts, parameters: DestructionEvidence) -> Iterator[Key]:
    yield from shipments_of(event.contract, event.data.speaks_of(), facts)


@condition(
    number=32,
    parameters=DestructionEvidence,
    facts=("device.destroyed",),
    unit="witnesses",
    sentences={
        "pass": "{observed} {unit} have seen the destruction, {limit} must",
        "no_witness": "{observed} {unit} have seen the destruction, {limit} must: {shortfall} short",
        "no_report": "the destruction of {subjects} comes without a report",
        "method": "{observed} is no way of destruction that counts",
    },
    reads=_destroyed_reads,
)
def destruction_evidence(case: Case, parameters: DestructionEvidence) -> Found:
    """A device is destroyed before witnesses, in a way that counts, and where asked for with a report.

    What is said to be destroyed attests no more and is asked for no more: it would be the easiest way
    to lose a device. A destruction without its evidence is flagged, and a suspension is proposed.
    """
    data = case.data
    if not isinstance(data, DeviceDestroyed):
        return NOT_APPLICABLE
    ours = case.event.actor.party
    seen = sum(1 for w in data.witnesses if not (parameters.independent and w.party == ours))
    missing = parameters.witnesses - seen
    if missing > 0:
        found = Found("fail", "no_witness", seen, parameters.witnesses, missing)
    elif parameters.report and data.report_sha256 is None:
        found = Found("fail", "no_report", subjects=data.serials)
    elif parameters.methods is not None and data.method not in parameters.methods:
        found = Found("fail", "method", data.method)
    else:
        return Found("pass", None, seen, parameters.witnesses)
    return found._replace(proposes=suspensions(case, data.serials))
