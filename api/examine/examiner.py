"""Looks one after another, each as deep as asked."""

from __future__ import annotations

from api.examine.beside import look_beside
from api.examine.head import HeadCheck
from api.examine.look import Examined, Known, Pace, Progress
from api.examine.refolded import Refolded
from api.examine.walk import ByteCheck
from ledger.beside import Vouchers
from ledger.findings import Depth
from ledger.integrity import Verified
from ledger.note import Verifier
from ledger.rows import Rows
from policies.engine import Engine


class Examiner:
    """Looks again and again. A replay is kept between looks, where there is one."""

    def __init__(
        self,
        verifier: Verifier,
        *,
        pace: Pace | None = None,
        facts_max: int | None = None,
        vouchers: Vouchers | None = None,
    ) -> None:
        """`verifier`: any key that the log has had. `facts_max`: a replay of more facts than these is dropped
        after the look that made it."""
        self._verifier = verifier
        self._vouchers = vouchers or Vouchers()
        self._engine = Engine()
        self._pace = pace or Pace()
        self._facts_max = facts_max
        self._refolded: Refolded | None = None

    async def look(
        self, rows: Rows, depth: Depth, known: Known, progress: Progress | None = None
    ) -> Examined:
        self._pace.begin()
        found = Examined()
        lineage = await rows.lineage(self._verifier)
        head = HeadCheck(rows, lineage, known, self._engine.engine, found)
        refolded, self._refolded = self._refolded, None  # one that was not finished is of no use
        if refolded is not None and refolded.size != head.verified.size:
            refolded = None
        if depth == "all":
            refolded = Refolded(self._engine, origin=lineage.present.name)
        begin = Verified() if depth == "all" else head.verified
        found.first = begin.size
        if depth == "head":
            await head.look()
        if depth != "head" or (refolded is not None and not found.findings.count):
            await ByteCheck(rows, begin, head, refolded, found, self._pace, progress).look(depth)
        async with rows.snapshot():
            beside = await look_beside(
                rows, depth, found.findings, lineage, self._vouchers, known.beside, head.check_claim
            )
        found.beside, found.new_keys = beside.remember(), beside.new_keys
        if refolded is not None and found.verified is not None:
            small = self._facts_max is None or refolded.facts <= self._facts_max
            self._refolded = refolded if small else None
        return found
