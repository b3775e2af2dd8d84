"""`chipledger listen`: a receiver that verifies what it is sent and says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from api.webhooks.message import VERIFICATION
from api.webhooks.signature import Receiving
from ledger.errors import VerificationError

BODY_BYTES_MAX = 1 << 20
READ_S_MAX = 30


class Listener(ThreadingHTTPServer):
    """On an address; `told` hears of each event that verifies, `refused` why another does not.

    It repeats the challenge of a handshake, and answers 204 to everything else that verifies.
    """

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        secret: str | None,
        *,
        told: Callable[[dict[str, Any]], None],
        refused: Callable[[str], None],
    ) -> None:
        """`secret`: as it was shown; None: not known yet, and everything is refused. Raises UnusableInput."""
        self.receiving = Receiving(secret) if secret is not None else None
        self.told = told
        self.refused = refused
        super().__init__(address, _Handler)

    def receive(self, headers: dict[str, str], body: bytes) -> bytes:
        """The answer to a request that verifies, else VerificationError."""
        if self.receiving is None:
            raise VerificationError("the secret is not known here yet")
        self.receiving.check(headers, body, now=int(time.time()))
        try:
            event = orjson.loads(body)
            data = event["data"]
            challenge = str(data.get("challenge", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise VerificationError("the body is no event") from None
        self.told(event)
        return challenge.encode() if event.get("type") == VERIFICATION else b""


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    protocol_version = "HTTP/1.1"
    timeout = READ_S_MAX

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self._answer(413, b"")
            return
        body = self.rfile.read(int(length))
        try:
            answer = self.server.receive({k.lower(): v for k, v in self.headers.items()}, body)
        except VerificationError as error:
            self.server.refused(str(error))
            self._answer(401, b"")
        else:
            self._answer(200 if answer else 204, answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def in_lines(event: dict[str, Any]) -> list[str]:
    """What an event says, for people; of a revocation in a second line what it touches."""
    data = event["data"]
    if "index" not in data:
        return [str(event["type"])]
    said = f"entry {data['index']} {data['kind']} {data['outcome']} {data['contract']} {data['recorded_at']}"
    touched = data.get("revocation")
    if touched is None:
        return [said]
    counts = (
        f"{touched[f'{name}_count']} {shown}"
        for name, shown in (("orders", "open orders"), ("in_transit", "in transit"), ("devices", "devices"))
    )
    return [said, f"it touches of {touched['license']}: {', '.join(counts)}"]
