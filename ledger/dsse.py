"""DSSE v1.0.2 envelopes over events: what a submitter signs, sends and keeps (`ledger/FORMAT.md`).

    from ledger import dsse
    envelope = dsse.sign(event, private_key)      # POST it in place of the event

What is signed is PAE(payload type, payload), and the payload is the canonical form of the event. A key is
named by its fingerprint. Ed25519 (RFC 8032), and ECDSA on P-256 with SHA-256, in DER (FIPS 186-5).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, Final, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from ledger.canonical import canonical, encode, parse
from ledger.errors import Fault, MalformedEvent, MalformedInput, UnusableInput, VerificationError

PAYLOAD_TYPE: Final = "application/vnd.chipledger.event+json"
SIGNATURES_MAX: Final = 8
"""Of one event: an organisation's, a device's, and some to spare. Each costs 0.2 ms to check."""
SIGNATURE_CHARACTERS_MAX: Final = 100
"""Base64 of 72 bytes, the longest DER signature on P-256, is 96."""

Algorithm = Literal["ed25519", "ecdsa-p256"]
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey

_P: Final = 2**255 - 19
_Y8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
"""The y coordinate of a point of order 8; that of the others is its negative."""
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})
_KEYS = frozenset({"payload", "payloadType", "signatures"})


# --- keys -----------------------------------------------------------------------------------------


def public_key_of(spelled: str, algorithm: str) -> PublicKey:
    """The key of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7; DER, base64). ValueError if it is not one.

    One key has one spelling: what the library would write otherwise is refused, so that a
    fingerprint names one key and a key has one fingerprint.
    """
    try:
        der = base64.b64decode(spelled, validate=True)
        key = load_der_public_key(der)
        written = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("public_key is no SubjectPublicKeyInfo (DER) in base64") from None
    if written != der or base64.b64encode(der).decode() != spelled:
        raise ValueError("public_key is not in its one spelling: DER, uncompressed point, padded base64")
    if algorithm == "ed25519" and isinstance(key, Ed25519PublicKey):
        _check_order(key)
        return key
    if algorithm == "ecdsa-p256" and isinstance(key, EllipticCurvePublicKey) and _is_p256(key):
        return key
    raise ValueError(f"public_key is no key of {algorithm}")


def _check_order(key: Ed25519PublicKey) -> None:
    """A point of small order verifies what nobody has signed, and OpenSSL lets it (RFC 8032 §8.8)."""
    y = int.from_bytes(key.public_bytes_raw(), "little") & (2**255 - 1)
    if y >= _P or y in _SMALL_ORDER:
        raise ValueError("public_key is a point of small order, or not in its one spelling")


def _is_p256(key: EllipticCurvePublicKey | EllipticCurvePrivateKey) -> bool:
    return isinstance(key.curve, SECP256R1)


def algorithm_of(key: PublicKey | PrivateKey) -> Algorithm:
    """Raises UnusableInput for a key of another curve."""
    if isinstance(key, Ed25519PublicKey | Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, EllipticCurvePublicKey | EllipticCurvePrivateKey) and _is_p256(key):
        return "ecdsa-p256"
    raise UnusableInput("the key is of another kind, must be Ed25519, or ECDSA on P-256")


def spelled(key: PublicKey) -> str:
    """SubjectPublicKeyInfo (DER), base64: the `public_key` of `key.registered`."""
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def fingerprint_of(public_key: str) -> str:
    """SHA-256 of the SubjectPublicKeyInfo (DER), hex: the `keyid` of a signature."""
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()


# --- signing and checking -------------------------------------------------------------------------


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The pre-authentication encoding: the very bytes that are signed (DSSE v1.0.2, protocol)."""
    type_ = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(type_), type_, len(payload), payload)


def sign(event: dict[str, Any], *keys: PrivateKey) -> dict[str, Any]:
    """The envelope of an event, signed by each key; given an envelope, the one with their signatures too.

    Raises MalformedInput if the event is no strict JSON, UnusableInput for a key of another kind.
    """
    envelope = Envelope.parse(event) if is_envelope(event) else Envelope(canonical(event), ())
    message = pae(envelope.payload)
    made = []
    for key in keys:
        ecdsa = algorithm_of(key) == "ecdsa-p256"
        raw = key.sign(message, ECDSA(SHA256())) if ecdsa else key.sign(message)  # type: ignore[call-arg] # by its kind
        keyid = fingerprint_of(spelled(key.public_key()))
        made.append(Signature(keyid, base64.b64encode(raw).decode()))
    signatures = {signature.keyid: signature for signature in (*envelope.signatures, *made)}
    return Envelope(envelope.payload, tuple(signatures.values())).value()


