"""api.bucket: the static log in an object store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from obstore.store import from_url

from api.bucket import Bucket
from api.places import target_at
from ledger.errors import NotFound, Unavailable, UnusableInput, VerificationError
from ledger.static_log import update
from ledger.tiles import ENTRIES, Coordinates
from tests.api.contract import LiveContract
from tests.api.store_server import endpoint, objects, rule, url
from tests.api.test_cli import run
from tests.ledger.sample_log import SIGNER
from tests.ledger.test_folder import (
    NEW,
    OLD,
    Crash,
    Lying,
    Served,
    brought,
    check,
    contents,
    flipped,
    forked,
    names_at,
    sample,
)
from tests.service import Service

__all__ = ["endpoint", "url"]

FULL = Coordinates(0, 0, 256)


def put(url: str, source: Served, *, store: Any = None) -> Bucket:
    """The bucket, brought up to a source; `store` makes one of the real one that goes between."""
    bucket = Bucket(url)
    if store is not None:
        bucket._objects.store = store(bucket._objects.store)
    with bucket.locked():
        asyncio.run(update(bucket, source, SIGNER.verifier))
    return bucket


def fetched(url: str, path: Path) -> Path:
    """The bucket as a folder, which `verify_folder` can check."""
    for name, raw in objects(url).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    return path


class Between:
    """Stands before a store. At request number `step` the process ends, before or after it was done."""

    def __init__(self, store: Any, step: int = 0, *, persists: bool = True) -> None:
        self._store, self._step, self._persists = store, step, persists
        self.taken = 0

    def _take(self, name: str, *args: Any, **more: Any) -> Any:
        self.taken += 1
        over = self._step and self.taken >= self._step
        if over and (self.taken > self._step or not self._persists):
            raise Crash
        done = getattr(self._store, name)(*args, **more)
        if over:
            raise Crash
        return done

    def get(self, name: str) -> Any:
        return self._store.get(name)

    def list(self, prefix: str) -> Any:
        return self._store.list(prefix)

    def put(self, *args: Any, **more: Any) -> Any:
        return self._take("put", *args, **more)

    def delete(self, *args: Any) -> Any:
        return self._take("delete", *args)


# --- what is written ------------------------------------------------------------------------------


def test_a_bucket_has_the_bytes_of_a_folder_and_grows_as_it(url: str, tmp_path: Path) -> None:
    for size in (OLD, OLD, NEW):
        brought(tmp_path, Served(sample(), size))
        put(url, Served(sample(), size))
        assert objects(url) == contents(tmp_path)
    assert objects(url).keys() == names_at(OLD, NEW)


def test_tiles_are_served_for_ever_and_the_checkpoint_is_asked_for_each_time(url: str, endpoint: str) -> None:
    put(url, Served(sample(), NEW))
    for name, kind, cached in (
        ("tile/0/000", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("tile/entries/002.p/8", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("checkpoint", "text/plain; charset=utf-8", "no-cache"),
    ):
        headers = httpx.get(f"{endpoint}/logs/h200/{name}").headers
        assert (headers["content-type"], headers["cache-control"]) == (kind, cached)


def test_a_bucket_is_written_by_the_command_line_and_mirrored_from_where_it_is_served(
    url: str, endpoint: str, service: Service, tmp_path: Path
) -> None:
    LiveContract(service).open()
    written = run("tiles", url, url=service.owner, home=service.settings.home)
    assert written.status == 0, written.told
    assert f"entries in {url}" in written.told
    with service.client("auditor") as client:
        key = client.get("/v1/entries/0").json()["event"]["value"]["data"]["key"]
    mirrored = run("tiles", str(tmp_path), "--url", f"{endpoint}/logs/h200", "--key", key)
    assert mirrored.status == 0, mirrored.told
    assert contents(tmp_path) == objects(url)
    assert run("verify", str(tmp_path), "--key", key).status == 0


def test_wherever_an_update_ends_the_bucket_holds_and_the_next_one_goes_on(url: str, tmp_path: Path) -> None:
    counted: list[Between] = []

    def count(store: Any) -> Between:
        counted.append(Between(store))
        return counted[-1]

    put(f"{url}/counted", Served(sample(), OLD))
    put(f"{url}/counted", Served(sample(), NEW), store=count)
    [between] = counted
    assert between.taken > 8
    for step in range(1, between.taken + 1):
        for persists in (True, False):
            place = f"{url}/{step}/{persists}"
            put(place, Served(sample(), OLD))
            with pytest.raises(Crash):
                put(
                    place,
                    Served(sample(), NEW),
                    store=lambda store, step=step, persists=persists: Between(store, step, persists=persists),
                )
            assert check(fetched(place, tmp_path / place[5:] / "then")).size in (OLD, NEW)
            put(place, Served(sample(), NEW + 3))
            assert check(fetched(place, tmp_path / place[5:] / "after")).size == NEW + 3


def test_where_nothing_may_be_deleted_the_partial_tiles_stay(url: str, endpoint: str, tmp_path: Path) -> None:
    rule(endpoint, "Deny", "s3:DeleteObject")
    put(url, Served(sample(), OLD))
    put(url, Served(sample(), NEW))
    assert objects(url).keys() > names_at(OLD, NEW)
    assert check(fetched(url, tmp_path)).size == NEW


# --- refused --------------------------------------------------------------------------------------


def test_a_log_that_does_not_continue_the_bucket_is_refused_and_nothing_is_written(url: str) -> None:
    put(url, Served(sample(), 300))
    before = objects(url)
    with pytest.raises(VerificationError, match="it has forked"):
        put(url, Served(forked(), 400))
    with pytest.raises(Unavailable, match="the checkpoint in s3://logs/h200 is of 300 and continues it"):
        put(url, Served(sample(), 299))
    assert objects(url) == before


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/000", "tile/entries/002.p/8"])
def test_a_tile_that_was_altered_is_found_by_who_writes_it_again_and_left(url: str, name: str) -> None:
    put(url, Served(sample(), NEW))
    store = from_url(url)
    store.delete("checkpoint")
    store.put(name, flipped(objects(url)[name]))
    before = objects(url)
    with pytest.raises(VerificationError, match=rf"s3://logs/h200/{name} is not what the log has there now"):
        put(url, Served(sample(), NEW))
    assert objects(url) == before


def test_what_is_too_long_or_no_text_is_refused(url: str) -> None:
    store = from_url(url)
    for raw, words in ((b"x" * 65_537, "is longer than 65536 bytes"), (b"\xff", "is not UTF-8")):
        store.put("checkpoint", raw)
        with pytest.raises(VerificationError, match=f"s3://logs/h200/checkpoint {words}"):
            put(url, Served(sample(), NEW))


def test_a_source_that_lies_leaves_the_bucket_true(url: str, tmp_path: Path) -> None:
    put(url, Served(sample(), OLD))
    with pytest.raises(VerificationError, match="does not hash to its tile of level 0"):
        put(url, Lying(sample(), NEW, Coordinates(ENTRIES, 1, 256), flipped))
    assert check(fetched(url, tmp_path)).size == OLD


def test_of_two_writers_the_one_that_comes_second_is_told(url: str) -> None:
    put(url, Served(sample(), OLD))

    class Overtaken(Served):
        async def tile(self, where: Coordinates) -> bytes:
            if not self.asked:
                await asyncio.to_thread(put, url, Served(sample(), NEW + 3))
            return await super().tile(where)

    with pytest.raises(Unavailable, match="another process has written to s3://logs/h200 meanwhile"):
        put(url, Overtaken(sample(), NEW))
    assert objects(url)["checkpoint"].decode() == sample().checkpoint(NEW + 3)


def test_a_request_that_was_done_and_whose_answer_was_lost_is_no_other_writer(url: str) -> None:
    class Twice(Between):
        def put(self, *args: Any, **more: Any) -> Any:
            self._store.put(*args, **more)
            return self._store.put(*args, **more)

    put(url, Served(sample(), OLD))
    put(url, Served(sample(), NEW), store=Twice)
    assert objects(url)["checkpoint"].decode() == sample().checkpoint(NEW)


def test_a_tile_is_read_out_of_the_full_one_and_missed_where_there_is_none(url: str) -> None:
    bucket = put(url, Served(sample(), NEW))
    assert bucket.tile(FULL._replace(width=7)) == bucket.tile(FULL)[: 7 * 32]
    with pytest.raises(NotFound, match="tile/0/009 is missing"):
        bucket.tile(Coordinates(0, 9, 256))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("https://logs.example/h200", "must be like s3://bucket/prefix"),
        ("s3:///h200", "must be like s3://bucket/prefix"),
        ("s3://log:secret@logs/h200", "has no login, query or fragment"),
        ("s3://logs/h200?versionId=1", "has no login, query or fragment"),
        ("s3://[logs/h200", "what is given is no bucket, must be like s3://bucket/prefix"),
        ("s3://the logs/h200", "what is given is no bucket, must be like s3://bucket/prefix"),
        ("az://logs/h200", "Account must be specified"),
    ],
)
def test_what_is_no_bucket_is_refused_in_words(place: str, words: str) -> None:
    with pytest.raises((UnusableInput, Unavailable), match=words) as caught:
        target_at(place)
    assert "secret@" not in str(caught.value)


def test_a_store_that_refuses_us_is_unusable(url: str, endpoint: str) -> None:
    rule(endpoint, "Deny", "s3:PutObject")
    with pytest.raises(UnusableInput, match="s3://logs/h200 refuses us: ") as caught:
        put(url, Served(sample(), 3))
    assert "a secret of the test" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said_to_be_so(url: str) -> None:
    with pytest.raises(UnusableInput, match="s3://elsewhere/h200 cannot be written: there is no such bucket"):
        put("s3://elsewhere/h200", Served(sample(), 3))


def test_a_store_that_is_away_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="s3://logs/h200 cannot be read or written") as caught:
        put(url, Served(sample(), 3))
    assert "Debug source" not in str(caught.value)
