"""One checkpoint key after another: what both sign, what the verifier follows, who may write then."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.database import Logins
from ledger import note as notes
from ledger.canonical import canonical
from ledger.checkpoint import (
    Checkpoint,
    open_checkpoint,
    open_rotation,
    sign,
    sign_recovery,
    sign_rotation,
)
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import RefusesToWrite, UnusableInput, VerificationError
from ledger.event import LEDGER_CONTRACT
from ledger.merkle import root
from ledger.note import Signer, Verifier
from ledger.publisher import Publisher
from ledger.reader import Reader
from ledger.rebuild import compare
from ledger.receipt import Receipt
from ledger.rotation import rotate
from ledger.succession import Lineage
from ledger.verified import Report, Tampered
from ledger.verify import verify_export
from ledger.verify_held import Kept
from policies.engine import Engine
from policies.exported import replay_export
from tests.ledger.live_log import audit, denied, in_loop, live, quiet
from tests.ledger.sample_log import CONTRACTS, ORIGIN, SampleLog, export_of, signer_of

FIRST, SECOND, THIRD, THIEF = (signer_of(seed) for seed in (1, 2, 3, 9))
ELSEWHERE = signer_of(2, "other.example/log")


# --- what both sign -------------------------------------------------------------------------------


def test_a_rotation_names_the_log_the_entry_and_both_keys() -> None:
    note = sign_rotation(41, FIRST, SECOND)
    assert open_rotation(note, origin=ORIGIN, size=41) == (FIRST.verifier, SECOND.verifier)
    assert note.startswith(
        f"chipledger checkpoint key rotation\n{ORIGIN}\n41\n{FIRST.verifier}\n{SECOND.verifier}\n\n— "
    )


def text_of(size: int = 41, old: Signer = FIRST, new: Signer = SECOND, origin: str = ORIGIN) -> str:
    return f"chipledger checkpoint key rotation\n{origin}\n{size}\n{old.verifier}\n{new.verifier}\n"


WRONG: dict[str, str] = {
    "signed by the old key alone": notes.sign(text_of(), FIRST),
    "signed by the new key alone": notes.sign(text_of(), SECOND),
    "signed by another for the old": notes.sign(text_of(), THIEF, SECOND),
    "signed by a third besides": notes.sign(text_of(), FIRST, SECOND, THIRD),
    "signed twice by the old": notes.sign(text_of(), FIRST, FIRST),
    "of another entry": sign_rotation(42, FIRST, SECOND),
    "of another log": notes.sign(text_of(origin="x"), FIRST, SECOND),
    "to a key of another log": notes.sign(text_of(new=ELSEWHERE), FIRST, ELSEWHERE),
    "to itself": notes.sign(text_of(new=FIRST), FIRST),
    "a checkpoint": sign(Checkpoint(ORIGIN, 41, bytes(32)), FIRST),
    "a further line": notes.sign(text_of() + "x\n", FIRST, SECOND),
    "a key that is none": notes.sign(text_of().replace(str(SECOND.verifier), "key"), FIRST, SECOND),
    "no note": "",
    "an altered text": sign_rotation(41, FIRST, SECOND).replace("rotation", "rotatiom"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_both_have_not_signed_is_no_rotation(name: str) -> None:
    with pytest.raises(VerificationError):
        open_rotation(WRONG[name], origin=ORIGIN, size=41)


# --- what the verifier follows --------------------------------------------------------------------


def rotation(index: int, old: Signer, new: Signer, *, key: Signer | None = None, **changes: Any) -> bytes:
    data = {"key": str((key or new).verifier), "note": sign_rotation(index, old, new), **changes}
    return canonical({"kind": "checkpoint_key.rotated", "data": data})


def fill(log: SampleLog, size: int) -> SampleLog:
    while len(log.entries) < size:
        log.append(CONTRACTS[0], canonical({"kind": "order.placed", "id": len(log.entries)}))
    return log


def rotated() -> SampleLog:
    """Twice: with entry 3, and with entry 6; 9 entries."""
    log = fill(SampleLog(FIRST), 3)
    log.append(LEDGER_CONTRACT, rotation(3, FIRST, SECOND))
    fill(log, 6).append(LEDGER_CONTRACT, rotation(6, SECOND, THIRD))
    return fill(log, 9)


def export(log: SampleLog, signer: Signer, size: int | None = None) -> bytes:
    entries = log.entries[:size]
    return export_of(entries, log.checkpoint(size, signer=signer), signer)


def check(raw: bytes, given: Signer | None, *receipts: Receipt, kept: Sequence[Kept] = ()) -> Report:
    known = given.verifier if given else None
    return verify_export(io.BytesIO(raw), verifier=known, receipts=receipts, kept=kept)


def refusal(
    raw: bytes, given: Signer | None = FIRST, *receipts: Receipt, kept: Sequence[Kept] = ()
) -> Tampered:
    with pytest.raises(Tampered) as caught:
        check(raw, given, *receipts, kept=kept)
    return caught.value


@pytest.mark.parametrize("given", [FIRST, SECOND, THIRD, None])
def test_whoever_has_any_key_of_the_log_follows_it_to_the_present_one(given: Signer | None) -> None:
    report = check(export(rotated(), THIRD), given)
    assert (report.key, report.rotations) == (THIRD.verifier, 2)


@pytest.mark.parametrize(("size", "signer"), [(3, FIRST), (4, SECOND), (6, SECOND), (7, THIRD), (9, THIRD)])
def test_each_size_has_one_key(size: int, signer: Signer) -> None:
    log = rotated()
    check(export(log, signer, size), signer)
    for other in {FIRST, SECOND, THIRD} - {signer}:
        assert refusal(export(log, other, size), other).what.startswith("key of the ")


def test_the_old_key_after_rotation_is_refused() -> None:
    """Whoever kept or stole it signs a tree that holds the rotation: it is another key's to sign."""
    log = rotated()
    assert "must be" in refusal(export(log, FIRST), FIRST).what
    forged = log.receipt(2)._replace(checkpoint=log.checkpoint(signer=FIRST))
    error = refusal(export(log, THIRD), FIRST, forged)
    assert error.index == 2
    assert "no known key signed the note" in error.what


