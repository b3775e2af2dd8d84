"""Supply and customs: statements are of days that have passed, approvals and shipments are known."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import ImportApproval
from ledger.kinds.customs import CustomsCleared, ImportApproved
from ledger.kinds.shipment import ShipmentRequested
from ledger.kinds.supply import BaselineDeclared, CapacityAdded, DomesticPurchased, SupplyCertified
from ledger.values import day_of
from policies.conditions import Case
from policies.rules.rule import broken, rule


@rule(
    "baseline.declared",
    "supply.certified",
    "domestic.purchased",
    sentences={
        "period_past.ahead": "the period ends on {observed}, it was told on {limit}",
        "period_past.dated_ahead": "dated {observed}, it was told on {limit}, and counts from that day",
    },
)
def period_past(
    case: Case, data: BaselineDeclared | SupplyCertified | DomesticPurchased
) -> Iterator[Finding]:
    today = day_of(case.at, case.zone)
    if data.until > today:
        yield broken(case, "period_past.ahead", observed=str(data.until), limit=str(today), unit="day")
    if isinstance(data, SupplyCertified) and data.dated > today:
        yield broken(case, "period_past.dated_ahead", observed=str(data.dated), limit=str(today), unit="day")


@rule(
    "capacity.added",
    sentences={
        "capacity_site.unknown": "the contract does not name this site",
    },
)
def capacity_site(case: Case, data: CapacityAdded) -> Iterator[Finding]:
    if data.site not in case.contract.sites:
        yield broken(case, "capacity_site.unknown")


@rule(
    "import.approved",
    sentences={
        "approval_new.exists": "the approval number is taken: what was approved under it stays",
    },
)
def approval_new(case: Case, data: ImportApproved) -> Iterator[Finding]:
    if case.facts.get(ImportApproval, f"{case.event.contract}/{data.approval}") is not None:
        yield broken(case, "approval_new.exists")


@rule(
    "shipment.requested",
    "customs.cleared",
    sentences={
        "approval_known.unknown": "the approval to import is not one of this contract",
        "approval_known.withdrawn": "the approval to import was declared in error",
    },
)
def approval_known(case: Case, data: ShipmentRequested | CustomsCleared) -> Iterator[Finding]:
    """A request may name none; where one is needed, a condition asks for it."""
    if data.approval is None:
        return
    approval = case.facts.get(ImportApproval, f"{case.event.contract}/{data.approval}")
    if approval is None:
        yield broken(case, "approval_known.unknown")
    elif approval.withdrawn:
        yield broken(case, "approval_known.withdrawn")


@rule(
    "customs.cleared",
    sentences={
        "clearance_matches.approval": "cleared under approval {observed}, released under {limit}",
        "clearance_matches.country": "cleared in {observed}, destined for {limit}",
        "clearance_matches.too_many": "{observed} {unit} of the shipment cleared, {limit} released: "
        "{shortfall} too many",
    },
)
def clearance_matches(case: Case, data: CustomsCleared) -> Iterator[Finding]:
    shipment = case.shipment(data.shipment)
    if shipment is None:
        return  # shipment_known says so
    if data.approval and shipment.approval and data.approval != shipment.approval:
        yield broken(case, "clearance_matches.approval", observed=data.approval, limit=shipment.approval)
    if shipment.country is not None and data.country != shipment.country:
        yield broken(case, "clearance_matches.country", observed=data.country, limit=shipment.country)
    cleared = shipment.cleared + data.quantity
    released = len(shipment.serials) if shipment.stands else 0
    if cleared > released:
        yield broken(
            case,
            "clearance_matches.too_many",
            observed=cleared,
            limit=released,
            shortfall=cleared - released,
            unit="units",
        )
