"""`chipledger serve`, `doctor` and `demo`."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer
from rich.table import Table

from api.console import TAMPERED, Home, explained, printable, settings_of, show

app = typer.Typer()


@app.command()
def serve(
    home: Home = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=0, max=65_535)] = None,
) -> None:
    """Run the service. Nothing configured: on an embedded PostgreSQL, on 127.0.0.1:8321."""
    from api.server import serve as run

    settings = settings_of(home)
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    with explained():
        run(settings.model_copy(update=changes))


@app.command()
def doctor(home: Home = None) -> None:
    """Look at all that the service needs, in the environment of the service, and change nothing.

    Exit status 0: it can start. 1: something must be put right first. 2: there is nothing to look at.
    """
    from api import database
    from api.doctor import examine

    settings = settings_of(home)
    with explained(), database.untouched(settings) as logins:
        findings = asyncio.run(examine(settings, logins))
    table = Table("", "", "", show_header=False, box=None)
    for finding in findings:
        table.add_row(finding.about, finding.state, printable(finding.words))
    show(table)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(TAMPERED)


@app.command()
def demo(
    home: Home = None,
    once: Annotated[bool, typer.Option(help="End when the play is over.")] = False,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65_535)] = 8321,
) -> None:
    """Play a year of one H200 contract against a service of its own, on simulated data."""
    from api.demo import play

    for end in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: its service must not outlive it
        signal.signal(end, signal.default_int_handler)
    with explained():
        play(settings_of(home), once=once, port=port)
