"""`chipledger replay` and `explain`: decisions, made again and put into words."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from api import database
from api.console import TAMPERED, Home, explained, progress, say, settings_of
from api.schemas import INDEX_MAX
from ledger.rebuild import Difference
from policies.words import LANGUAGES, Tag

app = typer.Typer()


@app.command()
def replay(
    file: Annotated[
        Path | None, typer.Argument(help="An export; by default the log of the database.", exists=False)
    ] = None,
    home: Home = None,
) -> None:
    """Judge a log again from its first entry: every decision and every fact must come out as committed.

    Whether hashes and signatures hold is for `verify`. Exit status 0: identical. 1: the first difference,
    explained. 2: unusable input.
    """
    from api.replay import replay_database, replay_file, words_of

    with explained():
        settings = settings_of(home)
        begun = time.monotonic()
        facts: list[Difference] | None = None
        with progress("replayed") as advance:
            if file is not None:
                outcome = replay_file(file, advance)
            else:
                with database.opened(settings) as logins:
                    outcome, facts = asyncio.run(replay_database(logins.reader, advance))
    for line in words_of(outcome, facts, seconds=time.monotonic() - begun):
        say(line)
    if outcome.difference is not None or facts:
        raise typer.Exit(TAMPERED)


@app.command()
def explain(
    index: Annotated[int, typer.Argument(help="Which entry, from 0.", min=0, max=INDEX_MAX)],
    lang: Annotated[Tag, typer.Option(help="English or Chinese.")] = "en",
    file: Annotated[
        Path | None, typer.Option(help="An export; by default the log of the database.", exists=False)
    ] = None,
    home: Home = None,
) -> None:
    """Say in plain words what was decided on an entry, by which clauses, and what follows from it.

    Whether an export holds is for `verify`. Exit status 2: there is no such entry, or it is withheld.
    """
    from api.explain_cli import entry_in_database, entry_in_file, say_explanation

    with explained():
        if file is not None:
            told = entry_in_file(file, index)
        else:
            settings = settings_of(home)
            with database.opened(settings) as logins:
                told = asyncio.run(entry_in_database(logins.reader, index))
        say_explanation(told, LANGUAGES[lang])
