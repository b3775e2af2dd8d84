"""`chipledger`: the command line."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.table import Table

from api import database, keys
from api.console import (
    TAMPERED,
    Home,
    errors,
    explained,
    fail,
    printable,
    progress,
    say,
    settings_of,
    show,
)
from api.embedded import Embedded
from api.policy_cli import policy_app
from api.schemas import INDEX_MAX
from api.watch_cli import drill_app, watch
from api.webhooks.cli import listen, webhooks_app
from ledger.errors import UnusableInput, VerificationError
from ledger.rebuild import Difference
from policies.words import LANGUAGES, Tag

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="An append-only, hash-chained, policy-judged ledger for licensed chips.",
)  # fmt: skip
db_app = typer.Typer(no_args_is_help=True, help="The database: embedded, or of DATABASE_URL.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys, and keys to sign events with.")
facts_app = typer.Typer(no_args_is_help=True, help="Facts: the fold of the log.")
app.add_typer(db_app, name="db")
app.add_typer(keys_app, name="keys")
app.add_typer(facts_app, name="facts")
app.add_typer(policy_app, name="policy")
app.add_typer(drill_app, name="drill")
app.command()(watch)
app.add_typer(webhooks_app, name="webhooks")
app.command()(listen)


Withhold = Annotated[
    list[str] | None,
    typer.Option(help="A body that is not shown: event or decision, or such as event:invoice.issued."),
]


@app.command()
def serve(
    home: Home = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Run the service. Nothing configured: on an embedded PostgreSQL, on 127.0.0.1:8321."""
    from api.server import serve as run

    settings = settings_of(home)
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    with explained():
        run(settings.model_copy(update=changes))


