"""A watch goes on where the log hands over to another key, or is recovered under another name."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from api.database import Logins
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from ledger.findings import DEPTHS, Depth
from ledger.note import Signer
from ledger.rotation import recover, rotate
from ledger.watch_memory import MemoryFile
from policies.engine import Engine
from tests.api.test_watch import damage, places, watching
from tests.ledger.live_log import LiveLog, denied, in_loop, live
from tests.ledger.sample_log import ORIGIN, SIGNER, signer_of

NEW, AGAIN = signer_of(7), signer_of(8)
OTHER_NAME = signer_of(9, "ledger.example/h200/b")
EVERY_DEPTH: tuple[Depth, ...] = ("head", "tail", "all", "head", "tail")


async def keep(log: LiveLog, folder: Path) -> CheckpointStore:
    """What the service keeps outside the database."""
    head = await log.reader.head()
    store = CheckpointStore.in_folder(folder, ORIGIN)
    store.advance(sign(Checkpoint(ORIGIN, head.size, head.root), SIGNER), SIGNER.verifier)
    return store


# --- another key ----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [SIGNER, NEW, AGAIN], ids=["first", "second", "third"])
def test_any_key_of_the_log_is_enough_and_what_was_sound_stays_so(
    logins: Logins, tmp_path: Path, given: Signer
) -> None:
    @in_loop
    async def look() -> None:
        async with live(logins) as log:
            await log.append(denied())
            first = await watching(logins, tmp_path).run("all")
            store = await keep(log, tmp_path)
        for old, new in ((SIGNER, NEW), (NEW, AGAIN)):
            await rotate(logins.writer, judge=Engine(), old=old, new=new, store=store)
        watch = watching(logins, tmp_path, given)
        tail = await watch.run("tail")
        assert (tail.result, tail.first, tail.size) == ("intact", first.size, first.size + 2)
        assert [(await watch.run(depth)).result for depth in EVERY_DEPTH] == ["intact"] * 5
        assert tail.key == AGAIN.verifier

    look()


@in_loop
async def test_a_watch_that_runs_goes_on_with_the_next_key(logins: Logins, tmp_path: Path) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins) as log:
        await log.append(denied())
        await watch.run("all")
    await rotate(logins.writer, judge=Engine(), old=SIGNER, new=NEW)
    async with live(logins, signer=NEW) as log:
        await log.append(denied())
        runs = [await watch.run(depth) for depth in EVERY_DEPTH]
    assert [(run.result, run.findings) for run in runs] == [("intact", ())] * 5
    assert runs[0].facts > 0  # of the replay that it had begun with


@in_loop
async def test_a_key_that_the_old_one_did_not_sign_for_is_not_the_logs(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins) as log:
        await log.append(denied())
    with psycopg.connect(owner) as connection:
        connection.execute("UPDATE head SET verifier_key = %s", [str(NEW.verifier)])
    for depth in DEPTHS:
        assert ("head_altered", "head, verifier_key") in places(await watch.run(depth))
    stranger = await watching(logins, tmp_path / "b", NEW).run("all")
    assert ("another_log", "entry 0") in places(stranger)


@in_loop
async def test_the_epoch_never_falls_and_each_handover_moves_it(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins) as log:
        await log.append(denied())
    await rotate(logins.writer, judge=Engine(), old=SIGNER, new=NEW)
    with psycopg.connect(owner) as connection:
        connection.execute("UPDATE head SET epoch = 1")
    assert places(await watch.run("all")) == [("head_altered", "head, epoch")]
    with psycopg.connect(owner) as connection:
        connection.execute("UPDATE head SET epoch = 5")  # as rebuilds of facts do
    await watch.explain("a test")
    assert (await watch.run("all")).result == "intact"
    with psycopg.connect(owner) as connection:
        connection.execute("UPDATE head SET epoch = 4")
    for depth in DEPTHS:
        assert ("head_altered", "head, epoch") in places(await watch.run(depth))


# --- another name ---------------------------------------------------------------------------------


async def lose_the_end(logins: Logins, owner: str, folder: Path, *, watched: bool = True) -> None:
    """The last two entries are lost, and the log goes on under another name with an entry that says so."""
    async with live(logins) as log:
        await log.append(denied(), denied())
        before = await log.reader.head()
        await log.append(denied(), denied())
        store = await keep(log, folder)
        if watched:
            await watching(logins, folder).run("all")
    size = before.size
    damage(
        owner,
        "DELETE FROM facts WHERE name = 'chain' AND key IN"
        f" (SELECT contract FROM entries WHERE index >= {size});"
        f"DELETE FROM entries WHERE index >= {size}; DELETE FROM bodies WHERE index >= {size};"
        f"UPDATE head SET size = {size}, root = '\\x{before.root.hex()}',"
        f" frontier = '\\x{before.frontier.hex()}', last_leaf = '\\x{before.last_leaf.hex()}',"
        f" recorded_at = '{before.recorded_at.isoformat()}'",
    )
    await recover(logins.writer, judge=Engine(), old=SIGNER, new=OTHER_NAME, store=store, reason="a test")
    async with live(logins, signer=OTHER_NAME) as log:
        await log.append(denied())


@pytest.mark.parametrize("given", [SIGNER, OTHER_NAME], ids=["the old key", "the new key"])
def test_a_recovery_is_told_once_must_be_explained_and_the_watch_goes_on(
    logins: Logins, owner: str, tmp_path: Path, given: Signer
) -> None:
    @in_loop
    async def look() -> None:
        await lose_the_end(logins, owner, tmp_path)
        watch = watching(logins, tmp_path, given)
        told = await watch.run("tail")
        assert places(told) == [("entries_lost", "entries 3 to 4")]
        assert told.key == OTHER_NAME.verifier
        quiet = await watch.run("all")
        assert (quiet.result, quiet.findings, quiet.size) == ("unexplained", (), 5)
        await watch.explain("restored from the backup of the drill")
        assert [(await watch.run(depth)).result for depth in EVERY_DEPTH] == ["intact"] * 5
        for table, named in (("entries", "hidden"), ("hidden", "entries")):  # nor by a look that sees nothing
            with psycopg.connect(owner) as connection:
                connection.execute(f"ALTER TABLE {table} RENAME TO {named}")
            assert places(await watch.run("head")) == [("unreadable", "database")] * (named == "hidden")
        await watch.explain("it was called otherwise")
        assert [(await watch.run(depth)).result for depth in EVERY_DEPTH] == ["intact"] * 5
        async with live(logins, signer=OTHER_NAME) as log:
            await log.append(denied(), denied(), denied())  # longer than what was lost
        assert [(await watch.run(depth)).result for depth in EVERY_DEPTH] == ["intact"] * 5

    look()


@in_loop
async def test_a_failure_is_not_forgotten_because_the_log_has_another_name(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    async with live(logins) as log:
        await log.append(denied())
        damage(owner, "UPDATE entries SET party = 'nobody' WHERE index = 1")
        await watching(logins, tmp_path).run("all")
        damage(owner, "UPDATE entries SET party = 'acme' WHERE index = 1")
    await lose_the_end(logins, owner, tmp_path, watched=False)
    run = await watching(logins, tmp_path, OTHER_NAME).run("all")
    assert "entry 1, party" in {failure.finding.where for failure in run.failures}


@in_loop
async def test_a_recovery_that_owns_up_to_less_than_was_promised_is_found(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    await lose_the_end(logins, owner, tmp_path / "service", watched=False)
    elsewhere = CheckpointStore.in_folder(tmp_path, ORIGIN)
    elsewhere.advance(sign(Checkpoint(ORIGIN, 6, b"\7" * 32), SIGNER), SIGNER.verifier)
    for given in (SIGNER, OTHER_NAME):
        run = await watching(logins, tmp_path, given).run("all")
        assert ("loss_not_said", "entry 3") in places(run)


@in_loop
async def test_before_the_seam_a_kept_checkpoint_must_still_hold(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    await lose_the_end(logins, owner, tmp_path / "service", watched=False)
    CheckpointStore.in_folder(tmp_path, ORIGIN).advance(
        sign(Checkpoint(ORIGIN, 2, b"\7" * 32), SIGNER), SIGNER.verifier
    )
    run = await watching(logins, tmp_path, OTHER_NAME).run("all")
    assert ("rewritten", "first 2 entries") in places(run)


@in_loop
async def test_what_is_remembered_is_under_the_name_that_the_watch_was_given(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    await lose_the_end(logins, owner, tmp_path)
    watch = watching(logins, tmp_path, OTHER_NAME)
    await watch.run("all")
    await watch.explain("a test")
    await watch.run("all")
    memory = MemoryFile(tmp_path, OTHER_NAME.name).read()
    assert (memory.log, memory.verified.origin, memory.verified.size) == (
        OTHER_NAME.name, OTHER_NAME.name, 5,
    )  # fmt: skip
    assert len(memory.explanations) == 1
