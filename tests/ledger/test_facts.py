"""Facts: what each kind folds into, what a correction takes back, and the bytes they are stored as."""

from __future__ import annotations

import asyncio
import types
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.database import Logins
from api.story import Telling, story
from ledger.event import KINDS, Event, parse_event
from ledger.facts import (
    FACTS,
    FOLD_VERSION,
    LOOKED_UP,
    AllFacts,
    Chain,
    Contract,
    ContractParty,
    Correction,
    Device,
    DocumentSeen,
    Exporter,
    Fact,
    Facts,
    License,
    NotLoaded,
    Order,
    Policy,
    PolicyRef,
    Recorded,
    Shipment,
    decode,
)
from ledger.fold import PLAIN, extend_chain, fold, missing
from ledger.store import Writer
from tests.ledger import golden_duties, golden_operations, golden_parties, golden_trade
from tests.ledger.live_log import live
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    LICENSE,
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    activation,
    codes,
    policy,
    serials,
    usd,
    wire,
)

UNITS = 4
CHIPS = serials(UNITS)


@pytest.fixture
def bench() -> Workbench:
    """A contract under a policy that asks for hardly anything."""
    return Workbench().open(text=policy())


@pytest.fixture
def released(bench: Workbench) -> Workbench:
    """Four chips are tested and released, of an order of ten."""
    bench.order(10)
    bench.test(CHIPS)
    bench.accepted("shipment.requested", serials=CHIPS)
    return bench


def license_of(bench: Workbench) -> License:
    return bench.fact(License, LICENSE)


def order_of(bench: Workbench) -> Order:
    return bench.fact(Order, f"{CONTRACT}/PO-4711")


def shipment_of(bench: Workbench) -> Shipment:
    return bench.fact(Shipment, f"{CONTRACT}/SH-1")


def states(bench: Workbench, chips: list[str]) -> list[str]:
    return [bench.fact(Device, serial).state for serial in chips]


def every(bench: Workbench) -> dict[tuple[str, str], str]:
    """All facts as they would be stored, but for what a correction itself leaves."""
    return {
        key: fact.encode().decode() for key, fact in bench.facts.changed.items() if key[0] != Correction.name
    }


