"""The way out to receivers: what is not public is never connected to, whoever says so and however."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpcore2 as httpcore
import pytest

from api.webhooks.endpoints import ENDPOINTS_MAX, Endpoint
from api.webhooks.network import (
    RESPONSE_BYTES_MAX,
    Network,
    Unreachable,
    _Pinned,
    check_url,
    is_public,
    system_resolve,
)
from api.webhooks.sending import RUNNING_AT_ENDPOINT_MAX, Attempt, attempt
from api.webhooks.vault import Vault
from ledger.errors import UnusableInput
from tests.api.receiver import Receiver, receiving

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "100.127.255.255", "169.254.170.2", "192.0.0.8", "192.88.99.1",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001::1", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "100::1", "5f00::1", "3fff::1",
    # IPv4 in IPv6: compatible, translated, mapped, 6to4, Teredo, NAT64 of everybody's and of one's own.
    "::7f00:1", "::a9fe:a9fe", "::ffff:0:127.0.0.1", "::ffff:0:a9fe:a9fe", "::ffff:0.0.0.0",
    "::ffff:100.64.0.1", "::ffff:8.8.8.8", "2002:6440:1::1", "2002:c0a8:101::", "2002:808:808::1",
    "2001:0:53aa:64c:0:ffff:80ff:fffe", "2001:0:7f00:1::", "64:ff9b::6440:1", "64:ff9b::808:808",
    "64:ff9b:1:7f00:0:100::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "fe80::1%1", "febf::1", "feff::1", "::1%lo", "fd00:ec2::23", "ff05::2", "ff0e::1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]

SPELLED = [
    "127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "0",
    "localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.",
    "127.0.1", "127.0x0.1", "0x7f.1", "0177.1", "0x0", "000000000000", "2130706433.", "LOCALHOST",
    "localhost.",
    "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::1%25lo]", "[::1%lo]", "127%2e0%2e0%2e1", "127.0.0.1%00",
    "%31%32%37.0.0.1", "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\u2460\u2461\u2466.0.0.1",
    "8.8.8.8@127.0.0.1", "8.8.8.8%2f@127.0.0.1", "8.8.8.8:443@127.0.0.1", "127.0.0.1\t", "127.0.0.1:80:",
]  # fmt: skip
"""This machine, as a resolver, a URL parser or nobody may understand it."""


@dataclass
class Wire:
    """What was connected to. Nothing gets out."""

    connected: list[str] = field(default_factory=list)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()

    async def connect(_: Any, host: str, *args: Any, **keywords: Any) -> Any:
        wire.connected.append(host)
        raise httpcore.ConnectError("nothing gets out of this test")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    return wire


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """Listens on every address of this machine, and must never be connected to."""
    with closing(socket.socket(socket.AF_INET6)) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


def post(url: str, **given: Any) -> Any:
    async def run() -> Any:
        network = Network(**given)
        try:
            return await network.post(url, {"content-length": "2"}, b"{}")
        finally:
            await network.close()

    return asyncio.run(run())


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_to_no_public_address_is_not_connected_to(
    address: str, wire: Wire, trap: socket.socket
) -> None:
    port = trap.getsockname()[1]
    for addresses in ([address], ["93.184.216.34", address], [address, "93.184.216.34"]):
        for name in ("receiver.example", "metadata.google.internal", "receiver.example."):
            with pytest.raises(Unreachable, match="its host has an address that is not public"):
                post(f"https://{name}:{port}/", resolve=lambda *_, found=addresses: found)
    assert wire.connected == []


@pytest.mark.parametrize("host", SPELLED)
def test_no_spelling_of_this_machine_is_connected_to(host: str, trap: socket.socket) -> None:
    """By the system's own resolver, and with no double of the network."""
    for rest in ("/", "/?@8.8.8.8/", "/#@8.8.8.8/"):
        url = f"https://{host}:{trap.getsockname()[1]}{rest}"
        with pytest.raises(Unreachable):
            post(url, resolve=system_resolve)


