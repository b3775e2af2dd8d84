"""The load generator: raw HTTP/1.1 on keep-alive connections, in a process of its own.

Every contender gets the same one. It must be cheap, for it shares the machine with what it measures:
requests are bytes made beforehand, and of an answer only status and length are read. A client sends its
next request when it has its answer. An answer that is not the wanted one ends the run.

The plan comes as JSON on standard input, what was measured goes as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import cast

import psutil  # type: ignore[import-untyped]
import uvloop

from tests.benchmarks import attestations

HOST = "127.0.0.1"  # never anything else
DRAIN_S_MAX = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class BenchFailed(Exception):
    """A contender did not answer as it must: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Plan:
    port: int
    path: str
    token: str
    clients: int
    events: int
    """In each request; more than one go as a JSON array."""
    warm_s: float
    measure_s: float
    requests_max: int
    service: int
    """Process id, for its CPU time; likewise of PostgreSQL's first process."""
    postgres: int
    sampled: bool = False
    """The service takes signals that bracket the measured time (`tests.benchmarks.sampling`)."""


@dataclass(frozen=True, slots=True)
class Measured:
    events_per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    seconds: float
    service_us: float
    """CPU time for each event."""
    postgres_us: float
    load_us: float
    others: float
    """Share of the machine's CPU time that went to none of these three: how far to trust the rest."""

    @classmethod
    def by(cls, plan: Plan) -> Measured:
        """Run the generator in a process of its own. Raises BenchFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.load"],
            input=json.dumps(asdict(plan)),
            capture_output=True,
            text=True,
            timeout=plan.warm_s + plan.measure_s + 2 * DRAIN_S_MAX,
        )
        if done.returncode:
            raise BenchFailed(f"{plan.path}: {done.stderr.strip().splitlines()[-1]}")
        return cls(**json.loads(done.stdout))


class Load:
    """What all clients share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.wanted = b"201" if plan.events == 1 else b"200"
        self.requests: Iterator[bytes] = iter(_requests(plan))
        self.latencies_s: list[float] = []
        self.measuring = self.stopping = False
        self.running = plan.clients
        self.ended = asyncio.Event()
        self.failure: str | None = None

    def fail(self, why: str) -> None:
        self.failure = self.failure or why
        self.ended.set()

    async def run(self) -> Measured:
        loop, plan = asyncio.get_running_loop(), self.plan
        loop.set_exception_handler(lambda _, found: self.fail(f"a bug of the generator: {found}"))
        for _ in range(plan.clients):
            await loop.create_connection(lambda: Client(self), HOST, plan.port)
        await self._until(plan.warm_s)
        before = _cpu(plan)
        if plan.sampled:
            os.kill(plan.service, signal.SIGUSR1)
        self.measuring, began = True, time.perf_counter()
        await self._until(plan.measure_s)
        self.measuring = False
        if plan.sampled:
            os.kill(plan.service, signal.SIGUSR2)
        seconds = time.perf_counter() - began
        after = _cpu(plan)
        self.stopping = True
        if not self.ended.is_set():
            await self._until(DRAIN_S_MAX)
            if not self.ended.is_set():
                self.fail(f"{self.running} clients wait for an answer for {DRAIN_S_MAX:.0f} s")
        if self.failure is not None:
            raise BenchFailed(self.failure)
        if len(self.latencies_s) < 10:
            raise BenchFailed(f"only {len(self.latencies_s)} answers in {plan.measure_s} s")
        events = len(self.latencies_s) * plan.events
        cuts = quantiles(self.latencies_s, n=100, method="inclusive")
        spent = [b - a for a, b in zip(before, after, strict=True)]
        service, postgres, own = (1e6 * one / events for one in spent[:3])
        return Measured(
            events_per_s=events / seconds,
            p50_ms=cuts[49] * 1e3,
            p99_ms=cuts[98] * 1e3,
            requests=len(self.latencies_s),
            seconds=seconds,
            service_us=service,
            postgres_us=postgres,
            load_us=own,
            others=max(0.0, spent[3] - sum(spent[:3])) / (seconds * (os.cpu_count() or 1)),
        )

    async def _until(self, seconds: float) -> None:
        """Wait, unless the run ends before."""
        try:
            await asyncio.wait_for(self.ended.wait(), seconds)
        except TimeoutError:
            return


class Client(asyncio.Protocol):
    """One connection with one request under way."""

    __slots__ = ("_answer", "_done", "_length", "_load", "_sent", "_transport")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = bytearray()
        self._length = 0
        """Of head and body; 0 while the head is not whole."""
        self._sent = 0.0
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        self._send()

    def _send(self) -> None:
        request = None if self._load.stopping else next(self._load.requests, None)
        if request is None:
            self._done = True
            self._load.running -= 1
            self._transport.close()
            if not self._load.running:
                self._load.ended.set()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        answer += data
        if not self._length:
            end = answer.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(answer, 0, end + 2)
            if found is None:
                self._load.fail("an answer has no content-length")
                return
            self._length = end + 4 + int(found[1])
        if len(answer) < self._length:
            return
        now, load = time.perf_counter(), self._load
        if not _as_wanted(answer, load):
            load.fail(f"answered with {bytes(answer[:2000])!r}")
            return
        if load.measuring:
            load.latencies_s.append(now - self._sent)
        del answer[:]
        self._length = 0
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done:
            self._load.fail(f"a connection ended: {exc!r}")


def _as_wanted(answer: bytearray, load: Load) -> bool:
    if answer[9:12] != load.wanted:
        return False
    events = load.plan.events
    return events == 1 or answer.count(b'"status":201,') == events


def _requests(plan: Plan) -> list[bytes]:
    head = (
        f"POST {plan.path} HTTP/1.1\r\nhost: {HOST}:{plan.port}\r\n"
        f"authorization: Bearer {plan.token}\r\ncontent-type: application/json\r\ncontent-length: "
    ).encode()
    made = []
    numbers = itertools.count()
    for _ in range(plan.requests_max):
        bodies = [attestations.body(next(numbers)) for _ in range(plan.events)]
        content = bodies[0] if plan.events == 1 else b"[" + b",".join(bodies) + b"]"
        made.append(b"%b%d\r\n\r\n%b" % (head, len(content), content))
    return made


def _cpu(plan: Plan) -> tuple[float, float, float, float]:
    """Seconds of CPU: the service, PostgreSQL with all of its processes, this process, the machine."""
    postmaster = psutil.Process(plan.postgres)
    own = postmaster.cpu_times()
    postgres = _spent(postmaster) + own.children_user + own.children_system
    for child in postmaster.children(recursive=True):
        try:
            postgres += _spent(child)
        except psutil.NoSuchProcess:
            continue
    all_ = psutil.cpu_times()
    busy = sum(all_) - all_.idle - getattr(all_, "iowait", 0.0)
    return _spent(psutil.Process(plan.service)), postgres, time.process_time(), busy


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    load = Load(plan)
    gc.collect()
    gc.disable()
    try:
        measured = uvloop.run(load.run())
    except (BenchFailed, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    json.dump(asdict(measured), sys.stdout)


if __name__ == "__main__":
    main()
