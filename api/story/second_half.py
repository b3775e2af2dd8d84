"""June to December: a hold, an override, duties that are missed, a suspension, and the end of the license."""

from __future__ import annotations

from collections.abc import Iterator

from api.story.cast import (
    AUTHORITY,
    BUYER,
    DATA_CENTRE,
    EXPORTER,
    FORWARDER,
    LICENSE,
    OTHER_SITE,
    SITE,
    Step,
)
from api.story.events import (
    AT_WORK,
    LETTER,
    NAMESAKE,
    REPORT_SHA256,
    attested,
    delivered,
    dispatched,
    filed,
    levy,
    measured,
    order,
    owned,
    racks,
    release,
    screened,
    serials,
    supply,
)

SECOND, HIDDEN = serials(2001, 2080), serials(2081, 2100)
"""Of the second shipment: what is installed where it should be, and what is not."""
THIRD, FOURTH = serials(2101, 2150), serials(2151, 2180)
FIFTH = serials(2181, 2200)


def steps() -> Iterator[Step]:
    yield from _held()
    yield from _missed()
    yield from _overridden()
    yield from _revoked()


def _held() -> Iterator[Step]:
    wanted = order("PO-4", 50, end_use="inference")
    yield Step(
        "2027-06-16T03:00:00Z", BUYER, "order.placed", order("PO-4", 50), "version 2 asks for much more",
        expected="denied", name="PO-4 bare", chapter="Version 2 is in force: who is it for?",
    )  # fmt: skip
    shipped, certified = supply()
    yield Step("2027-06-17T15:00:00Z", EXPORTER, "baseline.declared", shipped, "800,000 units sold at home")
    yield Step("2027-06-17T15:00:00Z", EXPORTER, "supply.certified", certified, "three certifications")
    statement = {
        "party": BUYER, "statement": "EUS-2027-14", "expires": "2028-06-17", "sha256": "7a" * 32,
        "signatory": "Company secretary",
    }  # fmt: skip
    yield Step("2027-06-18T03:00:00Z", BUYER, "statement.filed", statement, "what the chips are for")
    yield owned("2027-06-18T15:00:00Z", BUYER, "Lotus Holding")
    yield owned("2027-06-18T15:00:00Z", DATA_CENTRE, "Pudong Holding")
    yield screened("2027-06-21T13:00:00Z", DATA_CENTRE, "pudong-dc: no name on the list is near")
    yield screened(
        "2027-06-21T13:00:00Z", BUYER, "lotus-ai: a name on the list, score 900", candidates=[NAMESAKE],
        verdict="hit",
    )  # fmt: skip
    yield Step(
        "2027-06-21T14:00:00Z", BUYER, "order.placed", wanted, "50 units", expected="held",
        retries="PO-4 bare", after=("hold.placed",),
    )  # fmt: skip
    yield Step(
        "2027-06-22T03:00:00Z", BUYER, "hold.released", {"target": "order/PO-4", "reason": "it is not us"},
        "by whoever is held", expected="denied", name="released by the buyer",
    )  # fmt: skip
    reason = {"target": "order/PO-4", "reason": "an institute of that name; address and owners differ"}
    yield Step("2027-06-23T15:00:00Z", AUTHORITY, "hold.released", reason, "by whoever may")
    yield attested("2027-07-01T06:00:00Z", "2027-06-01", AT_WORK)
    yield dispatched("2027-07-08T20:00:00Z", "SH-2", SECOND + HIDDEN)
    yield delivered("2027-07-12T06:00:00Z", "SH-2", SECOND + HIDDEN, "all of them")


def _missed() -> Iterator[Step]:
    yield Step(
        "2027-08-02T06:00:00Z", DATA_CENTRE, "device.installed", racks(SITE, SECOND, first=33),
        "80 of the 100 chips of SH-2", before=("obligation.breached",),
        chapter="Duties fall due by the clock",
    )  # fmt: skip
    report = {
        "report": "end-use", "from": "2027-01-01", "until": "2027-06-30", "sha256": REPORT_SHA256,
        "tenants": {"total": 12, "covered": 12},
    }  # fmt: skip
    yield Step(
        "2027-08-05T03:00:00Z", BUYER, "report.filed", report, "the first half-year, five days late",
        before=("obligation.breached",), after=("obligation.satisfied",),
    )  # fmt: skip
    yield attested(
        "2027-08-08T06:00:00Z", "2027-07-01", AT_WORK + SECOND, says="1,077 chips, a week late",
        before=("obligation.breached", "suspension.proposed"), after=("obligation.satisfied",),
    )  # fmt: skip
    yield Step(
        "2027-08-09T15:00:00Z", AUTHORITY, "proposal.dismissed", {"reason": "an outage, explained"},
        "no suspension for an outage", answers=True,
    )  # fmt: skip
    yield Step(
        "2027-08-20T06:00:00Z", DATA_CENTRE, "device.installed", racks(OTHER_SITE, HIDDEN),
        "the other 20: in a hall nobody named", expected="flagged", before=("obligation.breached",),
        after=("suspension.proposed",),
    )  # fmt: skip


