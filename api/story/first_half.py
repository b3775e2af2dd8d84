"""January to June: a license, a first order, chips at work, and a rule that is about to change."""

from __future__ import annotations

from collections.abc import Iterator

from api.story.cast import (
    AUTHORITY,
    BUYER,
    CONDITIONS_SHA256,
    DATA_CENTRE,
    EXPORTER,
    LICENSE,
    PARTIES,
    SITE,
    SKU,
    Step,
)
from api.story.events import (
    AT_WORK,
    FAILED,
    FIRST,
    MISSING,
    acknowledged,
    attested,
    delivered,
    dispatched,
    hall_text,
    levy,
    measured,
    named,
    order,
    policy_text,
    racks,
    release,
    serials,
    usd,
)


def steps() -> Iterator[Step]:
    yield from _opening()
    yield from _first_order()
    yield from _hall()
    yield from _rule_changes()
    yield from _mistaken_levy()


def _opening() -> Iterator[Step]:
    opened = {
        "title": "H200 supply 2027 (simulated)", "zone": "America/New_York", "parties": PARTIES,
        "licenses": [LICENSE],
        "sites": [{"site": SITE, "name": "Pudong hall 1", "country": "CN"}],
    }  # fmt: skip
    yield Step(
        "2027-01-12T15:00:00Z", EXPORTER, "contract.opened", opened, "six parties, one license, one site",
        chapter="Opening",
    )  # fmt: skip
    yield Step(
        "2027-01-13T15:00:00Z", BUYER, "order.placed", order("PO-0", 10), "an order before any policy",
        expected="denied",
    )  # fmt: skip
    text = policy_text("us-h200-china")
    carried = {**named("us-h200-china", 1, text), "text": text}
    yield Step("2027-01-20T15:00:00Z", AUTHORITY, "policy.activated", carried, "the H200 rule, carried whole")
    grant = {
        "license": LICENSE, "sku": SKU, "eccn": "3A090.a", "quantity": 1200, "value": usd("32400000.00"),
        "valid_from": "2027-02-15", "valid_until": "2027-12-15", "tpp": 15832, "bandwidth_gb_s": 4800,
        "conditions_sha256": CONDITIONS_SHA256, "must_acknowledge": [EXPORTER, BUYER, DATA_CENTRE],
    }  # fmt: skip
    yield Step(
        "2027-02-10T15:00:00Z", AUTHORITY, "license.granted", grant, "1,200 units, 15 February to 15 December"
    )
    yield acknowledged("2027-02-11T15:00:00Z", EXPORTER)
    yield acknowledged("2027-02-12T03:00:00Z", BUYER)
    yield Step(
        "2027-02-12T04:00:00Z", BUYER, "order.placed", order("PO-1", 1000), "three days too early",
        expected="denied", name="PO-1 early",
    )  # fmt: skip


def _first_order() -> Iterator[Step]:
    yield Step(
        "2027-02-16T03:00:00Z", BUYER, "order.placed", order("PO-1", 1000), "1,000 units",
        retries="PO-1 early", chapter="The first order",
    )  # fmt: skip
    yield Step(
        "2027-02-17T03:00:00Z", BUYER, "order.placed", order("PO-2", 400), "400 more",
        expected="denied", name="PO-2 at 400",
    )  # fmt: skip
    yield Step(
        "2027-02-17T05:00:00Z", BUYER, "order.placed", order("PO-2", 100), "100 will do for now",
        retries="PO-2 at 400",
    )  # fmt: skip
    yield measured("2027-02-20T18:00:00Z", serials(1, 1000), FAILED)
    whole = release("SH-1", "PO-1", serials(1, 1000))
    yield Step(
        "2027-02-22T15:00:00Z", EXPORTER, "shipment.requested", whole, "1,000 units, much too soon",
        expected="denied", name="SH-1 too soon",
    )  # fmt: skip
    yield acknowledged("2027-02-23T03:00:00Z", DATA_CENTRE)
    part = levy("PO-1", 1000, "CBP-0001", amount="6000000.00")
    yield Step("2027-02-24T15:00:00Z", EXPORTER, "levy.settled", part, "6.0 of 6.75 million")
    yield Step(
        "2027-02-25T15:00:00Z", EXPORTER, "shipment.requested", whole, "two chips failed, levy short",
        expected="denied", name="SH-1 again", retries="SH-1 too soon",
    )  # fmt: skip
    yield measured("2027-02-26T18:00:00Z", serials(1001, 1002), ())
    good = release("SH-1", "PO-1", FIRST)
    yield Step(
        "2027-02-27T15:00:00Z", EXPORTER, "shipment.requested", good, "with two replacements, levy short",
        expected="denied", name="SH-1 short", retries="SH-1 again",
    )  # fmt: skip
    rest = levy("PO-1", 1000, "CBP-0002", amount="750000.00")
    yield Step("2027-03-01T15:00:00Z", EXPORTER, "levy.settled", rest, "the rest")
    yield Step(
        "2027-03-01T16:00:00Z", EXPORTER, "shipment.requested", good, "1,000 units",
        name="SH-1", retries="SH-1 short",
    )  # fmt: skip
    yield dispatched("2027-03-02T20:00:00Z", "SH-1", FIRST)


