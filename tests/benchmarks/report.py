"""The numbers as tables: medians of the rounds, and ratios beside what must be and what is aimed at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.deciding import Deciding
from tests.benchmarks.load import Measured

NAIVE_1, NAIVE_64, ORM_64 = "naive, 1 client", "naive, 64 clients", "naive ORM, 64 clients"
OURS_1, OURS_64 = "chipledger, 1 client", "chipledger, 64 clients"
OURS_BATCH = "chipledger, batches of 100, 8 clients"


@dataclass(slots=True)
class Round:
    """What one round measured."""

    floor: dict[int, float] = field(default_factory=dict)
    """Rows in a transaction → rows a second."""
    load: dict[str, Measured] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """An export of the log that the rounds made, checked; seconds, one for each round."""

    entries: int
    megabytes: float
    export_s: float
    hashing_s: list[float]
    verifying_s: list[float]
    replaying_s: list[float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A line of the table in what is to be reached."""

    what: str
    found: list[float]
    """One for each round; none if it was not measured."""
    must: float
    aim: float
    spelled: Callable[[float], str]
    at_most: bool = False

    @property
    def below(self) -> bool:
        """Short of what must be."""
        if not self.found:
            return False
        return median(self.found) > self.must if self.at_most else median(self.found) < self.must


def ratios(rounds: Sequence[Round], verified: Verification, deciding: Deciding) -> list[Ratio]:
    def each(made: Callable[[Round], float]) -> list[float]:
        found = []
        for one in rounds:
            try:
                found.append(made(one))
            except KeyError:
                continue
        return found

    def over(name: str, other: str) -> list[float]:
        return each(lambda one: one.load[name].events_per_s / one.load[other].events_per_s)

    of_copy = each(lambda one: one.load[OURS_64].events_per_s / one.floor[32])
    spread = each(lambda one: one.load[OURS_64].p99_ms / one.load[OURS_64].p50_ms)
    verify = [h / v for h, v in zip(verified.hashing_s, verified.verifying_s, strict=True)]
    replay = [v / r for v, r in zip(verified.verifying_s, verified.replaying_s, strict=True)]
    decide = [d / e for d, e in zip(deciding.decide_us, deciding.dump_us, strict=True)]
    return [
        Ratio("64 clients / naive", over(OURS_64, NAIVE_64), 10, 20, _times),
        Ratio("64 clients / naive ORM", over(OURS_64, ORM_64), 18, 30, _times),
        Ratio("batches of 100 / naive", over(OURS_BATCH, NAIVE_64), 25, 50, _times),
        Ratio("64 clients / raw COPY of 32", of_copy, 0.15, 0.30, _share),
        Ratio("p99 / p50 at 64 clients", spread, 3, 2, _times, at_most=True),
        Ratio("full verify / hashing only", verify, 0.35, 0.55, _share),
        Ratio("replay / full verify", replay, 0.20, 0.50, _share),
        Ratio(f"{deciding.conditions} conditions / dump of event", decide, 8, 8, _times, at_most=True),
    ]


def rendered(rounds: Sequence[Round], verified: Verification, deciding: Deciding) -> str:
    """Everything that was measured, for a terminal."""
    lines = [*_rates(rounds), ""] if rounds else []
    lines += [*_verification(verified), "", *_deciding(deciding), ""]
    lines += _ratios([ratio for ratio in ratios(rounds, verified, deciding) if rounds or ratio.found])
    return "\n".join(lines)


def _rates(rounds: Sequence[Round]) -> list[str]:
    rows = [
        [
            "",
            "events/s",
            "lowest",
            "highest",
            "p50 ms",
            "p99 ms",
            "service µs",
            "postgres µs",
            "load µs",
            "others",
        ]
    ]
    for transaction in rounds[0].floor:
        rates = [one.floor[transaction] for one in rounds]
        name = f"raw COPY, {transaction:,} rows a transaction"
        rows.append([name, _whole(median(rates)), _whole(min(rates)), _whole(max(rates)), *[""] * 6])
    for name in rounds[0].load:
        runs = [one.load[name] for one in rounds]
        rates = [run.events_per_s for run in runs]
        cells = [_whole(median(rates)), _whole(min(rates)), _whole(max(rates))]
        cells += [f"{median(r.p50_ms for r in runs):.1f}", f"{median(r.p99_ms for r in runs):.1f}"]
        cells += [_whole(median(r.service_us for r in runs)), _whole(median(r.postgres_us for r in runs))]
        cells += [_whole(median(r.load_us for r in runs)), _share(median(r.others for r in runs))]
        rows.append([name, *cells])
    return [
        *aligned(rows),
        "",
        "µs: CPU time for each event. Latencies are those of requests. others: share of the machine's CPU",
        "that other programs took, or its host; above a tenth, the table tells little but the ratios.",
    ]


def _verification(verified: Verification) -> list[str]:
    entries, hashing, verifying = verified.entries, median(verified.hashing_s), median(verified.verifying_s)
    replaying = median(verified.replaying_s)
    rows = [
        [f"of {entries:,} entries, {verified.megabytes:,.0f} MB", "entries/s", "s"],
        ["chipledger export", _whole(entries / verified.export_s), f"{verified.export_s:.1f}"],
        ["hashing only", _whole(entries / hashing), f"{hashing:.1f}"],
        ["full verification, one process", _whole(entries / verifying), f"{verifying:.1f}"],
        ["replay, one process", _whole(entries / replaying), f"{replaying:.1f}"],
    ]
    return aligned(rows)


def _deciding(deciding: Deciding) -> list[str]:
    rows = [
        [f"of one event, {deciding.event_bytes:,} bytes", "µs"],
        ["sorted dump of the event", f"{median(deciding.dump_us):.2f}"],
        [
            f"{deciding.conditions} typed conditions, decision of {deciding.decision_bytes:,} bytes",
            f"{median(deciding.decide_us):.2f}",
        ],
    ]
    return aligned(rows)


def _ratios(found: Sequence[Ratio]) -> list[str]:
    rows = [["ratio", "median", "lowest", "highest", "must", "aim", ""]]
    for ratio in found:
        s, sign = ratio.spelled, "≤ " if ratio.at_most else "≥ "
        goal = [sign + s(ratio.must), sign + s(ratio.aim)]
        if ratio.found:
            cells = [s(median(ratio.found)), s(min(ratio.found)), s(max(ratio.found))]
            rows.append([ratio.what, *cells, *goal, "below" if ratio.below else ""])
        else:
            rows.append([ratio.what, "–", "–", "–", *goal, "not measured"])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _times(number: float) -> str:
    return f"{number:.1f}×"


def _share(number: float) -> str:
    return f"{number:.0%}"
