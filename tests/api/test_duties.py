"""Duties and holds over HTTP: what is due, what the simulated clock brings about, what is held."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from ledger.canonical import canonical
from ledger.entry import commitment
from ledger.merkle import leaf_hash
from ledger.summary import Tail, TailProof
from tests.api.contract import NOW, LiveContract
from tests.service import Service
from tests.workbench import AUTHORITY, BUYER, EXPORTER, FORWARDER, PARTIES, activation, condition, policy

INSTALL = {"id": "install", "uses": "install_deadline", "clause": "a test", "within": "P30D"}
TEXT = policy(
    condition("quantity_cap", limit=5, action="hold", released_by=["authority"]), obligations=[INSTALL]
)


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    live = LiveContract(service)
    service.set_clock(NOW)
    live.accepted("contract.opened", parties=PARTIES, licenses=[live.license])
    live.accepted("policy.activated", **activation(TEXT))
    live.accepted("license.granted")
    for party, role in ((EXPORTER, "exporter"), (BUYER, "consignee")):
        live.accepted("conditions.acknowledged", by=(party, role))
    return live


def read(live: LiveContract, path: str, **query: Any) -> dict[str, Any]:
    with live.service.client("auditor") as client:
        answer = client.get(f"/v1/contracts/{live.contract}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_is_held_is_listed_until_it_is_released(live: LiveContract) -> None:
    receipt = live.say("order.placed", order="PO-H", units=6).json()
    assert receipt["decision"]["outcome"] == "held"
    [hold] = read(live, "holds")["holds"]
    assert (hold["subject"], hold["held_by"][0]["released_by"]) == ("order/PO-H", ["authority"])
    refused = live.say("shipment.requested", order="PO-H", serials=live.serials(1))
    assert refused.status_code == 422
    assert refused.json()["failed"][0]["code"] == "not_held.held"
    live.accepted("hold.released", by=(AUTHORITY, "authority"), target="order/PO-H")
    [hold] = read(live, "holds")["holds"]
    assert hold["held_by"] == []


def test_the_clock_commits_what_falls_due_and_the_duty_says_so(live: LiveContract) -> None:
    serials = live.serials(2)
    live.accepted("order.cancelled", order="PO-H")
    live.accepted("order.placed", order="PO-D", units=2)
    live.accepted("shipment.requested", order="PO-D", shipment="SH-D", serials=serials)
    live.accepted("shipment.dispatched", by=(FORWARDER, "forwarder"), shipment="SH-D", serials=serials)
    live.accepted("delivery.received", shipment="SH-D", received=serials, missing=[])
    pages = [read(live, "duties", limit=1)]
    pages.append(read(live, "duties", limit=1, after=pages[0]["next"]))
    assert [page["next"] is None for page in pages] == [False, True]
    [term], [install] = (page["duties"] for page in pages)
    assert term["obligation"] == "license_term"
    assert (install["items"], install["state"]) == (serials, "open")
    assert install["due"] == "2027-04-01T04:00:00.000000Z"
    live.service.set_clock("2027-05-01T00:00:00Z")
    with live.service.client("auditor") as client:
        page = client.get(
            "/v1/entries", params={"contract": live.contract, "kind": "obligation.breached"}
        ).json()
        [entry] = page["entries"]
        metrics = client.get("/metrics").text
    # Recorded at the instant at which it fell due: the clock stopped there on its way.
    assert entry["header"]["recorded_at"] == install["due"]
    assert entry["event"]["value"]["data"]["shortfall"] == 2
    assert read(live, "duties")["duties"][1]["state"] == "breached"
    assert "chipledger_scheduler_ran_timestamp_seconds 1.8" in metrics


def test_a_release_that_is_over_gives_its_share_back_once_and_what_leaves_late_takes_it_again(
    live: LiveContract,
) -> None:
    def released() -> int:
        with live.service.client("auditor") as client:
            found = client.get(f"/v1/contracts/{live.contract}").json()
        counted: int = found["licenses"][0]["released"]
        return counted

    before, serials = released(), live.serials(2, first=900)
    asked = {"order": "PO-E", "shipment": "SH-E", "serials": serials}
    live.accepted("order.placed", order="PO-E", units=2)
    refused = live.say("shipment.requested", **asked, valid_until="2027-04-29")
    assert refused.json()["failed"][0]["code"] == "release_term.past"
    live.accepted("shipment.requested", **asked, valid_until="2027-05-09")
    assert released() == before + 2
    for clock in ("2027-05-20T00:00:00Z", "2027-05-21T00:00:00Z"):
        live.service.set_clock(clock)
        with live.service.client("auditor") as client:
            query = {"contract": live.contract, "kind": "shipment.expired"}
            [entry] = client.get("/v1/entries", params=query).json()["entries"]
        assert entry["header"]["recorded_at"] == "2027-05-10T04:00:00.000000Z"
        assert entry["event"]["value"]["data"]["serials"] == serials
        assert released() == before
    late = live.say("shipment.dispatched", by=(FORWARDER, "forwarder"), shipment="SH-E", serials=serials)
    assert late.json()["decision"]["outcome"] == "flagged"
    assert released() == before + 2


def test_a_party_sees_the_duties_of_its_own_contracts_alone(live: LiveContract) -> None:
    with live.service.client("submitter", "stranger") as client:
        for path in ("duties", "holds"):
            assert client.get(f"/v1/contracts/{live.contract}/{path}").status_code == 404


def test_a_party_can_prove_that_nothing_of_its_contract_was_left_out(service: Service) -> None:
    """With its own key alone: every entry of the contract, the tail, and the root that the log signs."""
    contract = LiveContract(service).open()
    service.set_clock("2031-01-01T00:00:00Z")
    with service.client("submitter", EXPORTER) as client:
        proved = client.get(f"/v1/contracts/{contract.contract}/completeness").json()
        entries = client.get("/v1/entries", params={"contract": contract.contract, "limit": 1000}).json()
        index = proved["entry"]["index"]
        inclusion = client.get("/v1/proofs/inclusion", params={"index": index}).json()
    with service.client("submitter", "stranger") as client:
        assert client.get(f"/v1/contracts/{contract.contract}/completeness").status_code == 404
    before = [entry for entry in entries["entries"] if entry["index"] < index]
    assert proved["count"] == len(before) > 5
    assert proved["head"] == before[-1]["leaf_hash"]
    assert [entry["header"]["contract_index"] for entry in before] == list(range(len(before)))
    # The summary is what its leaf commits to, and the leaf stands in the tree.
    event, header = proved["entry"]["event"], proved["entry"]["header"]
    committed = commitment(bytes.fromhex(event["salt"]), canonical(event["value"]))
    assert header["bodies"]["event"] == committed.hex()
    assert leaf_hash(canonical(header)).hex() == inclusion["leaf_hash"]
    said = event["value"]["data"]
    assert said["contracts"] == proved["contracts"]
    tail = Tail(proved["contract"], proved["count"], proved["head"])
    hashes = [b64decode(one) for one in proved["hashes"]]
    TailProof(tail, proved["position"], proved["contracts"], hashes).check(bytes.fromhex(said["root"]))
