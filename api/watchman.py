"""The service looks at its own log, periodically and when asked, and says what it finds.

One process of those that share a checkpoint store watches; when it ends, another takes over. What is found
goes to the report table, to the log line and metric that alarms hang on, and, as an entry, into the log.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from api.watch import Intervals, Run, Watch
from ledger.errors import Conflict, LedgerError, NotFound, Unavailable
from ledger.event import LEDGER_CONTRACT, LEDGER_PARTY, Kind, Submission, submission_of
from ledger.findings import DEPTHS, Depth
from ledger.kinds.integrity import (
    FAILURES_NAMED,
    IntegrityExplained,
    IntegrityFailed,
    IntegritySummarised,
)
from ledger.reports import Reports
from ledger.sequencer import Sequencer
from ledger.tasks import Routine
from ledger.values import format_timestamp, parse_timestamp
from ledger.watch_memory import Failure, Memory, MemoryFile

TICK_S = 1.0
AT_START: tuple[Depth, ...] = ("head", "all")
SUMMARY_EVERY = timedelta(hours=24)
log = structlog.get_logger(__name__)


class IntegrityMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.ran = Gauge(
            "chipledger_integrity_ran_timestamp_seconds", "When a look of this depth last ended; 0: never.",
            ["depth"], registry=registry,
        )  # fmt: skip
        self.intact = Gauge(
            "chipledger_integrity_intact", "1: the last look found nothing, and all failures are explained.",
            registry=registry,
        )  # fmt: skip
        self.unexplained = Gauge(
            "chipledger_integrity_unexplained", "Failures that nobody has explained.", registry=registry
        )  # fmt: skip
        self.verified = Gauge(
            "chipledger_integrity_verified_entries", "Entries that are known to be sound.", registry=registry
        )  # fmt: skip
        self.failures = Counter(
            "chipledger_integrity_failures_total", "Failures found by this process.", registry=registry
        )  # fmt: skip

    def show(self, memory: Memory, *, new: int) -> None:
        for depth, at in memory.ran.items():
            self.ran.labels(depth).set(parse_timestamp(at).timestamp())
        self.intact.set(bool(memory.ran) and not memory.failures)
        self.unexplained.set(len(memory.failures))
        self.verified.set(memory.verified.size)
        self.failures.inc(new)


class Watchman:
    """`open`, then `close`; `ask` and `explain` from any task.

    `now` is the ledger's clock, for what it says; the intervals go by the machine's.
    """

    def __init__(
        self,
        watch: Watch,
        memory: MemoryFile,
        reports: Reports,
        sequencer: Sequencer,
        metrics: IntegrityMetrics,
        *,
        origin: str,
        now: Callable[[], datetime],
        intervals: Intervals,
    ) -> None:
        self._watch = watch
        self._memory = memory
        self._reports = reports
        self._sequencer = sequencer
        self._metrics = metrics
        self._origin = origin
        self._now = now
        self._intervals = intervals
        self._routine = Routine("watchman", self._attend, interval_s=TICK_S)
        self._asked: set[Depth] = set()
        # What is wrong now first; and then all, for facts are folded anew by each process.
        self._at_start: list[Depth] = [depth for depth in AT_START if intervals.of_depth(depth)]

    def open(self) -> None:
        self._routine.open()

    async def close(self) -> None:
        await self._routine.close()
        self._memory.close()

    def ask(self, depth: Depth) -> None:
        """Look as soon as the look that is under way has ended. Raises Unavailable in a process that
        leaves watching to another."""
        self._hold()
        self._asked.add(depth)
        self._routine.wake()

    async def look(self, depth: Depth) -> Run:
        """Look now, and say what is found. Raises LedgerError where nothing could be seen or kept."""
        run = await self._watch.run(depth)
        self._tell(run)
        with _best_effort("report"):
            await self._reports.add(
                depth, run.report(), started=run.started, ended=run.ended, by=run.by, result=run.result
            )
        async with self._watch.turn:
            memory = await self._watch.remember()
            self._metrics.show(memory, new=len(run.new))
            with _best_effort("entry"):
                memory = await self._say_failures(memory)
                await self._say_summary(memory, run)
        return run

    async def explain(self, words: str, *, by: str) -> tuple[Failure, ...]:
        """An operator says what came of the failures. Raises NotFound where there is none."""
        self._hold()
        async with self._watch.turn:
            if not (failures := (await self._watch.remember()).failures):
                raise NotFound("no failure waits for an explanation")
            named = [failure.finding.digest for failure in failures[:FAILURES_NAMED]]
            data = {
                "failures": named, "failures_count": len(failures), "words": words, "explained_by": by,
            }  # fmt: skip
            # The entry first: what is not said in the log is not explained.
            await self._say(IntegrityExplained, data, name=f"explained/{uuid.uuid4()}")
            failures = await self._watch.explain(words)
            self._metrics.show(await self._watch.remember(), new=0)
            now = datetime.now(UTC)
            await self._reports.add("explanation", data, started=now, ended=now, by=by, result="explained")
        log.warning("integrity_explained", failures=len(failures), by=by)
        return failures

    async def remembered(self) -> Memory:
        """What is known now, by this process or another. Raises StoreFailed."""
        return await self._watch.remember()

    async def last(self) -> dict[str, dict[str, Any] | None]:
        """The last look of each depth, as reported."""
        found: dict[str, dict[str, Any] | None] = {}
        for depth in DEPTHS:
            reports = await self._reports.last(depth)
            found[depth] = None if not reports else {
                "started_at": format_timestamp(reports[0].started_at),
                "ended_at": format_timestamp(reports[0].ended_at),
                "by": reports[0].said_by,
                "result": reports[0].result,
                **reports[0].report,
            }  # fmt: skip
        return found

    # --- the task ---------------------------------------------------------------------------------

    async def _attend(self) -> None:
        depth = await self._next()
        if depth is not None:
            self._asked -= set(DEPTHS[: DEPTHS.index(depth) + 1])  # the deeper does their work
            await self.look(depth)
            self._at_start = [one for one in self._at_start if one != depth]

    async def _next(self) -> Depth | None:
        if self._asked:
            return max(self._asked, key=DEPTHS.index)
        if not self._memory.hold():
            return None
        if self._at_start:
            return self._at_start[0]
        return self._intervals.due(await self._watch.remember(), datetime.now(UTC))

    def _hold(self) -> None:
        if not self._memory.hold():
            raise Unavailable("another process of this log watches it; it looks when the time comes")

    # --- saying it --------------------------------------------------------------------------------

    def _tell(self, run: Run) -> None:
        """A line for alarms."""
        for failure in run.new:
            finding = failure.finding
            log.critical(
                "integrity_failed", failure=finding.digest, damage=finding.damage, where=finding.where,
                index=finding.index, evidence=dict(finding.evidence), depth=run.depth,
            )  # fmt: skip
        for key in run.new_keys:
            log.warning("api_key_appeared", key=key)
        level = log.info if run.result == "intact" else log.error
        level(
            "integrity_checked", depth=run.depth, result=run.result, first=run.first, size=run.size,
            root=run.root.hex(), findings=run.findings_count, unexplained=len(run.failures),
        )  # fmt: skip

    async def _say_failures(self, memory: Memory) -> Memory:
        """Each failure becomes an entry once; what cannot be said now is said after the next look."""
        for at, failure in enumerate(memory.failures):
            if failure.said:
                continue
            finding = failure.finding
            data: dict[str, Any] = {
                "failure": finding.digest,
                "damage": finding.damage,
                "where": finding.where[:2_000],
                "evidence": [{"name": name, "value": value[:2_000]}
                             for name, value in finding.evidence.items() if value],
                "found_at": failure.found_at,
                "found_by": self._watch.by,
            }  # fmt: skip
            if finding.index is not None:
                data["at_index"] = finding.index
            await self._say(IntegrityFailed, data, name=f"failed/{finding.digest}/{failure.found_at}")
            failures = (*memory.failures[:at], replace(failure, said=True), *memory.failures[at + 1 :])
            memory = replace(memory, failures=failures)
            await self._watch.keep(memory)
        return memory

    async def _say_summary(self, memory: Memory, run: Run) -> None:
        """Once a day, from the first look on."""
        since = parse_timestamp(memory.summarised) if memory.summarised else None
        if since is not None and since > run.ended:
            since = None  # by a clock that has been set back
        if since is not None and run.ended - since < SUMMARY_EVERY:
            return
        until = format_timestamp(run.ended)
        if since is not None:
            tally = await self._reports.tally(since)
            data = {
                "since": memory.summarised, "until": until, "runs": tally.runs, "damaged": tally.damaged,
                "unexplained": tally.unexplained, "verified": memory.verified.size,
                "root": memory.verified.root.hex(), "result": run.result,
            }  # fmt: skip
            await self._say(IntegritySummarised, data, name=f"summarised/{until}")
        await self._watch.keep(replace(memory, summarised=until))

    async def _say(self, kind: type[Kind], data: dict[str, Any], *, name: str) -> None:
        """An entry of the ledger's own, of which nothing in the log is the cause."""
        [result] = await self._sequencer.append([self._submission(kind, data, name)])
        if isinstance(result, LedgerError) and not isinstance(result, Conflict):
            raise result

    def _submission(self, kind: type[Kind], data: dict[str, Any], name: str) -> Submission:
        return submission_of(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._origin}#integrity/{name}")),
                "kind": kind.kind_name,
                "version": kind.kind_version,
                "contract": LEDGER_CONTRACT,
                "occurred_at": format_timestamp(self._now()),
                "actor": {"party": LEDGER_PARTY, "role": "ledger"},
                "data": data,
            }
        )


@contextlib.contextmanager
def _best_effort(what: str) -> Iterator[None]:
    """A database that is damaged may refuse what is said of it: the log line stands all the same."""
    try:
        yield
    except LedgerError as error:
        log.critical("integrity_not_said", what=what, error=type(error).__name__, detail=str(error))
