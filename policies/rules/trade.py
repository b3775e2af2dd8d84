"""Orders and shipments: numbers are new, orders are open, devices are free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.decision import Finding
from ledger.kinds.device import DeviceInstalled, UsageAttested
from ledger.kinds.order import LevySettled, OrderCancelled, OrderPlaced
from ledger.kinds.shipment import DeliveryReceived, ShipmentDispatched, ShipmentRequested
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


_FREE: Final = frozenset({"known", "tested", "failed"})


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
    sentences={
        "shipment_known.unknown": "the shipment was never released in this contract",
    },
)
def shipment_known(case: Case, data: ShipmentDispatched | DeliveryReceived) -> Iterator[Finding]:
    if case.shipment(data.shipment) is None:
        yield broken(case, "shipment_known.unknown")


@rule(
    "levy.settled",
    sentences={
        "order_known.unknown": "the order is not one of this contract",
        "order_known.currency": "paid in {observed}, the order is in {limit}: it settles nothing",
    },
)
def order_known(case: Case, data: LevySettled) -> Iterator[Finding]:
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
    serials = [device.serial for device in data.devices]
    ours = {device.serial for device in case.facts.devices_of(case.event.contract, serials)}
    strange = tuple(serial for serial in serials if serial not in ours)
    if strange:
        yield broken_by_devices(case, "devices_known.unknown", len(serials), strange)
