"""A contract, its parties and the documents that bind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    policy: str
    version: int
    sha256: str
    begins: datetime
    """When it was activated, or the later instant that its activation names."""
    mode: Literal["enforce", "shadow"] = "enforce"
    """shadow: judged beside the version in force, and never obeyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractParty:
    party: str
    roles: tuple[str, ...]
    country: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Fact):
    name: ClassVar[str] = "contract"
    contract: str
    title: str
    zone: str
    parties: tuple[ContractParty, ...]
    licenses: tuple[str, ...]
    sites: tuple[str, ...]
    policies: tuple[PolicyRef, ...] = ()
    opened: int
    """Index of the entry that opened it."""
    countries: tuple[str, ...] = ()
    """Of `sites`, in their order."""
    signed: tuple[str, ...] = ()
    """The kinds of event, and groups such as `license.*`, that must be signed."""

    @property
    def key(self) -> str:
        return self.contract

    def roles_of(self, party: str) -> tuple[str, ...]:
        for known in self.parties:
            if known.party == party:
                return known.roles
        return ()

    def country_of(self, site: str) -> str | None:
        """Where a site of the contract is."""
        return next((c for s, c in zip(self.sites, self.countries, strict=True) if s == site), None)

    def holders(self, role: str) -> tuple[str, ...]:
        """The parties that have a role, in the order in which the contract names them."""
        return tuple(p.party for p in self.parties if role in p.roles)

    @property
    def exporter(self) -> str | None:
        return next((p.party for p in self.parties if "exporter" in p.roles), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Fact):
    """The text of a policy document, by digest."""

    name: ClassVar[str] = "policy"
    sha256: str
    policy: str
    version: int
    text: str

    @property
    def key(self) -> str:
        return self.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter(Fact):
    """What one exporter has released, across all contracts."""

    name: ClassVar[str] = "exporter"
    exporter: str
    contracts: int = 0
    released: int = 0
    """Units."""

    @property
    def key(self) -> str:
        return self.exporter


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeApproval:
    office: str
    """A role, or an office of it, as the document names it."""
    party: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(Fact):
    """A document that has been proposed to a contract, and who has approved it."""

    name: ClassVar[str] = "draft"
    contract: str
    sha256: str
    policy: str
    version: int
    proposed: int
    """Index of the proposal."""
    approvals: tuple[OfficeApproval, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.sha256}"
