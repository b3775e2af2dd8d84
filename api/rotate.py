"""`chipledger keys rotate`: entry, head and key file, in an order that a crash may cut anywhere."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from api.database import Logins
from api.settings import Settings
from ledger import keys, rotation
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import UnusableInput
from ledger.note import Verifier
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
    path, secret = settings.key_path, settings.key_passphrase
    if not path.exists():
        raise UnusableInput(f"there is no checkpoint key at {path}; name it or its home")
    passphrase = secret.get_secret_value().encode() if secret is not None else None
    old = keys.load(path, passphrase=passphrase, origin=settings.origin)
    following = path.with_name(f"{path.name}.next")
    new = keys.load_or_create(following, origin=old.name, passphrase=passphrase)
    if asyncio.run(_key_of_log(logins.reader)) != str(new.verifier):
        store = CheckpointStore(settings.store_path, old.name)
        asyncio.run(rotation.rotate(logins.writer, judge=Engine(), old=old, new=new, store=store))
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
