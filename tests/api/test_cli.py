"""The command line: what it prints, where, and the exit statuses that scripts rely on."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.core import TyperGroup
from typer.testing import CliRunner

from api import keys
from api.cli import app
from ledger.canonical import canonical
from ledger.note import Signer
from tests.api.contract import LiveContract
from tests.conftest import copied
from tests.ledger.sample_log import SIGNER
from tests.service import Service, running, settings_for
from tests.workbench import EXPORTER

ROOT = Path(__file__).parents[2]
COMMANDS = [
    [], ["serve"], ["doctor"], ["demo"], ["export"], ["bundle"], ["receipt"], ["tiles"], ["verify"],
    ["facts"], ["facts", "check"], ["facts", "rebuild"],
    ["db"], ["db", "status"], ["db", "stop"], ["db", "upgrade"],
    ["keys"], ["keys", "create"], ["keys", "generate"], ["keys", "list"], ["keys", "revoke"],
    ["keys", "rotate"], ["sign"], ["erase"],
    ["watch"], ["drill"], ["drill", "tamper"],
    ["recover"], ["replay"], ["explain"], ["policy"], ["policy", "check"], ["policy", "test"],
    ["policy", "propose"], ["policy", "evaluate"], ["policy", "backtest"],
    ["policy", "affected"], ["policy", "coverage"], ["policy", "diff"],
    ["listen"], ["webhooks"], ["webhooks", "create"], ["webhooks", "list"], ["webhooks", "verify"],
    ["webhooks", "test"], ["webhooks", "enable"], ["webhooks", "disable"], ["webhooks", "rotate"],
    ["webhooks", "delete"],
    ["webhooks", "deliveries"], ["webhooks", "resend"], ["webhooks", "replay"],
]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Files:
    """A log, exported, and what somebody kept of it."""

    service: Service
    export: Path
    receipt: Path
    size: int
    key: str


@pytest.fixture(scope="module")
def files(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    receipt = LiveContract(service).open().accepted("order.placed", order="PO-K", units=1)
    (folder / "receipt.json").write_bytes(canonical(receipt))
    export = service.export(folder / "log.export")
    title = json.loads(export.read_text().splitlines()[0])
    return Files(service, export, folder / "receipt.json", title["size"], title["key"])


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_port_that_no_machine_has_is_refused(command: str) -> None:
    """The system would take another, and the service say that it listens on this."""
    assert CliRunner().invoke(app, [command, "--port", "65536"]).exit_code == 2


def run(*words: object, url: str | None = None, home: Path | None = None) -> Run:
    """A command, in this process: its output is no terminal."""
    environment = {"DATABASE_URL": url, "CHIPLEDGER_HOME": str(home) if home else None, "COLUMNS": "80"}
    result = CliRunner().invoke(app, [str(word) for word in words], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Run(result.exit_code, result.stdout, result.stderr)


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does(command: list[str]) -> None:
    told = run(*command, "--help")
    assert told.status == 0
    assert "Usage:" in told.out
    assert told.err == ""


def test_no_command_is_without_help_or_without_a_test() -> None:
    def walk(command: Any, path: list[str]) -> Iterator[list[str]]:
        yield path
        for name in command.list_commands(None) if isinstance(command, TyperGroup) else ():
            yield from walk(command.get_command(None, name), [*path, name])

    import typer.main

    assert sorted(walk(typer.main.get_command(app), [])) == sorted(COMMANDS)


def test_a_file_is_verified_without_the_parts_of_a_service(files: Files) -> None:
    """An auditor's machine may have little memory, and most of what there is is never imported."""
    unneeded = {"alembic", "fastapi", "ledger.event", "policies", "psycopg", "sqlalchemy"}
    watched = "import sys; from api.cli import app; app(sys.argv[1:], standalone_mode=False)"
    told = f"{watched}; print(*sys.modules.keys() & {unneeded})"
    command = [sys.executable, "-c", told, "verify", str(files.export), "--key", files.key]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("OK")
    assert done.stdout.splitlines()[-1] == ""


