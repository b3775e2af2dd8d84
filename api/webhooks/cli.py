"""`chipledger webhooks`: endpoints, by whoever has the home and the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args

import typer
from psycopg import AsyncConnection
from pydantic import ValidationError
from rich.table import Table

from api import database
from api.auth import Caller
from api.console import Home, errors, explained, fail, printable, say, settings_of, show
from api.export import signer_of
from api.places import store_of
from api.webhooks import endpoints, records, vault
from api.webhooks.endpoints import Connection, Wanted, must_be_enabled, must_be_verified
from api.webhooks.handshake import Hand, Sent
from api.webhooks.listen import Listener, in_lines
from api.webhooks.network import Network, check_url
from api.webhooks.outbox import Outbox
from api.webhooks.records import DeliveryState
from api.webhooks.views import NewEndpoint
from ledger.errors import MalformedInput
from ledger.event import faults_from
from ledger.reader import Reader
from ledger.session import session
from ledger.values import format_timestamp
from ledger.withheld import Withheld

T = TypeVar("T")
FAILED = 1
"""Exit status of a handshake or a test that did not arrive."""
OPERATOR = Caller("", "operator", None)

app = typer.Typer()
webhooks_app = typer.Typer(no_args_is_help=True, help="Webhooks: who is told of which entries, and where.")
Endpoint = Annotated[str, typer.Argument(help="Its id, such as we_0123456789abcdef.")]


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the commands work with."""

    hand: Hand
    outbox: Outbox

    @asynccontextmanager
    async def endpoint(self, id_: str) -> AsyncIterator[tuple[Connection, endpoints.Endpoint]]:
        async with self.hand.connect() as connection:
            yield connection, await endpoints.owned(connection, id_, OPERATOR)


def _at_desk(home: Home, work: Callable[[_Desk], Awaitable[T]]) -> T:
    settings = settings_of(home)

    async def run(logins: database.Logins) -> T:
        signer = signer_of(settings)

        @asynccontextmanager
        async def connect() -> AsyncIterator[Connection]:
            async with await AsyncConnection.connect(session(logins.writer), autocommit=True) as connection:
                yield connection

        reader, network = Reader(logins.reader), Network(allowed_hosts=settings.allowed_hosts)
        await reader.open()
        try:
            sealed = vault.load_or_create(settings.webhook_key_path)
            outbox = Outbox(reader, signer, store_of(settings, signer))
            return await work(_Desk(Hand(connect, network, sealed, signer.name), outbox))
        finally:
            await network.close()
            await reader.close()

    with explained(), database.opened(settings) as logins:
        return asyncio.run(run(logins))


@webhooks_app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where it is told: https.")],
    role: Annotated[str, typer.Option(help="It reads as a key of that role does.")] = "submitter",
    party: Annotated[str | None, typer.Option(help="Whom it tells.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Such as license.revoked or license.*; repeatable; else all.")
    ] = None,
    contract: Annotated[list[str] | None, typer.Option(help="Repeatable; else all it may read.")] = None,
    outcome: Annotated[list[str] | None, typer.Option(help="Repeatable; else all.")] = None,
    description: Annotated[str, typer.Option(help="For people to recognise it by.")] = "",
    ed25519: Annotated[bool, typer.Option(help="Sign with Ed25519 (v1a) and not with HMAC (v1).")] = False,
    withhold: Annotated[
        list[str] | None, typer.Option(help="A body that it is not told: event or decision, or of a kind.")
    ] = None,
    escalates_to: Annotated[
        str | None, typer.Option(help="Endpoint that is told of a revocation which does not arrive.")
    ] = None,
    home: Home = None,
) -> None:
    """Make an endpoint. Its secret is shown once. It is told nothing before `verify`."""
    if role not in ("submitter", *endpoints.READS_EVERYTHING):
        fail("UnusableInput", f"role is {role}, must be submitter, auditor, regulator or operator")
    if role == "submitter" and party is None:
        fail("UnusableInput", "a submitter's endpoint tells a party, so it must be given one")
    asked = {
        "url": url, "description": description, "kinds": kind or [], "contracts": contract or [],
        "outcomes": outcome or [], "signs": "v1a" if ed25519 else "v1", "escalates_to": escalates_to,
    }  # fmt: skip

    with explained():
        wanted = _wanted(asked)
        owner = Caller("", role, party, withheld=Withheld(withhold or ()))

    async def work(desk: _Desk) -> endpoints.Shown:
        check_url(url, desk.hand.network.allowed_hosts)
        async with desk.hand.connect() as connection:
            return await endpoints.create(connection, desk.hand.vault, wanted, owner)

    made = _at_desk(home, work)
    errors.print(f"endpoint {made.endpoint.id}, its secret shown once:")
    say(made.secret)


