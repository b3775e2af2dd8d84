"""`chipledger verify` of an evidence bundle: what the log vouches for, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from api.anchors import read_policy, read_roots
from api.console import many
from api.held import Held
from ledger.checkpoint import Checkpoint
from ledger.cosignature import cosignatures_in
from ledger.errors import UnusableInput, VerificationError
from ledger.note import Verifier, parse_note
from ledger.verify_bundle import Bundle, open_bundle
from policies.dossier import asked_in_words, page, shown_whole
from policies.recheck import recheck_all

REMARKS_MAX = 20


def verify_bundle(raw: bytes, verifier: Verifier | None, held: Held) -> list[str]:
    """The words of a bundle that holds. Raises VerificationError, UnusableInput or OSError."""
    if held.receipts or held.checkpoints or held.timestamps:
        raise UnusableInput(
            "receipts, checkpoints and timestamps are held against an export: a bundle has only some entries "
            "of the log, and brings checkpoints and timestamps of its own"
        )
    bundle = open_bundle(raw, verifier=verifier)
    found = recheck_all(bundle.decisions, bundle.events)
    if found.faults:
        more = f", and {len(found.faults) - 1} faults more" if len(found.faults) > 1 else ""
        raise VerificationError(f"a decision does not follow from what it records: {found.faults[0]}{more}")
    whose = "the key you gave" if bundle.key_given else "the key that the bundle itself names"
    checkpoint = bundle.checkpoint
    entries = many(len(bundle.entries), "entry", "entries")
    words = [
        f"OK {entries} of log {checkpoint.origin}: {asked_in_words(bundle.asked)}",
        f"root {checkpoint.root.hex()} of {checkpoint.size:,} entries, signed by {whose}",
        shown_whole(bundle),
        f"rechecked: {found.compared:,} comparisons follow from their numbers",
    ]
    if found.uncompared:
        words.append(f"not shown by numbers alone: {', '.join(sorted(found.uncompared))}")
    if bundle.signatures:
        words.append(f"signed: {many(bundle.signatures, 'signature', 'signatures')} of submitters hold")
    if bundle.signatures_unchecked:
        unchecked = many(bundle.signatures_unchecked, "signature", "signatures")
        words.append(f"signed: {unchecked} cannot be checked here")
    if bundle.withheld:
        words.append(f"withheld: {many(bundle.withheld, 'body', 'bodies')}, whose commitments stand")
    if bundle.erased:
        words.append(f"erased: {many(bundle.erased, 'body', 'bodies')}, as the log says")
    words += (*_cosigned(bundle, held), *_stamped(bundle, held))
    words += [f"remark: {remark}" for remark in (*bundle.remarks, *_of_page(bundle))[:REMARKS_MAX]]
    if not bundle.key_given:
        words.append(
            "This proves that the bundle is consistent in itself, and no more: "
            "give --key, obtained elsewhere."
        )
    return words


def _cosigned(bundle: Bundle, held: Held) -> Iterator[str]:
    """Raise VerificationError unless enough witnesses have cosigned a checkpoint of the bundle."""
    if held.witnesses is None:
        return
    policy = read_policy(held.witnesses)
    best: tuple[int, str] | None = None
    for note in (bundle.note, *(anchor.note for anchor in bundle.anchors)):
        found = cosignatures_in(note, policy.witnesses.values())
        if policy.is_met_by({one.witness for one in found}):
            names = ", ".join(one.witness.name for one in found) or "nobody, as the policy allows"
            best = max(best or (0, ""), (_size(note), names))
    if best is None:
        raise VerificationError("no checkpoint of the bundle is cosigned by as many as the policy asks for")
    size, names = best
    beyond = sum(entry.header.index >= size for entry in bundle.entries)
    yield f"entries below {size:,} are cosigned by {names}" + (f", {beyond:,} are not" if beyond else "")


def _stamped(bundle: Bundle, held: Held) -> Iterator[str]:
    """Raise VerificationError unless each timestamp is of its checkpoint."""
    tokens = [(anchor.note, anchor.token) for anchor in bundle.anchors if anchor.token is not None]
    if held.timestamp_roots is None:
        if tokens:
            yield f"remark: {len(tokens)} timestamps were not checked: give --timestamp-roots"
        return
    from ledger.timestamp import check_timestamp

    roots = read_roots(held.timestamp_roots)
    for note, token in tokens:
        at = check_timestamp(token, note, roots)
        yield f"entries below {_size(note):,} were there at {at:%Y-%m-%d %H:%M:%S} UTC"
    if not tokens:
        yield "remark: no timestamp is in the bundle"


def _size(note: str) -> int:
    return Checkpoint.parse(parse_note(note)[0]).size


def _of_page(bundle: Bundle) -> Sequence[str]:
    """The page is not proven: it can be made again, and compared."""
    try:
        same = page(bundle) == bundle.page
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return ("the entries are none that this version can put into words; index.html was not checked",)
    return (
        ()
        if same
        else (
            "index.html is not what this version would write of these entries: do not rely on it, "
            "the evidence is in the other files",
        )
    )
