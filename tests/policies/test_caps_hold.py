"""Whatever is asked, in whatever order: no cap is exceeded, and nothing is released after a stop.

The oracle counts on its own, from the accepted events alone, without facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.facts import License
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.license import LicenseRevoked, LicenseSuspended
from ledger.kinds.order import OrderCancelled, OrderPlaced
from ledger.kinds.shipment import ShipmentRequested
from tests.workbench import BUYER, EXPORTER, LICENSE, Workbench, condition, policy

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
    st.tuples(
        st.just("release"),
        st.sampled_from(SHIPMENTS),
        st.sampled_from(ORDERS),
        st.lists(st.sampled_from(SERIALS), min_size=1, max_size=12, unique=True),
    ),
    st.tuples(st.just("correct"), st.integers(5, 40)),
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
        elif isinstance(data, ShipmentRequested):
            self.shipments.pop(data.shipment, None)


def perform(bench: Workbench, step: Step) -> None:
    match step:
        case ("order", order, units):
            bench.say("order.placed", order=order, units=units, by=(EXPORTER, "exporter"))
        case ("cancel", order):
            bench.say("order.cancelled", order=order)
        case ("release", shipment, order, devices):
            bench.say("shipment.requested", shipment=shipment, order=order, serials=list(devices))
        case ("correct", index) if index < len(bench.log):
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
