"""`chipledger tiles`: a folder or bucket in step with a log, out of its database or as it is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import httpx2 as httpx

from api.database import Logins
from api.export import Advance, signer_of
from api.places import store_of
from api.settings import Settings
from ledger.errors import NotFound, RefusesToWrite, Unavailable, VerificationError
from ledger.note import Verifier
from ledger.publisher import cosigned_head, head_to_sign
from ledger.reader import Reader
from ledger.static_log import BUNDLE_BYTES_MAX, CHECKPOINT, Source, Target, update
from ledger.tiles import FULL_WIDTH, Coordinates, narrowed, tile_path

Told = Callable[[str], object]
TIMEOUT_S: Final = 30
"""For each answer of a service."""


class KeyedSource(Source, Protocol):
    async def keys(self) -> Sequence[Verifier]:
        """Of the log under its present name, the newest first: `checkpoint` is signed by that one."""
        ...


class StoredLog:
    """The log in our database: its head, signed here, or the last that its witnesses have cosigned."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader, self._settings = reader, settings
        self._take_key()

    def _take_key(self) -> None:
        self._signer = signer_of(self._settings)
        self._store = store_of(self._settings, self._signer)

    async def keys(self) -> Sequence[Verifier]:
        if (await self._reader.head()).verifier_key != str(self._signer.verifier):
            self._take_key()  # the log has handed over, and so has the file
        return await self._reader.keys_of(self._signer.verifier)

    async def checkpoint(self, least: int = 0) -> str:
        head = await head_to_sign(self._reader, self._signer, self._store)
        note = None
        if self._settings.witness_policy is not None:
            # Not where witnesses are behind what was published before them.
            note = await cosigned_head(self._reader, self._signer.verifier, least=least)
        return note or head.checkpoint(self._signer)

    async def tile(self, where: Coordinates) -> bytes:
        return await self._reader.tile(where)


class ServedLog:
    """A log that is served, by us or by anyone, below a prefix: neither database nor key are needed."""

    def __init__(self, client: httpx.AsyncClient, prefix: str, keys: Sequence[Verifier]) -> None:
        self._client, self._prefix, self._keys = client, prefix.rstrip("/"), keys

    async def keys(self) -> Sequence[Verifier]:
        return self._keys

    async def checkpoint(self, least: int = 0) -> str:
        try:
            return (await self._get(CHECKPOINT)).decode()
        except UnicodeDecodeError:
            raise VerificationError(f"{self._prefix}/{CHECKPOINT} is not UTF-8") from None

    async def tile(self, where: Coordinates) -> bytes:
        try:
            return await self._get(tile_path(*where))
        except NotFound:
            if where.width == FULL_WIDTH:
                raise
            # A log may drop a partial tile as soon as it has the full one.
            return narrowed(where, await self._get(tile_path(where.level, where.n)))

    async def _get(self, path: str) -> bytes:
        url = f"{self._prefix}/{path}"
        body = bytearray()
        try:
            async with self._client.stream("GET", url) as answer:
                if answer.status_code == 404:
                    raise NotFound(f"{url} is not there")
                if answer.status_code != 200:
                    raise Unavailable(f"{url} answers {answer.status_code}")
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > BUNDLE_BYTES_MAX:
                        raise VerificationError(f"{url} is longer than {BUNDLE_BYTES_MAX} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"{url} cannot be read: {type(error).__name__} {error}") from error
        return bytes(body)


@asynccontextmanager
async def stored_log(settings: Settings, logins: Logins) -> AsyncIterator[KeyedSource]:
    """The log of the database, signed with the key of the home."""
    reader = Reader(logins.reader)
    await reader.open()
    try:
        yield StoredLog(reader, settings)
    finally:
        await reader.close()


@asynccontextmanager
async def served_log(prefix: str, key: str, *was: str) -> AsyncIterator[KeyedSource]:
    """The log below a prefix, held against its verifier key; `was`: those that it had before."""
    keys = [Verifier.parse(one) for one in (key, *was)]
    async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
        yield ServedLog(client, prefix, keys)


async def keep_in_step(
    target: Target, source: KeyedSource, *, every_s: float | None, advance: Advance, told: Told
) -> None:
    """Bring the target up to the log; again and again where `every_s` is given.

    A log that cannot be read now is asked again, and one whose key is just being rotated. Whatever does not
    hold ends it.
    """
    size = -1
    with target.locked():
        while True:
            try:
                present, *earlier = await source.keys()
                checkpoint = await update(target, source, present, earlier=earlier, progress=advance)
            # A replica, a cache, or the file of a key may be a moment behind.
            except (Unavailable, NotFound, RefusesToWrite) as error:
                if every_s is None:
                    raise
                told(f"{error}; asking again")
            else:
                if checkpoint.size != size:
                    told(f"{checkpoint.size} entries in {target}")
                size = checkpoint.size
            if every_s is None:
                return
            await asyncio.sleep(every_s)