@app.command()
def demo(
    home: Home = None,
    once: Annotated[bool, typer.Option(help="End when the play is over.")] = False,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8321,
) -> None:
    """Play a year of one H200 contract against a service of its own, on simulated data."""
    from api.demo import play

    with explained():
        play(settings_of(home), once=once, port=port)


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
    folder: Annotated[Path, typer.Argument(help="Folder to keep in step; made if need be.")],
    url: Annotated[
        str | None,
        typer.Option(help="Prefix of a log that is served, such as https://ledger.example/log: mirror that."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="With --url: verifier key of the log.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on as the log grows.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1, max=86_400)] = 5.0,
    home: Home = None,
) -> None:
    """Write the log as C2SP tlog-tiles to a folder that any web server can serve: hashes and headers.

    Out of the database, signed with the key of the home; or with --url out of a log that is served, which
    needs neither. Exit status 1: what is there does not hold, or the log has forked; nothing was rewritten.
    """
    from api.mirror import keep_in_step, served_log, stored_log

    async def run(logins: database.Logins | None) -> None:
        if logins is not None:
            opened = stored_log(settings, logins)
        elif url is not None and key is not None:
            opened = served_log(url, key)
        else:
            raise UnusableInput("a log that is served is checked by its key: --url and --key go together")
        async with opened as (source, verifier):
            await keep_in_step(
                folder, source, verifier, every_s=every if follow else None, advance=advance,
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
            raise UnusableInput("; ".join(one["msg"] for one in error.errors())) from None
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
def verify(
    file: Annotated[
        Path, typer.Argument(help="An export, a folder of tiles, or an evidence bundle.", exists=False)
    ],
    key: Annotated[str | None, typer.Option(help="Verifier key of the log, obtained elsewhere.")] = None,
    receipt: Annotated[
        list[Path] | None,
        typer.Option(help="A receipt, JSON or tlog-proof, that the log must honour; repeatable."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint kept elsewhere, that the log must continue; repeatable."),
    ] = None,
    witnesses: Annotated[
        Path | None, typer.Option(help="Whose cosignatures the checkpoints must have (C2SP tlog-policy).")
    ] = None,
    timestamp: Annotated[
        list[Path] | None, typer.Option(help="A timestamp of such a checkpoint (RFC 3161); repeatable.")
    ] = None,
    timestamp_roots: Annotated[
        Path | None, typer.Option(help="Certificates, PEM, that the timestamps must lead to.")
    ] = None,
) -> None:
    """Check an export: every byte, both chains, every commitment, the root, the receipts.

    Or an evidence bundle: each entry, what was shown whole, and each recorded comparison, made again.

    Or a folder of tiles: every header, both chains, every tile, the root, the receipts. A tlog-proof shows no
    entry: what is checked is that the entry there, as the log has it now, is the one that it was made for.
    Needs no database and no service. Exit status 0: it holds. 1: tampered. 2: unusable input.
    """
    from api.export import verify_file
    from api.held import Held

    held = Held(key, receipt or (), checkpoint or (), witnesses, timestamp or (), timestamp_roots)
    try:
        with progress("verified") as advance:
            report = verify_file(file, held, advance)
    except VerificationError as error:
        fail("TAMPERED", str(error), status=TAMPERED)
    except (UnusableInput, OSError) as error:
        fail("unusable", str(error))
    for line in report:
        say(line)


@app.command()
def sign(
    event: Annotated[Path, typer.Argument(help="An event, or one that is signed; - for standard input.")],
    key: Annotated[list[Path], typer.Option(help="File of a private key (PKCS #8, PEM); repeatable.")],
) -> None:
    """Sign an event with a key of yours: the envelope to post in its place (DSSE), on standard output.

    Needs no database and no service. Of an encrypted key CHIPLEDGER_SIGNING_PASSPHRASE has the passphrase.
    """
    from api.signing import load, sign_file

    with explained():
        passphrase = _signing_passphrase()
        say(sign_file(event, [load(path, passphrase=passphrase) for path in key]).decode())


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


# --- the database ---------------------------------------------------------------------------------


@db_app.command("status")
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


@db_app.command("stop")
def db_stop(
    home: Home = None,
    force: Annotated[bool, typer.Option(help="Stop it though services use it.")] = False,
) -> None:
    """Stop the embedded PostgreSQL."""
    with explained():
        Embedded(settings_of(home).home).stop(force=force)
    say("stopped")


@db_app.command("upgrade")
def db_upgrade(home: Home = None) -> None:
    """Bring the schema to the newest version. With DATABASE_URL: an owner's."""
    with explained(), database.owner_url(settings_of(home)) as url:
        database.prepared(url)
    say("the schema is up to date")


# --- keys -----------------------------------------------------------------------------------------


@keys_app.command("create")
def keys_create(
    role: Annotated[str, typer.Argument(help="submitter, auditor, regulator or operator")],
    party: Annotated[str | None, typer.Option(help="Whom it speaks for.")] = None,
    label: Annotated[str, typer.Option(help="For people to recognise it by.")] = "",
    days: Annotated[int | None, typer.Option(help="Days until it expires.", min=1, max=36_500)] = None,
    rate: Annotated[
        int | None, typer.Option(help="Events a minute that it may send.", min=1, max=10**9)
    ] = None,
    denials: Annotated[
        int | None, typer.Option(help="Refusals an hour that it may cause.", min=1, max=10**9)
    ] = None,
    withhold: Withhold = None,
    home: Home = None,
) -> None:
    """Make a key. It is shown once: only its digest is kept."""
    expires = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    with explained(), database.owner_url(settings_of(home)) as url:
        database.prepared(url)
        new = keys.create(
            url,
            role,
            party=party,
            label=label,
            expires_at=expires,
            events_per_minute=rate,
            denials_per_hour=denials,
            withholds=withhold or [],
        )
    errors.print(f"key {new.id}, shown once:")
    say(new.token)


@keys_app.command("generate")
def keys_generate(
    file: Annotated[Path, typer.Argument(help="File to make.")],
    algorithm: Annotated[str, typer.Option(help="ed25519 or ecdsa-p256")] = "ed25519",
) -> None:
    """Make a key to sign events with; on standard output the data of the key.registered that names it.

    It stays where it is made. CHIPLEDGER_SIGNING_PASSPHRASE encrypts it.
    """
    from api.signing import generate

    with explained():
        say(json.dumps(generate(file, algorithm, passphrase=_signing_passphrase())))


@keys_app.command("rotate")
def keys_rotate(home: Home = None) -> None:
    """Put a new checkpoint key in place of the old: an entry that both sign, and the key's file.

    Services that run refuse to write and to sign until they are started with the new file. What was begun
    and cut short is finished by running it again.
    """
    from api.rotate import rotate

    settings = settings_of(home)
    with explained(), database.opened(settings) as logins:
        rotated = rotate(settings, logins)
    errors.print(printable(f"the old key is kept in {rotated.kept}; start the services anew"), soft_wrap=True)
    say(str(rotated.key))


def _signing_passphrase() -> bytes | None:
    passphrase = settings_of(None).signing_passphrase
    return passphrase.get_secret_value().encode() if passphrase is not None else None


@keys_app.command("list")
def keys_list(home: Home = None) -> None:
    """Every key, without its secret."""
    with explained(), database.owner_url(settings_of(home)) as url:
        database.prepared(url)
        found = keys.listed(url)
    table = Table(
        "id", "role", "party", "label", "created", "expires", "revoked", "last used", "events/min",
        "denials/h", "withheld", box=None,
    )  # fmt: skip
    for key in found:
        times = (key.created_at, key.expires_at, key.revoked_at, key.used_at)
        cells = (time.strftime("%Y-%m-%d %H:%M") if time else "" for time in times)
        quotas = (f"{quota}" if quota else "" for quota in (key.events_per_minute, key.denials_per_hour))
        known = (key.id, key.role, key.party or "", printable(key.label))
        table.add_row(*known, *cells, *quotas, ", ".join(key.withholds))
    show(table)


@keys_app.command("revoke")
def keys_revoke(key_id: str, home: Home = None) -> None:
    """End a key. Running services take it for 5 more seconds at most."""
    with explained(), database.owner_url(settings_of(home)) as url:
        keys.revoke(url, key_id)
    say(f"key {key_id} is revoked")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
