"""Who asks, by API key, and what that role may do."""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from api.keys import PREFIX, digest
from ledger.errors import LedgerError
from ledger.reader import Reader, StoredKey
from ledger.withheld import Withheld

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
    events_per_minute: int | None = None
    """Its own quotas, where it has some."""
    denials_per_hour: int | None = None
    withheld: Withheld = field(default_factory=Withheld)
    """What it is not shown."""

    @property
    def reads_everything(self) -> bool:
        return self.role in ("auditor", "regulator", "operator")


class _Known(NamedTuple):
    key: StoredKey
    read_s: float
    """When it was read, by the monotonic clock."""
    withheld: Withheld


class Keyring:
    """Looks keys up, and remembers them for CACHED_S."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[str, _Known] = {}
        """By the key's id."""
        self._proven: dict[bytes, _Known] = {}
        """By the digest of a header that has shown its key."""
        self.used: set[str] = set()
        """Ids of keys that were used; `KeyUses` writes them down and empties it."""

    async def caller(self, authorization: str) -> Caller:
        """Whom the header names. Raises Unauthenticated, in the same words for every reason."""
        name = digest(authorization)
        known = self._proven.get(name)
        if known is None or time.monotonic() - known.read_s >= CACHED_S:
            known = await self._prove(authorization)
            if len(self._proven) >= CACHED_KEYS_MAX:
                self._proven.clear()
            self._proven[name] = known
        key = known.key
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise _unauthenticated()
        self.used.add(key.id)
        quotas = key.events_per_minute, key.denials_per_hour
        return Caller(key.id, key.role, key.party, *quotas, known.withheld)

    async def _prove(self, authorization: str) -> _Known:
        scheme, _, token = authorization.partition(" ")
        match = _TOKEN.fullmatch(token.strip())
        if scheme.lower() != "bearer" or match is None:
            raise Unauthenticated("send an API key: Authorization: Bearer clk_...")
        key_id, secret = match.groups()
        known = await self._stored(key_id)
        # Compared also for an unknown id, so that the time taken tells nothing.
        expected = known.key.secret_sha256 if known is not None else bytes(32)
        matches = hmac.compare_digest(digest(secret), expected)
        if known is None or not matches or known.key.revoked_at is not None:
            raise _unauthenticated()
        return known

    async def _stored(self, key_id: str) -> _Known | None:
        now = time.monotonic()
        known = self._known.get(key_id)
        if known is not None and now - known.read_s < CACHED_S:
            return known
        stored = await self._reader.key(key_id)
        if len(self._known) >= CACHED_KEYS_MAX:
            self._known.clear()
        if stored is None:
            return None
        known = self._known[key_id] = _Known(stored, now, Withheld(stored.withholds))
        return known


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated("the API key is unknown, expired or revoked")


async def caller_of(request: Request) -> Caller:
    """The caller of a request, known before its parameters are looked at."""
    caller: Caller = await request.app.state.service.caller(request)
    return caller


KeyHolder = Annotated[Caller, Depends(caller_of)]
"""A parameter of every route that asks for a key."""
