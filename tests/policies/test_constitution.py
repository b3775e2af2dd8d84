"""The built-in rules: who may say what, of what. Each with what it lets pass and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.event import KINDS
from ledger.facts import License, Order
from policies.rules import RULES, SENTENCES
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    H200,
    LABORATORY,
    LICENSE,
    OTHER_CONTRACT,
    PARTIES,
    SPEAKERS,
    Workbench,
    activation,
    codes,
    condition,
    finding,
    policy,
    serials,
    usd,
)


def lenient() -> Workbench:
    """A contract under a document that asks for next to nothing, so that only the rules here speak."""
    return Workbench().open(text=policy(condition("quantity_cap", limit=1_000_000)))


def denied(bench: Workbench, kind: str, **said: Any) -> list[str | None]:
    decision = bench.say(kind, **said)
    assert decision.outcome == "denied"
    assert all(f.policy == 0 and f.action == "deny" for f in decision.failed)
    return codes(decision)


def flagged(bench: Workbench, kind: str, **said: Any) -> list[str | None]:
    decision = bench.say(kind, **said)
    assert decision.outcome == "flagged"
    return codes(decision)


def released(units: int = 2) -> Workbench:
    bench = lenient()
    bench.order(units)
    assert bench.release(serials(units)).outcome == "accepted"
    return bench


# --- contract_open --------------------------------------------------------------------------------


def test_a_contract_is_opened_once() -> None:
    bench = Workbench()
    bench.accepted("contract.opened")
    assert denied(bench, "contract.opened") == ["contract_open.exists"]


@pytest.mark.parametrize("kind", sorted(SPEAKERS.keys() - {"contract.opened"}))
def test_nothing_is_said_in_a_contract_that_is_not_open(kind: str) -> None:
    assert denied(Workbench(), kind) == ["contract_open.unknown"]


@pytest.mark.parametrize("kind", ["contract.opened", "order.placed", "lab.tested"])
def test_only_the_ledger_speaks_in_its_own_contract(kind: str) -> None:
    assert denied(Workbench(), kind, contract="_ledger") == ["contract_open.reserved"]


# --- standing -------------------------------------------------------------------------------------


def test_whoever_opens_a_contract_has_its_role_in_it() -> None:
    assert denied(Workbench(), "contract.opened", by=(BUYER, "exporter")) == ["standing.party"]
    assert denied(Workbench(), "contract.opened", by=("stranger", "exporter")) == ["standing.party"]
    assert denied(Workbench(), "contract.opened", by=(BUYER, "consignee")) == ["standing.role"]
    assert Workbench().say("contract.opened", by=(AUTHORITY, "authority")).outcome == "accepted"


@pytest.mark.parametrize("kind", sorted(SPEAKERS.keys() - {"contract.opened"}))
def test_a_party_speaks_only_in_a_role_that_it_has(kind: str) -> None:
    bench = Workbench().open()
    _, role = SPEAKERS[kind]
    assert denied(bench, kind, by=("stranger", role)) == ["standing.party"]


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("order.placed", (FORWARDER, "forwarder")),
        ("shipment.requested", (BUYER, "buyer")),
        ("license.revoked", (EXPORTER, "exporter")),
        ("license.suspended", (BUYER, "buyer")),
        ("lab.tested", (EXPORTER, "exporter")),
        ("delivery.received", (EXPORTER, "exporter")),
    ],
)
def test_a_kind_is_said_by_its_roles_alone(kind: str, by: tuple[str, str]) -> None:
    decision = Workbench().open().say(kind, by=by)
    found = finding(decision, "standing")
    assert decision.outcome == "denied"
    assert (found.code, found.observed) == ("standing.role", by[1])
    assert found.limit == ", ".join(sorted(KINDS[kind, 1].said_by))


def test_who_has_no_standing_learns_nothing_else() -> None:
    decision = released().say("shipment.requested", by=("stranger", "exporter"))
    assert codes(decision) == ["standing.party"]
    assert len(decision.policies) == 1


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("suspension.proposed", (AUTHORITY, "authority")),
        ("suspension.proposed", ("_ledger", "authority")),
        ("suspension.proposed", (AUTHORITY, "ledger")),
        ("order.placed", ("_ledger", "ledger")),
        ("order.placed", (BUYER, "ledger")),
        ("order.placed", ("_ledger", "buyer")),
    ],
)
def test_nobody_speaks_as_the_ledger(kind: str, by: tuple[str, str]) -> None:
    assert denied(Workbench().open(), kind, by=by) == ["standing.ledger"]


def test_the_ledgers_own_events_are_accepted_without_findings() -> None:
    decision = Workbench().say("ledger.opened", by=("_ledger", "ledger"), contract="_ledger")
    assert decision.value() == {
        "outcome": "accepted", "engine": 1,
        "policies": [{"policy": "constitution", "version": 1}], "conditions": [], "proposals": [],
    }  # fmt: skip


# --- policy_in_force ------------------------------------------------------------------------------


def test_a_request_without_a_policy_in_force_is_denied() -> None:
    bench = Workbench().open(text=None)
    assert denied(bench, "order.placed") == ["policy_in_force.none"]


def test_a_fact_without_a_policy_in_force_is_kept_and_flagged() -> None:
    assert flagged(Workbench().open(text=None), "lab.tested") == ["policy_in_force.none"]


def test_setup_needs_no_policy() -> None:
    bench = Workbench().open(text=None)
    assert bench.say("license.suspended").outcome == "accepted"


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        ("2027-06-01T03:59:59.999999Z", "denied"),
        ("2027-06-01T04:00:00Z", "accepted"),
        ("2027-07-01T03:59:59.999999Z", "accepted"),
        ("2027-07-01T04:00:00Z", "denied"),
    ],
)
def test_a_policy_is_in_force_from_its_first_midnight_to_before_its_last(at: str, outcome: str) -> None:
    force = {"from": "2027-06-01", "until": "2027-07-01"}
    bench = Workbench().open(text=policy(force=force))
    assert bench.ask("order.placed", at=at).outcome == outcome


# --- document_unique ------------------------------------------------------------------------------

CITED = {"system": "SAP", "number": "4500001", "revision": 0}


def test_a_document_revision_is_accepted_once() -> None:
    bench = lenient()
    bench.accepted("order.placed", order="PO-1", document=CITED)
    decision = bench.say("order.placed", order="PO-2", document=CITED)
    assert decision.outcome == "denied"
    assert codes(decision) == ["document_unique.used"]
    assert finding(decision, "document_unique").subjects == (str(len(bench.log) - 2),)
    bench.accepted("order.placed", order="PO-2", document={**CITED, "revision": 1})
    bench.accepted("order.placed", order="PO-3", document=CITED, by=(EXPORTER, "exporter"))


# --- retried --------------------------------------------------------------------------------------


def test_what_was_refused_is_tried_again_by_the_same_party() -> None:
    bench = lenient()
    bench.accepted("order.placed", order="PO-1")
    assert bench.say("order.placed", order="PO-1").denied
    refused, stands = bench.log[-1][0].id, bench.log[-2][0].id
    unknown = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f1"
    for retried, by in ((stands, None), (unknown, None), (refused, (EXPORTER, "exporter"))):
        decision = bench.ask("order.placed", order="PO-2", retries=retried, by=by)
        assert codes(decision) == ["retried.unknown"]
        assert finding(decision, "retried").observed == retried
    bench.restart()
    bench.accepted("order.placed", order="PO-2", retries=refused)


def test_a_fact_that_tries_again_what_was_never_refused_is_flagged_and_counts() -> None:
    bench = lenient()
    bench.order(1000, levied="0.00")
    retried = bench.log[-1][0].id
    decision = bench.say("levy.settled", amount=usd("5.00"), retries=retried)
    assert (decision.outcome, codes(decision)) == ("flagged", ["retried.unknown"])
    assert str(bench.fact(Order, f"{CONTRACT}/PO-4711").levied) == "5.00"


def test_a_payment_told_twice_counts_once() -> None:
    bench = lenient()
    bench.order(1000, levied="0.00")
    bench.accepted("levy.settled", amount=usd("5.00"), document=CITED)
    assert denied(bench, "levy.settled", amount=usd("5.00"), document=CITED) == ["document_unique.used"]
    assert str(bench.fact(Order, f"{CONTRACT}/PO-4711").levied) == "5.00"


def test_a_refused_event_does_not_use_its_document() -> None:
    bench = lenient()
    assert denied(bench, "order.placed", license="D-999", document=CITED)
    bench.accepted("order.placed", document=CITED)


# --- orders ---------------------------------------------------------------------------------------


def test_an_order_number_is_used_once_even_if_it_is_cancelled() -> None:
    bench = lenient()
    bench.accepted("order.placed")
    assert denied(bench, "order.placed") == ["order_new.exists"]
    bench.accepted("order.cancelled")
    assert denied(bench, "order.placed") == ["order_new.exists"]


def test_an_order_names_a_license_of_this_contract_and_its_item() -> None:
    bench = lenient()
    assert denied(bench, "order.placed", license="D-999") == ["license_known.unknown"]
    decision = bench.say("order.placed", sku="H20-SXM")
    found = finding(decision, "item_match")
    assert (found.code, found.observed, found.limit) == ("item_match.sku", "H20-SXM", "H200-SXM")


def test_a_license_of_another_contract_is_unknown_here() -> None:
    bench = lenient()
    bench.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES)
    bench.accepted("policy.activated", contract=OTHER_CONTRACT, **activation(H200))
    assert denied(bench, "order.placed", contract=OTHER_CONTRACT) == ["license_known.unknown"]
    assert denied(bench, "license.revoked", contract=OTHER_CONTRACT) == ["license_known.unknown"]


@pytest.mark.parametrize(
    ("field", "party", "subject"),
    [
        ("consignee", FORWARDER, "consignee swift-freight"),
        ("consignee", "stranger", "consignee stranger"),
        ("end_user", EXPORTER, "end_user acme"),
    ],
)
def test_an_order_names_parties_in_their_roles(field: str, party: str, subject: str) -> None:
    decision = lenient().say("order.placed", **{field: party})
    assert decision.outcome == "denied"
    assert finding(decision, "parties_known").subjects == (subject,)


def test_a_cancelled_order_cannot_be_cancelled_nor_released() -> None:
    bench = lenient()
    bench.order(2)
    bench.accepted("order.cancelled")
    assert denied(bench, "order.cancelled") == ["order_open.cancelled"]
    assert denied(bench, "shipment.requested") == ["order_open.cancelled"]


def test_an_order_released_to_the_last_unit_cannot_be_cancelled() -> None:
    assert denied(released(2), "order.cancelled") == ["order_open.all_released"]


def test_an_unknown_order_can_be_neither_cancelled_nor_released() -> None:
    assert denied(lenient(), "order.cancelled") == ["order_open.unknown"]
    assert denied(lenient(), "shipment.requested") == ["order_open.unknown"]


# --- shipments ------------------------------------------------------------------------------------


def test_a_release_takes_what_is_left_of_its_order_and_no_more() -> None:
    bench = lenient()
    bench.order(3)
    bench.release(serials(2))
    decision = bench.release(serials(2, first=3), shipment="SH-2")
    found = finding(decision, "order_open")
    assert decision.outcome == "denied"
    assert (found.code, found.observed, found.limit, found.shortfall, found.headroom) == (
        "order_open.too_many", 4, 3, 1, 1,
    )  # fmt: skip
    assert bench.release(serials(1, first=3), shipment="SH-2").outcome == "accepted"


def test_a_release_is_of_the_orders_license_and_item() -> None:
    bench = lenient()
    bench.order(2)
    assert denied(bench, "shipment.requested", license="D-999") == [
        "item_match.license", "license_known.unknown",
    ]  # fmt: skip
    assert denied(bench, "shipment.requested", sku="H20-SXM") == [
        "item_match.order", "item_match.sku",
    ]  # fmt: skip


def test_a_shipment_number_is_used_once() -> None:
    bench = lenient()
    bench.order(4)
    bench.release(serials(2))
    assert denied(bench, "shipment.requested", serials=serials(2, first=3)) == ["shipment_new.exists"]


@pytest.mark.parametrize("field", ["consignee", "end_user", "forwarder"])
def test_a_release_names_parties_in_their_roles(field: str) -> None:
    bench = lenient()
    bench.order(2)
    decision = bench.say("shipment.requested", **{field: LABORATORY})
    assert finding(decision, "parties_known").subjects == (f"{field} {LABORATORY}",)


@pytest.mark.parametrize(
    "stage", ["released", "in transit", "received", "damaged", "missing", "installed", "attesting"]
)
def test_a_device_that_is_somewhere_cannot_be_released_again(stage: str) -> None:
    bench = lenient()
    bench.order(4)
    bench.release(["SN000001"])
    if stage != "released":
        bench.dispatch(["SN000001"])
    if stage in ("received", "installed", "attesting"):
        bench.receive(["SN000001"])
    elif stage in ("damaged", "missing"):
        apart: dict[str, Any] = {"missing": [], stage: ["SN000001"]}
        bench.say("delivery.received", received=[], **apart)
    if stage in ("installed", "attesting"):
        bench.say("device.installed")
    if stage == "attesting":
        bench.say("usage.attested")
    decision = bench.release(["SN000001", "SN000002"], shipment="SH-2")
    found = finding(decision, "serials_free")
    assert decision.outcome == "denied"
    assert (found.observed, found.limit, found.shortfall) == (1, 2, 1)
    assert found.subjects == ("SN000001",)


def test_a_device_of_a_release_that_was_taken_back_is_free_again() -> None:
    bench = released(2)
    index = len(bench.log) - 1
    bench.accepted("event.declared_in_error", index=index, id=bench.log[index][0].id)
    assert bench.release(serials(2), shipment="SH-2").outcome == "accepted"


def test_movements_and_levies_of_what_is_unknown_are_kept_and_flagged() -> None:
    bench = lenient()
    assert flagged(bench, "shipment.dispatched") == ["shipment_known.unknown"]
    assert flagged(bench, "delivery.received") == ["shipment_known.unknown"]
    assert flagged(bench, "levy.settled") == ["order_known.unknown"]


def test_a_levy_in_another_currency_is_kept_and_flagged() -> None:
    bench = lenient()
    bench.order(1, levied="0.00")
    decision = bench.say("levy.settled", amount={"amount": "1.00", "currency": "CNY"})
    found = finding(decision, "order_known")
    assert decision.outcome == "flagged"
    assert (found.code, found.observed, found.limit) == ("order_known.currency", "CNY", "USD")


@pytest.mark.parametrize("kind", ["device.installed", "usage.attested"])
def test_a_device_that_was_not_released_under_the_contract_is_flagged(kind: str) -> None:
    bench = lenient()
    bench.test(["SN000001"])
    decision = bench.say(kind)
    found = finding(decision, "devices_known")
    assert decision.outcome == "flagged"
    assert (found.observed, found.limit, found.subjects) == (0, 1, ("SN000001",))
    bench.order(1)
    bench.release(["SN000001"])
    assert bench.say(kind).outcome == "accepted"


# --- licenses -------------------------------------------------------------------------------------


def test_a_license_is_granted_once_and_only_where_it_is_named() -> None:
    bench = lenient()
    assert denied(bench, "license.granted") == ["license_new.exists"]
    assert denied(bench, "license.granted", license="D-999") == ["license_new.not_named"]


def test_a_license_granted_in_one_contract_is_taken_in_every_other() -> None:
    bench = lenient()
    bench.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES)
    assert denied(bench, "license.granted", contract=OTHER_CONTRACT) == ["license_new.exists"]


def test_a_license_asks_only_parties_to_acknowledge() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", parties=PARTIES)
    decision = bench.say("license.granted", must_acknowledge=[EXPORTER, "stranger"])
    assert codes(decision) == ["parties_known.acknowledging"]
    assert finding(decision, "parties_known").subjects == ("stranger",)


@pytest.mark.parametrize("kind", ["license.suspended", "license.revoked"])
def test_only_the_authority_that_granted_a_license_stops_it(kind: str) -> None:
    parties = [
        *PARTIES, {"party": "other", "roles": ["authority"], "name": "Other", "country": "US"},
    ]  # fmt: skip
    bench = Workbench()
    bench.accepted("contract.opened", parties=parties)
    bench.accepted("license.granted")
    assert denied(bench, kind, by=("other", "authority")) == ["license_standing.authority"]
    bench.accepted(kind)


def test_a_revocation_is_for_good() -> None:
    bench = lenient()
    bench.accepted("license.revoked")
    assert denied(bench, "license.revoked") == ["license_standing.revoked"]
    assert denied(bench, "license.suspended") == ["license_standing.revoked"]


def test_a_second_suspension_does_not_move_the_first() -> None:
    bench = lenient()
    bench.accepted("license.suspended", at="2027-05-01T00:00:00Z")
    assert denied(bench, "license.suspended", at="2027-06-01T00:00:00Z") == ["license_standing.suspended"]
    assert bench.fact(License, LICENSE).suspended_at == bench.now("2027-05-01T00:00:00Z")
    bench.accepted("license.revoked")


def test_a_license_must_be_known_to_be_stopped_or_acknowledged() -> None:
    bench = lenient()
    assert denied(bench, "license.suspended", license="D-999") == ["license_known.unknown"]
    assert denied(bench, "license.revoked", license="D-999") == ["license_known.unknown"]
    assert flagged(bench, "conditions.acknowledged", license="D-999") == ["license_known.unknown"]


def test_an_acknowledgement_that_does_not_match_is_kept_and_flagged() -> None:
    bench = lenient()
    assert flagged(bench, "conditions.acknowledged", conditions_sha256="ab" * 32) == [
        "acknowledgement_matches.digest"
    ]
    assert flagged(bench, "conditions.acknowledged", by=(FORWARDER, "forwarder")) == [
        "acknowledgement_matches.party"
    ]
    assert bench.say("conditions.acknowledged").outcome == "accepted"


# --- policy documents -----------------------------------------------------------------------------


def opened() -> Workbench:
    bench = Workbench()
    bench.accepted("contract.opened", parties=PARTIES)
    return bench


def test_a_text_that_is_no_document_is_not_activated() -> None:
    assert denied(opened(), "policy.activated", **activation("policy: example")) == [
        "policy_document.malformed"
    ]


def test_name_and_version_are_those_of_the_document() -> None:
    assert denied(opened(), "policy.activated", **activation(H200, policy="other")) == [
        "policy_document.name"
    ]
    decision = opened().say("policy.activated", **activation(H200, version=2))
    found = finding(decision, "policy_document")
    assert (found.code, found.observed, found.limit) == ("policy_document.version", 2, 1)


def test_a_version_is_newer_than_the_one_before() -> None:
    bench = opened()
    bench.accepted("policy.activated", **activation(policy(version=2), version=2))
    for version in (1, 2):
        decision = bench.say("policy.activated", **activation(policy(version=version), version=version))
        found = finding(decision, "policy_activation")
        assert decision.outcome == "denied"
        assert (found.code, found.observed, found.limit) == (
            "policy_activation.not_newer", version, 2,
        )  # fmt: skip
    bench.accepted("policy.activated", **activation(policy(version=3), version=3))


def test_a_document_whose_time_is_over_is_not_activated() -> None:
    force = {"from": "2027-01-01", "until": "2027-02-01"}
    text = policy(force=force)
    assert denied(opened(), "policy.activated", at="2027-02-01T05:00:00Z", **activation(text)) == [
        "policy_activation.over"
    ]
    assert opened().say(
        "policy.activated", at="2027-02-01T04:59:59.999999Z", **activation(text)
    ).outcome == "accepted"  # fmt: skip


def test_a_document_is_activated_by_a_role_that_it_names() -> None:
    assert denied(opened(), "policy.activated", by=(EXPORTER, "exporter"), **activation(H200)) == [
        "policy_activation.role"
    ]
    text = policy(approvals=["exporter"])
    opened().accepted("policy.activated", by=(EXPORTER, "exporter"), **activation(text))


def test_a_document_that_others_must_approve_too_is_not_carried_in_by_one() -> None:
    for approvals in (["exporter", "authority"], ["authority.licensing"]):
        text = policy(approvals=approvals)
        assert denied(opened(), "policy.activated", **activation(text)) == ["policy_activation.approval"]


def test_until_a_later_version_begins_the_one_before_stays_in_force() -> None:
    bench = Workbench().open(text=policy(condition("quantity_cap", limit=10)))
    text = policy(condition("quantity_cap", limit=20), version=2, force={"from": "2027-06-01"})
    bench.accepted("policy.activated", **activation(text, version=2))
    before, after = "2027-06-01T03:59:59.999999Z", "2027-06-01T04:00:00Z"
    assert codes(bench.ask("order.placed", units=11, at=before)) == ["quantity_cap.over"]
    assert bench.ask("order.placed", units=11, at=after).outcome == "accepted"
    assert [p["version"] for p in bench.ask("order.placed", at=after).policies] == [1, 2]


def test_a_version_that_was_replaced_does_not_come_back() -> None:
    bench = Workbench().open(text=policy(force={"from": "2027-01-01"}))
    text = policy(version=2, force={"from": "2027-06-01", "until": "2027-07-01"})
    bench.accepted("policy.activated", **activation(text, version=2))
    assert denied(bench, "order.placed", at="2027-07-01T04:00:00Z") == ["policy_in_force.none"]


# --- corrections ----------------------------------------------------------------------------------


def mistaken(bench: Workbench, index: int = -1) -> dict[str, Any]:
    """The data of a correction of the entry at `index`."""
    index %= len(bench.log)
    return {"index": index, "id": bench.log[index][0].id}


def test_a_levy_keyed_twice_is_taken_back_once() -> None:
    bench = lenient()
    bench.order(1000, levied="0.00")
    bench.accepted("levy.settled", amount=usd("5.00"))
    twice = mistaken(bench)
    bench.accepted("event.declared_in_error", **twice)
    assert bench.fact(Order, f"{CONTRACT}/PO-4711").levied == 0
    decision = bench.say("event.declared_in_error", **twice)
    found = finding(decision, "correction")
    assert (found.code, found.observed) == ("correction.twice", twice["index"])
    assert found.subjects == (str(len(bench.log) - 2),)


def test_a_correction_names_an_entry_by_index_and_id() -> None:
    bench = lenient()
    bench.accepted("order.placed", by=(EXPORTER, "exporter"))
    right = mistaken(bench)
    assert denied(bench, "event.declared_in_error", **{**right, "index": 9_999}) == ["correction.unknown"]
    wrong = {**right, "id": "8d5f6a52-6a70-4a2c-9f0b-6a4ab55c7f01"}
    assert denied(bench, "event.declared_in_error", **wrong) == ["correction.id_differs"]


def test_an_entry_of_another_contract_is_not_corrected_here() -> None:
    bench = lenient()
    bench.accepted("order.placed", by=(EXPORTER, "exporter"))
    there = mistaken(bench)
    bench.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES)
    assert denied(bench, "event.declared_in_error", contract=OTHER_CONTRACT, **there) == [
        "correction.other_contract"
    ]


def test_a_denied_event_needs_no_correction() -> None:
    bench = lenient()
    denied(bench, "order.placed", by=(EXPORTER, "exporter"), license="D-999")
    assert denied(bench, "event.declared_in_error", **mistaken(bench)) == ["correction.was_denied"]


def test_only_who_said_it_takes_it_back() -> None:
    bench = lenient()
    bench.accepted("order.placed")
    assert denied(bench, "event.declared_in_error", **mistaken(bench)) == ["correction.not_yours"]
    bench.accepted("event.declared_in_error", by=(BUYER, "buyer"), **mistaken(bench, -2))


def test_an_authority_corrects_licensing_but_not_trade() -> None:
    bench = lenient()
    bench.accepted("order.placed")
    by = (AUTHORITY, "authority")
    assert denied(bench, "event.declared_in_error", by=by, **mistaken(bench)) == ["correction.not_yours"]
    bench.accepted("license.suspended")
    bench.accepted("event.declared_in_error", by=by, **mistaken(bench))
    # Its own, and of a kind that nothing takes back.
    bench.accepted("key.registered", by=by)
    assert denied(bench, "event.declared_in_error", by=by, **mistaken(bench)) == ["correction.not_reversible"]


def test_dependents_are_corrected_first() -> None:
    bench = lenient()
    bench.accepted("order.placed", units=2, by=(EXPORTER, "exporter"))
    order = mistaken(bench)
    bench.release(serials(2))
    release = mistaken(bench)
    assert denied(bench, "event.declared_in_error", **order) == ["correction.dependents"]
    bench.accepted("event.declared_in_error", **release)
    bench.accepted("event.declared_in_error", **order)
    license_ = bench.fact(License, LICENSE)
    assert (license_.ordered, license_.released) == (0, 0)


def test_judging_a_correction_changes_nothing() -> None:
    bench = lenient()
    bench.order(2)
    bench.release(serials(2))
    before = dict(bench.facts.changed)
    assert bench.ask("event.declared_in_error", **mistaken(bench)).outcome == "accepted"
    assert bench.facts.changed == before


def test_a_correction_is_not_corrected() -> None:
    bench = lenient()
    bench.accepted("order.placed", by=(EXPORTER, "exporter"))
    bench.accepted("event.declared_in_error", **mistaken(bench))
    assert denied(bench, "event.declared_in_error", **mistaken(bench)) == ["correction.not_reversible"]


def test_a_payment_that_is_taken_back_after_a_release_is_flagged() -> None:
    bench = lenient()
    bench.order(10)
    paid = len(bench.log) - 1
    assert bench.log[paid][0].kind == "levy.settled"
    bench.release(serials(4))
    decision = bench.say("event.declared_in_error", **mistaken(bench, paid))
    assert (decision.outcome, codes(decision)) == ("flagged", ["correction.released"])
    assert decision.failed[0].subjects == ("PO-4711",)


# --- the table ------------------------------------------------------------------------------------


def test_every_kind_is_looked_at_by_the_constitution() -> None:
    """A new kind must say which rules it is under; these have none beyond standing and policy."""
    plain = {"contract.opened", "lab.tested"}
    own = {name for (name, _), kind in KINDS.items() if kind.nature == "own"}
    assert {name for name, _ in KINDS} == RULES.keys() | plain | own


def test_every_code_of_an_undo_has_a_sentence() -> None:
    assert {"correction.not_reversible", "correction.dependents"} <= SENTENCES.keys()
