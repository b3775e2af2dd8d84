"""Policy documents: what may be put in force, and by whom."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.kinds.contract import PolicyActivated
from ledger.values import format_timestamp
from policies.conditions import Case
from policies.document import PolicyDocumentError, parse_document
from policies.rules.rule import broken, rule


@rule(
    "policy.activated",
    sentences={
        "policy_document.malformed": "the text is not a policy document",
        "policy_document.name": "the document is {limit}, the event says {observed}",
        "policy_document.version": "version {observed} is activated, must be {limit}",
        "policy_document.not_newer": "version {observed} must be greater than {limit}",
        "policy_document.over": "the document was in force until {limit}, it is {observed}",
        "policy_document.approval": "a party speaks as {observed}, the document asks for: {limit}",
    },
)
def policy_document(case: Case, data: PolicyActivated) -> Iterator[Finding]:
    try:
        document = parse_document(data.text)
    except PolicyDocumentError:
        # How many faults, and in what words, is no part of a decision: libraries change theirs.
        yield broken(case, "policy_document.malformed")
        return
    if document.policy != data.policy:
        yield broken(case, "policy_document.name", observed=data.policy, limit=document.policy)
    if document.version != data.version:
        yield broken(case, "policy_document.version", observed=data.version, limit=document.version)
    bound = max((p.version for p in case.contract.policies if p.policy == data.policy), default=0)
    if data.version <= bound:
        yield broken(case, "policy_document.not_newer", observed=data.version, limit=bound)
    # It would take the place of the version in force, and leave none.
    if document.ends is not None and document.ends <= case.at:
        yield broken(
            case,
            "policy_document.over",
            observed=case.recorded,
            limit=format_timestamp(document.ends),
            unit="time",
        )
    if (role := case.event.actor.role) not in document.approvals:
        yield broken(case, "policy_document.approval", observed=role, limit=", ".join(document.approvals))
