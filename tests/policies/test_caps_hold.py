"""Whatever is asked, in whatever order: no cap is exceeded, and nothing is released after a stop.

The oracle counts on its own, from the accepted events alone, without facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.facts import Device, License
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.ledger import SCOPE_MAX, RevocationScoped
from ledger.kinds.license import LicenseRevoked, LicenseSuspended
from ledger.kinds.order import OrderAmended, OrderCancelled, OrderPlaced
from ledger.kinds.shipment import ShipmentCancelled, ShipmentRequested
from tests.workbench import (
    BUYER,
    EXPORTER,
    H200,
    LICENSE,
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    condition,
    policy,
)

CAP = 20
ORDERS = ("A", "B", "C", "D")
SHIPMENTS = ("S1", "S2", "S3", "S4", "S5")
SERIALS = [f"SN{number:06}" for number in range(1, 31)]
TEXT = policy(
    condition("license_active"),
    condition("quantity_cap", limit={"from": "license.quantity"}),
)

Step = tuple[Any, ...]

steps = st.one_of(
    st.tuples(st.just("order"), st.sampled_from(ORDERS), st.integers(1, CAP + 2)),
    st.tuples(st.just("cancel"), st.sampled_from(ORDERS)),
    st.tuples(st.just("amend"), st.sampled_from(ORDERS), st.integers(1, CAP + 2)),
    st.tuples(st.just("give back"), st.sampled_from(SHIPMENTS)),
    st.tuples(
        st.just("release"),
        st.sampled_from(SHIPMENTS),
        st.sampled_from(ORDERS),
        st.lists(st.sampled_from(SERIALS), min_size=1, max_size=12, unique=True),
    ),
    st.tuples(st.just("correct"), st.integers(1, 6)),
    st.tuples(st.just("suspend")),
    st.tuples(st.just("restart")),
)
stories = st.tuples(
    st.lists(steps, max_size=25),
    st.one_of(st.none(), st.integers(0, 25)),
)


@dataclass
class Oracle:
    """What stands, by plain bookkeeping over the accepted entries."""

    orders: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    amended: dict[str, list[int]] = field(default_factory=dict)
    """What each order asked for before, latest last."""
    shipments: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    stopped: bool = False

    @property
    def released(self) -> int:
        return sum(len(devices) for _, devices in self.shipments.values())

    @property
    def reserved(self) -> int:
        """Orders that stand in full; cancelled ones by what they have released."""
        return sum(
            self.released_of(order) if order in self.cancelled else units
            for order, units in self.orders.items()
        )

    def released_of(self, order: str) -> int:
        return sum(len(devices) for name, devices in self.shipments.values() if name == order)

    def take(self, data: object) -> None:
        if isinstance(data, OrderPlaced):
            assert not self.stopped
            assert data.order not in self.orders
            self.orders[data.order] = data.units
        elif isinstance(data, OrderCancelled):
            self.cancelled.add(data.order)
        elif isinstance(data, OrderAmended):
            assert not self.stopped
            assert data.units is not None
            assert data.units >= self.released_of(data.order)
            self.amended.setdefault(data.order, []).append(self.orders[data.order])
            self.orders[data.order] = data.units
        elif isinstance(data, ShipmentCancelled):
            del self.shipments[data.shipment]
        elif isinstance(data, ShipmentRequested):
            assert not self.stopped, "released after a stop"
            held = {serial for _, devices in self.shipments.values() for serial in devices}
            assert not held & set(data.serials), "one device in two releases"
            self.shipments[data.shipment] = (data.order, data.serials)
            assert self.released_of(data.order) <= self.orders[data.order]
        elif isinstance(data, LicenseSuspended | LicenseRevoked):
            self.stopped = True

    def take_back(self, data: object) -> None:
        if isinstance(data, OrderPlaced):
            assert not self.released_of(data.order)
            self.cancelled.add(data.order)
        elif isinstance(data, OrderAmended):
            self.orders[data.order] = self.amended[data.order].pop()
        elif isinstance(data, ShipmentRequested):
            self.shipments.pop(data.shipment, None)


def perform(bench: Workbench, step: Step) -> None:
    match step:
        case ("order", order, units):
            bench.say("order.placed", order=order, units=units, by=(EXPORTER, "exporter"))
        case ("cancel", order):
            bench.say("order.cancelled", order=order)
        case ("amend", order, units):
            bench.say("order.amended", order=order, units=units, by=(EXPORTER, "exporter"))
        case ("give back", shipment):
            bench.say("shipment.cancelled", shipment=shipment)
        case ("release", shipment, order, devices):
            bench.say("shipment.requested", shipment=shipment, order=order, serials=list(devices))
        case ("correct", back):
            index = max(0, len(bench.log) - back)
            bench.say("event.declared_in_error", index=index, id=bench.log[index][0].id)
        case ("restart",):
            bench.restart()
        case ("suspend",):
            bench.say("license.suspended")
        case ("revoke",):
            bench.say("license.revoked")


@settings(max_examples=300, deadline=None)
@given(stories)
def test_no_cap_is_exceeded_and_nothing_is_released_after_a_stop(
    story: tuple[list[Step], int | None],
) -> None:
    told, revoked_at = story
    told = list(told)
    if revoked_at is not None:
        told.insert(min(revoked_at, len(told)), ("revoke",))
    bench = Workbench().open(text=TEXT, quantity=CAP, must_acknowledge=[EXPORTER, BUYER])
    oracle = Oracle()
    seen = len(bench.log)
    for step in told:
        perform(bench, step)
        for event, decision in bench.log[seen:]:
            if decision.denied:
                continue
            if isinstance(event.data, DeclaredInError):
                oracle.take_back(bench.log[event.data.index][0].data)
            else:
                oracle.take(event.data)
        seen = len(bench.log)
        assert oracle.released <= CAP
        assert oracle.reserved <= CAP
        license_ = bench.fact(License, LICENSE)
        assert (license_.released, license_.ordered) == (oracle.released, oracle.reserved)


@settings(max_examples=100, deadline=None)
@given(st.permutations([3, 4, 5, 6, 7, 8]))
def test_in_any_order_of_arrival_exactly_what_fits_is_taken(units: list[int]) -> None:
    """Requests for 33 units of 20: each is accepted if and only if it fits what is left."""
    bench = Workbench().open(text=TEXT, quantity=CAP)
    left = CAP
    for number, asked in enumerate(units):
        decision = bench.say("order.placed", order=f"PO-{number}", units=asked)
        assert decision.outcome == ("accepted" if asked <= left else "denied")
        left -= asked if asked <= left else 0


def taken_back(bench: Workbench, index: int = -1, *, by: tuple[str, str] = (EXPORTER, "exporter")) -> None:
    """Declare the entry at `index` in error."""
    index %= len(bench.log)
    bench.accepted("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id)


def test_what_comes_back_to_a_cancelled_order_may_be_ordered_again() -> None:
    bench = Workbench().open(text=TEXT, quantity=CAP)
    bench.accepted("order.placed", units=CAP)
    bench.release(SERIALS[:5])
    release = len(bench.log) - 1
    bench.accepted("order.cancelled")
    assert bench.ask("order.placed", order="B", units=CAP - 4).denied
    taken_back(bench, release)
    bench.accepted("order.placed", order="B", units=CAP)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_revocation_names_the_orders_that_still_reserve_and_the_goods_on_their_way(restarted: bool) -> None:
    bench = Workbench().open(text=TEXT)
    for order in ORDERS:
        bench.accepted("order.placed", order=order, units=2)
    bench.accepted("order.cancelled", order="A")
    bench.release(SERIALS[:2], shipment="S1", order="B")
    bench.release(SERIALS[2:4], shipment="S2", order="C")
    bench.release(SERIALS[4:5], shipment="S3", order="D")
    if restarted:
        bench.restart()
    bench.dispatch(SERIALS[:2], shipment="S1")
    taken_back(bench, -3)
    bench.accepted("license.revoked")
    scope = bench.log[-1][0].data
    assert isinstance(scope, RevocationScoped)
    assert scope.orders == ("C", "D")
    assert [(s.shipment, s.units) for s in scope.released] == [("S3", 1)]
    assert [(s.shipment, s.units) for s in scope.in_transit] == [("S1", 2)]


def test_taking_back_an_acknowledgement_of_something_else_leaves_the_true_one() -> None:
    bench = Workbench().open(text=TEXT)
    bench.say("conditions.acknowledged", conditions_sha256="ab" * 32)
    taken_back(bench)
    assert bench.fact(License, LICENSE).acknowledged == (EXPORTER, BUYER)


def test_no_number_of_open_orders_keeps_a_license_from_being_revoked() -> None:
    """One order more than the ledger's own event may name: a buyer could have stopped the authority."""
    bench = Workbench().open(text=TEXT)
    for number in range(SCOPE_MAX + 1):
        bench.accepted("order.placed", order=f"PO-{number}", units=1)
    bench.accepted("license.revoked")
    scope = bench.log[-1][0].data
    assert isinstance(scope, RevocationScoped)
    assert (len(scope.orders), scope.orders_count) == (SCOPE_MAX, SCOPE_MAX + 1)
    assert scope.orders[0] == "PO-0"


