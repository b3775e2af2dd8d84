"""What is sent because somebody asks, once: the challenge before the first delivery, and tests."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.webhooks import endpoints, message, records
from api.webhooks.endpoints import Connection, Endpoint, must_be_verified
from api.webhooks.network import Network
from api.webhooks.sending import Attempt, attempt, record
from api.webhooks.vault import Vault
from ledger.values import format_timestamp

CHALLENGE_BYTES = 24


@dataclass(frozen=True, slots=True)
class Sent:
    id: str
    attempt: Attempt
    arrived: bool


@dataclass(frozen=True, slots=True)
class Hand:
    """What it takes to send. No connection to the database is held while a receiver is waited for."""

    connect: Callable[[], AbstractAsyncContextManager[Connection]]
    network: Network
    vault: Vault
    source: str
    """The log's origin."""

    async def verify(self, endpoint: Endpoint) -> Sent:
        """A challenge; the endpoint is enabled if the answer, a 2xx, repeats it.

        Whoever answers so reads what is sent, and agrees to be sent more.
        """
        challenge = secrets.token_urlsafe(CHALLENGE_BYTES)
        sent = await self._send(endpoint, message.VERIFICATION, {"challenge": challenge})
        answered = sent.attempt.answered
        if not sent.arrived or answered is None or challenge.encode() not in answered.body:
            return Sent(sent.id, sent.attempt, arrived=False)
        async with self.connect() as connection:
            await endpoints.enable(connection, endpoint, verified=True)
        return sent

    async def test(self, endpoint: Endpoint) -> Sent:
        """Raises UnusableInput: nobody has agreed yet."""
        must_be_verified(endpoint)
        return await self._send(endpoint, message.TEST, {"test": True})

    async def _send(self, endpoint: Endpoint, type_: str, data: dict[str, Any]) -> Sent:
        id_ = f"msg_{secrets.token_hex(12)}"
        now = format_timestamp(datetime.now(UTC))
        body = message.of_test(id_, source=self.source, type_=type_, at=now, data=data)
        made = await attempt(self.network, self.vault, endpoint, message_id=id_, body=body)
        async with self.connect() as connection, connection.transaction():
            state = "delivered" if made.arrived else "dead"
            await records.enter(connection, [id_, endpoint.id, type_, body, state])
            await record(connection, id_, 1, made)
        return Sent(id_, made, made.arrived)
