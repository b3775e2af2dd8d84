"""Third-party time: a time-stamping authority signs that a checkpoint existed (RFC 3161).

Whoever holds the log's key and the database's clock can date entries as they like. An authority that
neither controls bounds them: what a timestamped checkpoint covers was there before that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2 as httpx
import psycopg
import structlog
from cryptography.x509 import Certificate
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from ledger.errors import LedgerError, NotFound, Unavailable, UnusableInput, VerificationError
from ledger.note import Signer
from ledger.reader import Reader
from ledger.store import write_beside
from ledger.tasks import Routine
from ledger.timestamp import check_timestamp, decoded

EVERY = timedelta(hours=24)
LOOK_S = 60.0
TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 256 << 10

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Authority:
    """Whose word on time counts."""

    url: str
    roots: Sequence[Certificate]
    """Trusted certificates that its own must lead to."""


class Timestamping:
    """`open`, then `close`; or `stamp` by hand."""

    def __init__(
        self,
        reader: Reader,
        writer_url: str,
        signer: Signer,
        authority: Authority,
        *,
        every: timedelta = EVERY,
    ) -> None:
        parts = urlsplit(authority.url)
        # Plain HTTP is usual: what comes back is signed, what goes out is a hash. The URL is shown to all.
        if parts.scheme not in ("http", "https") or "@" in parts.netloc:
            raise UnusableInput(
                f"the URL of the authority must be http or https, without a login: {parts.hostname}"
            )
        self._reader = reader
        self._writer_url = writer_url
        self._signer = signer
        self._authority = authority
        self._every = every
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)
        self._routine = Routine("timestamping", self._attempt, interval_s=LOOK_S)
        self.stamped_at: datetime | None = None
        """The time in the last timestamp."""
        self.error: str | None = None
        """Why the last one that was asked for did not come."""

    def open(self) -> None:
        self._routine.open()

    async def close(self) -> None:
        await self._routine.close()
        await self._client.aclose()

    async def stamp(self) -> bool:
        """Have the durable head stamped, if the last timestamp is of another day; whether it was.

        Raises Unavailable, or VerificationError for an answer that does not hold.
        """
        try:
            head = await self._reader.head()
        except NotFound:
            return False
        last = await self._reader.last_timestamp(self._authority.url)
        if last is not None:
            size, self.stamped_at = last
            # Where a clock has run ahead, the authority's or this one, the day must end all the same.
            if size == head.size or abs(datetime.now(UTC) - self.stamped_at) < self._every:
                return False
        note = head.checkpoint(self._signer)
        token = await self._asked(note)
        at = check_timestamp(token, note, self._authority.roots)
        await self._keep(head.size, note, token, at)
        self.stamped_at = at
        return True

    async def _asked(self, note: str) -> bytes:
        request = (
            TimestampRequestBuilder()
            .data(note.encode())
            .hash_algorithm(HashAlgorithm.SHA256)
            .cert_request(cert_request=True)
            .build()
        )
        try:
            sent = self._client.stream(
                "POST", self._authority.url, content=request.as_bytes(),
                headers={"content-type": "application/timestamp-query"},
            )  # fmt: skip
            # For all of it: one that drips would keep within the limit of each read.
            async with asyncio.timeout(TIMEOUT_S), sent as response:
                token = b""
                async for chunk in response.aiter_bytes():
                    token += chunk
                    if len(token) > ANSWER_BYTES_MAX:
                        raise Unavailable("the answer of the time-stamping authority is too long")
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(
                f"the time-stamping authority does not answer: {type(error).__name__}"
            ) from error
        if response.status_code != 200:
            raise Unavailable(f"the time-stamping authority answers HTTP {response.status_code}")
        try:
            nonce = decoded(token).tst_info.nonce
        except ValueError as error:
            raise VerificationError(f"the timestamp cannot be read: {error}") from None
        if request.nonce is not None and nonce != request.nonce:
            raise VerificationError("the timestamp is not the one that was asked for: its nonce differs")
        return token

    async def _keep(self, size: int, note: str, token: bytes, at: datetime) -> None:
        try:
            await write_beside(
                self._writer_url,
                "INSERT INTO timestamps (authority, size, note, token, stamped_at)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [self._authority.url, size, note, token, at],
            )
        except psycopg.Error as error:
            raise Unavailable("the timestamp could not be kept") from error

    async def _attempt(self) -> None:
        try:
            await self.stamp()
        except Exception as error:
            self.error = str(error)[:500] if isinstance(error, LedgerError) else "a bug of ours"
            raise
        self.error = None
