"""`chipledger facts`: the fold of the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from api import database
from api.console import TAMPERED, Home, explained, progress, say, settings_of

app = typer.Typer(no_args_is_help=True, help="Facts: the fold of the log.")


@app.command("check")
def facts_check(home: Home = None) -> None:
    """Rebuild every fact from the log, in memory, and compare with what is stored."""
    _rebuild(home, write=False)


@app.command("rebuild")
def facts_rebuild(home: Home = None) -> None:
    """Rebuild every fact from the log, and put the result in place of what is stored."""
    _rebuild(home, write=True)


def _rebuild(home: Path | None, *, write: bool) -> None:
    from ledger.rebuild import compare, replace

    settings = settings_of(home)
    with explained(), database.opened(settings) as logins, progress("folded") as advance:
        differences = asyncio.run(compare(logins.reader, advance))
        if write and differences:
            with database.owner_url(settings) as owner:
                asyncio.run(replace(owner, logins.reader, advance))
    for difference in differences[:50]:
        say(str(difference))
    done = " and put right" if write and differences else ""
    say(f"{len(differences)} facts differ from the log{done}")
    if differences and not write:
        raise typer.Exit(TAMPERED)
