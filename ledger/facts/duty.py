"""What is awaited: holds, overrides, proposals that a person must answer, and duties with a due date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """A condition that holds, and the roles that may release it."""

    policy: str
    condition: str
    released_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Fact):
    """What was asked for stands, and nothing may follow from it until it is released."""

    name: ClassVar[str] = "hold"
    contract: str
    subject: str
    """Such as `order/PO-4711` (`Kind.subject`)."""
    placed: int
    """Index of the entry that placed it."""
    held_by: tuple[HeldBy, ...]
    """What still holds it; nothing, once it is released."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """One condition that counts as a flag for one subject, until an instant."""

    policy: str
    condition: str
    role: str
    """Of whoever granted it: the document in force must let that role override."""
    until: str
    """UTC, as committed."""
    index: int
    """Of the override."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override(Fact):
    name: ClassVar[str] = "override"
    contract: str
    subject: str
    exemptions: tuple[Exemption, ...]

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed(Fact):
    """A suspension or revocation that the ledger has proposed, and a person confirms or dismisses."""

    name: ClassVar[str] = "proposed"
    index: int
    """Of the proposal."""
    contract: str
    license: str
    propose: Literal["suspension", "revocation"]
    state: Literal["open", "confirmed", "dismissed"] = "open"
    answered: int | None = None
    """Index of the answer."""

    @property
    def key(self) -> str:
        return str(self.index)


def duty_key(contract: str, policy: str, obligation: str, subject: str) -> str:
    return f"{contract}/{policy}/{obligation}/{subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyStep:
    at: str
    action: Literal["flag", "propose_suspension", "propose_revocation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty(Fact):
    """Something that must be done by an instant, which the clock alone can break."""

    name: ClassVar[str] = "duty"
    contract: str
    policy: str
    version: int
    obligation: str
    """Its id in the policy document."""
    uses: str
    """The permanent name of the obligation in the catalogue."""
    subject: str
    """What it is about: a serial, a shipment, a period."""
    opened: int
    """Index of the entry that opened it."""
    due: str
    """UTC, as committed: the first instant at which it is late."""
    steps: tuple[DutyStep, ...]
    items: tuple[str, ...] = ()
    """What it covers, such as the devices of a delivery."""
    taken: int = 0
    """Steps that have been taken."""
    state: Literal["open", "met", "breached", "lapsed"] = "open"
    """Breached duties can still be met, late."""
    met: int | None = None
    """Index of the entry that met it, or found it met."""
    license: str | None = None
    next: str | None
    """When the clock must be asked again; None: never."""

    @property
    def key(self) -> str:
        return duty_key(self.contract, self.policy, self.obligation, self.subject)

    @property
    def step(self) -> DutyStep:
        """The step that `next` falls due with."""
        return self.steps[self.taken]
