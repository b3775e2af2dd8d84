"""The naive design, written as well as it can be: one transaction for each request.

It locks the head row, chains, inserts one row and commits. It has no policy, no tree, no receipts, no
keys and no log lines: it does less than the ledger does.

    python -m tests.benchmarks.naive asyncpg|orm URL PORT
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from ledger.canonical import encode

POOL_SIZE = 20
TABLES = """
CREATE TABLE head (id int PRIMARY KEY, size bigint NOT NULL, hash bytea NOT NULL);
INSERT INTO head VALUES (1, 0, decode(repeat('00', 32), 'hex'));
CREATE TABLE event (
    index bigint PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    contract uuid NOT NULL,
    kind text NOT NULL,
    party text NOT NULL,
    occurred_at timestamptz NOT NULL,
    hash bytea NOT NULL,
    body bytea NOT NULL
);
"""
INSERT = "INSERT INTO event VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Actor(_Body):
    party: str
    role: str


class Device(_Body):
    serial: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9._-]{2,39}$")]
    outcome: Literal["pass", "fail", "indeterminate"]
    busy_seconds: Annotated[int, Field(ge=0)]


class Usage(_Body):
    site: str
    from_: Annotated[datetime, Field(alias="from")]
    until: datetime
    level: Literal["L0", "L1", "L2", "L3", "L4"]
    purpose: str | None = None
    devices: Annotated[list[Device], Field(min_length=1)]


class Evidence(_Body):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    media_type: str
    uri: str


class Event(_Body):
    id: UUID
    kind: Literal["usage.attested"]
    version: Literal[1]
    contract: UUID
    occurred_at: datetime
    actor: Actor
    data: Usage
    evidence: list[Evidence] = []

    def canonical(self) -> bytes:
        return encode(self.model_dump(mode="json", by_alias=True, exclude_none=True))


class Answer(BaseModel):
    index: int
    hash: str


def chained(previous: bytes, body: bytes) -> bytes:
    return hashlib.sha256(previous + body).digest()


def build(url: str) -> FastAPI:
    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=POOL_SIZE, max_size=POOL_SIZE) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=life)

    @app.post("/events", status_code=201)
    async def submit(event: Event, request: Request) -> Answer:
        body = event.canonical()
        pool: Any = request.app.state.pool
        try:
            async with pool.acquire() as connection, connection.transaction():
                head = await connection.fetchrow("SELECT size, hash FROM head WHERE id = 1 FOR UPDATE")
                index, hash_ = head["size"], chained(head["hash"], body)
                await connection.execute(
                    INSERT, index, event.id, event.contract, event.kind, event.actor.party,
                    event.occurred_at, hash_, body,
                )  # fmt: skip
                await connection.execute(
                    "UPDATE head SET size = $1, hash = $2 WHERE id = 1", index + 1, hash_
                )
        except asyncpg.UniqueViolationError:
            raise HTTPException(409, "the id is taken") from None
        return Answer(index=index, hash=hash_.hex())

    @app.get("/readyz")
    async def ready() -> None:
        return

    return app


def main() -> None:
    how, url, port = sys.argv[1:]
    if how == "orm":
        from tests.benchmarks import naive_orm

        app = naive_orm.build(url)
    else:
        app = build(url)
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", access_log=False,
        log_level="warning",
    )  # fmt: skip


if __name__ == "__main__":
    main()
