"""What is broken on purpose: a PostgreSQL of the tests' own, service processes, and clients under load.

Everything is a real process on the loopback, and everything is bounded in time and number. Nothing
waits a while and hopes: what must happen is polled, up to a deadline.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx2 as httpx
import orjson
import psycopg
from psycopg import sql

from api import database, keys
from api.embedded import Embedded
from ledger.canonical import encode
from ledger.keys import load_or_create
from ledger.note import Verifier
from ledger.values import format_timestamp
from tests.faults import checker
from tests.faults.checker import Attempt, Log
from tests.workbench import (
    AUTHORITY,
    BUYER,
    EXPORTER,
    H200,
    PARTIES,
    activation,
    usd,
    wire,
)  # fmt: skip

ROUNDS = int(os.environ.get("CHIPLEDGER_STORM_ROUNDS", "1"))
ROOT = Path(__file__).parents[2]
ORIGIN = "faults.example/log"
START_S_MAX = 60.0
GRACE_S_MAX = 30.0
"""What a service may take after SIGTERM: its own grace of 20 s, and what follows."""
ANSWER_S_MAX = 15.0
"""How long a request may take while the database is away: connecting, waiting for a lock, both."""
POLL_S = 0.02
BUGS = ("batch_failed", "request_failed", "append_failed", "Traceback")
"""What a service logs only if it has a bug."""


def wait_for(what: str, condition: Callable[[], bool], *, seconds_max: float) -> float:
    """Poll until it is so; gives the seconds that it took."""
    started = time.monotonic()
    while not condition():
        elapsed = time.monotonic() - started
        assert elapsed < seconds_max, f"after {elapsed:.1f} s, still not: {what}"
        time.sleep(POLL_S)
    return time.monotonic() - started


# --- PostgreSQL -----------------------------------------------------------------------------------


class Postgres:
    """A server of the tests' own, which may be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._embedded = Embedded(home)

    def start(self) -> None:
        self._embedded.start()

    def stop(self) -> None:
        """In order: a fast shutdown, as an administrator would."""
        self._embedded.stop(force=True)

    def leave(self) -> None:
        """Use it no more: whoever uses it last stops it."""
        self._embedded.close()

    def url(self, name: str = "postgres", user: str = "postgres") -> str:
        return self._embedded.url(name, user)

    @property
    def pid(self) -> int | None:
        """Of the postmaster."""
        return self._embedded.status().pid

    def kill(self) -> None:
        """kill -9 of the postmaster. Its backends notice, and leave."""
        pid = self.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for("the postmaster is gone", lambda: self.pid is None, seconds_max=10)

    def kill_backend(self, random_: random.Random) -> None:
        """kill -9 of one writer's backend: the server takes all others down and recovers by itself."""
        pids = [pid for pid, *_ in self.writers()]
        if pids:
            with suppress(ProcessLookupError):
                os.kill(random_.choice(pids), signal.SIGKILL)

    def writers(self) -> list[tuple[int, str, str | None, str, Any]]:
        """(pid, state, what it waits for, query, transaction's start) of those that hold the head.

        A row lock is not in pg_locks; but `FOR UPDATE` takes a transaction id, and whoever waits for
        it has none yet.
        """
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=5) as connection:
            return connection.execute(
                "SELECT pid, state, wait_event, left(query, 60), xact_start FROM pg_stat_activity"
                " WHERE application_name = 'chipledger-writer' AND backend_xid IS NOT NULL"
                " AND wait_event_type IS DISTINCT FROM 'Lock'"
            ).fetchall()

    def backends(self, application: str, database_name: str) -> list[int]:
        """Process ids of those that serve an application."""
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=5) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = %s",
                [application, database_name],
            ).fetchall()
        return [pid for (pid,) in rows]

    def waiting_for_standby(self, pid: int) -> bool:
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=5) as connection:
            asked = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'"
            return connection.execute(asked, [pid]).fetchone() is not None

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


# --- services -------------------------------------------------------------------------------------


