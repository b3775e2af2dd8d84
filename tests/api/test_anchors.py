"""A service with witnesses and a time-stamping authority, and what an outsider checks with their words."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest
from typer.testing import CliRunner

from api.bundle_check import verify_bundle
from api.cli import app
from api.held import Held
from api.mirror import stored_log
from ledger import keys
from ledger.checkpoint import Checkpoint, sign
from ledger.cosignature import cosignatures_in
from ledger.errors import VerificationError
from ledger.note import parse_note
from ledger.verify_bundle import open_bundle
from tests.api.test_cli import run
from tests.conftest import copied
from tests.ledger.sample_bundle import rewritten
from tests.ledger.witness_server import AuthorityServer, WitnessServer, authority, witnesses
from tests.service import Service, running, settings_for


@dataclass(frozen=True)
class Anchored:
    service: Service
    servers: list[WitnessServer]
    tsa: AuthorityServer
    policy: Path


@pytest.fixture(scope="module")
def anchored(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anchored]:
    home = tmp_path_factory.mktemp("home")
    policy = home / "witnesses"
    with copied(server, template) as url:
        settings = settings_for(url, home)
        signer = keys.load_or_create(settings.key_path, origin=settings.origin, passphrase=None)
        servers = [WitnessServer(f"witness.example/w{n}", signer.verifier, seed=20 + n) for n in range(3)]
        with witnesses(*servers), authority(tmp_path_factory.mktemp("tsa")) as tsa:
            lines = [f"witness W{n} {one.witness} {one.url}" for n, one in enumerate(servers)]
            policy.write_text("\n".join([*lines, "group G 2 W0 W1 W2", "quorum G\n"]))
            settings = settings.model_copy(
                update={
                    "witness_policy": policy,
                    "timestamp_url": tsa.url,
                    "timestamp_roots": tsa.roots,
                }
            )
            with running(settings, url) as service:
                yield Anchored(service, servers, tsa, policy)


def until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(600):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("it did not come about")


def test_the_service_shows_how_far_it_is_committed_and_how_far_witnessed(anchored: Anchored) -> None:
    url = anchored.service.url
    until(lambda: httpx.get(f"{url}/v1/witnesses").json()["witnessed"] == 1)
    found = httpx.get(f"{url}/v1/witnesses").json()
    assert (found["committed"], found["needed"], found["of"]) == (1, 2, 3)
    assert [one["name"] for one in found["witnesses"]] == [f"witness.example/w{n}" for n in range(3)]
    note = httpx.get(f"{url}/log/checkpoint").text
    assert len(cosignatures_in(note, [one.witness for one in anchored.servers])) >= 2
    metrics = httpx.get(f"{url}/metrics").text
    assert "chipledger_witnessed_tree_size 1.0" in metrics
    assert "chipledger_witnesses_failing 0.0" in metrics


def test_an_outsider_checks_witnesses_and_time_offline(anchored: Anchored, tmp_path: Path) -> None:
    url = anchored.service.url
    until(lambda: len(httpx.get(f"{url}/v1/timestamps").json()["timestamps"]) == 1)
    [stamp] = httpx.get(f"{url}/v1/timestamps").json()["timestamps"]
    assert anchored.tsa.verifies(b64decode(stamp["token"]), stamp["checkpoint"])
    (tmp_path / "cosigned").write_text(httpx.get(f"{url}/log/checkpoint").text)
    (tmp_path / "stamped").write_text(stamp["checkpoint"])
    (tmp_path / "token").write_bytes(b64decode(stamp["token"]))
    export = anchored.service.export(tmp_path / "log.export")
    signer = keys.load(anchored.service.settings.key_path, passphrase=None)
    verify = ["verify", str(export), "--key", str(signer.verifier)]
    done = CliRunner().invoke(
        app, [*verify, "--checkpoint", str(tmp_path / "cosigned"), "--witnesses", str(anchored.policy)]
    )
    assert done.exit_code == 0, done.output
    assert "continues 1 checkpoint kept elsewhere" in done.output
    assert "is cosigned by witness.example/w" in done.output
    stamped = [*verify, "--checkpoint", str(tmp_path / "stamped"), "--timestamp", str(tmp_path / "token")]
    done = CliRunner().invoke(app, [*stamped, "--timestamp-roots", str(anchored.tsa.roots)])
    assert done.exit_code == 0, done.output
    assert "entries 0 to 0 were there at 2" in done.output
    # What no witness has seen is not enough, and a timestamp of another checkpoint says nothing of this one.
    done = CliRunner().invoke(
        app, [*verify, "--checkpoint", str(tmp_path / "stamped"), "--witnesses", str(anchored.policy)]
    )
    assert done.exit_code == 1
    assert "is cosigned by nobody, which is not enough: the policy asks for 2 of 3" in done.output
    other = [*verify, "--checkpoint", str(tmp_path / "cosigned"), "--timestamp", str(tmp_path / "token")]
    done = CliRunner().invoke(app, [*other, "--timestamp-roots", str(anchored.tsa.roots)])
    assert done.exit_code == 1, done.output


def test_a_bundle_brings_the_words_of_both_along(anchored: Anchored) -> None:
    with anchored.service.client("auditor") as client:
        until(lambda: len(client.get("/v1/timestamps").json()["timestamps"]) == 1)
        until(lambda: client.get("/v1/witnesses").json()["witnessed"] == 1)
        raw = client.get("/v1/bundles?index=0").raise_for_status().content
    verifier = keys.load(anchored.service.settings.key_path, passphrase=None).verifier
    stamp, witnessed = open_bundle(raw, verifier=verifier).anchors
    assert stamp.token is not None
    assert anchored.tsa.verifies(stamp.token, stamp.note)
    words = verify_bundle(raw, verifier, Held(witnesses=anchored.policy, timestamp_roots=anchored.tsa.roots))
    assert any(line.startswith("entries below 1 are cosigned by witness.example/w") for line in words)
    assert any(line.startswith("entries below 1 were there at 2") for line in words)
    assert "remark: 1 timestamps were not checked: give --timestamp-roots" in verify_bundle(
        raw, verifier, Held()
    )
    bare = rewritten(raw, {"anchors/1.checkpoint": stamp.note.encode()})
    with pytest.raises(VerificationError, match="by as many as the policy asks for"):
        verify_bundle(bare, verifier, Held(witnesses=anchored.policy))
    swapped = rewritten(raw, {"anchors/0.checkpoint": witnessed.note.encode()})
    with pytest.raises(VerificationError, match="the timestamp does not hold"):
        verify_bundle(swapped, verifier, Held(timestamp_roots=anchored.tsa.roots))


def test_a_folder_of_tiles_has_the_checkpoint_that_witnesses_have_seen(
    anchored: Anchored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, folder = anchored.service, tmp_path / "static"
    until(lambda: httpx.get(f"{service.url}/v1/witnesses").json()["witnessed"] == 1)
    monkeypatch.setenv("CHIPLEDGER_WITNESS_POLICY", str(anchored.policy))
    told = run("tiles", folder, url=service.owner, home=service.settings.home)
    assert told.status == 0, told.err
    key = keys.load(service.settings.key_path, passphrase=None).verifier
    told = run("verify", folder, "--key", key, "--witnesses", anchored.policy)
    assert (told.status, "the checkpoint of 1 entry is cosigned by" in told.out) == (0, True), told.err

    async def checkpoints() -> list[int]:
        async with stored_log(service.settings, service.logins) as source:
            return [len(parse_note(await source.checkpoint(least))[1]) for least in (0, 1, 2)]

    # What was published is not taken back for want of witnesses.
    zero, one, two = asyncio.run(checkpoints())
    assert (zero >= 3, one >= 3, two) == (True, True, 1)


def test_a_log_that_does_not_continue_a_kept_checkpoint_is_tampered_with(
    anchored: Anchored, tmp_path: Path
) -> None:
    """The service's key signs another history: whoever kept a checkpoint sees it."""
    export = anchored.service.export(tmp_path / "log.export")
    signer = keys.load(anchored.service.settings.key_path, passphrase=None)
    verify = ["verify", str(export), "--key", str(signer.verifier), "--checkpoint", str(tmp_path / "kept")]
    for size, words in ((1, "it was rewritten"), (900, "it was truncated")):
        (tmp_path / "kept").write_text(sign(Checkpoint(signer.name, size, bytes(32)), signer))
        done = CliRunner().invoke(app, verify)
        assert done.exit_code == 1
        assert words in done.output
