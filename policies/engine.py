"""The engine: one event, the facts and `recorded_at` in; one decision out, for ever the same.

The constitution is asked first. If it denies, no document is: there is nothing left to judge, and
an unauthorised request must not read the contract's numbers off its refusal. Otherwise every
document in force for the contract is asked, in the order in which they were bound, and in it every
condition at this kind of event, in the order in which they stand. The outcome is the gravest action
of a finding that failed, so that it follows from the decision alone; a shadow weighs nothing.

No clock, no float, no order of a set. A change of any decision is a new ENGINE_VERSION, which the
head row pins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from ledger.decision import (
    OUTCOMES,
    SUBJECTS_MAX,
    Action,
    Awaited,
    Decision,
    DutyChange,
    Finding,
    Outcome,
    Proposal,
    Shadow,
    Verdict,
)
from ledger.event import Event
from ledger.facts import Contract, Duty, Facts, Key, NotLoaded, Order, Override, Policy, Shipment, duty_key
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.license import LicenseGranted
from ledger.kinds.order import OrderAmended
from ledger.kinds.policy import PolicyActivated, PolicyActivation
from ledger.values import parse_timestamp
from policies import constitution, duties
from policies.compiled import Asked, Compiled, Library
from policies.conditions import CONDITIONS, Case, Found
from policies.document import PolicyDocument
from policies.tree import PolicyDocumentError

ENGINE_VERSION = 1

_OUTCOME: Mapping[Action, Outcome] = {
    "deny": "denied", "hold": "held", "flag": "flagged", "shadow": "accepted",
}  # fmt: skip


GATED: Final = frozenset(kind for used in CONDITIONS.values() for kind in used.kinds)
"""Kinds of event that a document can ask about: a setup event as a rule is none."""


class Engine:
    """Implements `ledger.decision.Judge`. It keeps compiled documents, and nothing of any event.

    `library`: one that answers with other documents than those that are bound, to ask "what if".
    """

    def __init__(self, library: Library | None = None) -> None:
        self._library = Library() if library is None else library

    @property
    def engine(self) -> int:
        return ENGINE_VERSION

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        """The facts that the bound documents look at, as far as these are loaded."""
        contract = facts.peek(Contract, event.contract)
        if contract is None or constitution.speaks_as_ledger(event):
            return
        try:
            bound = self._library.bound(contract, facts)
        except PolicyDocumentError:
            return  # judging will say so, of this event alone
        data = event.data
        if isinstance(data, DeclaredInError):
            for _, mistaken in data.mistaken(facts):
                yield from _touched_by(bound, mistaken, facts)
            for document in bound:
                for obliged in document.obligations.get(event.kind, ()):
                    yield from duties.reads(obliged, document.document.policy, event, facts)
            return
        if any(document.keeps_open_orders for document in bound):
            yield from _order_keys(event, facts)
        # Whether a document is in force is known under the lock alone, so each is asked.
        for document in bound:
            for asked in document.table.get(event.kind, ()):
                if asked.reads is not None:
                    yield from asked.reads(event, facts, asked.parameters)
            for obliged in document.obligations.get(event.kind, ()):
                yield from duties.reads(obliged, document.document.policy, event, facts)

    def judge(self, event: Event, facts: Facts, *, at: datetime) -> Decision:
        if constitution.speaks_as_ledger(event):
            return Decision("accepted", ENGINE_VERSION, (constitution.REFERENCE,))
        contract = facts.get(Contract, event.contract)
        case: Case | None = None
        documents: tuple[Compiled, ...] = ()
        if contract is not None:
            case = Case(event, facts, contract, at=at)
            documents = self._governing(event, contract, facts, at)
        findings = constitution.judge(event, facts, contract, case, governed=bool(documents))
        if case is None or "deny" in [finding.action for finding in findings]:
            return Decision(outcome_of(findings), ENGINE_VERSION, (constitution.REFERENCE,), tuple(findings))
        policies = [constitution.REFERENCE, *[document.reference for document in documents]]
        inquiry = _Inquiry(case)
        for number, document in enumerate(documents, 1):
            findings += inquiry.about(document, number)
        outcome = outcome_of(findings)
        changes: tuple[DutyChange, ...] = ()
        if outcome != "denied":
            data = case.data
            if isinstance(data, PolicyActivated | PolicyActivation):
                changes = tuple(self._begun(case, data))
            else:
                changes = tuple(self._coming(case) if data.setup else self._duties(case, documents))
        return Decision(
            outcome,
            ENGINE_VERSION,
            tuple(policies),
            tuple(findings),
            tuple(inquiry.proposals),
            tuple(inquiry.awaited) if outcome == "held" else (),
            changes,
            tuple(self._shadows(case, findings, documents)),
        )

    def _governing(
        self, event: Event, contract: Contract, facts: Facts, at: datetime
    ) -> tuple[Compiled, ...]:
        """The documents that are asked: of a setup event those with a condition at its kind, and no other."""
        if not event.data.setup:
            return self._library.in_force(contract, facts, at, ordered_at=lambda: _ordered_at(event, facts))
        if event.kind not in GATED:
            return ()
        in_force = self._library.in_force(contract, facts, at)
        return tuple(document for document in in_force if event.kind in document.table)

    def _duties(self, case: Case, documents: Iterable[Compiled]) -> Iterator[DutyChange]:
        for document in documents:
            for bound in document.obligations.get(case.event.kind, ()):
                # Under a license that is new nothing can stand yet.
                new = isinstance(case.data, LicenseGranted)
                made = duties.begun if new else duties.changes
                yield from made(bound, document.document, case)
            if isinstance(case.data, DeclaredInError):
                for index, mistaken in case.data.mistaken(case.facts):
                    for bound in document.obligations.get(mistaken.kind, ()):
                        yield from duties.corrected(bound, document.document, mistaken, index, case)

    def _coming(self, case: Case) -> Iterator[DutyChange]:
        """Of a setup event: by the documents in force, and by those whose day is to come."""
        yield from self._duties(case, self._library.in_force(case.contract, case.facts, case.at))
        for begins, document in self._library.coming(case.contract, case.facts, case.at):
            then = Case(case.event, case.facts, case.contract, at=begins)
            yield from self._duties(then, (document,))

    def _begun(self, case: Case, data: PolicyActivated | PolicyActivation) -> Iterator[DutyChange]:
        """What a document opens as it comes into force; its own dates may be later than its activation."""
        activated = self._library.activated(data, case.facts)
        if activated is None:
            return
        named = data.begins if isinstance(data, PolicyActivation) else None
        begins = max(activated.document.begins, named or case.at, case.at)
        then = Case(case.event, case.facts, case.contract, at=begins)
        for bound in activated.obligations.get(case.event.kind, ()):
            yield from duties.begun(bound, activated.document, then)

    def _shadows(
        self, case: Case, findings: list[Finding], documents: tuple[Compiled, ...]
    ) -> Iterator[Shadow]:
        """What each version that is only watched would have decided otherwise than the one in force."""
        if case.data.setup and case.event.kind not in GATED:
            return
        for shadow in self._library.shadows(case.contract, case.facts, case.at):
            found = _Inquiry(case).about(shadow, 0)
            outcome = outcome_of(found)
            policy, version, sha256 = shadow.document.policy, shadow.document.version, shadow.document.sha256
            numbers = [n for n, d in enumerate(documents, 1) if d.document.policy == policy]
            if outcome != outcome_of([f for f in findings if f.policy in numbers]):
                failed = tuple(f for f in found if f.weight is not None)
                yield Shadow(policy, version, sha256, outcome, failed, shadow.document.cel)

    # --- duties that fall due ---------------------------------------------------------------------

    def due_reads(self, duty: Duty, facts: Facts) -> Iterable[Key]:
        yield Contract.name, duty.contract
        contract = facts.peek(Contract, duty.contract)
        if contract is None:
            return
        for reference in contract.policies:
            yield Policy.name, reference.sha256
        if facts.missing((Policy.name, reference.sha256) for reference in contract.policies):
            return
        cited, in_force = self._cited_and_in_force(duty, contract, facts)
        for document in (cited, in_force):
            if document is not None and (bound := document.obligation(duty.obligation)) is not None:
                yield from bound.obligation.due_reads(duty, bound.parameters)
                if not facts.missing(bound.obligation.due_reads(duty, bound.parameters)):
                    again = duties.following(bound, document, duty, facts, contract)
                    for subject in again.subjects if again is not None else ():
                        yield Duty.name, duty_key(duty.contract, duty.policy, duty.obligation, subject)

    def due(self, duty: Duty, facts: Facts, *, at: datetime) -> Verdict:
        contract = facts.get(Contract, duty.contract)
        if contract is None:
            return _LAPSED
        cited, in_force = self._cited_and_in_force(duty, contract, facts)
        bound = None if cited is None else cited.obligation(duty.obligation)
        if bound is None:
            return _LAPSED
        found = duties.verdict(bound, duty, facts, contract, at=at)
        if in_force is None:
            return found  # a document that has ended leaves its last duties behind
        asks = in_force.obligation(duty.obligation)
        if asks is None or asks.obligation is not bound.obligation:
            return _LAPSED  # one that took its place does not ask for it
        return found._replace(next=duties.following(asks, in_force, duty, facts, contract))

    def _cited_and_in_force(
        self, duty: Duty, contract: Contract, facts: Facts
    ) -> tuple[PolicyDocument | None, PolicyDocument | None]:
        """The version that the duty cites, if it ever was in force; and the one that is as it falls due."""
        cited = self._library.version(contract, facts, duty.policy, duty.version)
        if cited is None or not self._library.began(contract, facts, cited):
            return None, None
        in_force = self._library.in_force(contract, facts, parse_timestamp(duty.due))
        named = (c.document for c in in_force if c.document.policy == duty.policy)
        return cited.document, next(named, None)


_LAPSED = Verdict(met=False, lapsed=True)


def _touched_by(bound: Iterable[Compiled], mistaken: Event, facts: Facts) -> Iterable[Key]:
    for document in bound:
        for obliged in document.obligations.get(mistaken.kind, ()):
            yield from duties.touched(obliged, document.document.policy, mistaken, facts)


class _Inquiry:
    """Asks the conditions of documents about one event, and gathers what follows from the answers."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.proposals: list[Proposal] = []
        self.awaited: list[Awaited] = []
        self._now = case.recorded
        subject = case.data.subject()
        override = None if subject is None else case.facts.get(Override, f"{case.event.contract}/{subject}")
        self._exemptions = () if override is None else override.exemptions

    def about(self, document: Compiled, number: int) -> list[Finding]:
        """What each condition of the document finds, in the order in which they stand."""
        policy = document.document.policy
        findings = []
        for asked in document.table.get(self.case.event.kind, ()):
            finding = self._ask(asked, number)
            if finding.weight in ("deny", "hold") and self._exemptions:
                finding = finding._replace(override=self._exempted(policy, asked))
            if finding.weight == "hold":
                self.awaited.append(Awaited(policy, asked.id, asked.released_by))
            findings.append(finding)
        return findings

    def _ask(self, asked: Asked, policy: int) -> Finding:
        try:
            found = asked.check(self.case, asked.parameters)
        except (MemoryError, NotLoaded):
            raise  # no property of the event: another machine, or a replay, would decide otherwise
        except Exception:
            # A condition that cannot be judged has not been met. What went wrong may name what a reader
            # of the decision may not see, so that it failed is all that is committed.
            found = Found("error", "error")
        if found.proposes and asked.action != "shadow":
            self.proposals.extend(
                Proposal(p.propose, asked.id, license=p.license, due=p.due) for p in found.proposes
            )
        count = len(found.subjects)
        action = "flag" if found.lenient and asked.action in ("deny", "hold") else asked.action
        # By position: this is most of what a judgement costs.
        return Finding(
            asked.id,
            asked.uses,
            policy,
            found.result,
            action,
            asked.clock,
            None if found.code is None else f"{asked.uses}.{found.code}",
            found.observed,
            found.limit,
            found.shortfall,
            found.headroom,
            None if found.limit is None else found.unit or asked.unit,
            found.subjects[:SUBJECTS_MAX] if count else (),
            count,
        )

    def _exempted(self, policy: str, asked: Asked) -> int | None:
        for exemption in self._exemptions:
            named = (exemption.policy, exemption.condition) == (policy, asked.id)
            if named and exemption.role in asked.overridden_by and self._now < exemption.until:
                return exemption.index
        return None


