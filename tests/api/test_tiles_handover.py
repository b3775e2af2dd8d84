"""A folder of tiles stays in step over a rotation of the log's key, and is left alone by another log."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.mirror import keep_in_step, stored_log
from api.rotate import rotate
from ledger import keys
from ledger.errors import VerificationError
from ledger.folder import Folder
from ledger.note import Verifier
from ledger.static_log import update
from tests.api.test_cli import Run, run
from tests.api.test_rotate import OPENED
from tests.conftest import copied
from tests.ledger.sample_log import SampleLog, signer_of
from tests.ledger.test_folder import Served
from tests.service import Service, running, settings_for
from tests.workbench import wire


@pytest.fixture
def service(server: str, template: str, tmp_path: Path) -> Iterator[Service]:
    """A log of three entries, whose service is stopped."""
    with copied(server, template) as url:
        with running(settings_for(url, tmp_path / "home"), url) as service:
            for _ in range(2):
                said = wire("contract.opened", contract=str(uuid.uuid4()), **OPENED)
                assert service.submit(said).status_code == 201
        yield service


def key_of(service: Service) -> Verifier:
    return keys.load(service.settings.key_path, passphrase=None).verifier


def tiles(service: Service, folder: Path) -> Run:
    return run("tiles", folder, url=service.owner, home=service.settings.home)


def test_a_folder_goes_on_with_the_next_key(service: Service, tmp_path: Path) -> None:
    folder, first = tmp_path / "static", key_of(service)
    assert tiles(service, folder).status == 0
    before = (folder / "tile/0/000.p/3").read_bytes()
    rotate(service.settings, service.logins)
    rotate(service.settings, service.logins)
    told = tiles(service, folder)
    assert (told.status, f"5 entries in {folder}" in " ".join(told.err.split())) == (0, True)
    assert (folder / "tile/0/000.p/3").read_bytes() == before
    assert run("verify", folder, "--key", key_of(service)).status == 0
    stale = run("verify", folder, "--key", first)
    assert stale.status == 1
    assert "so its newest one is needed" in " ".join(stale.err.split())


def test_who_follows_goes_on_over_a_rotation(service: Service, tmp_path: Path) -> None:
    """The key is in its file a moment after the log names it: it is asked for again."""
    folder, told = tmp_path / "static", list[str]()
    path = service.settings.key_path

    def hear(words: str) -> None:
        told.append(words)
        if len(told) == 1:
            with ThreadPoolExecutor(1) as elsewhere:
                rotated = elsewhere.submit(rotate, service.settings, service.logins).result()
            path.rename(tmp_path / "new")
            path.hardlink_to(rotated.kept)
        elif len(told) == 2:
            (tmp_path / "new").replace(path)
        else:
            raise KeyboardInterrupt

    async def follow() -> None:
        async with stored_log(service.settings, service.logins) as source:
            await keep_in_step(Folder(folder), source, every_s=0.001, advance=lambda _, __: None, told=hear)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(follow())
    assert told[0] == f"3 entries in {folder}"
    assert "the checkpoint key of the log is" in told[1]
    assert told[2] == f"4 entries in {folder}"


def test_a_mirror_is_told_the_key_before(service: Service, tmp_path: Path) -> None:
    first, mirror = key_of(service), tmp_path / "mirror"
    with running(service.settings, service.owner) as running_service:
        prefix = f"{running_service.url}/log"
        assert run("tiles", mirror, "--url", prefix, "--key", first).status == 0
    rotate(service.settings, service.logins)
    second = key_of(service)
    with running(service.settings, service.owner) as running_service:
        prefix = f"{running_service.url}/log"
        stale = run("tiles", mirror, "--url", prefix, "--key", first)
        alone = run("tiles", mirror, "--url", prefix, "--key", second)
        assert (stale.status, alone.status) == (1, 1)
        assert "its new one is needed" in " ".join(stale.err.split())
        assert "the one before is needed too" in " ".join(alone.err.split())
        told = run("tiles", mirror, "--url", prefix, "--key", second, "--was", first)
        assert told.status == 0, told.err
        assert run("tiles", mirror, "--url", prefix, "--key", second).status == 0
    assert run("verify", mirror, "--key", second).status == 0


def test_a_log_of_another_name_does_not_go_into_the_folder(tmp_path: Path) -> None:
    log, other = SampleLog.of(5), SampleLog.of(9, signer=signer_of(4, "ledger.example/h200/b"))
    folder = Folder(tmp_path)
    with folder.locked():
        asyncio.run(update(folder, Served(log, 5), signer_of(1).verifier))
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(VerificationError, match="A log that was recovered has another name"):
            asyncio.run(update(folder, Served(other, 9), signer_of(4, "ledger.example/h200/b").verifier))
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_key_of_another_log_does_not_make_the_folder_this_logs(tmp_path: Path) -> None:
    forged, folder = SampleLog.of(5, signer=signer_of(9)), Folder(tmp_path)
    with folder.locked():
        asyncio.run(update(folder, Served(forged, 5), signer_of(9).verifier))
        with pytest.raises(VerificationError, match="no known key signed the note"):
            asyncio.run(
                update(
                    folder, Served(SampleLog.of(9), 9), signer_of(1).verifier, earlier=[signer_of(2).verifier]
                )
            )
