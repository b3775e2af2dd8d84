"""`chipledger doctor`: what keeps a service from starting is found before, and nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from api import database
from api.cli import app
from api.database import Logins
from api.doctor import Finding, examine
from api.settings import Settings
from ledger import keys
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from tests.conftest import copied
from tests.service import running, settings_for


@dataclass(frozen=True)
class Place:
    settings: Settings
    logins: Logins
    owner: str

    def examined(self) -> dict[str, Finding]:
        return {one.about: one for one in asyncio.run(examine(self.settings, self.logins))}


@pytest.fixture
def place(server: str, template: str, tmp_path: Path) -> Iterator[Place]:
    """Where a service has run, and runs no more."""
    with copied(server, template) as url:
        settings = settings_for(url, tmp_path / "home")
        with running(settings, url):
            pass
        yield Place(settings, database.logins_of(url), url)


def test_where_a_service_ran_another_can_start(place: Place) -> None:
    found = place.examined()
    assert [one for one in found.values() if one.state == "failed"] == []
    assert found["writing"] == ("writing", "ok", "1 entries, of test.example/log")
    for about in ("checkpoint key", "webhook key", "reading", "checkpoint store"):
        assert found[about].state == "ok"
    for about in ("witnesses", "timestamps"):
        assert found[about].state == "doubt"


def test_a_variable_that_is_no_setting_is_in_doubt(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHIPLEDGER_HOME", "CHIPLEDGER_WEBHOOK_SECRET", "DATABASE_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("CHIPLEDGER_CHECKPOINT_STOR", "/mnt/other")
    found = place.examined()["settings"]
    assert (found.state, found.words.split(":")[0]) == ("doubt", "CHIPLEDGER_CHECKPOINT_STOR")


def _ahead(place: Place) -> Place:
    signer = keys.load(place.settings.key_path, passphrase=None)
    store = CheckpointStore.in_folder(place.settings.store_path, signer.name)
    store.advance(sign(Checkpoint(signer.name, 9, bytes(32)), signer), signer.verifier)
    return place


def _wrong_clock(place: Place) -> Place:
    base = psycopg.conninfo.conninfo_to_dict(place.owner)["dbname"]
    with psycopg.connect(place.owner) as connection:
        connection.execute("CREATE SCHEMA wrong; GRANT USAGE ON SCHEMA wrong TO PUBLIC")
        connection.execute(
            "CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
            " AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$"
        )
        connection.execute(f"ALTER DATABASE {base} SET search_path = wrong, pg_catalog, public")
    return place


def _told(**settings: Any) -> Callable[[Place], Place]:
    return lambda place: replace(place, settings=place.settings.model_copy(update=settings))


def _at_the_files(act: Callable[[Settings], object]) -> Callable[[Place], Place]:
    def done(place: Place) -> Place:
        act(place.settings)
        return place

    return done


DAMAGES: dict[str, tuple[Callable[[Place], Place], str, str]] = {
    "no key": (_at_the_files(lambda s: s.key_path.unlink()), "checkpoint key", "there is no checkpoint key"),
    "a key for all": (
        _at_the_files(lambda s: s.key_path.chmod(0o644)), "checkpoint key", "readable by others",
    ),
    "a seal for all": (
        _at_the_files(lambda s: s.webhook_key_path.chmod(0o644)), "webhook key", "readable by others",
    ),
    "no store": (_told(checkpoint_store="/nowhere/at/all"), "checkpoint store", "is not there"),
    "a restored backup": (_ahead, "writing", "the last 8 are lost"),
    "another clock": (_told(clock="simulated"), "writing", "the clock of the log is system"),
    "a wrong clock": (_wrong_clock, "database server", "its clock differs by"),
    "the writer reads": (
        lambda place: replace(place, logins=replace(place.logins, reader=place.logins.writer)),
        "reading", "may not read api_keys",
    ),
    "the owner writes": (
        lambda place: replace(place, logins=replace(place.logins, writer=place.owner)),
        "writing", "who may change what was written",
    ),
    "a policy of witnesses that is not there": (
        _told(witness_policy=Path("/nowhere/policy")), "witnesses", "cannot be read",
    ),
    "an authority without roots": (
        _told(timestamp_url="http://tsa.example"), "timestamps", "needs CHIPLEDGER_TIMESTAMP_ROOTS",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_named(place: Place, damage: str) -> None:
    act, about, words = DAMAGES[damage]
    found = act(place).examined()[about]
    assert found.state == "failed"
    assert words in found.words


def test_a_store_that_keeps_nothing_of_a_log_is_doubted(place: Place) -> None:
    """As where a disk is not mounted."""
    for kept in place.settings.store_path.glob("*.checkpoint"):
        kept.unlink()
    found = place.examined()["checkpoint store"]
    assert found.state == "doubt"
    assert found.words.startswith("nothing is kept in")


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(home: Path, url: str | None) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor"], env={"DATABASE_URL": url, "CHIPLEDGER_HOME": str(home)})
    return done.exit_code, done.output


def test_nothing_is_changed(place: Place, server: str, tmp_path: Path) -> None:
    home = place.settings.home
    before = files(home)
    assert run(home, place.owner)[0] == 0
    assert files(home) == before
    with psycopg.connect(place.owner) as connection:
        connection.execute("DROP TABLE webhook_cursors")  # as of a version before: a start would migrate
    status, told = run(home, place.owner)
    assert status == 1
    assert "has no table webhook_cursors" in told
    with psycopg.connect(place.owner) as connection:
        assert connection.execute("SELECT to_regclass('webhook_cursors')").fetchone() == (None,)


def test_no_ledger_is_begun(tmp_path: Path) -> None:
    status, told = run(tmp_path / "home", None)
    assert status == 2
    assert "there is no ledger in" in told
    assert list(tmp_path.iterdir()) == []
