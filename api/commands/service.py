"""`chipledger serve` and `demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.console import Home, explained, settings_of

app = typer.Typer()


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
