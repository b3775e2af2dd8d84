"""A body erased, from the request to what is left: entries, receipts, facts, replay, export and proofs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import database
from api.bundle_check import verify_bundle
from api.erase import carry_out, waiting
from api.export import receipt_for, signer_of
from api.held import Held
from api.replay import replay_database, replay_file
from ledger import dsse
from ledger.canonical import canonical
from ledger.errors import VerificationError
from ledger.note import Verifier
from ledger.rebuild import compare
from ledger.receipt import Receipt
from ledger.verify import verify_export
from ledger.verify_bundle import open_bundle
from policies.analysis import backtest
from policies.document import parse_document
from policies.exported import Export
from tests.api.contract import NOW, LiveContract
from tests.service import Service
from tests.workbench import BUYER, EXPORTER, H200, PARTIES, activation, condition, policy, usd

KEPT = condition("retention_hold", years=5)


def quiet(done: int, total: int) -> None:
    return


def execute(service: Service) -> list[str]:
    with database.eraser_url(service.settings) as eraser:
        return asyncio.run(carry_out(service.settings, service.logins, eraser, quiet))


def erased(service: Service) -> list[int]:
    """Entries without any of their bodies."""
    with psycopg.connect(service.owner) as connection:
        rows = connection.execute(
            "SELECT index FROM bodies WHERE num_nonnulls(event, event_salt, decision, decision_salt) = 0"
            " ORDER BY index"
        )
        return [index for (index,) in rows]


def facts(service: Service) -> dict[tuple[str, str], str]:
    with psycopg.connect(service.owner) as connection:
        rows = connection.execute(
            "SELECT name, key, data::text FROM facts WHERE name NOT IN ('erasure', 'chain')"
        )
        return {(name, key): data for name, key, data in rows}


@dataclass
class Told:
    """A contract with orders, a release, a levy that was keyed twice, and the events that were sent."""

    live: LiveContract
    sent: dict[str, dict[str, Any]]
    receipts: dict[str, dict[str, Any]]

    def index(self, name: str) -> int:
        return int(self.receipts[name]["header"]["index"])


@pytest.fixture(scope="module")
def told(service: Service) -> Told:
    live = LiveContract(service).open()
    sent: dict[str, dict[str, Any]] = {}
    receipts: dict[str, dict[str, Any]] = {}

    def say(name: str, kind: str, **data: Any) -> None:
        sent[name] = live.event(kind, **data)
        answer = service.submit(sent[name]).json()
        receipts[name] = answer.get("receipt") if "failed" in answer else answer

    say("order", "order.placed", order="PO-1", units=3)
    say("levy", "levy.settled", order="PO-1", amount=usd("20250.00"))
    say("twice", "levy.settled", order="PO-1", amount=usd("20250.00"))
    index = receipts["twice"]["header"]["index"]
    say(
        "refused correction",
        "event.declared_in_error",
        by=(BUYER, "buyer"),
        index=index,
        id=sent["twice"]["id"],
    )
    say("correction", "event.declared_in_error", index=index, id=sent["twice"]["id"])
    live.tested(live.serials(3))
    say("release", "shipment.requested", order="PO-1", serials=live.serials(3))
    say("too much", "order.placed", order="PO-2", units=10_000)
    say("last", "order.placed", order="PO-3", units=9_997)
    assert receipts["release"]["decision"]["outcome"] == receipts["last"]["decision"]["outcome"] == "accepted"
    assert receipts["too much"]["decision"]["outcome"] == "denied"
    asked = [
        index
        for name, index in ((n, r["header"]["index"]) for n, r in receipts.items())
        if name in ("order", "twice", "correction", "too much")
    ]
    say("purge", "purge.requested", entries=sorted(asked))
    assert receipts["purge"]["decision"]["outcome"] == "accepted", receipts["purge"]
    return Told(live, sent, receipts)


@pytest.fixture(scope="module")
def done(service: Service, told: Told) -> Told:
    """The same, carried out."""
    before = facts(service)
    assert [one.index for one in asyncio.run(waiting(service.logins)).asked] == told.sent["purge"]["data"][
        "entries"
    ]
    assert erased(service) == []
    assert execute(service)[-1] == "the bodies of 4 entries erased"
    assert facts(service) == before
    assert erased(service) == told.sent["purge"]["data"]["entries"]
    return told


def test_what_is_done_is_not_done_again(service: Service, done: Told) -> None:
    left = asyncio.run(waiting(service.logins))
    assert (left.asked, left.undone) == ([], [])
    assert execute(service) == ["the bodies of 0 entries erased"]


def test_the_facts_are_still_what_the_log_makes_them(service: Service, done: Told) -> None:
    assert asyncio.run(compare(service.logins.reader, quiet)) == []


def test_damage_is_still_found(service: Service, done: Told) -> None:
    """In a fact that an erased entry made, too."""
    key = f"{done.live.contract}/PO-1"
    with psycopg.connect(service.owner) as connection:
        [(right,)] = connection.execute(
            "SELECT data::text FROM facts WHERE name = 'order' AND key = %s", [key]
        )
        wrong = right.replace('"units":3', '"units":4')
        assert wrong != right
        connection.execute("UPDATE facts SET data = %s WHERE name = 'order' AND key = %s", [wrong, key])
    try:
        assert [one.key for one in asyncio.run(compare(service.logins.reader, quiet))] == [("order", key)]
    finally:
        with psycopg.connect(service.owner) as connection:
            connection.execute("UPDATE facts SET data = %s WHERE name = 'order' AND key = %s", [right, key])


# --- judged again ---------------------------------------------------------------------------------


def test_every_other_entry_is_judged_again_to_the_byte(service: Service, done: Told) -> None:
    outcome, wrong = asyncio.run(replay_database(service.logins.reader, quiet))
    assert outcome.difference is None, outcome.difference.lines()
    assert wrong == []
    gone = {*done.sent["purge"]["data"]["entries"], done.index("refused correction")}
    assert set(outcome.withheld_first) == gone
    assert outcome.withheld == len(gone)


def test_so_it_is_from_an_export(service: Service, done: Told, tmp_path: Path) -> None:
    path = service.export(tmp_path / "log.export")
    outcome = replay_file(path, quiet)
    assert outcome.difference is None, outcome.difference.lines()
    assert outcome.withheld == 5


# --- what is read ---------------------------------------------------------------------------------


def test_an_erased_entry_shows_its_header_and_by_what_it_was_erased(service: Service, done: Told) -> None:
    index, request = done.index("order"), done.index("purge")
    with service.client("auditor") as client:
        entry = client.get(f"/v1/entries/{index}").json()
        assert (entry["event"], entry["decision"]) == (None, None)
        assert (entry["header"], entry["kind"]) == (done.receipts["order"]["header"], "order.placed")
        assert entry["erased"]["request"] == request
        said = client.get(f"/v1/entries/{entry['erased']['by']}").json()
        assert said["event"]["value"]["data"]["bodies"] == entry["header"]["bodies"]
        assert said["event"]["value"]["data"]["index"] == index
        [listed] = client.get(f"/v1/entries?after={index - 1}&limit=1").json()["entries"]
        assert listed == entry
        assert "erased" not in client.get(f"/v1/entries/{request}").json()
        why = client.get(f"/v1/entries/{index}/explanation")
        assert why.status_code == 404
        assert f"entry {index} is withheld or erased" in why.json()["detail"]
        told = client.get(f"/v1/entries/{entry['erased']['by']}/explanation").json()["sentences"][0]["text"]
        assert told.startswith(f"The bodies of entry {index}, order.placed by {BUYER}, are erased")


def test_a_bundle_brings_along_what_the_log_says_of_bodies_that_are_gone(
    service: Service, done: Told
) -> None:
    index = done.index("order")
    with service.client("auditor") as client:
        key = Verifier.parse(client.get("/v1/entries/0").json()["event"]["value"]["data"]["key"])
        for asked, gone in (({"index": index}, 1), ({"contract": done.live.contract}, 4)):
            raw = client.get("/v1/bundles", params=asked).raise_for_status().content
            bundle = open_bundle(raw, verifier=key)
            assert (bundle.erased, bundle.withheld) == (2 * gone, 0)
            assert f"erased: {2 * gone} bodies, as the log says" in verify_bundle(raw, key, Held())


def test_a_contract_lists_its_erasures(service: Service, done: Told) -> None:
    with service.client("submitter", BUYER) as client:
        page = client.get(f"/v1/contracts/{done.live.contract}/erasures").json()
    assert sorted(one["index"] for one in page["erasures"]) == done.sent["purge"]["data"]["entries"]
    assert all(one["erased"] is not None for one in page["erasures"])


def test_the_same_event_again_is_told_that_it_was_erased(service: Service, done: Told) -> None:
    """Whether the bytes are the same nobody can say any more: no digest of them is kept."""
    size = done.index("purge")
    for event in (done.sent["order"], {**done.sent["order"], "retries": done.sent["levy"]["id"]}):
        answer = service.submit(event)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/erased")
        assert answer.json()["index"] == done.index("order") < size


def test_an_erased_entry_is_not_taken_back(service: Service, done: Told) -> None:
    order = {"index": done.index("order"), "id": done.sent["order"]["id"]}
    answer = done.live.say("event.declared_in_error", by=(BUYER, "buyer"), **order)
    assert [one["code"] for one in answer.json()["failed"]] == ["correction.erased"]


def test_receipts_of_erased_entries_still_hold_against_an_export(
    service: Service, done: Told, tmp_path: Path
) -> None:
    path = service.export(tmp_path / "log.export")
    with path.open("rb") as file:
        receipts = [Receipt.parse(json.dumps(receipt).encode()) for receipt in done.receipts.values()]
        report = verify_export(file, receipts=receipts)
    assert (report.erased, report.withheld, report.receipts) == (8, 0, len(done.receipts))


def test_a_receipt_that_is_made_afterwards_proves_the_entry_alone(service: Service, done: Told) -> None:
    receipt = asyncio.run(receipt_for(done.index("order"), service.settings, service.logins))
    again = Receipt.parse(receipt.encode())
    assert (again.decision, dict(again.salts)) == (b"null", {})
    assert again.check(signer_of(service.settings).verifier).size > done.index("purge")
    invented = again._replace(decision=canonical(done.receipts["order"]["decision"]))
    with pytest.raises(VerificationError, match="the decision is not the one"):
        invented.check(signer_of(service.settings).verifier)


def test_a_backtest_goes_over_it(service: Service, done: Told, tmp_path: Path) -> None:
    path = service.export(tmp_path / "log.export")
    document = parse_document(H200.replace("version: 1", "version: 2", 1))
    with path.open("rb") as file:
        found = backtest(Export(file), document)
    assert (found.pointwise, found.counterfactual) == ((), ())


# --- what may not be any more ---------------------------------------------------------------------


def test_a_legal_hold_after_the_request_stops_it(service: Service, done: Told) -> None:
    """Asked again under the lock: what was accepted then would be refused now."""
    live = LiveContract(service)
    service.set_clock(NOW)
    live.accepted("contract.opened", parties=PARTIES, licenses=[live.license])
    live.accepted("policy.activated", **activation(policy(KEPT)))
    bought = live.say("domestic.purchased").json()["header"]["index"]
    live.accepted("purge.requested", entries=[bought])
    live.accepted("legal_hold.placed", hold="LH-1")
    before = erased(service)
    assert execute(service) == [
        f"entry {bought} stays, for the request would be refused now: purge_entries: 1 legal hold stands"
        " over the contract: LH-1.",
        "the bodies of 0 entries erased",
    ]
    assert erased(service) == before
    live.accepted("legal_hold.released", hold="LH-1")
    assert execute(service) == ["the bodies of 1 entry erased"]
    assert erased(service) == sorted([*before, bought])


# --- what was signed ------------------------------------------------------------------------------


def test_signatures_go_with_the_event_and_a_signed_request_is_still_one_when_asked_again(
    service: Service, done: Told
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
    live = LiveContract(service)
    service.set_clock(NOW)
    live.accepted(
        "contract.opened",
        parties=PARTIES,
        licenses=[live.license],
        signed=["purge.requested", "levy.settled"],
    )
    live.accepted("policy.activated", **activation(policy()))
    public = {"algorithm": dsse.algorithm_of(key), "public_key": dsse.spelled(key.public_key())}
    live.accepted("key.registered", **public)

    def signed(kind: str, **data: Any) -> int:
        with service.client("submitter", EXPORTER) as client:
            answer = client.post("/v1/events", json=dsse.sign(live.event(kind, **data), key))
        assert answer.status_code == 201, answer.text
        return int(answer.json()["header"]["index"])

    levy = signed("levy.settled")
    request = signed("purge.requested", entries=[levy])
    assert execute(service) == ["the bodies of 1 entry erased"]
    with service.client("auditor") as client:
        entry = client.get(f"/v1/entries/{levy}").json()
    assert entry["header"]["bodies"].keys() == {"decision", "event", "signatures"}
    assert (entry["event"], entry["decision"], entry["signatures"]) == (None, None, None)
    assert entry["erased"]["request"] == request
