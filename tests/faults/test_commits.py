"""The instant of COMMIT: its answer is lost, it is lost itself, or the database falls silent."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import database
from ledger import store
from ledger.errors import LedgerError, OutcomeUnknown, Unavailable
from ledger.event import submission_of
from ledger.note import Signer
from ledger.sequencer import Sequencer
from policies.engine import Engine
from tests.faults.harness import ROUNDS, Load, Postgres, cluster, trade, traffic, under, wait_for
from tests.faults.proxy import Proxy
from tests.workbench import wire

LOSSY = 0.2
rounds = pytest.mark.parametrize("round_", range(ROUNDS))


@rounds
def test_a_commit_whose_answer_is_lost_is_asked_again(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    """Some COMMITs are lost on the way there or back: 503, then the one entry, or a new one."""
    proxies: list[Proxy] = []
    try:
        with cluster(postgres, tmp_path, by="url", start=False) as ours:
            for number, process in enumerate(ours.processes):
                folder = tmp_path / f"{number}"
                folder.mkdir()
                proxy = Proxy(ours.owner, folder, seed=10 * round_ + number)
                proxy.start()
                proxies.append(proxy)
                process.environment["DATABASE_URL"] = proxy.url
            ours.start()
            one = trade(100_000)
            ours.say(*one.opening())
            for proxy in proxies:
                proxy.lossy = LOSSY
            load = Load(ours, traffic([one], random.Random(round_)), think_s=0.01, seed=round_)
            with under(load):
                load.wait_for_progress(300, seconds_max=90)
            for proxy in proxies:
                proxy.lossy = 0.0
            ours.settle()
            fates = sum((proxy.fates for proxy in proxies), Counter[str]())
            assert fates["lost before"] > 0
            assert fates["lost after"] > 0
            problems = Counter(attempt.problem for attempt in load.history)
            assert problems["outcome-unknown"] > 0
            assert load.statuses[200] > 0, "no lost answer was found again"
    finally:
        for proxy in proxies:
            proxy.close()


def test_a_database_that_falls_silent_is_answered_in_bounded_time(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP of the writer's backend: no error, no end of the connection, nothing."""
    monkeypatch.setattr(store, "TRANSACTION_S_MAX", 1.0)
    name = f"silent_{os.getpid()}"
    database.create_database(postgres.url(), name)
    logins = database.prepared(postgres.url(name))
    signer = Signer("silent.example/log", Ed25519PrivateKey.generate())

    async def play() -> None:
        ledger = Sequencer(logins.writer, judge=Engine(), signer=signer)
        await ledger.open()
        try:
            [first] = await ledger.append([submission_of(wire("order.placed"))])
            assert not isinstance(first, LedgerError)
            [pid] = postgres.backends("chipledger-writer", name)
            os.kill(pid, signal.SIGSTOP)
            try:
                again = submission_of(wire("order.placed"))
                asked = time.monotonic()
                with pytest.raises((Unavailable, OutcomeUnknown)):
                    await ledger.append([again])
                assert time.monotonic() - asked < 10
            finally:
                os.kill(pid, signal.SIGCONT)
            [second] = await ledger.append([again])
            assert not isinstance(second, LedgerError)
            assert second.receipt.index == first.receipt.index + 1
        finally:
            await ledger.close()

    asyncio.run(play())


@contextmanager
def no_standby(postgres: Postgres) -> Iterator[None]:
    """Every commit waits for a standby that does not exist."""

    def commits_wait() -> bool:
        with ThreadPoolExecutor(1) as thread, psycopg.connect(postgres.url(), autocommit=True) as probe:
            pid = probe.info.backend_pid
            asked = thread.submit(probe.execute, "SELECT pg_logical_emit_message(true, 'probe', '')")
            while not asked.done():
                if postgres.waiting_for_standby(pid):
                    probe.cancel_safe()
                    asked.result()
                    return True
            return False

    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try:
            admin.execute("SELECT pg_reload_conf()")
            wait_for("commits wait", commits_wait, seconds_max=30)
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")


def test_a_commit_that_no_standby_has_is_never_acknowledged(postgres: Postgres) -> None:
    """Cancelled as it waits for a standby, COMMIT reports success with a notice: nobody knows if it lasts.

    The same event again finds its entry, and waits for the standby as the first attempt did.
    """
    name = f"alone_{os.getpid()}"
    database.create_database(postgres.url(), name)
    logins = database.prepared(postgres.url(name))
    signer = Signer("alone.example/log", Ed25519PrivateKey.generate())

    async def play() -> None:
        ledger = Sequencer(logins.writer, judge=Engine(), signer=signer)
        await ledger.open()
        event = submission_of(wire("order.placed"))
        try:
            with no_standby(postgres):
                for _ in range(2):  # as a new entry, and as a replay
                    asked = asyncio.create_task(ledger.append([event]))
                    await asyncio.to_thread(cancel_its_wait, postgres, name)
                    with pytest.raises(OutcomeUnknown, match="not known to be replicated"):
                        await asked
            [again] = await ledger.append([event])
            assert not isinstance(again, LedgerError)
            assert (again.replayed, again.receipt.index) == (True, 1)
        finally:
            await ledger.close()

    asyncio.run(play())


def cancel_its_wait(postgres: Postgres, name: str) -> None:
    """As an administrator would who does not know what the writer waits for."""

    def waits() -> bool:
        return any(map(postgres.waiting_for_standby, postgres.backends("chipledger-writer", name)))

    wait_for("the commit waits for a standby", waits, seconds_max=20)
    [pid] = postgres.backends("chipledger-writer", name)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute("SELECT pg_cancel_backend(%s)", [pid])
