"""Documents with one fault each, what the checks say of it, and the nearest document without."""

from __future__ import annotations

from typing import Any

from tests.workbench import condition, policy, usd

Told = tuple[str, str, str]
"""Severity, pointer, words."""


def obligation(uses: str, **fields: Any) -> dict[str, Any]:
    return {"id": uses, "uses": uses, "clause": "a test", **fields}


def duties(*obligations: dict[str, Any], beside: dict[str, Any] | None = None, **header: Any) -> str:
    asked = beside or quantity(5000)
    return policy(asked, obligations=list(obligations), **header)


def quantity(limit: int, id_: str = "units", **fields: Any) -> dict[str, Any]:
    return condition("quantity_cap", **{"id": id_, "limit": limit, **fields})


def window(cap: int, length: str = "month", id_: str = "window", **fields: Any) -> dict[str, Any]:
    return condition("window_cap", **{"id": id_, "cap": cap, "window": length, **fields})


def value(amount: str, currency: str = "USD", id_: str = "value", **fields: Any) -> dict[str, Any]:
    limit = {"amount": amount, "currency": currency}
    return condition("value_cap", **{"id": id_, "limit": limit, **fields})


def ratio(percent: str, id_: str = "ratio", **fields: Any) -> dict[str, Any]:
    said = {"measure": "tpp", "unit_tpp": 15832, "countries": ["CN", "MO"], **fields}
    if said["measure"] == "units":
        del said["unit_tpp"]
    return condition("us_ratio_cap", id=id_, percent=percent, **{"at": ["shipment.requested"], **said})


def screening(asks: str, id_: str = "screening", **fields: Any) -> dict[str, Any]:
    return condition("screening_clear", id=id_, asks=asks, **{"score": 850, "list_age": "PT24H", **fields})


def inspection(id_: str, **fields: Any) -> dict[str, Any]:
    return obligation("inspection_deadline", **{"id": id_, "within": "P60D", **fields})


def sites(*names: str, id_: str = "sites", **fields: Any) -> dict[str, Any]:
    return condition("site_allow_list", id=id_, sites=list(names), **fields)


def located(*names: str, km_per_ms: str = "150") -> dict[str, Any]:
    places = [{"site": name, "latitude_e6": 0, "longitude_e6": 0} for name in names]
    return condition("location_consistency", action="flag", sites=places, km_per_ms=km_per_ms)


def service(*credits_: dict[str, Any], **fields: Any) -> dict[str, Any]:
    said = {"action": "flag", "floor": "99.90", "credits": list(credits_), **fields}
    return condition("service_level", **said)


def owned(**fields: Any) -> dict[str, Any]:
    return condition("ownership", **fields)


_HELD = {"action": "hold", "released_by": ["authority"]}
_STEPS = [{"after": "P1D", "action": "flag"}]
_SUSPEND = [{"after": "PT0S", "action": "propose_suspension"}]
_SHARED = {"rate": "0.15", "within": "P30D", "rounding": "up"}

