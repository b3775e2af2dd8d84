"""`chipledger sign` and `chipledger keys generate`: a submitter's own keys, in files, and what they sign."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from api.submit import EVENT_BODY_BYTES_MAX
from ledger import dsse, keys
from ledger.canonical import encode, parse
from ledger.errors import UnusableInput
from ledger.event import submission_of


def generate(path: Path, algorithm: str, *, passphrase: bytes | None) -> dict[str, str]:
    """Make a key in a new file, for its owner alone (PKCS #8, PEM); gives the data of its key.registered."""
    key: dsse.PrivateKey
    if algorithm == "ed25519":
        key = Ed25519PrivateKey.generate()
    elif algorithm == "ecdsa-p256":
        key = generate_private_key(SECP256R1())
    else:
        raise UnusableInput(f"algorithm is {algorithm}, must be ed25519 or ecdsa-p256")
    if not keys.keep(path, keys.pem_of(key, passphrase)):
        raise UnusableInput(f"{path} is there already, and no key is written over")
    return {"algorithm": algorithm, "public_key": dsse.spelled(key.public_key())}


def load(path: Path, *, passphrase: bytes | None) -> dsse.PrivateKey:
    """Raises UnusableInput if the file is not such a key, or open to others."""
    keys.check_private(path)
    try:
        key: Any = load_pem_private_key(path.read_bytes(), passphrase or None)
    except (ValueError, TypeError) as error:
        raise UnusableInput(f"the key in {path} cannot be opened: {error}") from None
    dsse.algorithm_of(key)
    return key  # type: ignore[no-any-return] # of one of the two kinds, or it would have been refused


def sign_file(event: Path, by: Sequence[dsse.PrivateKey]) -> bytes:
    """The envelope of the event in a file, or on standard input (`-`), ready to be posted.

    An envelope gets the further signatures. Raises MalformedInput for what the service would not take.
    """
    raw = sys.stdin.buffer.read(EVENT_BODY_BYTES_MAX + 1) if str(event) == "-" else event.read_bytes()
    if len(raw) > EVENT_BODY_BYTES_MAX:
        raise UnusableInput(f"the event is longer than {EVENT_BODY_BYTES_MAX} bytes")
    value = parse(raw)
    submission_of(value)  # a signature over what is no event is one too many
    return encode(dsse.sign(value, *by))