def _overridden() -> Iterator[Step]:
    yield Step(
        "2027-08-23T15:00:00Z", EXPORTER, "levy.settled", levy("PO-3", 50, "CBP-0011"),
        "for 50 units of PO-3", chapter="A laboratory under water",
    )  # fmt: skip
    yield Step(
        "2027-08-23T15:00:00Z", EXPORTER, "levy.settled", levy("PO-4", 50, "CBP-0012"), "for 50 units of PO-4"
    )
    yield measured("2027-08-24T18:00:00Z", THIRD + FOURTH[:20] + FIFTH, ())
    yield Step(
        "2027-08-25T11:00:00Z", EXPORTER, "shipment.requested", release("SH-3", "PO-3", THIRD),
        "50 units, ordered under version 1",
    )  # fmt: skip
    yield screened(
        "2027-08-25T13:00:00Z", BUYER, "lotus-ai: a false positive, reviewed", candidates=[NAMESAKE],
        verdict="false_positive", reviewer="R. Roe",
    )  # fmt: skip
    yield screened("2027-08-25T13:00:00Z", DATA_CENTRE, "pudong-dc: no name on the list is near")
    yield screened("2027-08-25T13:00:00Z", FORWARDER, "blueport: no name on the list is near")
    fourth = release("SH-4", "PO-4", FOURTH)
    yield Step(
        "2027-08-25T15:00:00Z", EXPORTER, "shipment.requested", fourth, "30 units, 10 of them untested",
        expected="denied", name="SH-4 untested",
    )  # fmt: skip
    allowed = {
        "target": "shipment/SH-4", "policy": "us-h200-china", "conditions": ["laboratory"],
        "until": "2027-09-15T00:00:00Z", "authority": "letter of the authority, 26 August 2027",
        "reason": "the laboratory is closed by flood; the chips are tested on arrival",
    }  # fmt: skip
    yield Step(
        "2027-08-26T09:00:00Z", AUTHORITY, "override.granted", allowed, "for SH-4 alone, until 15 September",
        evidence=(LETTER,),
    )  # fmt: skip
    yield Step(
        "2027-08-26T11:00:00Z", EXPORTER, "shipment.requested", fourth, "again, under the override",
        expected="flagged", retries="SH-4 untested",
    )  # fmt: skip
    yield filed("2027-08-27T15:00:00Z", "SH-4", len(FOURTH))
    yield dispatched("2027-08-28T20:00:00Z", "SH-4", FOURTH)


def _revoked() -> Iterator[Step]:
    yield Step(
        "2027-08-30T14:00:00Z", AUTHORITY, "license.suspended",
        {"license": LICENSE, "reason": "20 chips stand in a hall that no license names"},
        "as the ledger has proposed: no new supply", answers=True,
        chapter="Suspension and revocation, with goods in transit",
    )  # fmt: skip
    yield Step(
        "2027-08-31T06:00:00Z", DATA_CENTRE, "device.quarantined",
        {"serials": HIDDEN, "reason": "their site is not allowed"}, "the 20 are taken out of use",
    )  # fmt: skip
    fifth = release("SH-5", "PO-4", FIFTH)
    yield Step(
        "2027-08-31T15:00:00Z", EXPORTER, "shipment.requested", fifth, "the last 20 units",
        expected="denied", name="SH-5",
    )  # fmt: skip
    yield Step(
        "2027-09-02T14:00:00Z", AUTHORITY, "license.revoked",
        {"license": LICENSE, "reason": "diversion of three chips confirmed"},
        "for good; the ledger says what it touches", after=("revocation.scoped",),
    )  # fmt: skip
    yield delivered(
        "2027-09-04T06:00:00Z", "SH-4", FOURTH, "30 chips that were in transit", expected="flagged"
    )
    yield dispatched(
        "2027-09-06T20:00:00Z", "SH-3", THIRD, expected="flagged", after=("suspension.proposed",)
    )
    yield attested("2027-09-08T06:00:00Z", "2027-08-08", AT_WORK + SECOND)
    yield Step(
        "2027-09-10T03:00:00Z", BUYER, "order.placed", order("PO-5", 10, end_use="inference"),
        "ten more, after the revocation", expected="denied",
    )  # fmt: skip
    yield attested("2027-10-08T06:00:00Z", "2027-09-08", AT_WORK + SECOND, before=("obligation.breached",))
    for month in (11, 12):
        yield attested(f"2027-{month:02}-08T06:00:00Z", f"2027-{month - 1:02}-08", AT_WORK + SECOND)
    yield Step(
        "2027-12-20T15:00:00Z", EXPORTER, "shipment.requested", fifth, "a last attempt, past the last day",
        expected="denied", retries="SH-5",
    )  # fmt: skip
