"""The checkpoint key in its file: made once, for its owner alone, and refused when it is not right."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.errors import UnusableInput
from ledger.keys import load, load_or_create
from ledger.note import open_note, sign

ORIGIN = "ledger.example/h200"
PASSPHRASE = b"correct horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a key goes: the folders are made with it."""
    return tmp_path / "a" / "b" / "checkpoint.key"


def pem_of(key: object) -> bytes:
    assert isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def put(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


# --- made -----------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_then_read(path: Path) -> None:
    made = load_or_create(path, origin=ORIGIN, passphrase=None)
    assert made.name == ORIGIN
    before = path.read_bytes()
    for again in (load_or_create(path, origin=ORIGIN, passphrase=None), load(path, passphrase=None)):
        assert again.verifier == made.verifier
        open_note(sign("text\n", again), [made.verifier])
    assert path.read_bytes() == before


def test_two_logs_never_share_a_name_by_default(tmp_path: Path) -> None:
    names = {load_or_create(tmp_path / f"{n}", origin=None, passphrase=None).name for n in range(8)}
    assert len(names) == 8
    assert all(name.startswith("chipledger.local/") for name in names)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_key_is_readable_by_its_owner_alone(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        load_or_create(path, origin=ORIGIN, passphrase=None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name], "a draft was left behind"


def test_the_file_names_its_origin_and_is_a_pkcs8_pem(path: Path) -> None:
    signer = load_or_create(path, origin=ORIGIN, passphrase=None)
    title, _, pem = path.read_bytes().partition(b"\n")
    assert title == f"chipledger checkpoint key of {ORIGIN}".encode()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, Ed25519PrivateKey)
    assert key.public_key().public_bytes_raw() == signer.verifier.public_key


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "encrypted"])
def test_processes_that_start_at_once_have_one_key(path: Path, passphrase: bytes | None) -> None:
    """Two logs under two keys would be two forks of one log: whoever comes second takes the first one's."""
    race = (
        "import sys; from pathlib import Path; from ledger.keys import load_or_create\n"
        f"path, passphrase = Path({str(path)!r}), {passphrase!r}\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "print(load_or_create(path, origin=None, passphrase=passphrase).verifier)"
    )
    rivals = [
        subprocess.Popen([sys.executable, "-c", race], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == b"ready\n"
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.close()
        rival.stdin = None
    answers = {rival.communicate(timeout=60)[0].decode().strip() for rival in rivals}
    assert [rival.returncode for rival in rivals] == [0] * 6
    assert answers == {str(load(path, passphrase=passphrase).verifier)}
    assert os.listdir(path.parent) == [path.name]


def test_what_is_set_to_nothing_is_not_set(path: Path) -> None:
    """An empty variable in a container's environment: the next start must read what this one made."""
    made = load_or_create(path, origin="", passphrase=b"")
    assert made.name.startswith("chipledger.local/")
    assert load_or_create(path, origin="", passphrase=b"").verifier == made.verifier
    assert load_or_create(path, origin=None, passphrase=None).verifier == made.verifier


@pytest.mark.parametrize("origin", ["two words", "a+b", "line\nbreak", "tab\tbed"])
def test_an_origin_that_no_checkpoint_can_carry_makes_no_key(path: Path, origin: str) -> None:
    with pytest.raises(UnusableInput, match="must be non-empty without space or plus"):
        load_or_create(path, origin=origin, passphrase=None)
    assert not path.exists()


# --- encrypted ------------------------------------------------------------------------------------


def test_a_key_is_encrypted_with_its_passphrase(path: Path) -> None:
    made = load_or_create(path, origin=ORIGIN, passphrase=PASSPHRASE)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
    assert load(path, passphrase=PASSPHRASE).verifier == made.verifier


@pytest.mark.parametrize("wrong", [b"correct hors", b"correct horse ", None, b""])
def test_without_its_passphrase_a_key_is_not_opened(path: Path, wrong: bytes | None) -> None:
    load_or_create(path, origin=ORIGIN, passphrase=PASSPHRASE)
    with pytest.raises(UnusableInput, match=rf"the key in {path} cannot be opened: "):
        load(path, passphrase=wrong)


def test_a_passphrase_for_a_key_that_has_none_is_refused(path: Path) -> None:
    """Whoever set it believes that the file is encrypted."""
    load_or_create(path, origin=ORIGIN, passphrase=None)
    with pytest.raises(UnusableInput, match=r"cannot be opened: .*not encrypted"):
        load(path, passphrase=PASSPHRASE)


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o660, 0o777])
def test_a_key_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    load_or_create(path, origin=ORIGIN, passphrase=None)
    path.chmod(mode)
    for attempt in (load, load_or_create):
        with pytest.raises(UnusableInput, match="must be readable by its owner alone"):
            attempt(path, passphrase=None, origin=ORIGIN)


def test_a_key_of_another_origin_is_refused(path: Path) -> None:
    load_or_create(path, origin=ORIGIN, passphrase=None)
    for attempt in (load, load_or_create):
        with pytest.raises(UnusableInput, match=rf"is of origin {ORIGIN}, must be of other\.example/log"):
            attempt(path, passphrase=None, origin="other.example/log")


TITLE = f"chipledger checkpoint key of {ORIGIN}\n".encode()
NO_KEYS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not a checkpoint key of chipledger"),
    "a key without its title": (pem_of(Ed25519PrivateKey.generate()), "is not a checkpoint key"),
    "another title": (b"PGP key of x\n", "is not a checkpoint key"),
    "bytes": (bytes(range(256)), "is not a checkpoint key"),
    "a title that is cut off": (TITLE[:-1], "is not a checkpoint key"),
    "a title alone": (TITLE, "cannot be opened"),
    "a key that is cut off": (TITLE + pem_of(Ed25519PrivateKey.generate())[:60], "cannot be opened"),
    "no key": (TITLE + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be opened"),
    "a key of another kind": (TITLE + pem_of(x25519.X25519PrivateKey.generate()), "is not an Ed25519 key"),
    "a key on a curve": (TITLE + pem_of(ec.generate_private_key(ec.SECP256R1())), "is not an Ed25519 key"),
    "a name that no key has": (
        b"chipledger checkpoint key of a+b\n" + pem_of(Ed25519PrivateKey.generate()), "without space or plus",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_KEYS)
def test_what_is_not_such_a_key_is_refused(path: Path, what: str) -> None:
    content, words = NO_KEYS[what]
    put(path, content)
    with pytest.raises(UnusableInput, match=words):
        load_or_create(path, origin=None, passphrase=None)
    assert path.read_bytes() == content, "what was there is left as it is"
