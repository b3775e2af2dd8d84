"""`chipledger`: the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import psycopg
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from api import database, keys
from api.embedded import Embedded
from api.settings import Settings
from ledger.errors import LedgerError, UnusableInput, VerificationError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="An append-only, hash-chained, policy-judged ledger for licensed chips.",
)  # fmt: skip
db_app = typer.Typer(no_args_is_help=True, help="The database: embedded, or of DATABASE_URL.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys.")
facts_app = typer.Typer(no_args_is_help=True, help="Facts: the fold of the log.")
app.add_typer(db_app, name="db")
app.add_typer(keys_app, name="keys")
app.add_typer(facts_app, name="facts")

console = Console(highlight=False, markup=False, emoji=False)
errors = Console(highlight=False, markup=False, emoji=False, stderr=True)

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="CHIPLEDGER_HOME", help="Folder of key and embedded database."),
]
TAMPERED, UNUSABLE = 1, 2


def _settings(home: Path | None) -> Settings:
    with _explained():
        return Settings() if home is None else Settings(home=home)


@contextmanager
def _explained() -> Iterator[None]:
    """Say in a line what went wrong, and exit with 2."""
    try:
        yield
    except (LedgerError, OSError) as error:
        _fail(type(error).__name__, str(error))
    except ValidationError as error:
        _fail("setting", "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    except psycopg.OperationalError as error:
        _fail("database", str(error))
    except (psycopg.Error, SQLAlchemyError) as error:
        # Not in its own words: those about a URL that cannot be read quote it, and the password in it.
        _fail("database", f"cannot be used as DATABASE_URL names it ({type(error).__name__})")


def _fail(word: str, why: str, *, status: int = UNUSABLE) -> NoReturn:
    errors.print(Text.assemble((word, "red"), f" {_printable(why)}"), soft_wrap=True)
    raise typer.Exit(status) from None


def _say(words: str) -> None:
    console.print(_printable(words), soft_wrap=True)


def _show(table: Table) -> None:
    """A line for each row wherever it is not a terminal that is too narrow; nothing is cut off."""
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    if not console.is_terminal:
        console.width = 1_000
    console.print(table)


def _printable(text: str) -> str:
    """Controls are shown as escapes: what is told may come out of a file that somebody else wrote."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


