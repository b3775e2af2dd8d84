"""Who asks, by API key, and what that role may do."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from api.keys import PREFIX, digest
from ledger.errors import LedgerError
from ledger.reader import StoredKey

if TYPE_CHECKING:
    from ledger.reader import Reader

CACHED_S = 5.0
"""How long a revoked key may still be taken by a process that has just seen it."""
CACHED_KEYS_MAX = 10_000
_TOKEN = re.compile(rf"{PREFIX}_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})")


class Unauthenticated(LedgerError):
    """There is no key, or none that is known, current and whole."""


class Forbidden(LedgerError):
    """The key is known and may not do this."""


@dataclass(frozen=True, slots=True)
class Caller:
    key_id: str
    role: str
    party: str | None

    @property
    def reads_everything(self) -> bool:
        return self.role in ("auditor", "regulator", "operator")


class Keyring:
    """Looks keys up, and remembers them for CACHED_S."""

    def __init__(self, reader: Reader, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._monotonic = monotonic
        self._seen: dict[str, tuple[float, StoredKey]] = {}

    async def caller(self, request: Request) -> Caller:
        """The caller of a request. Raises Unauthenticated, in the same words for every reason."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        match = _TOKEN.fullmatch(token.strip())
        if scheme.lower() != "bearer" or match is None:
            raise Unauthenticated("send an API key: Authorization: Bearer clk_...")
        key_id, secret = match.groups()
        stored = await self._stored(key_id)
        # Compared also for an unknown id, so that the time taken tells nothing.
        expected = stored.secret_sha256 if stored is not None else bytes(32)
        matches = hmac.compare_digest(digest(secret), expected)
        now = datetime.now(UTC)
        if (
            stored is None
            or not matches
            or stored.revoked_at is not None
            or (stored.expires_at is not None and stored.expires_at <= now)
        ):
            raise Unauthenticated("the API key is unknown, expired or revoked")
        return Caller(stored.id, stored.role, stored.party)

    async def _stored(self, key_id: str) -> StoredKey | None:
        now = self._monotonic()
        seen = self._seen.get(key_id)
        if seen is not None and now - seen[0] < CACHED_S:
            return seen[1]
        stored = await self._reader.key(key_id)
        if len(self._seen) >= CACHED_KEYS_MAX:
            self._seen.clear()
        if stored is not None:
            self._seen[key_id] = now, stored
        return stored


async def caller_of(request: Request) -> Caller:
    """The caller of a request, known before its parameters are looked at."""
    caller: Caller = await request.app.state.service.caller(request)
    return caller


KeyHolder = Annotated[Caller, Depends(caller_of)]
"""A parameter of every route that asks for a key."""