@pytest.mark.parametrize("host", SPELLED)
def test_the_connection_looks_at_the_address_whatever_the_url_was_taken_for(
    host: str, trap: socket.socket
) -> None:
    async def connect() -> None:
        backend = _Pinned(system_resolve, ())
        try:
            await backend.connect_tcp(host.strip("[]"), trap.getsockname()[1])
        finally:
            backend.close()

    with pytest.raises(Unreachable):
        asyncio.run(connect())


def test_the_connection_goes_to_the_address_that_was_looked_at(wire: Wire) -> None:
    """A name that leads elsewhere when it is asked again is not asked again."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return next(answers)

    with pytest.raises(Unreachable, match="cannot be connected to"):
        post("https://receiver.example/", resolve=resolve)
    assert asked == [("receiver.example", 443)]
    assert wire.connected == ["93.184.216.34"]


def test_an_attempt_that_fails_by_a_bug_of_ours_is_an_attempt_that_failed() -> None:
    """Else it would be on no record, and made again for ever."""

    def resolve(host: str, port: int) -> list[str]:
        raise ZeroDivisionError

    vault, at = Vault(bytes(32)), datetime.now(UTC)
    endpoint = Endpoint(
        id="we_a", role="auditor", party=None, withholds=(), url="https://receiver.example/", description="",
        kinds=(), contracts=(), outcomes=(), signs="v1", secret=vault.seal(bytes(32), "we_a"), previous=None,
        previous_until=None, escalates_to=None, state="enabled", reason=None, since=0, failures=0,
        created_at=at, verified_at=at,
    )  # fmt: skip

    async def made() -> Attempt:
        network = Network(resolve=resolve)
        try:
            return await attempt(network, vault, endpoint, message_id="msg_1", body=b"{}")
        finally:
            await network.close()

    found = asyncio.run(made())
    assert (found.arrived, found.error) == (False, "the sender failed")
    assert "secret=" not in repr(endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/", "ftp://receiver.example/", "file:///etc/passwd", "//receiver.example/",
        "gopher://receiver.example/", "https://", "https:///x", "https://user@receiver.example/",
        "https://:secret@receiver.example/", "https://receiver.example/#part", "https://receiver.example:0/",
        "https://receiver.example:99999/", "https://receiver.example\\@127.0.0.1/", "https://rec eiver/",
        "https://r\u00e9ceiver.example/", "https://receiver.example/\r\nX-Injected: 1", "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/", "https://" + "a" * 3_000, "https://2130706433/",
        "https://0x7f000001/", "https://0X7F.0.0.0X1/", "https://0177.0.0.1/", "https://127.1/",
        "https://127.0.0.1./", "https://[fe80::1%25eth0]/", "https://127.0.0.1%00/", "https://1.2.3.4.5/",
        "https://receiver.example@127.0.0.1/", "https://receiver.example%2f@127.0.0.1/",
        "https://127\u30020\u30020\u30021/", "https://receiver.example:80:443/", "https:receiver.example/",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_when_it_is_given(url: str, wire: Wire) -> None:
    with pytest.raises(UnusableInput):
        check_url(url, ())
    with pytest.raises(Unreachable):
        post(url, resolve=lambda *_: ["93.184.216.34"])
    assert wire.connected == []


def test_names_that_hang_hold_up_no_other(wire: Wire) -> None:
    """As many as one owner may have endpoints, each with what is sent at once to one that does not fail."""
    hanging, release = threading.Semaphore(0), threading.Event()
    count = ENDPOINTS_MAX * RUNNING_AT_ENDPOINT_MAX

    def resolve(host: str, port: int) -> list[str]:
        if host == "tarpit.example":
            hanging.release()
            release.wait(60)
        return ["93.184.216.34"]

    async def run() -> None:
        network = Network(resolve=resolve, timeout_s=60)
        url = "https://tarpit.example/"
        stuck = [asyncio.create_task(network.post(url, {}, b"")) for _ in range(count)]
        try:
            async with asyncio.timeout(30):
                await asyncio.to_thread(hanging.acquire)
                with pytest.raises(Unreachable, match="cannot be connected to"):
                    await network.post("https://receiver.example/", {}, b"")
        finally:
            release.set()
            await asyncio.gather(*stuck, return_exceptions=True)
            await network.close()

    asyncio.run(run())


def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        post("https://receiver.example/", resolve=lambda *_: ["93.184.216.34"])
    assert wire.connected == ["93.184.216.34"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_a_host_that_is_allowed_for_development_needs_no_https(receiver: Receiver) -> None:
    receiver.behave = lambda _: (200, {}, b"yes")
    assert post(receiver.url, allowed_hosts=["127.0.0.1"]).body == b"yes"
    with pytest.raises(Unreachable):
        post(receiver.url.replace("127.0.0.1", "localhost"), allowed_hosts=["127.0.0.1"])


def test_a_certificate_that_nobody_vouches_for_is_not_taken(tmp_path: Path) -> None:
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "2")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem")
    subprocess.run(["openssl", *made, *names], cwd=tmp_path, capture_output=True, check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    read: list[bytes] = []

    def accept(listener: socket.socket) -> None:
        with (
            closing(listener.accept()[0]) as connection,
            suppress(OSError),
            context.wrap_socket(connection, server_side=True) as encrypted,
        ):
            read.append(encrypted.recv(1))

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=accept, args=[listener])
        thread.start()
        with pytest.raises(Unreachable, match="its certificate is not good"):
            post(f"https://127.0.0.1:{listener.getsockname()[1]}/", allowed_hosts=["127.0.0.1"])
        thread.join(10)
    assert read in ([], [b""])


def test_of_a_long_answer_a_part_is_read(receiver: Receiver) -> None:
    receiver.behave = lambda _: (200, {}, b"x" * 10_000_000)
    answered = post(receiver.url, allowed_hosts=["127.0.0.1"])
    assert answered.body == b"x" * RESPONSE_BYTES_MAX


def test_of_an_answer_no_more_is_waited_for_than_is_kept() -> None:
    """What would follow never comes, and the connection is closed from our side."""
    closed = threading.Event()

    def answer(listener: socket.socket) -> None:
        with closing(listener.accept()[0]) as connection, suppress(OSError):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + b"x" * RESPONSE_BYTES_MAX
            )
            while connection.recv(65_536):
                pass
            closed.set()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        answered = post(url, allowed_hosts=["127.0.0.1"], timeout_s=10)
        thread.join(10)
    assert (answered.status, len(answered.body)) == (200, RESPONSE_BYTES_MAX)
    assert closed.is_set()


@pytest.mark.parametrize("endless", [b"HTTP/1.1 100 \r\n\r\n", b"HTTP/1.1 103 \r\nlink: </>\r\n\r\n"])
def test_an_answer_that_does_not_come_to_the_point_is_given_up(endless: bytes) -> None:
    """Informational responses without end: to read them takes more of us than to send them."""

    def flood(listener: socket.socket) -> None:
        with closing(listener.accept()[0]) as connection, suppress(OSError):
            while True:
                connection.sendall(endless * 4_096)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=flood, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(Unreachable, match="its answer is too long"):
            post(url, allowed_hosts=["127.0.0.1"], timeout_s=30)
        thread.join(10)
        assert not thread.is_alive(), "the connection was not closed"


def test_an_answer_that_never_ends_is_cut_off() -> None:
    """One byte after another: each is in time, and all together are not."""

    def drip(listener: socket.socket) -> None:
        with closing(listener.accept()[0]) as connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while True:
                connection.sendall(b"x")
                pause.wait(0.01)

    pause = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=drip, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"):
            post(url, allowed_hosts=["127.0.0.1"], timeout_s=0.5)
        thread.join(10)
        assert not thread.is_alive(), "the connection was not closed"