def test_receipts_from_before_and_after_are_honoured_each_by_its_key() -> None:
    log = rotated()
    held = [
        log.receipt(index, size)._replace(checkpoint=log.checkpoint(size, signer=signer))
        for index, size, signer in ((1, 3, FIRST), (3, 4, SECOND), (3, 6, SECOND), (8, 9, THIRD))
    ]
    assert check(export(log, THIRD), FIRST, *held).receipts == 4


@pytest.mark.parametrize("given", [FIRST, SECOND, THIRD])
def test_checkpoints_kept_before_and_after_are_held_against_the_log_each_by_its_key(given: Signer) -> None:
    log = rotated()
    signed = ((3, FIRST), (4, SECOND), (6, SECOND), (7, THIRD), (9, THIRD))
    held = [kept(log, size, signer) for size, signer in signed]
    assert check(export(log, THIRD), given, kept=held).kept == 5
    for size, signer in ((4, FIRST), (9, FIRST), (3, THIRD), (9, THIEF)):
        error = refusal(export(log, THIRD), given, kept=[kept(log, size, signer)])
        assert f"kept, of {size} entries, does not hold: no known key signed the note" in error.what


def kept(log: SampleLog, size: int, signer: Signer) -> Kept:
    return Kept.parse(log.checkpoint(size, signer=signer).encode())


def test_what_was_kept_of_an_end_that_is_lost_is_said_to_be_of_the_name_before() -> None:
    lost, log = fill(SampleLog(FIRST), 9), fill(SampleLog(FIRST), 5)
    promised = Checkpoint(ORIGIN, 9, root(lost.leaves))
    data = {"key": str(ELSEWHERE.verifier), "note": sign_recovery(5, promised, FIRST, ELSEWHERE)}
    log.append(LEDGER_CONTRACT, canonical({"kind": "ledger.recovered", "data": data}))
    raw = export(fill(log, 7), ELSEWHERE)
    for given in (FIRST, ELSEWHERE):
        assert check(raw, given, kept=[kept(log, 4, FIRST)]).kept == 1
        error = refusal(raw, given, kept=[kept(lost, 8, FIRST)])
        assert f"of 8 entries, is of {ORIGIN}, which lost its end" in error.what


def test_a_key_that_is_none_of_the_logs_is_refused() -> None:
    error = refusal(export(rotated(), THIRD), THIEF)
    assert error.index is None
    assert "must be the given" in error.what


def told(*events: Callable[[int], bytes]) -> SampleLog:
    log = fill(SampleLog(FIRST), 3)
    for event in events:
        log.append(LEDGER_CONTRACT, event(len(log.entries)))
    return fill(log, 6)


