"""A page of entries: which, how they are found, and at how much it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from ledger.loading import StoredEntry, entries_at

SCANNED_MAX = 20_000
"""Entries that one page looks at: a rare kind must not make it read the whole log."""
SCANNED_BODIES_MAX = 2_000
"""Where it looks into the events: one may be 1 MiB."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries: those after `after`, and of these the ones that match everything given."""

    after: int = -1
    limit: int = 100
    contract: str | None = None
    kind: str | None = None
    party: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    backdated: timedelta | None = None
    """Recorded more than this after it occurred, as its submitter claims."""


class Page(NamedTuple):
    entries: list[StoredEntry]
    following: int | None
    """After which index the next page begins; None: there is none."""


async def page_of(connection: AsyncConnection[tuple[Any, ...]], wanted: Filter) -> Page:
    """A page by key set: `wanted.limit` entries after index `wanted.after` at most, ascending.

    It looks at so many entries at most, and ends early where few of them match.
    """
    # The log is gapless and its time never runs backwards: an instant is an index.
    first, end = wanted.after + 1, await _first_at(connection, wanted.until)
    if wanted.since is not None:
        first = max(first, await _first_at(connection, wanted.since))
    among, parameters, order = _among(wanted)
    if wanted.contract is not None:
        # By their places in the chain alone: a plan that is made once, for any values, would look
        # at every index between the bounds.
        first, end = [await _place_in_chain(connection, wanted.contract, at) for at in (first, end)]
    scope = f"FROM entries e WHERE {among} AND {order} >= %s AND {order} < %s ORDER BY {order}"
    bounds = [*parameters, first, end]
    matches, values = _matches(wanted)
    scanned = SCANNED_MAX if wanted.backdated is None else SCANNED_BODIES_MAX
    rows = await connection.execute(
        f"SELECT e.index FROM (SELECT * {scope} LIMIT {scanned}) e WHERE {matches} LIMIT %s",
        [*bounds, *values, wanted.limit + 1],
    )
    found = [index for (index,) in await rows.fetchall()]
    following: int | None
    if len(found) > wanted.limit:
        found = found[: wanted.limit]
        following = found[-1]
    else:
        rows = await connection.execute(f"SELECT e.index {scope} OFFSET {scanned - 1} LIMIT 1", bounds)
        last = await rows.fetchone()
        following = None if last is None else last[0]
    return Page(await entries_at(connection, found), following)


def _among(wanted: Filter) -> tuple[str, list[Any], str]:
    """What an index answers of a filter: clause, parameters, and the order in which it gives them."""
    if wanted.contract is not None:
        # Its own chain has the entries in the same order.
        return "e.contract = %s", [wanted.contract], "e.contract_index"
    if wanted.outcome not in (None, "accepted"):
        return "e.outcome = %s AND e.outcome <> 'accepted'", [wanted.outcome], "e.index"
    return "true", [], "e.index"


_OCCURRED_AT = (
    # Offsets go to 23:59 in RFC 3339, and to 15:59 in PostgreSQL.
    "CASE WHEN right(said, 1) = 'Z' THEN said::timestamptz"
    " ELSE (left(said, -6) || 'Z')::timestamptz - right(said, 6)::interval END"
)


def _matches(wanted: Filter) -> tuple[str, list[Any]]:
    """The rest of a filter, asked of one entry after another."""
    clauses, values = ["true"], list[Any]()
    for column, value in (("kind", wanted.kind), ("party", wanted.party), ("outcome", wanted.outcome)):
        if value is not None:
            clauses.append(f"e.{column} = %s")
            values.append(value)
    if wanted.backdated is not None:
        clauses.append(
            f"e.recorded_at - (SELECT {_OCCURRED_AT} FROM (SELECT convert_from(b.event, 'UTF8')::json"
            " ->> 'occurred_at' AS said FROM bodies b WHERE b.index = e.index) o) > %s"
        )
        values.append(wanted.backdated)
    return " AND ".join(clauses), values


async def _first_at(connection: AsyncConnection[tuple[Any, ...]], instant: datetime | None) -> int:
    """The first index that was recorded at or after an instant; the size of the log now if none was.

    What is appended while a page is read lies behind its end, or it could fall between two of its looks.
    """
    if instant is None:
        row = await (await connection.execute("SELECT max(index) FROM entries")).fetchone()
        return 0 if row is None or row[0] is None else int(row[0]) + 1
    return await _halved(
        connection,
        "SELECT max(index) FROM entries",
        "SELECT e.recorded_at >= %(bound)s AS beyond FROM entries e WHERE e.index = (lo + hi) / 2",
        {"bound": instant},
    )


async def _place_in_chain(connection: AsyncConnection[tuple[Any, ...]], contract: str, index: int) -> int:
    """The first place in the contract's chain that has at least this index."""
    return await _halved(
        connection,
        "SELECT max(contract_index) FROM entries WHERE contract = %(contract)s",
        "SELECT e.index >= %(bound)s AS beyond FROM entries e"
        " WHERE e.contract = %(contract)s AND e.contract_index = (lo + hi) / 2",
        {"contract": contract, "bound": index},
    )


async def _halved(
    connection: AsyncConnection[tuple[Any, ...]], last: str, probe: str, parameters: Mapping[str, Any]
) -> int:
    """The first of a gapless ascending run that lies beyond a bound, by halves: a look-up each."""
    row = await (
        await connection.execute(
            f"WITH RECURSIVE halves (lo, hi) AS ("
            f"SELECT -1::int8, coalesce(({last}), -1) + 1 UNION ALL"
            " SELECT CASE WHEN beyond THEN lo ELSE (lo + hi) / 2 END,"
            " CASE WHEN beyond THEN (lo + hi) / 2 ELSE hi END"
            f" FROM halves, LATERAL ({probe}) AS probed WHERE hi - lo > 1"
            ") SELECT hi FROM halves WHERE hi - lo <= 1",
            parameters,
        )
    ).fetchone()
    assert row is not None
    return int(row[0])
