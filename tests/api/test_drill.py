"""Damage of every kind we know, at many places, in a real database: each is found, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from api import database, drill
from api.examine import Examiner
from api.tampering import MUTATIONS
from ledger.integrity import Verified
from ledger.rows import Rows
from tests.conftest import copied
from tests.ledger.live_log import audit, denied, in_loop, live, simulated
from tests.workbench import H200, NOON, serials

PLACES = 20
RESULT = {"tpp": 15832, "bandwidth_gb_s": 4800, "result": "pass"}


async def _tell(url: str) -> None:
    """A contract with its policy, orders, devices, refusals, and contracts that nobody opened."""
    async with live(database.logins_of(url), clock=simulated(NOON)) as log:
        await log.open_contract(H200)
        for number in range(12):
            await log.accepted("order.placed", order=f"PO-{number}", units=10 + number)
        await log.accepted("lab.tested", results=[RESULT | {"serial": serial} for serial in serials(8)])
        assert (await log.say("order.placed", order="PO-99", units=20_000)).outcome == "denied"
        await log.append(*(denied() for _ in range(12)))


@pytest.fixture(scope="module")
def told(server: str, template: str) -> Iterator[str]:
    """URL of the owner of a database that holds a small log."""
    with copied(server, template) as url:
        asyncio.run(_tell(url))
        yield url


@pytest.fixture(scope="module")
def copy_url(told: str) -> Iterator[str]:
    with drill.scratch(told) as url:
        drill.copy_log(told, url)
        yield url


@in_loop
async def _looked(url: str, name: str) -> None:
    async with drill.opened(url, seed=11) as copy:
        [tally] = await drill.tamper(copy, PLACES, names=[name])
    assert tally.missed == []
    assert (tally.tried, tally.found, tally.located) == (PLACES, PLACES, PLACES)


@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - {"edit_a_tile", *drill.ONLY_ELSEWHERE}))
def test_damage_is_found_and_located(copy_url: str, name: str) -> None:
    _looked(copy_url, name)


@pytest.mark.parametrize("name", drill.ONLY_ELSEWHERE)
def test_a_log_that_is_consistent_with_itself_is_found_by_what_is_kept_elsewhere_alone(
    copy_url: str, name: str
) -> None:
    @in_loop
    async def look() -> None:
        async with drill.opened(copy_url, seed=12) as copy:
            [tally] = await drill.tamper(copy, 8, names=[name])
        assert tally.missed == []
        assert (tally.found, tally.alone) == (8, 0)

    look()


@in_loop
async def test_a_whole_log_is_found_whole_by_the_same_looks(copy_url: str) -> None:
    async with drill.opened(copy_url, seed=13) as copy:
        seen = await Examiner(copy.verifier).look(
            Rows(copy.connection), "all", kept=copy.kept, verified=Verified()
        )
    assert seen.findings.found == []
    assert (seen.size, seen.judged) == (copy.log.size, copy.log.size)
    assert seen.facts > 30


@in_loop
async def test_tiles_are_read_too(server: str, template: str) -> None:
    with copied(server, template) as url:
        async with live(database.logins_of(url)) as log:
            await log.append(*(denied() for _ in range(520)))
        async with drill.opened(url, seed=14) as copy:
            [tally] = await drill.tamper(copy, 5, names=["edit_a_tile"])
    assert tally.missed == []
    assert tally.found == 5


@in_loop
async def test_every_byte_of_a_kept_checkpoint_matters(copy_url: str) -> None:
    async with drill.opened(copy_url, seed=15) as copy:
        tallies = drill.tamper_store(copy, PLACES)
    assert [(tally.tried, tally.found) for tally in tallies] == [(PLACES, PLACES)] * 2


def test_the_log_itself_is_left_alone(told: str) -> None:
    @in_loop
    async def sound() -> None:
        await audit(database.logins_of(told))

    sound()
