"""Policy documents as the engine asks them: a table from kind of event to conditions, made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.decision import Action
from ledger.event import KINDS
from ledger.facts import Contract, Facts, Policy
from policies.conditions import Case, Found
from policies.conditions.parameters import Parameters
from policies.conditions.registry import Clock, Reads
from policies.document import Bound, PolicyDocument, parse_document

CACHED_MAX = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """One condition at one kind of event, flattened: this is what the hot path reads."""

    id: str
    uses: str
    action: Action
    clock: Clock
    unit: str
    check: Callable[[Case, Any], Found]
    parameters: Parameters
    reads: Reads | None


@dataclass(frozen=True, slots=True)
class Compiled:
    document: PolicyDocument
    reference: Mapping[str, Any]
    """How a decision cites it: policy, version, sha256."""
    table: Mapping[str, tuple[Asked, ...]]


def compile_document(document: PolicyDocument) -> Compiled:
    kinds = dict.fromkeys(kind for bound in document.conditions for kind in bound.at)
    return Compiled(
        document,
        {"policy": document.policy, "version": document.version, "sha256": document.sha256},
        {k: tuple(_asked(b, k) for b in document.conditions if k in b.at) for k in kinds},
    )


def _asked(bound: Bound, kind: str) -> Asked:
    used = bound.condition
    # Facts are never refused: to deny what has happened would destroy evidence.
    fact = any(k.nature == "fact" for (name, _), k in KINDS.items() if name == kind)
    action: Action = "flag" if fact and bound.action in ("deny", "hold") else bound.action
    return Asked(bound.id, used.name, action, used.clock, used.unit, used.check, bound.parameters, used.reads)


class Library:
    """Compiled documents by digest; the oldest makes room. What it answers never depends on it."""

    def __init__(self, *, cached_max: int = CACHED_MAX) -> None:
        self._compiled: dict[str, Compiled] = {}
        self._cached_max = cached_max

    def compiled(self, policy: Policy) -> Compiled:
        found = self._compiled.get(policy.sha256)
        if found is None:
            found = compile_document(parse_document(policy.text))
            while len(self._compiled) >= self._cached_max:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[policy.sha256] = found
        return found

    def in_force(self, contract: Contract, facts: Facts, at: datetime) -> tuple[Compiled, ...]:
        """The documents that govern the contract at `at`, in the order in which they were bound.

        Of each policy the newest version that has begun counts, and none once that one has ended: a
        version that was replaced does not come back.
        """
        newest: dict[str, Compiled] = {}
        for reference in contract.policies:
            text = facts.get(Policy, reference.sha256)
            assert text is not None, "a bound document is a fact of its own"
            found = self.compiled(text)
            if found.document.begins <= at:
                newest[reference.policy] = found  # versions only grow: the later is the newer
        return tuple(c for c in newest.values() if c.document.in_force(at))