FORGED: dict[str, tuple[SampleLog, Signer, int | None, str]] = {
    "by a thief for the old key": (
        told(lambda index: rotation(index, THIEF, SECOND)), SECOND, 3, "must be from",
    ),
    "by the old key alone": (
        told(lambda i: rotation(i, FIRST, SECOND, note=notes.sign(text_of(i), FIRST))),
        SECOND, 3, "must be signed by",
    ),
    "of another entry": (told(lambda i: rotation(i + 1, FIRST, SECOND)), SECOND, 3, "must be for entry 3"),
    "to another key than was signed for": (
        told(lambda i: rotation(i, FIRST, SECOND, key=THIEF)), SECOND, 3, "not the one that was signed for",
    ),
    "again, from a key that has gone": (
        told(lambda i: rotation(i, FIRST, SECOND), lambda i: rotation(i, FIRST, THIRD)), THIRD, 4, "from",
    ),
    "without a note": (told(lambda i: rotation(i, FIRST, SECOND, note=None)), SECOND, 3, "not one of"),
    "left out": (told(), SECOND, 0, "key of the opening"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_rotation_is_found_and_located(name: str) -> None:
    log, signer, index, words = FORGED[name]
    error = refusal(export(log, signer), FIRST)
    assert error.index == index
    assert words in error.what


def test_a_recovery_by_a_key_that_is_not_the_logs_is_found_and_located() -> None:
    """Or whoever rewrites a log from an entry on could hand it over to itself."""
    new, lost = signer_of(4, "ledger.example/h200/b"), Checkpoint(ORIGIN, 9, bytes([7]) * 32)
    for old, holds in ((FIRST, True), (THIEF, False)):
        data = {"key": str(new.verifier), "note": sign_recovery(3, lost, old, new)}
        log = fill(SampleLog(FIRST), 3)
        log.append(LEDGER_CONTRACT, canonical({"kind": "ledger.recovered", "data": data}))
        raw = export(log, new)
        if holds:
            check(raw, FIRST)
        else:
            assert "must be from" in refusal(raw, FIRST).what


def test_a_withheld_rotation_cannot_be_followed() -> None:
    log = rotated()
    log.withhold(6, "event")
    assert "key of the rotation" in refusal(export(log, THIRD), FIRST).what


# --- who may write and sign -----------------------------------------------------------------------


async def exported(logins: Logins, signer: Signer) -> bytes:
    from ledger.export import write

    reader, file = Reader(logins.reader), io.BytesIO()
    await reader.open()
    try:
        head = await reader.head()
        async with reader.stream(size=head.size) as entries:
            await write(entries, checkpoint=head.checkpoint(signer), verifier=signer.verifier, to=file)
    finally:
        await reader.close()
    return file.getvalue()


@in_loop
async def test_the_log_goes_on_under_the_new_key(logins: Logins) -> None:
    async with live(logins, signer=FIRST) as log:
        before = await log.commit(denied())
        await log.append(*(denied() for _ in range(253)))  # the rotation completes a tile
    index = await rotate(logins.writer, judge=Engine(), old=FIRST, new=SECOND)
    async with live(logins, signer=SECOND) as log:
        after = await log.commit(denied())
        head = await log.reader.head()
    assert (head.epoch, head.verifier_key) == (2, str(SECOND.verifier))
    assert (index, after.receipt.index) == (255, 256)
    raw = await exported(logins, SECOND)
    report = check(raw, FIRST, before.receipt, after.receipt)
    assert (report.rotations, report.key) == (1, SECOND.verifier)
    outcome = replay_export(io.BytesIO(raw), Engine())
    assert outcome.difference is None
    assert await compare(logins.reader, quiet) == []


@in_loop
async def test_a_process_with_the_old_key_neither_writes_nor_signs_from_then_on(logins: Logins) -> None:
    async with live(logins, signer=FIRST) as log:
        await log.commit(denied())
        await rotate(logins.writer, judge=Engine(), old=FIRST, new=SECOND)
        with pytest.raises(RefusesToWrite, match="checkpoint key of the log is"):
            await log.append(denied())
        head = await log.reader.head()
        with pytest.raises(RefusesToWrite, match="checkpoint key of the log is"):
            head.checkpoint(FIRST)
    with pytest.raises(RefusesToWrite, match="checkpoint key of the log is"):
        async with live(logins, signer=FIRST):
            pass
    await audit(logins, signer=SECOND)


@in_loop
async def test_only_the_logs_key_hands_over(logins: Logins) -> None:
    with pytest.raises(UnusableInput, match="no entry yet"):
        await rotate(logins.writer, judge=Engine(), old=FIRST, new=SECOND)
    async with live(logins, signer=FIRST):
        pass
    with pytest.raises(RefusesToWrite, match="checkpoint key of the log is"):
        await rotate(logins.writer, judge=Engine(), old=THIEF, new=SECOND)
    await audit(logins, signer=FIRST)


@in_loop
async def test_a_checkpoint_kept_before_a_rotation_still_guards_the_log(
    logins: Logins, tmp_path: Path
) -> None:
    """A service on another machine has a store of its own, and in it what an earlier key signed."""
    store = CheckpointStore.in_folder(tmp_path, ORIGIN)
    async with live(logins, signer=FIRST) as log:
        await log.commit(denied())
        store.advance((await log.reader.head()).checkpoint(FIRST), FIRST.verifier)
    await rotate(logins.writer, judge=Engine(), old=FIRST, new=SECOND, store=store)
    await rotate(logins.writer, judge=Engine(), old=SECOND, new=THIRD, store=store)
    async with live(logins, signer=THIRD, store=store) as log:
        await log.commit(denied())
        await Publisher(log.reader, THIRD, store).publish()
        head = await log.reader.head()
    assert store.latest(THIRD.verifier) == Checkpoint(ORIGIN, head.size, head.root)
    store.advance(sign(Checkpoint(ORIGIN, 50, bytes(32)), THIRD), THIRD.verifier)
    with pytest.raises(RefusesToWrite, match="are lost"):
        await rotate(logins.writer, judge=Engine(), old=THIRD, new=signer_of(4), store=store)
    await audit(logins, signer=THIRD)


@in_loop
async def test_a_process_with_the_old_key_keeps_no_checkpoint_either(logins: Logins, tmp_path: Path) -> None:
    store = CheckpointStore.in_folder(tmp_path, ORIGIN)
    async with live(logins, signer=FIRST) as log:
        await rotate(logins.writer, judge=Engine(), old=FIRST, new=SECOND)
        with pytest.raises(RefusesToWrite, match="checkpoint key of the log is"):
            await Publisher(log.reader, FIRST, store).publish()
    assert store.note() is None


@pytest.mark.parametrize("known", [FIRST, SECOND, THIRD])
def test_each_key_of_a_log_leads_to_all_of_them(known: Signer) -> None:
    rotations = [(3, sign_rotation(3, FIRST, SECOND)), (6, sign_rotation(6, SECOND, THIRD))]
    lineage = Lineage(known.verifier, rotations)
    assert lineage.keys_of(ORIGIN) == [THIRD.verifier, SECOND.verifier, FIRST.verifier]
    assert lineage.present == THIRD.verifier


def test_a_key_leads_no_further_than_what_both_have_signed() -> None:
    forged = [(3, sign_rotation(3, THIEF, SECOND)), (5, sign_rotation(4, SECOND, THIRD))]
    assert Lineage(THIRD.verifier, forged).keys == [THIRD.verifier]
    assert Lineage(FIRST.verifier, forged).keys == [FIRST.verifier]
    # Whoever has an old key may sign with it again: what follows from that is another line.
    again = [(3, sign_rotation(3, FIRST, SECOND)), (6, sign_rotation(6, FIRST, THIEF))]
    assert Lineage(SECOND.verifier, again).keys == [FIRST.verifier, SECOND.verifier]
    assert Lineage(FIRST.verifier, again).present == SECOND.verifier


def test_a_log_that_was_recovered_has_two_names_and_says_what_the_first_had_promised() -> None:
    new, lost = signer_of(4, "ledger.example/h200/b"), Checkpoint(ORIGIN, 9, bytes([7]) * 32)
    notes_ = [(3, sign_rotation(3, FIRST, SECOND)), (5, sign_recovery(5, lost, SECOND, new))]
    for known in (FIRST, SECOND, new):
        lineage = Lineage(known.verifier, notes_)
        assert lineage.origins == [new.name, ORIGIN]
        assert lineage.keys_of(new.name) == [new.verifier]
        ended = lineage.ended(ORIGIN)
        assert ended is not None
        assert (ended.index, ended.lost) == (5, lost)
        assert lineage.ended(new.name) is None


def test_every_checkpoint_of_a_log_that_was_rotated_opens_with_one_key() -> None:
    log = rotated()
    signed = log.checkpoint(7, signer=THIRD)
    assert open_checkpoint(signed, THIRD.verifier, ORIGIN).root == root(log.leaves[:7])
    keys: list[Verifier] = [FIRST.verifier, SECOND.verifier]
    with pytest.raises(VerificationError, match="no known key"):
        open_checkpoint(signed, keys, ORIGIN)
