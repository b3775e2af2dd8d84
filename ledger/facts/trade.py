"""Orders and shipments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Fact):
    name: ClassVar[str] = "order"
    contract: str
    order: str
    license: str
    sku: str
    units: int
    unit_value: Decimal
    currency: str
    consignee: str
    end_user: str
    state: Literal["placed", "part_released", "released", "cancelled"] = "placed"
    placed: int
    released: int = 0
    """Units."""
    released_value: Decimal = Decimal(0)
    levied: Decimal = Decimal(0)
    """Levy settled for it."""
    received: int = 0
    """Units that arrived, damaged ones included."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.order}"

    @property
    def remaining(self) -> int:
        return self.units - self.released

    @property
    def reserves(self) -> bool:
        """It stands, and has not released all of its units."""
        return self.state in ("placed", "part_released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment(Fact):
    name: ClassVar[str] = "shipment"
    contract: str
    shipment: str
    order: str
    license: str
    sku: str
    serials: tuple[str, ...]
    value: Decimal
    currency: str
    state: Literal["released", "dispatched", "part_received", "received", "cancelled"] = "released"
    released: int
    released_at: datetime
    dispatched_at: datetime | None = None
    dispatched: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.shipment}"

    @property
    def open(self) -> bool:
        """It is released or on its way."""
        return self.state in ("released", "dispatched", "part_received")