class Process:
    """`chipledger serve` on a port of its own."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.environment = {**environment, "CHIPLEDGER_PORT": str(self.port)}
        self.log = log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve"], cwd=ROOT,
                env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.running.poll() is None, f"it ended at its start:\n{self.tail()}"
            return self.status("/readyz") == 200

        wait_for(f"{self.url} is ready", ready, seconds_max=START_S_MAX)

    def status(self, path: str, *, seconds_max: float = ANSWER_S_MAX) -> int | None:
        """Status of a GET; None: no answer."""
        try:
            return httpx.get(self.url + path, timeout=seconds_max).status_code
        except httpx.TransportError:
            return None

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self._popen is not None
        return self._popen

    def kill(self) -> None:
        """kill -9."""
        self.running.kill()
        self.running.wait(10)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.running.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM; gives the exit status."""
        self.running.terminate()
        return self.running.wait(GRACE_S_MAX)

    def end(self) -> None:
        """By any means."""
        if self._popen is not None and self._popen.poll() is None:
            self.thaw()
            self.kill()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])

    def bugs(self) -> list[str]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [line[:2_000] for line in lines if any(word in line for word in BUGS)]


@dataclass
class Cluster:
    """Service processes on one database, and what their clients hold: keys, and the log's own."""

    postgres: Postgres
    owner: str
    processes: list[Process]
    tokens: dict[str, str] = field(repr=False)
    verifier: Verifier
    history: list[Attempt] = field(default_factory=list, repr=False)
    """Every request of every load."""

    def start(self) -> None:
        for process in self.processes:
            process.start()
        for process in self.processes:
            process.wait_until_ready()

    def say(self, *said: Said) -> list[Attempt]:
        """One after another, each answered before the next is sent; gives the last attempt of each."""
        load = Load(self, said, clients=1)
        load.start()
        load.join()
        return load.final()

    def read(self) -> Log:
        """The final log. Nobody may be writing."""
        reader = database.logins_of(self.owner).reader
        return asyncio.run(checker.read_log(self.owner, reader))

    def settle(self) -> Log:
        """Check everything that was ever answered against the log that is there now."""
        log = self.read()
        checker.assert_holds(self.history, log, self.verifier)
        for process in self.processes:
            assert not (bugs := process.bugs()), "it logged a bug:\n" + "\n".join(bugs[:5])
        return log


@contextmanager
def cluster(
    postgres: Postgres, folder: Path, *, processes: int = 2, by: Literal["home", "url"] = "home",
    start: bool = True,
) -> Iterator[Cluster]:  # fmt: skip
    """A database of its own with that many services, which find it by CHIPLEDGER_HOME or DATABASE_URL."""
    name = f"faults_{secrets.token_hex(4)}"
    database.create_database(postgres.url(), name)
    owner = postgres.url(name)
    database.prepared(owner)
    tokens = {
        party["party"]: keys.create(
            owner, "regulator" if party["party"] == AUTHORITY else "submitter", party=party["party"]
        ).token
        for party in PARTIES
    }
    key = folder / "checkpoint.key"
    verifier = load_or_create(key, origin=ORIGIN, passphrase=None).verifier
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("CHIPLEDGER_", "DATABASE_", "PG"))},
        "CHIPLEDGER_KEY_FILE": str(key),
        "CHIPLEDGER_LOG_LEVEL": "warning",
        **(
            {"CHIPLEDGER_HOME": str(postgres.home), "CHIPLEDGER_DATABASE": name}
            if by == "home"
            else {"CHIPLEDGER_HOME": str(folder), "DATABASE_URL": owner}
        ),
    }  # fmt: skip
    found = Cluster(
        postgres, owner, [Process(environment, folder / f"service-{n}.log") for n in range(processes)],
        tokens, verifier,
    )  # fmt: skip
    try:
        if start:
            found.start()
        yield found
    finally:
        for process in found.processes:
            process.end()
        postgres.start()
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(name)))


# --- what is said ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """An event as its party sends it."""

    party: str
    id: str
    body: bytes = field(repr=False)

    @property
    def name(self) -> tuple[str, str]:
        return self.party, self.id


