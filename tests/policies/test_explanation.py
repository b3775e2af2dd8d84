"""One entry told in full, in each language: DOMAIN.md's worked numbers, and what follows from a decision."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest

from ledger.decision import Decision
from ledger.event import Event
from policies.document import PolicyDocument, parse_document
from policies.explain import explain
from policies.explanation import Explanation, cited, explanation
from policies.words import CHINESE, ENGLISH, LANGUAGES, Language
from tests.policies.at_work import attest, install, installed
from tests.workbench import H200, Workbench, activation, condition, policy, serials

DOCUMENT = parse_document(H200)
LATIN = re.compile(r"[A-Za-z_]{2,}")
HEARTBEAT = {
    "id": "heartbeat", "uses": "attestation_heartbeat", "clause": "license conditions, use", "first": "P14D",
    "every": "PT24H", "grace": "PT48H",
    "steps": [{"after": "PT0S", "action": "flag"}, {"after": "P4D", "action": "propose_suspension"}],
}  # fmt: skip


def told(
    decision: Decision, language: Language, *documents: PolicyDocument, event: Event | None = None
) -> Explanation:
    said = None if event is None else json.loads(event.model_dump_json(by_alias=True, exclude_none=True))
    return explanation(said, json.loads(decision.body), documents, language)


def texts(found: Explanation, about: str = "finding") -> list[str]:
    return [sentence.text for sentence in found.sentences if sentence.about == about]


def of_the_ledger(bench: Workbench, kind: str, language: Language, *documents: PolicyDocument) -> list[str]:
    """What is told of the last event of that kind."""
    event, decision = next(one for one in reversed(bench.log) if one[0].kind == kind)
    return [sentence.text for sentence in told(decision, language, *documents, event=event).sentences]


# --- worked numbers -------------------------------------------------------------------------------

WORKED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"uses": "quantity_cap", "code": "quantity_cap.over", "observed": 10_100, "limit": 10_000,
         "shortfall": 100, "headroom": 400, "unit": "units"},
        "10,100 units asked or released, 10,000 allowed: 100 too many (headroom 400)",
        "已申请或已放行10,100件，许可数量为10,000：超出100（剩余额度400）",
    ),
    (
        {"uses": "value_cap", "code": "value_cap.over", "observed": "271000000.00", "limit": "270000000.00",
         "shortfall": "1000000.00", "headroom": "1710000.00", "unit": "USD"},
        "271,000,000.00 USD released, 270,000,000.00 USD allowed: 1,000,000.00 USD too much "
        "(headroom 1,710,000.00 USD)",
        "已放行金额271,000,000.00 USD，允许金额270,000,000.00 USD：超出1,000,000.00 USD"
        "（剩余额度1,710,000.00 USD）",
    ),
    (
        {"uses": "levy_settled", "code": "levy_settled.short", "observed": "6000000.00",
         "limit": "6750000.00", "shortfall": "750000.00", "unit": "USD"},
        "6,000,000.00 USD of levy settled, 6,750,000.00 USD due: 750,000.00 USD short",
        "已缴关税6,000,000.00 USD，应缴6,750,000.00 USD：尚欠750,000.00 USD",
    ),
    (
        {"uses": "revenue_share", "code": "revenue_share.short", "observed": "4000000.00",
         "limit": "4050000.00", "shortfall": "50000.00", "unit": "USD"},
        "4,000,000.00 USD of revenue shared, 4,050,000.00 USD due by now: 50,000.00 USD short",
        "已支付收入分成4,000,000.00 USD，截至目前应付4,050,000.00 USD：尚欠50,000.00 USD",
    ),
    (
        {"uses": "laboratory_test", "code": "laboratory_test.not_passed", "observed": 998, "limit": 1_000,
         "shortfall": 2, "unit": "devices", "subjects": ["SN000001", "SN000002"], "subjects_count": 2},
        "998 of 1,000 devices have passed a laboratory test, 2 without one: SN000001, SN000002",
        "1,000台设备中有998台已通过实验室检测，2台未通过或未检测：SN000001、SN000002",
    ),
    (
        {"uses": "us_ratio_cap", "code": "us_ratio_cap.over", "observed": 400_500, "limit": 400_000,
         "shortfall": 500, "headroom": 500, "unit": "units"},
        "400,500 units released there, 400,000 allowed: 500 too many (headroom 500)",
        "已向该目的地放行400,500件，允许400,000：超出500（剩余额度500）",
    ),
    (
        {"uses": "supply_certified", "code": "supply_certified.old", "observed": 101, "limit": 90,
         "shortfall": 11, "unit": "days"},
        "the certification of supply is 101 days old, 90 allowed: 11 too many",
        "供应证明出具至今已101天，允许90：超出11",
    ),
    (
        {"uses": "remote_tenant_kyc", "code": "remote_tenant_kyc.short", "observed": "99.00",
         "limit": "100.00", "shortfall": 12, "unit": "%"},
        "99.00 % of the remote tenants were checked, 100.00 % must be: 12 tenants short",
        "远程租户尽职调查覆盖率为99.00%，应达到100.00%：尚有12个租户未核查",
    ),
    (
        {"uses": "location_consistency", "code": "location_consistency.too_far", "observed": 1_900,
         "limit": 900, "shortfall": 1_000, "unit": "km", "subjects": ["obs-1"], "subjects_count": 1},
        "the claimed site is at least 1,900 km from an observer who was answered within the time for 900 km, "
        "1,000 km too far: obs-1",
        "所称地点距观测方至少1,900公里，而应答用时对应的最远距离为900公里，超出1,000公里：obs-1",
    ),
    (
        {"uses": "performance_thresholds", "code": "performance_thresholds.tpp", "observed": 36_000,
         "limit": 21_000, "unit": "TPP", "subjects": ["H200-SXM"], "subjects_count": 1},
        "36,000 TPP a unit, must be below 21,000: H200-SXM",
        "单件性能为36,000 TPP，须低于21,000：H200-SXM",
    ),
    (
        {"uses": "export_filed", "code": "export_filed.value", "observed": "EUR", "limit": "USD",
         "unit": "currency"},
        "filed at EUR, released at USD",
        "申报价值EUR，放行价值USD",
    ),
    (
        {"uses": "license_active", "result": "pass", "observed": "active", "limit": "active",
         "unit": "state"},
        "the license is active",
        "许可证状态为有效",
    ),
    (
        {"uses": "party_item_match", "code": "party_item_match.party", "observed": 2, "limit": 3,
         "shortfall": 1, "unit": "parties", "subjects": ["forwarder slow"], "subjects_count": 1},
        "1 of 3 parties is not allowed in that role: forwarder slow",
        "3个当事方中有1个当事方不得以该身份参与：货运代理 slow",
    ),
    (
        {"uses": "no_onward_transfer", "code": "no_onward_transfer.not_allowed", "observed": 64, "limit": 0,
         "shortfall": 64, "unit": "devices", "subjects": ["affiliate at SHA-2, CN"], "subjects_count": 1},
        "64 devices would pass on to a receiver that is not allowed: affiliate at SHA-2, CN",
        "拟将64台设备再转让给未获允许的受让方：affiliate（SHA-2, CN）",
    ),
    (
        {"uses": "service_level", "code": "service_level.credit_due", "observed": "99.79", "limit": "99.90",
         "shortfall": 2_808, "unit": "%", "subjects": ["10000.00 USD"], "subjects_count": 1},
        "99.79 % available, 99.90 % agreed: 2,808 seconds down beyond what is allowed; a credit is due: "
        "10,000.00 USD",
        "可用率为99.79%，约定为99.90%：停机超出允许时间2,808秒；应给予服务补偿：10,000.00 USD",
    ),
    (
        {"uses": "retention_hold", "code": "retention_hold.retained",
         "observed": "2030-01-01T00:00:00.000000Z", "limit": "2034-12-31T05:00:00.000000Z", "unit": "time",
         "subjects": ["end of license D-1"], "subjects_count": 1},
        "recorded at 2030-01-01T00:00:00.000000Z, records are kept until 2034-12-31T05:00:00.000000Z, for "
        "the latest end of license D-1",
        "入账时间为2030-01-01T00:00:00.000000Z，记录须保存至2034-12-31T05:00:00.000000Z，"
        "自最晚的起算事由起算：许可证终止 D-1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "english", "chinese"), WORKED, ids=[found.get("code", "pass") for found, _, _ in WORKED]
)
def test_a_worked_number_reads_so(found: dict[str, Any], english: str, chinese: str) -> None:
    finding = {"id": "it", "policy": 1, "result": "fail", "action": "deny", "clock": "none", **found}
    assert explain({"conditions": [finding]}) == [f"it: {english}."]
    assert explain({"conditions": [finding]}, language=CHINESE) == [f"it：{chinese}。"]


def test_the_constitution_names_roles_in_the_language() -> None:
    bench = Workbench().open()
    refused = bench.ask("license.revoked", by=("dragon-dc", "buyer"))
    assert texts(told(refused, CHINESE)) == [
        "standing：当事方以买方身份提交，该事件可由下列身份提交：许可机关。"
    ]


def test_a_party_that_is_called_as_a_role_keeps_its_name() -> None:
    finding = {
        "id": "it", "uses": "conditions_acknowledged", "policy": 1, "result": "fail", "action": "deny",
        "clock": "none", "code": "conditions_acknowledged.missing", "observed": 0, "limit": 1, "shortfall": 1,
        "unit": "acknowledgements", "subjects": ["buyer"], "subjects_count": 1,
    }  # fmt: skip
    assert explain({"conditions": [finding]}, language=CHINESE)[0].endswith("尚缺：buyer。")


# --- the whole of an entry ------------------------------------------------------------------------


def test_a_refusal_in_both_languages_with_its_clauses() -> None:
    bench = Workbench().open()
    bench.order(1000, levied="6000000.00")
    decision = bench.release(serials(1000))
    english, chinese = (told(decision, language, DOCUMENT) for language in LANGUAGES.values())
    assert english.outcome == chinese.outcome == "denied"
    assert english.summary == "Denied: it is recorded and has no effect; 2 conditions are not met."
    assert chinese.summary == "已拒绝：事件已入账，但不产生效力；有2项条件未满足。"
    clause = "tariff of 25 % ad valorem, HTS 8471.50, 8471.80 and 8473.30; contract, levy before release"
    [levy] = [sentence for sentence in english.sentences if sentence.condition == "levy"]
    assert levy.view() == {
        "about": "finding",
        "text": "levy: 6,000,000.00 USD of levy settled, 6,750,000.00 USD due: 750,000.00 USD short. "
        f"Clause: {clause} (us-h200-china version 1).",
        "condition": "levy", "policy": "us-h200-china", "version": 1, "result": "fail", "action": "deny",
        "clause": clause,
        "numbers": {
            "observed": "6000000.00", "limit": "6750000.00", "shortfall": "750000.00", "unit": "USD",
        },
    }  # fmt: skip
    assert (
        "levy：已缴关税6,000,000.00 USD，应缴6,750,000.00 USD：尚欠750,000.00 USD。"
        f"条款：{clause}（us-h200-china第1版）。"
    ) in texts(chinese)
    assert len(texts(english)) == len(texts(chinese)) == len(decision.findings)


def test_a_document_that_is_not_there_costs_the_clause_alone() -> None:
    decision = Workbench().open().ask("order.placed", units=20_000)
    bare, whole = told(decision, ENGLISH), told(decision, ENGLISH, DOCUMENT)
    assert all(sentence.clause is None for sentence in bare.sentences)
    assert all(sentence.clause is not None for sentence in whole.sentences)
    for without, with_ in zip(texts(bare), texts(whole), strict=True):
        assert with_.startswith(without)


def test_a_loss_proposes_and_is_flagged() -> None:
    bench = Workbench().open()
    bench.order(3)
    bench.test(serials(3))
    bench.release(serials(3))
    bench.dispatch(serials(3))
    found = told(bench.receive(serials(2), at="2027-03-09T06:00:00Z"), CHINESE)
    assert found.summary == "已标记：事件已入账并生效，但有1项条件未满足。"
    assert (
        "custody：发运3台设备，到货2台，短少1台：SN000003；要求提交事故报告，期限为2027-03-12T06:00:00.000000Z。"
    ) in texts(found)


def test_a_hold_says_who_may_release_it() -> None:
    held = condition("quantity_cap", limit=5, action="hold", released_by=["authority", "exporter"], id="cap")
    bench = Workbench().open(text=policy(held))
    decision = bench.say("order.placed", units=6)
    said = {
        "en": "cap of us-h200-china holds it until one of these releases it: authority, exporter.",
        "zh": "依据us-h200-china的cap予以暂缓，可由下列身份之一解除：许可机关、出口商。",
    }
    for tag, language in LANGUAGES.items():
        assert texts(told(decision, language), "hold") == [said[tag]]
        placed, awaited = of_the_ledger(bench, "hold.placed", language)
        assert awaited == said[tag]
        assert "order/PO-4711" in placed
    assert told(decision, ENGLISH).summary == (
        "Held: it is recorded, and nothing may follow from it before it is released; 1 condition is not met."
    )


def test_a_shadow_says_what_it_would_have_decided() -> None:
    bench = Workbench().open(text=policy(condition("quantity_cap", limit=10)))
    stricter = policy(condition("quantity_cap", limit=5), version=2)
    bench.accepted("policy.proposed", **activation(stricter, version=2))
    named = {k: v for k, v in activation(stricter, version=2).items() if k != "text"}
    bench.accepted("policy.activated", **named, begins=None, mode="shadow")
    decision = bench.ask("order.placed", units=6)
    assert cited(None, json.loads(decision.body)).digests >= {parse_document(stricter).sha256}
    assert texts(told(decision, ENGLISH, parse_document(stricter)), "shadow") == [
        "us-h200-china version 2, which is only watched, would have decided otherwise: denied.",
        "quantity_cap: 6 units asked or released, 5 allowed: 1 too many (headroom 5). "
        "Clause: a test (us-h200-china version 2).",
    ]
    assert texts(told(decision, CHINESE, parse_document(stricter)), "shadow") == [
        "us-h200-china第2版仅作影子试行，若以其为准，结论将有所不同：拒绝。",
        "quantity_cap：已申请或已放行6件，许可数量为5：超出1（剩余额度5）。"
        "条款：a test（us-h200-china第2版）。",
    ]


def test_an_override_and_a_shadow_condition_are_told_behind_what_was_found() -> None:
    text = policy(condition("quantity_cap", limit=1, action="shadow"))
    [said] = texts(told(Workbench().open(text=text).say("order.placed"), CHINESE))
    assert said.endswith("（剩余额度1）。此为影子试行，不计入结论。")
    finding = {
        "id": "cap", "uses": "quantity_cap", "policy": 1, "result": "fail", "action": "deny", "clock": "none",
        "code": "quantity_cap.license_unknown", "override": 1_234,
    }  # fmt: skip
    assert explain({"conditions": [finding]}, language=CHINESE) == [
        "cap：该许可证不属于本合同。已由第1234号记录豁免。"
    ]


# --- duties ---------------------------------------------------------------------------------------


def at_work() -> tuple[Workbench, PolicyDocument]:
    alibi = condition("quantity_cap", limit=1_000_000)
    text = policy(alibi, obligations=[HEARTBEAT])
    bench = Workbench(at="2027-02-01T12:00:00Z").open(text=text)
    bench.order(1)
    bench.release(serials(1))
    bench.dispatch(serials(1))
    bench.receive(serials(1))
    assert install(bench, serials(1), at="2027-02-20T00:00:00Z").outcome == "accepted"
    return bench, parse_document(text)


def test_a_duty_is_told_with_its_due_date_and_what_becomes_of_it() -> None:
    bench, document = at_work()
    decision = bench.log[-1][1]
    [opened] = [s for s in told(decision, ENGLISH, document).sentences if s.about == "duty"]
    assert opened.text == (
        "heartbeat: a duty begins for SN000001, due by 2027-03-06T00:00:00.000000Z; if it is not met by "
        "2027-03-08T00:00:00.000000Z, the breach is recorded; if it is not met by "
        "2027-03-12T00:00:00.000000Z, suspension of license D-100200 is proposed. "
        "Clause: license conditions, use (us-h200-china version 1)."
    )
    assert (opened.condition, opened.result, opened.clause) == (
        "heartbeat", "opened", "license conditions, use",
    )  # fmt: skip
    assert texts(told(decision, CHINESE, document), "duty") == [
        "义务heartbeat自此产生（SN000001），履行期限为2027-03-06T00:00:00.000000Z；"
        "至2027-03-08T00:00:00.000000Z仍未履行的，记录违约；"
        "至2027-03-12T00:00:00.000000Z仍未履行的，建议中止许可证D-100200。"
        "条款：license conditions, use（us-h200-china第1版）。"
    ]


def test_a_breach_its_proposal_and_its_cure_are_told() -> None:
    bench, document = at_work()
    bench.tick("2027-03-12T00:00:00Z")
    assert of_the_ledger(bench, "obligation.breached", ENGLISH, document) == [
        "heartbeat is breached for SN000001: no attestation has been recorded in time; it was due by "
        "2027-03-06T00:00:00Z. Step 2, at 2027-03-12T00:00:00Z: suspension of license D-100200 is proposed. "
        "Clause: license conditions, use (us-h200-china version 1)."
    ]
    assert of_the_ledger(bench, "obligation.breached", CHINESE, document) == [
        "义务heartbeat违约（SN000001）：未在期限内提交使用证明；履行期限为2027-03-06T00:00:00Z。"
        "第2步于2027-03-12T00:00:00Z到期：建议中止许可证D-100200。"
        "条款：license conditions, use（us-h200-china第1版）。"
    ]
    breached = next(n for n, (event, _) in enumerate(bench.log) if event.data.__class__.__name__ ==
                    "ObligationBreached" and event.data.step == 2)  # fmt: skip
    assert of_the_ledger(bench, "suspension.proposed", CHINESE) == [
        f"因第{breached}号记录中的heartbeat，建议中止许可证D-100200；由有权人员确认或驳回。"
    ]
    cure = attest(bench, serials(1), at="2027-03-13T00:00:00Z")
    assert texts(told(cure, CHINESE), "duty")[0] == "义务heartbeat在违约之后已了结（SN000001）。"
    cause = len(bench.log) - 2
    assert of_the_ledger(bench, "obligation.satisfied", ENGLISH) == [
        f"heartbeat is met for SN000001, late, by entry {cause}."
    ]


def test_a_duty_that_comes_again_names_the_next_one() -> None:
    due = {"id": "batch", "uses": "batch_due", "clause": "contract, batches", "window": "month", "due": 5_000}
    bench = Workbench(at="2027-01-05T12:00:00Z")
    bench.open(text=policy(condition("quantity_cap", limit=1_000_000), obligations=[due]))
    bench.tick("2027-02-01T05:00:00Z")
    assert of_the_ledger(bench, "obligation.breached", CHINESE) == [
        "义务batch违约（D-100200/2027-01）：应放行5,000，已放行0件：尚差5,000；"
        "履行期限为2027-02-01T05:00:00Z。第1步于2027-02-01T05:00:00Z到期：记录违约。"
        "下一期为D-100200/2027-02，履行期限为2027-03-01T05:00:00Z。"
    ]


def test_the_scope_of_a_revocation_is_told_in_numbers_and_names() -> None:
    bench = Workbench().open()
    bench.order(3)
    bench.test(serials(2))
    bench.release(serials(2))
    bench.accepted("license.revoked")
    assert of_the_ledger(bench, "revocation.scoped", ENGLISH) == [
        f"The revocation of license D-100200, entry {len(bench.log) - 2}, touches 1 open order, 1 shipment "
        "released and not dispatched, 0 shipments in transit, 2 released units and 2 devices.",
        "Open orders: PO-4711.",
        "Released and not dispatched: SH-1.",
    ]
    whole, orders, released = of_the_ledger(bench, "revocation.scoped", CHINESE)
    assert "涉及未完结订单1份、已放行未发运货物1批、在途货物0批、已放行2件、设备2台。" in whole
    assert (orders, released) == ("未完结订单：PO-4711。", "已放行未发运：SH-1。")


def test_the_end_of_a_license_is_told() -> None:
    bench = Workbench().open(valid_until="2027-06-30")
    bench.tick("2028-01-01T00:00:00Z")
    assert of_the_ledger(bench, "license.expired", CHINESE) == [
        "许可证D-100200已于2027-07-01T04:00:00Z到期：此后不得再据此放行。"
    ]
    assert of_the_ledger(bench, "license.expiring", ENGLISH) == [
        "License D-100200 ends at 2027-07-01T04:00:00Z: reminder 3."
    ]


def test_the_end_of_a_release_is_told_with_what_had_not_left() -> None:
    bench = Workbench().open(text=policy())
    bench.accepted("order.placed", units=4)
    bench.accepted("shipment.requested", serials=serials(3), valid_until="2027-03-10")
    bench.dispatch(serials(1))
    bench.tick("2027-03-12T00:00:00Z")
    assert of_the_ledger(bench, "shipment.expired", ENGLISH) == [
        "The release SH-1 ended at 2027-03-11T05:00:00Z: what had not left is free, and its share of every "
        "cap is back.",
        "Had not left: SN000002, SN000003.",
    ]
    assert of_the_ledger(bench, "shipment.expired", CHINESE) == [
        "放行SH-1已于2027-03-11T05:00:00Z失效：未发出的设备已收回，其所占的各项额度一并退还。",
        "未发出：SN000002、SN000003。",
    ]


def test_a_summary_of_the_chains_is_told() -> None:
    event = {"kind": "contracts.summarised", "actor": {"role": "ledger"},
             "data": {"contracts": 1_200, "root": "7a", "hours": 1}}  # fmt: skip
    decision = {"outcome": "accepted", "policies": [], "conditions": []}
    said = [explanation(event, decision, (), language).sentences[0].text for language in LANGUAGES.values()]
    assert said == [
        "The ends of 1,200 chains are summarised under root 7a; the next summary is due 1 hour later.",
        "汇总1,200条合同链的末端，根值为7a；下一次汇总在1小时之后。",
    ]


# --- nothing but words and what was committed -----------------------------------------------------


def names_in(value: Any) -> Iterable[str]:
    """Every word that stands in committed JSON: a telling may repeat these."""
    if isinstance(value, dict):
        for one in value.values():
            yield from names_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from names_in(one)
    elif isinstance(value, str):
        yield from LATIN.findall(value)


def test_chinese_says_no_word_of_english_that_was_not_committed() -> None:
    bench = installed(20, condition("unique_identity"), condition("site_allow_list", sites=["SHA-1"]))
    attest(bench, serials(2), "fail")
    bench.say("license.revoked", by=("dragon-dc", "buyer"))
    bench.say("order.placed", consignee="swift-freight", order="PO-2")
    bench.say("order.cancelled", order="PO-NONE")
    bench.accepted("license.suspended")
    bench.release(serials(1, first=90), shipment="SH-9")
    bench.accepted("license.revoked")
    bench.tick("2028-01-01T00:00:00Z")
    for event, decision in bench.log:
        found = told(decision, CHINESE, event=event)
        said = json.loads(event.model_dump_json(by_alias=True, exclude_none=True))
        committed = {*names_in(json.loads(decision.body)), *names_in(said)} - CHINESE.terms.keys()
        for text in (found.summary, *(sentence.text for sentence in found.sentences)):
            assert set(LATIN.findall(text)) <= committed, text
            assert "{" not in text
            assert "?" not in text