FAULTS: dict[str, tuple[str, Told, str]] = {
    # --- windows ---
    "a range that never meets the document": (
        policy(owned(percent="50", in_force=[{"from": "2025-01-01", "until": "2027-01-01"}])),
        (
            "error", "/conditions/0/in_force/0",
            "from 2025-01-01 until 2027-01-01 never meets the document, "
            "in force from 2027-01-01 until 2028-01-01",
        ),
        policy(owned(percent="50", in_force=[{"from": "2025-01-01", "until": "2027-01-02"}])),
    ),
    "one range of two that begins when the document has ended": (
        policy(owned(percent="50", in_force=[{"from": "2027-01-01", "until": "2027-02-01"},
                                             {"from": "2028-01-01"}])),
        (
            "remark", "/conditions/0/in_force/1",
            "from 2028-01-01 never meets the document, in force from 2027-01-01 until 2028-01-01",
        ),
        policy(owned(percent="50", in_force=[{"from": "2027-01-01", "until": "2027-02-01"},
                                             {"from": "2027-12-31"}])),
    ),
    "ranges that overlap": (
        policy(owned(percent="50", in_force=[{"from": "2027-02-01"},
                                             {"from": "2027-01-01", "until": "2027-02-02"}])),
        (
            "remark", "/conditions/0/in_force/0",
            "from 2027-02-01 overlaps from 2027-01-01 until 2027-02-02",
        ),
        policy(owned(percent="50", in_force=[{"from": "2027-02-01"},
                                             {"from": "2027-01-01", "until": "2027-02-01"}])),
    ),
    "a batch in a window that is cut off": (
        duties(obligation("batch_due", due=50, window="month"), force={"from": "2027-01-15"}),
        (
            "remark", "/obligations/0/window",
            "all 50 are due in 2027-01, of which the document is in force 17 of 31 days",
        ),
        duties(obligation("batch_due", due=50, window="month"), force={"from": "2027-02-01"}),
    ),
    "records kept for longer than the document": (
        policy(condition("retention_hold", years=5)),
        (
            "remark", "/conditions/0/years",
            "years is 5, and the document ends on 2028-01-01: from then on nobody asks for it",
        ),
        policy(condition("retention_hold", years=5), force={"from": "2027-01-01"}),
    ),
    # --- never asked, never decided ---
    "a laxer limit beside a stricter": (
        policy(quantity(10), quantity(11, "more")),
        (
            "error", "/conditions/1",
            "decides nothing: units denies whatever it would find (limit is 11, there 10)",
        ),
        policy(quantity(10), quantity(9, "more", action="flag")),
    ),
    "a flag beside a denial": (
        policy(quantity(10), quantity(10, "mark", action="flag")),
        (
            "error", "/conditions/1",
            "decides nothing: units denies whatever it would find (the parameters are the same)",
        ),
        policy(quantity(10, overridden_by=["authority"]), quantity(9, "mark", action="flag")),
    ),
    "a tolerance that the flag and not the denial has": (
        policy(value("100.00"), value("100.00", id_="face", tolerance="0.25", action="flag")),
        (
            "error", "/conditions/1",
            "decides nothing: value denies whatever it would find (tolerance is 0.25, there 0)",
        ),
        policy(value("100.00", tolerance="0.25"), value("100.00", id_="face", action="flag")),
    ),
    "a hold where the same is refused": (
        policy(screening("both"), screening("clear", "near", **_HELD)),
        (
            "error", "/conditions/1",
            "decides nothing: screening denies whatever it would find (asks is clear, there both)",
        ),
        policy(screening("fresh"), screening("clear", "near", **_HELD)),
    ),
    "a shadow of itself": (
        policy(quantity(10), quantity(10, "watch", action="shadow")),
        (
            "error", "/conditions/1",
            "decides nothing: units denies whatever it would find (the parameters are the same)",
        ),
        policy(quantity(10), quantity(11, "watch", action="shadow")),
    ),
    "decided elsewhere at some kinds": (
        policy(quantity(10, at=["order.placed"]), quantity(11, "more")),
        (
            "remark", "/conditions/1",
            "decides nothing: units denies whatever it would find (limit is 11, there 10) at order.placed",
        ),
        policy(quantity(10, at=["order.placed"]), quantity(11, "more", at=["shipment.requested"])),
    ),
    "fewer countries counted together": (
        policy(ratio("50"), ratio("50", "china", countries=["CN"])),
        (
            "error", "/conditions/1",
            "decides nothing: ratio denies whatever it would find (countries is CN, there CN, MO)",
        ),
        policy(ratio("50"), ratio("40", "china", countries=["CN"])),
    ),
    "a denial of what has happened": (
        policy(condition("fleet_coverage", percent="99")),
        (
            "remark", "/conditions/0/action",
            "fleet.attested has happened when it is told and is never refused: deny flags it",
        ),
        policy(condition("fleet_coverage", percent="99", action="flag")),
    ),
    "a role that no party has": (
        policy(condition("no_onward_transfer", roles=["data_centre", "ledger"])),
        ("error", "/conditions/0/roles/1", "no party of a contract has the role ledger"),
        policy(condition("no_onward_transfer", roles=["data_centre"])),
    ),
    "an override of what cannot be overridden": (
        policy(condition("retention_hold", years=5, overridden_by=["authority"]),
               force={"from": "2027-01-01"}),
        (
            "error", "/conditions/0/overridden_by",
            "nothing can be overridden at purge.requested; where it can be: order.amended, order.placed, "
            "rma.requested, shipment.requested, transfer.requested",
        ),
        policy(quantity(10, overridden_by=["authority"])),
    ),
    "ownership that asks nothing": (
        policy(owned()),
        ("error", "/conditions/0", "neither percent nor countries is given, so it asks nothing"),
        policy(owned(countries=["KP"])),
    ),
    "an end use that nothing prohibits": (
        policy(condition("prohibited_end_use", projects=["X"], percent="100")),
        (
            "error", "/conditions/0",
            "nothing is prohibited at order.placed, usage.attested, so it asks nothing",
        ),
        policy(condition("prohibited_end_use", projects=["X"], percent="99")),
    ),
    "a cancellation that is always allowed": (
        policy(condition("prepayment", share="1", at=["order.cancelled"], cancellation="allowed")),
        ("error", "/conditions/0/cancellation", "cancellation is always allowed, and nothing else is judged"),
        policy(condition("prepayment", share="1", cancellation="allowed")),
    ),
    "a floor of nothing": (
        policy(service(floor="0")),
        ("error", "/conditions/0/floor", "floor is 0, must be more: no service could be below it"),
        policy(service(floor="1")),
    ),
    "a coverage of nothing": (
        policy(condition("fleet_coverage", percent="0", action="flag")),
        ("error", "/conditions/0/percent", "percent is 0, must be more: no batch could fall short of it"),
        policy(condition("fleet_coverage", percent="1", action="flag")),
    ),
    "tenants of whom none need be counted": (
        policy(condition("remote_tenant_kyc", percent="0", required=False, action="flag")),
        ("error", "/conditions/0/percent", "percent is 0 and required is false, so it asks nothing"),
        policy(condition("remote_tenant_kyc", percent="0", required=True, action="flag")),
    ),
    "a credit that another comes before": (
        policy(service({"below": "99.95", "percent": "20"}, {"below": "99.99", "percent": "10"})),
        (
            "error", "/conditions/0/credits/1/below",
            "below is 99.99: never due, for that below 99.95 comes first",
        ),
        policy(service({"below": "99.80", "percent": "20"}, {"below": "99.90", "percent": "10"})),
    ),
    "a credit above the floor": (
        policy(service({"below": "99.95", "percent": "20"})),
        (
            "remark", "/conditions/0/credits/0/below",
            "below is 99.95, the floor 99.90: nothing is credited from the floor up",
        ),
        policy(service({"below": "99.90", "percent": "20"})),
    ),
    "a credit below nothing": (
        policy(service({"below": "0", "percent": "20"})),
        (
            "error", "/conditions/0/credits/0/below",
            "below is 0.00, must be more: nothing is available for less",
        ),
        policy(service({"below": "0.01", "percent": "20"})),
    ),
    "a suspension of no license": (
        duties(obligation("incident_report", within="PT72H", steps=_SUSPEND)),
        (
            "error", "/obligations/0/steps/0/action",
            "propose_suspension never proposes anything: incident_report is of no license",
        ),
        duties(inspection("inspection", steps=_SUSPEND)),
    ),
    # --- what refuses everything, or cannot be met ---
    "no units": (
        policy(quantity(0)),
        ("error", "/conditions/0/limit", "limit is 0, must be more: there is room for not one unit"),
        policy(quantity(1)),
    ),
    "no units, held": (
        policy(quantity(0, **_HELD)),
        ("remark", "/conditions/0/limit", "limit is 0, must be more: there is room for not one unit"),
        policy(quantity(1, **_HELD)),
    ),
    "no units in a window": (
        policy(window(0)),
        ("error", "/conditions/0/cap", "cap is 0, must be more: not one unit could be released"),
        policy(window(1)),
    ),
    "no value": (
        policy(value("0.00")),
        ("error", "/conditions/0/limit", "amount is 0, must be more: nothing of any value could be released"),
        policy(value("0.01")),
    ),
    "lists of no age": (
        policy(screening("both", list_age="PT0S")),
        (
            "error", "/conditions/0/list_age",
            "list_age is no time at all, must be more: no list is as new as that",
        ),
        policy(screening("both", list_age="PT1S")),
    ),
    "lists that share no site": (
        policy(sites("PD-1", "PD-2"), sites("SZ-1", id_="others", at=["shipment.requested"])),
        (
            "error", "/conditions/1/sites",
            "site must be of SZ-1, and sites allows PD-1, PD-2: nothing passes both at shipment.requested",
        ),
        policy(sites("PD-1", "PD-2"), sites("PD-2", "SZ-1", id_="others", at=["shipment.requested"])),
    ),
    "lists that share no site, where nothing is refused": (
        policy(sites("PD-1", action="flag"), sites("SZ-1", id_="others", at=["shipment.requested"])),
        (
            "remark", "/conditions/1/sites",
            "site must be of SZ-1, and sites allows PD-1: nothing passes both at shipment.requested",
        ),
        policy(sites("PD-1", action="flag"), sites("PD-1", "SZ-1", id_="others", at=["shipment.requested"])),
    ),
    "laboratories of two countries": (
        policy(condition("laboratory_test", coverage="every", country="US"),
               condition("laboratory_test", id="there", coverage="every", country="CN")),
        (
            "error", "/conditions/1/country",
            "country of the laboratory must be of CN, and laboratory_test allows US: "
            "nothing passes both at shipment.requested",
        ),
        policy(condition("laboratory_test", coverage="every", action="flag", country="US"),
               condition("laboratory_test", id="anywhere", coverage="every")),
    ),
    "end users who are prohibited": (
        policy(condition("party_item_match", end_users=["lotus"]),
               condition("prohibited_end_use", end_users=["lotus", "other"])),
        (
            "error", "/conditions/0/end_users",
            "lotus is allowed as end user, and prohibited_end_use forbids it: "
            "nothing passes both at order.placed",
        ),
        policy(condition("party_item_match", end_users=["lotus"]),
               condition("prohibited_end_use", end_users=["other"])),
    ),
    "one end user who is prohibited": (
        policy(condition("party_item_match", end_users=["lotus", "jade"]),
               condition("prohibited_end_use", end_users=["lotus"])),
        (
            "remark", "/conditions/0/end_users",
            "lotus is allowed as end user, and prohibited_end_use forbids it",
        ),
        policy(condition("party_item_match", at=["order.amended"], consignees=["lotus"]),
               condition("prohibited_end_use", end_users=["lotus"])),
    ),
    "a unit that performs too well": (
        policy(ratio("50", unit_tpp=21000), condition("performance_thresholds", tpp_below=21000)),
        (
            "error", "/conditions/0/unit_tpp",
            "TPP of one unit is 21,000, must be below 21,000 of performance_thresholds",
        ),
        policy(ratio("50", unit_tpp=20999), condition("performance_thresholds", tpp_below=21000)),
    ),
    "more due than the window holds": (
        duties(obligation("batch_due", due=51, window="month"), beside=window(50)),
        (
            "error", "/obligations/0/due",
            "due is 51 a month, and window allows 50 a month: 1 too many to be released, it cannot be met",
        ),
        duties(obligation("batch_due", due=50, window="month"), beside=window(50)),
    ),
    "more due than a longer window holds": (
        duties(obligation("batch_due", due=50, window="month"), beside=window(149, "quarter")),
        (
            "error", "/obligations/0/due",
            "due is 50 a month, and window allows 149 in 3 months: 1 too many to be released, "
            "it cannot be met",
        ),
        duties(obligation("batch_due", due=50, window="month"), beside=window(150, "quarter")),
    ),
    "more due than shorter windows hold": (
        duties(obligation("batch_due", due=151, window="quarter"), beside=window(50)),
        (
            "error", "/obligations/0/due",
            "due is 151 in 3 months, and window allows 50 a month: 1 too many to be released, "
            "it cannot be met",
        ),
        duties(obligation("batch_due", due=150, window="quarter"), beside=window(50)),
    ),
    "more due than is only marked": (
        duties(obligation("batch_due", due=51, window="month"), beside=window(50, action="flag")),
        (
            "remark", "/obligations/0/due",
            "due is 51 a month, and window allows 50 a month: 1 too many to be released, it cannot be met",
        ),
        duties(obligation("batch_due", due=50, window="month"), beside=window(50, action="flag")),
    ),
    "more due in all than the quantity": (
        duties(obligation("batch_due", due=50, window="month"), beside=quantity(599)),
        (
            "remark", "/obligations/0/due",
            "due is 50 a month, 600 in the 12 while the document is in force, and units allows 599 in all",
        ),
        duties(obligation("batch_due", due=50, window="month"), beside=quantity(600)),
    ),
    "a duty that is late at once": (
        duties(obligation("incident_report", within="PT0S")),
        (
            "error", "/obligations/0/within",
            "within is no time at all and nothing is added to it: it is late at once",
        ),
        duties(obligation("incident_report", within="PT0S", grace="PT1H")),
    ),
    "an acknowledgement that is late at once": (
        policy(transition={"reacknowledge": "PT0S"}),
        (
            "error", "/transition/reacknowledge",
            "within is no time at all and nothing is added to it: it is late at once",
        ),
        policy(transition={"reacknowledge": "PT1S"}),
    ),
    # --- said twice ---
    "the same twice": (
        policy(quantity(10), quantity(10, "again", at=["order.placed"])),
        ("remark", "/conditions/1", "says once more what units says"),
        policy(quantity(10, at=["order.amended"]), quantity(10, "again", at=["order.placed"])),
    ),
    "a ratio in two measures, at one TPP a unit": (
        policy(ratio("50"), ratio("50", "by-units", measure="units")),
        (
            "remark", "/conditions/1",
            "at 15,832 TPP of one unit it asks what ratio asks in another measure "
            "(the parameters are the same)",
        ),
        policy(ratio("50"), ratio("60", "by-units", measure="units", countries=["CN", "MO", "HK"])),
    ),
    "a stricter ratio in another measure": (
        policy(ratio("50"), ratio("40", "by-units", measure="units")),
        (
            "remark", "/conditions/0",
            "at 15,832 TPP of one unit it asks what by-units asks in another measure "
            "(percent is 50, there 40)",
        ),
        policy(ratio("50"), ratio("40", "by-units", measure="units", action="flag")),
    ),
    "months that never fill the quarter": (
        policy(window(50), window(150, "quarter", "quarter")),
        (
            "remark", "/conditions/1/cap",
            "cap is 150 in 3 months, and window leaves 150 at most: it is never reached "
            "(units released under a license)",
        ),
        policy(window(50), window(149, "quarter", "quarter")),
    ),
    "a month that is more than all": (
        policy(quantity(100), window(100)),
        (
            "remark", "/conditions/1/cap",
            "cap is 100 a month, and units leaves 100 at most: it is never reached "
            "(units released under a license)",
        ),
        policy(quantity(100), window(99)),
    ),
    "two duties of which one breaks first": (
        duties(inspection("first"), inspection("second", within="P90D")),
        (
            "remark", "/obligations/1",
            "whoever breaks it has broken first, no later and as gravely (within is P90D, there P60D)",
        ),
        duties(inspection("first"), inspection("second", within="P90D", steps=_SUSPEND)),
    ),
    "grace and steps that come to the same": (
        duties(inspection("first", grace="P1D"), inspection("second", steps=_STEPS)),
        (
            "remark", "/obligations/1",
            "whoever breaks it has broken first, no later and as gravely "
            "(the same, with its steps P1D after the due date)",
        ),
        duties(inspection("first", grace="P1D")),
    ),
    "a step that is lighter than the one before": (
        duties(inspection("inspection", steps=[{"after": "PT0S", "action": "propose_revocation"},
                                               {"after": "P60D", "action": "propose_suspension"}])),
        (
            "remark", "/obligations/0/steps/1/action",
            "propose_suspension follows propose_revocation, which is graver",
        ),
        duties(inspection("inspection", steps=[{"after": "PT0S", "action": "propose_suspension"},
                                               {"after": "P60D", "action": "propose_revocation"}])),
    ),
    "one approval twice": (
        policy(approvals=["authority", "authority"]),
        ("remark", "/approvals/1", "authority stands twice"),
        policy(approvals=["exporter", "exporter.counsel"]),
    ),
    "one role twice": (
        policy(quantity(10, overridden_by=["authority", "authority"])),
        ("remark", "/conditions/0/overridden_by/1", "authority stands twice"),
        policy(quantity(10, overridden_by=["authority", "exporter"])),
    ),
    # --- units ---
    "limits in two currencies": (
        policy(value("1.00"), value("1.00", "EUR", "euro")),
        (
            "error", "/conditions/1/limit",
            "currency must be of EUR, and value allows USD: nothing passes both at shipment.requested",
        ),
        policy(value("1.00")),
    ),
    "a limit and a statement in two currencies": (
        policy(value("1.00"), condition("end_user_statement", above={"amount": "1.00", "currency": "EUR"})),
        (
            "remark", "/conditions/1/above",
            "currency of orders and releases is EUR, value says USD",
        ),
        policy(value("1.00"), condition("end_user_statement", above=usd("1.00"))),
    ),
    "credits in two currencies": (
        policy(service({"below": "99", "amount": usd("20")},
                       {"below": "99.5", "amount": {"amount": "10", "currency": "EUR"}})),
        (
            "remark", "/conditions/0/credits/1/amount/currency",
            "currency is EUR, that of another credit is USD",
        ),
        policy(service({"below": "99", "amount": usd("20")}, {"below": "99.5", "amount": usd("10")})),
    ),
    "less owed where more is missing": (
        policy(service({"below": "99.90", "percent": "25"}, {"below": "99.00", "percent": "10"})),
        (
            "remark", "/conditions/0/credits/1",
            "10 % is owed below 99.00, and 25 % below 99.90: less where more is missing",
        ),
        policy(service({"below": "99.90", "percent": "10"}, {"below": "99.00", "percent": "25"})),
    ),
    "a percentage as a fraction": (
        policy(ratio("0.5")),
        (
            "remark", "/conditions/0/percent",
            'percent is 0.5, less than one in a hundred: half of the whole is "50"',
        ),
        policy(ratio("50")),
    ),
    "more than all of the supply": (
        policy(ratio("150")),
        ("remark", "/conditions/0/percent", 'percent is 150, more than the whole, 100: half of it is "50"'),
        policy(ratio("100")),
    ),
    "a share as a percentage": (
        policy(condition("prepayment", share="25")),
        ("error", "/conditions/0/share", 'share is 25, more than the whole, 1: half of it is "0.5"'),
        policy(condition("prepayment", share="1")),
    ),
    "a levy as a percentage": (
        policy(condition("levy_settled", rate="25", rounding="up")),
        ("remark", "/conditions/0/rate", 'rate is 25, more than the whole, 1: half of it is "0.5"'),
        policy(condition("levy_settled", rate="1", rounding="up")),
    ),
    "hours where days are counted": (
        duties(obligation("install_deadline", within="PT36H")),
        ("error", "/obligations/0/within", "within is PT36H, must be whole days: it would count as 1"),
        duties(obligation("install_deadline", within="PT48H")),
    ),
    "a signal faster than light": (
        policy(located("PD-1", km_per_ms="200")),
        (
            "remark", "/conditions/0/km_per_ms",
            "km_per_ms is 200: light goes 150 km there and back in a millisecond, and no signal farther",
        ),
        policy(located("PD-1", km_per_ms="150")),
    ),
    "two figures for one unit": (
        policy(ratio("50"), ratio("40", "china", countries=["CN"], unit_tpp=16000)),
        ("remark", "/conditions/1/unit_tpp", "TPP of one unit is 16,000, ratio says 15,832"),
        policy(ratio("50"), ratio("40", "china", countries=["CN"])),
    ),
    "a share that is gated by another rate": (
        policy(condition("revenue_share", **_SHARED),
               obligations=[obligation("revenue_share_due", **{**_SHARED, "rate": "0.2"})]),
        ("remark", "/obligations/0/rate", "share of revenue is 0.2, revenue_share says 0.15"),
        policy(condition("revenue_share", **_SHARED),
               obligations=[obligation("revenue_share_due", **_SHARED)]),
    ),
    "two times to report one loss": (
        policy(condition("custody_continuity", action="flag", incident_within="PT48H"),
               obligations=[obligation("incident_report", within="PT72H")]),
        ("remark", "/obligations/0/within", "time to report a loss is PT72H, custody_continuity says PT48H"),
        policy(condition("custody_continuity", action="flag", incident_within="PT72H"),
               obligations=[obligation("incident_report", within="P3D")]),
    ),
    # --- what nobody reads ---
    "an age of lists that are not asked for": (
        policy(screening("clear")),
        ("remark", "/conditions/0/list_age", "list_age is PT24H, and nobody reads it: asks is clear"),
        policy(screening("clear"), screening("fresh", "recent")),
    ),
    "a score beside one that is read": (
        policy(screening("clear"), screening("fresh", "recent", score=900)),
        ("remark", "/conditions/1/score", "score is 900, and nobody reads it: asks is fresh"),
        policy(screening("clear"), screening("fresh", "recent", score=850)),
    ),
    "a range without its rule": (
        policy(owned(countries=["KP"], in_force=[{"from": "2027-02-01"}])),
        (
            "remark", "/conditions/0/in_force",
            "in_force is 2027-02-01, and nobody reads it: no percent is given",
        ),
        policy(owned(countries=["KP"], percent="50", in_force=[{"from": "2027-02-01"}])),
    ),
    "a range long past, without its rule": (
        policy(owned(countries=["KP"], in_force=[{"from": "2025-02-01", "until": "2025-03-01"}])),
        (
            "remark", "/conditions/0/in_force",
            "in_force is 2025-02-01 2025-03-01, and nobody reads it: no percent is given",
        ),
        policy(owned(countries=["KP"])),
    ),
    "forwarders of an order": (
        policy(condition("party_item_match", at=["order.placed"], forwarders=["swift"])),
        (
            "remark", "/conditions/0/forwarders",
            "forwarders is swift, and nobody reads it: only shipment.requested names any",
        ),
        policy(condition("party_item_match", at=["shipment.requested"], forwarders=["swift"])),
    ),
    "projects of an order": (
        policy(condition("prohibited_end_use", at=["order.placed"], declared=True, projects=["X"])),
        ("remark", "/conditions/0/projects", "projects is X, and nobody reads it: no attestation is judged"),
        policy(condition("prohibited_end_use", declared=True, projects=["X"])),
    ),
    "a grace of no delivery": (
        policy(condition("license_active", at=["order.placed"], in_transit_grace="P7D")),
        (
            "remark", "/conditions/0/in_transit_grace",
            "in_transit_grace is P7D, and nobody reads it: no delivery is judged",
        ),
        policy(condition("license_active", at=["order.placed", "delivery.received"], in_transit_grace="P7D")),
    ),
    "a term of no cancellation": (
        policy(condition("prepayment", share="1", at=["shipment.requested"], cancellation="never")),
        (
            "remark", "/conditions/0/cancellation",
            "cancellation is never, and nobody reads it: no cancellation is judged",
        ),
        policy(condition("prepayment", share="1", at=["shipment.requested"])),
    ),
    "failures of no device": (
        policy(condition("attestation_validity", action="flag", at=["fleet.attested"], failures=3)),
        (
            "remark", "/conditions/0/failures",
            "failures is 3, and nobody reads it: batches of a fleet name no device",
        ),
        policy(condition("attestation_validity", action="flag", at=["fleet.attested"])),
    ),
    "advances of no request": (
        policy(condition("rma_one_for_one", action="flag", at=["rma.replaced"], advance=5)),
        ("remark", "/conditions/0/advance", "advance is 5, and nobody reads it: no request is judged"),
        policy(condition("rma_one_for_one", advance=5)),
    ),
    "a rounding of fixed amounts": (
        policy(service({"below": "99", "amount": usd("20")}, rounding="up")),
        (
            "remark", "/conditions/0/rounding",
            "rounding is up, and nobody reads it: no credit is a percent of the fee",
        ),
        policy(service({"below": "99", "percent": "20"}, rounding="up")),
    ),
    "a site that has no place": (
        policy(sites("PD-1", "PD-2"), located("PD-1")),
        ("remark", "/conditions/1/sites", "sites allows site PD-2, and nothing is said of it here"),
        policy(sites("PD-1", "PD-2"), located("PD-1", "PD-2")),
    ),
    "a place that is no site": (
        policy(sites("PD-1"), located("PD-1", "PD-2")),
        ("remark", "/conditions/1/sites", "site PD-2 is none that sites allows"),
        policy(sites("PD-1"), located("PD-1")),
    ),
    "a transition that says nothing": (
        policy(transition={}),
        ("remark", "/transition", "transition is empty, so it says nothing"),
        policy(transition={"open_orders": "new_version"}),
    ),
}  # fmt: skip
