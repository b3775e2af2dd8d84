"""How long records must be kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from ledger.facts.base import Fact

DIVERSIONS_KEPT = 10
"""The latest: only the last of them counts, the others stand in for those that are taken back."""
HOLDS_NAMED = 100
"""The first that stand; all of them are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversion:
    index: int
    """Of the incident that reports it."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(Fact):
    """What the records of one contract must be kept for, and since when."""

    name: ClassVar[str] = "retention"
    contract: str
    exported_at: datetime | None = None
    """When the latest dispatch was recorded."""
    diversions: tuple[Diversion, ...] = ()
    """Oldest first; `DIVERSIONS_KEPT` of them."""

    @property
    def key(self) -> str:
        return self.contract


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHold(Fact):
    """An order to keep every record of a contract, whatever its age."""

    name: ClassVar[str] = "legal_hold"
    contract: str
    hold: str
    placed_by: str
    """Party: it alone releases the hold, or an authority does."""
    placed: int
    released: int | None = None
    """Index of the entry that released it."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.hold}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHolds(Fact):
    """The legal holds that stand over one contract."""

    name: ClassVar[str] = "legal_holds"
    contract: str
    standing: int = 0
    named: tuple[str, ...] = ()
    """`HOLDS_NAMED` of them, oldest first."""

    @property
    def key(self) -> str:
        return self.contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure(Fact):
    """The bodies of an entry are to be erased, or the ledger has said that they are."""

    name: ClassVar[str] = "erasure"
    contract: str
    index: int
    """Of the entry."""
    request: int
    """Index of the entry that asks for it."""
    erased: int | None = None
    """Index of the `value.erased` that says it is done."""

    @property
    def key(self) -> str:
        return erasure_key(self.contract, self.index)


def erasure_key(contract: str, index: int) -> str:
    return f"{contract}/{index}"
