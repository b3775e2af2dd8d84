"""What becomes of duties in Chinese, by permanent name of the obligation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OBLIGATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "install_deadline": {
        "late": "{limit}台设备中有{observed}台已安装，{shortfall}台闲置：{subjects}",
        "met": "{limit}台设备中有{observed}台已安装",
    },
    "attestation_heartbeat": {"late": "未在期限内提交使用证明"},
    "inspection_deadline": {"late": "核查未在期限内完成"},
    "rma_return": {
        "late": "{limit}台被替换设备中有{observed}台已退回，{shortfall}台未退回：{subjects}",
        "met": "{limit}台被替换设备中有{observed}台已退回",
    },
    "incident_report": {"late": "未在期限内报告事故"},
    "revocation_acknowledgement": {"late": "未在期限内确认收到许可证撤销通知"},
    "revenue_share_due": {
        "late": "已支付收入分成{observed}{unit}，应付{limit}{unit}：尚欠{shortfall}{unit}",
        "met": "已支付收入分成{observed}{unit}，应付{limit}{unit}",
    },
    "batch_due": {
        "late": "应放行{limit}，已放行{observed}{unit}：尚差{shortfall}",
        "met": "应放行{limit}，已放行{observed}{unit}",
    },
    "domestic_copurchase": {
        "late": "应在境内采购{limit}，已采购{observed}{unit}：尚差{shortfall}",
        "met": "应在境内采购{limit}，已采购{observed}{unit}",
    },
    "periodic_report": {"late": "未在期限内提交报告", "met": "报告已提交"},
    "reacknowledgement": {"late": "未在期限内确认新版本"},
}
