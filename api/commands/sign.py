"""`chipledger sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.console import explained, say, signing_passphrase

app = typer.Typer()


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
        passphrase = signing_passphrase()
        say(sign_file(event, [load(path, passphrase=passphrase) for path in key]).decode())
