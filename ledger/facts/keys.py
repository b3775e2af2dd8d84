"""The public keys with which parties sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey(Fact):
    """A key that a party has registered for itself, in one contract: its chain alone proves whose it is.

    Two parties may register the same key; a signature is looked up by who speaks, so neither gains by it.
    """

    name: ClassVar[str] = "signing_key"
    contract: str
    party: str
    fingerprint: str
    """SHA-256 of the SubjectPublicKeyInfo (DER), hex."""
    algorithm: Literal["ed25519", "ecdsa-p256"]
    public_key: str
    """SubjectPublicKeyInfo (DER), base64."""
    registered: int
    """Index of the entry."""
    retired: int | None = None

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.party}/{self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory(Fact):
    """A party that has registered keys in one contract."""

    name: ClassVar[str] = "signatory"
    contract: str
    party: str
    keys: int = 0
    """How many of them are in use."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.party}"
