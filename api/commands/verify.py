"""`chipledger verify`, which needs little of all that is here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.console import TAMPERED, fail, of_file, progress, say
from api.held import Held
from api.verify import verify_file
from ledger.errors import UnusableInput, VerificationError

app = typer.Typer()


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
    held = Held(key, receipt or (), checkpoint or (), witnesses, timestamp or (), timestamp_roots)
    try:
        with progress("verified") as advance:
            report = verify_file(file, held, advance)
    except VerificationError as error:
        fail("TAMPERED", str(error), status=TAMPERED)
    except UnusableInput as error:
        fail("unusable", str(error))
    except OSError as error:
        fail("unusable", of_file(error))
    for line in report:
        say(line)