@app.command()
def serve(
    home: Home = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Run the service. Nothing configured: on an embedded PostgreSQL, on 127.0.0.1:8321."""
    from api.server import serve as run

    settings = _settings(home)
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    with _explained():
        run(settings.model_copy(update=changes))


@app.command()
def demo(
    home: Home = None,
    once: Annotated[bool, typer.Option(help="End when the play is over.")] = False,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8321,
) -> None:
    """Play a year of one H200 contract against a service of its own, on simulated data."""
    from api.demo import play

    with _explained():
        play(_settings(home), once=once, port=port)


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="File to write, - for standard output.")],
    home: Home = None,
) -> None:
    """Write the whole log to a file that `chipledger verify` checks without us."""
    from api.export import export_to

    settings = _settings(home)
    with _explained(), database.opened(settings) as logins, _progress("exported") as advance:
        size = asyncio.run(export_to(output, settings, logins, advance))
    errors.print(_printable(f"{size} entries written to {output}"), soft_wrap=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="An export.", exists=False)],
    key: Annotated[str | None, typer.Option(help="Verifier key of the log, obtained elsewhere.")] = None,
    receipt: Annotated[
        list[Path] | None, typer.Option(help="A receipt that the log must honour; repeatable.")
    ] = None,
) -> None:
    """Check an export: every byte, both chains, every commitment, the root, the receipts.

    Needs no database and no service. Exit status 0: it holds. 1: tampered. 2: unusable input.
    """
    from api.export import verify_file

    try:
        with _progress("verified") as advance:
            report = verify_file(file, key=key, receipts=receipt or [], advance=advance)
    except VerificationError as error:
        _fail("TAMPERED", str(error), status=TAMPERED)
    except (UnusableInput, OSError) as error:
        _fail("unusable", str(error))
    for line in report:
        _say(line)


@facts_app.command("check")
def facts_check(home: Home = None) -> None:
    """Rebuild every fact from the log, in memory, and compare with what is stored."""
    _rebuild(home, write=False)


@facts_app.command("rebuild")
def facts_rebuild(home: Home = None) -> None:
    """Rebuild every fact from the log, and put the result in place of what is stored."""
    _rebuild(home, write=True)


def _rebuild(home: Path | None, *, write: bool) -> None:
    from ledger.rebuild import compare, replace

    settings = _settings(home)
    with _explained(), database.opened(settings) as logins, _progress("folded") as advance:
        differences = asyncio.run(compare(logins.reader, advance))
        if write and differences:
            with database.owner_url(settings) as owner:
                asyncio.run(replace(owner, logins.reader, advance))
    for difference in differences[:50]:
        _say(str(difference))
    done = " and put right" if write and differences else ""
    _say(f"{len(differences)} facts differ from the log{done}")
    if differences and not write:
        raise typer.Exit(TAMPERED)


# --- the database ---------------------------------------------------------------------------------


@db_app.command("status")
def db_status(home: Home = None) -> None:
    """Whether the embedded PostgreSQL runs, and where its data is."""
    settings = _settings(home)
    if settings.database_url is not None:
        _say("DATABASE_URL is set: the database is a server of yours")
        return
    with _explained():
        status = Embedded(settings.home).status()
    table = Table("", "", show_header=False, box=None)
    for name in status.__dataclass_fields__:
        table.add_row(name.replace("_", " "), str(getattr(status, name)))
    _show(table)


@db_app.command("stop")
def db_stop(
    home: Home = None,
    force: Annotated[bool, typer.Option(help="Stop it though services use it.")] = False,
) -> None:
    """Stop the embedded PostgreSQL."""
    with _explained():
        Embedded(_settings(home).home).stop(force=force)
    _say("stopped")


@db_app.command("upgrade")
def db_upgrade(home: Home = None) -> None:
    """Bring the schema to the newest version. With DATABASE_URL: an owner's."""
    with _explained(), database.owner_url(_settings(home)) as url:
        database.prepared(url)
    _say("the schema is up to date")


# --- keys -----------------------------------------------------------------------------------------


@keys_app.command("create")
def keys_create(
    role: Annotated[str, typer.Argument(help="submitter, auditor, regulator or operator")],
    party: Annotated[str | None, typer.Option(help="Whom it speaks for.")] = None,
    label: Annotated[str, typer.Option(help="For people to recognise it by.")] = "",
    days: Annotated[int | None, typer.Option(help="Days until it expires.", min=1, max=36_500)] = None,
    home: Home = None,
) -> None:
    """Make a key. It is shown once: only its digest is kept."""
    expires = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    with _explained(), database.owner_url(_settings(home)) as url:
        database.prepared(url)
        new = keys.create(url, role, party=party, label=label, expires_at=expires)
    errors.print(f"key {new.id}, shown once:")
    _say(new.token)


@keys_app.command("list")
def keys_list(home: Home = None) -> None:
    """Every key, without its secret."""
    with _explained(), database.owner_url(_settings(home)) as url:
        database.prepared(url)
        found = keys.listed(url)
    table = Table("id", "role", "party", "label", "created", "expires", "revoked", box=None)
    for key in found:
        times = (key.created_at, key.expires_at, key.revoked_at)
        cells = (time.strftime("%Y-%m-%d %H:%M") if time else "" for time in times)
        table.add_row(key.id, key.role, key.party or "", _printable(key.label), *cells)
    _show(table)


@keys_app.command("revoke")
def keys_revoke(key_id: str, home: Home = None) -> None:
    """End a key. Running services take it for 5 more seconds at most."""
    with _explained(), database.owner_url(_settings(home)) as url:
        keys.revoke(url, key_id)
    _say(f"key {key_id} is revoked")


class _Bar:
    def __init__(self, progress: Progress, words: str) -> None:
        self._progress, self._task = progress, progress.add_task(words, total=None)

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def _progress(words: str) -> Iterator[_Bar]:
    """A progress bar on a terminal, and nothing where standard error is none."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=errors, transient=True, disable=not errors.is_terminal,
    ) as progress:  # fmt: skip
        yield _Bar(progress, words)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
