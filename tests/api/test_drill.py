"""Damage of every kind we know, at many places, in a real database: each is found, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from api import database, drill, keys, tampering_beside
from api.examine.examiner import Examiner
from ledger.beside import Vouchers
from ledger.rows import Rows
from tests.conftest import copied
from tests.ledger.live_log import audit, denied, in_loop, live, simulated
from tests.vouching import Outside, vouching
from tests.workbench import H200, NOON, serials

PLACES = 20
RESULT = {"tpp": 15832, "bandwidth_gb_s": 4800, "result": "pass"}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with vouching(tmp_path_factory.mktemp("tsa")) as outside:
        yield outside


async def _tell(url: str, outside: Outside) -> None:
    """A contract with its policy, orders, devices, refusals, and contracts that nobody opened."""
    logins = database.logins_of(url)
    for role in ("operator", "auditor", "auditor"):
        last = keys.create(url, role)
    keys.revoke(url, last.id)
    async with live(logins, clock=simulated(NOON)) as log:
        await log.open_contract(H200)
        for number in range(12):
            await log.accepted("order.placed", order=f"PO-{number}", units=10 + number)
            if number % 4 == 0:
                await outside.vouch(log, logins.writer)
        await log.accepted("lab.tested", results=[RESULT | {"serial": serial} for serial in serials(8)])
        assert (await log.say("order.placed", order="PO-99", units=20_000)).outcome == "denied"
        await log.append(*(denied() for _ in range(12)))


@pytest.fixture(scope="module")
def told(server: str, template: str, outside: Outside) -> Iterator[str]:
    """URL of the owner of a database that holds a small log, and what lies beside it."""
    with copied(server, template) as url:
        asyncio.run(_tell(url, outside))
        yield url


@pytest.fixture(scope="module")
def copy_url(told: str) -> Iterator[str]:
    with drill.scratch(told) as url:
        drill.copy_log(told, url)
        yield url


async def _looked(url: str, name: str, vouchers: Vouchers) -> drill.Tally:
    async with drill.opened(url, 11, vouchers) as copy:
        [tally] = await drill.tamper(copy, PLACES, names=[name])
    assert tally.missed == []
    assert (tally.tried, tally.found, tally.located) == (PLACES, PLACES, PLACES)
    return tally


@pytest.mark.parametrize("name", sorted(drill.ALL.keys() - {"edit_a_tile", *drill.ONLY_ELSEWHERE}))
def test_damage_is_found_and_located(copy_url: str, outside: Outside, name: str) -> None:
    tally = asyncio.run(_looked(copy_url, name, outside.vouchers))
    if name in BY_MEMORY_ALONE:
        assert tally.alone == 0


BY_MEMORY_ALONE = (
    "delete_the_cosigned_checkpoint", "delete_a_timestamp", "edit_an_api_key", "revive_an_api_key",
    "delete_an_api_key",
)  # fmt: skip
"""Nothing but what an earlier look saw tells of these."""


@pytest.mark.parametrize("name", sorted(tampering_beside.MUTATIONS))
def test_what_lies_beside_the_log_is_watched_though_nobody_says_whose_word_counts(
    copy_url: str, name: str
) -> None:
    asyncio.run(_looked(copy_url, name, Vouchers()))


@pytest.mark.parametrize("name", drill.ONLY_ELSEWHERE)
def test_a_log_that_is_consistent_with_itself_is_found_by_what_is_kept_elsewhere_alone(
    copy_url: str, outside: Outside, name: str
) -> None:
    @in_loop
    async def look() -> None:
        async with drill.opened(copy_url, 12, outside.vouchers) as copy:
            [tally] = await drill.tamper(copy, 8, names=[name])
        assert tally.missed == []
        assert (tally.found, tally.alone) == (8, 0)

    look()


@in_loop
async def test_a_whole_log_is_found_whole_by_the_same_looks(copy_url: str) -> None:
    async with drill.opened(copy_url, seed=13) as copy:
        seen = await Examiner(copy.verifier).look(Rows(copy.connection), "all", copy.known)
    assert seen.findings.found == []
    assert len(seen.beside) == 1 + 3 + 3
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
