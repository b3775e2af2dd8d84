"""The offline verifier on signatures: against the keys that the log registers, entry by entry."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.verify import _words
from ledger import dsse
from ledger.canonical import canonical
from ledger.verified import Report, Tampered
from ledger.verify import verify_export
from tests.ledger.sample_log import CONTRACTS, KEY, SIGNER, SUBMITTER, SampleLog, registration

CONTRACT, ELSEWHERE, _ = CONTRACTS
FURTHER, THEIRS = (
    ec.derive_private_key(7, ec.SECP256R1()),
    Ed25519PrivateKey.from_private_bytes(bytes([8] * 32)),
)
DENIED = b'{"outcome":"denied"}'


def mark(key: dsse.PrivateKey) -> str:
    return dsse.fingerprint_of(dsse.spelled(key.public_key()))


def event(kind: str = "license.granted", party: str = SUBMITTER, **data: Any) -> dict[str, Any]:
    return {"actor": {"party": party}, "data": data, "kind": kind, "version": 2}


def told(*, demands: bool = True) -> SampleLog:
    """A contract, and the key of one party: entries 1 and 2."""
    log = SampleLog()
    opened = event("contract.opened", **({} if demands else {"signed": []}))
    log.append(CONTRACT, canonical(opened))
    log.append(CONTRACT, canonical(registration()))
    return log


def report(log: SampleLog) -> Report:
    return verify_export(io.BytesIO(log.export()), verifier=SIGNER.verifier)


def refusal(log: SampleLog) -> Tampered:
    with pytest.raises(Tampered) as caught:
        report(log)
    return caught.value


# --- what holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("demands", [True, False])
def test_signatures_that_hold_are_counted_and_so_are_their_keys(demands: bool) -> None:
    log = told(demands=demands)
    log.append_signed(CONTRACT, event())
    log.append_signed(CONTRACT, registration(FURTHER))
    log.append_signed(CONTRACT, event(), KEY, FURTHER)
    found = report(log)
    assert (found.signatures, found.signing_keys, found.signatures_unchecked) == (4, 2, 0)
    assert "4 signatures of submitters hold, by 2 keys" in _words(found)


def test_what_an_amendment_demands_is_learned_of_a_contract_that_demanded_nothing() -> None:
    log = told(demands=False)
    log.append(CONTRACT, canonical(event()))
    log.append(CONTRACT, canonical(event("contract.amended", signed=["license.*"])))
    report(log)
    log.append(CONTRACT, canonical(event()))
    assert refusal(log).index == 5


def test_a_log_without_signatures_says_nothing_of_them() -> None:
    assert not any("signature" in line for line in _words(report(SampleLog.of(5))))


def test_a_key_signs_its_own_retirement_and_what_came_before_stays_signed() -> None:
    log = told()
    log.append_signed(CONTRACT, event())
    log.append_signed(CONTRACT, event("key.retired", fingerprint=mark(KEY)))
    assert report(log).signatures == 2
    log.append(CONTRACT, canonical(registration(FURTHER)))
    log.append_signed(CONTRACT, event(), FURTHER)
    assert report(log).signing_keys == 2


def test_a_refused_event_needs_no_key_that_is_known_and_in_use() -> None:
    log = told()
    log.append(CONTRACT, canonical(event()), DENIED)
    log.append_signed(CONTRACT, event(), THEIRS, decision=DENIED)
    log.append_signed(CONTRACT, event("key.retired", fingerprint=mark(KEY)))
    log.append_signed(CONTRACT, event(), decision=DENIED)
    found = report(log)
    assert (found.signatures, found.signatures_unchecked) == (2, 1)


def test_the_ledgers_own_events_are_not_signed() -> None:
    log = told()
    log.append(CONTRACT, canonical(event("license.expired", "_ledger")))
    report(log)


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_contract_does_not_demand_needs_no_signature(version: int) -> None:
    log = SampleLog()
    opened = event("contract.opened") if version == 1 else event("contract.opened", signed=["order.placed"])
    log.append(CONTRACT, canonical({**opened, "version": version}))
    log.append(CONTRACT, canonical(event()))
    report(log)


def test_a_contracts_demands_are_its_own() -> None:
    log = told()
    log.append(ELSEWHERE, canonical(event()))
    report(log)


# --- what does not --------------------------------------------------------------------------------


def resigned(log: SampleLog, signed: dict[str, Any], body: Callable[[dict[str, Any]], Any]) -> None:
    """Append an event with what `body` makes of its signatures."""
    envelope = dsse.Envelope.parse(dsse.sign(signed, KEY))
    value = {"payloadType": dsse.PAYLOAD_TYPE, "signatures": [s._asdict() for s in envelope.signatures]}
    log.append(CONTRACT, envelope.payload, signatures=canonical(body(value)))


def of_another_event(value: dict[str, Any]) -> dict[str, Any]:
    other = dsse.Envelope.parse(dsse.sign(event(number=2), KEY))
    return {**value, "signatures": [other.signatures[0]._asdict()]}


def retire(log: SampleLog, key: dsse.PrivateKey = KEY) -> None:
    log.append_signed(CONTRACT, event("key.retired", fingerprint=mark(key)))


def retired_before(log: SampleLog) -> None:
    retire(log)
    log.append_signed(CONTRACT, event())


def refused_registration(log: SampleLog) -> None:
    log.append_signed(CONTRACT, registration(FURTHER), decision=DENIED)
    log.append_signed(CONTRACT, event(), FURTHER)


def demanded_later(log: SampleLog) -> None:
    log.append(CONTRACT, canonical(event("order.placed")))
    log.append(CONTRACT, canonical(event("contract.amended", signed=["order.placed"])))
    log.append(CONTRACT, canonical(event("order.placed")))


FORGED: dict[str, tuple[Callable[[SampleLog], object], int, str]] = {
    "a demanded signature that is missing": (
        lambda log: log.append(CONTRACT, canonical(event())), 3, "is not signed, and its contract demands",
    ),
    "a demand of an amendment": (demanded_later, 5, "order.placed is not signed"),
    "a signature of another event": (
        lambda log: resigned(log, event(), of_another_event), 3, "does not hold over the event",
    ),
    "a body that is none": (lambda log: resigned(log, event(), lambda _: {}), 3, "no canonical object"),
    "no signature in the body": (
        lambda log: resigned(log, event(), lambda value: {**value, "signatures": []}), 3, "1 to 8",
    ),
    "a key of nobody": (lambda log: log.append_signed(CONTRACT, event(), THEIRS), 3, "no such key"),
    "a key of another party": (
        lambda log: log.append_signed(CONTRACT, event(party="dragon-dc")), 3, "by dragon-dc",
    ),
    "a key of another contract": (
        lambda log: log.append_signed(ELSEWHERE, event()), 3, "no such key in this contract",
    ),
    "a key that is retired": (retired_before, 4, "was retired by entry 3"),
    "a key whose registration was refused": (refused_registration, 4, "no such key"),
    "a foreign signature beside a good one": (
        lambda log: log.append_signed(CONTRACT, event(), KEY, THEIRS), 3, "no such key",
    ),
    "a further key that no key signs": (
        lambda log: log.append(CONTRACT, canonical(registration(THEIRS))), 3, "has a key in use",
    ),
    "a retirement that no key signs": (
        lambda log: log.append(CONTRACT, canonical(event("key.retired", fingerprint=mark(KEY)))), 3,
        "has a key in use",
    ),
    "a forged signature of a refused event": (
        lambda log: log.append(
            CONTRACT, canonical(event()), DENIED,
            signatures=dsse.Envelope.parse(dsse.sign(event(number=2), KEY)).body,
        ), 3, "does not hold",
    ),
    "a retirement of a key that is none": (
        lambda log: log.append_signed(CONTRACT, event("key.retired", fingerprint=mark(THEIRS))), 3,
        "had not registered",
    ),
    "a key that is none": (
        lambda log: log.append_signed(
            CONTRACT, event("key.registered", algorithm="ed25519", public_key="AA==")
        ), 3, "no SubjectPublicKeyInfo",
    ),
    "an event that is none": (
        lambda log: log.append(
            CONTRACT, b"[]", signatures=dsse.Envelope.parse(dsse.sign(event(), KEY)).body
        ), 3, "by nobody",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_log_that_its_own_operator_forged_is_found_and_located(name: str) -> None:
    """Every hash and the checkpoint are right: only the submitter's key is missing."""
    forge, index, words = FORGED[name]
    log = told()
    forge(log)
    log.append(ELSEWHERE, canonical(event("order.placed")))
    error = refusal(log)
    assert error.index == index, error
    assert words in error.what


# --- what is withheld -----------------------------------------------------------------------------


@pytest.mark.parametrize("withheld", ["event", "decision", "signatures"])
def test_what_is_withheld_cannot_be_checked_and_is_counted(withheld: str) -> None:
    log = told()
    log.append_signed(CONTRACT, event())
    log.append_signed(CONTRACT, event())
    log.withhold(3, withheld)
    found = report(log)
    assert (found.signatures, found.signatures_unchecked) == (1, 1)
    assert "1 signature could not be checked" in _words(found)


def test_where_a_key_may_be_withheld_nobody_is_called_a_forger() -> None:
    log = told()
    log.withhold(2, "event")
    log.append_signed(CONTRACT, event())
    assert report(log).signatures_unchecked == 1
    log.append_signed(ELSEWHERE, event())
    assert refusal(log).index == 4