def _wanted(asked: dict[str, Any]) -> Wanted:
    """As the route has it. Raises MalformedInput."""
    try:
        return Wanted(**NewEndpoint.model_validate(asked).model_dump())
    except ValidationError as error:
        raise MalformedInput(*faults_from(error.errors())) from None


@webhooks_app.command(name="list")
def list_(
    after: Annotated[str, typer.Option(help="Those whose id sorts after this one.")] = "",
    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=1_000)] = 100,
    home: Home = None,
) -> None:
    """The endpoints of everybody in order of their ids, without secrets."""

    async def work(desk: _Desk) -> list[endpoints.Endpoint]:
        async with desk.hand.connect() as connection:
            return await endpoints.listed(connection, OPERATOR, after=after, limit=limit + 1)

    found = _at_desk(home, work)
    table = Table("id", "party", "url", "kinds", "state", "failures", "description", box=None)
    for one in found[:limit]:
        state = one.state + (f" ({one.reason})" if one.reason else "")
        table.add_row(
            one.id, one.party or one.role, printable(one.url), " ".join(one.kinds) or "all", state,
            str(one.failures), printable(one.description),
        )  # fmt: skip
    show(table)
    _say_there_is_more(found, limit, lambda last: last.id)


def _say_there_is_more(found: Sequence[T], limit: int, after: Callable[[T], object]) -> None:
    """Of what was asked for with one beyond the page."""
    if len(found) > limit:
        errors.print(f"there are more: --after {after(found[limit - 1])}", soft_wrap=True)


@webhooks_app.command()
def verify(endpoint: Endpoint, home: Home = None) -> None:
    """Send a challenge; whoever repeats it agrees to be told. Exit status 1: it did not."""

    async def work(desk: _Desk) -> Sent:
        async with desk.endpoint(endpoint) as (_, found):
            pass
        return await desk.hand.verify(found)

    _say_sent(_at_desk(home, work), f"{endpoint} is verified and enabled")


@webhooks_app.command(name="test")
def try_out(endpoint: Endpoint, home: Home = None) -> None:
    """Send a test event. Exit status 1: it did not arrive."""

    async def work(desk: _Desk) -> Sent:
        async with desk.endpoint(endpoint) as (_, found):
            pass
        return await desk.hand.test(found)

    _say_sent(_at_desk(home, work), "the test event arrived")


def _say_sent(sent: Sent, arrived: str) -> None:
    made = sent.attempt
    if not sent.arrived:
        why = made.error or "the answer does not repeat the challenge"
        answered = "" if made.answered is None else f" (HTTP {made.answered.status})"
        fail("not arrived", why + answered, status=FAILED)
    say(f"{arrived}, in {made.latency_ms} ms")


@webhooks_app.command()
def enable(endpoint: Endpoint, home: Home = None) -> None:
    """Go on with an endpoint that was disabled. What it was not told meanwhile: see `replay`."""

    async def work(desk: _Desk) -> None:
        async with desk.endpoint(endpoint) as (connection, found):
            must_be_verified(found)
            await endpoints.enable(connection, found, verified=False)

    _at_desk(home, work)
    say(f"{endpoint} is enabled")


@webhooks_app.command()
def disable(endpoint: Endpoint, home: Home = None) -> None:
    """Tell it nothing more."""

    async def work(desk: _Desk) -> None:
        async with desk.endpoint(endpoint) as (connection, _):
            await endpoints.disable(connection, endpoint, "by an operator")

    _at_desk(home, work)
    say(f"{endpoint} is disabled")


