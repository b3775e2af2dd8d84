"""`chipledger keys generate` and `chipledger sign`: keys that stay with their owner, and what they sign."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from api.cli import app
from ledger import dsse
from ledger.canonical import canonical
from ledger.event import parse_event, submission_of
from tests.workbench import wire

ALGORITHMS = ["ed25519", "ecdsa-p256"]


def run(*arguments: object, said: str | None = None, status: int = 0, **environment: str) -> str:
    """What it told: on standard output, or on standard error where it fails."""
    done = CliRunner().invoke(app, list(map(str, arguments)), input=said, env=environment)
    assert done.exit_code == status, done.output
    return done.stdout if not status else done.stderr


@pytest.fixture
def event(tmp_path: Path) -> Path:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(wire("lab.tested"), indent=2))
    return path


def holds(envelope: dict[str, Any], *registered: dict[str, str]) -> bool:
    read = dsse.Envelope.parse(envelope)
    keys = {
        dsse.fingerprint_of(r["public_key"]): dsse.public_key_of(r["public_key"], r["algorithm"])
        for r in registered
    }
    return all(dsse.check(keys[s.keyid], dsse.pae(read.payload), s.raw) for s in read.signatures)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "environment", [{}, {"CHIPLEDGER_SIGNING_PASSPHRASE": "horse"}], ids=["plain", "kept"]
)
def test_a_key_is_made_registered_and_signs(
    tmp_path: Path, event: Path, algorithm: str, environment: dict[str, str]
) -> None:
    path = tmp_path / "keys" / "acme.pem"
    registered = json.loads(run("keys", "generate", path, "--algorithm", algorithm, **environment))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in path.read_bytes()) == bool(environment)
    parse_event(wire("key.registered", **registered))
    envelope = json.loads(run("sign", event, "--key", path, **environment))
    submission = submission_of(envelope)
    assert submission.body == canonical(json.loads(event.read_text()))
    assert holds(envelope, registered)


def test_an_envelope_is_signed_again_by_who_else_must(tmp_path: Path, event: Path) -> None:
    made = {name: json.loads(run("keys", "generate", tmp_path / name)) for name in ("one", "two", "three")}
    one = run("sign", event, "--key", tmp_path / "one")
    all_ = run("sign", "-", "--key", tmp_path / "two", "--key", tmp_path / "three", said=one)
    assert len(json.loads(all_)["signatures"]) == 3
    assert holds(json.loads(all_), *made.values())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssls_keys_are_taken_and_ours_verify_with_it(tmp_path: Path, event: Path, algorithm: str) -> None:
    key, public, message, signature = (tmp_path / name for name in ("key", "public", "message", "signature"))
    kind = ["ED25519"] if algorithm == "ed25519" else ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "genpkey", "-algorithm", *kind, "-out", key], check=True, capture_output=True)
    key.chmod(0o600)
    envelope = json.loads(run("sign", event, "--key", key))
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    message.write_bytes(dsse.pae(base64.b64decode(envelope["payload"])))
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    digest = ["-rawin"] if algorithm == "ed25519" else ["-rawin", "-digest", "sha256"]
    checked = subprocess.run(
        [
            "openssl",
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            public,
            *digest,
            "-in",
            message,
            "-sigfile",
            signature,
        ],
        capture_output=True,
    )
    assert checked.returncode == 0, checked.stderr


def test_no_key_is_written_over(tmp_path: Path) -> None:
    run("keys", "generate", tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    assert "is there already" in run("keys", "generate", tmp_path / "key", status=2)
    assert (tmp_path / "key").read_bytes() == before
    assert "must be ed25519 or ecdsa-p256" in run(
        "keys", "generate", tmp_path / "x", "--algorithm", "rsa", status=2
    )


def test_what_cannot_sign_is_refused_in_words(tmp_path: Path, event: Path) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    run("keys", "generate", key)
    assert "cannot be opened" in run("sign", event, "--key", key, status=2, CHIPLEDGER_SIGNING_PASSPHRASE="x")
    event.chmod(0o600)
    assert "cannot be opened" in run("sign", event, "--key", event, status=2)
    assert "No such file" in run("sign", event, "--key", tmp_path / "none", status=2)
    key.chmod(0o644)
    assert "readable by its owner alone" in run("sign", event, "--key", key, status=2)
    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    other.write_bytes(pem)
    other.chmod(0o600)
    assert "must be Ed25519, or ECDSA on P-256" in run("sign", event, "--key", other, status=2)


def test_what_the_service_would_not_take_is_not_signed(tmp_path: Path) -> None:
    key = tmp_path / "key"
    run("keys", "generate", key)
    for said, words in (
        ('{"kind":"lab.tset"}', "did you mean lab.tested"),
        ('{"a":1.5}', "write it as a string"),
    ):
        assert words in run("sign", "-", "--key", key, said=said, status=2)