def outcome_of(findings: Iterable[Finding]) -> Outcome:
    """The gravest of what the findings weigh."""
    outcome: Outcome = "accepted"
    for finding in findings:
        if (weight := finding.weight) is not None:
            outcome = max(outcome, _OUTCOME[weight], key=OUTCOMES.index)
    return outcome


def _order_keys(event: Event, facts: Facts) -> Iterable[Key]:
    """What `_ordered_at` looks at."""
    number = getattr(event.data, "order", None)
    if number is None and (shipped := getattr(event.data, "shipment", None)) is not None:
        yield Shipment.name, f"{event.contract}/{shipped}"
        shipment = facts.peek(Shipment, f"{event.contract}/{shipped}")
        number = None if shipment is None else shipment.order
    if number is not None:
        yield Order.name, f"{event.contract}/{number}"


def _ordered_at(event: Event, facts: Facts) -> datetime | None:
    """When the order that the event is about was placed, if it is about one that stands.

    An amendment is judged as a new order is: it may ask for more.
    """
    if isinstance(event.data, OrderAmended):
        return None
    data, fields = event.data, type(event.data).model_fields  # to ask a model for what it lacks is dear
    number = getattr(data, "order", None) if "order" in fields else None
    if number is None:
        shipped = getattr(data, "shipment", None) if "shipment" in fields else None
        shipment = None if shipped is None else facts.get(Shipment, f"{event.contract}/{shipped}")
        number = None if shipment is None else shipment.order
    order = None if number is None else facts.get(Order, f"{event.contract}/{number}")
    return None if order is None else order.placed_at
