"""`chipledger export`, `receipt` and `verify`: files in and out around the pure parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from api.database import Logins
from api.settings import Settings
from ledger import export, keys
from ledger.checkpoint import Checkpoint, sign
from ledger.errors import UnusableInput
from ledger.folder import Folder
from ledger.note import Signer, Verifier
from ledger.reader import Reader
from ledger.receipt import Receipt, parse_receipt
from ledger.verify import Report, verify_export
from ledger.verify_tiles import verify_folder

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


async def export_to(path: Path, settings: Settings, logins: Logins, advance: Advance) -> int:
    """Write the log as it stands to `path`, or `-`; gives the number of entries."""
    signer = signer_of(settings)
    reader = Reader(logins.reader)
    await reader.open()
    try:
        head = await reader.head()
        checkpoint = sign(Checkpoint(head.origin, head.size, head.root), signer)
        to_stdout = str(path) == "-"
        with nullcontext(sys.stdout.buffer) if to_stdout else path.open("wb") as file:
            async with reader.stream(size=head.size) as entries:
                written = await export.write(
                    entries, checkpoint=checkpoint, verifier=signer.verifier, to=file, progress=advance
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
        head = await reader.head()
        stored = await reader.entry(index)
        proof = await reader.prove_inclusion(index, head.size)
        checkpoint = sign(Checkpoint(head.origin, head.size, head.root), signer)
        return Receipt.of(stored.entry, tree_size=head.size, hashes=proof, checkpoint=checkpoint)
    finally:
        await reader.close()


def verify_file(path: Path, *, key: str | None, receipts: Sequence[Path], advance: Advance) -> list[str]:
    """The words of an export, or a folder of tiles, that holds. Raises VerificationError, UnusableInput
    or OSError."""
    verifier = Verifier.parse(key) if key is not None else None
    held = [parse_receipt(one.read_bytes()) for one in receipts]
    if path.is_dir():
        if verifier is None:
            raise UnusableInput("a folder of tiles does not show its key: give --key, obtained elsewhere")
        return _words(verify_folder(Folder(path), verifier=verifier, receipts=held, progress=advance))
    with path.open("rb") as file:
        report = verify_export(file, verifier=verifier, receipts=held, progress=advance)
    return _words(report)


def _words(report: Report) -> list[str]:
    whose = "the key you gave" if report.key_given else "the key that the file itself names"
    words = [
        f"OK {_many(report.size, 'entry', 'entries')} of {_many(report.contracts, 'contract', 'contracts')},"
        f" log {report.origin}",
        f"root {report.root.hex()}, signed by {whose}",
    ]
    if report.receipts:
        words.append(f"honours {_many(report.receipts, 'receipt', 'receipts')}")
    if report.withheld:
        words.append(f"withheld: {_many(report.withheld, 'body', 'bodies')}, whose commitments stand")
    words += [f"remark: entry {remark.index}: {remark.what}" for remark in report.warnings[:20]]
    if not report.key_given:
        words.append(
            "This proves that the file is consistent in itself, and no more: give --key, obtained elsewhere."
        )
    return words


def _many(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"
