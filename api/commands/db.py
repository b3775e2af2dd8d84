"""`chipledger db`: the database."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from api import database
from api.console import Home, explained, say, settings_of, show
from api.embedded import Embedded

app = typer.Typer(no_args_is_help=True, help="The database: embedded, or of DATABASE_URL.")


@app.command("status")
def db_status(home: Home = None) -> None:
    """Whether the embedded PostgreSQL runs, and where its data is."""
    settings = settings_of(home)
    if settings.database_url is not None:
        say("DATABASE_URL is set: the database is a server of yours")
        return
    with explained():
        status = Embedded(settings.home).status()
    table = Table("", "", show_header=False, box=None)
    for name in status.__dataclass_fields__:
        table.add_row(name.replace("_", " "), str(getattr(status, name)))
    show(table)


@app.command("stop")
def db_stop(
    home: Home = None,
    force: Annotated[bool, typer.Option(help="Stop it though services use it.")] = False,
) -> None:
    """Stop the embedded PostgreSQL."""
    with explained():
        Embedded(settings_of(home).home).stop(force=force)
    say("stopped")


@app.command("upgrade")
def db_upgrade(home: Home = None) -> None:
    """Bring the schema to the newest version. With DATABASE_URL: an owner's."""
    with explained(), database.owner_url(settings_of(home), begin=True) as url:
        database.prepared(url)
    say("the schema is up to date")