@webhooks_app.command()
def delete(endpoint: Endpoint, home: Home = None) -> None:
    """Delete it for good: its secrets are wiped and what waits for it is given up; the record stays.

    Revocations that wait become dead letters as soon as a service runs, and go to whom it escalates to.
    """

    async def work(desk: _Desk) -> endpoints.Deleted:
        async with desk.endpoint(endpoint) as (connection, _):
            return await endpoints.delete(connection, endpoint, "deleted by an operator")

    deleted = _at_desk(home, work)
    say(f"{endpoint} is deleted; {deleted.ended} deliveries that waited are ended")
    for one in deleted.escalating:
        errors.print(f"{one.id} escalates to it: make another in its place", soft_wrap=True)


@webhooks_app.command()
def rotate(endpoint: Endpoint, home: Home = None) -> None:
    """A new secret, shown once. For 24 hours the one before signs as well."""

    async def work(desk: _Desk) -> str:
        async with desk.endpoint(endpoint) as (connection, found):
            return await endpoints.rotate(connection, desk.hand.vault, found)

    say(_at_desk(home, work))


@webhooks_app.command()
def replay(
    endpoint: Endpoint,
    from_index: Annotated[int, typer.Option("--from", help="First index.", min=0)],
    to_index: Annotated[
        int | None, typer.Option("--to", help="Last index; else the end of the log.", min=0)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="What arrived, too.")] = False,
    home: Home = None,
) -> None:
    """Queue what an endpoint was not told again, from an index on; a running service sends it."""

    async def work(desk: _Desk) -> int:
        async with desk.endpoint(endpoint) as (connection, found):
            must_be_enabled(found)
            queued, first, more = 0, from_index, True
            while more:
                placed = await desk.outbox.replay(
                    connection, found, first=first, last=to_index, which="all" if everything else "failed"
                )
                queued, first, more = queued + placed.deliveries, placed.next, placed.more
            return queued

    say(f"{_at_desk(home, work)} deliveries are queued")


@webhooks_app.command()
def deliveries(
    endpoint: Endpoint,
    state: Annotated[str | None, typer.Option(help="waiting, delivered or dead; else all.")] = None,
    after: Annotated[int, typer.Option(help="Of entries after this index.", min=-1)] = -1,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=1_000)] = 100,
    home: Home = None,
) -> None:
    """What an endpoint was told of, is being told or could not be told, in order of index."""
    if state not in (None, *get_args(DeliveryState)):
        fail("UnusableInput", f"state is {state}, must be waiting, delivered or dead")

    async def work(desk: _Desk) -> list[records.Record]:
        async with desk.hand.connect() as connection:
            found = await endpoints.owned(connection, endpoint, OPERATOR, deleted=True)
            return await records.of_endpoint(
                connection, found, after=after, limit=limit + 1, state=cast(DeliveryState | None, state)
            )

    table = Table("id", "index", "kind", "state", "attempts", "settled", box=None)
    found = _at_desk(home, work)
    for one in found[:limit]:
        settled = "" if one.settled_at is None else format_timestamp(one.settled_at)
        table.add_row(one.id, str(one.index), one.kind, one.state, str(one.attempts), settled)
    show(table)
    _say_there_is_more(found, limit, lambda last: last.index)


@webhooks_app.command()
def resend(
    delivery: Annotated[str, typer.Argument(help="Its id, the `webhook-id`, as `deliveries` lists it.")],
    home: Home = None,
) -> None:
    """Queue one delivery again, under the same id; a running service sends it."""

    async def work(desk: _Desk) -> None:
        async with desk.hand.connect() as connection:
            await records.again(connection, await records.owned(connection, delivery, OPERATOR))

    _at_desk(home, work)
    say(f"{delivery} is queued")


@app.command()
def listen(
    secret: Annotated[
        str,
        typer.Option(
            envvar="CHIPLEDGER_WEBHOOK_SECRET", help="As it was shown, whsec_ or whpk_: best by environment."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65_535)] = 8322,
) -> None:
    """Receive webhooks: verify each, repeat a challenge, print a line for each event."""
    with explained():
        listener = Listener(
            (host, port),
            secret,
            told=lambda event: say(f"{time.strftime('%H:%M:%S')} verified {'; '.join(in_lines(event))}"),
            refused=lambda why: errors.print(printable(f"refused: {why}"), soft_wrap=True),
        )
    errors.print(f"listening on http://{host}:{listener.server_port}", soft_wrap=True)
    try:
        listener.serve_forever()
    except KeyboardInterrupt:
        raise typer.Exit from None
    finally:
        listener.server_close()
