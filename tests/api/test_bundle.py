"""Evidence bundles by REST and on the command line: who gets what, and that it holds where we are not."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from api import bundle as bundles
from api import keys
from api.bundle_check import verify_bundle
from api.held import Held
from ledger.archive import pack, unpack
from ledger.bundle import MANIFEST
from ledger.canonical import canonical, parse
from ledger.errors import UnusableInput, VerificationError
from ledger.note import Verifier
from ledger.reader import Reader
from ledger.verify_bundle import Bundle, open_bundle
from tests.api.contract import LiveContract
from tests.api.test_cli import run
from tests.ledger.sample_bundle import rewritten
from tests.ledger.sample_log import CONTRACTS, SIGNER
from tests.ledger.test_bundle import GOLDEN
from tests.policies.test_dossier import Reading
from tests.service import Service
from tests.workbench import BUYER, EXPORTER, FORWARDER, PARTIES

LATER = "2027-03-03T12:00:00Z"
HOSTILE = "<script>alert('x')</script>\u202e"
NOTHING = Held()


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    """Ten devices that were shipped, one that got lost, a refused order, and a summary of all chains."""
    contract = LiveContract(service).open()
    serials = contract.serials(10)
    contract.released(serials)
    contract.accepted("shipment.dispatched", shipment="SH-1", serials=serials)
    delivered = {"shipment": "SH-1", "received": serials[:-1], "missing": serials[-1:]}
    assert contract.say("delivery.received", **delivered).json()["decision"]["outcome"] == "flagged"
    assert contract.order(20_000, order="PO-MUCH").status_code == 422
    other = LiveContract(service).open()
    other.released(other.serials(2))
    service.set_clock(LATER)
    contract.accepted("levy.settled", order="PO-1", amount={"amount": "1.00", "currency": "USD"})
    return contract


@pytest.fixture(scope="module")
def auditor(service: Service, live: LiveContract) -> Iterator[httpx.Client]:
    with service.client("auditor") as client:
        yield client


@pytest.fixture(scope="module")
def verifier(auditor: httpx.Client) -> Verifier:
    return Verifier.parse(auditor.get("/v1/entries/0").json()["event"]["value"]["data"]["key"])


def fetched(client: httpx.Client, **asked: Any) -> bytes:
    answer = client.get("/v1/bundles", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    return answer.content


def opened(client: httpx.Client, verifier: Verifier, **asked: Any) -> Bundle:
    return open_bundle(fetched(client, **asked), verifier=verifier)


def kinds(bundle: Bundle) -> list[str]:
    return [str(event["kind"]) for event in bundle.events.values()]


# --- what is in it --------------------------------------------------------------------------------


def test_a_contract_is_shown_whole(auditor: httpx.Client, live: LiveContract, verifier: Verifier) -> None:
    bundle = opened(auditor, verifier, contract=live.contract)
    chain = [e.header.contract_index for e in bundle.entries if e.header.contract == live.contract]
    assert chain == list(range(len(chain)))
    told = auditor.get(f"/v1/contracts/{live.contract}").json()["chain"]
    assert len(chain) == told["count"]
    assert bundle.complete is not None
    assert bundle.complete.until in bundle.events
    assert not any("left out" in remark for remark in bundle.remarks)


def test_what_is_committed_while_a_bundle_is_gathered_is_of_the_next_one(
    service: Service, auditor: httpx.Client, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head that all of it is proven under was read before."""
    contract = LiveContract(service).open()
    chain = Reader.chain

    async def late(reader: Reader, *which: Any, **page: Any) -> Any:
        await asyncio.to_thread(contract.order, 1)
        return await chain(reader, *which, **page)

    with monkeypatch.context() as patched:
        patched.setattr(Reader, "chain", late)
        bundle = opened(auditor, verifier, contract=contract.contract)
    assert "order.placed" not in kinds(bundle)
    assert "order.placed" in kinds(opened(auditor, verifier, contract=contract.contract))


def test_a_device_is_shown_with_what_its_custody_rests_on(
    auditor: httpx.Client, live: LiveContract, verifier: Verifier
) -> None:
    bundle = opened(auditor, verifier, serial=live.serials(1)[0])
    custody = auditor.get(f"/v1/devices/{live.serials(1)[0]}").json()["custody"]
    assert {link["index"] for link in custody} <= bundle.events.keys()
    assert {"contract.opened", "policy.activated", "license.granted", "conditions.acknowledged"} <= set(
        kinds(bundle)
    )
    assert "order.placed" not in kinds(bundle)
    assert {entry.header.contract for entry in bundle.entries} == {live.contract, "_ledger"}


