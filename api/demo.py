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
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import orjson
import psycopg
from psycopg import sql
from rich.console import Console

from api import database, keys
from api.settings import Settings
from api.story import AUTHORITY, CONTRACT, PARTIES, Step, story
from ledger.errors import Unavailable
from policies.explain import explain

DATABASE = "chipledger_demo"
ORIGIN = "demo.chipledger.local/h200"
START_S_MAX = 120
_COLOURS = {"accepted": "green", "flagged": "yellow", "denied": "red"}

console = Console(highlight=False, soft_wrap=True)


def play(settings: Settings, *, once: bool, port: int) -> None:
    """Play the year; then end, or leave the service running until Ctrl-C."""
    settings = _fresh(settings, port)
    with database.owner_url(settings) as owner:
        _empty_database(owner)
        database.prepared(owner)
        with _served(settings) as url:
            tokens = _tokens(owner)
            _introduce(url)
            play_ = Play(url, tokens)
            for step in story():
                play_.perform(step)
            _close(play_, settings, url)
            if not once:
                _leave_running(url, tokens)


def _fresh(settings: Settings, port: int) -> Settings:
    """The same home, and in it a key and a database of the demo's own, both new."""
    home = settings.home / "demo"
    home.mkdir(parents=True, exist_ok=True)
    (home / "checkpoint.key").unlink(missing_ok=True)
    shutil.rmtree(home / "checkpoints", ignore_errors=True)
    return settings.model_copy(
        update={"database": DATABASE, "origin": ORIGIN, "clock": "simulated", "port": port}
    )


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
    environment = {
        **os.environ,
        "CHIPLEDGER_HOME": str(settings.home),
        "CHIPLEDGER_KEY_FILE": str(settings.home / "demo" / "checkpoint.key"),
        "CHIPLEDGER_DATABASE": settings.database,
        "CHIPLEDGER_ORIGIN": ORIGIN,
        "CHIPLEDGER_CLOCK": "simulated",
        "CHIPLEDGER_PORT": str(settings.port),
    }
    log = settings.home / "demo" / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "serve"],
            env=environment, stdout=output, stderr=output, start_new_session=True,
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


@dataclass
class Play:
    """Sends each step as its party would, and prints what the ledger answered."""

    url: str
    tokens: dict[str, str] = field(repr=False)
    ids: dict[str, str] = field(default_factory=dict)
    """Name of a step → id of its event."""
    entries: dict[str, int] = field(default_factory=dict)
    receipts: list[bytes] = field(default_factory=list)
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60), repr=False)

    def request(self, who: str, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[who]}"}
        return self._client.request(method, self.url + path, headers=headers, **arguments)

    def perform(self, step: Step) -> None:
        if step.chapter:
            console.print(f"\n[bold]{step.chapter}[/bold]")
        self.request("operator", "PUT", "/v1/clock", json={"now": step.at}).raise_for_status()
        event = self._event(step)
        answer = self.request(step.party, "POST", "/v1/events", json=event)
        self._show(step, answer)

    def _event(self, step: Step) -> dict[str, Any]:
        name = step.name or f"{step.at} {step.kind} {step.party} {step.says}"
        self.ids[name] = str(uuid.uuid5(uuid.UUID(CONTRACT), name))
        data = dict(step.data)
        if step.corrects:
            data |= {"index": self.entries[step.corrects], "id": self.ids[step.corrects]}
        event: dict[str, Any] = {
            "id": self.ids[name],
            "kind": step.kind,
            "version": 1,
            "contract": CONTRACT,
            "occurred_at": step.at,
            "actor": {"party": step.party, "role": step.role},
            "data": data,
        }
        if step.retries:
            event["retries"] = self.ids[step.retries]
        return event

    def _show(self, step: Step, answer: httpx.Response) -> None:
        body = orjson.loads(answer.content)
        receipt = body["receipt"] if isinstance(body.get("receipt"), dict) else body
        if "decision" not in receipt:
            raise Unavailable(f"{step.kind} was answered with {answer.status_code}: {body.get('detail')}")
        self.receipts.append(orjson.dumps(receipt))
        decision, index = receipt["decision"], receipt["inclusion"]["index"]
        if step.name:
            self.entries[step.name] = index
        outcome = decision["outcome"]
        if outcome != step.expected:
            raise Unavailable(f"entry {index}, {step.kind}: {outcome}, the play wants {step.expected}")
        colour = _COLOURS[outcome]
        console.print(
            f"{index:>4}  {step.at[:10]}  {step.party:<13} {step.kind:<24}"
            f" [{colour}]{outcome:<9}[/{colour}] {step.says}",
        )
        for line in self._reasons(decision):
            console.print(f"{'':>18}[{colour}]│[/{colour}] {line}")
        self._show_own(index)

    def _show_own(self, index: int) -> None:
        """What the ledger itself said, in the transaction of entry `index`."""
        page = self.request("auditor", "GET", f"/v1/entries?after={index}&party=_ledger").json()
        for entry in page["entries"]:
            data = entry["event"]["value"]["data"]
            said = ", ".join(f"{k} {_brief(v)}" for k, v in data.items() if k not in ("cause", "license"))
            console.print(
                f"{entry['index']:>4}  {entry['recorded_at'][:10]}  {'the ledger':<13}"
                f" {entry['kind']:<24} {'':<9} {said}",
            )

    def _reasons(self, decision: dict[str, Any]) -> list[str]:
        failed = [c for c in decision["conditions"] if c["result"] in ("fail", "error")]
        return explain({**decision, "conditions": failed})


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(_brief(one) for one in value) or "none"
    if isinstance(value, dict):
        return f"{value['shipment']} ({value['units']} units)"
    return str(value)


