"""Has witnesses cosign the log's checkpoints (C2SP tlog-witness), and keeps what enough of them have signed.

Every interval, if the log has grown, one checkpoint goes to all witnesses at once. As soon as the policy
is met it is kept with their cosignatures: "committed" and "witnessed" are two states of the log, and how
far apart they are can be seen. A witness that fails or hangs is said and skipped; commits wait for none.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx2 as httpx
import psycopg
import structlog

from ledger import tiles
from ledger.cosignature import Cosignature, TrustPolicy, Witness, cosignatures_in, with_cosignatures
from ledger.errors import LedgerError, NotFound, Unavailable, UnusableInput, VerificationError
from ledger.note import Signer
from ledger.reader import Reader
from ledger.store import write_beside
from ledger.tasks import Routine, end

INTERVAL_S = 1.0
TIMEOUT_S = 10.0
GRACE_S = 0.5
"""How long a round waits for the others once enough have signed."""
ANSWER_BYTES_MAX = 64 << 10

log = structlog.get_logger(__name__)


class WitnessFailed(Exception):
    """A witness did not cosign. It goes into its state, and to no caller."""


@dataclass(slots=True)
class Witnessed:
    """What is known of one witness."""

    name: str
    witness: Witness
    url: str
    size: int = 0
    """Of the last checkpoint that it cosigned, as far as is known."""
    time: int | None = None
    """When it says it did, in seconds since 1970."""
    error: str | None = None
    """Why it did not cosign the last one it was asked for."""
    failing_since: datetime | None = None


class Witnessing:
    """`open`, then `close`; or `ask` by hand."""

    def __init__(
        self,
        reader: Reader,
        writer_url: str,
        signer: Signer,
        policy: TrustPolicy,
        *,
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._reader = reader
        self._writer_url = writer_url
        self._signer = signer
        self._policy = policy
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False)
        self._busy: dict[str, asyncio.Task[Cosignature | None]] = {}
        self._routine = Routine("witnessing", self.ask, interval_s=interval_s)
        self.witnesses = [
            Witnessed(name, policy.witnesses[name], _checked(url)) for name, url in policy.urls.items()
        ]
        self.size = 0
        """Of the last checkpoint that enough witnesses have cosigned."""

    @property
    def needed(self) -> tuple[int, int]:
        """k of n."""
        return self._policy.needed()

    def open(self) -> None:
        self._routine.open()

    async def close(self) -> None:
        await self._routine.close()
        await end(*self._busy.values())
        await self._client.aclose()

    async def ask(self) -> str | None:
        """Have the durable head cosigned; the note that is now kept as witnessed, if this round changed it.

        Raises Unavailable.
        """
        try:
            head = await self._reader.head()
        except NotFound:
            return None
        if head.size <= self.size:
            return None
        note = head.checkpoint(self._signer)
        cosigned = await self._gather(note, head.size)
        if not self._policy.is_met_by({one.witness for one in cosigned}):
            return None
        note = with_cosignatures(note, cosigned)
        await self._keep(head.size, note)
        self.size = head.size
        return note

    async def _gather(self, note: str, size: int) -> list[Cosignature]:
        """What the witnesses sign, until all that answer have, or enough have and the rest is slow."""
        self._busy = {name: task for name, task in self._busy.items() if not task.done()}
        for one in self.witnesses:
            if one.name not in self._busy:  # it hangs on an earlier one: it is not waited for
                task = asyncio.create_task(self._one(one, note, size), name=f"witness {one.name}")
                self._busy[one.name] = task
        waiting = set(self._busy.values())
        cosigned: list[Cosignature] = []
        while waiting:
            enough = self._policy.is_met_by({one.witness for one in cosigned})
            done, waiting = await asyncio.wait(
                waiting,
                timeout=GRACE_S if enough else self._interval_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                break
            found = (task.result() for task in done if not task.cancelled())
            cosigned += [one for one in found if one is not None and _is_over(one, note)]
        return cosigned

    async def _one(self, one: Witnessed, note: str, size: int) -> Cosignature | None:
        try:
            cosignature = await self._cosigned(one, note, size)
        except (WitnessFailed, LedgerError, httpx.HTTPError) as error:
            words = str(error) or type(error).__name__
            if one.error is None:
                log.warning(
                    "witness_failed", witness=one.name, error=type(error).__name__, detail=words[:500]
                )
                one.failing_since = datetime.now(UTC)
            one.error = words[:500]
            return None
        if one.error is not None:
            log.info("witness_recovered", witness=one.name)
        one.size, one.time, one.error, one.failing_since = size, cosignature.time, None, None
        return cosignature

    async def _cosigned(self, one: Witnessed, note: str, size: int) -> Cosignature:
        status, body = await self._add_checkpoint(one, note, size)
        if status == 409:
            # It knows another size than we remember: of before our start, or from another process.
            known = body.strip()
            if not known.isdecimal() or len(known) > 18 or int(known) > size or int(known) == one.size:
                raise WitnessFailed(f"it says that it has seen {known[:80]!r}, this log has {size} entries")
            one.size = int(known)
            status, body = await self._add_checkpoint(one, note, size)
        if status != 200:
            raise WitnessFailed(f"HTTP {status}: {_MEANINGS.get(status, 'unexpected')}")
        found = cosignatures_in(note + body, [one.witness])
        if not found:
            raise VerificationError("its answer has no cosignature of the key that it is known by")
        return found[0]

    async def _add_checkpoint(self, one: Witnessed, note: str, size: int) -> tuple[int, str]:
        """`POST <prefix>/add-checkpoint`: the status, and the first 64 KiB of the answer."""
        wanted = tiles.tiles_for_consistency(one.size, size)
        found = await self._reader.hashes(wanted)
        proof = tiles.prove_consistency(one.size, size, lambda *at: found[tiles.Coordinates(*at)])
        lines = [f"old {one.size}", *(b64encode(hash_).decode() for hash_ in proof), "", note]
        request = self._client.stream("POST", f"{one.url}/add-checkpoint", content="\n".join(lines).encode())
        body = b""
        try:
            # For all of it: one that drips would keep within the limit of each read.
            async with asyncio.timeout(self._timeout_s), request as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES_MAX:
                        raise WitnessFailed(f"its answer is longer than {ANSWER_BYTES_MAX} bytes")
        except TimeoutError:
            raise WitnessFailed(f"it has not answered within {self._timeout_s:g} s") from None
        return response.status_code, body.decode("utf-8", "replace")

    async def _keep(self, size: int, note: str) -> None:
        try:
            await write_beside(
                self._writer_url,
                "INSERT INTO witnessed (id, size, note) VALUES (1, %s, %s) ON CONFLICT (id)"
                " DO UPDATE SET size = excluded.size, note = excluded.note"
                # Another process may have had a later one cosigned. One of another name is of before
                # the log was recovered, whatever its size.
                " WHERE witnessed.size < excluded.size"
                " OR split_part(witnessed.note, E'\\n', 1) <> split_part(excluded.note, E'\\n', 1)",
                [size, note],
            )
        except psycopg.Error as error:
            raise Unavailable("the witnessed checkpoint could not be kept") from error


_MEANINGS = {
    400: "it does not understand the request",
    403: "it does not know the key of this log",
    404: "it does not know the origin of this log",
    409: "it has seen another root of this size",
    422: "it does not believe the proof that the log has only grown",
    429: "it is asked too often",
}


def _is_over(cosignature: Cosignature, note: str) -> bool:
    """Whether it is of this checkpoint, and not of one that a slow witness was asked for before."""
    try:
        return bool(cosignatures_in(note + cosignature.line, [cosignature.witness]))
    except VerificationError:
        return False


def _checked(url: str) -> str:
    """The prefix without its last slash. Raises UnusableInput unless it is https, or on this machine."""
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if (
        "@" in parts.netloc
        or not parts.hostname
        or (parts.scheme != "https" and not (parts.scheme == "http" and local))
    ):
        raise UnusableInput(f"the URL of a witness must be https, without a login: {parts.hostname}")
    return url.rstrip("/")


def failing(witnesses: Iterable[Witnessed]) -> int:
    """How many of them did not cosign the last checkpoint they were asked for."""
    return sum(one.error is not None for one in witnesses)
