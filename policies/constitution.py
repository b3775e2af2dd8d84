"""The constitution: rules that hold for every event of every contract, and need no document.

Who may say this, and of what: setup events are judged by these rules alone, everything else by them
first. A rule that holds leaves no finding, for which rules are asked follows from the kind and the
engine version; one that is broken is a finding of policy 0. Requests are denied. Facts are flagged,
unless nobody with standing says them, or their document has been used: then they are no facts yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ledger.decision import SUBJECTS_MAX, Action, Finding
from ledger.event import LEDGER_CONTRACT, LEDGER_PARTY, Event
from ledger.facts import Contract, Correction, DocumentSeen, Facts, Recorded
from ledger.fold import document_key
from ledger.kinds.contract import ContractOpened, DeclaredInError, PolicyActivated
from ledger.kinds.device import DeviceInstalled, UsageAttested
from ledger.kinds.license import (
    ConditionsAcknowledged,
    LicenseGranted,
    LicenseRevoked,
    LicenseSuspended,
)
from ledger.kinds.order import LevySettled, OrderCancelled, OrderPlaced
from ledger.kinds.shipment import DeliveryReceived, ShipmentDispatched, ShipmentRequested
from ledger.values import format_timestamp
from policies.conditions import Case
from policies.document import PolicyDocumentError, parse_document

REFERENCE: Final = {"policy": "constitution", "version": 1}
"""How a decision cites it, as policy 0."""

SENTENCES: Final[dict[str, str]] = {
    "contract_open.unknown": "no such contract has been opened",
    "contract_open.exists": "the contract has been opened before",
    "contract_open.reserved": "only the ledger speaks in the contract of the ledger",
    "standing.ledger": "only the ledger speaks as the ledger",
    "standing.role": "a party speaks as {observed}, the event may be said by: {limit}",
    "standing.party": "the party does not have the role {observed} in this contract",
    "policy_in_force.none": "no policy document is in force for this contract",
    "document_unique.used": "this revision of the document was used by entry {subjects}",
    "order_new.exists": "the order number is taken",
    "order_open.unknown": "the order is not one of this contract",
    "order_open.cancelled": "the order is cancelled",
    "order_open.all_released": "the order is released to the last unit, nothing is left to cancel",
    "order_open.too_many": "{observed} {unit} released, {limit} ordered: {shortfall} too many "
    "(headroom {headroom})",
    "item_match.license": "the order is under license {limit}, the request names {observed}",
    "item_match.order": "the order is for {limit}, the request for {observed}",
    "item_match.sku": "the license is for {limit}, the request for {observed}",
    "license_known.unknown": "the license is not one of this contract",
    "license_new.not_named": "the contract does not name this license",
    "license_new.exists": "the license has been granted before",
    "license_standing.revoked": "the license is revoked, which is for good",
    "license_standing.suspended": "the license is suspended already",
    "license_standing.authority": "the license was granted by {limit}, not by {observed}",
    "parties_known.role": "no party to the contract in that role: {subjects}",
    "parties_known.acknowledging": "asked to acknowledge, and no party to the contract: {subjects}",
    "shipment_new.exists": "the shipment number is taken",
    "serials_free.taken": "{observed} of {limit} devices are free, {shortfall} taken: {subjects}",
    "shipment_known.unknown": "the shipment was never released in this contract",
    "order_known.unknown": "the order is not one of this contract",
    "order_known.currency": "paid in {observed}, the order is in {limit}: it settles nothing",
    "devices_known.unknown": "{shortfall} of {limit} devices were not released here: {subjects}",
    "acknowledgement_matches.digest": "the conditions acknowledged are not those of the license",
    "acknowledgement_matches.party": "the license does not ask this party: {subjects}",
    "policy_document.malformed": "the text is not a policy document",
    "policy_document.name": "the document is {limit}, the event says {observed}",
    "policy_document.version": "version {observed} is activated, must be {limit}",
    "policy_document.not_newer": "version {observed} must be greater than {limit}",
    "policy_document.over": "the document was in force until {limit}, it is {observed}",
    "policy_document.approval": "a party speaks as {observed}, the document asks for: {limit}",
    "correction.unknown": "there is no entry {observed}",
    "correction.id_differs": "entry {observed} has another id",
    "correction.other_contract": "entry {observed} is of another contract",
    "correction.was_denied": "entry {observed} was denied: it has changed nothing",
    "correction.twice": "entry {observed} was declared in error before, by entry {subjects}",
    "correction.not_yours": "entry {observed} was said by another party",
    "correction.not_reversible": "entry {observed} is of a kind that cannot be taken back",
    "correction.dependents": "other events rest on entry {observed}: correct them first",
}
"""How each finding reads, by code; the part before the dot is the rule."""


def judge(
    event: Event, facts: Facts, contract: Contract | None, case: Case | None, *, governed: bool
) -> list[Finding]:
    """What is broken, in the order of the rules. `governed`: a policy document is in force."""
    if isinstance(event.data, ContractOpened):
        return [*_document_unique(event, facts), *_opening(event, event.data, contract)]
    if event.contract == LEDGER_CONTRACT:
        return [_found("contract_open.reserved", "deny")]
    if contract is None or case is None:
        return [_found("contract_open.unknown", "deny")]
    # Whoever has no standing is told no more than that.
    if standing := _standing(event, contract):
        return [standing]
    findings = [*_document_unique(event, facts)]
    if not governed and not event.data.setup:
        findings.append(_broken(case, "policy_in_force.none"))
    for rule in RULES.get(event.kind, ()):
        findings.extend(rule(case, event.data))
    return findings


def speaks_as_ledger(event: Event) -> bool:
    """True if it is the ledger that says one of its own events."""
    return event.data.nature == "own" and event.actor.party == LEDGER_PARTY and event.actor.role == "ledger"


# --- who ------------------------------------------------------------------------------------------


def _standing(event: Event, contract: Contract) -> Finding | None:
    actor, said_by = event.actor, event.data.said_by
    if event.data.nature == "own" or actor.party == LEDGER_PARTY or actor.role == "ledger":
        return _found("standing.ledger", "deny")
    if actor.role not in said_by:
        return _found("standing.role", "deny", observed=actor.role, limit=_listed(said_by))
    if actor.role not in contract.roles_of(actor.party):
        return _found("standing.party", "deny", observed=actor.role)
    return None


def _opening(event: Event, data: ContractOpened, contract: Contract | None) -> Iterator[Finding]:
    actor = event.actor
    if event.contract == LEDGER_CONTRACT:
        yield _found("contract_open.reserved", "deny")
    if contract is not None:
        yield _found("contract_open.exists", "deny")
    if actor.role not in data.said_by:
        yield _found("standing.role", "deny", observed=actor.role, limit=_listed(data.said_by))
    elif not any(p.party == actor.party and actor.role in p.roles for p in data.parties):
        yield _found("standing.party", "deny", observed=actor.role)


def _document_unique(event: Event, facts: Facts) -> Iterator[Finding]:
    """One accepted event for each revision: a fact too is counted once, however often told."""
    key = document_key(event)
    seen = None if key is None else facts.get(DocumentSeen, key)
    if seen is not None:
        yield _found("document_unique.used", "deny", subjects=(str(seen.index),))


# --- orders and shipments -------------------------------------------------------------------------


def _order_new(case: Case, data: OrderPlaced) -> Iterator[Finding]:
    if case.order(data.order) is not None:
        yield _broken(case, "order_new.exists")


def _order_open(case: Case, data: OrderCancelled | ShipmentRequested) -> Iterator[Finding]:
    order = case.order(data.order)
    if order is None:
        yield _broken(case, "order_open.unknown")
        return
    if order.state == "cancelled":
        yield _broken(case, "order_open.cancelled")
    elif isinstance(data, OrderCancelled):
        if not order.remaining:
            yield _broken(case, "order_open.all_released")
    elif (released := order.released + len(data.serials)) > order.units:
        yield _broken(
            case,
            "order_open.too_many",
            observed=released,
            limit=order.units,
            shortfall=released - order.units,
            headroom=order.remaining,
            unit="units",
        )
    if isinstance(data, ShipmentRequested):
        if data.license != order.license:
            yield _broken(case, "item_match.license", observed=data.license, limit=order.license)
        if data.sku != order.sku:
            yield _broken(case, "item_match.order", observed=data.sku, limit=order.sku)


def _under_license(case: Case, data: OrderPlaced | ShipmentRequested) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield _broken(case, "license_known.unknown")
    elif data.sku != license_.sku:
        yield _broken(case, "item_match.sku", observed=data.sku, limit=license_.sku)


def _parties_known(case: Case, data: OrderPlaced | ShipmentRequested) -> Iterator[Finding]:
    roles_of, strange = case.contract.roles_of, []
    if "consignee" not in roles_of(data.consignee):
        strange.append(f"consignee {data.consignee}")
    if "end_user" not in roles_of(data.end_user):
        strange.append(f"end_user {data.end_user}")
    if isinstance(data, ShipmentRequested) and "forwarder" not in roles_of(data.forwarder):
        strange.append(f"forwarder {data.forwarder}")
    if strange:
        yield _broken(case, "parties_known.role", subjects=tuple(strange))


def _shipment_new(case: Case, data: ShipmentRequested) -> Iterator[Finding]:
    if case.shipment(data.shipment) is not None:
        yield _broken(case, "shipment_new.exists")


_FREE: Final = frozenset({"known", "tested", "failed"})


def _serials_free(case: Case, data: ShipmentRequested) -> Iterator[Finding]:
    """One serial is one device, and a device is in one place."""
    taken = tuple(d.serial for d in case.devices(data.serials) if d.state not in _FREE)
    if taken:
        yield _of_devices(case, "serials_free.taken", len(data.serials), taken)


def _shipment_known(case: Case, data: ShipmentDispatched | DeliveryReceived) -> Iterator[Finding]:
    if case.shipment(data.shipment) is None:
        yield _broken(case, "shipment_known.unknown")


def _order_known(case: Case, data: LevySettled) -> Iterator[Finding]:
    order = case.order(data.order)
    if order is None:
        yield _broken(case, "order_known.unknown")
    elif (paid := data.amount.currency) != order.currency:
        yield _broken(case, "order_known.currency", observed=paid, limit=order.currency)


def _devices_known(case: Case, data: DeviceInstalled | UsageAttested) -> Iterator[Finding]:
    serials = [device.serial for device in data.devices]
    ours = {device.serial for device in case.facts.devices_of(case.event.contract, serials)}
    strange = tuple(serial for serial in serials if serial not in ours)
    if strange:
        yield _of_devices(case, "devices_known.unknown", len(serials), strange)


# --- licenses -------------------------------------------------------------------------------------


def _license_new(case: Case, data: LicenseGranted) -> Iterator[Finding]:
    if data.license not in case.contract.licenses:
        yield _broken(case, "license_new.not_named")
    if case.license_anywhere(data.license) is not None:
        yield _broken(case, "license_new.exists")
    # A party that is not there can never acknowledge: the license could never be used.
    strange = tuple(p for p in data.must_acknowledge if not case.contract.roles_of(p))
    if strange:
        yield _broken(case, "parties_known.acknowledging", subjects=strange)


def _license_standing(case: Case, data: LicenseSuspended | LicenseRevoked) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield _broken(case, "license_known.unknown")
        return
    authority = case.event.actor.party
    if authority != license_.authority:
        yield _broken(case, "license_standing.authority", observed=authority, limit=license_.authority)
    if license_.state == "revoked":
        yield _broken(case, "license_standing.revoked")
    # A second suspension would move the first one's instant, and with it what was in transit.
    elif license_.state == "suspended" and isinstance(data, LicenseSuspended):
        yield _broken(case, "license_standing.suspended")


def _acknowledgement_matches(case: Case, data: ConditionsAcknowledged) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield _broken(case, "license_known.unknown")
        return
    if data.conditions_sha256 != license_.conditions_sha256:
        yield _broken(case, "acknowledgement_matches.digest")
    if case.event.actor.party not in license_.must_acknowledge:
        yield _broken(case, "acknowledgement_matches.party", subjects=(case.event.actor.party,))


# --- documents and corrections --------------------------------------------------------------------


def _policy_document(case: Case, data: PolicyActivated) -> Iterator[Finding]:
    try:
        document = parse_document(data.text)
    except PolicyDocumentError:
        # How many faults, and in what words, is no part of a decision: libraries change theirs.
        yield _broken(case, "policy_document.malformed")
        return
    if document.policy != data.policy:
        yield _broken(case, "policy_document.name", observed=data.policy, limit=document.policy)
    if document.version != data.version:
        yield _broken(case, "policy_document.version", observed=data.version, limit=document.version)
    bound = max((p.version for p in case.contract.policies if p.policy == data.policy), default=0)
    if data.version <= bound:
        yield _broken(case, "policy_document.not_newer", observed=data.version, limit=bound)
    # It would take the place of the version in force, and leave none.
    if document.ends is not None and document.ends <= case.at:
        yield _broken(
            case,
            "policy_document.over",
            observed=case.recorded,
            limit=format_timestamp(document.ends),
            unit="time",
        )
    if (role := case.event.actor.role) not in document.approvals:
        yield _broken(case, "policy_document.approval", observed=role, limit=", ".join(document.approvals))


def _correction(case: Case, data: DeclaredInError) -> Iterator[Finding]:
    recorded = case.facts.get(Recorded, str(data.index))
    if recorded is None:
        yield _corrects(case, data, "correction.unknown")
        return
    mistaken: Event = recorded.event
    if mistaken.contract != case.event.contract:
        # Of another contract not even the id is compared.
        yield _corrects(case, data, "correction.other_contract")
        return
    if mistaken.id != data.id:
        yield _corrects(case, data, "correction.id_differs")
        return
    if recorded.outcome == "denied":
        yield _corrects(case, data, "correction.was_denied")
        return
    corrected = case.facts.get(Correction, str(data.index))
    if corrected is not None:
        yield _corrects(case, data, "correction.twice", subjects=(str(corrected.by),))
        return
    actor = case.event.actor
    of_license = mistaken.kind.startswith("license.") and actor.role == "authority"
    if actor.party != mistaken.actor.party and not of_license:
        yield _corrects(case, data, "correction.not_yours")
        return
    # Tried on a layer that nobody keeps: the fold does it again, in earnest.
    code = mistaken.data.undo(mistaken, case.facts.attempt(), index=data.index)
    if code is not None:
        yield _corrects(case, data, code)


def _corrects(case: Case, data: DeclaredInError, code: str, *, subjects: tuple[str, ...] = ()) -> Finding:
    return _broken(case, code, observed=data.index, unit="entry", subjects=subjects)


# --- the table, and findings ----------------------------------------------------------------------

Rule = Callable[[Case, Any], Iterator[Finding]]

RULES: Final[dict[str, tuple[Rule, ...]]] = {
    PolicyActivated.kind_name: (_policy_document,),
    DeclaredInError.kind_name: (_correction,),
    LicenseGranted.kind_name: (_license_new,),
    LicenseSuspended.kind_name: (_license_standing,),
    LicenseRevoked.kind_name: (_license_standing,),
    ConditionsAcknowledged.kind_name: (_acknowledgement_matches,),
    OrderPlaced.kind_name: (_order_new, _under_license, _parties_known),
    OrderCancelled.kind_name: (_order_open,),
    ShipmentRequested.kind_name: (
        _shipment_new, _order_open, _under_license, _parties_known, _serials_free,
    ),
    ShipmentDispatched.kind_name: (_shipment_known,),
    DeliveryReceived.kind_name: (_shipment_known,),
    LevySettled.kind_name: (_order_known,),
    DeviceInstalled.kind_name: (_devices_known,),
    UsageAttested.kind_name: (_devices_known,),
}  # fmt: skip
"""What is asked of a kind beyond contract, standing, document and policy. LabTested: nothing."""


def _broken(case: Case, code: str, **found: Any) -> Finding:
    return _found(code, "flag" if case.data.nature == "fact" else "deny", **found)


def _of_devices(case: Case, code: str, named: int, serials: tuple[str, ...]) -> Finding:
    return _broken(
        case,
        code,
        observed=named - len(serials),
        limit=named,
        shortfall=len(serials),
        unit="devices",
        subjects=serials,
    )


def _found(code: str, action: Action, *, subjects: tuple[str, ...] = (), **found: Any) -> Finding:
    rule = code.partition(".")[0]
    return Finding(
        id=rule,
        uses=rule,
        policy=0,
        result="fail",
        action=action,
        code=code,
        subjects=subjects[:SUBJECTS_MAX],
        subjects_count=len(subjects),
        **found,
    )


def _listed(roles: frozenset[str]) -> str:
    return ", ".join(sorted(roles))
