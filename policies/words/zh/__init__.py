"""Chinese, simplified: the terms of export control and of contracts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policies.words.language import Language
from policies.words.zh.conditions import CONDITIONS
from policies.words.zh.constitution import RULES
from policies.words.zh.obligations import OBLIGATIONS

PHRASES: Final[Mapping[str, str]] = {
    "list": "、",
    "next": "；",
    "between": "",
    "hours": "{count}小时",
    "minutes": "{count}分钟",
    "seconds": "{count}秒",
    "located": "{party}（{place}）",
    "more": "{shown}及另外{count}项",
    "finding": "{id}：{said}。",
    "decided_before": "此前已作为第{index}条作出该决定：再次尝试须用新的{id}，并在{retries}中写明本次的。",
    "error": "无法判定，因此视为未满足",
    "not_applicable": "不适用",
    "unknown": "{result}（{code}）",
    "unknown_measured": "{result}（{code}）：实际为{observed}，限值为{limit}",
    "pass": "已满足",
    "fail": "未满足",
    "is_shadow": "此为影子试行，不计入结论。",
    "overridden": "已由第{entry}号记录豁免。",
    "clause": "条款：{clause}。",
    "cited": "{clause}（{policy}第{version}版）",
    "suspension": "建议中止该许可证",
    "suspension_of": "建议中止许可证{license}",
    "revocation": "建议撤销该许可证",
    "revocation_of": "建议撤销许可证{license}",
    "incident_report": "要求提交事故报告",
    "incident_report_of": "要求提交事故报告",
    "proposed": "建议采取{propose}措施",
    "due_by": "{proposed}，期限为{due}",
    "accepted": "已接受：事件已入账并生效。",
    "flagged": "已标记：事件已入账并生效，但有{count}项条件未满足。",
    "held": "已暂缓：事件已入账，解除暂缓之前不得据此办理后续事项；有{count}项条件未满足。",
    "denied": "已拒绝：事件已入账，但不产生效力；有{count}项条件未满足。",
    "outcome_accepted": "接受",
    "outcome_flagged": "标记",
    "outcome_held": "暂缓",
    "outcome_denied": "拒绝",
    "shadow": "{policy}第{version}版仅作影子试行，若以其为准，结论将有所不同：{outcome}。",
    "awaited": "依据{policy}的{condition}予以暂缓，可由下列身份之一解除：{roles}。",
    "opened": "义务{obligation}自此产生（{subjects}），履行期限为{due}{steps}。",
    "step": "；至{at}仍未履行的，{action}",
    "flag": "记录违约",
    "discharged": "义务{obligation}已了结（{subjects}）。",
    "cured": "义务{obligation}在违约之后已了结（{subjects}）。",
    "late": "未按期履行",
    "again": "下一期为{subject}，履行期限为{due}。",
    "labelled": "{label}：{value}",
    "entry": "记录",
    "kind": "种类",
    "party": "提交方",
    "recorded_at": "入账时间",
    "contract": "合同",
    "outcome": "结论",
    "policies": "判定依据",
    "withheld": "未披露",
    "document": "{policy}第{version}版",
}

OWN: Final[Mapping[str, str]] = {
    "ledger.opened": "账本{origin}自此开始：记录格式第{format}版，归并规则第{fold}版，判定引擎第{engine}版。",
    "ledger.recovered": "自此账本名为{origin}，由密钥{key}签名："
    "前身账本曾承诺的部分条目已丢失。原因：{reason}。",
    "checkpoint_key.rotated": "自此检查点由密钥{key}签名：原密钥与新密钥均已签名确认。",
    "contracts.summarised": "汇总{contracts}条合同链的末端，根值为{root}；下一次汇总在{hours}小时之后。",
    "integrity.failed": "核查账本时发现损坏：{damage}，位置：{where}。",
    "integrity.explained": "对{failures_count}项完整性异常作出说明：{words}",
    "integrity.summarised": "{since}至{until}期间共核查账本{runs}次：{damaged}次发现损坏，"
    "{unexplained}次未发现损坏但此前异常尚未说明。已核实{verified}条记录完整，根值为{root}。",
    "hold.placed": "第{cause}号记录中的{target}已被暂缓：解除之前不得据此办理后续事项。",
    "suspension.proposed": "因第{cause}号记录中的{condition}，"
    "建议中止许可证{license}；由有权人员确认或驳回。",
    "revocation.proposed": "因第{cause}号记录中的{condition}，"
    "建议撤销许可证{license}；由有权人员确认或驳回。",
    "value.erased": "应第{request}号记录的请求，第{index}号记录（{kind}，提交方{party}）的内容及其盐值"
    "已被删除；其头部仍在。",
    "obligation.breached": "义务{obligation}违约（{about}）：{said}；履行期限为{due}。"
    "第{step}步于{at}到期：{action}。",
    "obligation.satisfied": "义务{obligation}已履行（{subjects}），于到期核对时确认。",
    "obligation.satisfied.late": "义务{obligation}已由第{cause}号记录逾期履行（{subjects}）。",
    "obligation.lapsed": "义务{obligation}不再要求履行（{subjects}）：现行政策文件已无此项要求。",
    "license.expiring": "许可证{license}将于{ends_at}到期：第{step}次提醒。",
    "license.expired": "许可证{license}已于{ended_at}到期：此后不得再据此放行。",
    "shipment.expired": "放行{shipment}已于{expired_at}失效：未发出的设备已收回，其所占的各项额度一并退还。",
    "shipment.expired.serials": "未发出：{names}。",
    "revocation.scoped": "第{cause}号记录撤销许可证{license}，涉及未完结订单{orders_count}份、"
    "已放行未发运货物{released_count}批、在途货物{in_transit_count}批、已放行{units_released}件、"
    "设备{devices_count}台。",
    "revocation.scoped.orders": "未完结订单：{names}。",
    "revocation.scoped.released": "已放行未发运：{names}。",
    "revocation.scoped.in_transit": "在途：{names}。",
}

UNITS: Final[Mapping[str, str]] = {
    "%": "%", "percent": "%", "acknowledgements": "份", "approvals": "项批准", "days": "天",
    "devices": "台设备", "entries": "条记录", "holds": "项证据保全令", "km": "公里", "licenses": "份许可证",
    "parties": "个当事方",
    "score": "分", "seconds": "秒", "sites": "个地点", "statements": "项声明", "tpp": " TPP", "units": "件",
    "versions": "个版本", "witnesses": "名见证人",
}  # fmt: skip

TERMS: Final[Mapping[str, str]] = {
    # Roles.
    "authority": "许可机关", "buyer": "买方", "consignee": "收货人", "data_centre": "数据中心",
    "end_user": "最终用户", "exporter": "出口商", "forwarder": "货运代理", "laboratory": "认可实验室",
    "ledger": "账本",
    # States of a license.
    "granted": "已签发", "active": "有效", "suspended": "已中止", "revoked": "已撤销", "expired": "已到期",
    # What is proposed.
    "suspension": "中止", "revocation": "撤销",
    # Measures, and what records are kept for.
    "tpp": "TPP", "units": "件数", "export": "出口", "diversion": "转移他用",
    "end of license": "许可证终止",
    # What a credit is reckoned from.
    "% of the fee": "%（按费用计）",
    # Names that documents commonly give to end uses, classes of end user and certifications.
    "military": "军事", "military_intelligence": "军事情报",
    "weapons_of_mass_destruction": "大规模杀伤性武器", "sensitive_agency": "敏感机构",
    "critical_infrastructure": "关键基础设施", "state_owned": "国有企业",
    "available_in_us": "美国市场有售", "no_delay_to_us_orders": "不延误美国订单",
    "no_foundry_diversion": "不挤占代工产能",
}  # fmt: skip

CHINESE: Final = Language(
    tag="zh",
    conditions=CONDITIONS,
    rules=RULES,
    obligations=OBLIGATIONS,
    own=OWN,
    phrases=PHRASES,
    units=UNITS,
    terms=TERMS,
    before_unit=" ",
)
