"""The public keys with which parties sign what they say."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pydantic import Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import Facts, Key, SigningKey
from ledger.values import EVERY_ROLE, Sha256, Text

Algorithm = Literal["ed25519", "ecdsa-p256"]


def key_of(public_key: str, algorithm: Algorithm) -> Ed25519PublicKey | EllipticCurvePublicKey:
    """The key of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7; DER, base64). ValueError if it is not one.

    One key has one spelling: what the library would write otherwise is refused, so that a
    fingerprint names one key and a key has one fingerprint.
    """
    try:
        der = base64.b64decode(public_key, validate=True)
        key = load_der_public_key(der)
        written = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("public_key is no SubjectPublicKeyInfo (DER) in base64") from None
    if written != der or base64.b64encode(der).decode() != public_key:
        raise ValueError("public_key is not in its one spelling: DER, uncompressed point, padded base64")
    if algorithm == "ed25519" and isinstance(key, Ed25519PublicKey):
        return key
    if algorithm == "ecdsa-p256" and isinstance(key, EllipticCurvePublicKey) and _is_p256(key):
        return key
    raise ValueError(f"public_key is no key of {algorithm}")


def _is_p256(key: EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, SECP256R1)


class KeyRegistered(Kind, kind="key.registered"):
    """The speaker will sign with this key, from the next entry on: nobody registers one for another."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "algorithm": "ed25519",
        "public_key": "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=",
        "custody": "hardware module, export department",
    }

    algorithm: Algorithm
    public_key: Annotated[str, Field(min_length=4, max_length=400, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
    """SubjectPublicKeyInfo (DER), base64."""
    custody: Text | None = None
    """Where the private key is kept."""

    @model_validator(mode="after")
    def _is_a_key(self) -> Self:
        key_of(self.public_key, self.algorithm)
        return self

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, hex."""
        return hashlib.sha256(base64.b64decode(self.public_key)).hexdigest()

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield SigningKey.name, signing_key(event, self.fingerprint)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(
            SigningKey(
                contract=event.contract,
                party=event.actor.party,
                fingerprint=self.fingerprint,
                algorithm=self.algorithm,
                public_key=self.public_key,
                registered=index,
            )
        )


class KeyRetired(Kind, kind="key.retired"):
    """The speaker signs with this key no more; what it signed before stays signed."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {"fingerprint": "8f" * 32, "reason": "rotated"}

    fingerprint: Sha256
    """Of a key of the speaker's own."""
    reason: Literal["rotated", "lost", "compromised", "ceased"]

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield SigningKey.name, signing_key(event, self.fingerprint)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        key = facts.get(SigningKey, signing_key(event, self.fingerprint))
        if key is not None:
            facts.update(key, retired=index)


def signing_key(event: Event, fingerprint: str) -> str:
    """The key (of the fact) of a signing key that the speaker may use."""
    return f"{event.contract}/{event.actor.party}/{fingerprint}"
