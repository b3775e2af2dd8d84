"""What a connection may cost before anybody has shown a key: bytes, requests ahead, and time."""

from __future__ import annotations

import asyncio
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


CHUNKED = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


def event(service: Service, body: bytes, *, more: bytes = b"") -> bytes:
    token = service.token("submitter", BUYER).encode()
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%bContent-Length: %d\r\n\r\n"
    return head % (token, more, len(body)) + body


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
    post = event(service, b'"' + b"a" * 200_000 + b'"')
    with connected(service) as client:
        client.sendall(post + LIVE + LIVE.replace(b"Host", b"Connection: close\r\nHost"))
        answer = answered(client)
    assert answer.count(b"HTTP/1.1 422") == 1
    assert answer.count(b"HTTP/1.1 200") == 2


def test_so_many_requests_wait_for_their_answers_and_no_more(service: Service) -> None:
    with connected(service) as client:
        client.sendall(LIVE * 100 + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answered(client).count(b"HTTP/1.1 200") == 101
    with connected(service) as client:
        client.sendall(LIVE * 5_000)
        assert 101 <= answered(client).count(b"HTTP/1.1 200") < 5_000


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


CUT_OFF = [
    pytest.param(b"\0\1nonsense\r\n\r\n", id="no HTTP"),
    pytest.param(LIVE[:10], id="half a head"),
    pytest.param(b"GET /livez HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", id="a long head"),
    pytest.param(b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", id="no chunk"),
    pytest.param(b"POST /v1/events HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", id="half a body"),
]


@pytest.mark.parametrize("rest", CUT_OFF)
@pytest.mark.parametrize("before", [1, 3])
def test_what_came_whole_is_answered_whatever_follows_it(service: Service, rest: bytes, before: int) -> None:
    """A 400 in place of its answer would be taken for: nothing was written. And so would none."""
    with connected(service) as client:
        client.sendall(event(service, b"{}") * before + rest)
        client.shutdown(socket.SHUT_WR)
        answer = answered(client)
    assert [part[:4] for part in answer.split(b"HTTP/1.1")][1 : before + 1] == [b" 422"] * before


def test_a_client_that_has_said_all_gets_its_answer(service: Service) -> None:
    with connected(service) as client:
        client.sendall(b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert answered(client).startswith(b"HTTP/1.1 ")


def test_what_was_answered_early_is_not_answered_twice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer would be taken for that to the next request."""
    monkeypatch.setattr(connection, "BODY_S_MAX", 0.2)
    with connected(service) as client:
        client.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        answer = answered(client)
    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("rest", [b"X: y\r\n", b"X: " + b"a" * 1_000])
def test_trailers_have_so_many_bytes_and_no_more(service: Service, rest: bytes) -> None:
    with connected(service) as client:
        client.sendall(CHUNKED)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(rest * ((64 << 20) // len(rest)))


def test_trailers_are_no_headers(service: Service) -> None:
    trailer = b"Authorization: Bearer %s\r\n\r\n" % service.token("submitter", BUYER).encode()
    with connected(service) as client:
        client.sendall(LIVE + CHUNKED + trailer)
        client.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 401" in answered(client)


def test_a_client_that_would_rather_speak_another_protocol_is_answered_in_this(service: Service) -> None:
    """As those of Java and curl ask for HTTP/2: with the first request, whatever it is."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: h2c\r\n"
    asked = event(service, b'{"kind": 1}', more=upgrade)
    with connected(service) as client:
        for end in range(1, len(asked), 37):
            client.sendall(asked[:end])
            client.sendall(asked[end:] + LIVE.replace(b"Host", upgrade + b"Host") + LIVE)
            answer = b""
            while answer.count(b'"alive"') < 2 and (chunk := client.recv(1 << 16)):
                answer += chunk
            assert answer.startswith(b"HTTP/1.1 422")
            assert b"kind is missing" in answer
    with connected(service) as client:
        client.sendall(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert problem(answered(client)) == (400, "/problems/bad-request")


def test_a_request_that_began_before_an_answer_keeps_its_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = DirectProtocol.connection_made

    def hasty(self: DirectProtocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        self.timeout_keep_alive = 0

    monkeypatch.setattr(DirectProtocol, "connection_made", hasty)
    with connected(service) as client:
        client.sendall(LIVE + LIVE[:10])
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert not select.select([client], [], [], 0.2)[0], "the service closes"
        client.sendall(LIVE[10:])
        assert answered(client).startswith(b"HTTP/1.1 200")
