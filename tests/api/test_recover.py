"""The restore drill: back up, write on, restore, be refused, recover; and what everybody sees of it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid4, uuid5

import httpx2 as httpx
import psycopg
import pytest
from typer.testing import CliRunner, Result

from api.cli import app
from ledger import keys
from ledger.checkpoint import Checkpoint, open_recovery, sign_recovery
from ledger.errors import VerificationError
from ledger.note import sign as sign_note
from ledger.rebuild import compare
from tests.api.test_integrity import look
from tests.api.test_start import start
from tests.conftest import copied
from tests.ledger.sample_log import signer_of
from tests.service import Service, running, settings_for
from tests.workbench import wire


@pytest.fixture
def drill(server: str, template: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of the owner of a database, and a home."""
    with copied(server, template) as url:
        yield url, tmp_path / "home"


def submit(service: Service, events: int) -> list[httpx.Response]:
    """Contracts that are opened, each an entry."""
    said = {"occurred_at": "2026-01-15T05:00:00Z"}
    answers = [service.submit(wire("contract.opened", contract=str(uuid4()), **said)) for _ in range(events)]
    assert [answer.status_code for answer in answers] == [201] * events
    return answers


def copy_of(server: str, database: str, name: str) -> None:
    """A backup is the database as it was: PostgreSQL copies its files."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
        )
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {database}")


def run(owner: str, home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--home", str(home)], env={"DATABASE_URL": owner})


def test_back_up_write_on_restore_be_refused_recover(
    server: str, drill: tuple[str, Path], tmp_path: Path
) -> None:
    owner, home = drill
    settings = settings_for(owner, home)
    database = urlsplit(owner).path[1:]
    with running(settings, owner) as service:
        early = submit(service, 3)
        assert look(service)["result"] == "intact"
        key = keys.load(settings.key_path, passphrase=None).verifier
    copy_of(server, database, f"{database}_backup")
    with running(settings, owner) as service:
        late = submit(service, 5)
    (tmp_path / "early").write_bytes(early[-1].content)
    (tmp_path / "late").write_bytes(late[-1].content)

    # Restored: it verifies perfectly, and lacks its end. The service sees that.
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
        connection.execute(f"ALTER DATABASE {database}_backup RENAME TO {database}")
    [refusal] = asyncio.run(start(settings, owner))
    assert refusal["type"] == "lifespan.startup.failed"
    assert "the last 5 are lost" in refusal["message"]
    refused = run(owner, home, "keys", "rotate")
    assert refused.exit_code != 0
    assert "the last 5 are lost" in refused.output.replace("\n", " ")

    recovered = run(owner, home, "recover", "--reason", "restored from the backup of the drill")
    assert recovered.exit_code == 0, recovered.output
    now = keys.load(settings.key_path, passphrase=None).verifier
    assert recovered.stdout.strip() == str(now)
    assert now.name.startswith("test.example/log/recovered-")

    settings = settings.model_copy(update={"origin": None})
    with running(settings, owner) as service:
        submit(service, 2)
        service = replace(service, settings=settings)
        # The watch knew of what is lost: it says so once, and goes on when that is explained.
        assert [(f["damage"], f["where"]) for f in look(service)["findings"]] == [
            ("entries_lost", "entries 4 to 8")
        ]
        with service.client("operator") as operator:
            assert operator.post("/v1/integrity:explain", json={"words": "a drill"}).status_code == 200
        assert (look(service)["result"], look(service, "head")["result"]) == ("intact", "intact")
        export = service.export(tmp_path / "log.export")
        with service.client("auditor") as auditor:
            said = auditor.get("/v1/entries/4").json()
    assert said["kind"] == "ledger.recovered"
    # By the new name: under the old one entry 4 had another id, and somebody may hold a receipt for it.
    assert said["event"]["value"]["id"] == str(uuid5(NAMESPACE_URL, f"{now.name}#4"))
    assert said["event"]["value"]["data"]["kept"].startswith("test.example/log\n9\n")
    assert asyncio.run(compare(service.logins.reader, lambda *_: None)) == []

    # Whoever holds the old key or the new checks the whole log; what was lost is told, and can be proved.
    for held in (key, now):
        done = CliRunner().invoke(
            app, ["verify", str(export), "--key", str(held), "--receipt", str(tmp_path / "early")]
        )
        assert done.exit_code == 0, done.output
        assert "had promised 9 entries, and 5 of them are lost" in done.output
    done = CliRunner().invoke(
        app, ["verify", str(export), "--key", str(now), "--receipt", str(tmp_path / "late")]
    )
    assert done.exit_code == 1
    assert "which lost what it is for" in done.output
    bundle = tmp_path / "bundle.zip"
    made = run(owner, home, "bundle", "--index", "2,5", "--out", str(bundle))
    assert made.exit_code == 0, made.output
    for held in (key, now):
        done = CliRunner().invoke(app, ["verify", str(bundle), "--key", str(held)])
        assert done.exit_code == 0, done.output
        assert "recovered at entry 4: test.example/log had promised 9 entries" in " ".join(
            done.output.split()
        )
    done = CliRunner().invoke(app, ["replay", str(export)])
    assert done.exit_code == 0, done.output


def test_a_log_that_has_lost_nothing_is_not_recovered(drill: tuple[str, Path]) -> None:
    owner, home = drill
    with running(settings_for(owner, home), owner) as service:
        submit(service, 2)
    found = run(owner, home, "recover", "--reason", "a slip")
    assert found.exit_code == 2
    assert "there is nothing to recover from" in found.output.replace("\n", " ")
    with running(settings_for(owner, home), owner) as service:
        submit(service, 1)


# --- what both keys sign --------------------------------------------------------------------------

OLD, NEW, THIEF = signer_of(1), signer_of(2, "ledger.example/h200/b"), signer_of(9)
LOST = Checkpoint(OLD.name, 9, bytes([7]) * 32)


def test_a_recovery_names_the_entry_both_keys_and_what_is_lost() -> None:
    assert open_recovery(sign_recovery(4, LOST, OLD, NEW), size=4) == (OLD.verifier, NEW.verifier, LOST)


def text_of(size: int = 4, lost: int = 9, new: str = str(NEW.verifier)) -> str:
    root = b64encode(LOST.root).decode()
    return f"chipledger log recovery\n{size}\n{OLD.verifier}\n{new}\n{lost}\n{root}\n"


@pytest.mark.parametrize(
    "note",
    [
        sign_note(text_of(), OLD),
        sign_note(text_of(), NEW),
        sign_note(text_of(), THIEF, NEW),
        sign_note(text_of(), OLD, NEW, THIEF),
        sign_note(text_of(size=5), OLD, NEW),
        sign_note(text_of(lost=4), OLD, NEW),
        sign_note(text_of(new=str(signer_of(2).verifier)), OLD, signer_of(2)),
        sign_note(text_of() + "x\n", OLD, NEW),
        sign_recovery(4, LOST, OLD, NEW).replace("\n9\n", "\n8\n"),
        "",
    ],
)
def test_what_both_have_not_signed_is_no_recovery(note: str) -> None:
    with pytest.raises(VerificationError):
        open_recovery(note, size=4)
