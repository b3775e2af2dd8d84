"""From the commit of a revocation to its arrival at 100 endpoints, one of which hangs; idle, and importing.

    python -m tests.benchmarks.webhooks [--rounds N]

The service, its PostgreSQL and all receivers share the machine. A timing fails nothing; an arrival that is
missing does.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api import database
from api.embedded import Embedded
from api.telemetry import configure_logging
from tests.api.contract import LiveContract
from tests.api.receiver import Request, receiving, subscribed
from tests.benchmarks.load import BenchFailed
from tests.faults.harness import Process
from tests.service import Service, settings_for
from tests.workbench import BUYER

ENDPOINTS = 100
OWNERS = 4
ARRIVES_S_MAX = 60.0
ORDERS = 500
"""In one request of an import."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.webhooks")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    configure_logging("error")
    with _service() as service:
        for words, imports in (("alone", False), ("while an import runs", True)):
            seconds = sorted(_measured(service, rounds, imports=imports))
            print(  # what a benchmark is for
                f"revocation to {ENDPOINTS} endpoints, one hangs, {words}: p50 {_at(seconds, 0.5):.2f} s,"
                f" p99 {_at(seconds, 0.99):.2f} s, max {seconds[-1]:.2f} s, {len(seconds)} arrivals"
            )


@contextmanager
def _service() -> Iterator[Service]:
    """`chipledger serve`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder, Embedded(Path(folder) / "postgres") as server:
        server.start()
        database.create_database(server.url("postgres", "postgres"), "bench")
        owner = server.url("bench", "postgres")
        settings = settings_for(owner, Path(folder), clock="simulated")
        environment = {
            "CHIPLEDGER_HOME": folder, "DATABASE_URL": owner, "CHIPLEDGER_CLOCK": "simulated",
            "CHIPLEDGER_LOG_LEVEL": "warning", "CHIPLEDGER_WEBHOOK_HOSTS": settings.webhook_hosts,
        }  # fmt: skip
        process = Process({**os.environ, **environment}, Path(folder) / "service.log")
        process.start()
        try:
            process.wait_until_ready()
            yield Service(process.url, settings, database.logins_of(owner), owner)
        finally:
            process.end()


def _measured(service: Service, rounds: int, *, imports: bool) -> list[float]:
    """Seconds from the answer to a revocation to each arrival; what came before the answer counts as 0."""
    release, over = threading.Event(), threading.Event()
    arrived: list[tuple[str, float]] = []

    def behave(request: Request) -> None:
        if request.event["data"].get("kind") == "license.revoked":
            arrived.append((request.path, time.monotonic()))
            if request.path == "/0":
                release.wait(ARRIVES_S_MAX)

    seconds: list[float] = []
    with receiving(behave) as receiver:
        contracts = [LiveContract(service).open() for _ in range(rounds)]
        names = [one.contract for one in contracts]
        for number in range(ENDPOINTS):
            party = f"owner-{number % OWNERS}"
            subscribed(service, f"{receiver.url}/{number}", party=party, contracts=names, kinds=["license.*"])
        importing = threading.Thread(target=_import, args=[service, over])
        if imports:
            importing.start()
        try:
            for contract in contracts:
                arrived.clear()
                contract.accepted("license.revoked")
                committed = time.monotonic()
                _wait(lambda: len({path for path, _ in arrived}) >= ENDPOINTS - 1)
                seconds += [max(0.0, at - committed) for path, at in list(arrived) if path != "/0"]
        finally:
            release.set()
            over.set()
            if imports:
                importing.join()
    return seconds


def _import(service: Service, over: threading.Event) -> None:
    contract = LiveContract(service, quantity=100_000_000).open()
    number = 0
    with service.client("submitter", BUYER) as client:
        while not over.is_set():
            orders = [
                contract.event("order.placed", order=f"PO-{number + n}", units=1) for n in range(ORDERS)
            ]
            client.post("/v1/events:batch", json=orders).raise_for_status()
            number += ORDERS


def _wait(reached: object) -> None:
    deadline = time.monotonic() + ARRIVES_S_MAX
    assert callable(reached)
    while not reached():
        if time.monotonic() > deadline:
            raise BenchFailed("a revocation did not arrive everywhere")
        time.sleep(0.005)


def _at(seconds: list[float], part: float) -> float:
    return seconds[min(len(seconds) - 1, math.ceil(part * len(seconds)) - 1)]


if __name__ == "__main__":
    main()
