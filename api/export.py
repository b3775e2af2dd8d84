"""`chipledger export` and `chipledger verify`: files in and out around the pure parts."""

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
from ledger.note import Verifier
from ledger.reader import Reader
from ledger.receipt import Receipt
from ledger.verify import Report, verify_export

Advance = Callable[[int, int], None]


async def export_to(path: Path, settings: Settings, logins: Logins, advance: Advance) -> int:
    """Write the log as it stands to `path`, or `-`; gives the number of entries."""
    if not settings.key_path.exists():
        raise UnusableInput(f"there is no checkpoint key at {settings.key_path}; name it or its home")
    passphrase = settings.key_passphrase
    signer = keys.load(
        settings.key_path,
        passphrase=passphrase.get_secret_value().encode() if passphrase is not None else None,
    )
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


def verify_file(path: Path, *, key: str | None, receipts: Sequence[Path], advance: Advance) -> list[str]:
    """The words of an export that holds. Raises VerificationError, UnusableInput or OSError."""
    verifier = Verifier.parse(key) if key is not None else None
    held = [Receipt.parse(one.read_bytes()) for one in receipts]
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
