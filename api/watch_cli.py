"""`chipledger watch` and `chipledger drill`: looks at a log from outside the service, and rehearsals."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api import database
from api.anchors import vouchers_of
from api.console import TAMPERED, Home, errors, explained, fail, progress, say, settings_of, show
from api.examine.examiner import Examiner
from api.examine.look import Pace
from api.settings import Settings
from api.watch import Intervals, Run, Watch
from ledger.beside import Vouchers
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import Unavailable, UnusableInput
from ledger.findings import DEPTHS, Depth
from ledger.note import Verifier
from ledger.watch_memory import MemoryFile

NICE = 10
app = typer.Typer()
Witnesses = Annotated[
    Path | None,
    typer.Option(help="Whose cosignatures count (C2SP tlog-policy); by default as the service is set."),
]
Roots = Annotated[
    Path | None, typer.Option(help="Certificates, PEM, to which timestamps must lead; likewise.")
]
drill_app = typer.Typer(no_args_is_help=True, help="Rehearsals, on a copy of the log.")


@app.command()
def watch(
    key: Annotated[
        str,
        typer.Option(envvar="CHIPLEDGER_VERIFIER_KEY", help="Verifier key of the log, obtained elsewhere."),
    ],
    store: Annotated[Path, typer.Option(help="Folder of this watch: what it knows of the log.")],
    once: Annotated[bool, typer.Option(help="One look, and no more.")] = False,
    depth: Annotated[str, typer.Option(help="With --once: head, tail or all.")] = "all",
    explain: Annotated[
        str | None, typer.Option(help="Say what came of the failures that were found, and end.")
    ] = None,
    witnesses: Witnesses = None,
    timestamp_roots: Roots = None,
    home: Home = None,
) -> None:
    """Look at the log of a database again and again: the head and facts, the tail, everything.

    Needs no more than to read: CHIPLEDGER_READER_URL. Exit status 0: it holds. 1: damaged, or an earlier
    failure is unexplained. 2: unusable input.
    """
    with explained():
        if depth not in DEPTHS:
            raise UnusableInput(f"depth is {depth}, must be {', '.join(DEPTHS)}")
        settings, verifier = settings_of(home), Verifier.parse(key)
        memory = MemoryFile(store, verifier.name)
        if not memory.hold():
            raise Unavailable(f"another process watches with {store}")
        with closing(memory), _reader(settings) as reader:
            kept = CheckpointStore.in_folder(store, verifier.name)
            vouchers = _vouchers(settings, witnesses, timestamp_roots)
            looks = Watch(
                reader, verifier, kept, memory, Examiner(verifier, pace=Pace(), vouchers=vouchers)
            )  # fmt: skip
            if explain is not None:
                for failure in asyncio.run(looks.explain(explain)):
                    say(f"explained: {failure.finding}")
            elif once:
                sound = asyncio.run(_look(looks, depth))
            else:
                sound = asyncio.run(_watch(looks, settings))
    if explain is None and not sound:
        raise typer.Exit(TAMPERED)


@contextmanager
def _reader(settings: Settings) -> Iterator[str]:
    if settings.reader_url is not None:
        yield settings.reader_url.get_secret_value()
        return
    with database.opened(settings) as logins:
        yield logins.reader


def _vouchers(settings: Settings, witnesses: Path | None, roots: Path | None) -> Vouchers:
    return vouchers_of(witnesses or settings.witness_policy, roots or settings.timestamp_roots)


async def _watch(looks: Watch, settings: Settings) -> bool:
    """Until something is found. All of it first: facts are compared with what was folded by this process."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    intervals = Intervals.of(settings)
    first: Depth | None = "all"
    while True:
        depth = first or intervals.due(await looks.remember(), datetime.now(UTC))
        if depth is not None:
            try:
                if not await _look(looks, depth):
                    return False
                first = None
            except Unavailable as error:
                errors.print(str(error), soft_wrap=True)
        await asyncio.sleep(1)


async def _look(looks: Watch, depth: str) -> bool:
    assert depth in DEPTHS
    with progress("looked at") as advance:
        run = await looks.run(depth, advance)
    for line in words_of(run):
        say(line)
    if run.key != looks.verifier:
        say(f"  the log has handed over: its key is {run.key} now")
    return run.result == "intact"


def words_of(run: Run) -> list[str]:
    """What a look came to, in lines."""
    at = run.ended.isoformat(timespec="seconds")
    read = f"entries {run.first} to {run.size - 1}" if run.size > run.first else "no entry"
    done = f"{run.depth}, {read}, {run.judged:,} decisions, {run.facts:,} facts; root {run.root.hex()}"
    lines = [f"{at} {run.result.upper()} {done}"]
    lines += [f"  {finding}" for finding in run.findings]
    if run.findings_count > len(run.findings):
        lines.append(f"  and {run.findings_count - len(run.findings):,} findings more")
    if run.result == "unexplained":
        lines += [f"  not explained, found {f.found_at}: {f.finding}" for f in run.failures[:20]]
    return lines


@drill_app.command("tamper")
def drill_tamper(
    rounds: Annotated[int, typer.Option(help="Places for each kind of damage.", min=1, max=10_000)] = 20,
    seed: Annotated[int, typer.Option(help="Picks the places.")] = 1,
    witnesses: Witnesses = None,
    timestamp_roots: Roots = None,
    home: Home = None,
) -> None:
    """Damage a copy of the log in every way we know: each must be found, and where.

    The log itself is read and left alone. Needs an owner's DATABASE_URL that may create databases, or the
    embedded server. Exit status 0: all was found and located. 1: something was not.
    """
    from api.drill import copy_log, run, scratch

    settings = settings_of(home)
    with explained(), database.owner_url(settings) as owner, scratch(owner) as copy:
        vouchers = _vouchers(settings, witnesses, timestamp_roots)
        copy_log(owner, copy)
        with progress("damaged") as advance:
            tallies, not_tried = asyncio.run(run(copy, rounds, seed, advance, vouchers))
    table = Table("damage", "done", "found", "located", "by the database alone", box=None)
    for tally in tallies:
        counts = (tally.tried, tally.found, tally.located, tally.alone)
        table.add_row(tally.name.replace("_", " "), *map(str, counts))
    show(table)
    if not_tried:
        say(f"not tried, for the log has nothing of the kind: {', '.join(not_tried).replace('_', ' ')}")
    missed = [words for tally in tallies for words in tally.missed]
    for words in missed[:50]:
        say(f"missed: {words}")
    if missed:
        fail("MISSED", f"{len(missed)} were not found, or not where they were", status=TAMPERED)
