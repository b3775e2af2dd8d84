"""The part of a look that judges and folds again: decisions and facts must be those of a replay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import psycopg

from api.examine.look import Examined, Pace
from ledger.entry import Header
from ledger.facts import Key
from ledger.findings import Depth, Findings
from ledger.integrity import Row
from ledger.merkle import leaf_hash
from ledger.rows import Rows
from policies.difference import Difference
from policies.engine import Engine
from policies.replay import Line, Replay

FACTS_PAGE = 2_000
NO_KEY: Final[Key] = ("", "")
DIFFERENCES: Final = {
    "decision": "decision_differs",
    "event": "event_differs",
    "missing": "event_not_said",
    "uncalled": "event_uncalled",
    "unreadable": "event_unreadable",
}
"""Kinds of damage by what a replay finds to differ."""


class Refolded:
    """A replay that may be kept from one look to the next: `begin`, then `take` while the bytes hold."""

    def __init__(self, engine: Engine, *, origin: str) -> None:
        self._erased: dict[int, list[int]] = {}
        """What the replay knows of erasures."""
        self._replay = Replay(engine, origin=origin, erased=self._erased)
        self._cursor = NO_KEY
        """Facts up to this key were looked at by looks at the head."""
        self._touched: set[Key] = set()
        """Facts that this look has changed, if it is not at everything."""

    @property
    def size(self) -> int:
        """Entries so far."""
        return self._replay.history.size

    @property
    def facts(self) -> int:
        return self._replay.history.facts

    def begin(self, depth: Depth) -> None:
        self._touched = set()
        self._replay.history.touched = self._touched if depth != "all" else None

    async def take(self, decided: Sequence[Row], rows: Rows, findings: Findings) -> None:
        """Judge the next entries again; what differs is told by `finish`."""
        if not await self._heed(decided, rows, findings):
            return
        for row in decided:
            line = _line(row)
            while wanted := self._replay.wanted(line):
                cited = await rows.entries(wanted)
                if not await self._heed(cited, rows, findings):
                    return
                for earlier in cited:
                    self._replay.recall(earlier.index, _line(earlier))
            if self._replay.take(line) is not None:
                break

    async def _heed(self, read: Sequence[Row], rows: Rows, findings: Findings) -> bool:
        """Learn what is erased, where one of these is without its words; False if that cannot be read.

        An entry may be erased at any time, and then is judged by what a later entry has kept of it.
        """
        if all(row.event is not None for row in read):
            return True
        try:
            self._erased.update(await rows.erased())
        except psycopg.DataError:
            findings.add("body_unreadable", "what is said to be erased")
            return False
        return True

    def finish(self, found: Examined) -> None:
        outcome = self._replay.finish()
        found.judged = outcome.judged + outcome.entailed
        if outcome.difference is not None:
            _tell_difference(found.findings, outcome.difference)

    # --- facts ------------------------------------------------------------------------------------

    async def check_facts(self, rows: Rows, depth: Depth, pace: Pace, found: Examined) -> None:
        """By depth: all; those that the look has changed; or these and a further page of the others."""
        if depth == "all":
            await self._check_every_fact(rows, pace, found)
            return
        self._compare(found, await rows.facts(sorted(self._touched)), self._touched)
        if depth == "head":
            page = await rows.facts_after(self._cursor, FACTS_PAGE)
            self._cursor = page[-1][0] if len(page) == FACTS_PAGE else NO_KEY  # then from the first again
            self._compare(found, dict(page))

    async def _check_every_fact(self, rows: Rows, pace: Pace, found: Examined) -> None:
        """In order of key: what is stored, then whether anything is not."""
        history, after, stored = self._replay.history, NO_KEY, 0
        while page := await rows.facts_after(after, FACTS_PAGE):
            self._compare(found, dict(page))
            after, stored = page[-1][0], stored + len(page)
            await pace.give_way()
        if stored != history.facts or found.findings.count:
            keys = [key for key, _ in history.rows()]
            for start in range(0, len(keys), FACTS_PAGE):
                some = keys[start : start + FACTS_PAGE]
                there = await rows.facts(some)
                for key in sorted(set(some) - there.keys()):
                    _tell_fact(found.findings, key, None, history.stored(key))

    def _compare(self, found: Examined, stored: dict[Key, str], must: Iterable[Key] = ()) -> None:
        """`must`: keys that must be among what is stored."""
        keys = sorted({*stored, *must})
        found.facts += len(keys)
        for key in keys:
            is_, folded = stored.get(key), self._replay.history.stored(key)
            if is_ != folded:
                _tell_fact(found.findings, key, is_, folded)


def _line(row: Row) -> Line:
    assert row.header is not None
    header = Header.parse(row.header)
    signatures = None if header.signatures is None else row.signatures
    # Without its signatures it is not known how a signed event was judged.
    event = None if header.signatures is not None and signatures is None else row.event
    return Line(
        row.index, header.contract, header.recorded_at, leaf_hash(row.header), event, row.decision, signatures
    )


def _tell_difference(findings: Findings, difference: Difference) -> None:
    values = {"is_": difference.committed, "must_be": difference.recomputed}
    told = _digests({name: value for name, value in values.items() if value is not None})
    findings.add(DIFFERENCES[difference.what], f"entry {difference.index}", difference.index, **told)


def _tell_fact(findings: Findings, key: Key, stored: str | None, folded: str | None) -> None:
    damage = "fact_missing" if stored is None else "fact_stray" if folded is None else "fact_altered"
    values = {"is_": stored, "must_be": folded}
    told = _digests({name: value.encode() for name, value in values.items() if value is not None})
    findings.add(damage, f"fact {key[0]} {key[1]}", **told)


def _digests(values: Mapping[str, bytes]) -> dict[str, str]:
    return {name: f"sha256:{hashlib.sha256(value).hexdigest()}" for name, value in values.items()}
