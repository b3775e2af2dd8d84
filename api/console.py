"""What the commands share: settings, what they say and where, and the statuses with which they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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

from api.settings import Settings
from ledger.errors import LedgerError

console = Console(highlight=False, markup=False, emoji=False)
errors = Console(highlight=False, markup=False, emoji=False, stderr=True)

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="CHIPLEDGER_HOME", help="Folder of key and embedded database."),
]
TAMPERED, UNUSABLE = 1, 2


def settings_of(home: Path | None) -> Settings:
    with explained():
        return Settings() if home is None else Settings(home=home)


@contextmanager
def explained() -> Iterator[None]:
    """Say in a line what went wrong, and exit with 2."""
    try:
        yield
    except (LedgerError, OSError) as error:
        fail(type(error).__name__, str(error))
    except ValidationError as error:
        fail("setting", "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    except psycopg.OperationalError as error:
        fail("database", str(error))
    except (psycopg.Error, SQLAlchemyError) as error:
        # Not in its own words: those about a URL that cannot be read quote it, and the password in it.
        fail("database", f"cannot be used as DATABASE_URL names it ({type(error).__name__})")


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
