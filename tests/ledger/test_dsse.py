"""Envelopes: the bytes that are signed, one spelling of everything, and other people's tools."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib import dsse as others
from securesystemslib.exceptions import VerificationError as TheirVerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from ledger import dsse
from ledger.canonical import canonical
from ledger.errors import MalformedEvent, UnusableInput, VerificationError
from ledger.event import submission_of
from tests.workbench import wire

ED25519 = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
P256 = ec.derive_private_key(7, ec.SECP256R1())
KEYS: dict[str, tuple[dsse.PrivateKey, ...]] = {
    "ed25519": (ED25519,), "ecdsa-p256": (P256,), "both": (ED25519, P256),
}  # fmt: skip
EVENT = {"kind": "lab.tested", "id": "7c0f7a56-2b6e-4f0c-9a44-5d1f0c3e8a01", "note": "№ 1"}


def theirs(key: dsse.PrivateKey) -> SSlibKey:
    """The key as securesystemslib knows it, under our name for it."""
    keyid = dsse.fingerprint_of(dsse.spelled(key.public_key()))
    return SSlibKey.from_crypto(key.public_key(), keyid=keyid)


def held(envelope: dict[str, Any], *keys: dsse.PrivateKey) -> list[bool]:
    """Which of the signatures hold, by these keys."""
    read = dsse.Envelope.parse(envelope)
    by = {dsse.fingerprint_of(dsse.spelled(key.public_key())): key.public_key() for key in keys}
    return [dsse.check(by[one.keyid], dsse.pae(read.payload), one.raw) for one in read.signatures]


# --- bytes ----------------------------------------------------------------------------------------


def test_the_encoding_is_that_of_the_specification() -> None:
    """The example of DSSE v1.0.2, protocol.md."""
    encoded = dsse.pae(b"hello world", "http://example.com/HelloWorld")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_what_is_signed_and_kept_is_fixed_to_the_byte() -> None:
    """The worked vector of FORMAT.md."""
    envelope = dsse.Envelope.parse(dsse.sign({"b": 1, "a": "№"}, ED25519))
    assert envelope.payload == '{"a":"№","b":1}'.encode()
    assert dsse.pae(envelope.payload) == (
        'DSSEv1 37 application/vnd.chipledger.event+json 17 {"a":"№","b":1}'.encode()
    )
    assert envelope.body == (
        b'{"payloadType":"application/vnd.chipledger.event+json","signatures":[{"keyid":'
        b'"fd110d301d2f077de1414b8f99f441b1403fab207b2052fbd2c065e4ee8e7dc2","sig":'
        b'"isLkfzBgek5j8jzXixwj1ZaQZmYitanwbearNZj2xZSB9F+WdjLXs1nU6QRgRt0TbOhmf2ONBEOCr17qsqpkAg=="}]}'
    )


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_a_signature_holds_over_its_event_and_no_other(keys: Sequence[dsse.PrivateKey]) -> None:
    envelope = dsse.sign(EVENT, *keys)
    assert held(envelope, *keys) == [True] * len(keys)
    other = dsse.Envelope.parse(envelope)._replace(payload=canonical({**EVENT, "note": "№ 2"}))
    assert held(other.value(), *keys) == [False] * len(keys)


def test_signing_an_envelope_adds_to_it() -> None:
    """An organisation and a device sign where each of them is."""
    first = dsse.sign(EVENT, ED25519)
    kept = copy.deepcopy(first)
    both = dsse.sign(first, P256)
    assert first == kept
    assert both["payload"] == first["payload"]
    assert both["signatures"][0] == first["signatures"][0]
    assert held(both, ED25519, P256) == [True, True]
    assert len(dsse.sign(both, ED25519)["signatures"]) == 2, "a key signs once"


def test_the_spelling_of_an_event_does_not_matter_to_who_signs_it() -> None:
    assert dsse.sign(EVENT, ED25519) == dsse.sign(dict(reversed(EVENT.items())), ED25519)


def test_what_is_no_event_of_ours_is_not_signed() -> None:
    with pytest.raises(UnusableInput, match="must be Ed25519, or ECDSA on P-256"):
        dsse.sign(EVENT, ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(UnusableInput, match="must be Ed25519, or ECDSA on P-256"):
        dsse.sign(EVENT, rsa.generate_private_key(65537, 2048))  # type: ignore[arg-type] # what is tested


# --- other people's tools -------------------------------------------------------------------------


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_securesystemslib_verifies_ours(keys: Sequence[dsse.PrivateKey]) -> None:
    envelope = others.Envelope.from_dict(copy.deepcopy(dsse.sign(EVENT, *keys)))
    verified = envelope.verify([theirs(key) for key in keys], len(keys))
    assert len(verified) == len(keys)
    envelope.payload += b" "
    with pytest.raises(TheirVerificationError):
        envelope.verify([theirs(key) for key in keys], 1)


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_ours_verifies_securesystemslibs(keys: Sequence[dsse.PrivateKey]) -> None:
    envelope = others.Envelope(canonical(wire("lab.tested")), dsse.PAYLOAD_TYPE, {})
    for key in keys:
        envelope.sign(CryptoSigner(key, theirs(key)))
    sent = json.loads(json.dumps(envelope.to_dict()))
    assert held(sent, *keys) == [True] * len(keys)
    submission = submission_of(sent)
    assert submission.event.signed_by == tuple(theirs(key).keyid for key in keys)
    assert submission.body == envelope.payload


# --- one spelling ---------------------------------------------------------------------------------


def test_an_envelope_is_its_payload_and_the_rest_of_it() -> None:
    envelope = dsse.Envelope.parse(dsse.sign(EVENT, ED25519, P256))
    assert dsse.Envelope.committed(envelope.payload, envelope.body) == envelope


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body + b" ",
        lambda body: body.replace(b"event+json", b"event+yaml"),
        lambda body: body.replace(b'"signatures":[{', b'"signatures":[{"more":1,'),
        lambda body: b"[]",
        lambda body: b"{}",
        lambda body: b"no JSON",
        lambda body: b'{"payloadType":"application/vnd.chipledger.event+json","signatures":[]}',
    ],
)
def test_what_is_no_body_of_signatures_is_refused(change: Any) -> None:
    envelope = dsse.Envelope.parse(dsse.sign(EVENT, ED25519))
    with pytest.raises(VerificationError, match="signatures"):
        dsse.Envelope.committed(envelope.payload, change(envelope.body))


@given(st.binary(min_size=1, max_size=80), st.booleans())
def test_bytes_have_one_spelling_in_each_alphabet(raw: bytes, urlsafe: bool) -> None:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(raw).decode()
    assert dsse._decoded(text) == raw
    for other in (text + "=", text.rstrip("=") + " ", f"{text}\n", text[:-1]):
        with pytest.raises(ValueError, match="base64"):
            dsse._decoded(other)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_whatever_breaks_the_door(value: Any) -> None:
    with pytest.raises(MalformedEvent):
        submission_of({"payloadType": dsse.PAYLOAD_TYPE, "payload": value, "signatures": value})
