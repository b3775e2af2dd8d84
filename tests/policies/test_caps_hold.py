"""Whatever is asked, in whatever order: no cap is exceeded, and nothing is released after a stop.

Requests come and go, dispatches too, under right numbers and wrong ones, in time and late; releases end by
the clock; all of it is taken back again. The oracle counts on its own, from the accepted events alone,
without facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.facts import Device, License
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.ledger import SCOPE_MAX, RevocationScoped
from ledger.kinds.license import LicenseRevoked, LicenseSuspended
from ledger.kinds.order import OrderAmended, OrderCancelled, OrderPlaced
from ledger.kinds.release import ShipmentExpired
from ledger.kinds.shipment import ShipmentCancelled, ShipmentDispatched, ShipmentRequested
from ledger.values import format_timestamp, later, midnight
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
        st.sampled_from((None, 0, 2)),
    ),
    st.tuples(
        st.just("dispatch"),
        st.sampled_from((*SHIPMENTS, "mistyped")),
        st.lists(st.sampled_from(SERIALS), min_size=1, max_size=12, unique=True),
    ),
    st.tuples(st.just("dispatch all"), st.sampled_from(SHIPMENTS)),
    st.tuples(st.just("wait"), st.integers(1, 3)),
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
    """What stands of each release."""
    given_back: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    """What of each release was taken back, and its order."""
    left: dict[str, set[int]] = field(default_factory=dict)
    """By which entries each device has left."""
    ends: dict[str, datetime] = field(default_factory=dict)
    """When each release is over that says so."""
    again: dict[int, tuple[str, set[str]]] = field(default_factory=dict)
    """What an entry took that had been given back."""
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

    def give_back(self, shipment: str, devices: set[str]) -> None:
        order, standing = self.shipments.pop(shipment)
        if kept := tuple(serial for serial in standing if serial not in devices):
            self.shipments[shipment] = (order, kept)
        self.given_back.setdefault(shipment, (order, set()))[1].update(devices)

    def held_of(self, shipment: str) -> set[str]:
        return {serial for serial in self.shipments[shipment][1] if not self.left.get(serial)}

    def none_is_over(self, now: datetime) -> None:
        over = [name for name, ends in self.ends.items() if name in self.shipments and ends <= now]
        assert not any(self.held_of(name) for name in over)

    def leave(self, data: ShipmentDispatched, index: int) -> None:
        """What stands leaves; what was given back, and is in no other release, stands again by it."""
        standing = {serial for _, devices in self.shipments.values() for serial in devices}
        order, given_back = self.given_back.get(data.shipment, ("", set()))
        retaken = (given_back & set(data.serials)) - standing
        if retaken:
            given_back -= retaken
            _, kept = self.shipments.get(data.shipment, (order, ()))
            self.shipments[data.shipment] = (order, (*kept, *retaken))
            self.again[index] = (data.shipment, retaken)
        for serial in (standing | retaken) & set(data.serials):
            self.left.setdefault(serial, set()).add(index)

    def fits(self, data: object) -> None:
        """No request takes beyond the cap; what has left all the same may have."""
        if isinstance(data, OrderPlaced | OrderAmended):
            assert self.reserved <= CAP
        if isinstance(data, ShipmentRequested):
            assert self.released <= CAP

    def take(self, data: object, index: int) -> None:
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
            self.give_back(data.shipment, self.held_of(data.shipment))
        elif isinstance(data, ShipmentExpired):
            held = self.held_of(data.shipment) if data.shipment in self.shipments else set()
            assert held == set(data.serials)
            if held:
                self.give_back(data.shipment, held)
        elif isinstance(data, ShipmentDispatched):
            self.leave(data, index)
        elif isinstance(data, ShipmentRequested):
            assert not self.stopped, "released after a stop"
            held = {serial for _, devices in self.shipments.values() for serial in devices}
            assert not held & set(data.serials), "one device in two releases"
            self.shipments[data.shipment] = (data.order, data.serials)
            if data.valid_until is not None:
                self.ends[data.shipment] = midnight(data.valid_until + timedelta(days=1), "America/New_York")
            assert self.released_of(data.order) <= self.orders[data.order]
        elif isinstance(data, LicenseSuspended | LicenseRevoked):
            self.stopped = True

    def take_back(self, data: object, index: int) -> None:
        if isinstance(data, OrderPlaced):
            assert not self.released_of(data.order)
            self.cancelled.add(data.order)
        elif isinstance(data, OrderAmended):
            self.orders[data.order] = self.amended[data.order].pop()
        elif isinstance(data, ShipmentRequested):
            if data.shipment in self.shipments:
                assert self.held_of(data.shipment) == set(data.serials), "what has left keeps its quota"
                self.give_back(data.shipment, set(data.serials))
        elif isinstance(data, ShipmentDispatched):
            for entries in self.left.values():
                entries.discard(index)
            if index in self.again:
                self.give_back(*self.again.pop(index))


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
        case ("release", shipment, order, devices, days):
            today = bench.now().date()
            until = None if days is None else (today + timedelta(days=days)).isoformat()
            said = {"shipment": shipment, "order": order, "serials": list(devices)}
            bench.say("shipment.requested", valid_until=until, **said)
        case ("dispatch", shipment, devices):
            bench.say(
                "shipment.dispatched", shipment=shipment, serials=list(devices), by=(EXPORTER, "exporter")
            )
        case ("dispatch all", shipment):
            asked = [e.data for e, d in bench.log if e.kind == "shipment.requested" and not d.denied]
            named = [data.serials for data in asked if getattr(data, "shipment", None) == shipment]
            if named:
                perform(bench, ("dispatch", shipment, named[-1]))
        case ("wait", days):
            bench.at = format_timestamp(later(bench.now(), timedelta(days=days), "UTC"))
            bench.tick(bench.at)
        case ("correct", back):
            index = max(0, len(bench.log) - back)
            bench.say("event.declared_in_error", index=index, id=bench.log[index][0].id)
        case ("restart",):
            bench.restart()
        case ("suspend",):
            bench.say("license.suspended")
        case ("revoke",):
            bench.say("license.revoked")


def told(story: list[Step]) -> None:
    """Tell the story, and hold each entry against the oracle."""
    bench = Workbench().open(text=TEXT, quantity=CAP, must_acknowledge=[EXPORTER, BUYER])
    oracle = Oracle()
    seen = len(bench.log)
    for step in story:
        perform(bench, step)
        for index in range(seen, len(bench.log)):
            event, decision = bench.log[index]
            if decision.denied:
                continue
            if isinstance(event.data, DeclaredInError):
                oracle.take_back(bench.log[event.data.index][0].data, event.data.index)
            else:
                oracle.take(event.data, index)
                oracle.fits(event.data)
        seen = len(bench.log)
        if step[0] == "wait":
            oracle.none_is_over(bench.now())
        license_ = bench.fact(License, LICENSE)
        assert (license_.released, license_.ordered) == (oracle.released, oracle.reserved)


@settings(max_examples=300, deadline=None)
@given(stories)
def test_no_cap_is_exceeded_and_nothing_is_released_after_a_stop(
    story: tuple[list[Step], int | None],
) -> None:
    steps, revoked_at = list(story[0]), story[1]
    if revoked_at is not None:
        steps.insert(min(revoked_at, len(steps)), ("revoke",))
    told(steps)


LED_IN: list[Step] = [
    ("order", "A", 8),
    ("order", "B", 8),
    ("release", "S1", "A", SERIALS[:4], 1),
    ("release", "S2", "B", SERIALS[4:8], None),
]
dispatches = st.one_of(
    st.tuples(st.just("dispatch all"), st.sampled_from(("S1", "S2"))),
    st.tuples(
        st.just("dispatch"),
        st.sampled_from(("S1", "S2", "mistyped")),
        st.lists(st.sampled_from(SERIALS[:8]), min_size=1, max_size=4, unique=True),
    ),
    st.tuples(st.just("give back"), st.sampled_from(("S1", "S2"))),
    st.tuples(st.just("release"), st.just("S3"), st.just("A"), st.just(SERIALS[:3]), st.just(1)),
    st.tuples(st.just("wait"), st.integers(1, 2)),
    st.tuples(st.just("correct"), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.sampled_from(("A", "B"))),
    st.tuples(st.just("restart")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(dispatches, max_size=12))
@example([("wait", 2), ("dispatch all", "S1"), ("correct", 1)])
@example([("dispatch", "S2", SERIALS[:1]), ("give back", "S1"), ("correct", 2), ("wait", 2)])
@example([("cancel", "B"), ("correct", 4)])
@example([("give back", "S2"), ("dispatch all", "S2"), ("restart",), ("correct", 1)])
def test_quota_comes_back_for_what_never_left_and_for_nothing_else(steps: list[Step]) -> None:
    """Two releases stand, and one of them ends by itself: what leaves, late or in error, is counted once."""
    told([*LED_IN, *steps])


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
