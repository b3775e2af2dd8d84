"""Findings of conditions in Chinese, by permanent name and code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NO_LICENSE: Final = "该许可证不属于本合同"
_NO_ORDER: Final = "该订单不属于本合同"
_NO_EXCHANGE: Final = "本账本不作汇率换算"

CONDITIONS: Final[Mapping[str, Mapping[str, str]]] = {
    # --- licenses ---------------------------------------------------------------------------------
    "license_active": {
        "pass": "许可证状态为{observed}",
        "license_unknown": _NO_LICENSE,
        "suspended": "许可证已中止，须处于有效状态",
        "revoked": "许可证已撤销，须处于有效状态",
        "expired": "许可证已到期，须处于有效状态",
        "dispatched_after": "于{observed}发运，而许可证已于{limit}停止效力",
        "in_transit": "于{observed}收货，许可证停止效力时货物已在途；此类货物可在{limit}之前到达",
        "grace_over": "于{observed}收货，在途货物须在{limit}之前到达",
        "received_undispatched": "于{observed}收货，而在许可证于{limit}停止效力之前并无全部货物的发运记录："
        "{subjects}",
    },
    "validity_window": {
        "release_endless": "该次放行未载明最后一日，最迟可有效至{limit}",
        "release_too_long": "该次放行有效至{observed}，最迟可至{limit}",
        "pass": "入账时间为{observed}，许可证有效期至{limit}",
        "license_unknown": _NO_LICENSE,
        "not_begun": "入账时间为{observed}，许可证自{limit}起方才有效",
        "ended": "入账时间为{observed}，许可证有效期已于{limit}届满",
    },
    "quantity_cap": {
        "pass": "已申请或已放行{observed}{unit}，许可数量为{limit}",
        "license_unknown": _NO_LICENSE,
        "over": "已申请或已放行{observed}{unit}，许可数量为{limit}：超出{shortfall}（剩余额度{headroom}）",
    },
    "value_cap": {
        "pass": "已放行金额{observed}{unit}，允许金额{limit}{unit}",
        "license_unknown": _NO_LICENSE,
        "no_value": "许可证未载明金额",
        "currency": f"放行以{{observed}}计价，限额以{{limit}}计价：{_NO_EXCHANGE}",
        "within_tolerance": "已放行金额{observed}{unit}，许可金额{limit}{unit}："
        "多出{shortfall}{unit}，在容差之内",
        "over": "已放行金额{observed}{unit}，允许金额{limit}{unit}：超出{shortfall}{unit}（"
        "剩余额度{headroom}{unit}）",
    },
    "window_cap": {
        "pass": "{subjects}期间已放行{observed}{unit}，上限为{limit}",
        "license_unknown": _NO_LICENSE,
        "over": "{subjects}期间已放行{observed}{unit}，上限为{limit}：超出{shortfall}（剩余额度{headroom}）",
    },
    "us_ratio_cap": {
        "pass": "已向该目的地放行{observed}{unit}，允许{limit}",
        "no_baseline": "出口商未申报该产品的基数",
        "not_measured": "该产品最近一次申报的基数未载明{subjects}",
        "over": "已向该目的地放行{observed}{unit}，允许{limit}：超出{shortfall}（剩余额度{headroom}）",
    },
    "conditions_acknowledged": {
        "pass": "应有{limit}份确认书，已登记{observed}份",
        "license_unknown": _NO_LICENSE,
        "missing": "应有{limit}份确认书，已登记{observed}份，尚缺：{subjects}",
    },
    "performance_thresholds": {
        "pass": "单件性能最高为{observed}{unit}，门槛为{limit}",
        "license_unknown": _NO_LICENSE,
        "undeclared": "许可证未载明该物项的性能：{subjects}",
        "tpp": "单件性能为{observed}{unit}，须低于{limit}：{subjects}",
        "bandwidth": "单件带宽为{observed}{unit}，须低于{limit}：{subjects}",
    },
    # --- parties ----------------------------------------------------------------------------------
    "party_item_match": {
        "pass": "全部{observed}{unit}及物项均在许可范围内",
        "license_unknown": _NO_LICENSE,
        "item": "{observed}不属于许可的物项：{limit}",
        "party": "{limit}{unit}中有{shortfall}{unit}不得以该身份参与：{subjects}",
        "order": "{limit}{unit}中有{shortfall}{unit}与订单不符，须先变更订单：{subjects}",
    },
    "no_onward_transfer": {
        "pass": "{observed}{unit}转让给允许的受让方",
        "not_allowed": "拟将{observed}{unit}再转让给未获允许的受让方：{subjects}",
        "passed": "已将{observed}{unit}再转让给未获允许的受让方：{subjects}",
    },
    "prohibited_end_use": {
        "pass": "被禁止的用途未超过{limit}{unit}",
        "end_use": "{observed}属于被禁止的最终用途",
        "end_user": "{observed}属于被禁止的最终用户",
        "undeclared": "订单未说明货物的最终用途",
        "share": "{observed}{unit}的GPU机时用于被禁止的用途，允许{limit}{unit}：{subjects}",
    },
    "end_user_statement": {
        "pass": "订单金额合计{observed}{unit}：最终用户声明已备案，或在{limit}{unit}以内无须提交",
        "missing": "订单金额合计{observed}{unit}，超过{limit}{unit}须有最终用户声明，现无备案：{subjects}",
        "expired": "订单金额合计{observed}{unit}，超过{limit}{unit}须有最终用户声明，备案的声明已过期："
        "{subjects}",
        "currency": f"申请以{{observed}}计价，限额以{{limit}}计价：{_NO_EXCHANGE}，且无最终用户声明备案",
    },
    "screening_clear": {
        "pass": "全部{observed}{unit}均已按政策文件的要求完成筛查",
        "hit": "匹配分为{observed}，达到{limit}即视为命中：{subjects}",
        "listed": "名单命中，匹配分为{observed}：{subjects}",
        "missing": "{limit}{unit}中有{shortfall}{unit}未经筛查：{subjects}",
        "lists": "{limit}{unit}中有{shortfall}{unit}未按要求筛查全部名单：{subjects}",
        "expired": "{limit}{unit}中有{shortfall}{unit}的筛查结果已过期：{subjects}",
        "stale": "名单取得于{observed}{unit}之前，最长允许{limit}{unit}：{subjects}",
    },
    "ownership": {
        "pass": "名单内股东持股{observed}{unit}，上限为{limit}{unit}",
        "missing": "未申报股权结构：{subjects}",
        "stale": "股权申报日期为{observed}，不得早于{limit}：{subjects}",
        "country": "总部或最终母公司位于{observed}，属于不被允许的国家或地区：{subjects}",
        "parent": "最终母公司在名单内：{subjects}",
        "holders": "名单内股东持股{observed}{unit}，须低于{limit}{unit}：{subjects}",
    },
    # --- supply and trade -------------------------------------------------------------------------
    "supply_certified": {
        "pass": "供应证明出具至今已{observed}{unit}，允许{limit}",
        "none": "出口商未就该产品出具供应证明",
        "old": "供应证明出具至今已{observed}{unit}，允许{limit}：超出{shortfall}",
        "incomplete": "应证明{limit}项声明，已证明{observed}项，尚缺：{subjects}",
    },
    "laboratory_test": {
        "pass": "{limit}台设备中有{observed}台已通过实验室检测",
        "not_passed": "{limit}台设备中有{observed}台已通过实验室检测，{shortfall}台未通过或未检测："
        "{subjects}",
        "sample_short": "已有{observed}{unit}通过实验室检测，本批放行的抽样数为{limit}：尚缺{shortfall}",
        "sample_failed": "抽样中有{shortfall}{unit}未通过检测：{subjects}",
    },
    "levy_settled": {
        "pass": "已缴关税{observed}{unit}，应缴{limit}{unit}",
        "order_unknown": _NO_ORDER,
        "currency": f"申请以{{observed}}计价，订单以{{limit}}计价：{_NO_EXCHANGE}",
        "short": "已缴关税{observed}{unit}，应缴{limit}{unit}：尚欠{shortfall}{unit}",
    },
    "prepayment": {
        "pass": "放行前已付{observed}{unit}，应付{limit}{unit}",
        "order_unknown": _NO_ORDER,
        "short": "放行前已付{observed}{unit}，应付{limit}{unit}：尚欠{shortfall}{unit}",
        "no_cancellation": "订单不得取消；应付{limit}{unit}，已付{observed}{unit}",
        "no_reduction": "订单不得减少；应付{limit}{unit}，已付{observed}{unit}",
    },
    "revenue_share": {
        "pass": "已支付收入分成{observed}{unit}，截至目前应付{limit}{unit}",
        "short": "已支付收入分成{observed}{unit}，截至目前应付{limit}{unit}：尚欠{shortfall}{unit}",
    },
    "export_filed": {
        "pass": "装箱{observed}{unit}，出口申报{limit}",
        "not_filed": "该批货物没有出口申报记录",
        "license": "出口申报使用许可证{observed}，放行使用许可证{limit}",
        "eccn": "出口申报的分类为{observed}，许可证的分类为{limit}",
        "over": "装箱{observed}{unit}，出口申报{limit}：多装{shortfall}",
        "under": "装箱{observed}{unit}且不再有放行，出口申报{limit}：少装{shortfall}",
        "value": "申报价值{observed}{unit}，放行价值{limit}{unit}",
    },
    "import_approved": {
        "pass": "进口批件{subjects}项下已使用{observed}{unit}，批准{limit}",
        "none": "未注明进口批件",
        "unknown": "本合同没有进口批件{subjects}的记录",
        "item": "进口批件{subjects}适用于{limit}，不适用于{observed}",
        "country": "进口批件{subjects}适用于{limit}，不适用于{observed}",
        "not_begun": "进口批件{subjects}自{limit}起有效，入账日期为{observed}",
        "ended": "进口批件{subjects}有效期至{limit}，入账日期为{observed}",
        "class": "进口批件{subjects}不适用于{observed}类最终用户",
        "over": "进口批件{subjects}项下已使用{observed}{unit}，批准{limit}：超出{shortfall}（"
        "剩余额度{headroom}）",
    },
    "custody_continuity": {
        "pass": "{limit}台设备中有{observed}台的保管链完整",
        "shipment_unknown": "该批货物从未在本合同项下放行",
        "not_released": "发运的{limit}台设备中有{observed}台属于本批放行，{shortfall}台不属于：{subjects}",
        "dispatched_twice": "发运的{limit}台设备中有{shortfall}台此前已经发运：{subjects}",
        "missing": "发运{limit}台设备，到货{observed}台，短少{shortfall}台：{subjects}",
        "not_dispatched": "到货设备中有{shortfall}台并非随本批发运：{subjects}",
        "swapped": "发运{limit}台设备，到货{observed}台，短少{shortfall}台，且有其他设备顶替到货：{subjects}",
        "not_there": "{limit}台设备中有{observed}台在场可以移交，{shortfall}台不在场：{subjects}",
    },
    # --- devices ----------------------------------------------------------------------------------
    "site_allow_list": {
        "pass": "{observed}是允许的地点",
        "not_listed": "{observed}不在允许的地点之列",
    },
    "unique_identity": {
        "pass": "{limit}台设备中有{observed}台身份唯一",
        "elsewhere": "{limit}台设备中有{shortfall}台已在其他合同项下使用：{subjects}",
        "two_sites": "{limit}台设备中有{shortfall}台正在另一地点运行：{subjects}",
        "two_uuids": "{limit}个序列号中有{shortfall}个对应多个GPU UUID：{subjects}",
        "two_serials": "{limit}台设备中有{shortfall}台与其他序列号共用GPU UUID：{subjects}",
    },
    "destruction_evidence": {
        "pass": "{observed}{unit}见证了销毁，应有{limit}",
        "no_witness": "{observed}{unit}见证了销毁，应有{limit}：尚缺{shortfall}",
        "no_report": "{subjects}的销毁未附报告",
        "method": "{observed}不是认可的销毁方式",
    },
    "fleet_coverage": {
        "pass": "机群证明覆盖率为{observed}%，应达到{limit}%",
        "short": "机群证明覆盖率为{observed}%，应达到{limit}%：尚差{shortfall}台设备",
    },
    "attestation_validity": {
        "pass": "{limit}份证明中有{observed}份有效",
        "failed": "{limit}份证明中有{observed}份有效，{shortfall}份未通过：{subjects}",
        "indeterminate": "{limit}份证明中有{observed}份有效，{shortfall}份的度量值无法识别：{subjects}",
        "in_a_row": "{limit}份证明中有{observed}份有效，{shortfall}台设备连续多次未通过：{subjects}",
    },
    "location_consistency": {
        "pass": "观测方距离{observed}{unit}，应答用时对应的最远距离为{limit}{unit}",
        "site_unplaced": "政策文件未载明{subjects}的位置",
        "no_round_trip": "证明未包含与观测方之间的往返时延",
        "too_far": "所称地点距观测方至少{observed}{unit}，而应答用时对应的最远距离为{limit}{unit}，"
        "超出{shortfall}{unit}：{subjects}",
    },
    # --- operations -------------------------------------------------------------------------------
    "remote_tenant_kyc": {
        "pass": "远程租户尽职调查覆盖率为{observed}%，应达到{limit}%",
        "not_stated": "该陈述未说明远程租户的数量",
        "short": "远程租户尽职调查覆盖率为{observed}%，应达到{limit}%：尚有{shortfall}个租户未核查",
    },
    "service_level": {
        "pass": "可用率为{observed}%，约定为{limit}%",
        "below": "可用率为{observed}%，约定为{limit}%：停机超出允许时间{shortfall}秒",
        "credit_due": "可用率为{observed}%，约定为{limit}%：停机超出允许时间{shortfall}秒；"
        "应给予服务补偿：{subjects}",
    },
    "rma_one_for_one": {
        "pass": "境外存量与申请合计{observed}{unit}，计入预先更换后允许{limit}",
        "license_unknown": _NO_LICENSE,
        "case_unknown": "本合同没有该返修案件的申请",
        "not_one_for_one": "为{limit}台故障设备申请{observed}台替换设备：多出{shortfall}台",
        "over": "境外存量与申请合计{observed}{unit}，计入预先更换后允许{limit}：超出{shortfall}（"
        "剩余额度{headroom}）",
        "advance": "未了结的预先更换为{observed}台，允许{limit}：超出{shortfall}（剩余额度{headroom}）",
        "more_than_asked": "已更换{observed}台设备，申请更换{limit}台：多出{shortfall}台",
        "before_return": "已更换{observed}台设备，已退回或允许预先更换的为{limit}台：多出{shortfall}台",
    },
    "max_backdating": {
        "pass": "自称发生于{observed}，不得早于{limit}",
        "backdated": "自称发生于{observed}，不得早于{limit}：入账过迟",
    },
    "retention_hold": {
        "pass": "入账时间为{observed}，记录须保存至{limit}",
        "retained": "入账时间为{observed}，记录须保存至{limit}，自最晚的起算事由起算：{subjects}",
    },
    # --- a document's own -------------------------------------------------------------------------
    "custom": {
        "pass": "所要求的条件成立",
        "above": "为{observed}，不得超过{limit}（多出{shortfall}）",
        "not_below": "为{observed}，必须小于{limit}（多出{shortfall}）",
        "below": "为{observed}，不得少于{limit}（不足{shortfall}）",
        "not_above": "为{observed}，必须大于{limit}（不足{shortfall}）",
        "other": "为{observed}，必须为{limit}",
        "same": "为{observed}，必须为其他值",
        "false": "所要求的条件不成立",
    },
}
