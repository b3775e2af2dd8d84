"""Single chips."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from ledger.facts.base import Fact

DeviceState = Literal[
    "known", "enrolled", "tested", "failed",
    "released", "in_transit", "received", "missing", "damaged",
    "installed", "attesting", "overdue", "quarantined", "transferred",
    "lost", "found", "rma_out", "returned", "replaced", "decommissioned", "destroyed",
]  # fmt: skip
"""Where a chip stands in its life: at home, on its way, in use, out of use."""
AWAY: frozenset[DeviceState] = frozenset(
    {"lost", "rma_out", "returned", "replaced", "decommissioned", "destroyed"}
)
"""Out of use: to say that such a device works does not bring it back."""


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
    state: DeviceState = "known"
    tests: tuple[DeviceTest, ...] = ()
    """The latest of each contract whose laboratory has tested it: no other contract's counts."""
    contract: str | None = None
    """The contract that it was released under: nobody else's events move it."""
    shipment: str | None = None
    """Key of the release that holds it."""
    site: str | None = None
    attested_at: datetime | None = None
    """Index time (`recorded_at`) of its latest attestation."""
    failures: int = 0
    """Attestations that failed since the last that passed; an indeterminate one is neither."""

    @property
    def key(self) -> str:
        return self.serial

    def test_for(self, contract: str) -> DeviceTest | None:
        """What that contract's laboratory found last."""
        return next((test for test in self.tests if test.contract == contract), None)


INTERRUPTIONS_KEPT = 8
"""Of one device, the latest: so many can be taken back, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """What a device was before an event that took it out of use, or brought it back."""

    index: int
    """Of that event."""
    state: DeviceState
    site: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruptions(Fact):
    """How a device came to be out of use, as told by the contract that holds it."""

    name: ClassVar[str] = "interruptions"
    serial: str
    contract: str
    interruptions: tuple[Interruption, ...] = ()
    """Oldest first; `INTERRUPTIONS_KEPT` of them."""

    @property
    def key(self) -> str:
        return self.serial


CLAIMS_KEPT = 8
"""For one contract, the first: two tell that an identity is disputed, the rest who else disputes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A contract has said that the serial is the GPU of this UUID."""

    contract: str
    gpu_uuid: str
    certificate_sha256: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment(Fact):
    """Under which GPU UUIDs a serial was enrolled. One is right; each contract is kept to its own."""

    name: ClassVar[str] = "enrolment"
    serial: str
    claims: tuple[Enrolled, ...] = ()
    """Oldest first; of each contract `CLAIMS_KEPT` UUIDs at most."""

    @property
    def key(self) -> str:
        return self.serial

    def claims_of(self, contract: str) -> tuple[Enrolled, ...]:
        return tuple(claim for claim in self.claims if claim.contract == contract)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A contract has enrolled this serial under the UUID."""

    contract: str
    serial: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(Fact):
    """Which serials were enrolled under one GPU UUID. One is right."""

    name: ClassVar[str] = "identity"
    gpu_uuid: str
    bearers: tuple[Bearer, ...] = ()
    """Oldest first; of each contract `CLAIMS_KEPT` serials at most."""

    @property
    def key(self) -> str:
        return self.gpu_uuid

    def bearers_of(self, contract: str) -> tuple[Bearer, ...]:
        return tuple(bearer for bearer in self.bearers if bearer.contract == contract)
