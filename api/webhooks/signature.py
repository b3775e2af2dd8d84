"""Signatures of Standard Webhooks (https://www.standardwebhooks.com): `v1` is HMAC-SHA256, `v1a` Ed25519.

What is signed is `<webhook-id>.<webhook-timestamp>.<body>`. Secrets are 32 bytes, spelled as the
specification prefixes them: whsec_ (symmetric), whsk_ and whpk_ (private and public key).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import UnusableInput, VerificationError

Scheme = Literal["v1", "v1a"]
SECRET_BYTES = 32
TOLERANCE_S = 300
"""How far a timestamp may be from the receiver's clock: what is older may be a replay."""


def shown(secret: bytes, scheme: Scheme) -> str:
    """What the receiver verifies with: the secret itself, or the public key of it."""
    if scheme == "v1":
        return f"whsec_{b64encode(secret).decode()}"
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return f"whpk_{b64encode(public).decode()}"


def sign(secrets: Sequence[bytes], scheme: Scheme, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each secret, parted by spaces.

    `timestamp`: seconds since 1970.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join(f"{scheme},{b64encode(_signature(one, scheme, signed)).decode()}" for one in secrets)


def _signature(secret: bytes, scheme: Scheme, signed: bytes) -> bytes:
    if scheme == "v1":
        return hmac.new(secret, signed, hashlib.sha256).digest()
    return Ed25519PrivateKey.from_private_bytes(secret).sign(signed)


class Receiving:
    """The receiver's side: `secret` as it was shown, whsec_ or whpk_ and base64. Raises UnusableInput."""

    def __init__(self, secret: str) -> None:
        prefix, _, encoded = secret.partition("_")
        try:
            self._secret = b64decode(encoded, validate=True)
        except ValueError:
            self._secret = b""
        if prefix not in ("whsec", "whpk") or len(self._secret) != SECRET_BYTES:
            raise UnusableInput("the secret is none of a webhook, must be whsec_ or whpk_ and base64")
        self._scheme: Scheme = "v1" if prefix == "whsec" else "v1a"

    def check(self, headers: Mapping[str, str], body: bytes, *, now: int) -> None:
        """Raise VerificationError unless one signature holds. Header names are in lower case."""
        message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            raise VerificationError("webhook-timestamp is missing, or no time")
        if abs(int(timestamp) - now) > TOLERANCE_S:
            raise VerificationError(f"webhook-timestamp is more than {TOLERANCE_S} s from the time here")
        signed = b"%b.%d.%b" % (message_id.encode("utf-8", "replace"), int(timestamp), body)
        for one in headers.get("webhook-signature", "").split(" "):
            scheme, _, signature = one.partition(",")
            if scheme == self._scheme and self._holds(signature, signed):
                return
        raise VerificationError("no signature is of this secret")

    def _holds(self, signature: str, signed: bytes) -> bool:
        try:
            given = b64decode(signature, validate=True)
            if self._scheme == "v1":
                return hmac.compare_digest(given, _signature(self._secret, "v1", signed))
            Ed25519PublicKey.from_public_bytes(self._secret).verify(given, signed)
        except (ValueError, InvalidSignature):
            return False
        return True
