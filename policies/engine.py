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

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ledger.decision import OUTCOMES, SUBJECTS_MAX, Action, Decision, Finding, Outcome, Proposal
from ledger.event import Event
from ledger.facts import Contract, Facts, Key, Policy
from policies import constitution
from policies.compiled import Asked, Compiled, Library
from policies.conditions import Case, Found

ENGINE_VERSION = 1

_OUTCOME: Mapping[Action, Outcome] = {
    "deny": "denied", "hold": "held", "flag": "flagged", "shadow": "accepted",
}  # fmt: skip


class Engine:
    """Implements `ledger.decision.Judge`. It keeps compiled documents, and nothing of any event."""

    def __init__(self) -> None:
        self._library = Library()

    @property
    def engine(self) -> int:
        return ENGINE_VERSION

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        """The facts that the bound conditions look at, as far as the documents are loaded."""
        contract = facts.peek(Contract, event.contract)
        if contract is None or event.data.setup:
            return
        # Whether a document is in force is known under the lock alone, so each is asked.
        for reference in contract.policies:
            policy = facts.peek(Policy, reference.sha256)
            for asked in self._library.compiled(policy).table.get(event.kind, ()) if policy else ():
                if asked.reads is not None:
                    yield from asked.reads(event, facts, asked.parameters)

    def judge(self, event: Event, facts: Facts, *, at: datetime) -> Decision:
        if constitution.speaks_as_ledger(event):
            return _decision([constitution.REFERENCE], [], [])
        contract = facts.get(Contract, event.contract)
        case: Case | None = None
        documents: tuple[Compiled, ...] = ()
        if contract is not None:
            case = Case(event, facts, contract, at=at)
            if not event.data.setup:
                documents = self._library.in_force(contract, facts, at)
        findings = constitution.judge(event, facts, contract, case, governed=bool(documents))
        policies: list[Mapping[str, Any]] = [constitution.REFERENCE]
        proposals: list[Proposal] = []
        if case is None or any(finding.action == "deny" for finding in findings):
            return _decision(policies, findings, proposals)
        for document in documents:
            policies.append(document.reference)
            for asked in document.table.get(event.kind, ()):
                _ask(asked, case, len(policies) - 1, findings, proposals)
        return _decision(policies, findings, proposals)


def _ask(asked: Asked, case: Case, policy: int, findings: list[Finding], proposals: list[Proposal]) -> None:
    try:
        found = asked.check(case, asked.parameters)
    except MemoryError:
        raise  # not a property of the event: another machine would decide otherwise
    except Exception:
        # A condition that cannot be judged has not been met. What went wrong may name what a reader
        # of the decision may not see, so that it failed is all that is committed.
        found = Found("error", "error")
    count = len(found.subjects)
    # By position: this is most of what a judgement costs.
    findings.append(
        Finding(
            asked.id,
            asked.uses,
            policy,
            found.result,
            asked.action,
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
    )
    if found.proposes and asked.action != "shadow":
        proposals.extend(Proposal(p.propose, asked.id, license=p.license, due=p.due) for p in found.proposes)


def _decision(
    policies: list[Mapping[str, Any]], findings: list[Finding], proposals: list[Proposal]
) -> Decision:
    outcome: Outcome = "accepted"
    for finding in findings:
        if finding.result in ("fail", "error"):
            outcome = max(outcome, _OUTCOME[finding.action], key=OUTCOMES.index)
    return Decision(outcome, ENGINE_VERSION, tuple(policies), tuple(findings), tuple(proposals))