def check(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the key's over `message`, which is a `pae`."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


# --- envelopes ------------------------------------------------------------------------------------


class Signature(NamedTuple):
    keyid: str
    """Fingerprint of the key."""
    sig: str
    """Base64 of either alphabet, as it was sent."""

    @property
    def raw(self) -> bytes:
        return _decoded(self.sig)


class Envelope(NamedTuple):
    """An event as it is signed: its canonical bytes, and signatures over them; none of them checked."""

    payload: bytes
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, value: Any) -> Envelope:
        """The envelope of a JSON value. Raises MalformedEvent, with a pointer to each fault."""
        if value.keys() != _KEYS:
            raise MalformedEvent(Fault("", f"an envelope has exactly {', '.join(sorted(_KEYS))}"))
        if value["payloadType"] != PAYLOAD_TYPE:
            raise MalformedEvent(Fault("/payloadType", f"must be {PAYLOAD_TYPE}"))
        try:
            payload = _decoded(value["payload"])
        except ValueError as error:
            raise MalformedEvent(Fault("/payload", str(error))) from None
        return cls(payload, _signatures(value["signatures"]))

    @classmethod
    def committed(cls, payload: bytes, body: bytes) -> Envelope:
        """The envelope of an entry's `event` and `signatures`. Raises VerificationError."""
        try:
            value = parse(body)
            if canonical(value) != body or value.keys() != _KEYS - {"payload"}:
                raise VerificationError("the signatures are no canonical object of payloadType, signatures")
            if value["payloadType"] != PAYLOAD_TYPE:
                raise VerificationError(f"payloadType of the signatures must be {PAYLOAD_TYPE}")
            return cls(payload, _signatures(value["signatures"]))
        except (MalformedInput, AttributeError) as error:
            raise VerificationError(f"the signatures cannot be read: {error}") from None

    @property
    def body(self) -> bytes:
        """What is kept beside the event: the envelope without its payload, canonical."""
        return encode({"payloadType": PAYLOAD_TYPE, "signatures": [s._asdict() for s in self.signatures]})

    @property
    def keyids(self) -> tuple[str, ...]:
        return tuple(signature.keyid for signature in self.signatures)

    def value(self) -> dict[str, Any]:
        """Its JSON."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [signature._asdict() for signature in self.signatures],
        }


def is_envelope(value: object) -> bool:
    """Whether a JSON value means to be an envelope: no event has this member."""
    return isinstance(value, dict) and "payloadType" in value


def _signatures(value: Any) -> tuple[Signature, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= SIGNATURES_MAX:
        raise MalformedEvent(Fault("/signatures", f"must be a list of 1 to {SIGNATURES_MAX} signatures"))
    faults: list[Fault] = []
    seen: set[str] = set()
    for number, signature in enumerate(value):
        faults += _faults_of(signature, f"/signatures/{number}", seen)
    if faults:
        raise MalformedEvent(*faults)
    return tuple(Signature(one["keyid"], one["sig"]) for one in value)


def _faults_of(signature: Any, pointer: str, seen: set[str]) -> list[Fault]:
    if not isinstance(signature, dict) or signature.keys() != {"keyid", "sig"}:
        return [Fault(pointer, "a signature is an object of keyid and sig")]
    keyid, sig = signature["keyid"], signature["sig"]
    faults = []
    if not isinstance(keyid, str) or len(keyid) != 64 or not set(keyid) <= set("0123456789abcdef"):
        words = "must be the key's fingerprint: SHA-256 of its SubjectPublicKeyInfo (DER), hex"
        faults.append(Fault(f"{pointer}/keyid", words))
    elif keyid in seen:
        faults.append(Fault(f"{pointer}/keyid", "is of a signature before: a key signs once"))
    else:
        seen.add(keyid)
    if isinstance(sig, str) and len(sig) > SIGNATURE_CHARACTERS_MAX:
        words = f"is {len(sig)} characters, must be at most {SIGNATURE_CHARACTERS_MAX}"
        return [*faults, Fault(f"{pointer}/sig", words)]
    try:
        _decoded(sig)
    except ValueError as error:
        faults.append(Fault(f"{pointer}/sig", str(error)))
    return faults


def _decoded(text: Any) -> bytes:
    """Padded base64 of either alphabet (RFC 4648 §4, §5), which DSSE asks for, in its one spelling."""
    if not isinstance(text, str) or not text:
        raise ValueError("must be base64")
    standard = text.replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(standard.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("must be base64, padded") from None
    # Python drops the unused bits of the last character, and so would read two texts as one.
    if base64.b64encode(raw).decode() != standard or (("+" in text or "/" in text) and standard != text):
        raise ValueError("must be base64 in its one spelling, of one alphabet")
    return raw
