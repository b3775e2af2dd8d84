"""Conditions on what is known of a party: what it has stated, what the lists say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from ledger.event import Event
from ledger.facts import Contract, Facts, Key, Order, Purchases, Screened, Screening, Statements
from ledger.facts.screening import PURCHASE_DAYS_KEPT
from ledger.kinds.order import OrderAmended, OrderPlaced
from ledger.kinds.shipment import ShipmentRequested
from ledger.kinds.transfer import TransferRequested
from ledger.values import Identifier, Money, day_of
from policies.conditions.case import NOT_APPLICABLE, Case, Found
from policies.conditions.declared import CURRENCY, FURTHER, LESS, MORE, Doubt, Figure, Includes, Use
from policies.conditions.money import EXACT, plain
from policies.conditions.parameters import Duration, Parameters, one_of
from policies.conditions.registry import condition

# --- 13 -------------------------------------------------------------------------------------------


class EndUserStatement(Parameters):
    above: Annotated[
        Money,
        LESS,
        Figure(CURRENCY, by="currency"),
        Field(description="Value above which a statement is needed: `{amount, currency}`."),
    ]
    days: Annotated[
        int,
        MORE,
        Field(
            ge=1,
            lt=PURCHASE_DAYS_KEPT,
            description="Orders of one end user add up that were placed today or on the so many days before.",
        ),
    ] = 30


_Bought = OrderPlaced | OrderAmended | ShipmentRequested


def _statement_reads(event: Event, facts: Facts, parameters: EndUserStatement) -> Iterator[Key]:
    if isinstance(event.data, _Bought) and (end_user := _end_user(event, facts)) is not None:
        yield Statements.name, f"{event.contract}/{end_user}"
        yield Purchases.name, f"{event.contract}/{end_user}"


def _end_user(event: Event, facts: Facts) -> str | None:
    if isinstance(event.data, OrderPlaced | ShipmentRequested):
        return event.data.end_user
    order = _order(event, facts)
    return None if order is None else order.end_user


def _order(event: Event, facts: Facts) -> Order | None:
    """The order that is amended or shipped, once it is loaded."""
    if not isinstance(event.data, OrderAmended | ShipmentRequested):
        return None
    return facts.peek(Order, f"{event.contract}/{event.data.order}")


@condition(
    number=13,
    parameters=EndUserStatement,
    requests=("order.placed", "order.amended", "shipment.requested"),
    clock="recorded_at",
    unit="currency",
    sentences={
        "pass": "orders of {observed} {unit}: a statement is on file, or not needed up to {limit} {unit}",
        "missing": "orders of {observed} {unit}, above {limit} {unit} an end-user statement is needed, "
        "none is on file: {subjects}",
        "expired": "orders of {observed} {unit}, above {limit} {unit} an end-user statement is needed, "
        "the one on file has expired: {subjects}",
        "currency": "the request is in {observed}, the limit in {limit}: the ledger knows no rate of "
        "exchange, and no end-user statement is on file",
    },
    reads=_statement_reads,
)
def end_user_statement(case: Case, parameters: EndUserStatement) -> Found:
    """Above a value, a statement of the end user must be on file that has not expired.

    The orders of one end user that were placed within some days add up, so that none is split to stay
    below: counted by the day of recording in the contract's zone (30 days: 1 to 31 March), amended orders
    with their new value, cancelled ones with what they released. The order itself counts whole, however long
    ago it was placed. Each contract is counted by itself, as its statements are its own. The last day of a
    statement ends at 24:00 in the contract's zone. Statements above USD 50,000: 15 CFR 748.11.
    """
    asked = _asked(case)
    if asked is None:
        return NOT_APPLICABLE
    end_user, on_file = asked.end_user, _on_file(case, asked.end_user)
    limit, currency = parameters.above.amount, parameters.above.currency
    if asked.currency != currency:
        if on_file == "valid":
            return Found("pass", None, asked.currency, currency)
        return Found("fail", "currency", asked.currency, currency)
    within = EXACT.add(_bought(case, end_user, parameters.days, currency), asked.more)
    total = max(asked.value, within)
    sums = (plain(total), plain(limit))
    if total > limit and on_file != "valid":
        return Found("fail", on_file, *sums, unit=currency, subjects=(end_user,))
    return Found("pass", None, *sums, unit=currency)


def _on_file(case: Case, party: str) -> Literal["valid", "expired", "missing"]:
    filed = case.facts.get(Statements, f"{case.event.contract}/{party}")
    if filed is None or not filed.statements:
        return "missing"
    today = day_of(case.at, case.zone)
    return "valid" if any(statement.expires >= today for statement in filed.statements) else "expired"


class _Asked(NamedTuple):
    end_user: str
    value: Decimal
    """Of the order, as it would be."""
    more: Decimal
    """What of it does not count as bought yet."""
    currency: str


def _asked(case: Case) -> _Asked | None:
    """What is to be bought; None where nothing more is."""
    data, order = case.data, _order(case.event, case.facts)
    if isinstance(data, OrderPlaced):
        value = EXACT.multiply(data.unit_value.amount, Decimal(data.units))
        return _Asked(data.end_user, value, value, data.unit_value.currency)
    if isinstance(data, ShipmentRequested):
        value = EXACT.multiply(data.unit_value.amount, Decimal(len(data.serials)))
        whole = value if order is None else max(value, order.value)
        return _Asked(data.end_user, whole, Decimal(0), data.unit_value.currency)
    if not isinstance(data, OrderAmended) or order is None:
        return None
    unit_value = order.unit_value if data.unit_value is None else data.unit_value.amount
    value = EXACT.multiply(unit_value, Decimal(data.units or order.units))
    more = EXACT.subtract(value, order.value)
    return _Asked(order.end_user, value, more, order.currency) if more > 0 else None


def _bought(case: Case, end_user: str, days: int, currency: str) -> Decimal:
    """What the orders placed within so many days are worth."""
    purchases = case.facts.get(Purchases, f"{case.event.contract}/{end_user}")
    first = day_of(case.at, case.zone) - timedelta(days=days)
    return Decimal(0) if purchases is None else purchases.since(first, currency)


# --- the parties of a request ---------------------------------------------------------------------


def parties_of(event: Event, facts: Facts) -> tuple[str, ...]:
    """All that the request is for or goes through, none twice, as far as its order is loaded.

    Whoever buys under the contract is among them: an order names no buyer of its own.
    """
    data, order = event.data, _order(event, facts)
    if isinstance(data, TransferRequested):
        return (data.to.party,)
    contract = facts.peek(Contract, event.contract)
    named: list[str] = []
    if isinstance(data, OrderPlaced | ShipmentRequested):
        named += (data.consignee, data.end_user)
    elif isinstance(data, OrderAmended) and order is not None:
        named += (data.consignee or order.consignee, order.end_user)
    if isinstance(data, ShipmentRequested):
        named.append(data.forwarder)
    buyers = contract.holders("buyer") if named and contract is not None else ()
    return tuple(dict.fromkeys((*named, *buyers)))


# --- 17 -------------------------------------------------------------------------------------------


class ScreeningClear(Parameters):
    asks: Annotated[
        Literal["both", "clear", "fresh"],
        one_of("a question", ("both", "clear", "fresh")),
        Includes({"both": ("clear", "fresh")}),
        Field(
            description="`clear`: that nobody is a hit; `fresh`: that all were screened, on recent lists; "
            "or `both`. Bound twice, a hit can be held and a stale list refused."
        ),
    ] = "both"
    score: Annotated[
        int,
        LESS,
        Figure("score of a hit"),
        Field(ge=1, le=1_000, description="From this score on a candidate is a hit; 1,000 is the same name."),
    ]
    list_age: Annotated[
        Duration,
        LESS,
        Figure("age of a list"),
        Field(description="How long before the request each list may have been retrieved."),
    ]
    lists: Annotated[
        tuple[Identifier, ...],
        FURTHER,
        Field(strict=False, max_length=50, description="Lists that must have been used; any, if not given."),
    ] = ()

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if self.asks != "clear" and not self.list_age:
            words = "list_age is no time at all, must be more: no list is as new as that"
            yield use.fails_always("list_age", words)

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        if self.asks == "fresh":
            return {"score": "asks is fresh"}
        return dict.fromkeys(("list_age", "lists"), "asks is clear") if self.asks == "clear" else {}


def _screening_reads(event: Event, facts: Facts, parameters: ScreeningClear) -> Iterator[Key]:
    for party in parties_of(event, facts):
        yield Screening.name, f"{event.contract}/{party}"


@condition(
    number=17,
    parameters=ScreeningClear,
    requests=("order.placed", "order.amended", "shipment.requested", "transfer.requested"),
    clock="recorded_at",
    unit="parties",
    sentences={
        "pass": "all {observed} {unit} are screened as the document asks",
        "hit": "score {observed}, from {limit} on it is a hit: {subjects}",
        "listed": "found on a list, at score {observed}: {subjects}",
        "missing": "{shortfall} of {limit} {unit} are not screened: {subjects}",
        "lists": "{shortfall} of {limit} {unit} are not screened on every list that is asked for: {subjects}",
        "expired": "{shortfall} of {limit} {unit} have a screening that has expired: {subjects}",
        "stale": "a list was retrieved {observed} {unit} ago, {limit} {unit} at most are allowed: {subjects}",
    },
    reads=_screening_reads,
)
def screening_clear(case: Case, parameters: ScreeningClear) -> Found:
    """Every party of the request must have been compared with the lists of restricted parties.

    Of each party the latest screening counts: consignee, end user, forwarder, and every buyer of the
    contract; of a transfer the receiver. A candidate from the score on is a hit, whatever its verdict,
    unless a reviewer found it a false positive; a verdict of hit is one at any score. A list must have been
    retrieved within the age given, and the screening must not have expired. That lists change daily is why
    their age counts.
    """
    parties = parties_of(case.event, case.facts)
    if not parties:
        return NOT_APPLICABLE
    screened = {party: _latest(case, party) for party in parties}
    if parameters.asks != "fresh" and (hit := _hit(screened, parameters.score)) is not None:
        return hit
    if parameters.asks != "clear" and (stale := _not_fresh(case, screened, parameters)) is not None:
        return stale
    return Found("pass", None, len(parties), len(parties))


def _latest(case: Case, party: str) -> Screened | None:
    screening = case.facts.get(Screening, f"{case.event.contract}/{party}")
    return None if screening is None else screening.latest


def _hit(screened: dict[str, Screened | None], score: int) -> Found | None:
    known = {party: result for party, result in screened.items() if result is not None}
    near = {p: r.score for p, r in known.items() if r.score >= score and r.verdict != "false_positive"}
    if near:
        return Found("fail", "hit", max(near.values()), score, unit="score", subjects=tuple(near))
    listed = {party: result.score for party, result in known.items() if result.verdict == "hit"}
    if listed:
        return Found("fail", "listed", max(listed.values()), unit="score", subjects=tuple(listed))
    return None


def _not_fresh(case: Case, screened: dict[str, Screened | None], parameters: ScreeningClear) -> Found | None:
    known = {party: result for party, result in screened.items() if result is not None}
    asked = set(parameters.lists)
    lacking = {
        "missing": tuple(party for party in screened if party not in known),
        "lists": tuple(p for p, r in known.items() if not asked <= {one.list for one in r.lists}),
        "expired": tuple(p for p, r in known.items() if r.expires is not None and case.at >= r.expires),
    }
    for code, subjects in lacking.items():
        if subjects:
            count = len(screened)
            return Found("fail", code, count - len(subjects), count, len(subjects), subjects=subjects)
    limit = _seconds(parameters.list_age)
    old = {p: age for p, r in known.items() if (age := _seconds(case.at - _oldest(r, asked))) > limit}
    if old:
        return Found("fail", "stale", max(old.values()), limit, unit="seconds", subjects=tuple(old))
    return None


def _oldest(result: Screened, asked: set[str]) -> datetime:
    """When the oldest list that counts was retrieved."""
    return min(one.retrieved_at for one in result.lists if not asked or one.list in asked)


def _seconds(age: timedelta) -> int:
    """Whole seconds, a part of one counted as one: what is over a limit must not read as if it were not."""
    return -(-age // timedelta(seconds=1))
