"""What a connection may cost before anybody has shown a key: bytes, requests ahead, and time."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from api import connection
from api.connection import DirectProtocol
from tests.service import Service
from tests.workbench import BUYER

LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", urlsplit(service.url).port or 0), timeout=20) as client:
        yield client


def answered(client: socket.socket) -> bytes:
    """All that is answered until the service closes."""
    received = bytearray()
    try:
        while chunk := client.recv(1 << 16):
            received += chunk
    except ConnectionResetError:  # closed with bytes of ours unread
        pass
    return bytes(received)


def problem(answer: bytes) -> tuple[int, str]:
    """Status and type of an answer that is one problem, and the last."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)["type"]


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"X-Long: " + b"a" * 70_000, id="a header"),
        pytest.param(b"X: y\r\n" * 15_000, id="many headers"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1 << 20, 10_000])
def test_a_head_has_so_many_bytes_and_no_more(service: Service, rest: bytes, piece_bytes: int) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + rest + b"\r\n\r\n"
    with connected(service) as client:
        try:
            for at in range(0, len(head), piece_bytes):
                client.sendall(head[at : at + piece_bytes])
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert problem(answered(client)) == (431, "/problems/head-too-large")


def test_a_head_without_an_end_is_cut_off(service: Service) -> None:
    with connected(service) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(b"a" * (64 << 20))


def test_a_long_body_is_no_long_head(service: Service) -> None:
    """A next request may begin in the piece that a body ends in."""
    token = service.token("submitter", BUYER).encode()
    body = b'"' + b"a" * 200_000 + b'"'
    post = (
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
        % (token, len(body))
    )
    with connected(service) as client:
        client.sendall(post + body + LIVE + LIVE.replace(b"Host", b"Connection: close\r\nHost"))
        answer = answered(client)
    assert answer.count(b"HTTP/1.1 422") == 1
    assert answer.count(b"HTTP/1.1 200") == 2


def test_so_many_requests_wait_for_their_answers_and_no_more(service: Service) -> None:
    with connected(service) as client:
        client.sendall(LIVE * 100 + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answered(client).count(b"HTTP/1.1 200") == 101
    with connected(service) as client:
        client.sendall(LIVE * 5_000)
        assert answered(client).count(b"HTTP/1.1") < 5_000


@pytest.mark.parametrize("sent", [b"", b"\r\n", LIVE + b"\r\n"])
def test_a_client_that_asks_nothing_is_let_go(
    service: Service, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_S_MAX", 0.2)
    with connected(service) as client:
        client.sendall(sent)
        assert answered(client).count(b"HTTP/1.1") == sent.count(b"HTTP/1.1")


def test_half_an_event_is_not_waited_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_S_MAX", 0.2)
    with connected(service) as client:
        client.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 9\r\n\r\n{"
            % service.token("submitter", BUYER).encode()
        )
        assert problem(answered(client)) == (408, "/problems/request-timeout")


def test_a_byte_now_and_then_buys_no_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S_MAX", 0.2)
    with connected(service) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        until = time.monotonic() + 20
        while not select.select([client], [], [], 0.02)[0]:
            client.sendall(b"a")
            assert time.monotonic() < until, "the service still listens"
        assert problem(answered(client)) == (408, "/problems/request-timeout")


def test_a_client_in_no_hurry_between_requests_keeps_to_the_time_of_each(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a head that has come is over: what follows is not counted to it."""
    monkeypatch.setattr(connection, "HEAD_S_MAX", 1.0)
    with connected(service) as client:
        for _ in range(20):
            client.sendall(LIVE[:10])
            time.sleep(0.06)
            client.sendall(LIVE[10:])
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_is_let_go(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost, let_go = threading.Event(), DirectProtocol.connection_lost

    def seen(self: DirectProtocol, error: Exception | None) -> None:
        let_go(self, error)
        if self.client == name:
            lost.set()

    monkeypatch.setattr(connection, "ANSWER_S_MAX", 0.2)
    with connected(service) as client:
        name = client.getsockname()
        monkeypatch.setattr(DirectProtocol, "connection_lost", seen)
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        assert lost.wait(20), "the answers still wait for it"
        assert answered(client).count(b"HTTP/1.1 200") < 100
    assert httpx.get(f"{service.url}/livez").status_code == 200
    assert caplog.records == []


def test_what_is_no_http_is_a_problem(service: Service) -> None:
    for sent in (b"\0\1nonsense\r\n\r\n", b"GET http:// HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with connected(service) as client:
            client.sendall(sent)
            assert problem(answered(client)) == (400, "/problems/bad-request")


def test_nonsense_is_not_answered_in_place_of_the_request_before_it(service: Service) -> None:
    """Its sender would take a 400 for: nothing was written."""
    checkpoint = b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(service) as client:
        client.sendall(checkpoint + b"\0\1nonsense\r\n\r\n")
        assert b" 400 " not in answered(client)
