"""Rules of the constitution beyond standing, a file for each subject. Importing this knows them all."""

from policies.rules import (
    answers,
    corrections,
    devices,
    documents,
    keys,
    licenses,
    operations,
    parties,
    payment,
    records,
    screening,
    supply,
    trade,
    transfers,
)
from policies.rules.rule import RULES, SENTENCES

__all__ = [
    "RULES",
    "SENTENCES",
    "answers",
    "corrections",
    "devices",
    "documents",
    "keys",
    "licenses",
    "operations",
    "parties",
    "payment",
    "records",
    "screening",
    "supply",
    "trade",
    "transfers",
]
