"""Object stores, for the static log and the kept checkpoint: S3 and what speaks it, Google Cloud, Azure.

Objects are written by conditional requests: a tile only where there is none, a checkpoint only over the
one that was read. So any number of writers may race without a lock.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from ledger.errors import NotFound, Unavailable, UnusableInput, VerificationError
from ledger.static_log import BUNDLE_BYTES_MAX, CHECKPOINT, CHECKPOINT_BYTES_MAX, changed
from ledger.tiles import FULL_WIDTH, Coordinates, narrowed, tile_path

if TYPE_CHECKING:
    from obstore import Attributes, UpdateVersion
    from obstore.store import RetryConfig

SCHEMES: Final = ("s3", "gs", "az", "abfs", "abfss")
PUTS_AT_ONCE: Final = 16
PENDING_MAX: Final = 64
"""Objects that wait to be there, about 80 KB each."""
WORDS_MAX: Final = 300
CHANGES_MAX: Final = 20
"""Of others that may come between, before it is given up."""
_PATIENT: Final[RetryConfig] = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_PROMPT: Final[RetryConfig] = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}

_TILE: Final[Attributes] = {
    "Content-Type": "application/octet-stream",
    "Cache-Control": "public, max-age=31536000, immutable",
}
_NOTE: Final[Attributes] = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"}


class _Objects:
    """Below `scheme://bucket/prefix`; credentials come from the environment."""

    def __init__(self, url: str, retries: RetryConfig) -> None:
        must = f"must be like s3://bucket/prefix ({', '.join(SCHEMES)})"
        try:
            parts = urlsplit(url)
            if "@" in parts.netloc or parts.query or parts.fragment:
                raise UnusableInput(
                    "a bucket's URL has no login, query or fragment: credentials come from the environment"
                )
            if parts.scheme not in SCHEMES or not parts.netloc:
                raise UnusableInput(f"{url} is no bucket, {must}")
            self._url = url.rstrip("/")
            with self._asked():
                self.store = from_url(url, retry_config=retries)
        except ValueError as error:
            raise UnusableInput(f"what is given is no bucket, {must}: {error}") from None

    def __str__(self) -> str:
        return self._url

    def put(self, name: str, raw: bytes, attributes: Attributes, over: UpdateVersion | None) -> bool:
        """Whether it is there now, over that version, or where there was nothing; else nothing was done."""
        with self._asked():
            try:
                self.store.put(name, raw, attributes=attributes, mode=over or "create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except FileNotFoundError:
                raise UnusableInput(f"{self} cannot be written: there is no such bucket") from None
        return True

    def read(self, name: str, limit: int) -> tuple[bytes, UpdateVersion] | None:
        """An object and its version; None: there is none."""
        with self._asked():
            try:
                found = self.store.get(name)
                if found.meta["size"] > limit:
                    raise VerificationError(f"{self}/{name} is longer than {limit} bytes")
                raw = bytes(found.bytes())
            except FileNotFoundError:
                return None
        version: UpdateVersion = {}  # without what it does not have: None is refused
        if found.meta["e_tag"] is not None:
            version["e_tag"] = found.meta["e_tag"]
        if found.meta["version"] is not None:
            version["version"] = found.meta["version"]
        return raw, version

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Say in our own errors what the store answers."""
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise UnusableInput(f"{self} refuses us: {_words(error)}") from error
        except BaseError as error:
            raise Unavailable(f"{self} cannot be read or written: {_words(error)}") from error


class Bucket:
    """A `ledger.static_log.Target`. Tiles are put several at once, and `publish` waits for them."""

    def __init__(self, url: str) -> None:
        self._objects = _Objects(url, _PATIENT)
        self._pool = ThreadPoolExecutor(PUTS_AT_ONCE, "bucket")
        self._pending: dict[str, Future[None]] = {}
        self._version: UpdateVersion | None = None
        """Of the checkpoint, as it was read."""

    def __str__(self) -> str:
        return str(self._objects)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing to hold: whoever comes second finds that the checkpoint is not the one it has read."""
        try:
            yield
        finally:
            self._pool.shutdown(cancel_futures=True)

    def checkpoint(self) -> str | None:
        found = self._objects.read(CHECKPOINT, CHECKPOINT_BYTES_MAX)
        if found is None:
            self._version = None
            return None
        raw, self._version = found
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise VerificationError(f"{self}/{CHECKPOINT} is not UTF-8") from None

    def tile(self, where: Coordinates) -> bytes:
        for width in sorted({where.width, FULL_WIDTH}):
            name = tile_path(where.level, where.n, width)
            if name in self._pending:
                self._settle()
            if (found := self._objects.read(name, BUNDLE_BYTES_MAX)) is not None:
                return found[0] if width == where.width else narrowed(where, found[0])
        raise NotFound(f"{tile_path(*where)} is missing")

    def keep(self, where: Coordinates, raw: bytes) -> None:
        if len(self._pending) >= PENDING_MAX:
            self._settle()
        name = tile_path(*where)
        self._pending[name] = self._pool.submit(self._create, name, raw)

    def publish(self, note: str) -> None:
        self._settle()
        raw = note.encode()
        if not self._objects.put(CHECKPOINT, raw, _NOTE, self._version):
            # It may have been this very request, whose answer was lost.
            found = self._objects.read(CHECKPOINT, CHECKPOINT_BYTES_MAX)
            if found is None or found[0] != raw:
                raise Unavailable(f"another process has written to {self} meanwhile")

    def drop_partials(self, level: int, n: int) -> None:
        store = self._objects.store
        try:
            for page in store.list(f"{tile_path(level, n)}.p"):
                store.delete([one["path"] for one in page])
        except (BaseError, OSError):
            return  # where nothing may be deleted, they stay

    def _create(self, name: str, raw: bytes) -> None:
        if self._objects.put(name, raw, _TILE, None):
            return
        found = self._objects.read(name, BUNDLE_BYTES_MAX)
        if found is None or found[0] != raw:
            raise changed(f"{self}/{name}")

    def _settle(self) -> None:
        """Wait until all that was kept is there."""
        pending, self._pending = self._pending, {}
        for one in pending.values():
            one.result()


class FilesInBucket:
    """`ledger.kept_files.KeptFiles`. It gives up soon: whoever asks is a service at work."""

    def __init__(self, url: str) -> None:
        self._objects = _Objects(url, _PROMPT)

    def __str__(self) -> str:
        return str(self._objects)

    def read(self, name: str, limit: int) -> bytes | None:
        with _told():
            found = self._objects.read(name, limit)
        return None if found is None else found[0]

    def change(self, name: str, limit: int, made: Callable[[bytes | None], bytes | None]) -> None:
        for _ in range(CHANGES_MAX):
            with _told():
                found = self._objects.read(name, limit)
            content = made(None if found is None else found[0])
            if content is None:
                return
            with _told():
                if self._objects.put(name, content, _NOTE, None if found is None else found[1]):
                    return
        raise OSError(errno.EAGAIN, f"it was changed {CHANGES_MAX} times meanwhile")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (UnusableInput, Unavailable, VerificationError) as error:
        raise OSError(errno.EIO, str(error)) from error


def _words(error: BaseError) -> str:
    """Without what only a debugger wants."""
    return " ".join(str(error).partition("\n\nDebug source:")[0].split())[:WORDS_MAX]
