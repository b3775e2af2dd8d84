"""The checkpoint key in its file: made once, readable by its owner alone.

The file is a PKCS #8 PEM, encrypted where a passphrase is given, under a line that names the origin.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.errors import UnusableInput
from ledger.note import Signer

_TITLE = re.compile(r"chipledger checkpoint key of (\S+)\n")


def load_or_create(path: Path, *, origin: str | None, passphrase: bytes | None) -> Signer:
    """The signer of the key file at `path`, which is made if there is none.

    `origin` names a new log, by default with a random suffix: no two logs may share a name.
    """
    if not path.exists():
        _create(path, origin or f"chipledger.local/{secrets.token_hex(4)}", passphrase)
    return load(path, passphrase=passphrase, origin=origin)


def load(path: Path, *, passphrase: bytes | None, origin: str | None = None) -> Signer:
    """Raises UnusableInput if the file is not such a key, or open to others, or of another origin."""
    check_private(path)
    text = path.read_bytes()
    title = _TITLE.match(text.decode("ascii", "replace"))
    if title is None:
        raise UnusableInput(f"{path} is not a checkpoint key of chipledger")
    if origin and origin != title[1]:
        raise UnusableInput(f"the key in {path} is of origin {title[1]}, must be of {origin}")
    try:
        key = serialization.load_pem_private_key(text[title.end() :], passphrase or None)
    except (ValueError, TypeError) as error:
        raise UnusableInput(f"the key in {path} cannot be opened: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableInput(f"the key in {path} is not an Ed25519 key")
    return Signer(title[1], key)


def _create(path: Path, origin: str, passphrase: bytes | None) -> None:
    signer_key = Ed25519PrivateKey.generate()
    Signer(origin, signer_key)  # refuses an origin that no checkpoint can carry
    # Of two processes that start at once, one wins.
    keep(path, f"chipledger checkpoint key of {origin}\n".encode() + pem_of(signer_key, passphrase))


def pem_of(key: Ed25519PrivateKey | EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    """PKCS #8, encrypted where a passphrase is given."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def check_private(path: Path) -> None:
    """Raises UnusableInput if others may read the file."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UnusableInput(f"{path} is readable by others, must be readable by its owner alone")


def keep(path: Path, content: bytes) -> bool:
    """Write a new file for its owner alone, whole or not at all. False: there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # a link fails where a rename would replace
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
