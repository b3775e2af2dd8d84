"""What others' software says of ours, each in an environment of its own: `make outside`.

A C2SP verifier and a witness (aics-tlog, aics-witness), a C2SP reader (tlog-scales), a receiver of webhooks
in Node. `openssl ts` and Standard Webhooks in Python are of the ordinary suite.
Each must also refuse what was altered, or its word would say nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import httpx2 as httpx
import pytest

from ledger import keys
from tests.api.contract import LiveContract
from tests.api.receiver import receiving, subscribed
from tests.api.test_anchors import until
from tests.conftest import copied
from tests.service import Service, running, settings_for
from tests.workbench import EXPORTER, wire

ROOT = Path(__file__).parents[2]
OUTSIDE = ROOT / ".outside"
CHIPLEDGER = (sys.executable, "-m", "api.cli")
AICS = "aics-witness/bin"
SCALES = "tlog-scales/bin"
WITNESS = "witness.example/w1"
BATCH = 600
"""Denied events: cheap, and entries all the same. Two tiles full, a third one begun."""


def ran(tool: str, *words: object, stdin: str | None = None) -> CompletedProcess[str]:
    command = [str(OUTSIDE / tool), *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)


def accepted(tool: str, *words: object) -> str:
    done = ran(tool, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Witness:
    """`aics-witness`, which keeps what it has cosigned in SQLite."""

    config: Path
    url: str
    key: str

    def trust(self, origin: str, key: str) -> None:
        accepted(f"{AICS}/aics-witness", "add-log", "-c", self.config, "--origin", origin, "--vkey", key)


@dataclass(frozen=True)
class Watched:
    """A log that is served, and its keys as somebody outside has them."""

    service: Service
    witness: Witness
    keys: Path
    """As aics-tlog reads them."""

    @property
    def url(self) -> str:
        return f"{self.service.url}/log"

    def witnessed(self) -> int:
        found: int = httpx.get(f"{self.service.url}/v1/witnesses").json()["witnessed"]
        return found

    def grow(self) -> int:
        """Until the witness has cosigned all there is; gives the size."""
        denied = [wire("levy.settled", contract=str(uuid.uuid4())) for _ in range(BATCH)]
        with self.service.client("submitter", EXPORTER) as client:
            assert client.post("/v1/events:batch", json=denied).status_code == 200
        size: int = httpx.get(f"{self.service.url}/v1/witnesses").json()["committed"]
        until(lambda: self.witnessed() >= size)
        return self.witnessed()


@contextmanager
def witness(folder: Path) -> Iterator[Witness]:
    config = folder / "witness.json"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = "{}:{}".format(*free.getsockname())
    key = accepted(
        f"{AICS}/aics-witness", "init", "-c", config, "--name", WITNESS, "--listen", listen
    ).strip()
    yield Witness(config, f"http://{listen}/", key)


@contextmanager
def serving(one: Witness) -> Iterator[None]:
    command = [OUTSIDE / AICS / "aics-witness", "serve", "-c", one.config, "--log-level", "ERROR"]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def watched(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("home")
    with copied(server, template) as database:
        settings = settings_for(database, home, clock="simulated")
        signer = keys.load_or_create(settings.key_path, origin=settings.origin, passphrase=None)
        key = str(signer.verifier)
        with witness(tmp_path_factory.mktemp("witness")) as one:
            one.trust(settings.origin, key)
            policy = home / "witnesses"
            policy.write_text(f"log {key}\nwitness W {one.key} {one.url}\nquorum W\n")
            known = home / "others.keys"
            known.write_text(key)
            settings = settings.model_copy(update={"witness_policy": policy})
            with serving(one), running(settings, database) as service:
                LiveContract(service).open()
                watched = Watched(service, one, known)
                watched.grow()
                yield watched


@pytest.fixture
def altered(watched: Watched, tmp_path: Path) -> Path:
    """The log's folder of tiles, in which one byte of entry 300 is another."""
    folder = tmp_path / "tiles"
    done = subprocess.run(
        [*CHIPLEDGER, "tiles", folder, "--url", watched.url, "--key", watched.keys.read_text()], check=False
    )
    assert done.returncode == 0
    bundle = folder / "tile/entries/001"
    raw = bytearray(bundle.read_bytes())
    at = raw.index(b'"index":300')
    raw[at + 8] ^= 1
    bundle.write_bytes(raw)
    return folder


