"""What a service says that may not start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from api import app, database
from api.app import build
from api.settings import Settings
from ledger import keys
from ledger.checkpoint import Checkpoint, sign
from ledger.checkpoint_store import CheckpointStore
from tests.service import settings_for


async def start(settings: Settings, owner: str, error: str = "RefusesToWrite") -> list[dict[str, Any]]:
    """The messages of one start and, where it succeeds, one shutdown (ASGI lifespan)."""
    service = build(settings, database.prepared(owner))
    said: list[dict[str, Any]] = []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(asked)}

    async def send(message: Any) -> None:
        said.append(message)

    with _refusal(error):
        await service({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return said


@contextmanager
def _refusal(expected: str) -> Iterator[None]:
    """Starlette raises again what it has told the server."""
    try:
        yield
    except Exception as error:
        assert type(error).__name__ == expected  # noqa: PT017 - no other may end a start


def test_a_log_behind_its_store_is_refused_in_words_and_not_in_a_traceback(
    owner: str, tmp_path: Path
) -> None:
    settings = settings_for(owner, tmp_path)
    asyncio.run(start(settings, owner))
    signer = keys.load_or_create(settings.key_path, origin=settings.origin, passphrase=None)
    store = CheckpointStore.in_folder(settings.store_path, signer.name)
    kept = store.latest(signer.verifier)
    assert kept is not None
    assert kept.size == 1  # the first entry, kept as the service left
    store.advance(sign(Checkpoint(signer.name, 9, bytes(32)), signer), signer.verifier)
    [refused] = asyncio.run(start(settings, owner))
    assert refused["type"] == "lifespan.startup.failed"
    assert refused["message"].startswith(
        "the database holds 1 entries, and a checkpoint that is kept outside"
    )
    assert "Traceback" not in refused["message"]


def test_a_key_that_is_made_is_told_and_one_that_is_there_is_not(
    owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is wrong gives a new key, which no log knows: the refusal that follows is of that."""
    told = structlog.testing.CapturingLogger()
    monkeypatch.setattr(app, "log", told)
    settings = settings_for(owner, tmp_path)
    moved = settings.model_copy(update={"key_file": tmp_path / "elsewhere.key"})
    for one in (settings, settings, moved):
        asyncio.run(start(one, owner, "StoreFailed"))
    files = [str(settings.key_path), str(tmp_path / "elsewhere.key")]
    assert [(call.args, call.kwargs["file"]) for call in told.calls] == [
        (("checkpoint_key_made",), file) for file in files
    ]


def test_a_service_that_is_stopped_while_its_followers_still_connect_stops(
    owner: str, tmp_path: Path
) -> None:
    """A cancellation that is lost then would leave it running, and its connections to nobody."""
    settings = settings_for(owner, tmp_path)
    for _ in range(10):
        said = asyncio.run(asyncio.wait_for(start(settings, owner), 30))
        assert [one["type"] for one in said] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_store_that_can_keep_nothing_is_refused(owner: str, tmp_path: Path) -> None:
    """Its service would go on, and never notice that the log lost its end."""
    (tmp_path / "file").touch()
    settings = settings_for(owner, tmp_path).model_copy(
        update={"checkpoint_store": str(tmp_path / "file" / "store")}
    )
    [refused] = asyncio.run(start(settings, owner, "StoreFailed"))
    assert refused["type"] == "lifespan.startup.failed"
    assert "cannot be" in refused["message"]
    assert "Traceback" not in refused["message"]
