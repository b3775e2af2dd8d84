"""A watch with a reader's login: what it sees, what it remembers, and what it does not forget."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from api import database
from api.database import Logins
from api.examine import look
from api.examine.examiner import Examiner
from api.examine.look import Pace
from api.watch import Intervals, Run, Watch
from ledger.beside import Vouchers
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from ledger.eraser import erase_bodies
from ledger.errors import NotFound, Unavailable
from ledger.findings import DEPTHS, Depth
from ledger.note import Signer
from ledger.rows import connected
from ledger.values import format_timestamp
from ledger.watch_memory import Memory, MemoryFile
from tests.ledger.erased_log import erase, said_and_undone, say_erased
from tests.ledger.live_log import audit, denied, in_loop, live, simulated
from tests.ledger.sample_log import ORIGIN, SIGNER
from tests.workbench import H200, NOON, policy


def watching(
    logins: Logins, folder: Path, signer: Signer = SIGNER, vouchers: Vouchers | None = None
) -> Watch:
    """A watch that begins anew, with what `folder` remembers."""
    folder.mkdir(exist_ok=True)
    memory, store = MemoryFile(folder, signer.name), CheckpointStore.in_folder(folder, signer.name)
    examiner = Examiner(signer.verifier, vouchers=vouchers)
    return Watch(logins.reader, signer.verifier, store, memory, examiner)


def damage(owner: str, statement: str) -> None:
    """As a superuser, with the triggers off."""
    tables = ("entries", "bodies", "device_links", "tiles", "timestamps")
    with psycopg.connect(owner) as connection:
        for table in tables:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        connection.execute(statement)
        for table in tables:
            connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")


def places(run: Run) -> list[tuple[str, str]]:
    return [(finding.damage, finding.where) for finding in run.findings]


@in_loop
async def test_each_look_goes_on_where_the_last_one_ended(logins: Logins, tmp_path: Path) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(H200)
        first = await watch.run("all")
        await log.accepted("order.placed", units=1000)
        await log.append(denied())
        tail = await watch.run("tail")
        head = await watch.run("head")
        size = (await log.reader.head()).size
    assert [run.result for run in (first, tail, head)] == ["intact"] * 3
    assert (first.first, tail.first, head.first) == (0, first.size, size)
    assert (tail.size, head.size) == (size, size)
    assert first.facts > 5
    assert tail.facts >= 3  # those that the order has changed
    assert head.facts >= first.facts  # a page of all
    await audit(logins)


@in_loop
async def test_a_watch_that_begins_anew_knows_how_far_it_was(logins: Logins, tmp_path: Path) -> None:
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(H200)
        await watching(logins, tmp_path / "a").run("all")
        await log.accepted("order.placed", units=10)
    memory = MemoryFile(tmp_path / "a", ORIGIN)
    watch = Watch(logins.reader, SIGNER.verifier, CheckpointStore.in_folder(tmp_path, ORIGIN), memory)
    run = await watch.run("tail")
    assert (run.result, run.first, run.size, run.judged) == ("intact", 6, 7, 0)


@in_loop
async def test_a_tail_is_held_against_the_chains_before_it(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    """An entry before the tail that was altered to fit what is chained to it."""
    watch = watching(logins, tmp_path)
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(H200)
        await watch.run("all")
        await log.accepted("order.placed", units=10)
        damage(
            owner, "UPDATE entries SET header = overlay(header placing '9'::bytea from 20) WHERE index = 5"
        )
        run = await watch.run("tail")
    assert places(run) == [("entry_unproven", "entry 5")]


@pytest.mark.parametrize("depth", ["head", "tail", "all"])
def test_a_log_that_lost_its_tail_is_found_at_every_depth(
    logins: Logins, owner: str, tmp_path: Path, depth: Depth
) -> None:
    @in_loop
    async def look() -> None:
        watch = watching(logins, tmp_path)
        async with live(logins) as log:
            await log.append(denied(), denied())
            before = await log.reader.head()
            await log.append(denied(), denied())
            await watch.run("all")
        damage(
            owner,
            f"DELETE FROM entries WHERE index >= 3; DELETE FROM bodies WHERE index >= 3;"
            f"UPDATE head SET size = 3, root = '\\x{before.root.hex()}',"
            f" frontier = '\\x{before.frontier.hex()}', last_leaf = '\\x{before.last_leaf.hex()}',"
            f" recorded_at = '{before.recorded_at.isoformat()}'",
        )
        run = await watch.run(depth)
        assert run.result == "damaged"
        assert ("rolled_back", "entries 3 to 4") in places(run)
        assert run.findings[0].index == 3

    look()


@in_loop
async def test_a_kept_checkpoint_of_another_history_is_found(logins: Logins, tmp_path: Path) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins) as log:
        await log.append(denied())
        store = CheckpointStore.in_folder(tmp_path, ORIGIN)
        store.advance(sign(Checkpoint(ORIGIN, 2, b"\7" * 32), SIGNER), SIGNER.verifier)
        for depth in ("head", "tail", "all"):
            run = await watch.run(depth)  # type: ignore[arg-type] # a depth
            assert "rewritten" in {finding.damage for finding in run.findings}, depth


@in_loop
async def test_a_store_that_cannot_be_believed_is_a_failure(logins: Logins, tmp_path: Path) -> None:
    watch = watching(logins, tmp_path)
    _edit(Path(str(CheckpointStore.in_folder(tmp_path, ORIGIN))), "", "nonsense")
    async with live(logins) as log:
        await log.append(denied())
        run = await watch.run("tail")
    assert places(run) == [("checkpoint_altered", "checkpoint store")]


@in_loop
async def test_a_fact_is_missed_by_the_next_look_at_the_head(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(H200)
        await watch.run("all")
        damage(owner, "UPDATE facts SET data = replace(data::text, '10000', '99999')::json"
                      " WHERE name = 'license'")  # fmt: skip
        run = await watch.run("head")
    [finding] = run.findings
    assert (finding.damage, finding.where) == ("fact_altered", "fact license D-100200")
    assert all(value.startswith("sha256:") for value in finding.evidence.values())


@in_loop
async def test_a_failure_does_not_pass_before_it_is_explained(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins) as log:
        await log.append(denied(), denied())
        await watch.run("all")
        with psycopg.connect(owner) as connection:
            [party] = connection.execute("SELECT party FROM entries WHERE index = 1").fetchone() or [""]
        damage(owner, "UPDATE entries SET party = 'nobody' WHERE index = 1")
        found = await watch.run("all")
        again = await watch.run("all")
        damage(owner, f"UPDATE entries SET party = '{party}' WHERE index = 1")
        quiet = await watch.run("all")
        explained = await watch.explain("a technician's slip, put right")
        after = await watch.run("all")
        with pytest.raises(NotFound, match="no failure waits"):
            await watch.explain("once more")
    assert places(found) == [("column_altered", "entry 1, party")]
    assert (found.result, len(found.new)) == ("damaged", 1)
    assert (again.result, len(again.new)) == ("damaged", 0)
    assert (quiet.result, quiet.findings) == ("unexplained", ())
    assert [failure.finding.where for failure in explained] == ["entry 1, party"]
    assert after.result == "intact"


@in_loop
async def test_a_second_watch_of_the_same_folder_stands_back(logins: Logins, tmp_path: Path) -> None:
    first, second = MemoryFile(tmp_path, ORIGIN), MemoryFile(tmp_path, ORIGIN)
    assert first.hold()
    assert not second.hold()
    first.close()
    assert second.hold()
    second.close()


@in_loop
async def test_what_a_watch_remembers_cannot_be_made_up(logins: Logins, tmp_path: Path) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins) as log:
        await log.append(denied())
        await watch.run("all")
        _edit(Path(str(MemoryFile(tmp_path, ORIGIN))), '"size":2', '"size":3')
        run = await watch.run("tail")
    assert places(run) == [("memory_altered", "memory of the watch")]


@in_loop
async def test_what_the_log_says_is_erased_is_not_missed_and_what_it_does_not_is(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    watch = watching(logins, tmp_path)
    said = await said_and_undone(owner)
    assert (await watch.run("all")).result == "intact"
    # A link that its entry has no words for any more.
    damage(owner, f"INSERT INTO device_links VALUES ('SN000001', {said.index})")
    assert places(await watch.run("all")) == [("stray_row", f"device_links, SN000001 at {said.index}")]
    await watch.explain("a test")
    await erase(said)
    warm = await watch.run("all")
    again, anew = await watch.run("tail"), await watch.run("all")
    assert [run.result for run in (warm, again, anew)] == ["intact"] * 3
    assert anew.facts == warm.facts
    damage(owner, "UPDATE bodies SET event = NULL, event_salt = NULL, decision = NULL, decision_salt = NULL"
                  f" WHERE index = {said.other}")  # fmt: skip
    run = await watch.run("all")
    assert places(run) == [(f"{name}_missing", f"entry {said.other}") for name in ("event", "decision")]


@in_loop
async def test_what_cites_an_entry_that_was_erased_since_it_was_judged_is_judged_as_it_was(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    """The request to erase it above all; what comes later, too, knows it by what the log has kept."""
    watch = watching(logins, tmp_path)
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(policy())
        first, second = [
            (await log.accepted("order.placed", order=f"PO-{n}", units=n)).receipt.index for n in (1, 2)
        ]
        assert (await watch.run("all")).result == "intact"
        mistake = {"index": first, "id": str(uuid.uuid4()), "reason": "a slip"}
        assert (await log.say("event.declared_in_error", **mistake)).outcome == "denied"
        await log.accepted("purge.requested", entries=[first, second])
        await say_erased(log, second, first, in_parts=first)
        assert erase_bodies(database.let_eraser_in(owner), await log.reader.erasures_undone()) == 2
        for cited in ([first], [first, second]):
            assert (await log.say("purge.requested", entries=cited)).outcome == "denied"
        assert (await log.say("event.declared_in_error", **mistake)).outcome == "denied"
        looks = [await watch.run("tail")]
        assert (await log.say("purge.requested", entries=[second])).outcome == "denied"
        looks += [await watch.run("head"), await watch.run("all")]
    assert [places(look) for look in looks] == [[], [], []]
    assert looks[0].judged == looks[0].size - 1  # the slip was judged by words that are gone


@in_loop
async def test_a_log_that_is_written_to_meanwhile_is_sound(logins: Logins, tmp_path: Path) -> None:
    watch = watching(logins, tmp_path)
    async with live(logins) as log:
        await log.append(*(denied() for _ in range(50)))

        async def write() -> None:
            for _ in range(40):
                await log.append(*(denied() for _ in range(10)))

        writing = asyncio.create_task(write())
        depths: tuple[Depth, ...] = ("all", "head", "tail", "head", "tail", "all", "tail", "head")
        runs = [await watch.run(depth) for depth in depths]
        await writing
        last = await watch.run("tail")
    assert [(run.result, run.findings) for run in (*runs, last)] == [("intact", ())] * 9
    assert last.size == 451


def _edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new) if old else new)


def test_a_look_rests_for_its_own_work_and_not_for_the_time_since_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, rests_s = 0.0, list[float]()

    async def sleep(seconds: float) -> None:
        rests_s.append(seconds)

    monkeypatch.setattr(look, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(look.asyncio, "sleep", sleep)
    pace = Pace(rest=4.0)
    now_s = 60.0
    pace.begin()
    for took_s in (1.0, 2.0):
        now_s += took_s
        asyncio.run(pace.give_way())
    assert rests_s == [4.0, 8.0]


@pytest.mark.parametrize("time", ["infinity", "-infinity", "20000-01-01"])
def test_a_time_that_no_calendar_has_does_not_blind_a_look(
    logins: Logins, owner: str, tmp_path: Path, time: str
) -> None:
    @in_loop
    async def look() -> None:
        async with live(logins) as log:
            await log.append(denied(), denied())
        damage(owner, f"UPDATE entries SET recorded_at = '{time}' WHERE index = 1")
        run = await watching(logins, tmp_path / "a").run("all")
        assert places(run) == [("column_altered", "entry 1, recorded_at")]
        damage(owner, f"UPDATE head SET recorded_at = '{time}'")
        run = await watching(logins, tmp_path / "b").run("all")
        assert ("head_altered", "head, recorded_at") in places(run)

    look()


@in_loop
async def test_what_can_no_longer_be_read_is_a_failure(logins: Logins, owner: str, tmp_path: Path) -> None:
    async with live(logins) as log:
        await log.append(denied())
    watch = watching(logins, tmp_path)
    for act in ("REVOKE SELECT ON bodies FROM chipledger_reader", "ALTER TABLE facts RENAME TO fictions"):
        with psycopg.connect(owner) as connection:
            connection.execute(act)
        run = await watch.run("all")
        assert (run.result, places(run)) == ("damaged", [("unreadable", "database")]), act
        with psycopg.connect(owner) as connection:
            connection.execute("GRANT SELECT ON bodies TO chipledger_reader")
    assert run.findings[0].evidence["because"] == "UndefinedTable"


@in_loop
async def test_a_session_that_was_ended_tells_nothing_of_the_log(logins: Logins, owner: str) -> None:
    with pytest.raises(Unavailable):
        await _look_too_slowly(logins.reader, owner)


async def _look_too_slowly(reader: str, owner: str) -> None:
    alive = (
        "SELECT 1 FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'chipledger-watch'"
    )
    async with connected(reader) as rows:
        await rows._connection.execute("SET idle_in_transaction_session_timeout = 1")
        async with rows.snapshot():
            with psycopg.connect(owner, autocommit=True) as other:
                while other.execute(alive).fetchone():
                    pass
            await rows.head()


def test_a_look_comes_due_whichever_way_the_clock_is_set() -> None:
    now = datetime(2027, 3, 2, 12, tzinfo=UTC)

    def due(**ago: timedelta) -> Depth | None:
        ran = {depth: format_timestamp(now - one) for depth, one in ago.items()}
        return Intervals().due(Memory(ran=ran), now)  # type: ignore[arg-type] # by depth

    ever, fresh = timedelta(days=365), timedelta(seconds=1)
    assert due() == due(head=fresh, tail=fresh, all=ever) == due(head=fresh, tail=fresh, all=-ever) == "all"
    assert due(head=fresh, tail=timedelta(minutes=5), all=fresh) == "tail"
    assert due(head=-timedelta(hours=1), tail=fresh, all=fresh) == "head"
    assert due(head=fresh, tail=fresh, all=fresh) is None


class Timed(Pace):
    """Tells where each look begins to work, and where it first rests."""

    def __init__(self) -> None:
        self.acts: list[str] = []
        super().__init__()

    def begin(self) -> None:
        self.acts.append("begin")
        super().begin()

    async def give_way(self) -> None:
        self.acts.append("rest")


@in_loop
async def test_every_look_begins_before_it_rests(logins: Logins, tmp_path: Path) -> None:
    pace, memory = Timed(), MemoryFile(tmp_path, ORIGIN)
    watch = Watch(
        logins.reader, SIGNER.verifier, CheckpointStore.in_folder(tmp_path, ORIGIN), memory,
        Examiner(SIGNER.verifier, pace=pace),
    )  # fmt: skip
    async with live(logins) as log:
        await log.append(denied())
        for depth in DEPTHS:
            await log.append(denied())
            pace.acts.clear()
            await watch.run(depth)
            assert pace.acts[0] == "begin", depth
