"""A receiver of webhooks on a loopback port. What it does is a test's to say; what it was sent, it keeps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from tests.faults.harness import wait_for
from tests.service import Service


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]


Behave = Callable[[Request], tuple[int, dict[str, str], bytes] | None]
"""The answer to a request; None: what a well-behaved receiver answers."""


@dataclass
class Receiver:
    url: str
    behave: Behave = lambda _: None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def of_entries(self) -> list[Request]:
        """Without handshakes and tests."""
        return [one for one in list(self.requests) if "index" in one.event["data"]]

    def wait_for(self, count: int, *, seconds_max: float = 15) -> list[Request]:
        wait_for(f"{count} deliveries", lambda: len(self.of_entries()) >= count, seconds_max=seconds_max)
        return self.of_entries()


def well_behaved(request: Request) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, request.event["data"].get("challenge", "").encode()


@contextmanager
def receiving(behave: Behave = lambda _: None) -> Iterator[Receiver]:
    receiver = Receiver("", behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(self.headers["content-length"]))
            request = Request(self.path, headers, body)
            receiver.requests.append(request)
            status, more, content = receiver.behave(request) or well_behaved(request)
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            return  # whoever asked has gone: some tests are about that

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Subscribed(NamedTuple):
    id: str
    secret: str

    def verify(self, request: Request) -> dict[str, Any]:
        """As somebody else's receiver does: the reference library of Standard Webhooks."""
        return Webhook(self.secret).verify(request.body, request.headers)  # type: ignore[no-any-return]


def subscribed(
    service: Service, url: str, *, role: str = "auditor", party: str | None = None, **wanted: Any
) -> Subscribed:
    """A verified endpoint of a key of that role and party."""
    with service.client(role, party) as client:
        made = client.post("/v1/webhooks", json={"url": url, **wanted})
        assert made.status_code == 201, made.text
        verified = client.post(f"/v1/webhooks/{made.json()['id']}:verify")
        assert verified.json()["endpoint"]["state"] == "enabled", verified.text
    return Subscribed(made.json()["id"], made.json()["secret"])