# --- the bytes ------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
amounts = st.decimals(-(10**15), 10**15, places=6) | st.integers(-(10**9), 10**9).map(Decimal)
instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type may hold."""
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: texts, int: st.integers(0, 2**53 - 1), Decimal: amounts, datetime: instants,
        date: st.dates(), bool: st.booleans(), type(None): st.none(),
    }  # fmt: skip
    if hint in plain:
        return plain[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        return st.lists(of_type(inner[0]), max_size=4).map(tuple)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(of_type, inner))
    return built(hint)


def built(record: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(record)
    return st.builds(record, **{field.name: of_type(hints[field.name]) for field in fields(record)})


facts_of_all_kinds = st.one_of(*map(built, FACTS.values()))


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_is_what_its_bytes_say(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(built(FACTS[name]))
    def holds(fact: Fact) -> None:
        raw = fact.encode()
        again = decode(name, raw)
        assert again == fact
        assert again.key == fact.key
        assert again.encode() == raw

    holds()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(facts_of_all_kinds, max_size=8, unique_by=lambda fact: (fact.name, fact.key)))
def test_the_database_keeps_every_byte_of_a_fact(logins: Logins, facts: list[Fact]) -> None:
    """Compared as text by a rebuild: neither escapes, order of keys nor spaces may change."""

    async def store() -> list[Fact | None]:
        async with live(logins) as log:
            writer = await Writer.connect(logins.writer)
            locked = await writer.begin([], [])
            assert locked is not None
            await writer.write([], facts, [], locked=locked.head, head=locked.head)
            await writer.commit()
            await writer.close()
            async with log.reader.every_fact() as rows:
                stored = {(name, key): data async for name, key, data in rows}
            assert [stored[f.name, f.key] for f in facts] == [f.encode().decode() for f in facts]
            return [await log.reader.fact(type(f), f.key) for f in facts]

    assert asyncio.run(store()) == facts


GOLDEN: dict[str, tuple[Fact, str]] = {
    "chain": (Chain(contract="_ledger", count=1, head="00"), '{"contract":"_ledger","count":1,"head":"00"}'),
    "contract": (
        Contract(
            contract="c", title="t", zone="UTC", licenses=("D-1",), sites=(), opened=1,
            signed=("license.*",), parties=(ContractParty(party="acme", roles=("exporter",), country="US"),),
            policies=(
                PolicyRef(
                    policy="p", version=1, sha256="5e", begins=datetime(2027, 3, 1, 12, tzinfo=UTC)
                ),
            ),
        ),
        '{"contract":"c","title":"t","zone":"UTC","parties":[{"party":"acme","roles":["exporter"],'
        '"country":"US"}],"licenses":["D-1"],"sites":[],"policies":[{"policy":"p","version":1,'
        '"sha256":"5e","begins":"2027-03-01T12:00:00Z","mode":"enforce"}],"opened":1,'
        '"countries":[],"signed":["license.*"]}',
    ),
    "policy": (
        Policy(sha256="5e", policy="p", version=1, text="a: б\n"),
        '{"sha256":"5e","policy":"p","version":1,"text":"a: б\\n"}',
    ),
    "license": (
        License(
            license="D-1", contract="c", authority="bis", state="revoked", sku="s", eccn="3A090.a",
            quantity=10, zone="UTC", valid_from=date(2027, 2, 10), valid_until=date(2030, 2, 9),
            conditions_sha256="5e", granted=3, must_acknowledge=("acme",), ordered=2,
            revoked_at=datetime(2027, 3, 1, 12, 0, 0, 120, tzinfo=UTC),
        ),
        '{"license":"D-1","contract":"c","authority":"bis","state":"revoked","sku":"s","eccn":"3A090.a",'
        '"quantity":10,"zone":"UTC","valid_from":"2027-02-10","valid_until":"2030-02-09",'
        '"conditions_sha256":"5e","granted":3,"must_acknowledge":["acme"],"acknowledged":[],"acknowledgements":[],"ordered":2,"released":0,'
        '"value":null,"currency":null,"suspended_at":null,"revoked_at":"2027-03-01T12:00:00.000120Z",'
        '"application":null,"tpp":null,"bandwidth_gb_s":null,"consignees":[],"end_users":[],"forwarders":[]}',
    ),
    "order": (
        Order(
            contract="c", order="PO-1", license="D-1", sku="s", units=10, unit_value=Decimal("27000.00"),
            currency="USD", consignee="a", end_user="b", placed=7,
            placed_at=datetime(2027, 3, 1, 12, tzinfo=UTC),
        ),
        '{"contract":"c","order":"PO-1","license":"D-1","sku":"s","units":10,"unit_value":"27000.00",'
        '"currency":"USD","consignee":"a","end_user":"b","state":"placed","placed":7,"placed_at":"2027-03-01T12:00:00Z","released":0,'
        '"released_value":"0","levied":"0","received":0,"dispatched":0,"accepted":0,"paid":"0"}',
    ),
    "shipment": (
        Shipment(
            contract="c", shipment="SH-1", order="PO-1", license="D-1", sku="s", serials=("A", "B"),
            value=Decimal("54000.00"), currency="USD", released=8,
            released_at=datetime(2027, 3, 1, 12, tzinfo=UTC),
        ),
        '{"contract":"c","shipment":"SH-1","order":"PO-1","license":"D-1","sku":"s","serials":["A","B"],'
        '"value":"54000.00","currency":"USD","state":"released","released":8,'
        '"released_at":"2027-03-01T12:00:00Z","dispatched":[],"departures":[],"received":[],'
        '"missing":[],"damaged":[],"exporter":null,"country":null,"approval":null,"cleared":0,'
        '"expires_at":null,"taken_back":[]}',
    ),
    "exporter": (Exporter(exporter="acme"), '{"exporter":"acme","contracts":0,"released":0}'),
    "document": (DocumentSeen(document="a/b/c/0/1", index=3), '{"document":"a/b/c/0/1","index":3}'),
    "correction": (Correction(index=3, by=4), '{"index":3,"by":4}'),
    **golden_duties.GOLDEN,
    **golden_operations.GOLDEN,
    **golden_parties.GOLDEN,
    **golden_trade.GOLDEN,
}  # fmt: skip


@pytest.mark.parametrize("name", FACTS)
def test_the_bytes_of_a_fact_are_frozen(name: str) -> None:
    """A rebuild compares them with those that an older release stored: others are a new FOLD_VERSION."""
    fact, text = GOLDEN[name]
    assert FOLD_VERSION == 1
    assert fact.encode().decode() == text
    assert decode(name, text) == fact


def test_every_fact_has_a_name_of_its_own() -> None:
    assert all(FACTS[name].name == name for name in FACTS)
    assert not LOOKED_UP & FACTS.keys()
    assert FACTS.keys() >= PLAIN


# --- what is in memory while a batch is judged ----------------------------------------------------


def test_a_fact_that_was_not_loaded_is_a_bug_and_not_an_absence() -> None:
    facts = Facts()
    with pytest.raises(KeyError):
        facts.get(Device, "SN000001")
    assert facts.peek(Device, "SN000001") is None
    assert facts.missing([("device", "SN000001")]) == [("device", "SN000001")]
    facts.load([(("device", "SN000001"), None)])
    assert facts.get(Device, "SN000001") is None
    assert facts.missing([("device", "SN000001")]) == []


def test_an_attempt_changes_nothing_until_it_is_kept() -> None:
    facts = Facts()
    facts.load([(("device", "A"), Device(serial="A"))])
    attempt = facts.attempt()
    attempt.put(Device(serial="A", state="tested"))
    attempt.put(Device(serial="B"))
    assert attempt.get(Device, "A") == Device(serial="A", state="tested")
    assert facts.get(Device, "A") == Device(serial="A")
    assert facts.peek(Device, "B") is None
    attempt.keep()
    assert facts.get(Device, "A") == Device(serial="A", state="tested")
    assert set(facts.changed) == {("device", "A"), ("device", "B")}


@pytest.mark.parametrize("kind", [name for name, _ in KINDS if not name.startswith("ledger.")])
def test_a_kind_reads_all_that_it_folds(kind: str) -> None:
    """On an empty database: whatever is asked for has been named, so nothing raises KeyError."""
    value = wire(kind, by=("acme", "exporter"))
    event, facts = parse_event(value), Facts()
    while keys := missing(event, facts):
        facts.load((key, None) for key in keys)
    fold(event, facts, index=1, at=event.occurred_at)


@pytest.mark.parametrize("kind", [name for name, _ in KINDS if not name.startswith("ledger.")])
def test_a_kind_that_looks_something_up_says_so(kind: str) -> None:
    """A replay loads nothing for the others."""
    event, facts, looked_up = parse_event(wire(kind, by=("acme", "exporter"))), Facts(), False
    while keys := missing(event, facts):
        looked_up = looked_up or any(name in LOOKED_UP for name, _ in keys)
        facts.load((key, None) for key in keys)
    assert event.data.looks_up is looked_up


def test_of_all_facts_only_what_is_looked_up_must_be_loaded() -> None:
    facts = AllFacts({("device", "A"): Device(serial="A")})
    assert facts.get(Device, "A") == Device(serial="A")
    assert facts.get(Device, "B") is None
    assert facts.missing([("device", "B"), (Recorded.name, "7")]) == [(Recorded.name, "7")]
    with pytest.raises(NotLoaded):
        facts.get(Recorded, "7")
    attempt = facts.attempt()
    attempt.put(Device(serial="B"))
    assert (attempt.get(Device, "B"), attempt.get(Device, "C")) == (Device(serial="B"), None)
    assert facts.get(Device, "B") is None


def test_a_process_that_remembers_nothing_decides_and_folds_the_same() -> None:
    """Before each event of a year everything is forgotten and loaded anew, by what the event names alone."""
    one, forgetful = Workbench(), Workbench()
    for bench in (one, forgetful):
        year = Telling()
        for step in story():
            if bench is forgetful:
                bench.restart()
            assert _heard(year, bench.tick(step.at), len(bench.log)) == step.before, step
            index = len(bench.log)
            decision = bench.submit(year.event(step), at=step.at)
            assert decision.outcome == step.expected, step
            year.enter(step, index)
            said = [event for event, _ in bench.log[index + 1 :]]
            assert _heard(year, said, len(bench.log)) == step.after, step
    assert [decision.body for _, decision in one.log] == [decision.body for _, decision in forgetful.log]
    for name, key in one.facts.changed:
        assert forgetful.fact(FACTS[name], key) == one.fact(FACTS[name], key)


def _heard(year: Telling, said: list[Event], size: int) -> tuple[str, ...]:
    """The kinds of what the ledger has said last, in a log of `size`."""
    for index, event in enumerate(said, size - len(said)):
        year.hear(event.kind, index)
    return tuple(event.kind for event in said)


# --- licenses and orders --------------------------------------------------------------------------


def test_a_license_is_active_once_all_have_acknowledged() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", parties=PARTIES, licenses=[LICENSE])
    bench.accepted("policy.activated", **activation(policy()))
    bench.accepted("license.granted", must_acknowledge=[EXPORTER, BUYER])
    assert license_of(bench).state == "granted"
    bench.accepted("conditions.acknowledged", by=(BUYER, "consignee"))
    bench.say("conditions.acknowledged", by=(BUYER, "consignee"))
    bench.say("conditions.acknowledged", by=(EXPORTER, "exporter"), conditions_sha256="00" * 32)
    assert (license_of(bench).state, license_of(bench).acknowledged) == ("granted", (BUYER,))
    bench.accepted("conditions.acknowledged", by=(EXPORTER, "exporter"))
    assert (license_of(bench).state, license_of(bench).acknowledged) == ("active", (BUYER, EXPORTER))


def test_a_license_that_nobody_must_acknowledge_is_active_at_once() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", parties=PARTIES, licenses=[LICENSE])
    bench.accepted("license.granted", must_acknowledge=[])
    assert license_of(bench).state == "active"


def test_a_suspension_and_a_revocation_keep_their_instants(bench: Workbench) -> None:
    bench.accepted("license.suspended", at="2027-04-01T00:00:00Z")
    bench.accepted("license.revoked", at="2027-05-01T00:00:00Z")
    license_ = license_of(bench)
    assert license_.state == "revoked"
    assert license_.suspended_at == datetime(2027, 4, 1, tzinfo=UTC)
    assert license_.revoked_at == datetime(2027, 5, 1, tzinfo=UTC)


def test_an_order_reserves_and_a_release_consumes(bench: Workbench) -> None:
    bench.order(10)
    assert (license_of(bench).ordered, license_of(bench).released) == (10, 0)
    assert (order_of(bench).state, order_of(bench).remaining) == ("placed", 10)
    bench.accepted("shipment.requested", shipment="SH-1", serials=serials(4))
    assert (license_of(bench).ordered, license_of(bench).released) == (10, 4)
    assert (order_of(bench).state, order_of(bench).released, order_of(bench).reserves) == (
        "part_released", 4, True,
    )  # fmt: skip
    bench.accepted("shipment.requested", shipment="SH-2", serials=serials(6, first=5))
    assert (license_of(bench).ordered, license_of(bench).released) == (10, 10)
    assert (order_of(bench).state, order_of(bench).remaining, order_of(bench).reserves) == (
        "released", 0, False,
    )  # fmt: skip
    assert order_of(bench).released_value == Decimal("270000.00")
    exporter = bench.fact(Exporter, EXPORTER)
    assert (exporter.contracts, exporter.released) == (1, 10)


def test_a_cancelled_order_gives_back_what_it_has_not_released(released: Workbench) -> None:
    assert license_of(released).ordered == 10
    released.accepted("order.cancelled")
    assert (order_of(released).state, order_of(released).released) == ("cancelled", 4)
    assert (license_of(released).ordered, license_of(released).released) == (4, 4)


def test_a_levy_in_the_orders_currency_is_settled_and_no_other(bench: Workbench) -> None:
    bench.order(10, levied="0.00")
    bench.accepted("levy.settled", amount=usd("1.10"))
    bench.accepted("levy.settled", amount=usd("2.2"))
    bench.say("levy.settled", amount={"amount": "500.00", "currency": "EUR"})
    assert str(order_of(bench).levied) == "3.30"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.decimals(0, 10**15 - 1, places=6), min_size=1, max_size=6), st.integers(1, 5))
def test_amounts_add_up_exactly(paid: list[Decimal], units: int) -> None:
    """To the last digit that an amount may have, and back to nothing when all are taken back."""
    bench = Workbench().open(text=policy())
    bench.accepted("order.placed", units=10)
    for amount in paid:
        bench.accepted("levy.settled", amount=usd(f"{amount:f}"))
    assert int(order_of(bench).levied * 10**6) == sum(int(a.scaleb(6)) for a in paid)
    chips = serials(units)
    bench.accepted("shipment.requested", serials=chips, unit_value=usd(f"{paid[0]:f}"))
    assert int(shipment_of(bench).value * 10**6) == units * int(paid[0].scaleb(6))
    for index, (event, _) in enumerate(list(bench.log)):
        if event.kind in ("levy.settled", "shipment.requested"):
            by = (EXPORTER, "exporter")
            decision = bench.say("event.declared_in_error", by=by, index=index, id=event.id)
            assert not decision.denied, decision.value()
    assert order_of(bench).levied == order_of(bench).released_value == 0


def test_an_exporter_is_counted_across_its_contracts(released: Workbench) -> None:
    released.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES, licenses=["D-2"])
    exporter = released.fact(Exporter, EXPORTER)
    assert (exporter.contracts, exporter.released) == (2, 4)


def test_a_contract_keeps_each_policy_it_was_bound_to_in_order(bench: Workbench) -> None:
    second = policy(version=2)
    bench.accepted("policy.activated", **activation(second, version=2))
    bound = bench.fact(Contract, CONTRACT).policies
    assert [ref.version for ref in bound] == [1, 2]
    assert bench.fact(Policy, bound[1].sha256).text == second


def test_a_document_is_seen_once_its_event_is_accepted(bench: Workbench) -> None:
    said = {"document": {"system": "ERP", "number": "4500001234"}}
    bench.accepted("order.placed", units=10, **said)
    seen = bench.fact(DocumentSeen, f"{BUYER}/ERP/4500001234/0/0")
    assert bench.log[seen.index][0].kind == "order.placed"


def test_every_entry_is_the_new_tail_of_its_contracts_chain() -> None:
    facts = Facts()
    facts.load([(("chain", CONTRACT), None)])
    for count in (1, 2, 3):
        extend_chain(CONTRACT, facts, leaf=bytes([count] * 32))
        assert facts.get(Chain, CONTRACT) == Chain(contract=CONTRACT, count=count, head=f"{count:02x}" * 32)


# --- shipments and devices ------------------------------------------------------------------------


def test_a_device_goes_from_the_laboratory_to_its_rack(bench: Workbench) -> None:
    bench.order(10)
    chip, other = serials(2)
    bench.test([chip, other], failed=[other])
    assert states(bench, [chip, other]) == ["tested", "failed"]
    bench.accepted("shipment.requested", serials=[chip])
    assert states(bench, [chip]) == ["released"]
    bench.dispatch([chip])
    assert states(bench, [chip]) == ["in_transit"]
    bench.receive([chip])
    assert states(bench, [chip]) == ["received"]
    bench.accepted("device.installed", devices=[{"serial": chip, "rack": "R1", "slot": "1"}])
    assert states(bench, [chip]) == ["installed"]
    attested = [{"serial": chip, "outcome": "pass"}]
    bench.accepted("usage.attested", devices=attested, at="2027-06-02T00:00:00Z")
    device = bench.fact(Device, chip)
    assert (device.state, device.site, device.sku) == ("attesting", "SHA-1", "H200-SXM")
    assert device.attested_at == datetime(2027, 6, 2, tzinfo=UTC), "the ledger's own time, not the claim"
    assert (device.contract, device.shipment) == (CONTRACT, f"{CONTRACT}/SH-1")


def test_an_attestation_that_did_not_pass_attests_nothing(released: Workbench) -> None:
    for outcome in ("fail", "indeterminate"):
        released.say("usage.attested", devices=[{"serial": CHIPS[0], "outcome": outcome}])
    assert released.fact(Device, CHIPS[0]).attested_at is None


def test_a_test_says_nothing_of_where_a_device_is(released: Workbench) -> None:
    released.test(CHIPS, failed=CHIPS[:1], country="CN")
    device = released.fact(Device, CHIPS[0])
    [test] = device.tests
    assert (device.state, test.result, test.country) == ("released", "fail", "CN")


def test_a_laboratory_that_is_not_independent_passes_nothing(bench: Workbench) -> None:
    bench.test(CHIPS, independent=False)
    assert {bench.fact(Device, serial).tests[0].result for serial in CHIPS} == {"fail"}


def test_a_delivery_in_parts_ends_when_everything_is_accounted_for(released: Workbench) -> None:
    a, b, c, d = CHIPS
    released.dispatch(CHIPS)
    assert shipment_of(released).state == "dispatched"
    released.receive([a])
    assert (shipment_of(released).state, shipment_of(released).received) == ("part_received", (a,))
    released.receive([], lost=[b], damaged=[c])
    assert shipment_of(released).state == "part_received"
    assert (shipment_of(released).missing, shipment_of(released).damaged) == ((b,), (c,))
    assert shipment_of(released).open
    released.receive([b, d])  # what was missing has turned up
    shipment = shipment_of(released)
    assert (shipment.state, shipment.open) == ("received", False)
    assert (shipment.received, shipment.missing, shipment.damaged) == ((a, b, d), (), (c,))
    assert states(released, CHIPS) == ["received", "received", "damaged", "received"]
    assert order_of(released).received == 4


def test_what_is_told_twice_arrived_once(released: Workbench) -> None:
    released.dispatch(CHIPS)
    for _ in range(2):
        released.receive(CHIPS[:3])
    released.receive([], damaged=CHIPS[:1])
    assert order_of(released).received == 3


def test_a_missing_device_is_at_no_site(released: Workbench) -> None:
    released.dispatch(CHIPS)
    released.receive(CHIPS[1:], lost=CHIPS[:1])
    device = released.fact(Device, CHIPS[0])
    assert (device.state, device.site) == ("missing", None)
    assert shipment_of(released).state == "received", "accounted for, though not there"


def test_a_shipment_that_leaves_in_parts_keeps_its_first_departure(released: Workbench) -> None:
    released.dispatch(CHIPS[:2], at="2027-03-02T00:00:00Z")
    released.dispatch(CHIPS[2:], at="2027-03-05T00:00:00Z")
    shipment = shipment_of(released)
    assert shipment.dispatched == tuple(CHIPS)
    assert shipment.dispatched_at == datetime(2027, 3, 2, tzinfo=UTC)


# --- corrections ----------------------------------------------------------------------------------


def correct(bench: Workbench, kind: str, *, by: tuple[str, str]) -> list[str | None]:
    """Take the latest event of the kind back; gives why not."""
    index = max(n for n, (event, _) in enumerate(bench.log) if event.kind == kind)
    return codes(bench.say("event.declared_in_error", by=by, index=index, id=bench.log[index][0].id))


TAKEN_BACK: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "levy.settled": ((EXPORTER, "exporter"), {"amount": usd("12.34")}),
    "lab.tested": (
        ("test-house", "laboratory"),
        {"results": [{"serial": "SN9", "tpp": 1, "bandwidth_gb_s": 1, "result": "pass"}]},
    ),
}


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_what_is_taken_back_has_changed_nothing(released: Workbench, kind: str) -> None:
    by, said = TAKEN_BACK[kind]
    before = every(released)
    released.accepted(kind, by=by, **said)
    assert every(released) != before
    # A payment is taken back from under what was released, and that is flagged.
    assert correct(released, kind, by=by) == (["correction.released"] if kind == "levy.settled" else [])
    after = every(released)
    assert {key: after[key] for key in before} == before
    # It stays known that there is such a device, and nothing more.
    assert after.keys() - before.keys() <= {("device", "SN9")}
    assert "pass" not in after.get(("device", "SN9"), "")


def test_an_order_that_is_taken_back_reserves_nothing(bench: Workbench) -> None:
    bench.order(10)
    assert correct(bench, "order.placed", by=(BUYER, "buyer")) == []
    assert (license_of(bench).ordered, order_of(bench).state) == (0, "cancelled")


def test_a_release_that_is_taken_back_frees_its_devices(released: Workbench) -> None:
    assert correct(released, "shipment.requested", by=(EXPORTER, "exporter")) == []
    assert (license_of(released).released, license_of(released).ordered) == (0, 10)
    assert (order_of(released).state, order_of(released).released) == ("placed", 0)
    assert released.fact(Exporter, EXPORTER).released == 0
    assert states(released, CHIPS) == ["tested"] * 4
    assert shipment_of(released).state == "cancelled"
    released.accepted("shipment.requested", shipment="SH-2", serials=CHIPS)


def test_a_release_of_a_cancelled_order_gives_back_to_nobody(released: Workbench) -> None:
    released.accepted("order.cancelled")
    assert correct(released, "shipment.requested", by=(EXPORTER, "exporter")) == []
    assert (license_of(released).ordered, license_of(released).released) == (0, 0)


def test_a_device_that_nobody_tested_is_not_tested_by_a_correction(bench: Workbench) -> None:
    bench.order(10)
    bench.test(CHIPS[:2], failed=CHIPS[:1])
    bench.accepted("shipment.requested", serials=CHIPS[:3])
    assert correct(bench, "shipment.requested", by=(EXPORTER, "exporter")) == []
    assert states(bench, CHIPS[:3]) == ["failed", "tested", "known"]


def test_an_installation_that_is_taken_back_leaves_the_device_received(released: Workbench) -> None:
    released.dispatch(CHIPS)
    released.receive(CHIPS)
    racks = [{"serial": serial, "rack": "R1", "slot": "1"} for serial in CHIPS]
    released.accepted("device.installed", devices=racks)
    assert correct(released, "device.installed", by=(BUYER, "data_centre")) == []
    assert states(released, CHIPS) == ["received"] * 4


def test_an_acknowledgement_that_is_taken_back_is_asked_for_again(bench: Workbench) -> None:
    assert correct(bench, "conditions.acknowledged", by=(BUYER, "consignee")) == []
    assert (license_of(bench).state, license_of(bench).acknowledged) == ("granted", (EXPORTER,))
    bench.accepted("conditions.acknowledged", by=(BUYER, "consignee"))
    assert license_of(bench).state == "active"


def test_whoever_was_not_asked_cannot_end_a_license_by_a_correction(bench: Workbench) -> None:
    """What has changed nothing leaves nothing to take back."""
    assert codes(bench.say("conditions.acknowledged", by=(FORWARDER, "forwarder"))) == [
        "acknowledgement_matches.party"
    ]
    before = license_of(bench)
    assert correct(bench, "conditions.acknowledged", by=(FORWARDER, "forwarder")) == []
    assert license_of(bench) == before


def test_a_levy_for_an_order_that_was_not_there_takes_nothing_back(bench: Workbench) -> None:
    bench.say("levy.settled", amount=usd("99.00"))
    bench.order(10, levied="5.00")
    index = next(n for n, (event, _) in enumerate(bench.log) if event.kind == "levy.settled")
    bench.accepted("event.declared_in_error", index=index, id=bench.log[index][0].id)
    assert str(order_of(bench).levied) == "5.00"


def test_a_dispatch_of_what_was_not_released_moves_nothing(bench: Workbench) -> None:
    """It is flagged, and in the log; where the device is, only the contract that holds it can say."""
    bench.test(CHIPS)
    assert bench.dispatch(CHIPS[:1]).outcome == "flagged"
    assert states(bench, CHIPS) == ["tested"] * 4
    assert correct(bench, "lab.tested", by=("test-house", "laboratory")) == []
    assert states(bench, CHIPS) == ["known"] * 4


def _dispatched(bench: Workbench) -> None:
    bench.dispatch(CHIPS)


def _attested(bench: Workbench) -> None:
    bench.dispatch(CHIPS)
    bench.receive(CHIPS)
    racks = [{"serial": serial, "rack": "R1", "slot": "1"} for serial in CHIPS]
    bench.accepted("device.installed", devices=racks)
    bench.accepted("usage.attested", devices=[{"serial": s, "outcome": "pass"} for s in CHIPS])


def _nothing(bench: Workbench) -> None:
    return


@pytest.mark.parametrize(
    ("kind", "by", "then"),
    [
        pytest.param("order.placed", (BUYER, "buyer"), _nothing, id="an order that has released"),
        pytest.param("lab.tested", ("test-house", "laboratory"), _nothing, id="the test of what is released"),
        pytest.param("shipment.requested", (EXPORTER, "exporter"), _dispatched, id="a release that has left"),
        pytest.param("device.installed", (BUYER, "data_centre"), _attested, id="a device that attests"),
    ],
)
def test_what_others_rest_on_is_not_taken_back(
    released: Workbench, kind: str, by: tuple[str, str], then: Any
) -> None:
    then(released)
    before = every(released)
    assert correct(released, kind, by=by) == ["correction.dependents"]
    assert every(released) == before


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("policy.activated", (AUTHORITY, "authority")),
        ("contract.opened", (EXPORTER, "exporter")),
    ],
)
def test_what_cannot_be_undone_is_not(released: Workbench, kind: str, by: tuple[str, str]) -> None:
    released.dispatch(CHIPS)
    released.receive(CHIPS)
    before = every(released)
    assert correct(released, kind, by=by) == ["correction.not_reversible"]
    assert every(released) == before


def test_nothing_is_taken_back_twice_and_no_correction_is(bench: Workbench) -> None:
    bench.order(10, levied="5.00")
    assert correct(bench, "levy.settled", by=(EXPORTER, "exporter")) == []
    assert correct(bench, "levy.settled", by=(EXPORTER, "exporter")) == ["correction.twice"]
    index = next(n for n, (e, _) in enumerate(bench.log) if e.kind == "event.declared_in_error")
    said = bench.say("event.declared_in_error", index=index, id=bench.log[index][0].id)
    assert codes(said) == ["correction.not_reversible"]
    assert order_of(bench).levied == 0
