"""What deciding costs: twelve typed conditions asked about one event, against the dump of that event.

Both in one process, as the committer does it in a batch: facts are loaded, documents compiled, events
parsed; measured are `Engine.judge` and the canonical bytes of its decision. The yardstick is what nobody
gets around, orjson's dump of the same event with sorted keys.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from ledger.event import Event, parse_event
from policies.engine import Engine
from tests.workbench import (
    BUYER,
    EXPORTER,
    FORWARDER,
    LICENSE,
    NOON,
    Workbench,
    condition,
    policy,
    serials,
    usd,
    wire,
)

EVENTS = 100
"""In a round; each speaks of other devices."""
PER_EVENT = 3
REPEATS = 20
RELEASE = "shipment.requested"
CERTIFIED = ["available_in_us", "no_delay_to_us_orders", "no_foundry_diversion"]
CONDITIONS = (
    condition("license_active", in_transit_grace="P7D"),
    condition("validity_window"),
    condition("party_item_match"),
    condition("quantity_cap", limit={"from": "license.quantity"}),
    condition("site_allow_list"),
    condition("conditions_acknowledged"),
    condition("laboratory_test", coverage="every", country="US"),
    condition("levy_settled", rate="0.25", rounding="half_up", digits=2),
    condition("supply_certified", max_age="P90D", certifications=CERTIFIED),
    condition("end_user_statement", above=usd("50000.00"), days=30),
    condition("screening_clear", score=850, list_age="PT24H", lists=["US-CSL"]),
    condition("us_ratio_cap", percent="50", measure="units", countries=["CN", "MO"]),
)
"""What a release is asked by the H200 rule, or most of it: all of these apply, and all pass."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """Microseconds of CPU for each event, one figure for each round."""

    conditions: int
    event_bytes: int
    decision_bytes: int
    dump_us: list[float]
    decide_us: list[float]


def measure(rounds: int) -> Deciding:
    bench = _ready()
    wires = [_release(number) for number in range(EVENTS)]
    events = [parse_event(value) for value in wires]
    for event in events:
        bench.load(event)
    at, engine, facts = bench.now(), bench.engine, bench.facts

    def decide() -> None:
        for event in events:
            _ = engine.judge(event, facts, at=at).body

    def dump() -> None:
        for value in wires:
            orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

    decision = _expected(engine, events[0], bench)
    dumps, decisions = zip(*((_us(dump), _us(decide)) for _ in range(rounds)), strict=True)
    return Deciding(len(CONDITIONS), len(orjson.dumps(wires[0])), len(decision), [*dumps], [*decisions])


def _expected(engine: Engine, event: Event, bench: Workbench) -> bytes:
    """A decision that is not what is meant to be measured measures nothing."""
    decision = engine.judge(event, bench.facts, at=bench.now())
    results = [finding.result for finding in decision.findings]
    assert decision.outcome == "accepted", decision.value()
    assert results == ["pass"] * len(CONDITIONS), results
    return decision.body


def _us(work: Callable[[], None]) -> float:
    """Microseconds of CPU for each event, the best of some repeats: others take time, nobody gives any."""
    gc.collect()
    best = min(_seconds(work) for _ in range(REPEATS))
    return best * 1e6 / EVENTS


def _seconds(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _release(number: int) -> dict[str, Any]:
    first = 1 + number * PER_EVENT
    return wire(
        RELEASE, order="PO-1", license=LICENSE, shipment=f"SH-{number}",
        serials=serials(PER_EVENT, first=first),
    )  # fmt: skip


def _ready() -> Workbench:
    """A contract in which every release of the round would pass."""
    bench = Workbench()
    bench.open(text=policy(*CONDITIONS))
    units = EVENTS * PER_EVENT
    bench.accepted("baseline.declared")
    bench.accepted("supply.certified", dated="2027-02-20", certifications=CERTIFIED)
    bench.accepted("statement.filed")
    lists = [{"list": "US-CSL", "sha256": "c5" * 32, "retrieved_at": NOON}]
    for party in (BUYER, FORWARDER):
        bench.accepted(
            "screening.recorded", by=(EXPORTER, "exporter"), party=party, lists=lists, candidates=[]
        )
    bench.order(units, order="PO-1")
    bench.test(serials(units))
    return bench
