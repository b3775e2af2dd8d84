"""The services under load: each in a process of its own, on a database of its own, on one server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg

from api import database, keys
from api.embedded import Embedded
from tests.benchmarks import attestations, naive
from tests.benchmarks.attestations import CONTRACT, DEVICES, SERIALS
from tests.benchmarks.load import HOST, BenchFailed
from tests.workbench import (
    AUTHORITY,
    BUYER,
    EXPORTER,
    FORWARDER,
    H200,
    LABORATORY,
    LICENSE,
    PARTIES,
    activation,
    usd,
    wire,
)

START_S_MAX = 60.0
STOP_S_MAX = 30.0
ORIGIN = "bench.chipledger.local/h200"


@dataclass(frozen=True, slots=True)
class Service:
    """A process that takes load."""

    port: int
    process: int
    token: str = "none"
    """What it wants as a bearer; the naive ones want nothing."""


@contextmanager
def naive_service(server: Embedded, how: str, folder: Path) -> Iterator[Service]:
    url = _fresh_database(server, f"bench_naive_{how}")
    with psycopg.connect(url) as connection:
        connection.execute(naive.TABLES)
    port = _free_port()
    arguments = ["-m", "tests.benchmarks.naive", how, url, str(port)]
    with _running(arguments, os.environ, port, folder / f"naive-{how}.log") as process:
        yield Service(port, process)


def floor_database(server: Embedded) -> str:
    url = _fresh_database(server, "bench_floor")
    with psycopg.connect(url) as connection:
        connection.execute(naive.TABLES)
    return url


@contextmanager
def chipledger(server: Embedded, folder: Path, *, module: str = "api.cli") -> Iterator[Service]:
    """`chipledger serve`, on a log with a contract whose devices are in use."""
    url = _fresh_database(server, "bench_chipledger")
    port = _free_port()
    arguments = ["-m", module, "serve", "--port", str(port)]
    with _running(arguments, environment(server, folder), port, folder / "chipledger.log") as process:
        tokens = {
            party["party"]: keys.create(
                url,
                "regulator" if party["party"] == AUTHORITY else "submitter",
                party=party["party"],
                events_per_minute=10**9,
            ).token
            for party in PARTIES
        }
        _play(port, tokens)
        yield Service(port, process, tokens[BUYER])


def environment(server: Embedded, folder: Path) -> dict[str, str]:
    """Of `chipledger`: nothing of the caller's settings, so that the defaults are measured."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHIPLEDGER_")}
    return {
        **inherited,
        "DATABASE_URL": server.url("bench_chipledger"),
        "CHIPLEDGER_HOME": str(folder),
        "CHIPLEDGER_ORIGIN": ORIGIN,
    }


# --- processes ------------------------------------------------------------------------------------


@contextmanager
def _running(arguments: list[str], env: Mapping[str, str], port: int, log: Path) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *arguments], env=env, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, port, log)
        yield process.pid
        if process.poll() is not None:
            raise BenchFailed(f"{arguments[1]} ended while it was measured: {_tail(log)}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://{HOST}:{port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise BenchFailed(f"a service did not start: {_tail(log)}")


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-5:])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def _fresh_database(server: Embedded, name: str) -> str:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    database.create_database(server.url(), name)
    return server.url(name)


# --- what has happened before the load ------------------------------------------------------------


def _play(port: int, tokens: dict[str, str]) -> None:
    """A contract from its opening to the first attestation, by real events that are all accepted."""
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60) as client:
        for event in [*opening(), attestations.attestation(0)]:
            token = tokens[event["actor"]["party"]]
            answer = client.post("/v1/events", json=event, headers={"authorization": f"Bearer {token}"})
            if answer.status_code != 201 or answer.json()["decision"]["outcome"] != "accepted":
                raise BenchFailed(f"{event['kind']} was not accepted: {answer.text[:1000]}")


def opening() -> list[dict[str, Any]]:
    """A contract up to its devices in their racks."""
    now = datetime.now(UTC)
    license_ = {
        "valid_from": f"{now - timedelta(days=30):%Y-%m-%d}",
        "valid_until": f"{now + timedelta(days=700):%Y-%m-%d}",
    }
    order = {"order": "PO-1", "license": LICENSE}
    shipment = {"shipment": "SH-1", "serials": SERIALS}
    levy = {"order": "PO-1", "amount": usd(f"{DEVICES * 27_000 // 4}.00")}
    tested = [{"serial": s, "tpp": 15_832, "bandwidth_gb_s": 4_800, "result": "pass"} for s in SERIALS]
    installed = [{"serial": s, "rack": f"R{n // 32}", "slot": str(n % 32)} for n, s in enumerate(SERIALS)]
    steps: list[tuple[str, tuple[str, str], dict[str, Any]]] = [
        ("contract.opened", (EXPORTER, "exporter"), {"parties": PARTIES, "licenses": [LICENSE]}),
        ("policy.activated", (AUTHORITY, "authority"), activation(H200)),
        ("license.granted", (AUTHORITY, "authority"), license_),
        ("conditions.acknowledged", (EXPORTER, "exporter"), {}),
        ("conditions.acknowledged", (BUYER, "consignee"), {}),
        ("order.placed", (BUYER, "buyer"), {**order, "units": DEVICES}),
        ("levy.settled", (EXPORTER, "exporter"), levy),
        ("lab.tested", (LABORATORY, "laboratory"), {"results": tested}),
        ("shipment.requested", (EXPORTER, "exporter"), {**shipment, **order}),
        ("shipment.dispatched", (FORWARDER, "forwarder"), shipment),
        ("delivery.received", (BUYER, "consignee"), {"shipment": "SH-1", "received": SERIALS, "missing": []}),
        ("device.installed", (BUYER, "data_centre"), {"devices": installed}),
    ]
    return [
        wire(kind, by=by, contract=CONTRACT, occurred_at=f"{now:%Y-%m-%dT%H:%M:%SZ}", **data)
        for kind, by, data in steps
    ]
