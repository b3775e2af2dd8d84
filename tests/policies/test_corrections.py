"""Corrections of several entries in one event, and of licensing by the authority."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.facts import Application, Correction, Duty, License, Order, Proposed
from ledger.kinds.license import term_key
from tests.policies.at_work import installed
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    LICENSE,
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    codes,
    condition,
    finding,
    policy,
    serials,
)

BY_AUTHORITY = {"by": (AUTHORITY, "authority")}
CAP = condition("quantity_cap", limit={"from": "license.quantity"})
ONLY = {"valid_until": None, "conditions_sha256": None}
"""An amendment of the quantity alone."""


def opened(**granted: Any) -> Workbench:
    return Workbench().open(text=policy(CAP), **granted)


def entry(bench: Workbench, kind: str, nth: int = -1) -> dict[str, Any]:
    """An entry of the kind, as a correction names it."""
    index = [n for n, (event, _) in enumerate(bench.log) if event.kind == kind][nth]
    return {"index": index, "id": bench.log[index][0].id}


def state_of(bench: Workbench) -> License:
    return bench.fact(License, LICENSE)


# --- in one event ---------------------------------------------------------------------------------


def released() -> Workbench:
    """An order and its release, both said by the exporter."""
    bench = opened()
    bench.accepted("order.placed", units=2, by=(EXPORTER, "exporter"))
    bench.release(serials(2))
    return bench


def test_what_rests_on_a_mistake_is_taken_back_in_the_same_event() -> None:
    bench = released()
    order, release = entry(bench, "order.placed"), entry(bench, "shipment.requested")
    assert codes(bench.ask("event.declared_in_error", **order)) == ["correction.dependents"]
    bench.restart()
    bench.accepted("event.declared_in_error", **order, also=[release])
    assert (state_of(bench).ordered, state_of(bench).released) == (0, 0)
    assert bench.fact(Order, f"{CONTRACT}/PO-4711").state == "cancelled"
    by = len(bench.log) - 1
    assert [bench.fact(Correction, str(one["index"])).by for one in (order, release)] == [by, by]


@pytest.mark.parametrize("turn", [1, -1])
def test_in_whichever_order_they_are_named(turn: int) -> None:
    bench = released()
    first, *also = (entry(bench, "order.placed"), entry(bench, "shipment.requested"))[::turn]
    bench.accepted("event.declared_in_error", **first, also=also)
    assert state_of(bench).ordered == 0


def test_all_of_them_are_taken_back_or_none() -> None:
    bench = released()
    bench.dispatch(["SN000001"])
    order, release = entry(bench, "order.placed"), entry(bench, "shipment.requested")
    decision = bench.say("event.declared_in_error", **order, also=[release])
    found = finding(decision, "correction")
    assert (found.code, found.observed) == ("correction.dependents", release["index"])
    wrong = {**release, "id": order["id"]}
    decision = bench.say("event.declared_in_error", **order, also=[wrong, {**order, "index": 9_999}])
    assert sorted(codes(decision), key=str) == ["correction.id_differs", "correction.unknown"]
    assert state_of(bench).ordered == 2


def test_each_is_taken_back_by_who_said_it() -> None:
    bench = opened()
    bench.accepted("order.placed", units=2)
    bench.release(serials(2))
    release, order = entry(bench, "shipment.requested"), entry(bench, "order.placed")
    decision = bench.say("event.declared_in_error", **release, also=[order])
    assert (codes(decision), decision.failed[0].observed) == (["correction.not_yours"], order["index"])


# --- licensing ------------------------------------------------------------------------------------


def test_a_suspension_in_error_is_taken_back_and_supply_goes_on() -> None:
    bench = opened()
    bench.accepted("license.suspended")
    slip = entry(bench, "license.suspended")
    assert codes(bench.ask("event.declared_in_error", **slip)) == ["correction.not_yours"]
    bench.restart()
    bench.accepted("event.declared_in_error", **slip, **BY_AUTHORITY)
    assert (state_of(bench).state, state_of(bench).suspended_at) == ("active", None)


def test_only_the_latest_change_of_a_license_is_taken_back() -> None:
    bench = opened()
    bench.accepted("license.suspended", at="2027-03-02T00:00:00Z")
    bench.accepted("license.reinstated", at="2027-03-03T00:00:00Z")
    bench.accepted("license.suspended", at="2027-03-04T00:00:00Z")
    first = entry(bench, "license.suspended", 0)
    assert codes(bench.say("event.declared_in_error", **first, **BY_AUTHORITY)) == ["correction.dependents"]
    bench.accepted("event.declared_in_error", **entry(bench, "license.suspended"), **BY_AUTHORITY)
    assert state_of(bench).state == "active"
    bench.accepted("event.declared_in_error", **entry(bench, "license.reinstated"), **BY_AUTHORITY)
    assert state_of(bench).state == "suspended"
    assert state_of(bench).suspended_at == bench.now("2027-03-02T00:00:00Z")
    bench.accepted("event.declared_in_error", **first, **BY_AUTHORITY)
    assert state_of(bench).state == "active"


def test_a_revocation_in_error_gives_the_license_back_and_its_end_is_watched_again() -> None:
    bench = opened()
    bench.accepted("license.suspended", at="2027-03-02T00:00:00Z")
    bench.accepted("license.revoked", at="2027-03-03T00:00:00Z")
    term = bench.fact(Duty, term_key(CONTRACT, LICENSE))
    assert term.next is None
    slip = entry(bench, "license.revoked")
    bench.accepted("event.declared_in_error", **slip, **BY_AUTHORITY, at="2027-03-04T00:00:00Z")
    assert (state_of(bench).state, state_of(bench).revoked_at) == ("suspended", None)
    assert bench.fact(Duty, term_key(CONTRACT, LICENSE)).next is not None
    bench.accepted("license.reinstated", at="2027-03-05T00:00:00Z")
    assert bench.ask("order.placed").outcome == "accepted"


def test_an_amendment_in_error_leaves_less_than_is_taken_and_stops_new_orders() -> None:
    bench = opened(quantity=10)
    bench.accepted("license.amended", quantity=20, **ONLY)
    bench.accepted("order.placed", units=15)
    slip = entry(bench, "license.amended")
    decision = bench.say("event.declared_in_error", **slip, **BY_AUTHORITY)
    assert (decision.outcome, codes(decision)) == ("flagged", ["correction.headroom"])
    assert (state_of(bench).quantity, state_of(bench).ordered) == (10, 15)
    assert codes(bench.ask("order.placed", order="PO-2", units=1)) == ["quantity_cap.over"]


# --- a grant --------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_a_grant_in_error_leaves_no_license_and_its_number_free(restarted: bool) -> None:
    bench = opened(quantity=10)
    if restarted:
        bench.restart()
    bench.accepted("event.declared_in_error", **entry(bench, "license.granted"), **BY_AUTHORITY)
    assert state_of(bench).state == "withdrawn"
    assert codes(bench.ask("order.placed", units=1)) == ["license_known.unknown"]
    assert codes(bench.ask("license.suspended")) == ["license_known.unknown"]
    assert bench.tick("2031-01-01T00:00:00Z") == []
    bench.accepted("license.granted", quantity=20)
    assert (state_of(bench).state, state_of(bench).acknowledged) == ("granted", ())
    bench.accepted("conditions.acknowledged", by=(EXPORTER, "exporter"))
    bench.accepted("conditions.acknowledged", by=(BUYER, "consignee"))
    bench.accepted("order.placed", units=20)
    assert [said.kind for said in bench.tick("2030-02-10T05:00:00Z")][-1] == "license.expired"


def test_what_was_acknowledged_of_a_grant_in_error_is_not_of_the_next() -> None:
    """Nor does a correction of that acknowledgement take back the new one."""
    bench = opened()
    bench.accepted("event.declared_in_error", **entry(bench, "license.granted"), **BY_AUTHORITY)
    bench.accepted("license.granted", must_acknowledge=[EXPORTER])
    bench.accepted("conditions.acknowledged", by=(EXPORTER, "exporter"))
    bench.accepted("event.declared_in_error", **entry(bench, "conditions.acknowledged", 0))
    assert state_of(bench).state == "active"


def test_a_grant_that_was_used_or_changed_is_not_taken_back_before_that() -> None:
    bench = opened(quantity=10)
    grant = entry(bench, "license.granted")
    bench.accepted("order.placed", units=1)
    assert codes(bench.ask("event.declared_in_error", **grant, **BY_AUTHORITY)) == ["correction.license_used"]
    bench.restart()
    bench.accepted("order.cancelled")
    bench.accepted("license.suspended")
    slip = entry(bench, "license.suspended")
    decision = bench.ask("event.declared_in_error", **grant, **BY_AUTHORITY)
    assert codes(decision) == ["correction.license_changed"]
    bench.restart()
    assert codes(bench.ask("event.declared_in_error", **grant)) == ["correction.not_yours"]
    bench.restart()
    bench.accepted("event.declared_in_error", **grant, also=[slip], **BY_AUTHORITY)
    assert state_of(bench).state == "withdrawn"


@pytest.mark.parametrize("contract", [CONTRACT, OTHER_CONTRACT])
def test_what_leaves_after_a_grant_in_error_takes_and_gives_nothing_of_the_next(contract: str) -> None:
    """Of the same number: else a late dispatch would draw on it, and its correction leave it more."""
    bench = opened(quantity=10)
    bench.accepted("order.placed", units=4)
    bench.accepted("shipment.requested", serials=serials(4))
    bench.accepted("shipment.cancelled")
    bench.accepted("order.cancelled")
    bench.accepted("event.declared_in_error", **entry(bench, "license.granted"), **BY_AUTHORITY)
    bench.dispatch(serials(1))
    first = entry(bench, "shipment.dispatched")
    if contract != CONTRACT:
        bench.accepted("contract.opened", contract=contract, parties=PARTIES, licenses=[LICENSE])
    bench.accepted("license.granted", contract=contract, quantity=10)
    bench.dispatch(serials(1, first=2))
    assert (state_of(bench).ordered, state_of(bench).released) == (0, 0)
    by = {"by": (FORWARDER, "forwarder")}
    bench.accepted("event.declared_in_error", **entry(bench, "shipment.dispatched"), **by)
    bench.accepted("event.declared_in_error", **first, **by)
    assert (state_of(bench).ordered, state_of(bench).released) == (0, 0)


def test_an_application_waits_again_when_its_grant_was_an_error() -> None:
    bench = Workbench().open(text=policy(CAP))
    bench.accepted("event.declared_in_error", **entry(bench, "license.granted"), **BY_AUTHORITY)
    bench.accepted("license.applied", application="Z-1")
    bench.accepted("license.granted", application="Z-1")
    assert bench.fact(Application, f"{CONTRACT}/Z-1").license == LICENSE
    bench.accepted("event.declared_in_error", **entry(bench, "license.granted"), **BY_AUTHORITY)
    assert bench.fact(Application, f"{CONTRACT}/Z-1").license is None


def test_conditions_that_are_taken_back_leave_what_was_acknowledged_before() -> None:
    bench = opened()
    before = state_of(bench)
    bench.accepted("license.amended", conditions_sha256="6f" * 32)
    assert state_of(bench).state == "granted"
    bench.accepted("event.declared_in_error", **entry(bench, "license.amended"), **BY_AUTHORITY)
    assert state_of(bench) == before


def test_what_has_ended_since_is_not_brought_back() -> None:
    bench = opened(valid_until="2027-06-09")
    bench.accepted("license.suspended")
    bench.tick("2027-06-10T04:00:00Z")
    slip = entry(bench, "license.suspended")
    decision = bench.say("event.declared_in_error", **slip, **BY_AUTHORITY, at="2027-06-11T00:00:00Z")
    assert codes(decision) == ["correction.dependents"]
    assert state_of(bench).state == "expired"


def test_a_proposal_that_was_confirmed_in_error_waits_again() -> None:
    bench = installed(
        2, condition("custody_continuity", incident_within="PT72H"), condition("no_onward_transfer")
    )
    place = {"party": BUYER, "site": "SHA-1", "country": "CN"}
    to = {"party": "dragon-affiliate", "site": "SHA-2", "country": "CN"}
    bench.say("device.transferred", serials=serials(2), transfer=None, **{"from": place, "to": to})
    proposal = len(bench.log) - 1
    assert bench.log[proposal][0].kind == "suspension.proposed"
    bench.accepted("license.suspended", proposal=proposal)
    assert bench.fact(Proposed, str(proposal)).state == "confirmed"
    bench.accepted("event.declared_in_error", **entry(bench, "license.suspended"), **BY_AUTHORITY)
    assert (bench.fact(Proposed, str(proposal)).state, state_of(bench).state) == ("open", "active")
