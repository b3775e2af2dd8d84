"""A release that ends by itself, and dispatches and deliveries that are taken back."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.facts import Correction, Device, Duty, ImportApproval, License, Movements, Order, Shipment
from ledger.facts.trade import MOVEMENTS_KEPT
from ledger.kinds.release import ShipmentExpired, term_key
from tests.workbench import (
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    LICENSE,
    Workbench,
    codes,
    condition,
    policy,
    serials,
)

CHIPS = serials(4)
APPROVAL = "IMP-2027-17"
LAST, OVER = "2027-03-10", "2027-03-11T05:00:00Z"
"""The last day of the release, and the midnight in New York that ends it."""


@pytest.fixture
def bench() -> Workbench:
    bench = Workbench().open(text=policy())
    bench.accepted("order.placed", units=10)
    bench.accepted("import.approved")
    return bench


@pytest.fixture
def released(bench: Workbench) -> Workbench:
    """Four chips until LAST, drawing on an approval."""
    bench.accepted("shipment.requested", serials=CHIPS, approval=APPROVAL, valid_until=LAST)
    return bench


def counted(bench: Workbench) -> tuple[int, int, int, int]:
    """Units released by license, order and approval; and ordered."""
    license_ = bench.fact(License, LICENSE)
    order = bench.fact(Order, f"{CONTRACT}/PO-4711")
    approval = bench.fact(ImportApproval, f"{CONTRACT}/{APPROVAL}")
    return license_.released, order.released, approval.released, license_.ordered


def shipment_of(bench: Workbench, number: str = "SH-1") -> Shipment:
    return bench.fact(Shipment, f"{CONTRACT}/{number}")


def states(bench: Workbench, chips: list[str] = CHIPS) -> list[str]:
    return [bench.fact(Device, serial).state for serial in chips]


def duty_of(bench: Workbench) -> Duty:
    return bench.fact(Duty, term_key(CONTRACT, "SH-1"))


def said(bench: Workbench, at: str) -> list[str]:
    return [event.kind for event in bench.tick(at) if event.kind.startswith("shipment.")]


def every(bench: Workbench) -> dict[tuple[str, str], str]:
    """All facts as they would be stored, but for what a correction itself leaves."""
    facts = {key: fact.encode().decode() for key, fact in bench.facts.changed.items()}
    return {key: fact for key, fact in facts.items() if key[0] not in (Correction.name, "retention")}


def correct(bench: Workbench, kind: str, nth: int = -1, *, at: str | None = None) -> list[str | None]:
    index = [n for n, (event, _) in enumerate(bench.log) if event.kind == kind][nth]
    event = bench.log[index][0]
    by = (event.actor.party, event.actor.role)
    return codes(bench.say("event.declared_in_error", by=by, index=index, id=event.id, at=at))


# --- a release ends -------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_a_release_that_never_leaves_gives_everything_back_when_its_last_day_ends(
    released: Workbench, restarted: bool
) -> None:
    assert counted(released) == (4, 4, 4, 10)
    if restarted:
        released.restart()
    assert said(released, "2027-03-11T04:59:59.999999Z") == []
    assert said(released, OVER) == ["shipment.expired"]
    expired = released.log[-1][0].data
    assert isinstance(expired, ShipmentExpired)
    assert expired.serials == tuple(CHIPS)
    assert counted(released) == (0, 0, 0, 10)
    assert shipment_of(released).state == "expired"
    assert states(released) == ["known"] * 4
    assert said(released, "2030-01-01T00:00:00Z") == []
    released.accepted("shipment.requested", shipment="SH-2", serials=CHIPS, at="2027-03-12T00:00:00Z")


def test_after_an_outage_it_is_said_once_and_late(released: Workbench) -> None:
    assert said(released, "2027-06-01T00:00:00Z") == ["shipment.expired"]
    assert released.log[-1][0].data.model_dump(mode="json")["expired_at"].startswith("2027-03-11T05:00:00")
    assert said(released, "2027-06-02T00:00:00Z") == []


def test_what_has_left_stays_released_and_only_the_rest_comes_back(released: Workbench) -> None:
    released.dispatch(CHIPS[:3])
    assert said(released, OVER) == ["shipment.expired"]
    assert counted(released) == (3, 3, 3, 10)
    shipment = shipment_of(released)
    assert (shipment.state, shipment.serials, shipment.taken_back) == (
        "dispatched",
        tuple(CHIPS[:3]),
        (CHIPS[3],),
    )


def test_a_release_that_is_cancelled_does_not_expire(released: Workbench) -> None:
    released.accepted("shipment.cancelled")
    assert duty_of(released).state == "met"
    assert said(released, "2028-01-01T00:00:00Z") == []


def test_a_release_that_has_left_to_the_last_device_does_not_expire(released: Workbench) -> None:
    released.dispatch(CHIPS[:1])
    assert duty_of(released).next is not None
    released.dispatch(CHIPS[1:])
    assert duty_of(released).next is None
    assert said(released, "2028-01-01T00:00:00Z") == []


def test_a_release_in_error_does_not_expire(released: Workbench) -> None:
    assert correct(released, "shipment.requested") == []
    assert said(released, "2028-01-01T00:00:00Z") == []


def test_a_device_that_left_under_another_number_is_not_given_back(released: Workbench) -> None:
    released.dispatch(CHIPS[:1], shipment="SH-9")
    said(released, OVER)
    assert counted(released) == (1, 1, 1, 10)
    assert states(released) == ["in_transit", "known", "known", "known"]


def test_a_release_whose_day_is_over_cannot_be_asked_for(bench: Workbench) -> None:
    decision = bench.say("shipment.requested", serials=CHIPS, valid_until=LAST, at=OVER)
    assert codes(decision) == ["release_term.past"]
    bench.accepted("shipment.requested", serials=CHIPS, valid_until=LAST, at="2027-03-11T04:59:59Z")


@pytest.mark.parametrize("clock", ["stands still", "runs"])
def test_what_leaves_too_late_is_flagged_and_takes_its_quota_again(released: Workbench, clock: str) -> None:
    """It has happened, so it is accepted; whether the scheduler runs changes nothing of what is found."""
    if clock == "runs":
        said(released, OVER)
        assert counted(released)[0] == 0
    decision = released.dispatch(CHIPS, at=OVER)
    assert decision.outcome == "flagged"
    assert codes(decision)[0] == "release_stands.expired"
    assert counted(released) == (4, 4, 4, 10)
    assert (shipment_of(released).state, states(released)) == ("dispatched", ["in_transit"] * 4)
    assert said(released, "2028-01-01T00:00:00Z") == []


def test_what_was_given_back_and_leaves_all_the_same_is_named(released: Workbench) -> None:
    released.accepted("shipment.cancelled")
    decision = released.dispatch(CHIPS[:2])
    found = decision.failed[0]
    assert (found.code, found.subjects) == ("release_stands.taken_back", tuple(CHIPS[:2]))
    assert counted(released) == (2, 2, 2, 10)
    assert shipment_of(released).serials == tuple(CHIPS[:2])


def test_a_cancellation_says_that_the_release_has_ended(released: Workbench) -> None:
    said(released, OVER)
    decision = released.ask("shipment.cancelled", at=OVER)
    assert codes(decision) == ["shipment_held.expired"]


WITHIN = condition("validity_window", releases_within="P30D", action="deny")


@pytest.mark.parametrize(
    ("valid_until", "code"),
    [
        ("2027-03-31", None),
        ("2027-04-01", "validity_window.release_too_long"),
        (None, "validity_window.release_endless"),
    ],
)
def test_a_document_may_ask_that_every_release_ends(valid_until: str | None, code: str | None) -> None:
    bench = Workbench().open(text=policy(WITHIN))
    bench.accepted("order.placed", units=10)
    decision = bench.say("shipment.requested", serials=CHIPS, valid_until=valid_until)
    assert codes(decision) == ([] if code is None else [code])


# --- a dispatch in error --------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_a_dispatch_in_error_leaves_the_devices_released(released: Workbench, restarted: bool) -> None:
    before = every(released)
    released.dispatch(CHIPS[:3])
    if restarted:
        released.restart()
    assert correct(released, "shipment.dispatched") == []
    assert states(released) == ["released"] * 4
    assert counted(released) == (4, 4, 4, 10)
    if not restarted:
        after = every(released)
        assert after.pop(("movements", f"{CONTRACT}/SH-1")).endswith('"movements":[]}')
        assert {key: after[key] for key in before} == before
    assert said(released, OVER) == ["shipment.expired"]
    assert counted(released) == (0, 0, 0, 10)


def test_the_last_dispatch_is_taken_back_first(released: Workbench) -> None:
    released.dispatch(CHIPS[:2])
    released.dispatch(CHIPS[2:])
    assert correct(released, "shipment.dispatched", 0) == ["correction.later_movement"]
    assert correct(released, "shipment.dispatched") == []
    assert shipment_of(released).dispatched == tuple(CHIPS[:2])
    assert [(d.units) for d in shipment_of(released).departures] == [2]
    assert correct(released, "shipment.dispatched", 0) == []
    assert (shipment_of(released).state, shipment_of(released).departures) == ("released", ())


def test_a_dispatch_that_arrived_is_taken_back_with_its_delivery(released: Workbench) -> None:
    released.dispatch(CHIPS, by=(EXPORTER, "exporter"))
    released.receive(CHIPS)
    assert correct(released, "shipment.dispatched") == ["correction.later_movement"]
    assert correct(released, "delivery.received") == []
    assert states(released) == ["in_transit"] * 4
    assert correct(released, "shipment.dispatched") == []
    assert states(released) == ["released"] * 4


def test_a_dispatch_of_what_customs_have_cleared_is_not_taken_back(released: Workbench) -> None:
    released.dispatch(CHIPS)
    released.say("customs.cleared", shipment="SH-1", quantity=4, approval=APPROVAL)
    assert shipment_of(released).cleared == 4
    assert correct(released, "shipment.dispatched") == ["correction.cleared"]
    assert correct(released, "customs.cleared") == []
    assert correct(released, "shipment.dispatched") == []


def test_a_dispatch_under_a_mistyped_number_is_taken_back(released: Workbench) -> None:
    released.dispatch(CHIPS[:2], shipment="SH-9")
    assert correct(released, "shipment.dispatched") == []
    assert states(released) == ["released"] * 4


@pytest.mark.parametrize("numbers", [("SH-9", "SH-1"), ("SH-1", "SH-9")])
def test_what_left_under_two_numbers_is_taken_back_in_turn(
    released: Workbench, numbers: tuple[str, str]
) -> None:
    """Else a device would be released that another entry says has left, and its quota could come back."""
    for number in numbers:
        released.dispatch(CHIPS[:2], shipment=number)
    assert correct(released, "shipment.dispatched", 0) == ["correction.later_movement"]
    assert correct(released, "shipment.dispatched") == []
    assert states(released) == ["in_transit", "in_transit", "released", "released"]
    assert correct(released, "shipment.dispatched", 0) == []
    assert states(released) == ["released"] * 4


def test_a_late_dispatch_in_error_gives_back_again_what_it_took(released: Workbench) -> None:
    said(released, OVER)
    released.dispatch(CHIPS[:3], at=OVER)
    assert counted(released) == (3, 3, 3, 10)
    assert correct(released, "shipment.dispatched", at=OVER) == []
    assert counted(released) == (0, 0, 0, 10)
    assert (shipment_of(released).state, states(released)) == ("expired", ["known"] * 4)


def test_a_dispatch_of_strangers_moves_none_and_is_taken_back_all_the_same(released: Workbench) -> None:
    released.accepted("order.placed", order="PO-2", units=1)
    released.dispatch([CHIPS[0], "SN000009"])
    released.release(["SN000009"], shipment="SH-2", order="PO-2")
    assert correct(released, "shipment.dispatched") == []
    assert states(released, [CHIPS[0], "SN000009"]) == ["released", "released"]


def test_a_late_dispatch_in_error_leaves_what_stands_of_a_release_as_it_was(released: Workbench) -> None:
    """Two devices stand, for they left under another number; two were given back."""
    released.dispatch(CHIPS[:2], shipment="SH-9")
    released.accepted("shipment.cancelled")
    before = shipment_of(released)
    assert (before.state, before.serials) == ("released", tuple(CHIPS[:2]))
    released.dispatch(CHIPS[2:])
    assert correct(released, "shipment.dispatched") == []
    assert shipment_of(released) == before
    assert correct(released, "shipment.dispatched", 0) == []
    assert correct(released, "shipment.requested") == []
    assert counted(released) == (0, 0, 0, 10)


def test_a_correction_that_brings_nothing_back_leaves_nothing_to_end(released: Workbench) -> None:
    released.dispatch(CHIPS)
    released.dispatch(CHIPS[:1], shipment="SH-9")
    assert correct(released, "shipment.dispatched") == []
    assert said(released, OVER) == []


def test_only_so_many_movements_can_be_taken_back(released: Workbench) -> None:
    for _ in range(MOVEMENTS_KEPT + 1):
        released.dispatch(CHIPS[:1])
    for _ in range(MOVEMENTS_KEPT):
        index = len(released.fact(Movements, f"{CONTRACT}/SH-1").movements)
        assert correct(released, "shipment.dispatched", index - MOVEMENTS_KEPT - 1) == []
    assert correct(released, "shipment.dispatched", 0) == ["correction.later_movement"]
    assert states(released) == ["in_transit", "released", "released", "released"]


# --- a delivery in error --------------------------------------------------------------------------


def test_a_delivery_in_error_leaves_the_goods_on_their_way(released: Workbench) -> None:
    released.dispatch(CHIPS)
    before = every(released)
    released.receive(CHIPS[:2], lost=CHIPS[2:3])
    assert correct(released, "delivery.received") == []
    assert every(released) == before


def test_what_a_second_delivery_found_is_missing_again(released: Workbench) -> None:
    released.dispatch(CHIPS)
    released.receive(CHIPS[:3], lost=CHIPS[3:])
    before = every(released)
    released.receive(CHIPS[3:])
    assert shipment_of(released).missing == ()
    assert correct(released, "delivery.received") == []
    assert every(released) == before


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        ("acceptance.signed", {"units": 4}, "correction.signed_for"),
        (
            "device.installed",
            {"devices": [{"serial": CHIPS[0], "rack": "R", "slot": "1"}]},
            "correction.moved_on",
        ),
        ("device.lost", {"serials": CHIPS[:1]}, "correction.moved_on"),
    ],
)
def test_a_delivery_that_is_built_on_is_not_taken_back_before_that(
    released: Workbench, kind: str, data: dict[str, Any], code: str
) -> None:
    released.dispatch(CHIPS)
    released.receive(CHIPS)
    released.accepted(kind, **data)
    before = every(released)
    assert correct(released, "delivery.received") == [code]
    assert every(released) == before
    assert correct(released, kind) == []
    assert correct(released, "delivery.received") == []
    assert states(released) == ["in_transit"] * 4


@pytest.mark.parametrize("ended", ["cancelled", "expired"])
def test_a_delivery_makes_no_release_of_one_that_is_over(released: Workbench, ended: str) -> None:
    """Else what was given back would count as released, and what then leaves be in it twice."""
    if ended == "cancelled":
        released.accepted("shipment.cancelled")
    else:
        said(released, OVER)
    released.receive(CHIPS[:1], at=OVER)
    assert shipment_of(released).state == ended
    released.dispatch(CHIPS[:1], at=OVER)
    shipment = shipment_of(released)
    assert (shipment.serials, shipment.value) == (tuple(CHIPS[:1]), 27000)
    assert counted(released) == (1, 1, 1, 10)


@pytest.mark.parametrize("kind", ["delivery.received", "shipment.dispatched"])
@pytest.mark.parametrize("ended", ["cancelled", "expired"])
def test_what_has_ended_since_a_movement_in_error_is_over_all_the_same(
    released: Workbench, ended: str, kind: str
) -> None:
    """Of devices that are none of the release: all of it is given back, and stays so."""
    moved = released.receive if kind == "delivery.received" else released.dispatch
    moved(["SN000009"])
    if ended == "cancelled":
        released.accepted("shipment.cancelled")
    else:
        said(released, OVER)
    assert correct(released, kind, at=OVER) == []
    assert (shipment_of(released).state, counted(released)) == (ended, (0, 0, 0, 10))


def test_it_is_taken_back_by_who_said_it(released: Workbench) -> None:
    released.dispatch(CHIPS)
    index = len(released.log) - 1
    mistake = {"index": index, "id": released.log[index][0].id}
    for party, role in ((EXPORTER, "exporter"), (BUYER, "buyer")):
        assert codes(released.ask("event.declared_in_error", by=(party, role), **mistake)) == [
            "correction.not_yours"
        ]
    released.accepted("event.declared_in_error", by=(FORWARDER, "forwarder"), **mistake)
