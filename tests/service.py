"""A running service for tests: a thread with uvicorn, real sockets, and a client for each role."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2 as httpx
import uvicorn
from pydantic import SecretStr

from api import database, keys
from api.app import build
from api.export import export_to
from api.held import Held
from api.server import config_of
from api.settings import Settings
from api.verify import verify_file
from ledger.rebuild import compare


@dataclass(frozen=True)
class Service:
    url: str
    settings: Settings
    logins: database.Logins
    owner: str
    tokens: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def token(self, role: str, party: str | None = None) -> str:
        """The secret of a key for role and party, made at first use."""
        if (role, party) not in self.tokens:
            self.tokens[role, party] = keys.create(self.owner, role, party=party).token
        return self.tokens[role, party]

    def client(self, role: str, party: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token(role, party)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def submit(self, event: dict[str, Any]) -> httpx.Response:
        """Post an event with the key of the party that speaks in it."""
        actor = event["actor"]
        role = "regulator" if actor["role"] == "authority" else "submitter"
        with self.client(role, actor["party"]) as client:
            return client.post("/v1/events", json=event)

    def set_clock(self, now: str) -> None:
        with self.client("operator") as client:
            client.put("/v1/clock", json={"now": now}).raise_for_status()

    def export(self, path: Path) -> Path:
        asyncio.run(export_to(path, self.settings, self.logins, _quiet))
        return path

    def audit(self) -> None:
        """Verify the whole log, and that its facts are what it makes them."""
        path = self.export(self.settings.home / "audit.export")
        verify_file(path, Held(), _quiet)
        assert asyncio.run(compare(self.logins.reader, _quiet)) == []


def settings_for(owner: str, home: Path, *, clock: Literal["system", "simulated"] = "system") -> Settings:
    return Settings(
        home=home, database_url=SecretStr(owner), origin="test.example/log", clock=clock,
        log_level="error", webhook_hosts="127.0.0.1",
        # What looks at the log is what a test is about, or nothing is.
        integrity_head_seconds=0, integrity_tail_seconds=0, integrity_all_seconds=0,
    )  # fmt: skip


@contextmanager
def running(settings: Settings, owner: str) -> Iterator[Service]:
    """A service in a thread of this process, until the block ends."""
    logins = database.prepared(owner)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(config_of(settings, build(settings, logins)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        wait_until_ready(url, thread)
        yield Service(url, settings, logins, owner)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive(), "the service did not shut down"


def wait_until_ready(url: str, thread: threading.Thread | None = None, *, attempts: int = 600) -> None:
    """Poll /readyz until it says yes."""
    pause = threading.Event()
    for _ in range(attempts):
        assert thread is None or thread.is_alive(), "the service ended at its start"
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        pause.wait(0.05)
    raise AssertionError(f"{url} did not become ready")


def _quiet(done: int, total: int) -> None:
    return