def said(kind: str, **fields: Any) -> Said:
    """An event of that kind, as `tests.workbench.wire` makes it, of now."""
    value = wire(kind, occurred_at=format_timestamp(datetime.now(UTC)), **fields)
    return Said(value["actor"]["party"], value["id"], encode(value))


@dataclass(frozen=True)
class Trade:
    """One contract and its license, in force."""

    contract: str
    license: str
    quantity: int

    def opening(self) -> list[Said]:
        contract, license_ = self.contract, self.license
        acknowledged = [
            said("conditions.acknowledged", contract=contract, license=license_, by=by)
            for by in ((EXPORTER, "exporter"), (BUYER, "consignee"))
        ]
        return [
            said("contract.opened", contract=contract, parties=PARTIES, licenses=[license_]),
            said("policy.activated", contract=contract, **activation(H200)),
            said(
                "license.granted", contract=contract, license=license_, quantity=self.quantity,
                valid_from="2020-01-01", valid_until="2099-12-31",
            ),
            *acknowledged,
        ]  # fmt: skip

    def order(self, order: str, units: int, **fields: Any) -> Said:
        return said(
            "order.placed", contract=self.contract, license=self.license, order=order, units=units,
            **fields,
        )  # fmt: skip

    def levy(self, order: str, amount: str) -> Said:
        return said(
            "levy.settled", contract=self.contract, order=order, amount=usd(amount),
            reference=f"R-{secrets.token_hex(6)}",
        )  # fmt: skip

    def tested(self, serials: Sequence[str]) -> Said:
        results = [
            {"serial": serial, "tpp": 15832, "bandwidth_gb_s": 4800, "result": "pass"} for serial in serials
        ]
        return said("lab.tested", contract=self.contract, results=results)

    def release(self, shipment: str, order: str, serials: Sequence[str]) -> Said:
        return said(
            "shipment.requested", contract=self.contract, license=self.license, order=order,
            shipment=shipment, serials=list(serials),
        )  # fmt: skip


def trade(quantity: int) -> Trade:
    contract = f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"
    return Trade(contract, f"D-{secrets.token_hex(5).upper()}", quantity)


def traffic(trades: Sequence[Trade], random_: random.Random) -> Iterator[Said]:
    """Orders that pass and orders that do not, levies, laboratory results: whatever takes facts."""
    for number in itertools.count():
        one = random_.choice(trades)
        dice = random_.random()
        if dice < 0.7:
            yield one.order(f"PO-{number}", random_.randint(1, 4))
        elif dice < 0.8:
            yield one.levy(f"PO-{random_.randrange(number + 1)}", "100.00")
        elif dice < 0.9:
            yield one.tested([f"SN{number:06}{letter}" for letter in "ABC"])
        else:
            yield said("order.placed", contract=one.contract, license="D-NONE", order=f"PX-{number}")


# --- load -----------------------------------------------------------------------------------------


