"""Commands that write what the log says, or put the log itself right."""

from __future__ import annotations

import asyncio
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from api import database
from api.console import (
    TAMPERED,
    Home,
    Withhold,
    errors,
    explained,
    fail,
    printable,
    progress,
    say,
    settings_of,
)
from ledger.errors import UnusableInput, VerificationError
from ledger.event import faults_from

app = typer.Typer()


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="File to write, - for standard output.")],
    withhold: Withhold = None,
    home: Home = None,
) -> None:
    """Write the whole log to a file that `chipledger verify` checks without us."""
    from api.export import export_to

    settings = settings_of(home)
    with explained(), database.opened(settings) as logins, progress("exported") as advance:
        size = asyncio.run(export_to(output, settings, logins, advance, withhold or []))
    errors.print(printable(f"{size} entries written to {output}"), soft_wrap=True)


@app.command()
def receipt(
    index: Annotated[int, typer.Argument(help="Position in the log, from 0.", min=0)],
    format: Annotated[  # noqa: A002 # the option's name
        Literal["json", "tlog-proof"], typer.Option(help="Ours, or C2SP tlog-proof.")
    ] = "json",
    home: Home = None,
) -> None:
    """Print a receipt of an entry, under the checkpoint of now."""
    from api.export import receipt_for

    settings = settings_of(home)
    with explained(), database.opened(settings) as logins:
        made = asyncio.run(receipt_for(index, settings, logins))
    typer.echo(made.tlog_proof() if format == "tlog-proof" else made.encode(), nl=format == "json")


@app.command()
def tiles(
    target: Annotated[
        str, typer.Argument(help="Folder to keep in step, made if need be; or a bucket, s3://bucket/prefix.")
    ],
    url: Annotated[
        str | None,
        typer.Option(help="Prefix of a log that is served, such as https://ledger.example/log: mirror that."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="With --url: verifier key of the log, the newest.")] = None,
    was: Annotated[
        list[str] | None,
        typer.Option(help="With --url: a key before it, where what is there is signed by that; repeatable."),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Go on as the log grows.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1, max=86_400)] = 5.0,
    home: Home = None,
) -> None:
    """Write the log as C2SP tlog-tiles for any web server or object store to serve: hashes and headers.

    Out of the database, signed with the key of the home; or with --url out of a log that is served, which
    needs neither. Exit status 1: what is there does not hold, or the log has forked; nothing was rewritten.
    """
    from api.mirror import keep_in_step, served_log, stored_log
    from api.places import target_at

    async def run(logins: database.Logins | None) -> None:
        if logins is not None:
            opened = stored_log(settings, logins)
        elif url is not None and key is not None:
            opened = served_log(url, key, *(was or ()))
        else:
            raise UnusableInput("a log that is served is checked by its key: --url and --key go together")
        async with opened as source:
            await keep_in_step(
                target_at(target), source, every_s=every if follow else None, advance=advance,
                told=lambda words: errors.print(printable(words), soft_wrap=True),
            )  # fmt: skip

    settings = settings_of(home)
    stored = database.opened(settings) if url is None and key is None else nullcontext()
    if follow:  # a supervisor ends it by SIGTERM, and a shell's background job has SIGINT ignored
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with explained(), stored as logins, progress("written") as advance:
        try:
            asyncio.run(run(logins))
        except VerificationError as error:
            fail("REFUSED", str(error), status=TAMPERED)
        except KeyboardInterrupt:
            raise typer.Exit from None


@app.command()
def bundle(
    out: Annotated[Path, typer.Option(help="File to write.")],
    serial: Annotated[str | None, typer.Option(help="The custody chain of a device.")] = None,
    contract: Annotated[str | None, typer.Option(help="A contract, whole.")] = None,
    index: Annotated[str | None, typer.Option(help="These entries: N, or N,M and so on.")] = None,
    party: Annotated[
        str | None, typer.Option(help="Only what this party may see; by default everything.")
    ] = None,
    home: Home = None,
) -> None:
    """Write evidence to take away: entries with proofs, checkpoint, policy documents and a page to read.

    `chipledger verify` checks it without database and service.
    """
    from api.bundle import bundle_to
    from api.schemas import BundleQuery

    with explained():
        try:
            asked = BundleQuery(serial=serial, contract=contract, index=_indexes(index)).asked
        except ValidationError as error:
            raise UnusableInput("; ".join(one.detail for one in faults_from(error.errors()))) from None
        settings = settings_of(home)
        with database.opened(settings) as logins:
            length = asyncio.run(bundle_to(out, asked, settings, logins, party=party))
    errors.print(printable(f"{length:,} bytes written to {out}"), soft_wrap=True)


def _indexes(text: str | None) -> list[int]:
    try:
        return [int(one) for one in text.split(",")] if text is not None else []
    except ValueError:
        raise UnusableInput(f"--index is {text!r}, must be N, or N,M and so on") from None


@app.command()
def recover(
    reason: Annotated[str, typer.Option(help="What happened, for everybody to read in the log.")],
    origin: Annotated[
        str | None, typer.Option(help="The log's new name; by default the old and a suffix.")
    ] = None,
    home: Home = None,
) -> None:
    """Let a log that has lost its end go on, under another name and key, when no newer state is left.

    Its next entry says so, and cites the last checkpoint that was kept outside the database: what the old
    name had signed for stays promised, and is lost. Services must be stopped, and started with the new name.
    """
    from api.rotate import recover as run

    settings = settings_of(home)
    with explained(), database.opened(settings) as logins:
        recovered = run(settings, logins, reason=reason, origin=origin)
    errors.print(
        printable(
            f"the log goes on as {recovered.key.name}; the old key is kept in {recovered.kept}."
            " Start the services anew, and publish the new key"
        ),
        soft_wrap=True,
    )
    say(str(recovered.key))


@app.command()
def erase(
    execute: Annotated[bool, typer.Option(help="Carry it out; else it is only listed.")] = False,
    home: Home = None,
) -> None:
    """List the entries whose bodies are to be erased, or erase them, as accepted requests ask.

    The log says so first, then they go. What was cut short is run again. Backups and exports keep them.
    """
    from api.erase import carry_out, waiting

    settings = settings_of(home)
    with explained(), database.opened(settings) as logins:
        if execute:
            with database.eraser_url(settings) as eraser, progress("folded") as advance:
                lines = asyncio.run(carry_out(settings, logins, eraser, advance))
        else:
            lines = asyncio.run(waiting(logins)).lines() or ["nothing is to be erased"]
    for line in lines:
        say(line)
