"""Conditions that a document writes itself: what is refused when it is parsed, and what they come to."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ledger.decision import Decision, Finding
from ledger.event import KINDS, parse_event
from ledger.facts import Contract, License, Order, Shipment
from policies import document as documents
from policies.conditions import Case
from policies.conditions.cel import program as programs
from policies.conditions.cel.dialect import (
    COST_MAX,
    CUSTOM_MAX,
    DEPTH_MAX,
    EXPRESSION_CHARS_MAX,
    FUNCTIONS,
    ITERATIONS_MAX,
)
from policies.conditions.cel.program import Program, Refusal, read
from policies.conditions.cel.variables import ALWAYS, JUDGED, Subject, of_kind, plain
from policies.document import PolicyDocument, parse_document
from policies.engine import Engine
from policies.explain import clauses_of, explain
from policies.exported import replay_export
from policies.tree import PolicyDocumentError
from tests.policies.told_log import AUTHORITY, BUYER, EXPORTER, LICENSE, ROLES, ToldLog, order
from tests.workbench import CONTRACT, Workbench, activation, condition, finding, policy, serials, usd, wire
from tests.workbench import LICENSE as LICENSE_NUMBER

ROOT = Path(__file__).parents[2]
RECEIVED = ("delivery.received",)


def written(expression: str, *kinds: str, **fields: Any) -> dict[str, Any]:
    return condition("custom", at=list(kinds or RECEIVED), expression=expression, **fields)


def asked(expression: str, *kinds: str, **fields: Any) -> Workbench:
    """A contract under this condition alone."""
    return Workbench().open(text=policy(written(expression, *kinds, **fields)))


def found(decision: Decision) -> Finding:
    return finding(decision, "custom")


def received(expression: str, units: int = 3, **data: Any) -> Finding:
    """What the expression comes to, when so many devices arrive."""
    bench = asked(expression)
    bench.order(units)
    bench.release(serials(units))
    bench.dispatch(serials(units))
    return found(bench.receive(serials(units), **data))


def refused(expression: str, *kinds: str) -> str:
    """The words of the one fault."""
    with pytest.raises(PolicyDocumentError) as error:
        parse_document(policy(written(expression, *kinds)))
    [fault] = error.value.faults
    assert fault.pointer == "/conditions/0/expression"
    return fault.detail


# --- what is refused ------------------------------------------------------------------------------

YAML = """\
policy: site
version: 1
language: 1
zone: Asia/Shanghai
force: {from: 2027-01-01}
approvals: [authority]
conditions:
  - id: receipts
    uses: custom
    at: [delivery.received]
    expression: size(event.receved) <= 500
    action: flag
    clause: "site rules 3.2"