class Connection:
    """HTTP/1.1 with keep-alive, and nothing that a test does not need."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, token: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(
            b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b" % (token.encode(), len(body), body)
        )
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(first.split()[1]), headers, answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Load:
    """Clients that send events to any of the services, and again with the same id where they must.

    Runs in a thread of its own, so that a test can break things meanwhile. It ends when the events
    end, when told to stop, or after `seconds_max`; what was begun then has `settle_s` to be answered.
    """

    def __init__(
        self, cluster: Cluster, events: Iterable[Said], *, clients: int = 16, seconds_max: float = 120,
        settle_s: float = 60, patience_s: float = 30, pause_s: float = 0.1, think_s: float = 0.0,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._events = iter(events)
        self._clients = clients
        self._seconds_max, self._settle_s = seconds_max, settle_s
        self._patience_s, self._pause_s, self._think_s = patience_s, pause_s, think_s
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None
        self._deadline = 0.0
        self.history: list[Attempt] = []
        self.unanswered: list[Said] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new, see what was begun to its end."""
        self._stopped.set()
        self.join()

    def join(self) -> None:
        """Wait for the end; every event that was sent must have its answer."""
        self._thread.join(self._seconds_max + self._settle_s + self._patience_s + 10)
        assert not self._thread.is_alive(), "the load did not end"
        if self._error is not None:
            raise self._error
        self._cluster.history += self.history
        assert not self.unanswered, (
            f"{len(self.unanswered)} events never got a final answer; last of the statuses:"
            f" {Counter(one.status for one in self.history[-200:])}"
        )
        assert not (bad := self.statuses.keys() - {None, 200, 201, 409, 422, 429, 503}), bad
        silent = [one for one in self.history if one.status == 503 and not one.retry_after]
        assert not silent, "503 without Retry-After"

    @property
    def statuses(self) -> Counter[int | None]:
        """How often each was answered; None: no answer."""
        return Counter(one.status for one in self.history)

    @property
    def answered(self) -> int:
        return sum(one.status in (200, 201, 422) for one in self.history)

    def final(self) -> list[Attempt]:
        """The last attempt of each event, in the order of their answers."""
        return list({one.name: one for one in self.history}.values())

    def wait_for_progress(self, events: int = 20, *, seconds_max: float = START_S_MAX) -> float:
        """Until so many more are answered; gives the seconds."""
        goal = self.answered + events
        return wait_for(
            f"{events} more events are answered",
            lambda: self.answered >= goal or not self._thread.is_alive(),
            seconds_max=seconds_max,
        )

    def wait_for_status(self, status: int, *, seconds_max: float) -> None:
        """Until one more request is answered with it."""
        before = self.statuses[status]
        wait_for(
            f"a request is answered {status}",
            lambda: self.statuses[status] > before,
            seconds_max=seconds_max,
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:
            self._error = error  # told by `join`, in the test's thread

    async def _all(self) -> None:
        end = time.monotonic() + self._seconds_max
        self._deadline = end + self._settle_s
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._client(end))

    async def _client(self, end: float) -> None:
        connections = {process.port: Connection(process.port) for process in self._cluster.processes}
        try:
            while not self._stopped.is_set() and time.monotonic() < end:
                one = next(self._events, None)
                if one is None:
                    return
                await self._until_answered(one, connections)
                if self._think_s:  # leaves some of two cores to those who start
                    await asyncio.sleep(self._think_s * self._random.random() * 2)
        finally:
            for connection in connections.values():
                connection.close()

    async def _until_answered(self, one: Said, connections: dict[int, Connection]) -> None:
        while True:
            port = self._random.choice(list(connections))
            attempt = await self._attempt(one, connections[port])
            self.history.append(attempt)
            if attempt.status not in (None, 429, 503):
                return
            if self._stopped.is_set():
                self._deadline = min(self._deadline, time.monotonic() + self._settle_s)
            if time.monotonic() > self._deadline:
                self.unanswered.append(one)
                return
            await asyncio.sleep(self._pause_s * self._random.random() * 2)

    async def _attempt(self, one: Said, connection: Connection) -> Attempt:
        sent = time.monotonic_ns()
        try:
            async with asyncio.timeout(self._patience_s):
                token = self._cluster.tokens[one.party]
                status, headers, answer = await connection.post(token, one.body)
        except (OSError, EOFError, TimeoutError):
            connection.close()
            return Attempt(one.party, one.id, one.body, sent)
        answered = time.monotonic_ns()
        problem = ""
        if headers.get("content-type", "").startswith("application/problem"):
            problem = orjson.loads(answer)["type"].removeprefix("/problems/")
        return Attempt(
            one.party, one.id, one.body, sent, answered, status, answer, problem,
            headers.get("retry-after"), replayed="idempotent-replayed" in headers,
        )  # fmt: skip


@contextmanager
def under(load: Load) -> Iterator[Load]:
    """The block under that load; the load has ended after it."""
    load.start()
    try:
        yield load
    except BaseException:
        load._stopped.set()
        load._thread.join(200)
        raise
    load.stop()
