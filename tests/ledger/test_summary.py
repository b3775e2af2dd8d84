"""How every chain ends, under one root: said by the log, proved for one contract, checked by the verifier."""

from __future__ import annotations

import io
import uuid
from asyncio import gather
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.database import Logins
from ledger.canonical import canonical, parse
from ledger.errors import NotFound, VerificationError
from ledger.event import LEDGER_CONTRACT
from ledger.merkle import leaf_hash
from ledger.pages import Filter
from ledger.scheduler import Scheduler
from ledger.summary import Tail, prove, root_of
from ledger.values import parse_timestamp
from ledger.verified import Tampered
from ledger.verify import verify_export
from tests.ledger.live_log import LiveLog, denied, in_loop, live, simulated
from tests.ledger.rfc9162 import mth
from tests.ledger.sample_log import CONTRACTS, SampleLog

START = "2027-03-01T12:00:00Z"

tails = st.lists(
    st.builds(
        Tail,
        st.uuids().map(str),
        st.integers(1, 10**6),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda tail: tail.contract,
)


# --- the root, and one tail under it --------------------------------------------------------------


def test_a_leaf_is_the_canonical_json_of_the_tail() -> None:
    tail = Tail(CONTRACTS[0], 3, "ab" * 32)
    assert tail.leaf == canonical({"count": 3, "head": "ab" * 32, "contract": CONTRACTS[0]})
    assert root_of([tail]) == sha256(b"\0" + tail.leaf).digest()


@given(tails)
def test_the_root_is_that_of_the_leaves_in_order_of_contract(found: list[Tail]) -> None:
    ordered = [tail.leaf for tail in sorted(found, key=lambda tail: tail.contract.encode())]
    assert root_of(found) == root_of(reversed(found)) == mth(tuple(map(leaf_hash, ordered)))


@given(tails, st.data())
def test_each_tail_is_proved_and_no_other_is(found: list[Tail], data: st.DataObject) -> None:
    root, tail = root_of(found), data.draw(st.sampled_from(found))
    proof = prove(found, tail.contract)
    assert (proof.tail, proof.contracts) == (tail, len(found))
    proof.check(root)
    for other in (tail._replace(entries=tail.entries + 1), tail._replace(head="00" * 32)):
        with pytest.raises(VerificationError):
            proof._replace(tail=other).check(root)
    with pytest.raises(VerificationError):
        proof._replace(hashes=[*proof.hashes, bytes(32)]).check(root)


def test_a_contract_without_entries_has_no_proof() -> None:
    with pytest.raises(NotFound):
        prove([Tail(CONTRACTS[0], 1, "ab" * 32)], CONTRACTS[1])


# --- said by the log ------------------------------------------------------------------------------


async def summaries(log: LiveLog) -> list[tuple[int, dict[str, Any]]]:
    found = await log.reader.entries(Filter(kind="contracts.summarised"))
    bodies = ((entry.index, entry.entry.bodies["event"]) for entry in found.entries)
    return [(index, parse(body.value)["data"]) for index, body in bodies if body is not None]


async def tails_by_hand(log: LiveLog, index: int) -> list[Tail]:
    """Of every entry below `index`, the last of each contract."""
    last: dict[str, Tail] = {}
    async with log.reader.stream(size=index) as entries:
        async for stored in entries:
            header = stored.entry.header
            count = header.contract_index + 1
            last[header.contract] = Tail(header.contract, count, leaf_hash(stored.entry.raw).hex())
    return list(last.values())


@in_loop
async def test_the_log_says_periodically_how_every_chain_ends(ledger: Logins) -> None:
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        scheduler = Scheduler(log.sequencer, log.reader, clock)
        for _ in range(3):
            await log.append(denied(), denied())
        await scheduler.advance(parse_timestamp("2027-03-31T11:59:59Z"), clock.set)
        assert await summaries(log) == []
        await scheduler.advance(parse_timestamp("2027-03-31T12:00:00Z"), clock.set)
        await log.append(denied())
        # After a year of silence once, and not twelve times.
        await scheduler.advance(parse_timestamp("2028-04-01T00:00:00Z"), clock.set)
        await scheduler.fall_due()
        said = await summaries(log)
        assert [index for index, _ in said] == [7, 9]
        for index, data in said:
            tails = await tails_by_hand(log, index)
            assert data == {"contracts": len(tails), "root": root_of(tails).hex(), "hours": 720}
            assert sorted(await log.reader.tails(index)) == sorted(tails)
        assert (await log.reader.last_summary()).index == 9


@in_loop
async def test_a_summary_counts_what_its_own_batch_has_appended(ledger: Logins) -> None:
    """Events, duties and the summary may share a transaction: each chain is as long as it then is."""
    clock = simulated(START)
    async with live(ledger, clock=clock) as log:
        again = denied()
        await log.append(again)
        clock.set(parse_timestamp("2027-04-01T00:00:00Z"))
        keys = await log.reader.duties_due("2027-04-01T00:00:00.000000Z", 10)
        same = {**denied(), "contract": again["contract"]}
        await gather(log.append(same, denied()), log.sequencer.fall_due(keys))
        [(index, data)] = await summaries(log)
        assert index == 4
        assert data["root"] == root_of(await tails_by_hand(log, index)).hex()


# --- checked by the verifier ----------------------------------------------------------------------


def summary_event(root: str, contracts: int) -> bytes:
    return canonical(
        {
            "id": str(uuid.UUID(int=7)),
            "kind": "contracts.summarised",
            "data": {"contracts": contracts, "root": root, "hours": 24},
        }
    )


def with_summary(**wrong: Any) -> SampleLog:
    log = SampleLog.of(20)
    counted: dict[str, Tail] = {}
    for entry in log.entries:
        header = entry.header
        counted[header.contract] = Tail(header.contract, header.contract_index + 1, entry.leaf.hex())
    right = {"root": root_of(counted.values()).hex(), "contracts": len(counted)}
    log.append(LEDGER_CONTRACT, summary_event(**{**right, **wrong}))
    log.append(CONTRACTS[0], canonical({"id": 21, "kind": "order.placed"}))
    return log


def verify(log: SampleLog) -> None:
    verify_export(io.BytesIO(log.export()), verifier=log.signer.verifier)


def test_a_summary_that_is_right_verifies() -> None:
    verify(with_summary())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"root": "00" * 32}, "root of the summary"), ({"contracts": 5}, "contracts of the summary is 5")],
)
def test_a_summary_that_is_wrong_is_found_at_its_index(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(Tampered, match=words) as found:
        verify(with_summary(**wrong))
    assert found.value.index == 20


def test_a_log_rewritten_without_a_contract_is_contradicted_by_its_summary() -> None:
    """Whoever holds the key can sign a log without an entry: what the log said of its chains tells."""
    whole = with_summary()
    rewritten = SampleLog.of(19)  # one entry less than was summarised
    event = whole.entries[20].bodies["event"]
    assert event is not None
    rewritten.append(LEDGER_CONTRACT, event.value)
    with pytest.raises(Tampered, match="entries of some contract are missing") as found:
        verify(rewritten)
    assert found.value.index == 19
