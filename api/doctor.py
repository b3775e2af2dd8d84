"""`chipledger doctor`: all that a service needs, looked at as the service would. Nothing is changed.

It may run beside services, and before the first start of one that was moved.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import psycopg

from api import anchors, database
from api.database import Logins
from api.export import signer_of
from api.places import store_of
from api.settings import Settings, unknown_among
from ledger import keys
from ledger.clock import CLOCK_SKEW_MAX
from ledger.errors import LedgerError, Unavailable, UnusableInput
from ledger.note import Signer
from ledger.reader import Reader
from ledger.rollback import refuse_rollback
from ledger.store import Writer
from policies.engine import Engine

FREE_BYTES_MIN = 1 << 30
VERSION_MIN = 150_000
"""Of the server, as `server_version_num` has it."""
DURABLE = ("fsync", "full_page_writes")
"""`synchronous_commit` is the committer's own setting."""


class Finding(NamedTuple):
    about: str
    state: Literal["ok", "doubt", "failed"]
    words: str


class _Doubt(Exception):
    """It works, and somebody should know what it rests on."""


@dataclass(frozen=True, slots=True)
class _Patient:
    settings: Settings
    logins: Logins

    @property
    def signer(self) -> Signer:
        return signer_of(self.settings)

    @property
    def home(self) -> Path:
        return self.settings.key_path.parent

    async def variables(self) -> str:
        if unknown := unknown_among(os.environ):
            raise _Doubt(f"{', '.join(unknown)}: no setting is called so, and its default is in force")
        return "none is unknown"

    # --- files ------------------------------------------------------------------------------------

    async def key(self) -> str:
        return f"{self.signer.verifier}"

    async def webhook_key(self) -> str:
        path = self.settings.webhook_key_path
        if not path.exists():
            raise _Doubt(
                f"there is none at {path} yet; where endpoints have secrets, put the service's there"
            )
        keys.check_private(path)
        return f"{path}"

    async def store(self) -> str:
        store, signer = store_of(self.settings, self.signer), self.signer
        folder, bucket = self.settings.store_path, self.settings.store_bucket
        if bucket is None and not os.access(folder, os.W_OK | os.X_OK):
            raise UnusableInput(f"{folder} is not there, or this user may not write there")
        reader = Reader(self.logins.reader)
        await reader.open()
        try:
            kept = store.latest(*await reader.keys_of(signer.verifier))
            size = (await reader.head()).size
        finally:
            await reader.close()
        if kept is None:
            raise _Doubt(
                f"nothing is kept in {bucket or folder}, and the log has {size} entries: is it the right one?"
            )
        words = f"{kept.size} entries, in {bucket or folder}"
        beside = bucket is None and self.settings.database_url is None
        if beside and folder.stat().st_dev == self.settings.home.stat().st_dev:
            raise _Doubt(f"{words}: on the disk of the database, which takes both with it")
        return words

    async def space(self) -> str:
        folders = (self.home, self.settings.store_path)
        free = {path: shutil.disk_usage(path).free for path in folders if path.exists()}
        scarce = [f"{path} has {left >> 20} MiB left" for path, left in free.items() if left < FREE_BYTES_MIN]
        if scarce:
            raise _Doubt("; ".join(scarce))
        return f"{min(free.values()) >> 30} GiB free"

    # --- the database -----------------------------------------------------------------------------

    async def reads(self) -> str:
        database.refuse_unfit(self.logins)
        reader = Reader(self.logins.reader)
        await reader.open()
        try:
            return f"{(await reader.head()).size} entries can be read"
        finally:
            await reader.close()

    async def writes(self) -> str:
        """As the sequencer would before its first event."""
        signer = self.signer
        writer = await Writer.connect(self.logins.writer)
        try:
            head = await writer.head()
            if head is None:
                raise _Doubt("the log is empty: the first start of a service begins it")
            head.check(engine=Engine().engine, signer=signer, clock=self.settings.clock)
            await refuse_rollback(writer, store_of(self.settings, signer), signer)
            return f"{head.size} entries, of {head.origin}"
        finally:
            await writer.close()

    async def server(self) -> str:
        async with await psycopg.AsyncConnection.connect(
            self.logins.writer, connect_timeout=10
        ) as connection:
            row = await (
                await connection.execute(
                    "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
                    " current_setting('synchronous_standby_names'), clock_timestamp()"
                )
            ).fetchone()
            assert row is not None
            number, version, standbys, now = row
            off = [
                name
                for name in DURABLE
                for (value,) in await (await connection.execute(f"SHOW {name}")).fetchall()
                if value == "off"
            ]
        if number < VERSION_MIN:
            raise UnusableInput(f"the server is PostgreSQL {version}, must be 15 or newer")
        if off:
            raise UnusableInput(f"{', '.join(off)}: off, must be on: what was acknowledged could be lost")
        skew = abs(now - datetime.now(UTC))
        if skew > CLOCK_SKEW_MAX and self.settings.clock == "system":
            raise Unavailable(f"its clock differs by {skew} from this machine's: set right which is wrong")
        if not standbys:
            raise _Doubt(f"PostgreSQL {version}, and no synchronous standby: a commit is on one disk")
        return f"PostgreSQL {version}, synchronous standbys: {standbys}"

    # --- whoever vouches --------------------------------------------------------------------------

    async def witnesses(self) -> str:
        path = self.settings.witness_policy
        if path is None:
            raise _Doubt("none: two histories could be shown to two people, until they compare checkpoints")
        needed, of = anchors.read_policy(path).needed()
        return f"{needed} of {of} must cosign"

    async def timestamps(self) -> str:
        if self.settings.timestamp_url is None:
            raise _Doubt("none: when an entry was recorded rests on this service's clock and key")
        if self.settings.timestamp_roots is None:
            raise UnusableInput("CHIPLEDGER_TIMESTAMP_URL needs CHIPLEDGER_TIMESTAMP_ROOTS")
        return (
            f"{len(anchors.read_roots(self.settings.timestamp_roots))} roots, {self.settings.timestamp_url}"
        )


async def examine(settings: Settings, logins: Logins) -> list[Finding]:
    patient = _Patient(settings, logins)
    looks: dict[str, Callable[[], Awaitable[str]]] = {
        "settings": patient.variables,
        "checkpoint key": patient.key,
        "webhook key": patient.webhook_key,
        "database server": patient.server,
        "reading": patient.reads,
        "writing": patient.writes,
        "checkpoint store": patient.store,
        "disk space": patient.space,
        "witnesses": patient.witnesses,
        "timestamps": patient.timestamps,
    }
    return [await _looked(about, look) for about, look in looks.items()]


async def _looked(about: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(about, "ok", await look())
    except _Doubt as doubt:
        return Finding(about, "doubt", str(doubt))
    except (LedgerError, OSError) as error:
        return Finding(about, "failed", str(error))
    except psycopg.Error as error:  # not in its own words, which may quote the URL
        return Finding(about, "failed", f"the database answers {type(error).__name__}")
