"""Orders and shipments: numbers are new, orders are open, devices are free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.decision import Finding
from ledger.kinds.customs import CustomsCleared, ExportFiled
from ledger.kinds.delivery import AcceptanceSigned, DeliveryReceived
from ledger.kinds.device import DeviceInstalled, UsageAttested
from ledger.kinds.order import LevySettled, OrderAmended, OrderCancelled, OrderPlaced
from ledger.kinds.payment import InvoiceIssued, PaymentReceived
from ledger.kinds.release import gone_from
from ledger.kinds.shipment import ShipmentCancelled, ShipmentDispatched, ShipmentRequested
from policies.conditions import Case
from policies.rules.rule import broken, broken_by_devices, rule


@rule(
    "order.placed",
    sentences={
        "order_new.exists": "the order number is taken",
    },
)
def order_new(case: Case, data: OrderPlaced) -> Iterator[Finding]:
    if case.order(data.order) is not None:
        yield broken(case, "order_new.exists")


@rule(
    "shipment.requested",
    sentences={
        "shipment_new.exists": "the shipment number is taken",
    },
)
def shipment_new(case: Case, data: ShipmentRequested) -> Iterator[Finding]:
    if case.shipment(data.shipment) is not None:
        yield broken(case, "shipment_new.exists")


@rule(
    "order.cancelled",
    "shipment.requested",
    sentences={
        "order_open.unknown": "the order is not one of this contract",
        "order_open.cancelled": "the order is cancelled",
        "order_open.all_released": "the order is released to the last unit, nothing is left to cancel",
        "order_open.too_many": "{observed} {unit} released, {limit} ordered: {shortfall} too many "
        "(headroom {headroom})",
        "item_match.license": "the order is under license {limit}, the request names {observed}",
        "item_match.order": "the order is for {limit}, the request for {observed}",
    },
)
def order_open(case: Case, data: OrderCancelled | ShipmentRequested) -> Iterator[Finding]:
    order = case.order(data.order)
    if order is None:
        yield broken(case, "order_open.unknown")
        return
    if order.state == "cancelled":
        yield broken(case, "order_open.cancelled")
    elif isinstance(data, OrderCancelled):
        if not order.remaining:
            yield broken(case, "order_open.all_released")
    elif (released := order.released + len(data.serials)) > order.units:
        yield broken(
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
            yield broken(case, "item_match.license", observed=data.license, limit=order.license)
        if data.sku != order.sku:
            yield broken(case, "item_match.order", observed=data.sku, limit=order.sku)


@rule(
    "order.amended",
    sentences={
        "order_amendable.below_released": "amended to {observed} {unit}, {limit} are released already",
        "order_amendable.currency": "amended to {observed}, the order is in {limit}: "
        "what was paid for it is in that currency",
        "order_amendable.consignee": "no party to the contract in that role: {subjects}",
    },
)
def order_amendable(case: Case, data: OrderAmended) -> Iterator[Finding]:
    order = case.order(data.order)
    if order is None:
        yield broken(case, "order_open.unknown")
        return
    if order.state == "cancelled":
        yield broken(case, "order_open.cancelled")
        return
    if data.units is not None and data.units < order.released:
        yield broken(
            case,
            "order_amendable.below_released",
            observed=data.units,
            limit=order.released,
            shortfall=order.released - data.units,
            unit="units",
        )
    if data.unit_value is not None and (currency := data.unit_value.currency) != order.currency:
        yield broken(case, "order_amendable.currency", observed=currency, limit=order.currency)
    if data.consignee is not None and "consignee" not in case.contract.roles_of(data.consignee):
        yield broken(case, "order_amendable.consignee", subjects=(f"consignee {data.consignee}",))


@rule(
    "order.placed",
    "shipment.requested",
    sentences={
        "item_match.sku": "the license is for {limit}, the request for {observed}",
        "license_known.unknown": "the license is not one of this contract",
    },
)
def under_license(case: Case, data: OrderPlaced | ShipmentRequested) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield broken(case, "license_known.unknown")
    elif data.sku != license_.sku:
        yield broken(case, "item_match.sku", observed=data.sku, limit=license_.sku)


@rule(
    "order.placed",
    "shipment.requested",
    sentences={
        "parties_known.role": "no party to the contract in that role: {subjects}",
    },
)
def parties_known(case: Case, data: OrderPlaced | ShipmentRequested) -> Iterator[Finding]:
    roles_of, strange = case.contract.roles_of, []
    if "consignee" not in roles_of(data.consignee):
        strange.append(f"consignee {data.consignee}")
    if "end_user" not in roles_of(data.end_user):
        strange.append(f"end_user {data.end_user}")
    if isinstance(data, ShipmentRequested) and "forwarder" not in roles_of(data.forwarder):
        strange.append(f"forwarder {data.forwarder}")
    if strange:
        yield broken(case, "parties_known.role", subjects=tuple(strange))


@rule(
    "shipment.requested",
    sentences={
        "release_term.past": "recorded at {observed}, the release would have ended at {limit}",
    },
)
def release_term(case: Case, data: ShipmentRequested) -> Iterator[Finding]:
    ends = data.ends(case.zone)
    if ends is not None and case.at >= ends:
        yield broken(case, "release_term.past", observed=case.recorded, limit=case.instant(ends), unit="time")


_FREE: Final = frozenset({"known", "enrolled", "tested", "failed"})


@rule(
    "shipment.requested",
    sentences={
        "serials_free.taken": "{observed} of {limit} devices are free, {shortfall} taken: {subjects}",
    },
)
def serials_free(case: Case, data: ShipmentRequested) -> Iterator[Finding]:
    """One serial is one device, and a device is in one place."""
    taken = tuple(d.serial for d in case.devices(data.serials) if d.state not in _FREE)
    if taken:
        yield broken_by_devices(case, "serials_free.taken", len(data.serials), taken)


@rule(
    "shipment.dispatched",
    "delivery.received",
    "export.filed",
    "customs.cleared",
    sentences={
        "shipment_known.unknown": "the shipment was never released in this contract",
    },
)
def shipment_known(
    case: Case, data: ShipmentDispatched | DeliveryReceived | ExportFiled | CustomsCleared
) -> Iterator[Finding]:
    if case.shipment(data.shipment) is None:
        yield broken(case, "shipment_known.unknown")


@rule(
    "shipment.dispatched",
    sentences={
        "release_stands.expired": "dispatched at {observed}, the release ended at {limit}",
        "release_stands.taken_back": "{shortfall} of {limit} devices were released and given back before "
        "they left: {subjects}",
    },
)
def release_stands(case: Case, data: ShipmentDispatched) -> Iterator[Finding]:
    """What leaves, leaves under a release that stands, whether or not a scheduler has said that it ended."""
    shipment = case.shipment(data.shipment)
    if shipment is None:
        return
    ends = shipment.expires_at
    if ends is not None and case.at >= ends:
        yield broken(
            case, "release_stands.expired", observed=case.recorded, limit=case.instant(ends), unit="time"
        )
    if shipment.taken_back:
        given_back = frozenset(shipment.taken_back)
        back = tuple(serial for serial in data.serials if serial in given_back)
        if back:
            yield broken_by_devices(case, "release_stands.taken_back", len(data.serials), back)


@rule(
    "shipment.cancelled",
    sentences={
        "shipment_held.cancelled": "the shipment is cancelled",
        "shipment_held.expired": "the release has ended with its last day: what had not left is taken back",
        "shipment_held.dispatched": "all {limit} devices have left: they cannot be called back",
    },
)
def shipment_held(case: Case, data: ShipmentCancelled) -> Iterator[Finding]:
    """A release is taken back as far as its exporter still holds it."""
    shipment = case.shipment(data.shipment)
    if shipment is None:
        yield broken(case, "shipment_known.unknown")
    elif shipment.state == "cancelled":
        yield broken(case, "shipment_held.cancelled")
    elif shipment.state == "expired":
        yield broken(case, "shipment_held.expired")
    elif len(gone := gone_from(shipment, case.facts)) == (named := len(shipment.serials)):
        yield broken(
            case,
            "shipment_held.dispatched",
            observed=len(gone),
            limit=named,
            unit="devices",
            subjects=gone,
        )


@rule(
    "acceptance.signed",
    sentences={
        "acceptance_of.order": "the shipment is of order {limit}, accepted for {observed}",
        "acceptance_of.too_many": "{observed} {unit} accepted, {limit} received: {shortfall} too many",
    },
)
def acceptance_of(case: Case, data: AcceptanceSigned) -> Iterator[Finding]:
    order = case.order(data.order)
    if order is None:
        yield broken(case, "order_known.unknown")
        return
    if data.shipment is not None:
        shipment = case.shipment(data.shipment)
        if shipment is None:
            yield broken(case, "shipment_known.unknown")
        elif shipment.order != data.order:
            yield broken(case, "acceptance_of.order", observed=data.order, limit=shipment.order)
    accepted = order.accepted + data.units
    if accepted > order.received:
        yield broken(
            case,
            "acceptance_of.too_many",
            observed=accepted,
            limit=order.received,
            shortfall=accepted - order.received,
            unit="units",
        )


@rule(
    "levy.settled",
    "invoice.issued",
    "payment.received",
    sentences={
        "order_known.unknown": "the order is not one of this contract",
        "order_known.currency": "paid in {observed}, the order is in {limit}: it settles nothing",
    },
)
def order_known(case: Case, data: LevySettled | InvoiceIssued | PaymentReceived) -> Iterator[Finding]:
    order = case.order(data.order)
    if order is None:
        yield broken(case, "order_known.unknown")
    elif (paid := data.amount.currency) != order.currency:
        yield broken(case, "order_known.currency", observed=paid, limit=order.currency)


@rule(
    "device.installed",
    "usage.attested",
    sentences={
        "devices_known.unknown": "{shortfall} of {limit} devices were not released here: {subjects}",
    },
)
def devices_known(case: Case, data: DeviceInstalled | UsageAttested) -> Iterator[Finding]:
    ours = case.event.contract
    if strange := [device.serial for device in case.spoken if device.contract != ours]:
        yield broken_by_devices(case, "devices_known.unknown", len(data.devices), tuple(strange))