def _hall() -> Iterator[Step]:
    text = hall_text()
    ours = named("pudong-hall", 1, text)
    yield Step(
        "2027-03-03T02:00:00Z", DATA_CENTRE, "policy.proposed", {**ours, "text": text},
        "a document of its own: racks, attestations", chapter="The data centre's rules, beside the H200 rule",
    )  # fmt: skip
    for at, party in (("2027-03-03T03:00:00Z", DATA_CENTRE), ("2027-03-04T15:00:00Z", AUTHORITY)):
        office = "authority" if party == AUTHORITY else "data_centre"
        yield Step(at, party, "policy.approved", {**ours, "office": office}, f"as {office}")
    yield Step("2027-03-05T02:00:00Z", DATA_CENTRE, "policy.activated", ours, "in force at once", version=2)
    yield delivered(
        "2027-03-09T06:00:00Z", "SH-1", AT_WORK, "997 arrived, 3 did not", missing=MISSING,
        expected="flagged",
    )  # fmt: skip
    yield Step(
        "2027-03-15T06:00:00Z", DATA_CENTRE, "device.installed", racks(SITE, AT_WORK), "997 chips in 32 racks"
    )
    yield attested("2027-04-01T06:00:00Z", "2027-03-15", AT_WORK)


def _rule_changes() -> Iterator[Step]:
    text = policy_text("us-h200-china-full")
    full = named("us-h200-china", 2, text)
    yield Step(
        "2027-04-20T15:00:00Z", EXPORTER, "policy.proposed", {**full, "text": text},
        "version 2, the whole rule", before=("obligation.satisfied",),
        chapter="The rule changes in mid-contract",
    )  # fmt: skip
    yield Step(
        "2027-04-22T15:00:00Z", AUTHORITY, "policy.activated", {**full, "mode": "shadow"},
        "as a shadow: watched, not obeyed", version=2,
    )  # fmt: skip
    yield attested("2027-05-01T06:00:00Z", "2027-04-01", AT_WORK)
    yield Step("2027-05-03T03:00:00Z", BUYER, "order.placed", order("PO-3", 50), "50 units, by version 1")
    yield Step(
        "2027-05-10T15:00:00Z", EXPORTER, "policy.approved", {**full, "office": "exporter.counsel"},
        "as exporter.counsel",
    )  # fmt: skip
    later = {**full, "begins": "2027-06-15T04:00:00Z"}
    yield Step(
        "2027-05-11T15:00:00Z", EXPORTER, "policy.activated", later, "before the authority has agreed",
        version=2, expected="denied", name="version 2 too soon",
    )  # fmt: skip
    yield Step(
        "2027-05-14T15:00:00Z", AUTHORITY, "policy.approved", {**full, "office": "authority"}, "as authority"
    )
    yield Step(
        "2027-05-17T15:00:00Z", EXPORTER, "policy.activated", later, "from 15 June; version 1 until then",
        version=2, retries="version 2 too soon",
    )  # fmt: skip


def _mistaken_levy() -> Iterator[Step]:
    paid = levy("PO-2", 100, "CBP-0003")
    yield Step(
        "2027-05-24T15:00:00Z", EXPORTER, "levy.settled", paid, "for 100 units", name="levy of another",
        chapter="A payment that was another contract's",
    )  # fmt: skip
    yield measured("2027-05-26T18:00:00Z", serials(2001, 2100), ())
    yield Step(
        "2027-05-27T15:00:00Z", EXPORTER, "shipment.requested", release("SH-2", "PO-2", serials(2001, 2100)),
        "100 units, still by version 1",
    )  # fmt: skip
    yield attested("2027-06-01T06:00:00Z", "2027-05-01", AT_WORK)
    yield Step(
        "2027-06-02T15:00:00Z", EXPORTER, "event.declared_in_error", {"reason": "paid for another contract"},
        "the payment is taken back", corrects="levy of another", expected="flagged",
    )  # fmt: skip
    yield Step(
        "2027-06-03T15:00:00Z",
        EXPORTER,
        "levy.settled",
        levy("PO-2", 100, "CBP-0007"),
        "and now paid for PO-2",
    )
