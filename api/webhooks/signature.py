"""Signatures of Standard Webhooks (https://www.standardwebhooks.com): `v1` is HMAC-SHA256, `v1a` Ed25519.

What is signed is `<webhook-id>.<webhook-timestamp>.<body>`. Secrets are 32 bytes, spelled as the
specification prefixes them: whsec_ (symmetric), whsk_ and whpk_ (private and public key).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Scheme = Literal["v1", "v1a"]
SECRET_BYTES = 32


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
