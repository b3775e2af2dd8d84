"""The demo: a year of one H200 contract, played through the REST API by everybody concerned.

Clock and data are simulated, and the ledger's first entry says so. The code path is the real one: a
service of its own, as `chipledger serve` starts it, keys by role, and the offline verifier at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import psycopg
from psycopg import sql

from api import database, keys
from api.demo import closing, receiver
from api.demo.stage import Play, introduce, tell
from api.settings import Settings
from api.story import AUTHORITY, PARTIES, story
from ledger.errors import Unavailable

DATABASE = "chipledger_demo"
ORIGIN = "demo.chipledger.local/h200"
START_S_MAX = 120


def play(settings: Settings, *, once: bool, port: int) -> None:
    """Play the year; then end, or leave the service running until Ctrl-C."""
    settings = _fresh(settings, port)
    with database.owner_url(settings, begin=True) as owner:
        _empty_database(owner)
        database.prepared(owner)
        with _served(settings) as url:
            tokens = _tokens(owner)
            introduce(url)
            with Play(url, tokens) as year:
                with receiver.listening(year) as heard:
                    for step in story():
                        year.perform(step)
                    receiver.show(year, heard)
                closing.show(year, settings.home, _environment(settings))
            if not once:
                _leave_running(url, tokens)


def _fresh(settings: Settings, port: int) -> Settings:
    """The same home, and in it a key and a database of the demo's own, both new."""
    home = settings.home / "demo"
    home.mkdir(parents=True, exist_ok=True)
    (home / "checkpoint.key").unlink(missing_ok=True)
    (home / "webhooks.key").unlink(missing_ok=True)
    shutil.rmtree(home / "checkpoints", ignore_errors=True)
    return settings.model_copy(
        update={"database": DATABASE, "origin": ORIGIN, "clock": "simulated", "port": port}
    )


def _environment(settings: Settings) -> dict[str, str]:
    """What a `chipledger` of the demo is told, wherever it runs."""
    return {
        "CHIPLEDGER_HOME": str(settings.home.resolve()),
        "CHIPLEDGER_KEY_FILE": str(settings.home.resolve() / "demo" / "checkpoint.key"),
        "CHIPLEDGER_DATABASE": settings.database,
        "CHIPLEDGER_ORIGIN": ORIGIN,
        "CHIPLEDGER_CLOCK": "simulated",
        "CHIPLEDGER_WEBHOOK_HOSTS": receiver.HOST,
        "CHIPLEDGER_PORT": str(settings.port),
    }


def _empty_database(owner: str) -> None:
    """Drop what an earlier demo left. Only ever the demo's own database."""
    name = psycopg.conninfo.conninfo_to_dict(owner)["dbname"]
    assert name == DATABASE
    other = psycopg.conninfo.make_conninfo(owner, dbname="postgres")
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE))
        )
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


@contextmanager
def _served(settings: Settings) -> Iterator[str]:
    """`chipledger serve` in a process of its own."""
    url = f"http://127.0.0.1:{settings.port}"
    log = settings.home / "demo" / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "serve"],
            env={**os.environ, **_environment(settings)}, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    tail = log.read_text(errors="replace").splitlines()[-5:]
    raise Unavailable("\n".join([f"the service did not start; the end of {log}:", *tail]))


def _tokens(owner: str) -> dict[str, str]:
    """A key for each party, and for an auditor and an operator."""
    tokens = {
        party["party"]: keys.create(
            owner,
            "regulator" if party["party"] == AUTHORITY else "submitter",
            party=party["party"],
            label="demo",
        ).token
        for party in PARTIES
    }
    for role in ("auditor", "operator"):
        tokens[role] = keys.create(owner, role, label="demo").token
    return tokens


def _leave_running(url: str, tokens: dict[str, str]) -> None:
    tell(f"\nThe service is still running: {url}/docs — Ctrl-C ends it.")
    tell(f"  curl {url}/checkpoint")
    tell(
        f'  curl -H "Authorization: Bearer {tokens["auditor"]}" "{url}/v1/entries?outcome=denied"',
    )
    tell(
        "In another shell, after the `cd` and `.` above, every chipledger command works on this ledger; a key"
    )
    tell("to speak for a party: chipledger keys create submitter --party lotus-ai. Its clock stands still.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        tell("\nended")
