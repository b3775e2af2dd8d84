"""`chipledger keys`: API keys, keys to sign events with, and the log's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api import database, keys
from api.console import (
    Home,
    Withhold,
    errors,
    explained,
    printable,
    say,
    settings_of,
    show,
    signing_passphrase,
)

app = typer.Typer(no_args_is_help=True, help="API keys, and keys to sign events with.")


@app.command("create")
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
    with explained(), database.owner_url(settings_of(home), begin=True) as url:
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


@app.command("generate")
def keys_generate(
    file: Annotated[Path, typer.Argument(help="File to make.")],
    algorithm: Annotated[str, typer.Option(help="ed25519 or ecdsa-p256")] = "ed25519",
) -> None:
    """Make a key to sign events with; on standard output the data of the key.registered that names it.

    It stays where it is made. CHIPLEDGER_SIGNING_PASSPHRASE encrypts it.
    """
    from api.signing import generate

    with explained():
        say(json.dumps(generate(file, algorithm, passphrase=signing_passphrase())))


@app.command("rotate")
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


@app.command("list")
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


@app.command("revoke")
def keys_revoke(key_id: str, home: Home = None) -> None:
    """End a key. Running services take it for 5 more seconds at most."""
    with explained(), database.owner_url(settings_of(home)) as url:
        keys.revoke(url, key_id)
    say(f"key {key_id} is revoked")
