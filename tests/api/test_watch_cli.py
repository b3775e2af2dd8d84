"""`chipledger watch` and `chipledger drill tamper`: what they print, and the statuses that alarms rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.database import Logins
from api.examine.look import Progress
from api.settings import Settings
from api.watch import Run, Watch
from api.watch_cli import _watch
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import Unavailable
from ledger.findings import Depth
from ledger.watch_memory import MemoryFile
from tests.api.test_cli import Run as Told
from tests.api.test_watch import damage
from tests.ledger.live_log import denied, in_loop, live, simulated, tell
from tests.ledger.sample_log import ORIGIN, SIGNER


def watch(logins: Logins, folder: Path, *words: str) -> Told:
    """With no more than a reader's login."""
    environment = {"CHIPLEDGER_READER_URL": logins.reader, "DATABASE_URL": None}
    command = ["watch", "--key", str(SIGNER.verifier), "--store", str(folder), *words]
    result = CliRunner().invoke(app, command, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Told(result.exit_code, result.stdout, result.stderr)


def test_a_sound_log_is_0_a_damaged_one_1_and_stays_1_until_it_is_explained(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    @in_loop
    async def write() -> None:
        async with live(logins) as log:
            await log.append(denied(), denied())

    write()
    told = watch(logins, tmp_path, "--once")
    assert (told.status, " INTACT all, entries 0 to 2, 3 decisions" in told.out) == (0, True)
    damage(owner, "UPDATE tiles SET n = n; UPDATE entries SET kind = 'order.paid' WHERE index = 1")
    told = watch(logins, tmp_path, "--once")
    assert told.status == 1
    assert "entry 1, kind: column altered (is sha256:" in told.out
    # A watch that goes on ends where it finds something.
    assert watch(logins, tmp_path).status == 1
    damage(owner, "UPDATE entries SET kind = 'levy.settled' WHERE index = 1")
    told = watch(logins, tmp_path, "--once", "--depth", "head")
    assert (told.status, " UNEXPLAINED head" in told.out) == (1, True)
    told = watch(logins, tmp_path, "--explain", "a slip, put right")
    assert (told.status, told.out) == (0, "explained: entry 1, kind: column altered (is sha256:"
        + told.out.partition("(is sha256:")[2])  # fmt: skip
    assert watch(logins, tmp_path, "--once", "--depth", "tail").status == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--once", "--depth", "deep"), "depth is deep, must be head, tail, all"),
        (("--explain", "nothing"), "no failure waits for an explanation"),
    ],
)
def test_what_cannot_be_used_is_2(logins: Logins, tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    told = watch(logins, tmp_path, *words)
    assert told.status == 2
    assert why in told.err


def test_a_log_under_another_key_is_not_this_log(logins: Logins, tmp_path: Path) -> None:
    @in_loop
    async def write() -> None:
        async with live(logins):
            pass

    write()
    key = str(SIGNER.verifier)
    stranger = key.replace("h200", "h201")
    environment = {"CHIPLEDGER_READER_URL": logins.reader, "DATABASE_URL": None}
    command = ["watch", "--key", stranger, "--store", str(tmp_path), "--once"]
    result = CliRunner().invoke(app, command, env=environment)
    assert result.exit_code == 2  # its key id belongs to its name


def test_the_drill_finds_what_it_does_and_leaves_the_log_alone(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    @in_loop
    async def write() -> None:
        clock = simulated("2027-01-01T00:00:00Z")
        async with live(logins, clock=clock) as log:
            await tell(log, clock)

    write()
    environment = {"DATABASE_URL": owner, "CHIPLEDGER_HOME": str(tmp_path)}
    result = CliRunner().invoke(app, ["drill", "tamper", "--rounds", "1"], env=environment)
    assert result.exit_code == 0, result.output
    lines = {line.rsplit(maxsplit=4)[0].strip(): line.split()[-4:] for line in result.stdout.splitlines()[1:]}
    assert lines["edit a fact"] == ["1", "1", "1", "1"]
    assert lines["rewrite everything"] == ["1", "1", "1", "0"]
    assert lines["edit a checkpoint"] == ["1", "1", "1", "1"]
    assert watch(logins, tmp_path, "--once").status == 0


def test_what_it_remembers_says_how_far_the_log_was_sound(logins: Logins, tmp_path: Path) -> None:
    @in_loop
    async def write() -> None:
        async with live(logins) as log:
            await log.append(denied())

    write()
    assert watch(logins, tmp_path, "--once").status == 0
    [path] = tmp_path.glob("*.watch")
    assert json.loads(path.read_text())["verified"]["size"] == 2


class Away(Watch):
    """Its database is away for the first two looks."""

    asked: list[Depth]

    async def run(self, depth: Depth, progress: Progress | None = None) -> Run:
        assert depth == "all", "it has not yet looked at everything"
        self.asked.append(depth)
        if len(self.asked) < 3:
            raise Unavailable("the database is away")
        return await super().run(depth, progress)


def test_a_watch_that_finds_the_database_away_begins_with_everything_all_the_same(
    logins: Logins, owner: str, tmp_path: Path
) -> None:
    @in_loop
    async def write() -> None:
        async with live(logins) as log:
            await log.append(denied())

    @in_loop
    async def looked() -> None:
        memory, store = MemoryFile(tmp_path, ORIGIN), CheckpointStore.in_folder(tmp_path, ORIGIN)
        away = Away(logins.reader, SIGNER.verifier, store, memory)
        away.asked = []
        settings = Settings().model_copy(update={"integrity_head_seconds": 0.1})
        assert not await _watch(away, settings)
        assert away.asked == ["all"] * 3

    write()
    assert watch(logins, tmp_path, "--once").status == 0  # all of it, a moment ago
    damage(owner, "UPDATE facts SET data = '{}' WHERE name = 'chain'")
    looked()