# --- export and verify ----------------------------------------------------------------------------


def test_an_export_that_holds_is_0_and_says_what_was_checked(files: Files) -> None:
    told = run("verify", files.export, "--key", files.key, "--receipt", files.receipt)
    assert told.status == 0
    assert told.out.startswith(f"OK {files.size} entries of 1 contract")
    assert "log test.example/log" in told.out
    assert "signed by the key you gave" in told.out
    assert "1 receipt" in told.out
    assert told.err == ""


def test_without_a_key_it_says_that_this_proves_little(files: Files) -> None:
    told = run("verify", files.export)
    assert told.status == 0
    assert "consistent in itself, and no more" in told.out


def test_export_writes_what_verify_takes(files: Files, tmp_path: Path) -> None:
    service, path = files.service, tmp_path / "[bold]again.export"
    told = run("export", path, url=service.owner, home=service.settings.home)
    assert (told.status, told.out) == (0, "")
    assert f"{files.size} entries written to {path}" in told.err
    assert path.read_bytes().partition(b"\n")[2] == files.export.read_bytes().partition(b"\n")[2]


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_flipped_byte_is_1_and_the_words_name_the_entry(files: Files, tmp_path: Path, index: int) -> None:
    lines = files.export.read_bytes().split(b"\n")
    lines[index + 1] = lines[index + 1].replace(b'"kind"', b'"Kind"', 1)
    bad = tmp_path / "bad.export"
    bad.write_bytes(b"\n".join(lines))
    told = run("verify", bad, "--key", files.key)
    assert told.status == 1
    assert told.out == ""
    assert told.err.startswith(f"TAMPERED entry {index} (line {index + 2}): ")


def test_a_log_that_forgot_a_receipt_is_1(files: Files, tmp_path: Path) -> None:
    lines = files.export.read_bytes().split(b"\n")
    short = tmp_path / "short.export"
    short.write_bytes(b"\n".join([*lines[:-2], b""]))
    told = run("verify", short, "--key", files.key, "--receipt", files.receipt)
    assert told.status == 1


