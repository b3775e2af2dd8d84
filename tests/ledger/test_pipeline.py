"""ledger.pipeline: several statements in one round trip, and a connection that ends in the midst of it."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from api.database import Logins
from ledger.pipeline import Pipeline, Statement
from tests.ledger.live_log import in_loop


async def connected(logins: Logins) -> AsyncConnection[Any]:
    return await AsyncConnection.connect(logins.writer, autocommit=True)


@in_loop
async def test_each_statement_has_its_result_in_order(logins: Logins) -> None:
    async with await connected(logins) as connection:
        pipeline = Pipeline(connection)
        pipeline.send([Statement(b"SELECT 1")])
        results = await pipeline.run([Statement(b"SELECT 2, 3"), Statement(b"SELECT 4 WHERE false")])
        assert [pipeline.rows(result) for result in results] == [[(1,)], [(2, 3)], []]


@in_loop
async def test_the_error_of_one_that_fails_is_raised(logins: Logins) -> None:
    connection = await connected(logins)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await Pipeline(connection).run([Statement(b"SELECT 1/0"), Statement(b"SELECT 1")])
    await connection.close()


def test_a_socket_that_the_driver_has_closed_is_not_watched_for_a_moment(logins: Logins) -> None:
    """The next connection that the process accepts is given its number, and would be the one let go."""

    async def play() -> None:
        loop = asyncio.get_running_loop()
        connection = await connected(logins)
        number, watched = connection.pgconn.socket, []

        def look() -> None:
            """In every round of the loop, before whoever waits for the answer has its turn."""
            if connection.closed:
                watched.append(loop.remove_reader(number))
            else:
                loop.call_soon(look)

        answer = asyncio.create_task(Pipeline(connection).run([Statement(b"SELECT pg_sleep(60)")]))
        await asyncio.sleep(0)
        look()
        with socket.socket(fileno=os.dup(number)) as end:
            end.shutdown(socket.SHUT_RDWR)  # as where a network cuts it
        with pytest.raises(psycopg.OperationalError):
            await answer
        await connection.close()
        assert watched == [False]

    asyncio.run(play())
