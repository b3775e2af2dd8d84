"""`chipledger export` and `receipt`: the log out of the database, signed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from api.database import Logins
from api.places import store_of
from api.settings import Settings
from ledger import export, keys
from ledger.errors import UnusableInput
from ledger.note import Signer
from ledger.publisher import head_to_sign
from ledger.reader import Reader
from ledger.receipt import Receipt
from ledger.withheld import Withheld

Advance = Callable[[int, int], None]


def signer_of(settings: Settings) -> Signer:
    """The checkpoint key, which must be there already."""
    if not settings.key_path.exists():
        raise UnusableInput(f"there is no checkpoint key at {settings.key_path}; name it or its home")
    passphrase = settings.key_passphrase
    return keys.load(
        settings.key_path,
        passphrase=passphrase.get_secret_value().encode() if passphrase is not None else None,
    )


async def export_to(
    path: Path, settings: Settings, logins: Logins, advance: Advance, withholds: Sequence[str] = ()
) -> int:
    """Write the log as it stands to `path`, or `-`, without what it `withholds`; gives the number of
    entries."""
    withheld = Withheld(withholds)
    signer = signer_of(settings)
    reader = Reader(logins.reader)
    await reader.open()
    try:
        head = await head_to_sign(reader, signer, store_of(settings, signer))
        checkpoint = head.checkpoint(signer)
        to_stdout = str(path) == "-"
        with nullcontext(sys.stdout.buffer) if to_stdout else path.open("wb") as file:
            async with reader.stream(size=head.size) as entries:
                written = await export.write(
                    entries,
                    checkpoint=checkpoint,
                    verifier=signer.verifier,
                    to=file,
                    progress=advance,
                    withheld=withheld,
                )
    finally:
        await reader.close()
    return written.size


async def receipt_for(index: int, settings: Settings, logins: Logins) -> Receipt:
    """The receipt of an entry under the checkpoint of now. NotFound if there is no such entry."""
    signer = signer_of(settings)
    reader = Reader(logins.reader)
    await reader.open()
    try:
        head = await head_to_sign(reader, signer, store_of(settings, signer))
        stored = await reader.entry(index)
        proof = await reader.prove_inclusion(index, head.size)
        checkpoint = head.checkpoint(signer)
        return Receipt.of(stored.entry, tree_size=head.size, hashes=proof, checkpoint=checkpoint)
    finally:
        await reader.close()
