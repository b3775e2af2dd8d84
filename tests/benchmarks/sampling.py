"""Where the service's CPU time goes: `chipledger` with a sampler in it.

    python -m tests.benchmarks.sampling serve ...      (what follows is of `chipledger`)

SIGUSR1 begins, SIGUSR2 ends and writes the samples to BENCH_SAMPLES. The kernel's timer of this process's own
CPU time interrupts it, and the stack of that moment is charged with the time since the one before:
unlike cProfile, this costs calls nothing, so that many small functions do not look dearer than they
are. Time inside C is that of the function that called it, but for the garbage collector's, which would
fall to whoever happened to allocate; time inside uvloop goes to the Python that it calls next.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import TypeVar

from tests.benchmarks.load import Measured
from tests.benchmarks.report import aligned

EVERY_S = 0.001
TOP = 40
VARIABLE = "BENCH_SAMPLES"

K = TypeVar("K")
Frame = tuple[str, str]
"""(file, function)."""

# The innermost frame that stands here says which layer a sample belongs to: helpers that several layers
# use (canonical.encode, Facts.get, psycopg) stand nowhere, so that they count for who called them.
LAYERS: dict[Frame, str] = {
    ("tests/benchmarks/sampling.py", "*"): "garbage collection",
    ("api/telemetry.py", "Edge._record"): "log line and metrics",
    ("api/exchange.py", "*"): "HTTP: our handler",
    ("api/auth.py", "*"): "API key",
    ("ledger/canonical.py", "parse"): "parse JSON",
    ("ledger/event.py", "parse_event"): "validate",
    ("ledger/event.py", "submission_of"): "canonical bytes of the event",
    ("api/submit.py", "_rendered"): "receipts: encode",
    ("api/submit.py", "_item"): "receipts: encode",
    ("ledger/fold.py", "missing"): "which facts are needed",
    ("policies/engine.py", "Engine.judge"): "judge",
    ("ledger/decision.py", "Decision.body"): "canonical bytes of the decision",
    ("ledger/fold.py", "fold"): "fold",
    ("ledger/fold.py", "entailed"): "fold",
    ("ledger/fold.py", "extend_chain"): "fold",
    ("ledger/batch.py", "*"): "build the entry",
    ("ledger/batch.py", "Batch.grow"): "tree",
    ("ledger/store.py", "Writer.begin"): "SQL: lock, ids, facts",
    ("ledger/store.py", "Writer.load"): "SQL: lock, ids, facts",
    ("ledger/statements.py", "_insert_entries"): "SQL: rows",
    ("ledger/statements.py", "_insert_bodies"): "SQL: rows",
    ("ledger/statements.py", "_insert_links"): "SQL: rows",
    ("ledger/statements.py", "_upsert_facts"): "SQL: facts",
    ("ledger/store.py", "Writer.write"): "SQL: write",
    ("ledger/store.py", "Writer.commit"): "SQL: COMMIT",
    ("ledger/pipeline.py", "_Answer._guarded"): "SQL: answers",
    ("ledger/answers.py", "*"): "receipts: prove",
    ("ledger/checkpoint.py", "sign"): "sign the checkpoint",
    ("ledger/committer.py", "*"): "sequencer",
    ("ledger/sequencer.py", "*"): "sequencer",
    ("api/submit.py", "*"): "HTTP: our handler",
    ("api/telemetry.py", "*"): "HTTP: our handler",
    ("starlette/", "*"): "HTTP: starlette",
    ("uvicorn/", "*"): "HTTP: uvicorn",
}
REST = "event loop and the rest"


class Sampler:
    def __init__(self) -> None:
        self._stacks: defaultdict[tuple[CodeType, ...], float] = defaultdict(float)
        self._last_s = 0.0

    def install(self) -> None:
        signal.signal(signal.SIGUSR1, self._begin)
        signal.signal(signal.SIGUSR2, self._end)
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)

    def _begin(self, _: int, __: FrameType | None) -> None:
        self._stacks.clear()
        self._last_s = time.process_time()
        gc.callbacks.append(self._collected)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append(frame.f_code)
            frame = frame.f_back
        # Not one for each: signals that fall into one call of C arrive as one.
        now = time.process_time()
        self._stacks[tuple(stack)] += now - self._last_s
        self._last_s = now

    def _collected(self, phase: str, found: dict[str, int]) -> None:
        """Of the garbage collector: a signal that fell into its work is handled here, in this frame."""

    def _end(self, _: int, __: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(self._collected)
        found = [
            [seconds, [[code.co_filename, code.co_qualname] for code in stack]]
            for stack, seconds in self._stacks.items()
        ]
        path = Path(os.environ[VARIABLE])
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(found))
        draft.rename(path)


def rendered(samples: str, measured: Measured) -> str:
    """The layers, then the functions in which the time itself was spent."""
    layers: defaultdict[str, float] = defaultdict(float)
    own: defaultdict[Frame, float] = defaultdict(float)
    within: defaultdict[Frame, float] = defaultdict(float)
    for seconds, stack in json.loads(samples):
        frames = [(_short(file), name) for file, name in stack]
        layers[_layer(frames)] += seconds
        own[frames[0]] += seconds
        for frame in set(frames):
            within[frame] += seconds
    total = sum(own.values())
    each = measured.service_us / total

    def row(words: str, seconds: float) -> list[str]:
        return [words, f"{seconds / total:.1%}", f"{seconds * each:.1f}"]

    by_layer = [["layer", "share", "µs an event"]]
    by_layer += [row(name, seconds) for name, seconds in _dearest(layers)]
    by_function = [["function", "share", "µs an event", "with its callees"]]
    by_function += [
        [*row(f"{file} {name}"[-90:], seconds), f"{within[file, name] * each:.1f}"]
        for (file, name), seconds in _dearest(own)[:TOP]
    ]
    title = (
        f"{measured.events_per_s:,.0f} events/s, {measured.service_us:.0f} µs of the service's CPU for"
        f" each, {measured.postgres_us:.0f} of PostgreSQL's; sampled for {total:.1f} s of CPU time"
    )
    return "\n".join([title, "", *aligned(by_layer), "", *aligned(by_function)])


def _dearest(found: Mapping[K, float]) -> list[tuple[K, float]]:
    return sorted(found.items(), key=lambda one: -one[1])


def _layer(frames: Sequence[Frame]) -> str:
    for file, name in frames:
        for known in ((file, name), (file, "*"), (file.partition("/")[0] + "/", "*")):
            if known in LAYERS:
                return LAYERS[known]
    return REST


def _short(file: str) -> str:
    """ledger/batch.py, starlette/requests.py."""
    for mark in ("/site-packages/", f"{Path(__file__).parents[2]}/"):
        _, found, rest = file.rpartition(mark)
        if found:
            return rest
    return "/".join(Path(file).parts[-2:])


def main() -> None:
    from api.cli import main as chipledger

    Sampler().install()
    chipledger()


if __name__ == "__main__":
    main()
