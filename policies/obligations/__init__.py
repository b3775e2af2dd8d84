"""The catalogue of obligations: duties with a due date. Importing this knows them all."""

from policies.obligations import devices, operations, periods, revocation
from policies.obligations.registry import NOT_MET, OBLIGATIONS, Meets, Obligation, Opens

__all__ = [
    "NOT_MET",
    "OBLIGATIONS",
    "Meets",
    "Obligation",
    "Opens",
    "devices",
    "operations",
    "periods",
    "revocation",
]
