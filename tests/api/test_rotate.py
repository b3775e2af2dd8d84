"""`chipledger keys rotate`: beside services that run, and cut short wherever it may be."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.held import Held
from api.rotate import rotate
from api.verify import verify_file
from ledger import keys, rotation
from ledger.errors import RefusesToWrite, UnusableInput
from policies.engine import Engine
from tests.conftest import copied
from tests.service import Service, running, settings_for
from tests.workbench import wire

OPENED = {"occurred_at": "2026-01-15T05:00:00Z"}


@pytest.fixture
def service(server: str, template: str, tmp_path: Path) -> Iterator[Service]:
    """One of the test's own, with an entry beyond the first."""
    with copied(server, template) as url:
        settings = settings_for(url, tmp_path / "home")
        with running(settings, url) as running_service:
            assert running_service.submit(wire("contract.opened", **OPENED)).status_code == 201
            yield running_service


def again(service: Service) -> None:
    """Start another process on the same log and home: it writes, and the whole log verifies."""
    with running(service.settings, service.owner) as other:
        assert other.submit(wire("levy.settled", **OPENED)).status_code == 201
        assert httpx.get(f"{other.url}/checkpoint").status_code == 200
        other.audit()


def test_a_service_that_runs_stops_writing_and_signing_and_the_next_goes_on(
    service: Service, tmp_path: Path
) -> None:
    path = service.settings.key_path
    first, before = keys.load(path, passphrase=None).verifier, path.read_bytes()
    found = CliRunner().invoke(
        app, ["keys", "rotate", "--home", str(service.settings.home)],
        env={"DATABASE_URL": service.owner, "CHIPLEDGER_ORIGIN": "test.example/log"},
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    second = keys.load(path, passphrase=None).verifier
    assert found.stdout.strip() == str(second) != str(first)
    kept = path.with_name(f"{path.name}.{first.key_id.hex()}")
    assert kept.read_bytes() == before
    assert {stat.S_IMODE(file.stat().st_mode) for file in (path, kept)} == {0o600}
    assert not path.with_name(f"{path.name}.next").exists()
    answer = service.submit(wire("levy.settled", **OPENED))
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/refuses-to-write")
    for route in ("/checkpoint", "/readyz"):
        assert httpx.get(f"{service.url}{route}").status_code == 503
    again(service)
    exported = service.export(tmp_path / "log.export")
    for key in (first, second):
        words = verify_file(exported, Held(str(key)), lambda done, total: None)
        assert f"its checkpoint key was rotated 1 time: {second}" in words


def test_what_was_cut_short_before_the_entry_is_done_with_the_key_that_was_made(service: Service) -> None:
    following = service.settings.key_path.with_name("checkpoint.key.next")
    made = keys.load_or_create(following, origin="test.example/log", passphrase=None)
    assert rotate(service.settings, service.logins).key == made.verifier
    again(service)


def test_what_was_cut_short_after_the_entry_is_finished(service: Service) -> None:
    """The log names a key that no service has yet: it is in its file, and nothing is lost."""
    path = service.settings.key_path
    old = keys.load(path, passphrase=None)
    new = keys.load_or_create(path.with_name("checkpoint.key.next"), origin=old.name, passphrase=None)
    asyncio.run(rotation.rotate(service.logins.writer, judge=Engine(), old=old, new=new))
    assert rotate(service.settings, service.logins).key == new.verifier
    assert keys.load(path, passphrase=None).verifier == new.verifier
    again(service)


def test_a_key_is_rotated_as_often_as_one_likes(service: Service, tmp_path: Path) -> None:
    made = [rotate(service.settings, service.logins).key for _ in range(3)]
    assert len(set(made)) == 3
    again(service)
    words = verify_file(service.export(tmp_path / "log.export"), Held(str(made[1])), lambda done, total: None)
    assert any("rotated 3 times" in line for line in words)


def test_without_the_logs_own_key_nothing_is_rotated(service: Service, tmp_path: Path) -> None:
    elsewhere = service.settings.model_copy(update={"home": tmp_path / "other"})
    with pytest.raises(UnusableInput, match="there is no checkpoint key"):
        rotate(elsewhere, service.logins)
    keys.load_or_create(elsewhere.key_path, origin="test.example/log", passphrase=None)
    with pytest.raises(RefusesToWrite, match="the checkpoint key of the log is"):
        rotate(elsewhere, service.logins)
    assert service.submit(wire("levy.settled", **OPENED)).status_code == 201
    service.audit()