UNUSABLE = {
    "no export": ("{folder}/text", []),
    "an empty file": ("{folder}/empty", []),
    "no file": ("{folder}/nothing", []),
    "a folder": ("{folder}", []),
    "a name that looks like markup": ("{folder}/[/red]", []),
    "no key": ("{export}", ["--key", "nonsense"]),
    "a key that is cut off": ("{export}", ["--key", "{key:.40}"]),
    "no receipt": ("{export}", ["--receipt", "{folder}/text"]),
    "no receipt file": ("{export}", ["--receipt", "{folder}/nothing"]),
    "a receipt without end": ("{export}", ["--receipt", "/dev/zero"]),
    "a checkpoint that is no text": ("{export}", ["--key", "{key}", "--checkpoint", "{folder}/bytes"]),
    "a checkpoint with other line ends": ("{export}", ["--key", "{key}", "--checkpoint", "{folder}/crlf"]),
    "roots, and no timestamp": ("{export}", ["--timestamp-roots", "{folder}/text"]),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_checked_at_all_is_2(files: Files, tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text("this is no export\n")
    (tmp_path / "empty").touch()
    (tmp_path / "bytes").write_bytes(b"\xff\n")
    note = json.loads(files.export.read_bytes().partition(b"\n")[0])["checkpoint"]
    (tmp_path / "crlf").write_bytes(note.replace("\n", "\r\n").encode())
    file, options = UNUSABLE[name]
    words = [
        word.format(folder=tmp_path, export=files.export, key=files.key)
        for word in ("verify", file, *options)
    ]
    told = run(*words)
    assert told.status == 2
    assert told.out == ""
    assert told.err.startswith("unusable ")
    assert len(told.err.splitlines()) == 1


def test_an_export_that_another_key_signed_is_1(files: Files) -> None:
    other = Signer("test.example/log", Ed25519PrivateKey.generate()).verifier
    told = run("verify", files.export, "--key", other)
    assert (told.status, told.out) == (1, "")
    assert told.err.startswith("TAMPERED ")


def test_a_hostile_file_cannot_write_on_the_terminal(files: Files, tmp_path: Path) -> None:
    for number, poison in enumerate((b"\x1b[2J", "\u202e".encode(), b"\r", b"[/red]", b"[bold]")):
        for line in (0, 1):
            lines = files.export.read_bytes().split(b"\n")
            lines[line] = lines[line].replace(b"test.example", b"test" + poison, 1)
            bad = tmp_path / f"bad-{number}-{line}"
            bad.write_bytes(b"\n".join(lines))
            told = run("verify", bad)
            assert told.status in (1, 2)
            assert all(c.isprintable() or c == "\n" for c in told.told)


# --- facts ----------------------------------------------------------------------------------------


def test_an_altered_fact_is_found_named_and_put_right(server: str, template: str, tmp_path: Path) -> None:
    with copied(server, template) as url:
        with running(settings_for(url, tmp_path, clock="simulated"), url) as service:
            contract = LiveContract(service).open()
        assert run("facts", "check", url=url).status == 0
        with psycopg.connect(url) as connection:
            connection.execute(
                "UPDATE facts SET data = replace(data::text, '10000', '99999')::json"
                " WHERE name = 'license' AND key = %s",
                [contract.license],
            )
        found = run("facts", "check", url=url)
        assert found.status == 1
        assert found.out.startswith(f"license {contract.license}: stored as ")
        assert "1 facts differ from the log" in found.out
        repaired = run("facts", "rebuild", url=url)
        assert (repaired.status, "1 facts differ from the log and put right" in repaired.out) == (0, True)
        again = run("facts", "check", url=url)
        assert (again.status, again.out) == (0, "0 facts differ from the log\n")


# --- keys -----------------------------------------------------------------------------------------


def test_a_new_key_is_all_of_standard_output_and_opens_the_door(service: Service) -> None:
    told = run("keys", "create", "submitter", "--party", EXPORTER, "--days", "30", url=service.owner)
    assert told.status == 0
    assert re.fullmatch(r"clk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n", told.out)
    assert told.out.strip()[-43:] not in told.err
    headers = {"authorization": f"Bearer {told.out.strip()}"}
    assert httpx.get(f"{service.url}/v1/entries/0", headers=headers).status_code == 404


def test_keys_are_listed_one_a_line_and_never_with_their_secrets(service: Service) -> None:
    label = "[red]a rather long label[/red] \x1b[31m with what does not belong"
    key = keys.create(service.owner, "submitter", party="a-party-with-a-long-name.example", label=label)
    told = run("keys", "list", url=service.owner)
    [line] = [line for line in told.out.splitlines() if key.id in line]
    assert line.split()[:3] == [key.id, "submitter", "a-party-with-a-long-name.example"]
    assert "[red]a rather long label[/red] \\x1b[31m with" in line
    assert key.token[-43:] not in told.told


def test_a_revoked_key_is_listed_as_that(service: Service) -> None:
    key = keys.create(service.owner, "auditor")
    assert run("keys", "revoke", key.id, url=service.owner).out == f"key {key.id} is revoked\n"
    [line] = [x for x in run("keys", "list", url=service.owner).out.splitlines() if key.id in x]
    assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", line)) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["create", "king"], "role is king, must be one of"),
        (["create", "submitter"], "speaks for a party"),
        (["create", "submitter", "--party", "[/red]"], "party is [/red], must be"),
        (["revoke", "nothing"], "there is no key nothing"),
    ],
)
def test_a_key_that_cannot_be_made_or_ended_is_2(service: Service, words: list[str], told: str) -> None:
    result = run("keys", *words, url=service.owner)
    assert (result.status, result.out) == (2, "")
    assert told in result.err


# --- the database and the settings ----------------------------------------------------------------