def _introduce(url: str) -> None:
    console.print("[bold]chipledger demo[/bold]: a year of one H200 contract.")
    console.print(f"Clock and data are simulated, and entry 0 says so. The service is real: {url}\n")
    console.print("index  recorded    by            event                    outcome   what happened")


def _close(play_: Play, settings: Settings, url: str) -> None:
    contract = play_.request("auditor", "GET", f"/v1/contracts/{CONTRACT}").json()
    license_ = contract["licenses"][0]
    console.print("\n[bold]The license at the end of the year[/bold]")
    console.print(
        f"  {license_['license']}: {license_['state']}, {license_['released']:,} of"
        f" {license_['quantity']:,} units released, {license_['headroom_to_release']:,} were left"
    )
    console.print("\n[bold]The custody chain of one chip[/bold]")
    device = play_.request("auditor", "GET", "/v1/devices/H200-000001").json()
    for link in device["custody"]:
        console.print(
            f"  {link['index']:>4}  {link['recorded_at'][:10]}  {link['party']:<13} {link['kind']:<20}"
            f" {link['outcome']:<9} leaf {link['leaf_hash'][:16]}…"
        )
    console.print(f"  now: {device['device']['state']} at {device['device']['site']}")
    _verify(play_, settings)


def _verify(play_: Play, settings: Settings) -> None:
    """Export the log and check it as an outsider would, with the receipts that the parties hold."""
    folder = settings.home / "demo"
    exported, receipt = folder / "demo.export", folder / "receipt.json"
    receipt.write_bytes(play_.receipts[len(play_.receipts) // 2])
    key = orjson.loads(play_.request("auditor", "GET", "/v1/entries/0").content)["event"]["value"]["data"][
        "key"
    ]
    environment = {
        **os.environ,
        "CHIPLEDGER_HOME": str(settings.home),
        "CHIPLEDGER_KEY_FILE": str(folder / "checkpoint.key"),
        "CHIPLEDGER_DATABASE": settings.database,
        "CHIPLEDGER_ORIGIN": ORIGIN,
    }
    console.print("\n[bold]The whole log, checked without the service[/bold]")
    for command in (
        ["export", str(exported)],
        ["verify", str(exported), "--key", key, "--receipt", str(receipt)],
    ):
        console.print(f"  $ chipledger {' '.join(command)}")
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "api.cli", *command],
            env=environment, check=False, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        for line in (done.stdout + done.stderr).splitlines():
            console.print(f"  {line}")
        if done.returncode:
            raise Unavailable(f"chipledger {command[0]} ended with status {done.returncode}")


def _leave_running(url: str, tokens: dict[str, str]) -> None:
    console.print(f"\nThe service is still running: {url}/docs — Ctrl-C ends it.")
    console.print(f"  curl {url}/checkpoint")
    console.print(
        f'  curl -H "Authorization: Bearer {tokens["auditor"]}" {url}/v1/entries?outcome=denied',
    )
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("\nended")
