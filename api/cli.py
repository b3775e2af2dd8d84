"""`chipledger`: the command line.

The module of a command is imported when it is asked for, and no other: to verify a file takes a tenth of
what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

_WHERE: Final[Mapping[str, str]] = {
    "serve": "api.commands.service:app",
    "doctor": "api.commands.service:app",
    "demo": "api.commands.service:app",
    "export": "api.commands.log:app",
    "receipt": "api.commands.log:app",
    "tiles": "api.commands.log:app",
    "bundle": "api.commands.log:app",
    "verify": "api.commands.verify:app",
    "sign": "api.commands.sign:app",
    "recover": "api.commands.log:app",
    "replay": "api.commands.replay:app",
    "explain": "api.commands.replay:app",
    "erase": "api.commands.log:app",
    "watch": "api.watch_cli:app",
    "listen": "api.webhooks.cli:app",
    "db": "api.commands.db:app",
    "keys": "api.commands.keys:app",
    "facts": "api.commands.facts:app",
    "policy": "api.policy_cli:policy_app",
    "drill": "api.watch_cli:drill_app",
    "webhooks": "api.webhooks.cli:webhooks_app",
}
"""Of each command the commands that it is one of, or of each group of commands the group."""


class Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_WHERE)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _WHERE:
            return None
        module, _, name = _WHERE[cmd_name].partition(":")
        group: Any = typer.main.get_group(getattr(import_module(module), name))
        found = group.commands.get(cmd_name, group)
        found.name = cmd_name
        return found


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("chipledger"))
        raise typer.Exit


@app.callback()
def chipledger(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print it, and end.")
    ] = False,
) -> None:
    """An append-only, hash-chained, policy-judged ledger for licensed chips."""


def main() -> None:
    app()


if __name__ == "__main__":
    main()
