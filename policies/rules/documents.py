"""Policy documents: what may be proposed, approved and put in force, and by whom."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import Draft, Policy
from ledger.kinds.policy import PolicyActivated, PolicyActivation, PolicyApproved, PolicyProposed
from ledger.values import format_timestamp
from policies.conditions import Case
from policies.document import PolicyDocument, parse_document
from policies.rules.rule import broken, rule
from policies.tree import PolicyDocumentError

BOUND_MAX = 1_000
"""Versions that one contract can be bound to in its life: each is looked at with every event."""


@rule(
    "policy.proposed",
    sentences={"draft_new.exists": "this document was proposed by entry {subjects}"},
)
def draft_new(case: Case, data: PolicyProposed) -> Iterator[Finding]:
    draft = case.facts.get(Draft, f"{case.event.contract}/{data.sha256}")
    if draft is not None:
        yield broken(case, "draft_new.exists", subjects=(str(draft.proposed),))


@rule(
    "policy.proposed",
    "policy.activated",
    sentences={
        "policy_document.malformed": "the text is not a policy document",
        "policy_document.name": "the document is {limit}, the event says {observed}",
        "policy_document.version": "the document is version {limit}, the event says {observed}",
    },
)
def policy_document(
    case: Case, data: PolicyProposed | PolicyActivated | PolicyActivation
) -> Iterator[Finding]:
    if isinstance(data, PolicyActivation):
        return  # looked at when it was proposed
    document = _parsed(data.text)
    if document is None:
        yield broken(case, "policy_document.malformed")
        return
    if document.policy != data.policy:
        yield broken(case, "policy_document.name", observed=data.policy, limit=document.policy)
    if document.version != data.version:
        yield broken(case, "policy_document.version", observed=data.version, limit=document.version)


@rule(
    "policy.approved",
    "policy.activated",
    sentences={
        "draft_known.unknown": "no document of that digest has been proposed to this contract",
        "draft_known.named": "the document proposed is {limit}, the event says {observed}",
    },
)
def draft_known(case: Case, data: PolicyApproved | PolicyActivated | PolicyActivation) -> Iterator[Finding]:
    if isinstance(data, PolicyActivated):
        return  # it carries the document itself
    draft = case.facts.get(Draft, f"{case.event.contract}/{data.sha256}")
    if draft is None:
        yield broken(case, "draft_known.unknown")
    elif (draft.policy, draft.version) != (data.policy, data.version):
        said, proposed = f"{data.policy} {data.version}", f"{draft.policy} {draft.version}"
        yield broken(case, "draft_known.named", observed=said, limit=proposed)


@rule(
    "policy.approved",
    sentences={
        "approval_due.not_asked": "{observed} is not asked for; the document asks for: {limit}",
        "approval_due.role": "a party speaks as {observed}, the approval is for {limit} to give",
        "approval_due.given": "{observed} has approved in entry {subjects}",
    },
)
def approval_due(case: Case, data: PolicyApproved) -> Iterator[Finding]:
    draft = case.facts.get(Draft, f"{case.event.contract}/{data.sha256}")
    document = _stored(case, data.sha256)
    if draft is None or document is None:
        return
    role = _role_of(data.office)
    approvals = _approvals_of(case, document)
    if data.office not in approvals:
        asked = ", ".join(approvals)
        yield broken(case, "approval_due.not_asked", observed=data.office, limit=asked)
    elif case.event.actor.role != role:
        yield broken(case, "approval_due.role", observed=case.event.actor.role, limit=role)
    given = next((a for a in draft.approvals if a.office == data.office), None)
    if given is not None:
        yield broken(case, "approval_due.given", observed=data.office, subjects=(str(given.index),))


@rule(
    "policy.activated",
    sentences={
        "policy_activation.not_newer": "version {observed} must be greater than {limit}",
        "policy_activation.unreadable": "the document proposed cannot be read any more",
        "policy_activation.watched": "the document is watched as a shadow already",
        "policy_activation.too_many": "{limit} {unit} are bound to the contract, which is as many as can be",
        "policy_activation.over": "the document was in force until {limit}, it is {observed}",
        "policy_activation.retroactive": "it cannot begin at {observed}, before it is recorded at {limit}",
        "policy_activation.role": "a party speaks as {observed}, the document asks for: {limit}",
        "policy_activation.approval": "{shortfall} of {limit} approvals are missing: {subjects}",
    },
)
def policy_activation(case: Case, data: PolicyActivated | PolicyActivation) -> Iterator[Finding]:
    document = _parsed(data.text) if isinstance(data, PolicyActivated) else _stored(case, data.sha256)
    if document is None:
        if isinstance(data, PolicyActivation) and case.facts.get(Policy, data.sha256) is not None:
            yield broken(case, "policy_activation.unreadable")
        return
    shadow = isinstance(data, PolicyActivation) and data.mode == "shadow"
    enforced = (p for p in case.contract.policies if p.policy == data.policy and p.mode == "enforce")
    newest = max(enforced, key=lambda p: p.version, default=None)
    bound = 0 if newest is None else newest.version
    if data.version <= bound:
        yield broken(case, "policy_activation.not_newer", observed=data.version, limit=bound)
    if shadow and any(p.sha256 == data.sha256 and p.mode == "shadow" for p in case.contract.policies):
        yield broken(case, "policy_activation.watched")
    if len(case.contract.policies) >= BOUND_MAX:
        yield broken(case, "policy_activation.too_many", limit=BOUND_MAX, unit="versions")
    # It would take the place of the version in force, and leave none.
    begins = data.begins if isinstance(data, PolicyActivation) and data.begins is not None else case.at
    if document.ends is not None and document.ends <= begins:
        ends = format_timestamp(document.ends)
        found = {"observed": format_timestamp(begins), "limit": ends, "unit": "time"}
        yield broken(case, "policy_activation.over", **found)
    if begins < case.at:
        found = {"observed": format_timestamp(begins), "limit": case.recorded, "unit": "time"}
        yield broken(case, "policy_activation.retroactive", **found)
    role = case.event.actor.role
    if role not in map(_role_of, document.approvals):
        named = ", ".join(document.approvals)
        yield broken(case, "policy_activation.role", observed=role, limit=named)
        return
    asked = () if shadow else _approvals_of(case, document)
    if missing := _missing_approvals(case, data, asked):
        counted = {"limit": len(asked), "shortfall": len(missing), "unit": "approvals"}
        yield broken(case, "policy_activation.approval", subjects=missing, **counted)


def _approvals_of(case: Case, document: PolicyDocument) -> tuple[str, ...]:
    """Who must approve: those whom it names, and those who had to approve what it takes the place of.

    Otherwise whoever may write a document could write the others out of it.
    """
    enforced = (p for p in case.contract.policies if p.policy == document.policy and p.mode == "enforce")
    newest = max(enforced, key=lambda p: p.version, default=None)
    before = None if newest is None else _stored(case, newest.sha256)
    return tuple(dict.fromkeys((*document.approvals, *(before.approvals if before is not None else ()))))


def _missing_approvals(
    case: Case, data: PolicyActivated | PolicyActivation, asked: tuple[str, ...]
) -> tuple[str, ...]:
    if isinstance(data, PolicyActivated):
        given: set[str] = {case.event.actor.role}  # whoever carries it in approves it by doing so
    else:
        draft = case.facts.get(Draft, f"{case.event.contract}/{data.sha256}")
        given = {approval.office for approval in draft.approvals} if draft is not None else set()
    return tuple(office for office in asked if office not in given)


def _role_of(office: str) -> str:
    return office.partition(".")[0]


def _parsed(text: str) -> PolicyDocument | None:
    try:
        return parse_document(text)
    except PolicyDocumentError:
        # How many faults, and in what words, is no part of a decision: libraries change theirs.
        return None


def _stored(case: Case, sha256: str) -> PolicyDocument | None:
    policy = case.facts.get(Policy, sha256)
    return None if policy is None else _parsed(policy.text)
