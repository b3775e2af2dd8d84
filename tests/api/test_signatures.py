"""Signed events over HTTP: what holds is kept and proven, and of what is forged nothing is committed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from api.replay import replay_file
from ledger import dsse
from ledger.canonical import canonical
from ledger.entry import commitment
from ledger.event import EVENT_BYTES_MAX
from ledger.receipt import Receipt
from ledger.verify import verify_export
from tests.api.contract import NOW, LiveContract
from tests.service import Service
from tests.workbench import AUTHORITY, BUYER, PARTIES, activation, wire

ED25519, P256, RETIRED, THEIRS, NOBODYS = (
    Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)),
    ec.derive_private_key(2, ec.SECP256R1()),
    Ed25519PrivateKey.from_private_bytes(bytes([3] * 32)),
    Ed25519PrivateKey.from_private_bytes(bytes([4] * 32)),
    Ed25519PrivateKey.from_private_bytes(bytes([5] * 32)),
)
BY = (AUTHORITY, "authority")
ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def data_of(key: dsse.PrivateKey) -> dict[str, str]:
    return {"algorithm": dsse.algorithm_of(key), "public_key": dsse.spelled(key.public_key())}


def mark_of(key: dsse.PrivateKey) -> str:
    return dsse.fingerprint_of(dsse.spelled(key.public_key()))


class Signed(LiveContract):
    """A contract that demands signatures of licensing and shipments; the authority has keys."""

    def begin(self) -> Signed:
        self.service.set_clock(NOW)
        opened = self.event("contract.opened", parties=PARTIES, licenses=[self.license], signed=[])
        del opened["data"]["signed"]
        assert self.service.submit(opened).status_code == 201
        self.accepted("key.registered", by=BY, **data_of(ED25519))
        for key in (P256, RETIRED):
            self.signed("key.registered", by=BY, **data_of(key))
        self.signed("key.retired", by=BY, fingerprint=mark_of(RETIRED), reason="rotated")
        self.accepted("key.registered", by=(BUYER, "buyer"), **data_of(THEIRS))
        return self

    def signed(self, kind: str, **said: Any) -> dict[str, Any]:
        """The receipt of an event that ED25519 signed, and that must be accepted."""
        answer = self.post(dsse.sign(self.event(kind, **said), ED25519))
        assert answer.status_code == 201, answer.text
        receipt: dict[str, Any] = answer.json()
        return receipt

    def post(self, value: Any, path: str = "/v1/events", **given: Any) -> httpx.Response:
        with self.service.client("regulator", AUTHORITY) as client:
            return client.post(path, json=value) if not given else client.post(path, **given)

    @property
    def size(self) -> int:
        return int(httpx.get(f"{self.service.url}/checkpoint").text.split("\n")[1])

    def amended(self, title: str) -> dict[str, Any]:
        """An event that need not be signed."""
        nothing: dict[str, Any] = {"parties": [], "parties_removed": [], "licenses": [], "sites": []}
        return self.event("contract.amended", by=BY, title=title, **nothing)

    def granted(self) -> dict[str, Any]:
        return self.event("license.granted", by=BY)


@pytest.fixture(scope="module")
def contract(service: Service) -> Signed:
    return Signed(service).begin()


@pytest.fixture(autouse=True)
def _sound(contract: Signed, tmp_path: Path) -> Iterator[None]:
    """After each test the log verifies, and a replay decides as it was decided."""
    yield
    path = contract.service.export(tmp_path / "log.export")
    with path.open("rb") as file:
        verify_export(file)
    outcome = replay_file(path, lambda done, total: None)
    assert outcome.difference is None, outcome.difference.lines()


# --- what holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [[ED25519], [P256], [P256, ED25519]], ids=["ed25519", "p256", "both"])
def test_a_signed_event_is_committed_and_kept_verbatim(
    service: Service, keys: list[dsse.PrivateKey], tmp_path: Path
) -> None:
    contract = Signed(service).begin()
    event = contract.granted()
    envelope = dsse.sign(event, *keys)
    before = contract.service.export(tmp_path / "before")
    answer = contract.post(envelope)
    assert answer.status_code == 201, answer.text
    receipt = Receipt.parse(answer.content)
    with service.client("auditor") as client:
        entry = client.get(f"/v1/entries/{receipt.index}").json()
    kept = entry["signatures"]["value"]
    assert kept == {"payloadType": dsse.PAYLOAD_TYPE, "signatures": envelope["signatures"]}
    assert base64.b64decode(envelope["payload"]) == canonical(entry["event"]["value"])
    assert (
        commitment(receipt.salts["signatures"], canonical(kept)).hex()
        == entry["header"]["bodies"]["signatures"]
    )
    with before.open("rb") as old, service.export(tmp_path / "after").open("rb") as new:
        older, newer = verify_export(old), verify_export(new, receipts=[receipt])
    assert newer.signatures - older.signatures == len(keys)


def test_the_same_event_is_the_same_entry_whoever_signed_it(contract: Signed) -> None:
    """DESIGN: the same id and bytes, compared without signatures."""
    event = contract.amended("again")
    first = contract.post(dsse.sign(event, ED25519))
    for again in (dsse.sign(event, ED25519), dsse.sign(event, P256), event):
        answer = contract.post(again)
        assert (answer.status_code, answer.json()["header"]) == (200, first.json()["header"])
    assert contract.post({**event, "occurred_at": NOW.replace("12:", "11:")}).status_code == 409


def test_an_event_that_was_committed_is_found_again_after_its_key_was_retired(service: Service) -> None:
    contract = Signed(service).begin()
    envelope = dsse.sign(contract.granted(), P256)
    first = contract.post(envelope)
    contract.signed("key.retired", by=BY, fingerprint=mark_of(P256), reason="lost")
    again = contract.post(envelope)
    assert (again.status_code, again.json()["header"]) == (200, first.json()["header"])
    assert contract.post(dsse.sign(contract.event("license.suspended", by=BY), P256)).status_code == 422


def test_either_alphabet_of_base64_is_taken(contract: Signed) -> None:
    """DSSE v1.0.2: standard or URL-safe, and verifiers accept either."""
    event = contract.amended("~~~~???>>>")
    envelope = dsse.sign(event, ED25519)
    for alphabet in (envelope, urlsafe(envelope)):
        assert contract.post(alphabet).status_code in (200, 201)


def test_an_unsigned_event_is_refused_where_a_signature_is_demanded(contract: Signed) -> None:
    answer = contract.post(contract.granted())
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/denied")
    assert answer.json()["failed"][0]["code"] == "signed.missing"
    assert "demands that license.granted is signed" in answer.json()["detail"]


def test_an_evaluation_takes_envelopes_and_refuses_forged_ones(contract: Signed) -> None:
    event = contract.event("license.suspended", by=BY)
    for value, missing in ((event, True), (dsse.sign(event, ED25519), False)):
        answer = contract.post({"event": value}, "/v1/events:evaluate")
        codes = [c["code"] for c in answer.json()["decision"]["conditions"] if "code" in c]
        assert ("signed.missing" in codes) == missing
    forged = contract.post({"event": swapped(contract)}, "/v1/events:evaluate")
    assert forged.json()["errors"][0]["pointer"] == "/event/signatures/0/sig"


# --- what does not --------------------------------------------------------------------------------


def urlsafe(envelope: dict[str, Any]) -> dict[str, Any]:
    def turned(text: str) -> str:
        return text.replace("+", "-").replace("/", "_")

    signatures = [{**one, "sig": turned(one["sig"])} for one in envelope["signatures"]]
    return {**envelope, "payload": turned(envelope["payload"]), "signatures": signatures}


def resigned(envelope: dict[str, Any], sig: bytes | str, **other: Any) -> dict[str, Any]:
    """With another signature in place of the first."""
    text = sig if isinstance(sig, str) else base64.b64encode(sig).decode()
    return {**envelope, "signatures": [{**envelope["signatures"][0], "sig": text, **other}]}


def raw_of(envelope: dict[str, Any]) -> bytes:
    return base64.b64decode(envelope["signatures"][0]["sig"])


def altered(contract: Signed) -> dict[str, Any]:
    event = contract.granted()
    envelope = dsse.sign(event, ED25519)
    event["data"]["quantity"] += 1
    return {**envelope, "payload": base64.b64encode(canonical(event)).decode()}


def swapped(contract: Signed) -> dict[str, Any]:
    """The signature of another event of the same party, by the same key."""
    return resigned(dsse.sign(contract.granted(), ED25519), raw_of(dsse.sign(contract.granted(), ED25519)))


def without_pae(contract: Signed) -> dict[str, Any]:
    envelope = dsse.sign(contract.granted(), ED25519)
    return resigned(envelope, ED25519.sign(base64.b64decode(envelope["payload"])))


def of_another_type(contract: Signed) -> dict[str, Any]:
    """Signed for another purpose: the type is part of what is signed."""
    envelope = dsse.sign(contract.granted(), ED25519)
    message = dsse.pae(base64.b64decode(envelope["payload"]), "application/vnd.in-toto+json")
    return resigned(envelope, ED25519.sign(message))


def p256(contract: Signed, change: Callable[[bytes], bytes]) -> dict[str, Any]:
    envelope = dsse.sign(contract.granted(), P256)
    return resigned(envelope, change(raw_of(envelope)))


def raw_rs(der: bytes) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def beyond_order(der: bytes) -> bytes:
    r, s = decode_dss_signature(der)
    return encode_dss_signature(r, s + ORDER_P256)


def not_der(der: bytes) -> bytes:
    """BER: the length in two octets."""
    return b"\x30\x81" + der[1:]


def of_sha384(contract: Signed) -> dict[str, Any]:
    envelope = dsse.sign(contract.granted(), P256)
    message = dsse.pae(base64.b64decode(envelope["payload"]))
    return resigned(envelope, P256.sign(message, ec.ECDSA(hashes.SHA384())))


def doubled(contract: Signed) -> dict[str, Any]:
    envelope = dsse.sign(contract.granted(), ED25519)
    return {**envelope, "signatures": envelope["signatures"] * 2}


def crowded(contract: Signed) -> dict[str, Any]:
    envelope = dsse.sign(contract.granted(), ED25519)
    return {
        **envelope,
        "signatures": [{**envelope["signatures"][0], "keyid": f"{n:064x}"} for n in range(1000)],
    }


def second_foreign(contract: Signed) -> dict[str, Any]:
    return dsse.sign(contract.granted(), ED25519, THEIRS)


def elsewhere(contract: Signed) -> dict[str, Any]:
    """A key that the party has registered in another contract alone."""
    other = Signed(contract.service)
    assert other.say("contract.opened", parties=PARTIES, licenses=[other.license]).status_code == 201
    return dsse.sign(other.granted(), ED25519)


def spaced(contract: Signed) -> dict[str, Any]:
    payload = json.dumps(contract.granted()).encode()
    signature = base64.b64encode(ED25519.sign(dsse.pae(payload))).decode()
    return {
        "payloadType": dsse.PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": mark_of(ED25519), "sig": signature}],
    }


def sign(contract: Signed) -> dict[str, Any]:
    return dsse.sign(contract.granted(), ED25519)


def of_key(sig: dict[str, Any] | None = None, **other: Any) -> Callable[[Signed], dict[str, Any]]:
    def made(contract: Signed) -> dict[str, Any]:
        envelope = sign(contract)
        return {**envelope, "signatures": [{**envelope["signatures"][0], **(sig or {})}], **other}

    return made


BAD, MALFORMED = "/problems/bad-signature", "/problems/malformed-event"
CORPUS: dict[str, tuple[Callable[[Signed], dict[str, Any]], str, str, str]] = {
    "another event's signature": (swapped, BAD, "/signatures/0/sig", "does not hold"),
    "an altered event": (altered, BAD, "/signatures/0/sig", "does not hold"),
    "the event signed without PAE": (without_pae, BAD, "/signatures/0/sig", "does not hold"),
    "signed for another payload type": (of_another_type, BAD, "/signatures/0/sig", "does not hold"),
    "nothing but zeros": (
        lambda c: resigned(sign(c), bytes(64)), BAD, "/signatures/0/sig", "does not hold",
    ),
    "cut by a byte": (
        lambda c: resigned(sign(c), raw_of(sign(c))[:-1]), BAD, "/signatures/0/sig", "does not hold",
    ),
    "longer by a byte": (
        lambda c: resigned(sign(c), raw_of(sign(c)) + b"\0"), BAD, "/signatures/0/sig", "does not hold",
    ),
    "too long": (
        lambda c: resigned(sign(c), bytes(100)), MALFORMED, "/signatures/0/sig", "must be at most 100",
    ),
    "ECDSA cut by a byte": (lambda c: p256(c, lambda it: it[:-1]), BAD, "/signatures/0/sig", "not hold"),
    "ECDSA with a tail": (lambda c: p256(c, lambda it: it + b"\0"), BAD, "/signatures/0/sig", "not hold"),
    "ECDSA as r and s alone": (lambda c: p256(c, raw_rs), BAD, "/signatures/0/sig", "not hold"),
    "ECDSA in BER": (lambda c: p256(c, not_der), BAD, "/signatures/0/sig", "not hold"),
    "ECDSA with s beyond the order": (lambda c: p256(c, beyond_order), BAD, "/signatures/0/sig", "not hold"),
    "ECDSA of zeros": (
        lambda c: p256(c, lambda _: encode_dss_signature(0, 0)), BAD, "/signatures/0/sig", "not hold",
    ),
    "ECDSA over another digest": (of_sha384, BAD, "/signatures/0/sig", "not hold"),
    "ECDSA under the name of an Ed25519 key": (
        lambda c: resigned(dsse.sign(c.granted(), P256), raw_of(dsse.sign(c.granted(), P256)),
                           keyid=mark_of(ED25519)),
        BAD, "/signatures/0/sig", "not hold",
    ),
    "a key of another organisation": (
        lambda c: dsse.sign(c.granted(), THEIRS), BAD, "/signatures/0/keyid", "has registered no such key",
    ),
    "a foreign key beside a good one": (second_foreign, BAD, "/signatures/1/keyid", "no such key"),
    "a key that nobody registered": (
        lambda c: dsse.sign(c.granted(), NOBODYS), BAD, "/signatures/0/keyid", "no such key",
    ),
    "a key that is retired": (
        lambda c: dsse.sign(c.granted(), RETIRED), BAD, "/signatures/0/keyid", "retired with entry",
    ),
    "a key of another contract": (elsewhere, BAD, "/signatures/0/keyid", "no such key"),
    "the same key twice": (doubled, MALFORMED, "/signatures/1/keyid", "a key signs once"),
    "a thousand signatures": (crowded, MALFORMED, "/signatures", "1 to 8"),
    "no signature": (
        lambda c: {**sign(c), "signatures": []}, MALFORMED, "/signatures", "1 to 8",
    ),
    "signatures that are no list": (
        lambda c: {**sign(c), "signatures": {"0": 1}}, MALFORMED, "/signatures", "must be a list",
    ),
    "a signature that is no object": (
        lambda c: {**sign(c), "signatures": ["x"]}, MALFORMED, "/signatures/0", "an object of keyid and sig",
    ),
    "a further member in a signature": (
        of_key({"cert": "x"}), MALFORMED, "/signatures/0", "an object of keyid and sig",
    ),
    "a key id in capitals": (
        of_key({"keyid": mark_of(ED25519).upper()}), MALFORMED, "/signatures/0/keyid", "fingerprint",
    ),
    "a key id that is a number": (of_key({"keyid": 7}), MALFORMED, "/signatures/0/keyid", "fingerprint"),
    "a signature that is no base64": (of_key({"sig": "§"}), MALFORMED, "/signatures/0/sig", "base64"),
    "a signature that is null": (of_key({"sig": None}), MALFORMED, "/signatures/0/sig", "base64"),
    "a signature without its padding": (
        lambda c: resigned(sign(c), sign(c)["signatures"][0]["sig"].rstrip("=")),
        MALFORMED, "/signatures/0/sig", "padded",
    ),
    "unused bits that are set": (
        lambda c: resigned(sign(c), base64.b64encode(bytes(64)).decode().replace("A==", "B==")),
        MALFORMED, "/signatures/0/sig", "one spelling",
    ),
    "another payload type": (
        of_key(payloadType="application/json"), MALFORMED, "/payloadType", dsse.PAYLOAD_TYPE,
    ),
    "a further member": (of_key(more=1), MALFORMED, "", "an envelope has exactly"),
    "a payload that is no base64": (of_key(payload="?"), MALFORMED, "/payload", "base64"),
    "a payload that is no JSON": (of_key(payload="AAAA"), "/problems/not-json", "/payload", "JSON"),
    "a payload that is no event": (of_key(payload="e30="), MALFORMED, "/payload", "/kind"),
    "an envelope in an envelope": (
        lambda c: dsse.Envelope(canonical(sign(c)), dsse.Envelope.parse(sign(c)).signatures).value(),
        MALFORMED, "/payload", "/kind",
    ),
    "a payload that is not canonical": (spaced, MALFORMED, "/payload", "canonical"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_nothing_forged_is_committed(contract: Signed, name: str) -> None:
    make, type_, pointer, words = CORPUS[name]
    envelope = make(contract)
    before = contract.size
    answer = contract.post(envelope)
    problem = answer.json()
    assert problem["type"] == type_, problem
    assert answer.status_code == (400 if type_ == "/problems/not-json" else 422)
    assert problem["errors"][0]["pointer"] == pointer
    assert words in problem["errors"][0]["detail"]
    # In a batch it takes everything beside it along.
    good = contract.amended("beside")
    batch = contract.post([good, dsse.sign(good, ED25519), envelope], "/v1/events:batch")
    assert batch.status_code == 422
    assert [fault["pointer"] for fault in batch.json()["errors"]] == [f"/2{pointer}"]
    assert contract.size == before, "something was committed"


@pytest.mark.parametrize("encoding", ["json", "ndjson"])
def test_a_batch_takes_signed_and_unsigned_events(contract: Signed, encoding: str) -> None:
    events = [contract.amended(f"{encoding} {n}") for n in range(4)]
    values = [events[0], dsse.sign(events[1], ED25519), events[2], dsse.sign(events[3], P256, ED25519)]
    if encoding == "json":
        answer = contract.post(values, "/v1/events:batch")
    else:
        lines = "".join(json.dumps(value) + "\n" for value in values)
        given = {"content": lines, "headers": {"content-type": "application/x-ndjson"}}
        answer = contract.post(None, "/v1/events:batch", **given)
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201] * 4
    signed = ["signatures" in result["receipt"]["salts"] for result in results]
    assert signed == [False, True, False, True]


def test_a_key_registered_in_a_batch_signs_what_follows_in_it_and_nothing_before(service: Service) -> None:
    contract = Signed(service).begin()
    new = Ed25519PrivateKey.generate()
    registered = dsse.sign(contract.event("key.registered", by=BY, **data_of(new)), ED25519)
    granted = dsse.sign(contract.granted(), new)
    before = contract.size
    early = contract.post([granted, registered], "/v1/events:batch")
    assert (early.json()["type"], early.json()["errors"][0]["pointer"]) == (BAD, "/0/signatures/0/keyid")
    assert contract.size == before
    late = contract.post([registered, granted], "/v1/events:batch")
    assert [result["status"] for result in late.json()["results"]] == [201, 201]


def test_a_key_retired_in_a_batch_signs_nothing_that_follows(service: Service) -> None:
    """Whether a key is in use is judged under the lock, event by event: the refusal is an entry."""
    contract = Signed(service).begin()
    retired = contract.event("key.retired", by=BY, fingerprint=mark_of(P256), reason="compromised")
    granted = dsse.sign(contract.granted(), P256)
    answer = contract.post([dsse.sign(retired, P256), granted], "/v1/events:batch")
    first, second = answer.json()["results"]
    assert (first["status"], second["status"]) == (201, 422)
    failed = second["problem"]["failed"]
    assert [(f["code"], f["subjects"]) for f in failed] == [("signature_valid.retired", [mark_of(P256)])]


def test_a_key_whose_registration_is_refused_signs_nothing(service: Service) -> None:
    contract = Signed(service).begin()
    registered = contract.event("key.registered", by=BY, **data_of(NOBODYS))  # unsigned, beside keys in use
    answer = contract.post([registered, dsse.sign(contract.granted(), NOBODYS)], "/v1/events:batch")
    codes = [[f["code"] for f in result["problem"]["failed"]] for result in answer.json()["results"]]
    assert codes == [["key_signed.missing"], ["signature_valid.unknown"]]


@pytest.mark.parametrize("weak", range(7))
def test_a_key_of_small_order_is_not_registered(contract: Signed, weak: int) -> None:
    """Of the point 1 a signature of zeros holds over anything: who registered it could be forged by all."""
    prime, eighth = 2**255 - 19, dsse._Y8
    y = [0, 1, prime - 1, eighth, prime - eighth, prime, prime + 1][weak]
    for sign_bit in (0, 1 << 255):
        der = bytes.fromhex("302a300506032b6570032100") + (y | sign_bit).to_bytes(32, "little")
        said = {"algorithm": "ed25519", "public_key": base64.b64encode(der).decode()}
        answer = contract.post(contract.event("key.registered", by=BY, **said))
        assert (answer.status_code, answer.json()["type"]) == (422, MALFORMED)


def test_a_large_event_may_be_signed_too(contract: Signed) -> None:
    """Base64 makes a third more of it than an unsigned event may be, with its white space."""
    text = "\U0001f600" * 160_000 + "\x01" * 40_000
    event = wire("policy.proposed", by=BY, contract=contract.contract, **activation(text))
    envelope = dsse.sign(event, ED25519)
    assert len(envelope["payload"]) > EVENT_BYTES_MAX + 65_536
    assert contract.post(envelope).json()["type"] == "/problems/malformed-policy"


def test_what_a_thief_of_api_keys_can_do_ends_where_a_signature_is_demanded(service: Service) -> None:
    """The operator makes API keys at will: without the party's own key they say nothing of weight."""
    contract = Signed(service).begin()
    own = Ed25519PrivateKey.generate()
    for event in (
        contract.granted(),
        contract.event("key.registered", by=BY, **data_of(own)),
        contract.event("key.retired", by=BY, fingerprint=mark_of(ED25519), reason="lost"),
    ):
        assert contract.post(event).json()["type"] == "/problems/denied"
        assert contract.post(dsse.sign(event, own)).status_code in (409, 422)
    assert contract.signed("license.granted", by=BY)["decision"]["outcome"] == "accepted"
