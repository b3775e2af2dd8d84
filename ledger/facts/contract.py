"""A contract, its parties and the documents that bind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    policy: str
    version: int
    sha256: str


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

    @property
    def key(self) -> str:
        return self.contract

    def roles_of(self, party: str) -> tuple[str, ...]:
        for known in self.parties:
            if known.party == party:
                return known.roles
        return ()

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
