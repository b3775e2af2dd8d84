"""api.bucket: the last checkpoint of a log, kept in an object store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from obstore.store import from_url

from api.bucket import FilesInBucket
from api.database import logins_of
from api.doctor import examine
from api.places import store_of
from ledger import keys
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import StoreFailed, UnusableInput
from tests.api.store_server import endpoint, objects, rule, url
from tests.api.test_start import start
from tests.ledger.sample_log import ORIGIN, SIGNER, signer_of
from tests.ledger.test_checkpoint_store import ROOTS, note, race
from tests.service import settings_for

__all__ = ["endpoint", "url"]


@pytest.fixture
def store(url: str) -> CheckpointStore:
    return CheckpointStore(FilesInBucket(url), ORIGIN)


def test_what_is_kept_comes_back_and_only_grows(store: CheckpointStore, url: str) -> None:
    assert store.latest(SIGNER.verifier) is None
    for size, kept in ((7, 7), (5, 7), (7, 7), (9, 9)):
        assert store.advance(note(size, ROOTS[size]), SIGNER.verifier).size == kept
        assert store.latest(SIGNER.verifier) == Checkpoint(ORIGIN, kept, ROOTS[kept])
    with pytest.raises(StoreFailed, match="it has forked"):
        store.advance(note(9, ROOTS[2]), SIGNER.verifier)
    [(name, raw)] = objects(url).items()
    assert f"{url}/{name}" == str(store)
    assert raw.decode() == note(9, ROOTS[9])


def test_logs_share_a_bucket(store: CheckpointStore) -> None:
    other = signer_of(2, "ledger.example/h200/b")
    store.advance(note(7), SIGNER.verifier)
    store.of(other.name).advance(note(3, ROOTS[2], other), other.verifier)
    assert store.latest(SIGNER.verifier) == Checkpoint(ORIGIN, 7, ROOTS[1])
    assert store.of(other.name).latest(other.verifier) == Checkpoint(other.name, 3, ROOTS[2])


def test_one_that_is_overtaken_looks_again(store: CheckpointStore, url: str) -> None:
    """A later one, kept between its look and its own, stays."""
    store.advance(note(3, ROOTS[3]), SIGNER.verifier)
    files = FilesInBucket(url)
    look, looks = files._objects.read, []

    def read(*given: Any) -> Any:
        found = look(*given)
        looks.append(found)
        if len(looks) == 1:
            store.advance(note(8, ROOTS[8]), SIGNER.verifier)
        return found

    files._objects.read = read  # type: ignore[method-assign]
    assert CheckpointStore(files, ORIGIN).advance(note(5, ROOTS[5]), SIGNER.verifier).size == 8
    assert store.latest(SIGNER.verifier) == Checkpoint(ORIGIN, 8, ROOTS[8])


def test_writers_that_race_leave_the_largest(url: str) -> None:
    kept = race(lambda: CheckpointStore(FilesInBucket(url), ORIGIN), rounds=1)
    assert kept == Checkpoint(ORIGIN, 9, ROOTS[9])


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"\xff" * 9, note(7).replace("\n7\n", "\n8\n").encode()])
def test_what_somebody_else_left_there_is_not_believed(store: CheckpointStore, url: str, raw: bytes) -> None:
    from_url(url).put(str(store).rpartition("/")[2], raw)
    with pytest.raises(StoreFailed, match="is no checkpoint of this log"):
        store.latest(SIGNER.verifier)
    with pytest.raises(StoreFailed, match="is no checkpoint of this log"):
        store.advance(note(9), SIGNER.verifier)


def test_a_store_that_refuses_or_is_away_has_failed(
    store: CheckpointStore, endpoint: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(endpoint, "Deny", "s3:PutObject")
    with pytest.raises(StoreFailed, match=r"the checkpoint cannot be kept in s3://logs/.* refuses us"):
        store.advance(note(7), SIGNER.verifier)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    away = CheckpointStore(FilesInBucket(url), ORIGIN)
    with pytest.raises(StoreFailed, match=r"the checkpoint kept in s3://logs/.* cannot be read"):
        away.latest(SIGNER.verifier)


def test_a_service_keeps_its_checkpoint_there_and_does_not_start_behind_it(
    owner: str, tmp_path: Path, url: str
) -> None:
    settings = settings_for(owner, tmp_path).model_copy(update={"checkpoint_store": url})
    asyncio.run(start(settings, owner))
    [kept] = objects(url).values()
    assert kept.splitlines()[1] == b"1"
    found = {one.about: one for one in asyncio.run(examine(settings, logins_of(owner)))}
    assert found["checkpoint store"] == ("checkpoint store", "ok", f"1 entries, in {url}")
    assert found["disk space"].state == "ok"
    assert settings.store_path == tmp_path / "checkpoints"  # for what the watch remembers

    signer = keys.load(settings.key_path, passphrase=None)
    store_of(settings, signer).advance(sign(Checkpoint(signer.name, 9, bytes(32)), signer), signer.verifier)
    [refused] = asyncio.run(start(settings, owner))
    assert refused["message"].startswith("the database holds 1 entries, and a checkpoint that is kept out")


def test_a_bucket_that_cannot_be_one_ends_the_start_in_words(owner: str, tmp_path: Path) -> None:
    settings = settings_for(owner, tmp_path).model_copy(update={"checkpoint_store": "ftp://logs"})
    with pytest.raises(UnusableInput, match="ftp://logs is no bucket, must be like s3://bucket/prefix"):
        store_of(settings, SIGNER)
