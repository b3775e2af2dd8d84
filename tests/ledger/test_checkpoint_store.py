"""The checkpoint that is kept outside the database, and what it shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from api.database import Logins
from ledger import kept_files
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import RefusesToWrite, StoreFailed, Unavailable
from ledger.kept_files import replace_durably
from ledger.merkle import Frontier, Growth
from ledger.note import Signer
from ledger.publisher import Publisher, head_to_sign
from tests.ledger.live_log import LiveLog, denied, in_loop, live
from tests.ledger.sample_log import ORIGIN, SIGNER, signer_of

ROOTS = [bytes([number]) * 32 for number in range(10)]


def note(size: int, root: bytes = ROOTS[1], signer: Signer = SIGNER) -> str:
    return sign(Checkpoint(signer.name, size, root), signer)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore.in_folder(tmp_path / "elsewhere", ORIGIN)


# --- the folder -----------------------------------------------------------------------------------


def test_what_is_kept_comes_back(store: CheckpointStore) -> None:
    assert store.latest(SIGNER.verifier) is None
    store.advance(note(7), SIGNER.verifier)
    assert store.latest(SIGNER.verifier) == Checkpoint(ORIGIN, 7, ROOTS[1])


def test_an_earlier_checkpoint_does_not_replace_a_later_one(store: CheckpointStore) -> None:
    store.advance(note(7), SIGNER.verifier)
    assert store.advance(note(5, ROOTS[2]), SIGNER.verifier).size == 7
    assert store.latest(SIGNER.verifier) == Checkpoint(ORIGIN, 7, ROOTS[1])


def test_another_history_of_the_same_size_is_refused(store: CheckpointStore) -> None:
    store.advance(note(7), SIGNER.verifier)
    with pytest.raises(StoreFailed, match="it has forked"):
        store.advance(note(7, ROOTS[2]), SIGNER.verifier)
    assert store.latest(SIGNER.verifier) == Checkpoint(ORIGIN, 7, ROOTS[1])


def race(made: Callable[[], CheckpointStore], *, rounds: int) -> Checkpoint | None:
    """What is kept after writers of sizes 1 to 9, each with a store of its own."""
    sizes = [3, 9, 1, 8, 2, 7, 4, 6, 5] * rounds
    stores = [made() for _ in sizes]
    writers = [
        threading.Thread(target=one.advance, args=(note(size, ROOTS[size]), SIGNER.verifier))
        for one, size in zip(stores, sizes, strict=True)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return stores[0].latest(SIGNER.verifier)


def test_writers_that_race_leave_the_largest(tmp_path: Path) -> None:
    kept = race(lambda: CheckpointStore.in_folder(tmp_path, ORIGIN), rounds=5)
    assert kept == Checkpoint(ORIGIN, 9, ROOTS[9])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".checkpoint", ".lock"]


def test_logs_share_a_folder(tmp_path: Path) -> None:
    other = signer_of(2, "ledger.example/h200/b")
    ours, theirs = (CheckpointStore.in_folder(tmp_path, one) for one in (ORIGIN, other.name))
    ours.advance(note(7), SIGNER.verifier)
    theirs.advance(note(3, ROOTS[2], other), other.verifier)
    assert ours.latest(SIGNER.verifier) == Checkpoint(ORIGIN, 7, ROOTS[1])
    assert theirs.latest(other.verifier) == Checkpoint(other.name, 3, ROOTS[2])


@pytest.mark.parametrize(
    "found", ["", "nonsense", note(7).replace("\n7\n", "\n8\n"), note(7)[:-3], "\x00" * 200]
)
def test_what_somebody_else_left_there_is_not_believed(store: CheckpointStore, found: str) -> None:
    Path(str(store)).parent.mkdir()
    Path(str(store)).write_text(found)
    with pytest.raises(StoreFailed, match="is no checkpoint of this log"):
        store.latest(SIGNER.verifier)
    with pytest.raises(StoreFailed, match="is no checkpoint of this log"):
        store.advance(note(9), SIGNER.verifier)


def test_a_checkpoint_of_another_key_is_not_believed(store: CheckpointStore) -> None:
    stranger = signer_of(2)
    store.advance(note(7, signer=stranger), stranger.verifier)
    with pytest.raises(StoreFailed, match="no known key signed"):
        store.latest(SIGNER.verifier)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = CheckpointStore.in_folder(tmp_path / "file", ORIGIN)
    with pytest.raises(StoreFailed, match="cannot be kept"):
        store.advance(note(7), SIGNER.verifier)


# --- the log against it ---------------------------------------------------------------------------


async def _published(log: LiveLog, store: CheckpointStore, events: int) -> Checkpoint:
    for _ in range(events):
        await log.append(denied())
    publisher = Publisher(log.reader, SIGNER, store)
    await publisher.publish()
    assert publisher.published is not None
    return publisher.published


@in_loop
async def test_a_log_that_goes_on_from_what_is_kept_is_written_to(
    logins: Logins, store: CheckpointStore
) -> None:
    async with live(logins, store=store) as log:
        kept = await _published(log, store, 300)  # more than a tile
        assert kept.size == 301
        await log.append(denied(), denied())
    async with live(logins, store=store) as log:
        await log.append(denied())
        assert (await log.reader.head()).size == 304


@in_loop
async def test_a_log_that_lost_its_tail_is_not_written_to(
    logins: Logins, owner: str, store: CheckpointStore
) -> None:
    async with live(logins, store=store) as log:
        await log.append(denied())
        before = await log.reader.head()
        kept = await _published(log, store, 5)
    _roll_back(owner, to=before.size)
    with pytest.raises(RefusesToWrite, match=r"holds 2 entries.* signed for 7: the last 5 are lost"):
        async with live(logins, store=store):
            pass
    assert kept.size == 7
    # And nothing was: not even the store was moved back.
    assert store.latest(SIGNER.verifier) == kept


@in_loop
async def test_a_log_that_grew_again_after_it_lost_its_tail_is_not_written_to(
    logins: Logins, owner: str, store: CheckpointStore
) -> None:
    async with live(logins, store=store) as log:
        await _published(log, store, 5)
    _roll_back(owner, to=3)
    async with live(logins) as log:  # by somebody who does not look at the store
        for _ in range(9):
            await log.append(denied())
    with pytest.raises(RefusesToWrite, match="the log was rewritten"):
        async with live(logins, store=store):
            pass


@in_loop
async def test_an_emptied_database_is_not_begun_anew(
    logins: Logins, owner: str, store: CheckpointStore
) -> None:
    async with live(logins, store=store) as log:
        await _published(log, store, 1)
    with psycopg.connect(owner) as connection:
        for table in ("entries", "bodies", "device_links", "facts", "tiles", "head"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            connection.execute(f"TRUNCATE {table}")
    with pytest.raises(RefusesToWrite, match="holds 0 entries"):
        async with live(logins, store=store):
            pass


@in_loop
async def test_a_rollback_under_a_running_service_is_seen_when_it_connects_anew(
    logins: Logins, owner: str, store: CheckpointStore
) -> None:
    async with live(logins, store=store) as log:
        await _published(log, store, 5)
        _roll_back(owner, to=3)  # ends every connection, as a restore does
        refused = None
        for _ in range(2):  # the first may only learn that its connection is gone
            try:
                await log.append(denied())
            except RefusesToWrite as error:
                refused = error
            except Exception as error:
                refused = refused or error
        assert isinstance(refused, RefusesToWrite), refused


def test_a_store_that_cannot_be_believed_stops_the_start(logins: Logins, store: CheckpointStore) -> None:
    Path(str(store)).parent.mkdir()
    Path(str(store)).write_text("nonsense")

    @in_loop
    async def start() -> None:
        async with live(logins, store=store):
            pass

    with pytest.raises(StoreFailed):
        start()


def _roll_back(owner: str, *, to: int) -> None:
    """What a restored backup is: the log as it was at an earlier size, consistent with itself.

    The head of that size is computed from what remains, as whoever cuts a tail by hand would.
    """
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with psycopg.connect(owner) as connection:
        for table in ("entries", "bodies", "device_links"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            connection.execute(f"DELETE FROM {table} WHERE index >= {to}")
        rows = connection.execute("SELECT leaf FROM entries ORDER BY index").fetchall()
        tree = Growth(Frontier(), [bytes(leaf) for (leaf,) in rows])
        connection.execute(
            "UPDATE head SET size = %s, root = %s, frontier = %s, last_leaf = %s",
            [to, tree.root, tree.frontier().to_bytes(), rows[-1][0]],
        )


@in_loop
async def test_a_head_behind_what_was_signed_for_is_not_signed(
    logins: Logins, owner: str, store: CheckpointStore
) -> None:
    """A lagging replica, or a lost end: signed now, it would be a second history once it has grown again."""
    async with live(logins, store=store) as log:
        await _published(log, store, 5)
        assert (await head_to_sign(log.reader, SIGNER, store)).size == 6
        _roll_back(owner, to=3)
        with pytest.raises(Unavailable, match=r"has 3 entries, and .* is of 6"):
            await head_to_sign(log.reader, SIGNER, store)


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[str] = []
    flush, replace = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        acts.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        flush(handle)

    def replaced(path: Path, target: Path) -> Path:
        acts.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    replace_durably(tmp_path / "kept", b"what was signed for")
    assert acts == ["file", "name", "folder"]


def test_two_who_keep_a_checkpoint_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the earlier of two could be put in place last."""
    held: list[bool] = []

    def looked(path: Path, content: bytes) -> None:
        with path.with_suffix(".lock").open("ab") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(False)

    monkeypatch.setattr(kept_files, "replace_durably", looked)
    CheckpointStore.in_folder(tmp_path, ORIGIN).advance(note(3), SIGNER.verifier)
    assert held == []
