"""Facts: what is true now, as a pure fold of accepted events.

A fact is a frozen record under a key, in the file of what it is about. Facts are derived: written in the
transaction that commits their cause, and at any time rebuilt from the log and compared byte for byte
(`Fact.encode`). A change of any shape or fold is a new FOLD_VERSION, which the head row pins.
"""

from ledger.facts.base import FACTS, FOLD_VERSION, LOOKED_UP, Fact, FactT, Key, decode
from ledger.facts.contract import Contract, ContractParty, Exporter, Policy, PolicyRef
from ledger.facts.device import Device, DeviceTest
from ledger.facts.license import License, Under
from ledger.facts.log import Chain, Correction, DocumentSeen, Recorded
from ledger.facts.memory import Facts
from ledger.facts.trade import Order, Shipment

__all__ = [
    "FACTS",
    "FOLD_VERSION",
    "LOOKED_UP",
    "Chain",
    "Contract",
    "ContractParty",
    "Correction",
    "Device",
    "DeviceTest",
    "DocumentSeen",
    "Exporter",
    "Fact",
    "FactT",
    "Facts",
    "Key",
    "License",
    "Order",
    "Policy",
    "PolicyRef",
    "Recorded",
    "Shipment",
    "Under",
    "decode",
]
