"""`chipledger keys rotate` and `recover`: entry, head and key file, in an order that a crash may cut."""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from api.database import Logins
from api.places import store_of
from api.settings import Settings
from ledger import keys, rotation
from ledger.errors import UnusableInput
from ledger.note import Signer, Verifier
from ledger.reader import Reader
from policies.engine import Engine


@dataclass(frozen=True, slots=True)
class Rotated:
    key: Verifier
    """The new one."""
    kept: Path
    """Where the old key's file is now."""


def rotate(settings: Settings, logins: Logins) -> Rotated:
    """Make a new checkpoint key and put it in place of the old. Run again, it finishes what was begun.

    The new key is in a file before the log names it, and the old file goes once the log does. Raises
    RefusesToWrite if neither of them is the log's.
    """
    path, passphrase = _key_file(settings)
    old = keys.load(path, passphrase=passphrase, origin=settings.origin)
    new = keys.load_or_create(_following(path), origin=old.name, passphrase=passphrase)
    if asyncio.run(_key_of_log(logins.reader)) != str(new.verifier):
        store = store_of(settings, old)
        asyncio.run(rotation.rotate(logins.writer, judge=Engine(), old=old, new=new, store=store))
    return _in_place(path, _following(path), old, new)


def recover(settings: Settings, logins: Logins, *, reason: str, origin: str | None = None) -> Rotated:
    """Let a log that has lost its end go on under a new name, and put the key of that in place of the old.

    `origin`: the new name. Run again, it finishes what was begun. Raises UnusableInput where nothing is lost.
    """
    path, passphrase = _key_file(settings)
    old = keys.load(path, passphrase=passphrase)
    named = origin or f"{old.name}/recovered-{secrets.token_hex(4)}"
    following = path.with_name(f"{path.name}.recovered")
    # One that was begun has its name: to ask for another now would be a third log.
    new = keys.load_or_create(following, origin=None if following.exists() else named, passphrase=passphrase)
    if asyncio.run(_key_of_log(logins.reader)) != str(new.verifier):
        store = store_of(settings, old)
        asyncio.run(
            rotation.recover(logins.writer, judge=Engine(), old=old, new=new, store=store, reason=reason)
        )
    _following(path).unlink(missing_ok=True)  # of a rotation that was refused: it has the old name
    return _in_place(path, following, old, new)


def _key_file(settings: Settings) -> tuple[Path, bytes | None]:
    path, secret = settings.key_path, settings.key_passphrase
    if not path.exists():
        raise UnusableInput(f"there is no checkpoint key at {path}; name it or its home")
    return path, secret.get_secret_value().encode() if secret is not None else None


def _following(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _in_place(path: Path, following: Path, old: Signer, new: Signer) -> Rotated:
    kept = path.with_name(f"{path.name}.{old.verifier.key_id.hex()}")
    if not kept.exists():
        os.link(path, kept)
    following.replace(path)
    return Rotated(new.verifier, kept)


async def _key_of_log(reader_url: str) -> str:
    reader = Reader(reader_url)
    await reader.open()
    try:
        return (await reader.head()).verifier_key
    finally:
        await reader.close()
