"""The public keys with which parties sign what they say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ledger.dsse import Algorithm, fingerprint_of, public_key_of
from ledger.event import Event, Kind, Nature
from ledger.facts import Facts, Key, Signatory, SigningKey
from ledger.values import EVERY_ROLE, Sha256, Text


class KeyRegistered(Kind, kind="key.registered"):
    """The speaker will sign with this key, from the next entry on: nobody registers one for another.

    The first key of a party is taken on the word of its API key. Whoever has a key in use signs with one
    to register another.
    """

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
        public_key_of(self.public_key, self.algorithm)
        return self

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, hex."""
        return fingerprint_of(self.public_key)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield SigningKey.name, signing_key(event, self.fingerprint)
        yield Signatory.name, signatory(event)

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
        _count(event, facts, 1)


class KeyRetired(Kind, kind="key.retired"):
    """The speaker signs with this key no more, and signs that; what it signed before stays signed."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {"fingerprint": "8f" * 32, "reason": "rotated"}

    fingerprint: Sha256
    """Of a key of the speaker's own."""
    reason: Literal["rotated", "lost", "compromised", "ceased"]

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield SigningKey.name, signing_key(event, self.fingerprint)
        yield Signatory.name, signatory(event)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        key = facts.get(SigningKey, signing_key(event, self.fingerprint))
        if key is not None:
            facts.update(key, retired=index)
            _count(event, facts, -1)


def _count(event: Event, facts: Facts, more: int) -> None:
    known = facts.get(Signatory, signatory(event)) or Signatory(
        contract=event.contract, party=event.actor.party
    )
    facts.update(known, keys=known.keys + more)


def signing_key(event: Event, fingerprint: str) -> str:
    """The key (of the fact) of a signing key that the speaker may use."""
    return f"{event.contract}/{event.actor.party}/{fingerprint}"


def signatory(event: Event) -> str:
    """The key (of the fact) of what the speaker has registered."""
    return f"{event.contract}/{event.actor.party}"