def test_some_entries_are_shown_with_the_documents_that_they_cite(
    auditor: httpx.Client, live: LiveContract, verifier: Verifier
) -> None:
    refused = auditor.get("/v1/entries", params={"contract": live.contract, "outcome": "denied"}).json()
    index = refused["entries"][0]["index"]
    bundle = opened(auditor, verifier, index=[index, 0])
    assert kinds(bundle) == ["ledger.opened", "policy.activated", "order.placed"]
    [text] = bundle.documents.values()
    assert text.startswith("policy:") or "\npolicy:" in text
    assert bundle.decisions[index]["outcome"] == "denied"
    assert bundle.asked == {"index": [0, index]}


def test_it_holds_offline_with_every_comparison_made_again(
    auditor: httpx.Client, live: LiveContract, verifier: Verifier
) -> None:
    raw = fetched(auditor, contract=live.contract)
    words = verify_bundle(raw, verifier, NOTHING)
    assert words[0].startswith("OK ")
    assert any("comparisons follow from their numbers" in line for line in words)
    assert not any("index.html" in line for line in words)
    assert "give --key" in verify_bundle(raw, None, NOTHING)[-1]


def test_a_release_that_ended_and_what_was_taken_back_of_it_holds_offline(
    service: Service, auditor: httpx.Client, verifier: Verifier
) -> None:
    contract = LiveContract(service).open()
    serials = contract.serials(3)
    contract.released(serials[:1], order="PO-1", shipment="SH-1")
    contract.accepted("order.placed", order="PO-2", units=2)
    contract.accepted("levy.settled", order="PO-2", amount={"amount": "13500.00", "currency": "USD"})
    contract.tested(serials[1:])
    asked = {"shipment": "SH-2", "order": "PO-2", "serials": serials[1:], "valid_until": "2027-03-05"}
    contract.accepted("shipment.requested", **asked)
    service.set_clock("2027-03-08T12:00:00Z")
    late = contract.event("shipment.dispatched", shipment="SH-2", serials=serials[1:2])
    receipt = service.submit(late).json()
    assert receipt["decision"]["outcome"] == "flagged"
    slip = {"index": receipt["header"]["index"], "id": late["id"], "by": (FORWARDER, "forwarder")}
    contract.accepted("event.declared_in_error", **slip)
    for question in ({"contract": contract.contract}, {"serial": serials[1]}):
        raw = fetched(auditor, **question)
        assert "shipment.expired" in kinds(open_bundle(raw, verifier=verifier))
        assert verify_bundle(raw, verifier, NOTHING)[0].startswith("OK ")


def test_others_tools_read_it(auditor: httpx.Client, live: LiveContract) -> None:
    with zipfile.ZipFile(io.BytesIO(fetched(auditor, contract=live.contract))) as zipped:
        assert zipped.testzip() is None
        manifest = json.loads(zipped.read(MANIFEST))
        schema = json.loads(zipped.read("schemas/shipment.requested-1.json"))
    assert manifest["reader"] == {"party": None, "role": "auditor"}
    assert schema == auditor.get("/v1/kinds/shipment.requested/1").json()


def test_the_same_question_gives_the_same_bytes(auditor: httpx.Client, live: LiveContract) -> None:
    assert fetched(auditor, contract=live.contract) == fetched(auditor, contract=live.contract)


def test_its_page_reads_and_loads_nothing(service: Service, auditor: httpx.Client) -> None:
    hostile = LiveContract(service)
    parties = [{**one, "name": HOSTILE} for one in PARTIES]
    hostile.accepted("contract.opened", parties=parties, licenses=[hostile.license], title=HOSTILE)
    raw = unpack(fetched(auditor, contract=hostile.contract))["index.html"].decode()
    read = Reading(raw).text
    assert HOSTILE[:-1] in read
    assert "\u202e" not in raw
    assert "\\u202e" in read


# --- who gets it ----------------------------------------------------------------------------------


