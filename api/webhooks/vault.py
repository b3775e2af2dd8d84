"""The secrets of the endpoints, sealed with a key that is kept in a file and not in the database."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import UnusableInput

KEY_BYTES = 32
_NONCE_BYTES = 12


class Vault:
    """AES-256-GCM. A secret is bound to its endpoint: in another's row it does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: bytes, endpoint: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, endpoint.encode())

    def open(self, sealed: bytes, endpoint: str) -> bytes:
        """Raises UnusableInput: it was sealed with another key, or for another endpoint."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], endpoint.encode())
        except (InvalidTag, ValueError):
            raise UnusableInput(
                f"the secret of endpoint {endpoint} does not open: webhooks.key is another key"
            ) from None

    def opens(self, sealed: bytes, endpoint: str) -> bool:
        """Whether `open` would."""
        try:
            self.open(sealed, endpoint)
        except UnusableInput:
            return False
        return True


def load_or_create(path: Path) -> Vault:
    """The vault of the key file at `path`, which is made if there is none, for its owner's eyes alone."""
    if not path.exists():
        _create(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UnusableInput(f"{path} is readable by others, must be readable by its owner alone")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise UnusableInput(f"{path} is {len(key)} bytes, must be {KEY_BYTES}")
    return Vault(key)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails where a rename would replace: of two processes that start at once, one wins.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