# --- C2SP ------------------------------------------------------------------------------------------


def test_a_witness_cosigns_the_log_as_it_grows_and_a_verifier_counts_it(
    watched: Watched, tmp_path: Path
) -> None:
    known = ("--tiles", watched.url, "--vkey-file", watched.keys)
    cosigned = ("--witness-key", watched.witness.key, "--quorum", 1, "--max-age", 600)
    before = watched.witnessed()
    accepted(
        f"{AICS}/aics-tlog", "verify-checkpoint", *known, *cosigned, "--save-checkpoint", tmp_path / "old"
    )
    assert watched.grow() == before + BATCH
    accepted(f"{AICS}/aics-tlog", "verify-checkpoint", *known, *cosigned)
    accepted(f"{AICS}/aics-tlog", "verify-consistency", *known, "--old-checkpoint", tmp_path / "old")
    status = json.loads(accepted(f"{AICS}/aics-witness", "status", "-c", watched.witness.config, "--json"))
    assert [one["size"] for one in status["logs"]] == [before + BATCH]
    assert [one["evidence"] for one in status["logs"]] == [0]


def test_a_verifier_finds_every_entry_under_the_checkpoint(watched: Watched, tmp_path: Path) -> None:
    known = ("--tiles", watched.url, "--vkey-file", watched.keys)
    for index in (0, 255, 256, 300, watched.witnessed() - 1):
        entry = tmp_path / str(index)
        accepted(f"{AICS}/aics-tlog", "verify-inclusion", *known, "--index", index, "--entry-out", entry)
        assert json.loads(entry.read_bytes())["index"] == index


def test_a_verifier_refuses_an_entry_that_was_altered(watched: Watched, altered: Path) -> None:
    known = ("verify-inclusion", "--tiles", altered, "--vkey-file", watched.keys)
    accepted(f"{AICS}/aics-tlog", *known, "--index", 20)
    assert ran(f"{AICS}/aics-tlog", *known, "--index", 300).returncode != 0


def test_a_reader_makes_the_receipts_that_we_make(watched: Watched) -> None:
    note = httpx.get(f"{watched.url}/checkpoint").text
    with watched.service.client("auditor") as client:
        for index in (0, 255, 256, 300, watched.witnessed() - 1):
            accepted(f"{SCALES}/tlog-tiles", "get-leaf", "--check", watched.url, index)
            theirs = accepted(f"{SCALES}/tlog-tiles", "gen-proof", watched.url, index)
            ours = client.get(f"/v1/entries/{index}/receipt?format=tlog-proof").text
            assert theirs.partition("\n\n")[0] == ours.partition("\n\n")[0]
            assert theirs.partition("\n\n")[2] == note


def test_a_reader_refuses_an_entry_that_was_altered(altered: Path) -> None:
    accepted(f"{SCALES}/tlog-tiles", "get-leaf", "--check", altered, 20)
    assert ran(f"{SCALES}/tlog-tiles", "get-leaf", "--check", altered, 300).returncode != 0


# --- Standard Webhooks -----------------------------------------------------------------------------


def test_a_receiver_in_node_accepts_a_revocation_and_no_other_bytes(service: Service) -> None:
    contract = LiveContract(service).open()
    with receiving() as receiver:
        endpoint = subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.*"])
        contract.accepted("license.revoked")
        [request] = receiver.wait_for(1)
    for body, status in ((request.body, 0), (request.body.replace(b"revoked", b"revokes"), 1)):
        told = {"secret": endpoint.secret, "headers": request.headers, "body": body.decode()}
        done = subprocess.run(
            ["node", ROOT / "tests/outside/node/verify.cjs"], input=json.dumps(told), text=True, check=False,
            capture_output=True, env={**os.environ, "NODE_PATH": str(OUTSIDE / "node/node_modules")},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