def test_a_party_gets_its_own_contracts_and_of_others_learns_nothing(
    service: Service, auditor: httpx.Client, live: LiveContract, verifier: Verifier
) -> None:
    """The parties of the shared service are in every contract, so a stranger is one that is in none."""
    serial = live.serials(1)[0]
    index = auditor.get(f"/v1/devices/{serial}").json()["custody"][0]["index"]
    with service.client("submitter", EXPORTER) as own, service.client("submitter", "nobody-inc") as strange:
        bundle = opened(own, verifier, contract=live.contract)
        assert bundle.reader == {"role": "submitter", "party": EXPORTER}
        assert bundle.withheld == 0
        for asked, absent in (
            ({"contract": live.contract}, {"contract": "0" * 8 + live.contract[8:]}),
            ({"index": index}, {"index": 10_000_000}),
            ({"serial": serial}, {"serial": "NO-SUCH-DEVICE"}),
            ({"contract": "_ledger"}, {"contract": "0" * 8 + live.contract[8:]}),
            ({"index": [0]}, {"index": 10_000_001}),
        ):
            answers = [strange.get("/v1/bundles", params=one) for one in (asked, absent)]
            assert [answer.status_code for answer in answers] == [404, 404]
            told = [
                str(answer.json()["detail"]).replace(str(*one.values()), "X").replace(str(index), "X")
                for answer, one in zip(answers, (asked, absent), strict=True)
            ]
            if "index" not in asked:
                assert told[0] == told[1]


def test_what_is_withheld_from_a_key_is_withheld_in_its_bundles(
    service: Service, auditor: httpx.Client, live: LiveContract, verifier: Verifier
) -> None:
    withholds = ["event:order.placed", "decision:shipment.requested", "event:policy.activated"]
    token = keys.create(service.owner, "auditor", withholds=withholds).token
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        bundle = opened(client, verifier, contract=live.contract)
        custody = client.get("/v1/bundles", params={"serial": live.serials(1)[0]})
    whole = opened(auditor, verifier, contract=live.contract)
    assert [entry.raw for entry in bundle.entries] == [entry.raw for entry in whole.entries]
    hidden = {"order.placed", "policy.activated"}
    assert set(kinds(bundle)) == set(kinds(whole)) - hidden
    assert bundle.withheld == sum(kind in hidden for kind in kinds(whole)) + kinds(whole).count(
        "shipment.requested"
    )
    assert bundle.documents == {}
    assert any("is not in the bundle" in remark for remark in bundle.remarks)
    # Which entries speak of a device is folded from events.
    assert custody.status_code == 403


def test_a_device_of_two_contracts_shows_a_party_its_own_part(
    service: Service, live: LiveContract, verifier: Verifier
) -> None:
    """Anybody may name a serial: who does gets what it said itself."""
    serial = live.serials(1)[0]
    second = LiveContract(service)
    parties = [*PARTIES, {"party": "other-lab", "roles": ["laboratory"], "name": "Lab", "country": "US"}]
    second.accepted("contract.opened", parties=parties, licenses=[second.license])
    tested = {
        "sku": "H200-141GB", "country": "US",
        "results": [{"serial": serial, "tpp": 1, "bandwidth_gb_s": 1, "result": "pass"}],
    }  # fmt: skip
    service.submit(second.event("lab.tested", by=("other-lab", "laboratory"), **tested))
    with service.client("submitter", "other-lab") as client:
        bundle = opened(client, verifier, serial=serial)
    assert {entry.header.contract for entry in bundle.entries} == {second.contract, "_ledger"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "give one of serial, contract or index; 0 are given"),
        ({"serial": "SN000001", "index": 1}, "2 are given"),
        ({"serial": "lower case"}, "serial"),
        ({"index": -1}, "index"),
        ({"index": list(range(1001))}, "index"),
        ({"contract": "x"}, "contract"),
        ({"device": "SN000001"}, "device"),
    ],
)
def test_a_question_that_is_none_is_a_problem(
    auditor: httpx.Client, asked: dict[str, Any], words: str
) -> None:
    answer = auditor.get("/v1/bundles", params=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.text


def test_what_is_too_large_is_a_problem_that_names_the_limits(
    auditor: httpx.Client, live: LiveContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "ENTRIES_MAX", 5)
    answer = auditor.get("/v1/bundles", params={"contract": live.contract})
    assert answer.status_code == 413
    assert "more than 5 entries" in answer.json()["detail"]
    monkeypatch.undo()
    monkeypatch.setattr(bundles, "BYTES_MAX", 5_000)
    assert auditor.get("/v1/bundles", params={"contract": live.contract}).status_code == 413


def test_a_bundle_without_a_key_is_refused(service: Service) -> None:
    assert httpx.get(f"{service.url}/v1/bundles?index=0").status_code == 401


# --- what is done to it ---------------------------------------------------------------------------


def test_a_page_that_says_something_else_is_pointed_out(
    auditor: httpx.Client, live: LiveContract, verifier: Verifier
) -> None:
    raw = fetched(auditor, contract=live.contract)
    page = unpack(raw)["index.html"].replace(b"denied", b"granted")
    words = verify_bundle(rewritten(raw, {"index.html": page}), verifier, NOTHING)
    assert any("do not rely on it" in line for line in words)


def test_a_bundle_is_of_its_log_and_no_other(
    auditor: httpx.Client, live: LiveContract, verifier: Verifier
) -> None:
    raw = fetched(auditor, contract=live.contract)
    other = Verifier(verifier.name, bytes(32))
    with pytest.raises(VerificationError, match="must be the given"):
        verify_bundle(raw, other, NOTHING)
    files = unpack(raw)
    manifest: Any = parse(files[MANIFEST])
    manifest["asked"] = {"serial": live.serials(1)[0]}
    with pytest.raises(VerificationError):
        verify_bundle(pack({**files, MANIFEST: canonical(manifest)}), verifier, NOTHING)


def test_what_a_bundle_cannot_be_held_against_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="held against an export"):
        verify_bundle(b"PK\x03\x04", None, Held(receipts=[tmp_path]))


