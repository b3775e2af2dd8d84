"""A proxy before PostgreSQL's socket, which loses a COMMIT or its answer where a test wants it to."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Fate = Literal["passed", "lost before", "lost after"]
_PREPARED = re.compile(rb"(_pg3_[0-9a-f]+)\0COMMIT\0")
"""Parse: the name that psycopg gives the statement, then its text; each Bind names it again."""
READY = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery, idle: the transaction has ended."""


class Proxy:
    """Runs in a thread, between `start` and `close`. Loses each COMMIT with probability `lossy`."""

    def __init__(self, url: str, folder: Path, *, seed: int = 0) -> None:
        self._behind = str(Path(str(conninfo_to_dict(url)["host"])) / ".s.PGSQL.5432")
        self._folder = folder
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._listening = threading.Event()
        self.lossy = 0.0
        self.fates: Counter[Fate] = Counter()
        """What became of each COMMIT."""
        self.url = make_conninfo(url, host=str(folder), port=5432)

    def start(self) -> None:
        self._thread.start()
        assert self._listening.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        path = self._folder / ".s.PGSQL.5432"
        server = self._loop.run_until_complete(asyncio.start_unix_server(self._serve, path))
        self._listening.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(self._behind)
        mute = asyncio.Event()  # the answers that follow are lost
        back = asyncio.create_task(self._answer(behind_reader, writer, mute))
        marks = [b"COMMIT\0"]
        try:
            while chunk := await reader.read(1 << 16):
                fate: Fate = "passed"
                if prepared := _PREPARED.findall(chunk):
                    marks += [b"\0" + name + b"\0" for name in prepared]  # announced, not executed
                elif any(mark in chunk for mark in marks):
                    fate = self._fate()
                    self.fates[fate] += 1
                if fate == "lost before":
                    break
                if fate == "lost after":
                    mute.set()
                behind_writer.write(chunk)
                if fate == "lost after":
                    await back
                    break
        except OSError:
            pass
        finally:
            back.cancel()
            for one in (writer, behind_writer):
                with suppress(OSError):
                    one.close()

    def _fate(self) -> Fate:
        if self._random.random() >= self.lossy:
            return "passed"
        return self._random.choice(("lost before", "lost after"))

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event
    ) -> None:
        """Pass the server's words on. Mute: read up to the end of the transaction, then no more."""
        while chunk := await reader.read(1 << 16):
            if mute.is_set():
                if READY in chunk:
                    return
                continue
            writer.write(chunk)
        writer.close()
