"""The catalogue of contract conditions: small pure functions over an event and the facts.

Importing this knows them all. `policies/CONDITIONS.md` is generated from it (`page`).
"""

from policies.conditions import (
    attestation,
    custom,
    devices,
    licensing,
    operations,
    ownership,
    parties,
    records,
    screening,
    shipment,
    supply,
    trade,
)
from policies.conditions.case import Case, Found, Proposes
from policies.conditions.registry import CONDITIONS, Condition, Misfit

__all__ = [
    "CONDITIONS",
    "Case",
    "Condition",
    "Found",
    "Misfit",
    "Proposes",
    "attestation",
    "custom",
    "devices",
    "licensing",
    "operations",
    "ownership",
    "parties",
    "records",
    "screening",
    "shipment",
    "supply",
    "trade",
]
