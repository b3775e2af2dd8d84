"""`make bench`: the ledger against the naive design, raw COPY and the hash-only ceiling.

    python -m tests.benchmarks [--quick] [--policies] [--json FILE] [--profile]

The contenders take turns in every round, on one PostgreSQL and one machine, for absolute rates move
with the hour: what counts are the ratios of a round, and their median. A timing fails nothing; a
contender that answers wrongly fails the run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from api.embedded import Embedded
from api.held import Held
from api.replay import replay_file
from api.verify import verify_file
from tests.benchmarks import (
    attestations,
    contenders,
    deciding,
    floor,
    replaying,
    report,
    sampling,
    verify,
)
from tests.benchmarks.contenders import Service
from tests.benchmarks.deciding import Deciding
from tests.benchmarks.load import BenchFailed, Measured, Plan
from tests.benchmarks.report import Round, Verification


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything takes."""

    rounds: int
    warm_s: float
    measure_s: float
    floor_s: float
    log_entries: int
    """Of the log that is replayed where no service was measured."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A load: so many clients, so many events in a request."""

    name: str
    path: str
    clients: int
    events: int
    rate_max: int
    """Events a second that requests are made for beforehand."""


FULL = Pace(rounds=3, warm_s=1.0, measure_s=4.0, floor_s=1.5, log_entries=20_000)
QUICK = Pace(rounds=1, warm_s=0.3, measure_s=0.7, floor_s=0.3, log_entries=2_000)
PROFILE = Pace(rounds=1, warm_s=2.0, measure_s=20.0, floor_s=0.0, log_entries=0)

NAIVE = (
    Shape(report.NAIVE_1, "/events", 1, 1, 4_000),
    Shape(report.NAIVE_64, "/events", 64, 1, 4_000),
)
NAIVE_ORM = (Shape(report.ORM_64, "/events", 64, 1, 4_000),)
SINGLES = Shape(report.OURS_64, "/v1/events", 64, 1, 15_000)
BATCHES = Shape(report.OURS_BATCH, "/v1/events:batch", 8, 100, 40_000)
OURS = (Shape(report.OURS_1, "/v1/events", 1, 1, 4_000), SINGLES, BATCHES)
FLOOR_ROWS = (32, 1_000)


class Bench:
    """One PostgreSQL and what is measured on it."""

    def __init__(self, server: Embedded, folder: Path, pace: Pace) -> None:
        self.server = server
        self.folder = folder
        self.pace = pace

    def measure(self, service: Service, shape: Shape, *, sampled: bool = False) -> Measured:
        self.checkpoint()
        seconds = self.pace.warm_s + self.pace.measure_s
        postgres = self.server.status().pid
        assert postgres is not None
        plan = Plan(
            port=service.port,
            path=shape.path,
            token=service.token,
            clients=shape.clients,
            events=shape.events,
            warm_s=self.pace.warm_s,
            measure_s=self.pace.measure_s,
            requests_max=int(shape.rate_max * seconds / shape.events),
            service=service.process,
            postgres=postgres,
            sampled=sampled,
        )
        return Measured.by(plan)

    def checkpoint(self) -> None:
        """PostgreSQL's own, so that none falls into one contender's time by chance."""
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def verified(self) -> Verification:
        """Export the log that the load made, and check it as an outsider would."""
        path = self.folder / "log.export"
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "api.cli", "export", str(path)],
            env=contenders.environment(self.server, self.folder), check=True, capture_output=True,
        )  # fmt: skip
        return checked(path, self.pace.rounds, export_s=time.perf_counter() - began)


def checked(path: Path, rounds: int, *, export_s: float) -> Verification:
    """An export hashed, verified and replayed, in turns. Raises BenchFailed where it does not hold."""
    hash_s, verify_s, replay_s = [], [], []
    for _ in range(rounds):
        hash_s.append(_seconds(lambda: verify._hash(path)))
        verify_s.append(_seconds(lambda: verify_file(path, Held(), _quiet)))
        replay_s.append(_seconds(lambda: _replay(path)))
    with path.open("rb") as file:
        entries = json.loads(file.readline())["size"]
    return Verification(entries, path.stat().st_size / 1e6, export_s, hash_s, verify_s, replay_s)


def _replay(path: Path) -> None:
    if (difference := replay_file(path, _quiet).difference) is not None:
        raise BenchFailed("\n".join(difference.lines()))


