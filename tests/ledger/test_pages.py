"""Pages of entries, while others append."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from api.database import Logins
from ledger.pages import Filter
from tests.ledger.live_log import in_loop, live, submitted


@in_loop
async def test_what_is_appended_while_a_page_is_read_is_on_a_later_one(
    ledger: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a page's look for what matches and its look for where it ends, one more entry matches."""
    monkeypatch.setattr("ledger.pages.SCANNED_MAX", 5)
    execute = psycopg.AsyncConnection.execute
    async with live(ledger) as log:
        await log.sequencer.append(submitted(3))

        async def late(connection: Any, query: Any, *rest: Any, **options: Any) -> Any:
            if "OFFSET" in str(query):
                await log.sequencer.append(submitted(1))
            return await execute(connection, query, *rest, **options)

        monkeypatch.setattr(psycopg.AsyncConnection, "execute", late)
        page = await log.reader.entries(Filter(kind="levy.settled"))
        assert [entry.index for entry in page.entries] == [1, 2, 3]
        assert page.following is None
        assert (await log.reader.head()).size == 5
