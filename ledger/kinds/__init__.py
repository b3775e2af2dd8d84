"""The kinds of event, a file for each stage of a chip's life. Importing this knows them all."""

from ledger.event import KINDS
from ledger.kinds import (
    answers,
    contract,
    customs,
    device,
    fleet,
    inspection,
    integrity,
    keys,
    ledger,
    license,  # noqa: A004
    order,
    payment,
    policy,
    records,
    rma,
    screening,
    shipment,
    supply,
    transfer,
    withdrawal,
)

__all__ = [
    "KINDS",
    "answers",
    "contract",
    "customs",
    "device",
    "fleet",
    "inspection",
    "integrity",
    "keys",
    "ledger",
    "license",
    "order",
    "payment",
    "policy",
    "records",
    "rma",
    "screening",
    "shipment",
    "supply",
    "transfer",
    "withdrawal",
]