"""


def test_an_unknown_name_is_refused_with_its_place_and_the_nearest_that_is_known() -> None:
    with pytest.raises(PolicyDocumentError) as error:
        parse_document(YAML)
    [fault] = error.value.faults
    assert fault.detail == (
        "line 11, column 17: column 6 of the expression: event.receved is not known; "
        "the nearest is event.received"
    )
    assert parse_document(YAML.replace("receved", "received")).conditions[0].id == "receipts"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("event.site == 1", "column 12 of the expression: == does not take (string, int)"),
        ("size(event.site)\n  <= 'x'", "line 2, column 3 of the expression: <= does not take (int, string)"),
        ("'é€' == event.site && event.sit == 'x'", "column 23 of the expression: event.sit is not known"),
        ("size(event.received)", "the expression comes to int, must come to true or false"),
        ("event.received", "the expression comes to list(string), must come to true or false"),
        ("{'a': 1} == {'a': 1}", "column 1 of the expression: is of type map; there are bool, int"),
        ("{'a': 1}['a'] == 1", "[ ] does not take (map(string, int), string)"),
        ("size({}) == 0", "size does not take (map("),
        ("1.0 == 1.0", "column 1 of the expression: is of type double"),
        ("1 == 1.0", "== does not take (int, double)"),
        ("event.received.all(s, 0.5 < 1.5)", "< does not take (double, double)"),
        ("1 / 2 == 0.5", "== does not take (int, double)"),
        ("double(1) == double(1)", "double is no function of the dialect"),
        ("dyn(1) == 1", "column 4 of the expression: dyn is no function of the dialect"),
        ("[1, 'a'] == [2]", "is of type list(dyn)"),
        ("[] == []", "is of type list(dyn)"),
        ("event.site.matches('^P')", "matches is no function of the dialect"),
        ("matches(event.site, '^P')", "matches is no function of the dialect"),
        ("recorded_at.getHours('Asia/Tokyo') < 8", "getHours is not called so"),
        ("recorded_at.getFullYear('-08:00') < 8", "getFullYear is not called so"),
        ("now() < recorded_at", "now is no function of the dialect"),
        ("null == null", "is of type null"),
        ("b'a' == b'a'", "is of type bytes"),
        ("1u == 1u", "is of type uint"),
        ("'a' + 'b' == 'ab'", "+ does not take (string, string)"),
        ("type(1) == int", "type is no function of the dialect"),
        ("int == int", "is of type type"),
        ("google.protobuf.Int64Value{value: 1} == 1", "is of type a wrapper"),
        ("google.protobuf.Struct{} == google.protobuf.Struct{}", "is of type"),
        ("event.received.map(s, [s]) == []", "is of type list(list(string))"),
        ("has(event.sites)", "column 5 of the expression: event.sites is not known; the nearest is"),
        ("has(1)", "column 1 of the expression: has must be written has(event.name)"),
        ("has.event.site", "column 1 of the expression: has must be written has(event.name)"),
        ("license.quantty > 1", "license.quantty is not known; the nearest is license.quantity"),
        ("event == event", "event is not known"),
        ("size(event.received) <=", "Syntax error"),
        ("event.received.all(s, ", "Syntax error"),
        ("'abc", "Syntax error"),
        ("true; true", "Syntax error"),
        ("x" * (EXPRESSION_CHARS_MAX + 1), f"expression must have at most {EXPRESSION_CHARS_MAX}"),
        ("", "must have at least 1 character"),
        ("(" * 40 + "true" + ")" * 40, f"the expression is nested deeper than {DEPTH_MAX} levels"),
        ("(" * 490 + "true" + ")" * 490, "the expression is nested deeper"),
        ("[" * 400 + "]" * 400 + " == []", "the expression is nested deeper"),
        ("1" + " + 1" * 200 + " > 0", "nested deeper"),
        ("true ? true : " * 60 + "false", "nested deeper"),
        ("event" + ".a" * 400 + " == 1", "nested deeper"),
    ],
)  # fmt: skip
def test_what_the_dialect_does_not_have_is_refused_when_the_document_is_parsed(
    expression: str, words: str
) -> None:
    assert words in refused(expression)


def test_a_literal_that_loops_beyond_the_limit_is_refused() -> None:
    ones = "[" + ",".join("1" * 60) + "]"
    dear = f"{ones}.all(a, {ones}.all(b, {ones}.all(c, a == b && b == c)))"
    assert "costs more than is allowed, whatever the event" in refused(dear)
    many = " && ".join([f"{ones}.all(a, {ones}.all(b, a == b))"] * 3)
    assert "costs more than is allowed, whatever the event" in refused(many)


def test_an_expression_knows_what_all_of_its_kinds_say_alike() -> None:
    shipping = ("shipment.requested", "shipment.dispatched")
    parse_document(policy(written("size(event.serials) <= 5", *shipping)))
    assert "event.sku is not known" in refused("event.sku == 'x'", *shipping)
    # A day in one of them is an instant in the other.
    assert "event.from is not known" in refused("event.from == event.from", "sla.reported", "report.filed")
    # What a kind leads to is known only where each of them leads there.
    assert "license.quantity is not known" in refused("license.quantity > 1", "lab.tested", "order.placed")


def test_a_fact_cannot_be_refused_nor_a_setup_event_judged() -> None:
    assert set(JUDGED) == {n for (n, _), k in KINDS.items() if k.nature != "own" and not k.setup}
    with pytest.raises(PolicyDocumentError, match=r"custom does not judge policy\.activated"):
        parse_document(policy(written("true", "policy.activated")))
    bench = asked("false", action="deny")
    bench.order(1)
    bench.release(serials(1))
    bench.dispatch(serials(1))
    assert bench.receive(serials(1)).outcome == "flagged"


def test_a_document_has_a_limited_number_of_them() -> None:
    many = [written("true") | {"id": f"c{number}"} for number in range(CUSTOM_MAX + 1)]
    parse_document(policy(*many[:-1]))
    with pytest.raises(PolicyDocumentError, match=f"has {CUSTOM_MAX + 1} custom conditions, must have at"):
        parse_document(policy(*many))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    programs._environment.cache_clear()
    documents._parse.cache_clear()
    yield
    programs._environment.cache_clear()


@pytest.mark.usefixtures("no_library")
def test_where_the_library_is_not_there_a_document_that_needs_it_is_refused() -> None:
    assert "a custom condition needs cel-expr-python, which is not installed here" in refused("true")
    parse_document(policy(condition("quantity_cap", limit=1)))


def test_a_document_without_them_does_not_import_the_library() -> None:
    script = (
        "import sys; from policies.document import parse_document; from tests.workbench import policy; "
        "print(parse_document(policy()).cel, 'cel_expr_python' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.split() == ["None", "False"]


def test_every_name_of_every_kind_is_known_to_the_library() -> None:
    for kind in JUDGED:
        for name in of_kind(kind):
            assert isinstance(read(f"has({name}) && {name} == {name}", (kind,)), Program), (kind, name)


def test_every_name_has_the_type_that_it_is_declared_with() -> None:
    """Of the example of every kind, and of facts of a year: what is there can be compared to itself."""
    bench = Workbench().open()
    bench.order(2)
    bench.test(serials(2))
    bench.release(serials(2))
    bench.dispatch(serials(2))
    bench.receive(serials(1), lost=serials(2)[1:])
    facts = {
        License: bench.fact(License, LICENSE_NUMBER),
        Order: bench.fact(Order, f"{CONTRACT}/PO-4711"),
        Shipment: bench.fact(Shipment, f"{CONTRACT}/SH-1"),
    }
    seen = set()
    for kind in JUDGED:
        event = parse_event(wire(kind))
        case = Case(event, bench.facts, bench.fact(Contract, CONTRACT), at=event.occurred_at)
        for name, variable in (of_kind(kind) | ALWAYS).items():
            asks = read(f"has({name}) && {name} == {name}", (kind,))
            assert isinstance(asks, Program)
            there = variable.read(Subject(case, facts)) is not None
            assert asks.evaluate(Subject(case, facts)) is there, (kind, name)
            seen |= {(kind, name)} if there else set()
    every = {(kind, name) for kind in JUDGED for name in of_kind(kind)}
    assert len(every - seen) < len(every) // 8  # the examples say nearly all there is to say


def test_amounts_are_exact_however_large() -> None:
    assert plain(Decimal("27000.000001")) == 27_000_000_001
    assert plain(Decimal("123456789012345678901234567890.123456")) == 123456789012345678901234567890123456


def test_every_function_that_is_kept_can_be_called() -> None:
    """A name that the library did not know would leave out more than was meant."""
    calls = {
        "_&&_": "true && true", "_||_": "true || true", "!_": "!true", "_?_:_": "true ? true : false",
        "_==_": "1 == 1", "_!=_": "1 != 1", "_<_": "1 < 1", "_<=_": "'a' <= 'b'",
        "_>_": "recorded_at > recorded_at", "_>=_": "duration('1h') >= duration('1h')",
        "_+_": "recorded_at + duration('1h') == recorded_at && duration('1h') + recorded_at == recorded_at "
        "&& duration('1h') + duration('1h') == duration('1h') && [1] + [2] == [3] "
        "&& 1 + 1 == 2",
        "_-_": "recorded_at - recorded_at == duration('1h') && recorded_at - duration('1h') == recorded_at "
        "&& duration('1h') - duration('1h') == duration('1h') && 1 - 1 == 0",
        "_*_": "2 * 2 == 4", "_/_": "2 / 2 == 1", "_%_": "2 % 2 == 0", "-_": "-size(event.site) == 1",
        "_[_]": "event.received[0] == 'a'", "@in": "'a' in event.received",
        "@not_strictly_false": "event.received.all(s, s == 'a')",
        "size": "size('a') == 'a'.size() && size([1]) == [1].size()",
        "contains": "'a'.contains('a')", "startsWith": "'a'.startsWith('a')", "endsWith": "'a'.endsWith('a')",
        "int": "int(recorded_at) > 0", "timestamp": "timestamp('2027-01-01T00:00:00Z') < recorded_at",
        "duration": "duration('1h') == duration('1h')",
        "getFullYear": "recorded_at.getFullYear() > 0", "getMonth": "recorded_at.getMonth() > 0",
        "getDate": "recorded_at.getDate() > 0", "getDayOfWeek": "recorded_at.getDayOfWeek() > 0",
        "getHours": "recorded_at.getHours() > duration('1h').getHours()",
        "getMinutes": "recorded_at.getMinutes() > duration('1h').getMinutes()",
        "getSeconds": "recorded_at.getSeconds() > duration('1h').getSeconds()",
    }  # fmt: skip
    assert calls.keys() == FUNCTIONS.keys()
    for call in calls.values():
        assert isinstance(found := read(call, RECEIVED), Program), found


# --- what it comes to -----------------------------------------------------------------------------


def test_the_example_of_the_design_at_its_limit_and_beyond() -> None:
    text = "size(event.received) <= 500"
    at_limit, beyond = received(text, 500), received(text, 512)
    assert (at_limit.result, at_limit.observed, at_limit.limit) == ("pass", 500, 500)
    assert (beyond.result, beyond.action, beyond.code) == ("fail", "flag", "custom.above")
    assert (beyond.observed, beyond.limit, beyond.shortfall, beyond.unit) == (512, 500, 12, "number")


@pytest.mark.parametrize(
    ("expression", "result", "code", "observed", "limit", "shortfall"),
    [
        ("size(event.received) < 3", "fail", "not_below", 3, 3, 1),
        ("size(event.received) < 4", "pass", None, 3, 4, None),
        ("size(event.received) >= 5", "fail", "below", 3, 5, 2),
        ("size(event.received) > 3", "fail", "not_above", 3, 3, 1),
        ("size(event.received) == 4", "fail", "other", 3, 4, None),
        ("size(event.received) != 3", "fail", "same", 3, 3, None),
        ("size(event.received) != 4", "pass", None, 3, 4, None),
        ("2 >= size(event.received) // no more", "fail", "above", 3, 2, 1),
        ("size(event.received) + 1 <= size(event.received) * 2 - 3", "fail", "above", 4, 3, 1),
        ("size(')(') <= size(event.received)", "pass", None, 3, 2, None),
        ("(size(event.received) <= 2)", "fail", "false", None, None, None),
        ("size(event.received) <= 2 && true", "fail", "false", None, None, None),
        ("size(event.received) <= 9007199254740993 - 1", "pass", None, None, None, None),
        ("event.site == 'SHA-1'", "pass", None, None, None, None),
        ("event.received.exists(s, s.endsWith('2'))", "pass", None, None, None, None),
        ("event.received.filter(s, s != event.received[0]).size() == 2", "pass", None, 2, 2, None),
        ("event.received.map(s, size(s))[0] in [8]", "pass", None, None, None, None),
    ],
)  # fmt: skip
def test_a_comparison_of_integers_commits_both_of_them(
    expression: str, result: str, code: str | None, observed: int, limit: int, shortfall: int
) -> None:
    said = received(expression)
    assert (said.result, said.code) == (result, code and f"custom.{code}")
    assert (said.observed, said.limit, said.shortfall) == (observed, limit, shortfall)


@pytest.mark.parametrize(
    "expression",
    [
        "1 / size(event.missing) == 1",
        "1 % size(event.missing) == 1",
        "9223372036854775807 + size(event.received) > 0",
        "event.received[7] == 'x'",
        "timestamp(event.site) < recorded_at",
        "duration(event.site) == duration('1h')",
        "recorded_at + duration('87600000h') > recorded_at",
        "event.missing[0] == 'x' && event.site == 'SHA-1'",
        "shipment.dispatched_at <= recorded_at && license.value_micros > 0",
    ],
)
def test_an_error_is_never_a_pass(expression: str) -> None:
    said = received(expression)
    assert (said.result, said.code, said.observed, said.weight) == ("error", "custom.error", None, "flag")


def test_an_error_denies_where_the_condition_denies() -> None:
    bench = asked("event.end_use == 'training'", "order.placed")
    assert bench.ask("order.placed", end_use="training").outcome == "accepted"
    without = bench.ask("order.placed", end_use=None)
    assert (without.outcome, found(without).result) == ("denied", "error")
    assert "it could not be judged" in explain(without.value())[-1]


def test_what_an_event_does_not_say_can_be_asked_for() -> None:
    bench = asked("!has( event . end_use ) || event.end_use == 'training'", "order.placed")
    for end_use, outcome in ((None, "accepted"), ("training", "accepted"), ("inference", "denied")):
        assert bench.ask("order.placed", end_use=end_use).outcome == outcome
    literal = asked("event.sku != 'has(event.x)' // has(event.y)", "order.placed")
    assert literal.ask("order.placed").outcome == "accepted"


def test_money_is_counted_in_millionths() -> None:
    bench = asked("event.unit_value.amount_micros <= 27000 * 1000000", "order.placed")
    assert bench.ask("order.placed", unit_value=usd("27000.00")).outcome == "accepted"
    over = found(bench.ask("order.placed", unit_value=usd("27000.000001")))
    assert (over.observed, over.limit, over.shortfall) == (27_000_000_001, 27_000_000_000, 1)
    # More than the library's integers hold is an error, and no wrong number.
    assert found(bench.ask("order.placed", unit_value=usd("999999999999999.00"))).result == "error"


def test_of_a_list_of_objects_each_field_is_a_list() -> None:
    bench = asked("event.results.result.all(r, r == 'pass')", "lab.tested", action="flag")
    bench.test(serials(2))
    with pytest.raises(AssertionError, match=r"custom\.false"):
        bench.test(serials(2), failed=serials(1))


def test_facts_are_those_that_the_event_leads_to() -> None:
    bench = asked("event.units <= license.quantity - license.ordered - 9000", "order.placed")
    assert bench.say("order.placed", order="PO-1", units=600).outcome == "accepted"
    bench.restart()  # they are loaded when they are asked for, and only then
    said = found(bench.say("order.placed", order="PO-2", units=500))
    assert (said.result, said.observed, said.limit, said.shortfall) == ("fail", 500, 400, 100)
    through = received("license.quantity == 10000 && order.units == 3 && size(shipment.dispatched) == 3")
    assert through.result == "pass"
    known = asked("has(license.state) && license.state == 'active'", "order.placed")
    assert known.ask("order.placed").outcome == "accepted"


@pytest.mark.parametrize(
    "kind", ["acceptance.signed", "customs.cleared", "export.filed", "invoice.issued", "payment.received"]
)
def test_facts_that_a_kind_does_not_read_itself_are_loaded(kind: str) -> None:
    bench = asked("has(license.state) && license.state == 'active' && order.units == 2", kind)
    bench.order(2)
    bench.release(serials(2))
    bench.restart()
    assert found(bench.ask(kind)).result == "pass"


def test_times_are_instants_and_no_clock_is_read() -> None:
    text = "recorded_at - occurred_at <= duration('24h') && recorded_at.getFullYear() == 2027"
    bench = asked(text, "order.placed")
    assert bench.ask("order.placed", at="2027-03-01T00:00:00Z").outcome == "accepted"
    assert bench.ask("order.placed", at="2027-05-01T00:00:00Z").outcome == "denied"


# --- budgets --------------------------------------------------------------------------------------


class _Data:
    """Event data of a delivery that only says what was received, and counts what is asked of it."""

    def __init__(self, count: int, site: str = "SHA-1") -> None:
        self.count, self.place = count, site
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        if name == "site":
            return self.place
        return tuple(serials(self.count)) if name == "received" else ()


def subject(data: _Data) -> Subject:
    case: Any = type("Case", (), {"data": data})()
    return Subject(case, {})


def program(expression: str) -> Program:
    found = read(expression, RECEIVED)
    assert isinstance(found, Program), found
    return found


@pytest.mark.parametrize(
    ("expression", "within"),
    [
        ("event.received.all(s, s != 'x')", ITERATIONS_MAX - 1),
        ("event.received.all(s, s in event.received)", 490),
        ("event.received.all(s, event.received.all(t, t == s || t != s))", 95),
        ("event.received.map(s, size(s)).all(n, n > 0)", 490),
        ("event.received.filter(s, s != 'x').size() >= 0", 490),
        ("event.received.all(s, event.received == event.received)", 340),
    ],
)
def test_a_judgement_costs_no_more_than_the_limit(expression: str, within: int) -> None:
    asks = program(expression)
    assert asks.evaluate(subject(_Data(within))) in (True, (within, 0))
    beyond = ITERATIONS_MAX if within > 1000 else within + 20
    assert asks.evaluate(subject(_Data(beyond))) is None


def test_long_texts_cost_more_in_a_loop() -> None:
    """At worst `contains` compares all of one text at each character of the other."""
    asks = program(f"event.received.all(s, !event.site.contains('{'a' * 900}b'))")
    assert asks.evaluate(subject(_Data(500))) is True
    assert asks.evaluate(subject(_Data(140, "a" * 2_000))) is True
    assert asks.evaluate(subject(_Data(200, "a" * 2_000))) is None
    counts = program("event.received.all(s, size(event.site) > 0)")
    assert counts.evaluate(subject(_Data(9_000))) is True
    assert counts.evaluate(subject(_Data(9_000, "a" * 2_000))) is None


def test_what_has_no_loop_takes_the_longest_list_there_is() -> None:
    assert program("size(event.received) <= 500").evaluate(subject(_Data(10_000))) == (10_000, 500)
    assert COST_MAX > ITERATIONS_MAX


def test_only_what_an_expression_names_is_read_and_bound() -> None:
    class Recorder:
        bound: dict[str, object]

        def eval(self, data: dict[str, object]) -> Any:
            self.bound = data
            return compiled.eval(data=data)

    asks = program("size(event.received) <= 500 && !has(event.damaged)")
    compiled, recorder, data = asks.compiled, Recorder(), _Data(2)
    replace(asks, compiled=recorder).evaluate(subject(data))  # type: ignore[arg-type] # it records
    assert recorder.bound.keys() == {"event.received", "has.event.damaged"}
    assert sorted(data.asked) == ["damaged", "received"]
    assert asks.facts == frozenset()


def test_threads_may_share_it() -> None:
    asks = program("size(event.received.filter(s, s.endsWith('7'))) <= 9")

    def judge(count: int) -> bool:
        return asks.evaluate(subject(_Data(count))) == (sum(s.endswith("7") for s in serials(count)), 9)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(judge, [number % 90 for number in range(2_000)]))


def test_threads_may_read_expressions_at_once() -> None:
    texts = [f"size(event.received) <= {number}" for number in range(200)]
    programs._environment.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        read_ = list(threads.map(lambda text: read(text, RECEIVED), texts))
    assert not any(isinstance(one, Refusal) for one in read_)
    values = [one.evaluate(subject(_Data(3))) for one in read_ if isinstance(one, Program)]
    assert values == [(3, number) for number in range(200)]


# --- what is committed ----------------------------------------------------------------------------

GOLDEN = (
    b'{"conditions":[{"action":"deny","clock":"recorded_at","code":"custom.above","id":"custom","limit":5,'
    b'"observed":6,"policy":1,"result":"fail","shortfall":1,"unit":"number","uses":"custom"}],"engine":1,'
    b'"outcome":"denied","policies":[{"policy":"constitution","version":1},{"cel":"0.1.3","policy":'
    b'"us-h200-china","sha256":"SHA","version":1}],"proposals":[]}'
)


def test_the_bytes_of_a_decision_name_the_version_of_the_library() -> None:
    text = policy(written("event.units <= 5", "order.placed"))
    decision = Workbench().open(text=text).ask("order.placed", units=6)
    assert decision.body == GOLDEN.replace(b"SHA", documents.digest(text).encode())


def test_a_document_without_custom_conditions_names_no_version() -> None:
    bench = Workbench().open(text=policy(condition("quantity_cap", limit=5)))
    assert b"cel" not in bench.ask("order.placed").body


def test_a_shadow_names_the_version_too() -> None:
    bench = Workbench().open(text=policy(condition("quantity_cap", limit=100)))
    text = policy(written("event.units <= 5", "order.placed"), version=2)
    bench.accepted("policy.proposed", **activation(text, version=2))
    bench.say("policy.approved", office="authority", version=2, sha256=documents.digest(text))
    named = {k: v for k, v in activation(text, version=2).items() if k != "text"}
    bench.accepted("policy.activated", **named, mode="shadow", begins=None)
    [shadow] = bench.ask("order.placed", units=6).value()["shadows"]
    assert (shadow["outcome"], shadow["cel"]) == ("denied", "0.1.3")


def test_it_is_explained_with_its_expression() -> None:
    text = policy(written("size(event.received)\n   <= 2", clause="site rules 3.2", action="flag"))
    bench = Workbench().open(text=text)
    bench.order(3)
    bench.release(serials(3))
    bench.dispatch(serials(3))
    value = bench.receive(serials(3)).value()
    [said] = explain(value, clauses_of([parse_document(text)]))
    assert said == (
        "custom: 3, must be at most 2 (1 too many). Clause: site rules 3.2: size(event.received) <= 2."
    )


# --- replay ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log() -> ToldLog:
    """Two orders, one of them denied by a custom condition."""
    log = ToldLog()
    parties = [
        {"party": party, "roles": [role], "name": party, "country": "US"} for party, role in ROLES.items()
    ]
    parties[2]["roles"] = ["buyer", "consignee", "end_user", "data_centre"]
    opened = {
        "title": "C",
        "zone": "America/New_York",
        "parties": parties,
        "licenses": [LICENSE],
        "sites": [],
    }
    text = policy(written("event.units <= license.quantity - license.ordered", "order.placed"))
    granted = {
        "license": LICENSE, "sku": "H200-SXM", "eccn": "3A090.a", "quantity": 20, "valid_from": "2027-02-15",
        "valid_until": "2027-12-15", "conditions_sha256": "5e" * 32, "must_acknowledge": [EXPORTER],
    }  # fmt: skip
    log.say("contract.opened", EXPORTER, "2027-01-12T15:00:00Z", **opened)
    log.say("policy.activated", AUTHORITY, "2027-01-20T15:00:00Z", **activation(text))
    log.say("license.granted", AUTHORITY, "2027-02-10T15:00:00Z", **granted)
    for number, units in (("PO-1", 12), ("PO-2", 9)):
        log.say("order.placed", f"{BUYER}/buyer", "2027-02-16T15:00:00Z", **order(number, units))
    assert [log.decision(index)["outcome"] for index in (4, 5)] == ["accepted", "denied"]
    return log


def test_a_replay_decides_the_same(log: ToldLog) -> None:
    outcome = replay_export(io.BytesIO(log.export()), Engine())
    assert (outcome.difference, outcome.judged) == (None, 6)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_decides_the_same(log: ToldLog, seed: str, tmp_path: Path) -> None:
    export = tmp_path / "log.export"
    export.write_bytes(log.export())
    script = (
        "import sys; from policies.engine import Engine; from policies.exported import replay_export\n"
        "print(replay_export(open(sys.argv[1], 'rb'), Engine()).difference)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(export)], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo", "LC_ALL": "C"},
    )  # fmt: skip
    assert ran.stdout.strip() == "None", ran.stderr


def test_a_difference_of_versions_is_explained(log: ToldLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def later(text: str) -> PolicyDocument:
        return replace(parse_document(text), cel="0.9.9")

    monkeypatch.setattr("policies.compiled.parse_document", later)
    difference = replay_export(io.BytesIO(log.export()), Engine()).difference
    assert difference is not None
    lines = difference.lines()
    assert lines[0] == "entry 4, order.placed: the decision differs"
    assert lines[2] == (
        "  policy us-h200-china was judged with CEL 0.1.3, and is here with 0.9.9: replay it where "
        "cel-expr-python is of the version that judged it"
    )
    assert json.loads(difference.committed or b"")["policies"][1]["cel"] == "0.1.3"


@pytest.mark.parametrize("policies", [7, [], [7], [{}], None])
def test_a_decision_without_its_policies_is_a_difference_like_any_other(log: ToldLog, policies: Any) -> None:
    doctored = log.doctored(4, "decision", log.decision(4) | {"policies": policies})
    difference = replay_export(io.BytesIO(doctored), Engine()).difference
    assert difference is not None
    assert difference.lines()[0] == "entry 4, order.placed: the decision differs"
