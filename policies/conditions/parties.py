"""Conditions on who takes part, who may have the goods later, and what they are for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field

from ledger.event import Event
from ledger.facts import Facts, Key, License, Order, Shipment
from ledger.kinds.device import UsageAttested
from ledger.kinds.order import OrderAmended, OrderPlaced
from ledger.kinds.shipment import ShipmentRequested
from ledger.kinds.transfer import DeviceTransferred, Place, TransferRequested, licenses_of, releases_of
from ledger.values import Country, Identifier, Many, PartyId, Role, Value
from policies.conditions.case import NOT_APPLICABLE, Case, Found, Proposes
from policies.conditions.declared import END_USER, FEWER, FURTHER, LESS, MORE, Allows, Doubt, Forbids, Use
from policies.conditions.licensing import Asked, license_of
from policies.conditions.money import EXACT
from policies.conditions.parameters import Parameters
from policies.conditions.percent import Percent, percent_of, spelled
from policies.conditions.registry import condition

# --- 3 --------------------------------------------------------------------------------------------

_LISTED: Final = (
    "Parties allowed as {}; those that the license names, if not given, or any where it names none."
)


_NAMED_AT: Final = {
    "consignees": ("order.placed", "order.amended", "shipment.requested"),
    "end_users": ("order.placed", "shipment.requested", "transfer.requested"),
    "forwarders": ("shipment.requested",),
    "skus": ("order.placed", "shipment.requested", "transfer.requested"),
}
"""Which kinds of event name what the lists are of."""


class PartyItemMatch(Parameters):
    consignees: Annotated[
        Many[PartyId] | None, Allows("consignee"), Field(description=_LISTED.format("consignee"))
    ] = None
    end_users: Annotated[
        Many[PartyId] | None, Allows(END_USER), Field(description=_LISTED.format("end user"))
    ] = None
    forwarders: Annotated[
        Many[PartyId] | None, Allows("forwarder"), Field(description=_LISTED.format("forwarder"))
    ] = None
    skus: Annotated[
        Many[Identifier] | None,
        Allows("item"),
        Field(description="Items allowed; that of the license, if not given."),
    ] = None

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        return {
            name: f"only {', '.join(named)} {'name' if len(named) > 1 else 'names'} any"
            for name, named in _NAMED_AT.items()
            if not set(named).intersection(kinds)
        }


@condition(
    number=3,
    parameters=PartyItemMatch,
    requests=("order.placed", "order.amended", "shipment.requested", "transfer.requested"),
    unit="parties",
    sentences={
        "pass": "all {observed} {unit} and the item are those that are allowed",
        "license_unknown": "the license is not one of this contract",
        "item": "{observed} is none of the items that are allowed: {limit}",
        "party": "{shortfall} of {limit} {unit} are not allowed in that role: {subjects}",
        "order": "{shortfall} of {limit} {unit} are not those of the order, which must be amended first: "
        "{subjects}",
    },
)
def party_item_match(case: Case, parameters: PartyItemMatch) -> Found:
    """Each party of the request, and the item, must be one that the document or the license names.

    The constitution sees to it that a party has its role in the contract and that the item is the
    license's. This narrows both: to the parties and items of the document; else to those that the
    license names; a license that names nobody in a role leaves that role to the contract. A release is for
    the consignee and the end user of its order: these were looked at when it was placed. Whoever
    receives devices by a transfer must be allowed as their end user, and have that role in the contract.
    A license is good for the parties and items on its face (15 CFR 750.7).
    """
    data = case.data
    if not isinstance(data, Asked):
        return NOT_APPLICABLE
    license_ = license_of(case, data)
    if license_ is None:
        return Found("fail", "license_unknown")
    skus = parameters.skus or (license_.sku,)
    if item := next((sku for sku in _skus(case, data) if sku not in skus), None):
        return Found("fail", "item", item, ", ".join(skus), unit="item")
    roles = list(_roles(case, data))
    strange = tuple(
        f"{role} {party}" for role, party in roles if not _allowed(case, role, party, license_, parameters)
    )
    count = len(roles)
    if strange:
        return Found("fail", "party", count - len(strange), count, len(strange), subjects=strange)
    if others := _not_of_order(case, data):
        return Found("fail", "order", count - len(others), count, len(others), subjects=others)
    return Found("pass", None, count, count)


def _skus(case: Case, data: Asked) -> Iterator[str]:
    if isinstance(data, OrderPlaced | ShipmentRequested):
        yield data.sku
    elif isinstance(data, TransferRequested):
        for device in case.facts.devices_of(case.event.contract, data.serials):
            if device.sku is not None:
                yield device.sku


def _roles(case: Case, data: Asked) -> Iterator[tuple[Role, str]]:
    if isinstance(data, OrderPlaced | ShipmentRequested):
        yield "consignee", data.consignee
        yield "end_user", data.end_user
    elif isinstance(data, OrderAmended) and (order := case.order(data.order)) is not None:
        yield "consignee", data.consignee or order.consignee
    if isinstance(data, ShipmentRequested):
        yield "forwarder", data.forwarder
    if isinstance(data, TransferRequested):
        yield "end_user", data.to.party


def _not_of_order(case: Case, data: Asked) -> tuple[str, ...]:
    order = case.order(data.order) if isinstance(data, ShipmentRequested) else None
    if order is None or not isinstance(data, ShipmentRequested):
        return ()  # the constitution says what is wrong with a release of no order
    named = (("consignee", data.consignee, order.consignee), ("end_user", data.end_user, order.end_user))
    return tuple(f"{role} {party}" for role, party, ordered in named if party != ordered)


def _allowed(case: Case, role: Role, party: str, license_: License, parameters: PartyItemMatch) -> bool:
    listed: dict[Role, tuple[str, ...]] = {
        "consignee": parameters.consignees or license_.consignees,
        "end_user": parameters.end_users or license_.end_users,
        "forwarder": parameters.forwarders or license_.forwarders,
    }
    named = listed[role]
    return role in case.contract.roles_of(party) and (not named or party in named)


# --- 8 --------------------------------------------------------------------------------------------


class Receiver(Value):
    party: PartyId
    countries: Many[Country] | None = None
    sites: Many[Identifier] | None = None


class NoOnwardTransfer(Parameters):
    allowed: Annotated[
        tuple[Receiver, ...],
        FEWER,
        Field(
            strict=False,
            max_length=1_000,
            description="Who may receive devices: `party`, and `countries` and `sites` where it matters "
            "which. Nobody, if not given.",
        ),
    ] = ()
    roles: Annotated[
        tuple[Role, ...],
        FEWER,
        Field(
            strict=False,
            max_length=10,
            description="Roles of the contract, as amended, whose parties may receive devices in the "
            "country that the contract gives for them. None, if not given.",
        ),
    ] = ()

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if "ledger" in self.roles:
            number = self.roles.index("ledger")
            yield Doubt("error", f"roles/{number}", "no party of a contract has the role ledger")


_Transferred = TransferRequested | DeviceTransferred


def _transfer_reads(event: Event, facts: Facts, parameters: NoOnwardTransfer) -> Iterator[Key]:
    if not isinstance(event.data, _Transferred):
        return
    for name, key in releases_of(event.contract, event.data.serials, facts):
        yield name, key
        if name == Shipment.name and (release := facts.peek(Shipment, key)) is not None:
            yield Order.name, f"{release.contract}/{release.order}"


@condition(
    number=8,
    parameters=NoOnwardTransfer,
    requests=("transfer.requested",),
    facts=("device.transferred",),
    unit="devices",
    sentences={
        "pass": "{observed} {unit} pass to a receiver that is allowed",
        "not_allowed": "{observed} {unit} would pass on to a receiver that is not allowed: {subjects}",
        "passed": "{observed} {unit} have passed on to a receiver that is not allowed: {subjects}",
    },
    reads=_transfer_reads,
)
def no_onward_transfer(case: Case, parameters: NoOnwardTransfer) -> Found:
    """Delivered devices pass to nobody, and to no other country, but to receivers that are named.

    They are named in the document, or by a role of the contract: either way an amendment comes first. A
    move within one country to the consignee or end user of the devices' own order is no transfer; where
    the site matters, the list of sites says so. A transfer that has happened all the same is flagged, and
    a suspension of the licenses proposed under which the devices were released. Re-exports and transfers
    within the country stay presumed denied (91 FR 1684).
    """
    data = case.data
    if not isinstance(data, _Transferred):
        return NOT_APPLICABLE
    units = len(data.serials)
    if _stays(case, data) or _may_receive(case, data.to, parameters):
        return Found("pass", None, units)
    to = data.to
    receiver = f"{to.party} at {to.site}, {to.country}"
    if isinstance(data, TransferRequested):
        return Found("fail", "not_allowed", units, 0, units, subjects=(receiver,))
    proposes = _suspensions(case, data.serials)
    return Found("fail", "passed", units, 0, units, subjects=(receiver,), proposes=proposes)


def _stays(case: Case, data: _Transferred) -> bool:
    """Whether the devices stay in the country, and go to those they were sold to."""
    if data.from_.country != data.to.country:
        return False
    # Who gives is what the speaker says: the order says whose they are.
    for device in case.facts.devices_of(case.event.contract, data.serials):
        release = None if device.shipment is None else case.facts.get(Shipment, device.shipment)
        order = None if release is None else case.order(release.order)
        if order is None or data.to.party not in (order.consignee, order.end_user):
            return False
    return True


def _may_receive(case: Case, to: Place, parameters: NoOnwardTransfer) -> bool:
    for named in parameters.allowed:
        there = named.countries is None or to.country in named.countries
        if named.party == to.party and there and (named.sites is None or to.site in named.sites):
            return True
    return any(
        party.party == to.party and party.country == to.country
        for party in case.contract.parties
        if any(role in parameters.roles for role in party.roles)
    )


def _suspensions(case: Case, serials: Iterable[str]) -> tuple[Proposes, ...]:
    licenses = licenses_of(case.event.contract, serials, case.facts)
    return tuple(Proposes("suspension", license=number) for number in licenses)


# --- 19 -------------------------------------------------------------------------------------------


class ProhibitedEndUse(Parameters):
    end_uses: Annotated[
        tuple[Identifier, ...],
        FURTHER,
        Field(
            strict=False,
            max_length=1_000,
            description="What the goods must not be for: the `end_use` of an order, the `purpose` of an "
            "attestation.",
        ),
    ] = ()
    projects: Annotated[
        tuple[Identifier, ...],
        FURTHER,
        Field(strict=False, max_length=1_000, description="Projects that the devices must not work for."),
    ] = ()
    end_users: Annotated[
        tuple[PartyId, ...],
        Forbids(END_USER),
        Field(strict=False, max_length=1_000, description="Parties that must not be the end user."),
    ] = ()
    declared: Annotated[bool, MORE, Field(description="Whether an order must say its `end_use` at all.")] = (
        False
    )
    percent: Annotated[
        Percent,
        LESS,
        Field(description="Share of the time that may go to what is prohibited; none, if not given."),
    ] = Decimal(0)

    def doubts(self, use: Use) -> Iterator[Doubt]:
        at_order = self.end_users or self.end_uses or self.declared
        at_work = (self.projects or self.end_uses) and self.percent < 100
        if not ((at_order and "order.placed" in use.kinds) or (at_work and "usage.attested" in use.kinds)):
            yield Doubt("error", "", f"nothing is prohibited at {', '.join(use.kinds)}, so it asks nothing")

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        if "order.placed" not in kinds:
            return dict.fromkeys(("end_users", "declared"), "no order is judged")
        if "usage.attested" not in kinds:
            return dict.fromkeys(("projects", "percent"), "no attestation is judged")
        return {}


def _use_reads(event: Event, facts: Facts, parameters: ProhibitedEndUse) -> Iterator[Key]:
    # Only where something is wrong: of a year's attestations hardly one.
    if isinstance(event.data, UsageAttested) and _over(event.data, parameters):
        yield from releases_of(event.contract, event.data.speaks_of(), facts)


@condition(
    number=19,
    parameters=ProhibitedEndUse,
    requests=("order.placed",),
    facts=("usage.attested",),
    unit="percent",
    sentences={
        "pass": "nothing that is prohibited beyond {limit} {unit}",
        "end_use": "{observed} is a prohibited end use",
        "end_user": "{observed} is a prohibited end user",
        "undeclared": "the order does not say what the goods are for",
        "share": "{observed} {unit} of GPU time went to what is prohibited, {limit} {unit} may: {subjects}",
    },
    reads=_use_reads,
)
def prohibited_end_use(case: Case, parameters: ProhibitedEndUse) -> Found:
    """The goods must not be for a prohibited use or user, nor work for one.

    An order is refused that names one. Of an attestation the share counts that prohibited projects have
    of the GPU time stated by project; a prohibited `purpose` is all of it. It is compared exactly and
    printed cut off after two digits. Above the limit it is flagged, and a suspension of the licenses
    proposed under which the devices were released. End uses and users are those of 15 CFR part 744.
    """
    data, limit = case.data, spelled(parameters.percent)
    if isinstance(data, OrderPlaced):
        if data.end_user in parameters.end_users:
            return Found("fail", "end_user", data.end_user, unit="party")
        if data.end_use in parameters.end_uses:
            return Found("fail", "end_use", data.end_use, unit="end use")
        if data.end_use is None and parameters.declared:
            return Found("fail", "undeclared")
        return Found("pass", None, "0.00", limit)
    if not isinstance(data, UsageAttested):
        return NOT_APPLICABLE
    part, whole, names = _prohibited(data, parameters)
    share = percent_of(part, whole) if whole else "0.00"
    if not _over(data, parameters):
        return Found("pass", None, share, limit)
    proposes = _suspensions(case, data.speaks_of())
    return Found("fail", "share", share, limit, subjects=names, proposes=proposes)


def _prohibited(data: UsageAttested, parameters: ProhibitedEndUse) -> tuple[int, int, tuple[str, ...]]:
    """Seconds that are prohibited, seconds in all, and what they went to."""
    if data.purpose is not None and data.purpose in parameters.end_uses:
        return 1, 1, (data.purpose,)
    found = [use for use in data.projects if use.project in parameters.projects and use.gpu_seconds]
    part = sum(use.gpu_seconds for use in found)
    return part, sum(use.gpu_seconds for use in data.projects), tuple(use.project for use in found)


def _over(data: UsageAttested, parameters: ProhibitedEndUse) -> bool:
    part, whole, _ = _prohibited(data, parameters)
    return EXACT.multiply(parameters.percent, Decimal(whole)) < 100 * part
