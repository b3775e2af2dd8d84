"""What the commands share: settings, what they say and where, and the statuses with which they end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ledger.errors import LedgerError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from api.settings import Settings

console = Console(highlight=False, markup=False, emoji=False)
errors = Console(highlight=False, markup=False, emoji=False, stderr=True)

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="CHIPLEDGER_HOME", help="Folder of key and embedded database."),
]
Withhold = Annotated[
    list[str] | None,
    typer.Option(help="A body that is not shown: event or decision, or such as event:invoice.issued."),
]
TAMPERED, UNUSABLE = 1, 2


def many(number: int, one: str, more: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {one if number == 1 else more}"


def settings_of(home: Path | None) -> Settings:
    from api.settings import Settings

    with explained():
        return Settings() if home is None else Settings(home=home)


def signing_passphrase() -> bytes | None:
    passphrase = settings_of(None).signing_passphrase
    return passphrase.get_secret_value().encode() if passphrase is not None else None


@contextmanager
def explained() -> Iterator[None]:
    """Say in a line what went wrong, and exit with 2."""
    try:
        yield
    except LedgerError as error:
        fail(type(error).__name__, str(error))
    except OSError as error:
        fail("unusable", of_file(error))
    except Exception as error:
        words = _of_others(error)
        if words is None:
            raise
        fail(*words)


def of_file(error: OSError) -> str:
    """Which file, and what is wrong with it, as far as the system says."""
    named = error.filename is not None and error.strerror is not None
    return f"{os.fsdecode(error.filename)}: {error.strerror}" if named else str(error)


def _of_others(error: Exception) -> tuple[str, str] | None:
    """What a library's error comes to. They are imported here, for most commands need none of them."""
    import psycopg
    from pydantic import ValidationError
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, ValidationError):
        return "setting", "; ".join(map(_of_setting, error.errors()))
    if isinstance(error, psycopg.OperationalError):
        return "database", str(error)
    cause = getattr(error, "orig", error)  # of SQLAlchemy's
    if isinstance(cause, psycopg.ProgrammingError) and cause.sqlstate is None:  # libpq cannot read the URL
        return "database", "its URL must be like postgresql://USER:PASSWORD@HOST/DATABASE"
    if isinstance(error, psycopg.Error | SQLAlchemyError):
        # Not in its own words: those about a URL that cannot be read quote it, and the password in it.
        return "database", f"cannot be used as DATABASE_URL names it ({type(error).__name__})"
    return None


def _of_setting(fault: ErrorDetails) -> str:
    """By the name of its variable; without its value, which may be a secret."""
    name = ".".join(map(str, fault["loc"]))
    variable = name if name.isupper() else f"CHIPLEDGER_{name.upper()}"
    return f"{variable}: {fault['msg'].removeprefix('Value error, ')}"


def fail(word: str, why: str, *, status: int = UNUSABLE) -> NoReturn:
    errors.print(Text.assemble((word, "red"), f" {printable(why)}"), soft_wrap=True)
    raise typer.Exit(status) from None


def say(words: str) -> None:
    console.print(printable(words), soft_wrap=True)


def show(table: Table) -> None:
    """A line for each row wherever it is not a terminal that is too narrow; nothing is cut off."""
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    if not console.is_terminal:
        console.width = 1_000
    console.print(table)


def printable(text: str) -> str:
    """Controls are shown as escapes: what is told may come out of a file that somebody else wrote."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class Bar:
    def __init__(self, shown: Progress, words: str) -> None:
        self._shown, self._task = shown, shown.add_task(words, total=None)

    def __call__(self, done: int, total: int) -> None:
        self._shown.update(self._task, completed=done, total=total)


@contextmanager
def progress(words: str) -> Iterator[Bar]:
    """A progress bar on a terminal, and nothing where standard error is none."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=errors, transient=True, disable=not errors.is_terminal,
    ) as shown:  # fmt: skip
        yield Bar(shown, words)
