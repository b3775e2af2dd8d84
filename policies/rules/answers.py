"""Holds, overrides and proposals: what a person may release, allow or turn down."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import Hold, Proposed
from ledger.kinds.answers import HoldReleased, OverrideGranted, ProposalDismissed
from ledger.kinds.license import LicenseRevoked, LicenseSuspended
from policies.compiled import Library
from policies.conditions import Case
from policies.document import Bound
from policies.rules.rule import broken, rule


@rule(
    "hold.released",
    sentences={
        "hold_open.none": "{observed} is not held",
        "hold_open.role": "a party speaks as {observed}, the hold is released by: {limit}",
    },
)
def hold_open(case: Case, data: HoldReleased) -> Iterator[Finding]:
    hold = case.facts.get(Hold, f"{case.event.contract}/{data.target}")
    role = case.event.actor.role
    if hold is None or not hold.held_by:
        yield broken(case, "hold_open.none", observed=data.target)
    elif not any(role in held.released_by for held in hold.held_by):
        may = sorted({role for held in hold.held_by for role in held.released_by})
        yield broken(case, "hold_open.role", observed=role, limit=", ".join(may))


@rule(
    "proposal.dismissed",
    "license.suspended",
    "license.revoked",
    sentences={
        "proposal_open.unknown": "entry {observed} proposes nothing in this contract",
        "proposal_open.answered": "the proposal of entry {observed} was answered by entry {subjects}",
        "proposal_open.kind": "entry {observed} proposes the {limit} of the license",
        "proposal_open.license": "the proposal of entry {observed} is about another license: {limit}",
    },
)
def proposal_open(
    case: Case, data: ProposalDismissed | LicenseSuspended | LicenseRevoked
) -> Iterator[Finding]:
    if data.proposal is None:
        return
    proposed = case.facts.get(Proposed, str(data.proposal))
    cited = {"observed": data.proposal, "unit": "entry"}
    if proposed is None or proposed.contract != case.event.contract:
        yield broken(case, "proposal_open.unknown", **cited)
    elif proposed.state != "open":
        yield broken(case, "proposal_open.answered", subjects=(str(proposed.answered),), **cited)
    elif not isinstance(data, ProposalDismissed) and data.license != proposed.license:
        yield broken(case, "proposal_open.license", limit=proposed.license, **cited)
    elif isinstance(data, LicenseSuspended) and proposed.propose != "suspension":
        yield broken(case, "proposal_open.kind", limit=proposed.propose, **cited)


@rule(
    "override.granted",
    sentences={
        "override_allowed.evidence": "an override names its evidence, and this names none",
        "override_allowed.over": "it would end at {observed}, before it is recorded at {limit}",
        "override_allowed.unknown": "no version of the document in force has: {subjects}",
        "override_allowed.role": "a party speaks as {observed}, the document lets nobody override, "
        "or others: {subjects}",
    },
)
def override_allowed(case: Case, data: OverrideGranted) -> Iterator[Finding]:
    if not case.event.evidence:
        yield broken(case, "override_allowed.evidence")
    if data.until <= case.at:
        ends = {"observed": case.instant(data.until), "limit": case.recorded, "unit": "time"}
        yield broken(case, "override_allowed.over", **ends)
    written = _written(case, data.policy)
    if strange := tuple(name for name in data.conditions if name not in written):
        yield broken(case, "override_allowed.unknown", subjects=strange)
    role = case.event.actor.role
    known = (written[name] for name in data.conditions if name in written)
    if closed := tuple(bound.id for bound in known if role not in bound.overridden_by):
        yield broken(case, "override_allowed.role", observed=role, subjects=closed)


def _written(case: Case, policy: str) -> dict[str, Bound]:
    """The conditions of the version of a policy that is in force."""
    in_force = _DOCUMENTS.in_force(case.contract, case.facts, case.at)
    documents = (found.document for found in in_force if found.document.policy == policy)
    return {bound.id: bound for document in documents for bound in document.conditions}


_DOCUMENTS = Library()
