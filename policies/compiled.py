"""Policy documents as the engine asks them: a table from kind of event to conditions, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ledger.decision import Action
from ledger.event import KINDS
from ledger.facts import Contract, Facts, Policy, PolicyRef
from ledger.kinds.policy import PolicyActivated, PolicyActivation
from policies.conditions import Case, Found
from policies.conditions.parameters import Parameters
from policies.conditions.registry import Clock, Reads
from policies.document import Bound, BoundObligation, PolicyDocument, parse_document

CACHED_MAX = 256
OrderedAt = Callable[[], datetime | None]
"""When the order that an event is about was placed: looked up only where a version asks."""


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
    released_by: tuple[str, ...]
    overridden_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    document: PolicyDocument
    reference: Mapping[str, Any]
    """How a decision cites it: policy, version, sha256; and cel, where it has custom conditions."""
    table: Mapping[str, tuple[Asked, ...]]
    obligations: Mapping[str, tuple[BoundObligation, ...]]
    """By kind of event that opens or meets them."""

    @property
    def keeps_open_orders(self) -> bool:
        """Orders placed before it began stay under the version before it."""
        transition = self.document.transition
        return transition is not None and transition.open_orders == "keep_version"


def compile_document(document: PolicyDocument) -> Compiled:
    kinds = dict.fromkeys(kind for bound in document.conditions for kind in bound.at)
    watched = dict.fromkeys(kind for bound in document.obligations for kind in bound.obligation.watches)
    cited = {"policy": document.policy, "version": document.version, "sha256": document.sha256}
    return Compiled(
        document,
        cited if document.cel is None else {**cited, "cel": document.cel},
        {k: tuple(_asked(b, k) for b in document.conditions if k in b.at) for k in kinds},
        {k: tuple(b for b in document.obligations if k in b.obligation.watches) for k in watched},
    )


def _asked(bound: Bound, kind: str) -> Asked:
    used = bound.condition
    # Facts are never refused: to deny what has happened would destroy evidence.
    fact = any(k.nature == "fact" for (name, _), k in KINDS.items() if name == kind)
    action: Action = "flag" if fact and bound.action in ("deny", "hold") else bound.action
    return Asked(
        bound.id,
        used.name,
        action,
        used.clock,
        used.unit,
        used.check,
        bound.parameters,
        used.reads,
        bound.released_by,
        bound.overridden_by,
    )


class _Version(NamedTuple):
    reference: PolicyRef
    begins: datetime
    compiled: Compiled


class Library:
    """Compiled documents by digest; the oldest makes room. What it answers never depends on it."""

    def __init__(self, *, cached_max: int = CACHED_MAX) -> None:
        self._compiled: dict[str, Compiled] = {}
        self._cached_max = cached_max
        self._versions: dict[int, tuple[tuple[PolicyRef, ...], tuple[_Version, ...]]] = {}
        """By identity of a contract's `policies`; these are kept beside, so that nobody else gets it."""

    def compiled(self, policy: Policy) -> Compiled:
        found = self._compiled.get(policy.sha256)
        if found is None:
            found = compile_document(parse_document(policy.text))
            while len(self._compiled) >= self._cached_max:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[policy.sha256] = found
        return found

    def activated(self, data: PolicyActivated | PolicyActivation, facts: Facts) -> Compiled | None:
        """The document that an activation puts in force, once it is loaded; None for a shadow."""
        if isinstance(data, PolicyActivated):
            stored: Policy | None = data.stored()
        else:
            stored = facts.peek(Policy, data.sha256) if data.mode == "enforce" else None
        return None if stored is None else self.compiled(stored)

    def bound(self, contract: Contract, facts: Facts) -> tuple[Compiled, ...]:
        """Every document that is bound to the contract and loaded, in force or not."""
        known = self._versions.get(id(contract.policies))
        if known is not None:
            return tuple(version.compiled for version in known[1])
        policies = (facts.peek(Policy, reference.sha256) for reference in contract.policies)
        return tuple(self.compiled(policy) for policy in policies if policy is not None)

    def version(self, contract: Contract, facts: Facts, policy: str, version: int) -> Compiled | None:
        """The enforced version that a duty cites, in force or not; each has a number of its own."""
        for reference in contract.policies:
            if (reference.policy, reference.version, reference.mode) == (policy, version, "enforce"):
                return self._of(reference, facts)
        return None

    def began(self, contract: Contract, facts: Facts, cited: Compiled) -> bool:
        """It has been in force at some time: no later version took its place before it began."""
        mine: datetime | None = None
        for reference in contract.policies:
            if (reference.policy, reference.mode) != (cited.document.policy, "enforce"):
                continue
            begins = begins_at(reference, self._of(reference, facts).document)
            if reference.version == cited.document.version:
                mine = begins
            elif mine is not None and begins <= mine:
                return False
        return True

    def in_force(
        self,
        contract: Contract,
        facts: Facts,
        at: datetime,
        *,
        ordered_at: OrderedAt = lambda: None,
    ) -> tuple[Compiled, ...]:
        """The documents that govern the contract at `at`, in the order in which they were bound.

        Of each policy the version bound last of those that have begun counts, and none once that one
        has ended: a version that was replaced does not come back. An order placed before it began,
        at `ordered_at`, keeps the version of that day where the newer one says so.
        """
        return self._newest(contract, facts, at, ordered_at, "enforce")

    def coming(self, contract: Contract, facts: Facts, at: datetime) -> Iterator[tuple[datetime, Compiled]]:
        """Documents that will be the first in force of their policy, and from when."""
        first: dict[str, tuple[datetime, Compiled]] = {}
        for reference in contract.policies:
            if reference.mode == "enforce":
                found = self._of(reference, facts)
                begins = begins_at(reference, found.document)
                known = first.get(reference.policy)
                if known is None or begins <= known[0]:
                    first[reference.policy] = (begins, found)
        return (one for one in first.values() if one[0] > at)

    def shadows(self, contract: Contract, facts: Facts, at: datetime) -> tuple[Compiled, ...]:
        """The versions that are judged beside those in force, and not obeyed."""
        if all(reference.mode == "enforce" for reference in contract.policies):
            return ()  # nearly always: this is asked at every event
        return self._newest(contract, facts, at, lambda: None, "shadow")

    def _newest(
        self,
        contract: Contract,
        facts: Facts,
        at: datetime,
        ordered_at: OrderedAt,
        mode: str,
    ) -> tuple[Compiled, ...]:
        newest: dict[str, Compiled] = {}
        versions = self._versions_of(contract, facts)
        if len(versions) == 1:  # nearly always
            reference, begins, found = versions[0]
            stands = reference.mode == mode and begins <= at and found.document.in_force(at)
            return (found,) if stands else ()
        for reference, begins, found in versions:
            if begins > at:
                continue
            # The version that a shadow tried out ends it, once it is enforced itself.
            if reference.mode != mode:
                if mode == "shadow":
                    newest.pop(reference.policy, None)
                continue
            before = newest.get(reference.policy)
            # What has ended governs nothing any more, not even the orders that it was kept for.
            if before is not None and found.keeps_open_orders and before.document.in_force(at):
                ordered = ordered_at()
                if ordered is not None and ordered < begins:
                    continue
            newest[reference.policy] = found
        return tuple(c for c in newest.values() if c.document.in_force(at))

    def _versions_of(self, contract: Contract, facts: Facts) -> tuple[_Version, ...]:
        """What is bound to the contract, once it is loaded, and when each begins."""
        policies = contract.policies
        known = self._versions.get(id(policies))
        if known is None:
            found = []
            for reference in policies:
                compiled = self._of(reference, facts)
                found.append(_Version(reference, begins_at(reference, compiled.document), compiled))
            known = policies, tuple(found)
            while len(self._versions) >= self._cached_max:
                del self._versions[next(iter(self._versions))]
            self._versions[id(policies)] = known
        return known[1]

    def _of(self, reference: PolicyRef, facts: Facts) -> Compiled:
        text = facts.get(Policy, reference.sha256)
        assert text is not None, "a bound document is a fact of its own"
        return self.compiled(text)


def begins_at(reference: PolicyRef, document: PolicyDocument) -> datetime:
    """When a bound version comes into force: never before its activation, nor before its own date."""
    return max(document.begins, reference.begins)
