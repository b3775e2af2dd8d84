"""Single chips."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTest:
    """What a laboratory found, for one contract."""

    contract: str
    result: Literal["pass", "fail"]
    index: int
    """Of the laboratory's entry."""
    country: str
    """Of the laboratory."""
    sku: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device(Fact):
    """One chip, by serial. Anybody may speak of a serial, so each contract is kept to its own."""

    name: ClassVar[str] = "device"
    serial: str
    sku: str | None = None
    state: Literal[
        "known", "tested", "failed", "released", "in_transit", "received", "missing", "damaged",
        "installed", "attesting",
    ] = "known"  # fmt: skip
    tests: tuple[DeviceTest, ...] = ()
    """The latest of each contract whose laboratory has tested it: no other contract's counts."""
    contract: str | None = None
    """The contract that it was released under: nobody else's events move it."""
    shipment: str | None = None
    """Key of the release that holds it."""
    site: str | None = None
    attested_at: datetime | None = None
    """Index time (`recorded_at`) of its latest attestation."""

    @property
    def key(self) -> str:
        return self.serial

    def test_for(self, contract: str) -> DeviceTest | None:
        """What that contract's laboratory found last."""
        return next((test for test in self.tests if test.contract == contract), None)
