"""The read routes: entries and their pages, contracts, devices, proofs, the checkpoint, the kinds."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import jsonschema_rs
import pytest

from api import audit
from ledger import pages
from ledger.canonical import canonical
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.event import KINDS, parse_event
from ledger.merkle import check_consistency, check_inclusion, root
from ledger.note import Verifier
from ledger.values import parse_timestamp
from tests.api.contract import LiveContract
from tests.service import Service
from tests.workbench import BUYER, EXPORTER, FORWARDER, wire

LATER = "2027-03-02T12:00:00Z"
ORDERS = 130
SHIPPED = 5
"""Devices; the last of them is lost."""


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    """A year in short: five devices of which one is lost, and then more orders than fit on a page."""
    contract = LiveContract(service).open()
    serials = contract.serials(SHIPPED)
    contract.released(serials)
    contract.accepted("shipment.dispatched", shipment="SH-1", serials=serials)
    delivered = {"shipment": "SH-1", "received": serials[:-1], "missing": serials[-1:]}
    assert contract.say("delivery.received", **delivered).json()["decision"]["outcome"] == "flagged"
    assert contract.order(20_000, order="PO-MUCH").status_code == 422
    service.set_clock(LATER)
    # Told a day late, and at once, with the offsets that are farthest from UTC.
    told = {
        1: {"occurred_at": "2027-03-02T11:00:00+23:30"},
        2: {"occurred_at": "2027-03-01T12:00:00.5-23:59"},
    }
    orders = [
        contract.event("order.placed", order=f"PO-{n:04}", units=1, **told.get(n, {}))
        for n in range(1, ORDERS)
    ]
    with service.client("submitter", BUYER) as client:
        assert client.post("/v1/events:batch", json=orders).status_code == 200
    assert LiveContract(service).open().order(1).status_code == 201
    return contract


@pytest.fixture(scope="module")
def auditor(service: Service, live: LiveContract) -> Iterator[httpx.Client]:
    with service.client("auditor") as client:
        yield client


@pytest.fixture(scope="module")
def log(auditor: httpx.Client) -> list[dict[str, Any]]:
    """Every entry, as the story left it. Later tests may add to the log."""
    return walked(auditor, "/v1/entries?limit=1000", "entries")


@pytest.fixture(scope="module")
def verifier(log: list[dict[str, Any]]) -> Verifier:
    """The key that genesis names."""
    return Verifier.parse(log[0]["event"]["value"]["data"]["key"])


def walked(client: httpx.Client, path: str, items: str) -> list[dict[str, Any]]:
    """Every item of every page, following the links."""
    found: list[dict[str, Any]] = []
    while path:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page[items]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
        assert bool(path) == (page["next"] is not None)
    return found


def leaves(log: list[dict[str, Any]]) -> list[bytes]:
    return [bytes.fromhex(entry["leaf_hash"]) for entry in log]


# --- entries --------------------------------------------------------------------------------------


def test_every_entry_recomputes_from_its_json_with_nothing_but_sha256(log: list[dict[str, Any]]) -> None:
    previous = "0" * 64
    tails: defaultdict[str, tuple[int, str]] = defaultdict(lambda: (0, "0" * 64))
    for index, entry in enumerate(log):
        header = entry["header"]
        assert entry["leaf_hash"] == hashlib.sha256(b"\0" + canonical(header)).hexdigest()
        for name, committed in header["bodies"].items():
            body = entry[name]
            salted = bytes.fromhex(body["salt"]) + canonical(body["value"])
            assert committed == hashlib.sha256(salted).hexdigest()
        assert (header["index"], header["previous"]) == (index, previous)
        assert (header["contract_index"], header["contract_previous"]) == tails[header["contract"]]
        previous = entry["leaf_hash"]
        tails[header["contract"]] = header["contract_index"] + 1, entry["leaf_hash"]


def test_what_stands_beside_an_entry_is_what_its_bytes_say(log: list[dict[str, Any]]) -> None:
    for entry in log:
        event, decision = entry["event"]["value"], entry["decision"]["value"]
        assert entry["index"] == entry["header"]["index"]
        assert entry["recorded_at"] == entry["header"]["recorded_at"]
        assert (entry["kind"], entry["party"]) == (event["kind"], event["actor"]["party"])
        assert entry["outcome"] == decision["outcome"]


def test_one_entry_is_the_same_alone_as_on_a_page(auditor: httpx.Client, log: list[dict[str, Any]]) -> None:
    for index in (0, 1, 17, len(log) - 1):
        assert auditor.get(f"/v1/entries/{index}").json() == log[index]


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
def test_pages_give_every_entry_once_and_in_order(
    auditor: httpx.Client, log: list[dict[str, Any]], limit: int
) -> None:
    found = walked(auditor, f"/v1/entries?limit={limit}&until=2028-01-01T00:00:00Z", "entries")
    assert [entry["index"] for entry in found[: len(log)]] == list(range(len(log)))


def test_a_page_that_ends_where_the_log_ends_has_no_next(auditor: httpx.Client) -> None:
    size = auditor.get("/readyz").json()["tree_size"]
    whole, short = (auditor.get(f"/v1/entries?limit={n}").json() for n in (size, size - 1))
    assert (whole["next"], short["next"]) == (None, size - 2)
    assert auditor.get(f"/v1/entries?after={size - 1}").json() == {"entries": [], "next": None}


def test_pages_stay_as_they_were_while_others_write(service: Service, auditor: httpx.Client) -> None:
    before = auditor.get("/v1/entries?limit=5&after=10").json()
    LiveContract(service).accepted("contract.opened", licenses=[])
    assert auditor.get("/v1/entries?limit=5&after=10").json() == before


def test_a_page_of_large_entries_ends_early_and_says_so(
    auditor: httpx.Client, log: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE_BYTES_MAX", 10_000)
    first = auditor.get("/v1/entries?limit=1000")
    assert 1 < len(first.json()["entries"]) < 100
    assert len(first.content) < 40_000
    assert walked(auditor, "/v1/entries?limit=1000", "entries")[: len(log)] == log


Keeps = Callable[[dict[str, Any]], bool]
FILTERS: dict[str, Keeps] = {
    "kind=order.placed": lambda e: e["kind"] == "order.placed",
    "party=_ledger": lambda e: e["party"] == "_ledger",
    "outcome=denied": lambda e: e["outcome"] == "denied",
    "outcome=flagged&party=dragon-dc": lambda e: (e["outcome"], e["party"]) == ("flagged", BUYER),
    "contract=_ledger": lambda e: e["header"]["contract"] == "_ledger",
    f"since={LATER}": lambda e: e["recorded_at"] >= "2027-03-02T12:00:00.000000Z",
    f"until={LATER}": lambda e: e["recorded_at"] < "2027-03-02T12:00:00.000000Z",
    "since=2027-03-01T13:00:00%2B02:00&kind=lab.tested": lambda e: e["kind"] == "lab.tested",
    f"outcome=denied&until={LATER}": lambda e: (
        e["outcome"] == "denied" and e["recorded_at"] < "2027-03-02T12:00:00.000000Z"
    ),
    "backdated=PT3H": lambda e: backdated(e) > timedelta(hours=3),
    "backdated=P1D&kind=order.placed": lambda e: (
        backdated(e) > timedelta(days=1) and e["kind"] == "order.placed"
    ),
    "kind=job.reported": lambda e: False,
}


def backdated(entry: dict[str, Any]) -> timedelta:
    occurred_at = parse_timestamp(entry["event"]["value"]["occurred_at"])
    return parse_timestamp(entry["recorded_at"]) - occurred_at


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter_gives_what_it_names_and_all_of_it(
    auditor: httpx.Client, log: list[dict[str, Any]], query: str
) -> None:
    expected = [entry["index"] for entry in log if FILTERS[query](entry)]
    assert expected or query == "kind=job.reported"
    found = walked(auditor, f"/v1/entries?limit=60&{query}", "entries")
    assert [entry["index"] for entry in found if entry["index"] < len(log)] == expected


@pytest.mark.parametrize("scanned", [1, 7, 40])
@pytest.mark.parametrize("query", FILTERS)
def test_a_page_looks_at_so_many_entries_and_tells_where_to_go_on(
    auditor: httpx.Client,
    log: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    scanned: int,
) -> None:
    monkeypatch.setattr(pages, "SCANNED_MAX", scanned)
    monkeypatch.setattr(pages, "SCANNED_BODIES_MAX", scanned)
    page = auditor.get(f"/v1/entries?limit=60&{query}").json()
    assert len(page["entries"]) <= scanned
    found = walked(auditor, f"/v1/entries?limit=60&{query}", "entries")
    expected = [entry["index"] for entry in log if FILTERS[query](entry)]
    assert [entry["index"] for entry in found if entry["index"] < len(log)] == expected


def test_where_nothing_is_left_to_look_at_there_is_no_next(
    auditor: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SCANNED_MAX", 10)
    assert auditor.get("/v1/entries?kind=job.reported&after=3").json() == {"entries": [], "next": 13}
    size = auditor.get("/readyz").json()["tree_size"]
    assert auditor.get(f"/v1/entries?kind=job.reported&after={size - 11}").json()["next"] == size - 1
    assert auditor.get(f"/v1/entries?kind=job.reported&after={size - 10}").json()["next"] is None


@pytest.mark.parametrize("scanned", [3, 1_000])
def test_a_contract_may_be_read_from_anywhere(
    auditor: httpx.Client,
    live: LiveContract,
    log: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    scanned: int,
) -> None:
    """From behind an entry of another contract, too, and between two instants."""
    monkeypatch.setattr(pages, "SCANNED_MAX", scanned)
    chain = [e for e in log if e["header"]["contract"] == live.contract]
    ours = {e["index"] for e in chain}
    strangers = [index for index in range(len(log)) if index not in ours]
    for after in (strangers[0], strangers[-1], chain[5]["index"], chain[-1]["index"]):
        found = walked(auditor, f"/v1/entries?contract={live.contract}&after={after}", "entries")
        assert found == [e for e in chain if e["index"] > after]
    query = f"contract={live.contract}&since={LATER}&outcome=accepted"
    expected = [
        e for e in chain if e["recorded_at"] >= "2027-03-02T12:00:00.000000Z" and e["outcome"] == "accepted"
    ]
    assert walked(auditor, f"/v1/entries?{query}", "entries") == expected
    assert walked(auditor, f"/v1/entries?contract={live.contract}&until={LATER}", "entries") == [
        e for e in chain if e["recorded_at"] < "2027-03-02T12:00:00.000000Z"
    ]


def test_the_entries_of_a_contract_are_its_chain(
    auditor: httpx.Client, live: LiveContract, log: list[dict[str, Any]]
) -> None:
    expected = [e["index"] for e in log if e["header"]["contract"] == live.contract]
    found = walked(auditor, f"/v1/entries?limit=50&contract={live.contract}", "entries")
    assert [entry["index"] for entry in found] == expected
    assert [entry["header"]["contract_index"] for entry in found] == list(range(len(found)))


def test_a_filter_with_a_slip_is_refused_for_it_would_show_too_much_or_nothing(auditor: httpx.Client) -> None:
    for path in ("/v1/entries?outcom=denied", "/v1/entries/0?kind=x", "/v1/proofs/inclusion?index=0&size=1"):
        answer = auditor.get(path)
        assert answer.status_code == 422
        assert "is not a known field" in answer.json()["detail"]
    answer = auditor.get("/v1/entries?kind=licence.revoked")
    told = "/query/kind licence.revoked is not a known kind; did you mean license.revoked?"
    assert (answer.status_code, answer.json()["detail"]) == (422, told)


def test_an_entry_may_be_kept_for_it_never_changes(auditor: httpx.Client, log: list[dict[str, Any]]) -> None:
    first = auditor.get("/v1/entries/3")
    assert "immutable" in first.headers["cache-control"]
    assert "private" in first.headers["cache-control"]
    assert first.headers["etag"] == f'"{log[3]["leaf_hash"]}"'
    again = auditor.get("/v1/entries/3", headers={"if-none-match": first.headers["etag"]})
    other = auditor.get("/v1/entries/4", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)


@pytest.mark.parametrize("path", ["/v1/entries/0", "/v1/entries", "/checkpoint", "/livez", "/v1/kinds"])
def test_head_answers_as_get_without_the_body(auditor: httpx.Client, path: str) -> None:
    head, get = auditor.head(path), auditor.get(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]


# --- to read what one wrote -----------------------------------------------------------------------

MIN_INDEX = [
    "/v1/entries", "/v1/entries/0", "/v1/contracts/{contract}", "/v1/contracts/{contract}/orders",
    "/v1/contracts/{contract}/shipments", "/v1/devices/{serial}",
]  # fmt: skip


@pytest.mark.parametrize("path", MIN_INDEX)
def test_an_answer_knows_the_entry_that_min_index_names_or_is_412(live: LiveContract, path: str) -> None:
    path = path.format(contract=live.contract, serial=live.serials(1)[0])
    with live.service.client("auditor") as client:
        size = client.get("/readyz").json()["tree_size"]
        assert client.get(path, params={"min_index": size - 1}).status_code == 200
        early = client.get(path, params={"min_index": size})
        assert client.get(path, params={"min_index": -1}).status_code == 422
    assert (early.status_code, early.json()["type"]) == (412, "/problems/not-yet")
    assert early.headers["retry-after"]


def test_min_index_comes_before_what_a_late_replica_would_not_know(service: Service) -> None:
    with service.client("submitter", EXPORTER) as client:
        unknown = f"/v1/contracts/{'0' * 8}-0000-0000-0000-{'0' * 12}"
        assert client.get(unknown, params={"min_index": 10**9}).status_code == 412
        assert client.get(unknown).status_code == 404


# --- contracts ------------------------------------------------------------------------------------


def test_a_contract_shows_what_was_granted_and_what_is_left(
    auditor: httpx.Client, live: LiveContract
) -> None:
    found = auditor.get(f"/v1/contracts/{live.contract}").json()
    [license_] = found["licenses"]
    ordered = SHIPPED + ORDERS - 1
    assert (license_["license"], license_["state"], license_["quantity"]) == (live.license, "active", 10_000)
    assert (license_["ordered"], license_["headroom_to_order"]) == (ordered, 10_000 - ordered)
    assert (license_["released"], license_["headroom_to_release"]) == (SHIPPED, 10_000 - SHIPPED)
    assert {party["party"] for party in found["parties"]} >= {EXPORTER, BUYER, FORWARDER}


def test_a_contract_shows_how_far_its_shipments_are(auditor: httpx.Client, live: LiveContract) -> None:
    [shipment] = auditor.get(f"/v1/contracts/{live.contract}").json()["shipments"]
    assert (shipment["state"], shipment["order"]) == ("received", "PO-1")
    counts = (shipment["serials"], shipment["dispatched"], shipment["received"])
    assert counts == (SHIPPED, SHIPPED, SHIPPED - 1)
    assert shipment["missing"] == live.serials(SHIPPED)[-1:]


def test_of_what_a_release_gave_back_a_contract_shows_how_many(
    service: Service, auditor: httpx.Client
) -> None:
    """A page of releases may hold ten thousand serials each."""
    contract = LiveContract(service).open()
    contract.released(contract.serials(3))
    contract.accepted("shipment.cancelled", shipment="SH-1")
    [shipment] = auditor.get(f"/v1/contracts/{contract.contract}/shipments").json()["shipments"]
    assert (shipment["state"], shipment["serials"], shipment["taken_back"]) == ("cancelled", 3, 3)


def test_a_contract_shows_the_tail_of_its_chain(
    auditor: httpx.Client, live: LiveContract, log: list[dict[str, Any]]
) -> None:
    entries = [e for e in log if e["header"]["contract"] == live.contract]
    chain = auditor.get(f"/v1/contracts/{live.contract}").json()["chain"]
    assert chain == {"count": len(entries), "head": entries[-1]["leaf_hash"]}


@pytest.mark.parametrize("limit", [1, 9, 100])
def test_no_order_is_left_out_without_a_word(auditor: httpx.Client, live: LiveContract, limit: int) -> None:
    found = auditor.get(f"/v1/contracts/{live.contract}").json()
    orders = walked(auditor, f"/v1/contracts/{live.contract}/orders?limit={limit}", "orders")
    numbers = [order["order"] for order in orders]
    assert sorted(numbers) == ["PO-0001", *[f"PO-{n:04}" for n in range(2, ORDERS)], "PO-1"]
    assert numbers == sorted(set(numbers))
    assert found["orders"] == orders[: len(found["orders"])]
    assert found["orders_next"] == found["orders"][-1]["order"]
    rest = walked(auditor, f"/v1/contracts/{live.contract}/orders?after={found['orders_next']}", "orders")
    assert found["orders"] + rest == orders


def test_a_contract_with_few_orders_says_that_these_are_all(service: Service, auditor: httpx.Client) -> None:
    contract = LiveContract(service).open()
    contract.released(contract.serials(1))
    found = auditor.get(f"/v1/contracts/{contract.contract}").json()
    assert (found["orders_next"], found["shipments_next"]) == (None, None)
    shipments = auditor.get(f"/v1/contracts/{contract.contract}/shipments").json()
    assert shipments == {"shipments": found["shipments"], "next": None}


# --- devices --------------------------------------------------------------------------------------

CUSTODY = ["lab.tested", "shipment.requested", "shipment.dispatched", "delivery.received"]


def test_the_custody_of_a_device_is_every_entry_that_speaks_of_it(
    auditor: httpx.Client, live: LiveContract, log: list[dict[str, Any]]
) -> None:
    serial = live.serials(1)[0]
    found = auditor.get(f"/v1/devices/{serial}").json()
    assert [link["kind"] for link in found["custody"]] == CUSTODY
    for link in found["custody"]:
        entry = log[link["index"]]
        assert (link["leaf_hash"], link["recorded_at"]) == (entry["leaf_hash"], entry["recorded_at"])
        assert link["occurred_at"] == entry["event"]["value"]["occurred_at"]
        assert serial in str(entry["event"]["value"]["data"])
    assert found["device"]["state"] == "received"
    assert [test["result"] for test in found["device"]["tests"]] == ["pass"]
    assert found["next"] is None


def test_a_device_that_did_not_arrive_is_missing(auditor: httpx.Client, live: LiveContract) -> None:
    lost = auditor.get(f"/v1/devices/{live.serials(SHIPPED)[-1]}").json()
    assert lost["device"]["state"] == "missing"
    assert [link["kind"] for link in lost["custody"]] == CUSTODY
    assert lost["custody"][-1]["outcome"] == "flagged"


def test_custody_pages_leave_nothing_out(auditor: httpx.Client, live: LiveContract) -> None:
    path = f"/v1/devices/{live.serials(1)[0]}"
    whole = auditor.get(path).json()["custody"]
    for limit in (1, 2, 3, 4):
        assert walked(auditor, f"{path}?limit={limit}", "custody") == whole


# --- proofs ---------------------------------------------------------------------------------------


def test_every_kind_of_index_is_proved_into_older_and_newer_trees(
    auditor: httpx.Client, log: list[dict[str, Any]]
) -> None:
    hashes = leaves(log)
    for size in (1, 2, 3, 7, 8, 100, 128, 129, len(hashes)):
        for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
            answer = auditor.get(f"/v1/proofs/inclusion?index={index}&tree_size={size}").json()
            assert (answer["index"], answer["tree_size"]) == (index, size)
            assert answer["leaf_hash"] == log[index]["leaf_hash"]
            proof = [b64decode(one, validate=True) for one in answer["hashes"]]
            check_inclusion(
                proof, leaf_hash=hashes[index], index=index, tree_size=size, root=root(hashes[:size])
            )


def test_every_tree_is_proved_to_continue_every_older_one(
    auditor: httpx.Client, log: list[dict[str, Any]]
) -> None:
    hashes = leaves(log)
    sizes = (0, 1, 2, 5, 64, 100, 127, 128, len(hashes))
    for old in sizes:
        for new in (size for size in sizes if size >= old):
            answer = auditor.get(f"/v1/proofs/consistency?old_size={old}&new_size={new}").json()
            check_consistency(
                [b64decode(one, validate=True) for one in answer["hashes"]],
                old_size=old, new_size=new, old_root=root(hashes[:old]), new_root=root(hashes[:new]),
            )  # fmt: skip


def test_proofs_hold_across_a_full_tile(service: Service, auditor: httpx.Client) -> None:
    contract = LiveContract(service).open()
    with service.client("submitter", BUYER) as client:
        for batch in range(2):
            events = [contract.event("order.placed", order=f"B{batch}-{n}", units=1) for n in range(100)]
            client.post("/v1/events:batch", json=events).raise_for_status()
    hashes = leaves(walked(auditor, "/v1/entries?limit=1000", "entries"))
    assert len(hashes) > 256
    for index, size in ((0, 256), (255, 256), (0, 257), (255, 257), (256, 257), (3, len(hashes))):
        answer = auditor.get(f"/v1/proofs/inclusion?index={index}&tree_size={size}").json()
        proof = [b64decode(one) for one in answer["hashes"]]
        check_inclusion(proof, leaf_hash=hashes[index], index=index, tree_size=size, root=root(hashes[:size]))


def test_a_proof_is_of_the_present_tree_unless_a_size_is_given(
    auditor: httpx.Client, verifier: Verifier
) -> None:
    checkpoint = open_checkpoint(auditor.get("/checkpoint").text, verifier, verifier.name)
    inclusion = auditor.get("/v1/proofs/inclusion?index=2").json()
    consistency = auditor.get("/v1/proofs/consistency?old_size=2").json()
    assert inclusion["tree_size"] == consistency["new_size"] == checkpoint.size


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("inclusion?index=0&tree_size=0", 404),
        ("inclusion?index=5&tree_size=5", 404),
        ("inclusion?index=5&tree_size=1000000000", 404),
        ("inclusion?index=1000000000", 404),
        ("inclusion?index=9007199254740991&tree_size=9007199254740991", 404),
        ("inclusion?index=9007199254740992", 422),
        ("inclusion?index=-1", 422),
        ("inclusion?index=x", 422),
        ("inclusion", 422),
        ("consistency?old_size=5&new_size=4", 404),
        ("consistency?old_size=1000000000", 404),
        ("consistency?old_size=-1", 422),
        ("consistency", 422),
    ],
)
def test_an_impossible_proof_is_a_problem_and_no_error_of_ours(
    auditor: httpx.Client, query: str, status: int
) -> None:
    answer = auditor.get(f"/v1/proofs/{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


# --- the checkpoint -------------------------------------------------------------------------------


def test_the_checkpoint_is_a_note_that_the_genesis_key_signed(
    auditor: httpx.Client, log: list[dict[str, Any]], verifier: Verifier
) -> None:
    answer = auditor.get("/checkpoint")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
    checkpoint = open_checkpoint(answer.text, verifier, "test.example/log")
    hashes = leaves(walked(auditor, "/v1/entries?limit=1000", "entries"))
    assert checkpoint == Checkpoint("test.example/log", len(hashes), root(hashes))
    text, _, signatures = answer.text.partition("\n\n")
    assert text.splitlines()[:2] == ["test.example/log", str(len(hashes))]
    assert signatures.startswith("— test.example/log ")


def test_the_checkpoint_grows_with_the_log_and_never_forks(
    service: Service, auditor: httpx.Client, verifier: Verifier
) -> None:
    def head() -> Checkpoint:
        return open_checkpoint(auditor.get("/checkpoint").text, verifier, verifier.name)

    old = head()
    LiveContract(service).accepted("contract.opened", licenses=[])
    new = head()
    assert new.size == old.size + 1
    answer = auditor.get(f"/v1/proofs/consistency?old_size={old.size}&new_size={new.size}").json()
    check_consistency(
        [b64decode(one) for one in answer["hashes"]],
        old_size=old.size, new_size=new.size, old_root=old.root, new_root=new.root,
    )  # fmt: skip


# --- kinds ----------------------------------------------------------------------------------------


def test_every_kind_is_listed_with_a_schema_that_its_example_fits(auditor: httpx.Client) -> None:
    listed = auditor.get("/v1/kinds").json()
    assert {(kind["kind"], kind["version"]) for kind in listed} == set(KINDS)
    for kind in listed:
        schema = auditor.get(kind["schema_url"]).json()
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        role = kind["said_by"][0]
        event = {**wire("order.placed"), "kind": kind["kind"], "version": kind["version"]}
        event |= {"data": kind["example"], "actor": {"party": "acme", "role": role}}
        jsonschema_rs.validator_for(schema).validate(event)
        parse_event(event)
        assert kind["description"]


# --- what is not there ----------------------------------------------------------------------------

UNKNOWN = "/v1/contracts/00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/entries/1000000000", "/v1/entries/9007199254740991", "/v1/entries/9007199254740992",
        "/v1/entries/99999999999999999999999999", "/v1/entries/-1", "/v1/entries/x", "/v1/entries/1.5",
        "/v1/entries/%00", "/v1/entries/%F0%9F%92%A9", "/v1/entries/", "/v1/entries?limit=0",
        "/v1/entries?limit=1001", "/v1/entries?after=-2", "/v1/entries?contract=x", "/v1/entries?kind=%00",
        "/v1/entries?party=%ff", "/v1/entries?party=A'--", "/v1/entries?outcome=maybe",
        "/v1/entries?since=yesterday", "/v1/entries?since=2027-03-01",
        "/v1/entries?until=2027-02-30T00:00:00Z", UNKNOWN, f"{UNKNOWN}/orders", f"{UNKNOWN}/shipments",
        f"{UNKNOWN}%0A", "/v1/contracts/x", "/v1/contracts/%00", "/v1/contracts/_ledger",
        "/v1/devices/NEVER-SEEN-1", "/v1/devices/sn000001", "/v1/devices/%00%00%00", "/v1/devices/SN%0A001",
        f"/v1/devices/{'S' * 41}", f"/v1/devices/{'S' * 4000}",
        "/v1/kinds/no.such/1", "/v1/kinds/order.placed/2", "/v1/kinds/order.placed/x",
        "/v1/kinds/order.placed/99999999999999999999", "/v1/kinds/%00/1",
        "/problems/no-such", "/problems/%00", "/static/no-such", "/static/%00", "/static/../app.py",
        "/static/%2e%2e/app.py", f"/static/{'x' * 5000}", "/v2/entries", "//v1/entries", "/%F0%9F%92%A9",
    ],
)  # fmt: skip
def test_what_is_not_there_or_no_name_at_all_is_a_problem_of_the_caller(
    auditor: httpx.Client, path: str
) -> None:
    answer = auditor.get(path)
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"].startswith("urn:chipledger:request:")
