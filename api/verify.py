"""`chipledger verify`: what is held against what, and what came of it in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from api.console import many
from api.held import Held
from ledger.archive import BYTES_MAX, is_archive
from ledger.checkpoint import Checkpoint
from ledger.cosignature import cosignatures_in
from ledger.errors import UnusableInput, VerificationError
from ledger.export_file import LINE_BYTES_MAX
from ledger.folder import Folder
from ledger.note import Verifier, parse_note
from ledger.receipt import parse_receipt
from ledger.verified import Report
from ledger.verify import verify_export
from ledger.verify_held import Kept
from ledger.verify_tiles import verify_folder

Advance = Callable[[int, int], None]


def verify_file(path: Path, held: Held, advance: Advance) -> list[str]:
    """The words of an export, a folder of tiles or a bundle that holds.

    Raises VerificationError, UnusableInput or OSError.
    """
    verifier = Verifier.parse(held.key) if held.key is not None else None
    if path.is_file():
        with path.open("rb") as file:
            if is_archive(file.peek(4)):
                from api.bundle_check import verify_bundle

                return verify_bundle(file.read(2 * BYTES_MAX + 1), verifier, held)
    receipts = [parse_receipt(_read(one)) for one in held.receipts]
    if verifier is None and (held.checkpoints or path.is_dir()):
        raise UnusableInput("this needs the log's key: give --key, obtained elsewhere")
    kept = [Kept.parse(_read(one)) for one in held.checkpoints]
    notes = [one.note for one in kept]
    folder = Folder(path) if path.is_dir() else None
    if folder is not None and (own := folder.checkpoint()) is not None:
        notes.append(own)
    vouched = [*_cosigned(notes, held), *_stamped(notes, held)]
    if folder is not None:
        assert verifier is not None
        report = verify_folder(folder, verifier=verifier, receipts=receipts, kept=kept, progress=advance)
    else:
        with path.open("rb") as file:
            report = verify_export(file, verifier=verifier, receipts=receipts, kept=kept, progress=advance)
    return [*_words(report, tiles=folder is not None), *vouched]


def _cosigned(notes: Sequence[str], held: Held) -> list[str]:
    """Raise VerificationError unless enough witnesses have cosigned each checkpoint."""
    if held.witnesses is None:
        return []
    if not notes:
        raise UnusableInput("--witnesses asks for a cosigned checkpoint: give --checkpoint")
    from api.anchors import read_policy

    policy = read_policy(held.witnesses)
    words = []
    for note in notes:
        found = cosignatures_in(note, policy.witnesses.values())
        size = Checkpoint.parse(parse_note(note)[0]).size
        names = ", ".join(one.witness.name for one in found) or "nobody"
        if not policy.is_met_by({one.witness for one in found}):
            needed, of = policy.needed()
            raise VerificationError(
                f"the checkpoint of {size} entries is cosigned by {names}, which is not enough:"
                f" the policy asks for {needed} of {of}"
            )
        words.append(f"the checkpoint of {many(size, 'entry', 'entries')} is cosigned by {names}")
    return words


def _stamped(notes: Sequence[str], held: Held) -> list[str]:
    """Raise VerificationError unless each timestamp is of one of the checkpoints."""
    if not held.timestamps:
        if held.timestamp_roots is not None:
            raise UnusableInput("--timestamp-roots says whose timestamps count: give --timestamp")
        return []
    if held.timestamp_roots is None or not notes:
        raise UnusableInput("--timestamp needs --timestamp-roots, and the --checkpoint that it is of")
    from api.anchors import read_roots
    from ledger.timestamp import check_timestamp

    roots = read_roots(held.timestamp_roots)
    words = []
    for path in held.timestamps:
        token, failures = _read(path), []
        for note in notes:
            try:
                at = check_timestamp(token, note, roots)
            except VerificationError as error:
                failures.append(error)
                continue
            size = Checkpoint.parse(parse_note(note)[0]).size
            words.append(f"entries 0 to {size - 1:,} were there at {at:%Y-%m-%d %H:%M:%S} UTC")
            break
        else:
            raise failures[-1]
    return words


def _read(path: Path) -> bytes:
    """What is held against the log: nothing of it is large."""
    with path.open("rb") as file:
        raw = file.read(LINE_BYTES_MAX + 1)
    if len(raw) > LINE_BYTES_MAX:
        raise UnusableInput(f"{path} is longer than {LINE_BYTES_MAX} bytes")
    return raw


def _words(report: Report, *, tiles: bool = False) -> list[str]:
    whose = "the key you gave" if report.key_given else "the key that the file itself names"
    words = [
        f"OK {many(report.size, 'entry', 'entries')} of {many(report.contracts, 'contract', 'contracts')},"
        f" log {report.origin}",
        f"root {report.root.hex()}, signed by {whose}",
    ]
    if report.rotations:
        words.append(
            f"its checkpoint key was rotated {many(report.rotations, 'time', 'times')}: {report.key}"
        )
    if report.signatures:
        keys = many(report.signing_keys, "key", "keys")
        words.append(f"{many(report.signatures, 'signature', 'signatures')} of submitters hold, by {keys}")
    if report.signatures_unchecked and not tiles:
        words.append(f"{many(report.signatures_unchecked, 'signature', 'signatures')} could not be checked")
    if report.receipts:
        words.append(f"honours {many(report.receipts, 'receipt', 'receipts')}")
    if report.kept:
        words.append(f"continues {many(report.kept, 'checkpoint', 'checkpoints')} kept elsewhere")
    if report.erased:
        words.append(f"erased: {many(report.erased, 'body', 'bodies')}, as entries of the log say")
    if tiles:
        words.append(
            "headers and hashes: tiles hold no bodies, and what these say (keys, signatures, erasures) is not"
            " looked at here; the commitments to them stand"
        )
    elif report.withheld:
        first = ", ".join(map(str, report.withheld_first))
        more = " and more" if report.withheld > len(report.withheld_first) else ""
        bodies = many(report.withheld, "body", "bodies")
        words.append(
            f"withheld: {bodies}, whose commitments stand: of entries {first}{more}, and no entry says that"
            " they are erased"
        )
    remarks = () if tiles else report.warnings[:20]
    words += [f"remark: entry {remark.index}: {remark.what}" for remark in remarks]
    if not report.key_given:
        words.append(
            "This proves that the file is consistent in itself, and no more: give --key, obtained elsewhere."
        )
    return words
