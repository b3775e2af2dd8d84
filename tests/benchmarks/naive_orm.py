"""The naive design once more, through SQLModel's asynchronous session (on asyncpg; needs greenlet)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from fastapi import FastAPI, HTTPException
from sqlalchemy import BigInteger, Column, DateTime, Integer, LargeBinary
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from tests.benchmarks.naive import POOL_SIZE, Answer, Event, chained


class Head(SQLModel, table=True):
    id: int = Field(sa_column=Column(Integer, primary_key=True))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class EventRow(SQLModel, table=True):
    __tablename__ = "event"

    index: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    id: UUID = Field(unique=True)
    contract: UUID
    kind: str
    party: str
    occurred_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    hash: bytes
    body: bytes


def build(url: str) -> FastAPI:
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=POOL_SIZE, max_overflow=0
    )
    sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=life)

    @app.post("/events", status_code=201)
    async def submit(event: Event) -> Answer:
        body = event.canonical()
        async with sessions() as session:
            found = await session.exec(select(Head).where(Head.id == 1).with_for_update())
            head = found.one()
            index, head.hash = head.size, chained(head.hash, body)
            head.size += 1
            row = EventRow(
                index=index,
                id=event.id,
                contract=event.contract,
                kind=event.kind,
                party=event.actor.party,
                occurred_at=event.occurred_at,
                hash=head.hash,
                body=body,
            )
            session.add(row)
            try:
                await session.commit()
            except IntegrityError:
                raise HTTPException(409, "the id is taken") from None
        return Answer(index=index, hash=row.hash.hex())

    @app.get("/readyz")
    async def ready() -> None:
        return

    return app
