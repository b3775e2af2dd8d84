"""What the log itself must know: the tails of chains, what was used, what was taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ledger.facts.base import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain(Fact):
    """The tail of one contract's own chain; `_ledger` has one too."""

    name: ClassVar[str] = "chain"
    contract: str
    count: int
    head: str
    """Leaf hash of its last entry, hex."""

    @property
    def key(self) -> str:
        return self.contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains(Fact):
    """The tail of every chain, looked up together."""

    name: ClassVar[str] = "chains"
    stored: ClassVar[bool] = False
    KEY: ClassVar[str] = "all"
    chains: tuple[Chain, ...]

    @property
    def key(self) -> str:
        return self.KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSeen(Fact):
    """An accepted event has used this revision of a document."""

    name: ClassVar[str] = "document"
    document: str
    index: int

    @property
    def key(self) -> str:
        return self.document


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(Fact):
    """Entry `index` was declared in error by entry `by`."""

    name: ClassVar[str] = "correction"
    index: int
    by: int

    @property
    def key(self) -> str:
        return str(self.index)


def attempt_key(party: str, event_id: str) -> str:
    return f"{party}/{event_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Fact):
    """An event of a party that was denied, looked up where another tries it again: never stored as a fact."""

    name: ClassVar[str] = "refused"
    stored: ClassVar[bool] = False
    party: str
    id: str
    index: int

    @property
    def key(self) -> str:
        return attempt_key(self.party, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Fact):
    """A committed event, read back from the log: never stored as a fact, never changed."""

    name: ClassVar[str] = "entry"
    stored: ClassVar[bool] = False
    index: int
    contract: str
    kind: str
    party: str
    outcome: str
    event: Any
    """Its `ledger.event.Event`; None: it was erased, and what stands beside it here is what was left."""

    @classmethod
    def of(cls, index: int, outcome: str, event: Any) -> Recorded:
        return cls(
            index=index, contract=event.contract, kind=event.kind, party=event.actor.party,
            outcome=outcome, event=event,
        )  # fmt: skip

    @property
    def key(self) -> str:
        return str(self.index)