def policies(pace: Pace) -> tuple[Verification, Deciding]:
    """Deciding and replay alone, on a log that is made in memory."""
    with tempfile.TemporaryDirectory(prefix="chipledger-bench-") as folder:
        path = Path(folder) / "log.export"
        _say(f"a log of {pace.log_entries:,} attestations")
        export_s = _seconds(lambda: replaying.write(path, pace.log_entries))
        _say("verification, replay, deciding")
        return checked(path, pace.rounds, export_s=export_s), deciding.measure(pace.rounds)


def compare(bench: Bench) -> tuple[list[Round], Verification]:
    """All rounds."""
    server, folder = bench.server, bench.folder
    with ExitStack() as stack:
        _say("starting the contenders")
        floor_url, rows = contenders.floor_database(server), floor.rows(bench.pace.floor_s)
        ours = stack.enter_context(contenders.chipledger(server, folder))
        naive = stack.enter_context(contenders.naive_service(server, "asyncpg", folder))
        entries = [(naive, shape) for shape in NAIVE]
        if find_spec("greenlet"):
            orm = stack.enter_context(contenders.naive_service(server, "orm", folder))
            entries += [(orm, shape) for shape in NAIVE_ORM]
        else:
            _say("the naive ORM is left out: SQLAlchemy's asyncio needs greenlet, which is not installed")
        entries += [(ours, shape) for shape in OURS]
        rounds = []
        for number in range(1, bench.pace.rounds + 1):
            round_ = Round()
            for transaction in FLOOR_ROWS:
                _say(f"round {number}: raw COPY, {transaction:,} rows a transaction")
                bench.checkpoint()
                round_.floor[transaction] = floor.rows_per_s(
                    floor_url, rows, transaction=transaction, seconds=bench.pace.floor_s
                )
            for service, shape in entries:
                _say(f"round {number}: {shape.name}")
                round_.load[shape.name] = bench.measure(service, shape)
            rounds.append(round_)
        _say("export and verification")
        return rounds, bench.verified()


def profile(bench: Bench) -> None:
    """Print where the CPU time of the service goes, for single events and for batches."""
    samples = bench.folder / "samples.json"
    os.environ[sampling.VARIABLE] = str(samples)
    with contenders.chipledger(bench.server, bench.folder, module="tests.benchmarks.sampling") as service:
        for shape in (SINGLES, BATCHES):
            _say(f"profile: {shape.name}")
            samples.unlink(missing_ok=True)
            measured = bench.measure(service, shape, sampled=True)
            _wait_for(samples)
            print(f"{shape.name}: {sampling.rendered(samples.read_text(), measured)}\n", flush=True)


@contextmanager
def _bench(pace: Pace) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="chipledger-bench-") as folder:
        home = Path(folder)
        with Embedded(home / "database") as server:
            yield Bench(server, home, pace)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _wait_for(path: Path, *, attempts: int = 200) -> None:
    for _ in range(attempts):
        if path.exists():
            return
        time.sleep(0.05)
    raise BenchFailed("the sampler has written nothing")


def _quiet(done: int, total: int) -> None:
    return


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there too")
    parser.add_argument("--profile", action="store_true", help="sample the service instead of comparing")
    parser.add_argument("--policies", action="store_true", help="measure deciding and replay alone")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}; one event is"
        f" {len(attestations.body(0))} bytes of canonical JSON and speaks of"
        f" {attestations.PER_EVENT} devices",
        flush=True,
    )
    pace = PROFILE if options.profile else QUICK if options.quick else FULL
    rounds: list[Round] = []
    try:
        if options.policies:
            verified, decided = policies(pace)
        else:
            with _bench(pace) as bench:
                if options.profile:
                    profile(bench)
                    return
                rounds, verified = compare(bench)
            decided = deciding.measure(pace.rounds)
    except BenchFailed as error:
        sys.exit(f"the bench failed: {error}")
    print(report.rendered(rounds, verified, decided))
    if options.json:
        found = {
            "rounds": [asdict(one) for one in rounds],
            "verification": asdict(verified),
            "deciding": asdict(decided),
            "ratios": [
                {"what": r.what, "found": r.found, "must": r.must, "aim": r.aim, "below": r.below}
                for r in report.ratios(rounds, verified, decided)
            ],
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
