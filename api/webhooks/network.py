"""The way out to a receiver: one POST to an address that is public, within 15 seconds, and no further.

A receiver's URL is chosen by somebody else. So its name is resolved once, every address that it has must
be public, and the connection goes to the very address that was looked at (SSRF, DNS rebinding). Redirects
are not followed, no proxy is taken from the environment, and of the answer a few KiB are read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore2 as httpcore

from ledger.errors import UnusableInput

TIMEOUT_S = 15.0
RESPONSE_BYTES_MAX = 4 << 10
ANSWER_BYTES_MAX = 64 << 10
"""On the wire: what is kept, heads, and what a chunk or an informational response is wrapped in."""
READ_BYTES = 4 << 10
URL_MAX = 2_000
RESOLVERS = 256
"""Names that are looked up at once, as many as a lane has attempts: one that hangs stops no other."""
IDLE_CONNECTIONS_MAX = 64

Resolve = Callable[[str, int], list[str]]
"""The addresses of a host, as the system knows them; blocking."""

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(block)
    for block in (
        # Beside what `is_global` knows, which differs by version of Python: IANA's special-purpose
        # registries, and the prefixes by which an IPv6 address stands for one of IPv4.
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3", "168.63.129.16/32",
        "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/9",
        "ff00::/8",
    )
)  # fmt: skip


class Unreachable(Exception):
    """There was no answer, or it may not be asked for. It goes into the record, and to no caller."""


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    body: bytes
    """Its first RESPONSE_BYTES_MAX."""
    retry_after: str | None
    latency_ms: int


def is_public(address: str) -> bool:
    """Whether it is an address of the public Internet. Not: one of IPv4 in the clothes of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False  # one with a scope, too
    if not found.is_global or found.is_multicast or found.is_reserved:
        return False
    return not any(found.version == block.version and found in block for block in _NOT_PUBLIC)


def check_url(url: str, allowed_hosts: Collection[str]) -> str:
    """The URL of a receiver. Raises UnusableInput unless it is https, or of a host that is allowed."""
    if len(url) > URL_MAX:
        raise UnusableInput(f"url is {len(url)} characters, must be at most {URL_MAX}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UnusableInput("url cannot be read, must be such as https://example.com/hook") from None
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UnusableInput(
            "url has characters that must be percent-encoded, or a name that must be in Punycode"
        )
    if not host or parts.fragment or parts.username is not None or parts.password is not None or port == 0:
        raise UnusableInput("url must have a host, and neither a fragment nor a user")
    if host in allowed_hosts:
        if parts.scheme not in ("https", "http"):
            raise UnusableInput(f"the scheme of url is {parts.scheme}, must be https")
    elif parts.scheme != "https":
        raise UnusableInput(f"the scheme of url is {parts.scheme or 'missing'}, must be https")
    elif _is_address(host) and not is_public(host):
        raise UnusableInput(f"the host of url is {host}, must be a name, or a public address in full")
    return url


def _is_address(host: str) -> bool:
    """Whether it is one, or a resolver would take it for one: 127.1, 0x7f000001, 2130706433, 127.0.0.1."""
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or "%" in host or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last) is not None


def system_resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Bounded(httpcore.AsyncNetworkStream):
    """Of an answer so much and no more, and between one piece of it and the next it is others' turn.

    A few bytes may be an event of HTTP each, and a flood of these takes more of us than of who sends it.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = ANSWER_BYTES_MAX

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 # httpcore's own
        if self._left <= 0:
            raise Unreachable("its answer is too long")
        await asyncio.sleep(0)
        read = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        self._left -= len(read)
        return read

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 # httpcore's own
        self._left = ANSWER_BYTES_MAX  # the answer to the next request
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 # httpcore's own
    ) -> httpcore.AsyncNetworkStream:
        return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, and to no name.

    The name stays what the certificate is compared with.
    """

    def __init__(self, resolve: Resolve, allowed_hosts: Collection[str]) -> None:
        self._backend = httpcore.AnyIOBackend()
        self._resolve = resolve
        self._allowed = allowed_hosts
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="webhook-resolver")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 # httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.run_in_executor(self._resolvers, self._resolve, host, port)
        except (OSError, UnicodeError):
            raise Unreachable("its host has no address") from None
        if host not in self._allowed and not all(map(is_public, addresses)):
            # Neither which, nor how many: that would map our network for whoever asks.
            raise Unreachable("its host has an address that is not public")
        if not addresses:
            raise Unreachable("its host has no address")
        stream = await self._backend.connect_tcp(
            addresses[0],
            port,
            timeout=timeout,
            local_address=local_address,
            socket_options=socket_options,
        )
        return _Bounded(stream)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise Unreachable("a receiver is not on a Unix socket")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)


class Network:
    """`allowed_hosts`: for development, hosts that need neither https nor a public address."""

    def __init__(
        self,
        *,
        allowed_hosts: Collection[str] = (),
        resolve: Resolve = system_resolve,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.allowed_hosts = frozenset(allowed_hosts)
        self._timeout_s = timeout_s
        self._backend = _Pinned(resolve, self.allowed_hosts)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=None,
            max_keepalive_connections=IDLE_CONNECTIONS_MAX,
            keepalive_expiry=15.0,
            http1=True,
            http2=False,
            network_backend=self._backend,
        )

    async def close(self) -> None:
        await self._pool.aclose()
        self._backend.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Raises Unreachable, for whatever reason there is no answer in time."""
        started = time.monotonic()
        try:
            check_url(url, self.allowed_hosts)
            async with asyncio.timeout(self._timeout_s):
                status, retry_after, found = await self._exchange(url, headers, body)
        except TimeoutError:
            raise Unreachable(f"it did not answer within {self._timeout_s:g} s") from None
        except UnusableInput as error:
            raise Unreachable(str(error)) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise Unreachable(_MEANINGS.get(type(error), "the connection failed")) from None
        return Answered(status, found, retry_after, int((time.monotonic() - started) * 1_000))

    async def _exchange(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str | None, bytes]:
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        async with self._pool.stream("POST", url, headers=_with_host(url, sent), content=body) as response:
            found = bytearray()
            async for chunk in response.aiter_stream():
                found += chunk
                if len(found) >= RESPONSE_BYTES_MAX:
                    break  # the rest is not read: the connection closes
            named = {name.lower(): value for name, value in response.headers}
            retry_after = named.get(b"retry-after")
            return (
                response.status,
                None if retry_after is None else retry_after.decode("latin-1"),
                bytes(found[:RESPONSE_BYTES_MAX]),
            )


def _with_host(url: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(b"host", urlsplit(url).netloc.encode()), *headers]


_MEANINGS = {
    httpcore.ConnectError: "it cannot be connected to, or its certificate is not good",
    httpcore.ReadError: "it closed the connection",
    httpcore.RemoteProtocolError: "its answer is not HTTP",
}
