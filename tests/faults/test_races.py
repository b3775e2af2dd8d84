"""Requests that race: through two processes on one database, judged as if each came alone."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2 as httpx
import orjson
import pytest

from tests.faults.checker import Attempt, Log
from tests.faults.harness import (
    ROUNDS,
    Cluster,
    Load,
    Postgres,
    Said,
    cluster,
    said,
    trade,
    under,
)  # fmt: skip

CAP = 400
rounds = pytest.mark.parametrize("round_", range(ROUNDS))


def _all(log: Log) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(event, decision) of each entry, in order."""
    bodies = (log.bodies[row.index] for row in log.rows)
    return [(orjson.loads(one.event), orjson.loads(one.decision)) for one in bodies]


def _events(log: Log, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Those of a kind."""
    return [(event, decision) for event, decision in _all(log) if event["kind"] == kind]


def _why(decision: dict[str, Any]) -> set[str]:
    return {
        condition["id"] for condition in decision["conditions"]
        if condition["result"] in ("fail", "error") and condition["action"] == "deny"
    }  # fmt: skip


def _walk_orders(log: Log, cap: int) -> int:
    """Judge each order again, with nothing but addition; gives the units that stand."""
    units = 0
    for event, decision in _events(log, "order.placed"):
        wanted = event["data"]["units"]
        if units + wanted <= cap:
            assert decision["outcome"] == "accepted", f"{wanted} denied at {units} of {cap}"
            units += wanted
        else:
            assert decision["outcome"] == "denied", f"{wanted} accepted at {units} of {cap}"
            assert _why(decision) == {"quantity"}
    return units


@rounds
@pytest.mark.parametrize("units_max", [1, 7], ids=["single", "multi"])
def test_racing_requests_never_oversell_a_cap(
    postgres: Postgres, tmp_path: Path, units_max: int, round_: int
) -> None:
    """1,000 orders race for 400 units."""
    random_ = random.Random(round_)
    with cluster(postgres, tmp_path) as ours:
        one = trade(1_000)
        ours.say(*one.opening(), one.order("PO-BEFORE", 1_000 - CAP))
        orders = [one.order(f"PO-{n}", random_.randint(1, units_max)) for n in range(1_000)]
        load = Load(ours, orders, clients=64, seed=round_)
        load.start()
        load.join()
        log = ours.settle()
        assert _walk_orders(log, 1_000) == 1_000
        placed = _events(log, "order.placed")
        assert len(placed) == 1_001
        if units_max == 1:
            outcomes = Counter(decision["outcome"] for _, decision in placed[1:])
            assert outcomes == {"accepted": CAP, "denied": 1_000 - CAP}
            assert load.statuses == {201: CAP, 422: 1_000 - CAP}
        _both_wrote(ours)


@rounds
def test_racing_releases_ship_each_chip_once_and_no_more_than_the_cap(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    """Two shipments race for each of 60 tested chips, under a license and an order of 40."""
    cap, chips = 40, [f"SN{n:06}" for n in range(60)]
    with cluster(postgres, tmp_path) as ours:
        one = trade(cap)
        ready = [one.order("PO-1", cap), one.levy("PO-1", f"{cap * 27_000 // 4}.00"), one.tested(chips)]
        assert all(answer.status == 201 for answer in ours.say(*one.opening(), *ready))
        requests = [one.release(f"SH-{n}", "PO-1", [chips[n % 60]]) for n in range(120)]
        random.Random(round_).shuffle(requests)
        load = Load(ours, requests, clients=64, seed=round_)
        load.start()
        load.join()
        released: list[str] = []
        log = ours.settle()
        for event, decision in _events(log, "shipment.requested"):
            serials = event["data"]["serials"]
            if decision["outcome"] == "accepted":
                released += serials
            else:
                assert len(released) == cap or set(serials) <= set(released), _why(decision)
        assert len(released) == len(set(released)) == cap
        assert load.statuses == {201: cap, 422: 120 - cap}


@rounds
def test_racing_orders_of_one_number_place_it_once(postgres: Postgres, tmp_path: Path, round_: int) -> None:
    """Facts that are read before the lock would show each process that the number is free."""
    with cluster(postgres, tmp_path) as ours:
        one = trade(1_000)
        ours.say(*one.opening())
        # Other events of their own, the same order: one after another, so that they meet.
        requests = [one.order(f"PO-{n}", 1) for n in range(40) for _ in range(12)]
        load = Load(ours, requests, clients=12, seed=round_)
        load.start()
        load.join()
        placed = Counter(
            event["data"]["order"]
            for event, decision in _events(ours.settle(), "order.placed")
            if decision["outcome"] == "accepted"
        )
        assert placed == {f"PO-{n}": 1 for n in range(40)}
        _both_wrote(ours)


@rounds
def test_the_same_request_fifty_times_at_once_is_one_entry(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    with cluster(postgres, tmp_path) as ours:
        one = trade(1_000)
        ours.say(*one.opening())
        for storm in range(10):
            order = one.order(f"PO-{storm}", 1)
            load = Load(ours, [order] * 50, clients=50, seed=50 * round_ + storm)
            load.start()
            load.join()
            assert load.statuses == {201: 1, 200: 49}
            indexes = {orjson.loads(each.answer)["inclusion"]["index"] for each in load.history}
            assert len(indexes) == 1
            other = order.body.replace(b'"units":1', b'"units":2')
            [refused] = ours.say(Said(order.party, order.id, other))
            assert (refused.status, refused.problem) == (409, "id-conflict")
            # Both at once, under a new id: whichever comes first has it.
            first = one.order(f"PO-{storm}-B", 1)
            second = Said(first.party, first.id, first.body.replace(b'"units":1', b'"units":2'))
            load = Load(ours, [first, second] * 25, clients=50, seed=50 * round_ + storm)
            load.start()
            load.join()
            assert load.statuses == {201: 1, 200: 24, 409: 25}
        log = ours.settle()
        assert len(_events(log, "order.placed")) == 20


@rounds
def test_a_process_that_starts_while_others_write_joins_in(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    """Three at once on an empty database: one genesis. Then one more, under load."""
    with cluster(postgres, tmp_path, processes=3, by="url") as ours:
        last = ours.processes[-1]
        assert last.terminate() == 0
        one = trade(100_000)
        ours.processes.remove(last)
        ours.say(*one.opening())
        orders = (one.order(f"PO-{n}", 1) for n in range(20_000))
        with under(Load(ours, orders, seed=round_, seconds_max=60, think_s=0.05)) as load:
            load.wait_for_progress()
            last.start()
            last.wait_until_ready()
            load.wait_for_progress()
        ours.processes.append(last)
        ours.say(*(one.order(f"PO-LATE-{n}", 1) for n in range(20)))
        log = ours.settle()
        assert len(_events(log, "ledger.opened")) == 1


@rounds
def test_what_was_asked_for_too_early_is_not_remembered_as_absent(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    """A correction cites an entry that is not there yet; later it is, for every process alike."""
    with cluster(postgres, tmp_path, processes=1) as ours:
        one = trade(1_000)
        ours.say(*one.opening())
        orders = [one.order(f"PO-{n}", 1) for n in range(3)]
        index = len(one.opening()) + 3  # genesis, the opening, the correction below, one order

        def in_error(order: Said) -> Said:
            data = {"index": index, "id": order.id, "reason": "keyed twice"}
            by = (order.party, "buyer")
            return said("event.declared_in_error", contract=one.contract, by=by, **data)

        [early] = ours.say(in_error(orders[1]))
        assert early.status == 422
        answers = ours.say(*orders)
        assert orjson.loads(answers[1].answer)["inclusion"]["index"] == index
        [late] = ours.say(in_error(orders[1]))
        assert late.status == 201, late.answer
        ours.settle()


def test_an_event_may_cite_the_one_before_it_in_its_batch(postgres: Postgres, tmp_path: Path) -> None:
    """As it may one committed earlier: how events were batched is no part of the log, so no judge."""
    with cluster(postgres, tmp_path, processes=1) as ours:
        one = trade(1_000)
        ours.say(*one.opening())
        order = one.order("PO-1", 1)
        data = {"index": len(one.opening()) + 1, "id": order.id, "reason": "keyed twice"}
        by = (order.party, "buyer")
        error = said("event.declared_in_error", contract=one.contract, by=by, **data)
        batch = [orjson.loads(order.body), orjson.loads(error.body)]
        answer = httpx.post(
            f"{ours.processes[0].url}/v1/events:batch",
            json=batch,
            headers={"authorization": f"Bearer {ours.tokens[order.party]}"},
            timeout=30,
        ).json()
        assert [each["status"] for each in answer["results"]] == [201, 201], answer
        ours.history += [Attempt(each.party, each.id, each.body, sent_ns=0) for each in (order, error)]
        ours.settle()


@rounds
def test_a_revocation_names_what_stood_when_it_was_judged(
    postgres: Postgres, tmp_path: Path, round_: int
) -> None:
    """It races with orders: each that came before it is named, and each after it is refused."""
    random_ = random.Random(round_)
    with cluster(postgres, tmp_path) as ours:
        one = trade(1_000)
        ours.say(*one.opening(), *(one.order(f"PO-BEFORE-{n}", 1) for n in range(3)))
        requests = [one.order(f"PO-{n}", 1) for n in range(400)]
        revoked = said("license.revoked", contract=one.contract, license=one.license)
        requests.insert(random_.randint(50, 350), revoked)
        load = Load(ours, requests, clients=48, seed=round_)
        load.start()
        load.join()
        log = ours.settle()
        standing: list[str] = []
        [(scope, _)] = _events(log, "revocation.scoped")
        for event, decision in _events(log, "order.placed"):
            if decision["outcome"] == "accepted":
                standing.append(event["data"]["order"])
            else:
                assert _why(decision) == {"live"}
        assert scope["data"]["orders"] == sorted(standing)
        assert scope["data"]["orders_count"] == len(standing)
        at = [event["kind"] for event, _ in _all(log)].index("license.revoked")
        later = [decision for event, decision in _all(log)[at:] if event["kind"] == "order.placed"]
        assert later
        assert all(decision["outcome"] == "denied" for decision in later)


def _both_wrote(ours: Cluster) -> None:
    """Each process committed batches of its own: otherwise nothing was raced for."""
    for process in ours.processes:
        lines = httpx.get(f"{process.url}/metrics", timeout=5).text.splitlines()
        [batches] = [line.split()[1] for line in lines if line.startswith("chipledger_batches ")]
        assert float(batches) > 1, f"{process.url} wrote nothing"
