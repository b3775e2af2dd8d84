"""Processes and the database are killed, frozen and stopped under load; the checker judges what is left."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg
import pytest

from api import database
from ledger.store import APPLICATION_NAME, IDLE_IN_TRANSACTION_TIMEOUT_MS, LOCK_TIMEOUT_MS, WRITER_OPTIONS
from tests.faults.harness import (
    ANSWER_S_MAX,
    ROUNDS,
    Cluster,
    Load,
    Postgres,
    cluster,
    trade,
    traffic,
    under,
    wait_for,
)  # fmt: skip

BY: tuple[Literal["home", "url"], ...] = ("home", "url")
AWAY_S = 18
"""Long enough for a retry at 1, 2, 4, 8, 16 s to be in its longest pause when the database is back."""
POINTS = 3
"""Faults in one run."""
THAW_S_MAX = (LOCK_TIMEOUT_MS + IDLE_IN_TRANSACTION_TIMEOUT_MS) / 1_000 + 5
"""Until others commit past a frozen holder: its timeout and theirs, and some for two busy cores."""
rounds = pytest.mark.parametrize("round_", range(ROUNDS))


@contextmanager
def _loaded(
    postgres: Postgres, folder: Path, round_: int, *, by: Literal["home", "url"] = "home",
    patience_s: float = 30, processes: int = 2, clients: int = 8,
) -> Iterator[tuple[Cluster, Load, random.Random]]:  # fmt: skip
    """Services under mixed traffic on two contracts; at the end everything is checked."""
    random_ = random.Random(round_)
    with cluster(postgres, folder, processes=processes, by=by) as ours:
        trades = [trade(600), trade(100_000)]
        for one in trades:
            ours.say(*one.opening())
        load = Load(ours, traffic(trades, random_), seed=round_, think_s=0.03, patience_s=patience_s)
        with under(load):
            load.wait_for_progress()
            yield ours, load, random_
        ours.settle()


@rounds
def test_kill_9_of_the_service_loses_nothing_acknowledged(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    with _loaded(postgres, tmp_path, round_, by=BY[round_ % 2]) as (ours, load, random_):
        for _ in range(POINTS):
            victim = random_.choice(ours.processes)
            time.sleep(random_.random() / 2)  # where in its work it is hit
            victim.kill()
            load.wait_for_progress(10)  # the other one goes on
            victim.start()
            victim.wait_until_ready()
    assert load.statuses[None] > 0, "no request was ever cut off: the kills hit nothing"


@rounds
def test_kill_9_of_postgresql_loses_nothing_acknowledged(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    """The postmaster, or one backend: then the server takes everything down and recovers by itself."""
    refused = 0
    with _loaded(postgres, tmp_path, round_) as (_, load, random_):
        for point in range(POINTS):
            time.sleep(random_.random() / 2)
            before = load.statuses[503]
            if point % 2:
                postgres.kill_backend(random_)
            else:
                postgres.kill()
                load.wait_for_status(503, seconds_max=ANSWER_S_MAX)
                postgres.start()
            wait_for("PostgreSQL answers", postgres.answers, seconds_max=30)
            resumed_s = load.wait_for_progress()
            assert resumed_s < ANSWER_S_MAX, f"the services took {resumed_s:.1f} s to resume"
            refused += load.statuses[503] - before
    assert refused > 0


@rounds
def test_a_database_that_goes_away_and_comes_back(postgres: Postgres, tmp_path: Path, round_: int) -> None:
    """Long enough that whoever retries at growing intervals is caught waiting when it is back."""
    with _loaded(postgres, tmp_path, round_) as (ours, load, random_):
        time.sleep(random_.random() / 2)
        postgres.stop()
        gone = time.monotonic()
        for process in ours.processes:
            asked = time.monotonic()
            assert process.status("/readyz") == 503
            assert process.status("/livez", seconds_max=2) == 200
            assert time.monotonic() - asked < ANSWER_S_MAX
        load.wait_for_status(503, seconds_max=ANSWER_S_MAX)
        wait_for("it is away for a while", lambda: time.monotonic() - gone > AWAY_S, seconds_max=AWAY_S + 10)
        postgres.start()
        back = time.monotonic()
        for process in ours.processes:
            process.wait_until_ready()
            resumed_s = time.monotonic() - back
            assert resumed_s < 6, f"{process.url} took {resumed_s:.1f} s to resume"
        load.wait_for_progress(seconds_max=10)


@rounds
def test_a_frozen_process_does_not_stop_the_others(postgres: Postgres, tmp_path: Path, round_: int) -> None:
    """SIGSTOP while it holds the head; when it wakes, its batch is refused and it works on."""
    with _loaded(postgres, tmp_path, round_, patience_s=3) as (ours, load, random_):
        caught = _freeze_in_the_lock(ours, random_)
        try:
            resumed_s = load.wait_for_progress(10, seconds_max=60)
        finally:
            for process in ours.processes:
                process.thaw()
        assert resumed_s < THAW_S_MAX, f"the others took {resumed_s:.1f} s past one frozen in {caught}"
        load.wait_for_progress()
        for process in ours.processes:
            assert process.status("/readyz") == 200
    assert load.statuses[503] + load.statuses[None] > 0


def _freeze_in_the_lock(ours: Cluster, random_: random.Random, *, tries_max: int = 300) -> str:
    """Freeze one service until the backend of a frozen one has the head; says where it was."""
    for _ in range(tries_max):
        victim = random_.choice(ours.processes)
        time.sleep(random_.random() / 20)
        victim.freeze()
        held = ours.postgres.writers()
        time.sleep(0.3)  # what it had already sent is done by then
        still = {row[0]: row for row in ours.postgres.writers() if row in held}
        if still:
            _, state, waits, query, _ = next(iter(still.values()))
            return f"{state}, {waits}: {query}"
        victim.thaw()
    raise AssertionError(f"in {tries_max} tries no process was frozen while it held the head")


@rounds
def test_a_writer_frozen_anywhere_does_not_stop_the_others(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    """The same at each place where a frozen process leaves its backend waiting, on purpose."""
    with _loaded(postgres, tmp_path, round_, processes=1) as (ours, load, _):
        for where in ("between statements", "in a pipeline", "in a COPY"):
            with _frozen_writer(database.logins_of(ours.owner).writer, where):
                wait_for("the head is held", lambda: bool(postgres.writers()), seconds_max=10)
                resumed_s = load.wait_for_progress(10, seconds_max=60)
                assert resumed_s < THAW_S_MAX, f"{where}: the others took {resumed_s:.1f} s"


@contextmanager
def _frozen_writer(url: str, where: str) -> Iterator[None]:
    """A connection like a writer's, which has locked the head and says no more."""
    frozen = psycopg.connect(url, autocommit=True, options=WRITER_OPTIONS, application_name=APPLICATION_NAME)
    lock = "SELECT 1 FROM head WHERE id = 1 FOR UPDATE"
    try:
        if where == "in a pipeline":
            frozen.pgconn.enter_pipeline_mode()
            for statement in ("BEGIN", lock):
                frozen.pgconn.send_query_params(statement.encode(), None)
            frozen.pgconn.send_flush_request()
            frozen.pgconn.flush()
        else:
            frozen.execute("BEGIN")
            frozen.execute(lock)
            if where == "in a COPY":
                frozen.pgconn.exec_(b"COPY entries FROM STDIN (FORMAT BINARY)")
        yield
    finally:
        frozen.close()


@rounds
def test_graceful_shutdown_finishes_what_it_took(postgres: Postgres, tmp_path: Path, round_: int) -> None:
    with _loaded(postgres, tmp_path, round_) as (ours, load, random_):
        for process in ours.processes:
            time.sleep(random_.random() / 2)
            began = time.monotonic()
            assert process.terminate() == 0
            assert time.monotonic() - began < 10, "it had next to nothing to finish"
            load.wait_for_progress(10)
            process.start()
            process.wait_until_ready()
    # What it had taken it answered: only a connection that carried no answer yet may be cut.
    assert load.statuses[503] == 0


@rounds
def test_the_last_user_stops_the_embedded_server(tmp_path: Path, round_: int) -> None:
    """SIGTERM reaches the end of `serve`: the database that nobody uses is not left running."""
    server = Postgres(tmp_path / "home")
    server.start()
    try:
        with cluster(server, tmp_path, processes=1) as ours:
            ours.say(*trade(10).opening())
            server.leave()
            assert server.pid is not None
            assert ours.processes[0].terminate() == 0
            assert server.pid is None
            server.start()
            ours.settle()
    finally:
        server.stop()