def test_the_status_of_the_database_is_told(service: Service, tmp_path: Path) -> None:
    told = run("db", "status", url=service.owner)
    assert (told.status, told.out) == (0, "DATABASE_URL is set: the database is a server of yours\n")
    embedded = run("db", "status", home=tmp_path)
    assert embedded.status == 0
    assert re.search(r"running +False", embedded.out), embedded.out
    assert str(tmp_path) in embedded.out


@pytest.mark.parametrize(
    "command",
    [
        ["export", "-"], ["replay"], ["keys", "list"], ["facts", "check"], ["drill", "tamper"], ["erase"],
        ["watch", "--key", f"{SIGNER.verifier}", "--store", "w", "--once"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_what_only_reads_makes_no_ledger_where_there_is_none(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = run(*command, home=tmp_path / "none")
    assert (told.status, told.out) == (2, "")
    assert told.err.startswith(f"UnusableInput there is no ledger in {tmp_path / 'none'}: ")
    assert not (tmp_path / "none").exists()


def test_an_upgrade_of_what_is_up_to_date_is_none(service: Service) -> None:
    assert run("db", "upgrade", url=service.owner).out == "the schema is up to date\n"


@pytest.mark.parametrize(
    "command", [["keys", "list"], ["db", "upgrade"], ["facts", "check"], ["export", "-"]]
)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pw-Zt5@127.0.0.1:1/none", "postgresql://u:pw-Zt5@no.such.invalid/none",
        "postgres://u:pw-Zt5@127.0.0.1:1/none", "postgres//u:pw-Zt5@h", "pw-Zt5", "mysql://u:pw-Zt5@127.0.0.1/x",
    ],
)  # fmt: skip
def test_a_database_that_cannot_be_reached_is_2_and_a_line_without_the_password(
    url: str, command: list[str], tmp_path: Path
) -> None:
    told = run(*command, url=url, home=tmp_path)
    assert (told.status, told.out) == (2, "")
    assert "pw-Zt5" not in told.err
    assert told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "many"),
        ("port", "65536"),
        ("integrity_head_seconds", "inf"),
        ("timestamp_hours", "1000000"),
        ("webhook_hosts", "127.0.0.1:8322"),
        ("webhook_hosts", "hall, http://hall"),
        ("webhook_hosts", "[::1]"),
    ],
)
def test_a_setting_that_is_wrong_is_2_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"CHIPLEDGER_{name.upper()}", value)
    told = run("keys", "list", home=tmp_path)
    assert told.status == 2
    assert told.err.startswith(f"setting CHIPLEDGER_{name.upper()}: ")


def test_an_export_that_cannot_be_written_is_2(files: Files, tmp_path: Path) -> None:
    service = files.service
    told = run("export", tmp_path / "no" / "such", url=service.owner, home=service.settings.home)
    assert told.status == 2
    path = tmp_path / "no" / "such"
    assert told.err == f"unusable {path}: No such file or directory\n"


def test_a_url_that_cannot_be_read_is_told_how_one_looks(tmp_path: Path) -> None:
    told = run("keys", "list", url="mysql://u:pw-Zt5@127.0.0.1/x", home=tmp_path)
    assert told.err == "database its URL must be like postgresql://USER:PASSWORD@HOST/DATABASE\n"


def test_the_version_is_told() -> None:
    assert run("--version") == Run(0, f"{version('chipledger')}\n", "")


# --- terminals ------------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_and_nowhere_else(files: Files) -> None:
    command = [sys.executable, "-m", "api.cli", "verify", str(files.export), "--key", files.key]
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (piped.returncode, piped.stderr) == (0, "")
    terminal, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=side) as shown:
        os.close(side)
        written = bytearray()
        try:
            while chunk := os.read(terminal, 65_536):
                written += chunk
        except OSError:  # the other side is closed
            pass
        assert shown.stdout is not None
        assert shown.stdout.read().decode() == piped.stdout
    os.close(terminal)
    assert f"{files.size}/{files.size}".encode() in bytes(written)
    assert b"verified" in bytes(written)