def test_nobody_moves_the_devices_of_another_contract() -> None:
    """A stranger may open a contract of its own and speak of any serial: it changes no device but its own."""
    bench = Workbench().open(text=TEXT)
    bench.accepted("order.placed", units=2)
    bench.test(SERIALS[:3])
    bench.release(SERIALS[:2])
    before = [bench.fact(Device, serial) for serial in SERIALS[:2]]
    rival: dict[str, Any] = {"contract": OTHER_CONTRACT}
    bench.accepted("contract.opened", parties=PARTIES, licenses=[], **rival)
    bench.dispatch(SERIALS[:3], **rival)
    bench.receive(SERIALS[:1], lost=SERIALS[1:3], **rival)
    racks = [{"serial": serial, "rack": "R1", "slot": "1"} for serial in SERIALS[:3]]
    bench.say("device.installed", devices=racks, **rival)
    used = [{"serial": serial, "outcome": "pass"} for serial in SERIALS[:3]]
    bench.say("usage.attested", devices=used, **rival)
    assert [bench.fact(Device, serial) for serial in SERIALS[:2]] == before
    assert bench.fact(Device, SERIALS[2]).state == "tested"


def test_the_laboratory_of_another_contract_neither_passes_nor_fails_a_device() -> None:
    bench = Workbench().open(text=H200)
    bench.order(2)
    rival: dict[str, Any] = {"contract": OTHER_CONTRACT}
    bench.accepted("contract.opened", parties=PARTIES, licenses=[], **rival)
    bench.test(SERIALS[:1])
    for serial, result in ((SERIALS[0], "fail"), (SERIALS[1], "pass")):
        measured = [{"serial": serial, "tpp": 15832, "bandwidth_gb_s": 4800, "result": result}]
        bench.say("lab.tested", results=measured, **rival)
    refused = bench.ask("shipment.requested", serials=SERIALS[:2])
    assert [f.subjects for f in refused.failed] == [(SERIALS[1],)]
    assert bench.release(SERIALS[:1]).outcome == "accepted"