def test_the_golden_bundle_holds_for_whoever_tries_the_verifier_on_it() -> None:
    told = run("verify", GOLDEN, "--key", SIGNER.verifier)
    assert (told.status, told.err) == (0, "")
    assert f"contract {CONTRACTS[0]} is here whole up to entry 11" in told.out.lower()


# --- on the command line --------------------------------------------------------------------------


def test_the_command_writes_what_the_route_gives(
    service: Service, auditor: httpx.Client, live: LiveContract, verifier: Verifier, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.zip"

    def written(*asked: object) -> Bundle:
        done = run("bundle", *asked, "--out", path, url=service.owner, home=service.settings.home)
        assert (done.status, done.out) == (0, ""), done.err
        assert f"{path.stat().st_size:,} bytes written" in done.err
        return open_bundle(path.read_bytes(), verifier=verifier)

    served = opened(auditor, verifier, contract=live.contract)
    assert written("--contract", live.contract).entries == served.entries
    assert written("--index", "3,0,3").asked == {"index": [0, 3]}
    own = written("--serial", live.serials(1)[0], "--party", BUYER)
    assert own.reader == {"role": "submitter", "party": BUYER}
    done = run("verify", path, "--key", verifier)
    assert (done.status, done.out.startswith("OK ")) == (0, True), done.err
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    done = run("verify", path, "--key", verifier)
    assert (done.status, done.err.startswith("TAMPERED")) == (1, True)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "give one of serial, contract or index; 0 are given"),
        (["--serial", "SN000001", "--index", "1"], "2 are given"),
        (["--index", "1,x"], "--index is '1,x', must be N, or N,M"),
        (["--serial", "NO-SUCH-DEVICE"], "does not speak of a device"),
        (["--index", "0", "--party", "nobody-inc"], "there is no entry 0"),
    ],
)
def test_the_command_says_what_it_cannot_do(
    service: Service, live: LiveContract, tmp_path: Path, asked: list[str], words: str
) -> None:
    path = tmp_path / "bundle.zip"
    done = run("bundle", *asked, "--out", path, url=service.owner, home=service.settings.home)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert not path.exists()


def test_the_checkpoints_that_others_vouch_for_come_along(
    service: Service, live: LiveContract, monkeypatch: pytest.MonkeyPatch, verifier: Verifier
) -> None:
    """A witnessed checkpoint of before, and one of behind the bundle's back."""
    with service.client("auditor") as client:
        note = client.get("/checkpoint").text
        live.accepted("levy.settled", order="PO-1", amount={"amount": "1.00", "currency": "USD"})

        async def witnessed(_: Reader, __: str) -> str:
            return note

        monkeypatch.setattr(Reader, "witnessed", witnessed)
        [anchor] = opened(client, verifier, contract=live.contract).anchors
    assert anchor.note == note
