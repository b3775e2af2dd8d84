"""Devices that pass from one hand or place to another after they were delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Fact):
    """A transfer that was asked for and not refused, and what of it has happened."""

    name: ClassVar[str] = "transfer"
    contract: str
    transfer: str
    license: str
    serials: tuple[str, ...]
    giver: str
    """Party."""
    receiver: str
    """Party."""
    site: str
    """Where the receiver takes them."""
    country: str
    state: Literal["requested", "part_transferred", "transferred", "cancelled"] = "requested"
    requested: int
    """Index of the entry."""
    transferred: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.transfer}"
