"""What is shown when the year is over: what is true now, and how all of it is checked and asked again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import orjson
from rich.markup import escape

from api.demo.stage import WIDTH, Play, tell
from api.story import CONTRACT
from api.story.events import policy_text
from ledger.errors import Unavailable

ENVIRONMENT = "environment"
OLD, CANDIDATE = "us-h200-china.yaml", "levy-at-20.yaml"
LINES_SHOWN = 8
"""Of a listing that goes on."""


def show(play: Play, home: Path, environment: dict[str, str]) -> None:
    """Raises Unavailable where a command does not end as it must."""
    _license(play)
    _custody(play)
    shell = _Shell(home / "demo", environment)
    receipt = play.receipts[len(play.receipts) // 2]
    (shell.folder / "receipt.json").write_bytes(receipt)
    opening = orjson.loads(play.request("auditor", "GET", "/v1/entries/0").content)
    key = opening["event"]["value"]["data"]["key"]
    shell.title("The whole log, checked without the service")
    shell.run("export", "demo.export")
    shell.run("verify", "demo.export", "--receipt", "receipt.json", "--key", key)
    shell.title("Every decision, made again")
    shell.run("replay", "demo.export")
    log = ("--log", "demo.export")
    shell.title("What had the levy been 20 %? One edit of version 1, tried on the year")
    write_candidate(shell.folder)
    shell.run("policy", "diff", OLD, CANDIDATE, status=1)
    tell("  By hand: 20 % of 1,000 units at 27,000.00 USD are 5,400,000.00; 6,000,000.00 USD were settled")
    tell("  when SH-1 was refused for the levy alone. Released then, it cannot be released once more.")
    shell.run("policy", "backtest", CANDIDATE, "--old", OLD, *log)
    shell.title("What had the payment that was taken back never been accepted?")
    mistaken = str(play.telling.entries["levy of another"])
    shell.run("policy", "affected", mistaken, *log, lines=LINES_SHOWN)
    shell.title("Which conditions mattered?")
    shell.run("policy", "coverage", *log, lines=LINES_SHOWN)


def write_candidate(folder: Path) -> None:
    """Version 1 of the H200 rule, and beside it the same with another levy."""
    text = policy_text("us-h200-china")
    before, after = 'rate: "0.25"', 'rate: "0.20"'
    assert text.count(before) == 1
    (folder / OLD).write_text(text)
    (folder / CANDIDATE).write_text(text.replace(before, after))


def _license(play: Play) -> None:
    contract = play.request("auditor", "GET", f"/v1/contracts/{CONTRACT}").json()
    license_ = contract["licenses"][0]
    tell("\n[bold]The license at the end of the year[/bold]")
    tell(
        f"  {license_['license']}: {license_['state']}, {license_['released']:,} of"
        f" {license_['quantity']:,} units released, {license_['headroom_to_release']:,} were left"
    )


def _custody(play: Play) -> None:
    tell("\n[bold]The custody chain of one chip[/bold]")
    device = play.request("auditor", "GET", "/v1/devices/H200-000001").json()
    for link in device["custody"]:
        tell(
            f"  {link['index']:>4}  {link['recorded_at'][:10]}  {link['party']:<13} {link['kind']:<20}"
            f" {link['outcome']:<9} leaf {link['leaf_hash'][:16]}…"
        )
    tell(f"  now: {device['device']['state']} at {device['device']['site']}")


class _Shell:
    """Runs `chipledger` in the demo's folder, as a reader would, and shows command and output."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = environment
        self._told = False

    def title(self, words: str) -> None:
        tell(f"\n[bold]{words}[/bold]")
        if not self._told:
            (self.folder / ENVIRONMENT).write_text(self._exports())
            tell(f"  $ cd {shlex.quote(str(self.folder))} && . ./{ENVIRONMENT}")
            self._told = True

    def _exports(self) -> str:
        """For a shell that reads it: this `chipledger`, and the ledger of the demo."""
        told = {**self._environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}"}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in told.items()]
        lines[-1] += '"$PATH"'
        return "\n".join(lines) + "\n"

    def run(self, *command: str, status: int = 0, lines: int | None = None) -> None:
        """Raises Unavailable unless it ends with `status`. `lines`: of the output, no more are shown."""
        self._show(command)
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "api.cli", *command], cwd=self.folder,
            env={**os.environ, **self._environment}, check=False, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        output = (done.stdout + done.stderr).splitlines()
        for line in output[:lines]:
            for part in _wrapped(line):
                tell(f"  {escape(part)}")
        if lines is not None and len(output) > lines:
            tell(f"  … and {len(output) - lines} lines more")
        if done.returncode != status:
            raise Unavailable(f"chipledger {command[0]} ended with status {done.returncode}, not {status}")

    def _show(self, command: tuple[str, ...]) -> None:
        """An option that has no room on the line goes to the next, as a shell would take it."""
        line = "  $ chipledger"
        for word in command:
            if len(line) + len(word) + 3 > WIDTH or (len(word) > 60 and line.endswith("--key")):
                tell(f"{line} \\")
                line = "   "
            line += f" {shlex.quote(word)}"
        tell(line)


def _wrapped(line: str) -> list[str]:
    """In parts that have room, what follows below what it belongs to."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, WIDTH - 2, subsequent_indent=indent, break_on_hyphens=False)
