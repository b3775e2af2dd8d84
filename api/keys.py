"""API keys: made, listed and revoked by an owner's login. The secret is shown once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

import psycopg
from pydantic import TypeAdapter, ValidationError

from ledger.errors import NotFound, UnusableInput
from ledger.session import session
from ledger.values import PartyId
from ledger.withheld import Withheld

KeyRole = Literal["submitter", "auditor", "regulator", "operator"]
PREFIX = "clk"
_PARTY: TypeAdapter[str | None] = TypeAdapter(PartyId | None)


@dataclass(frozen=True, slots=True)
class NewKey:
    id: str
    token: str = field(repr=False)
    """What the caller sends; not kept."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    id: str
    role: str
    party: str | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    """To the minute."""
    events_per_minute: int | None
    denials_per_hour: int | None
    withholds: list[str]


def digest(secret: str) -> bytes:
    """What is stored. One SHA-256 is enough: the secret has 256 bits, there is nothing to guess."""
    return hashlib.sha256(secret.encode()).digest()


def create(
    url: str,
    role: str,
    *,
    party: str | None = None,
    label: str = "",
    expires_at: datetime | None = None,
    events_per_minute: int | None = None,
    denials_per_hour: int | None = None,
    withholds: Sequence[str] = (),
) -> NewKey:
    """Raises UnusableInput for an unknown role, or a submitter or regulator without a party.

    None of a quota: as the service is set. `withholds`: what whoever has the key is not shown
    (`ledger.withheld`).
    """
    if role not in get_args(KeyRole):
        raise UnusableInput(f"role is {role}, must be one of {', '.join(get_args(KeyRole))}")
    if role in ("submitter", "regulator") and not party:
        raise UnusableInput(f"a {role}'s key speaks for a party, so it must be given one")
    try:
        _PARTY.validate_python(party)
    except ValidationError:
        raise UnusableInput(f"party is {party}, must be as events name it, such as acme") from None
    Withheld(withholds)
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with psycopg.connect(session(url)) as connection:
        connection.execute(
            "INSERT INTO api_keys (id, secret_sha256, role, party, label, created_at, expires_at,"
            " events_per_minute, denials_per_hour, withholds)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                key_id,
                digest(secret),
                role,
                party,
                label,
                datetime.now(UTC),
                expires_at,
                events_per_minute,
                denials_per_hour,
                list(withholds),
            ],
        )
    return NewKey(key_id, f"{PREFIX}_{key_id}_{secret}")


def listed(url: str) -> list[ListedKey]:
    with psycopg.connect(session(url)) as connection:
        rows = connection.execute(
            "SELECT id, role, party, label, created_at, expires_at, revoked_at, used_at,"
            " events_per_minute, denials_per_hour, withholds FROM api_keys LEFT JOIN key_uses ON key_id = id"
            " ORDER BY created_at, id"
        ).fetchall()
    return [ListedKey(*row) for row in rows]


def revoke(url: str, key_id: str) -> None:
    with psycopg.connect(session(url)) as connection:
        cursor = connection.execute(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = %s", [key_id]
        )
    if not cursor.rowcount:
        raise NotFound(f"there is no key {key_id}")
