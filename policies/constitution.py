"""The constitution: rules that hold for every event of every contract, and need no document.

Who may say this, and of what: setup events are judged by these rules alone, everything else by them
first. A rule that holds leaves no finding, for which rules are asked follows from the kind and the
engine version; one that is broken is a finding of policy 0. Requests are denied. Facts are flagged,
unless nobody with standing says them, or their document has been used: then they are no facts yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ledger.decision import Action, Finding
from ledger.event import LEDGER_CONTRACT, LEDGER_PARTY, Event
from ledger.facts import Contract, DocumentSeen, Facts, Hold, Refused, SigningKey, attempt_key
from ledger.fold import document_key
from ledger.kinds.contract import ContractOpened
from ledger.kinds.keys import signing_key
from ledger.signatories import demanded
from policies.conditions import Case
from policies.rules import RULES
from policies.rules.rule import broken, finding_of, sentences_of

REFERENCE: Final = {"policy": "constitution", "version": 1}
"""How a decision cites it, as policy 0."""

sentences_of(
    {
        "contract_open.unknown": "no such contract has been opened",
        "contract_open.exists": "the contract has been opened before",
        "contract_open.reserved": "only the ledger speaks in the contract of the ledger",
        "standing.ledger": "only the ledger speaks as the ledger",
        "standing.role": "a party speaks as {observed}, the event may be said by: {limit}",
        "standing.party": "the party does not have the role {observed} in this contract",
        "signed.missing": "the contract demands that {observed} is signed",
        "signature_valid.unknown": "the party has registered no such key in this contract: {subjects}",
        "signature_valid.retired": "the party has retired the key: {subjects}",
        "policy_in_force.none": "no policy document is in force for this contract",
        "not_held.held": "{observed} is held by {subjects}",
        "document_unique.used": "this revision of the document was used by entry {subjects}",
        "retried.unknown": "it tries {observed} again, which is no refused attempt of this party",
    }
)


def judge(
    event: Event, facts: Facts, contract: Contract | None, case: Case | None, *, governed: bool
) -> list[Finding]:
    """What is broken, in the order of the rules. `governed`: a policy document is in force."""
    if isinstance(event.data, ContractOpened):
        return [
            *_document_unique(event, facts),
            *_retried(event, facts),
            *_opening(event, event.data, contract),
            *_signatures(event, facts, None),
        ]
    if event.contract == LEDGER_CONTRACT:
        return [finding_of("contract_open.reserved", "deny")]
    if contract is None or case is None:
        return [finding_of("contract_open.unknown", "deny")]
    # Whoever has no standing is told no more than that.
    if standing := _standing(event, contract):
        return [standing]
    if unproven := _signatures(event, facts, contract):
        return unproven
    findings: list[Finding] = []
    if event.document is not None:
        findings += _document_unique(event, facts)
    if event.retries is not None:
        findings += _retried(event, facts)
    if subjects := case.data.rests_on():
        findings += _not_held(case, subjects)
    if not governed and not event.data.setup:
        findings.append(broken(case, "policy_in_force.none"))
    for rule in RULES.get(event.kind, ()):
        findings.extend(rule(case, event.data))
    return findings


def speaks_as_ledger(event: Event) -> bool:
    """True if it is the ledger that says one of its own events."""
    return event.data.nature == "own" and event.actor.party == LEDGER_PARTY and event.actor.role == "ledger"


# --- who ------------------------------------------------------------------------------------------


def _standing(event: Event, contract: Contract) -> Finding | None:
    actor, said_by = event.actor, event.data.said_by
    if event.data.nature == "own" or actor.party == LEDGER_PARTY or actor.role == "ledger":
        return finding_of("standing.ledger", "deny")
    if actor.role not in said_by:
        return finding_of("standing.role", "deny", observed=actor.role, limit=_listed(said_by))
    if actor.role not in contract.roles_of(actor.party):
        return finding_of("standing.party", "deny", observed=actor.role)
    return None


def _signatures(event: Event, facts: Facts, contract: Contract | None) -> list[Finding]:
    """That the speaker is who it says. Facts too are denied: it is not known whose word they are.

    That signatures hold was checked before (`api.signatures`): whether their keys may sign this entry is
    known under the lock alone.
    """
    if not event.signed_by:
        if contract is None or not contract.signed or not demanded(contract.signed, event.kind):
            return []
        return [finding_of("signed.missing", "deny", observed=event.kind)]
    keys = {mark: facts.get(SigningKey, signing_key(event, mark)) for mark in event.signed_by}
    found: dict[str, tuple[str, ...]] = {
        "signature_valid.unknown": tuple(mark for mark, key in keys.items() if key is None),
        "signature_valid.retired": tuple(
            mark for mark, key in keys.items() if key and key.retired is not None
        ),
    }
    return [finding_of(code, "deny", subjects=marks) for code, marks in found.items() if marks]


def _opening(event: Event, data: ContractOpened, contract: Contract | None) -> Iterator[Finding]:
    actor = event.actor
    if event.contract == LEDGER_CONTRACT:
        yield finding_of("contract_open.reserved", "deny")
    if contract is not None:
        yield finding_of("contract_open.exists", "deny")
    if actor.role not in data.said_by:
        yield finding_of("standing.role", "deny", observed=actor.role, limit=_listed(data.said_by))
    elif not any(p.party == actor.party and actor.role in p.roles for p in data.parties):
        yield finding_of("standing.party", "deny", observed=actor.role)


def _not_held(case: Case, subjects: Iterable[str]) -> Iterator[Finding]:
    """Nothing follows from what is held: a release waits, a dispatch that does not is flagged."""
    for subject in subjects:
        hold = case.facts.get(Hold, f"{case.event.contract}/{subject}")
        if hold is not None and hold.held_by:
            by = tuple(f"{held.policy}: {held.condition}" for held in hold.held_by)
            yield broken(case, "not_held.held", observed=subject, subjects=by)


def _document_unique(event: Event, facts: Facts) -> Iterator[Finding]:
    """One accepted event for each revision: a fact too is counted once, however often told."""
    key = document_key(event)
    seen = None if key is None else facts.get(DocumentSeen, key)
    if seen is not None:
        yield finding_of("document_unique.used", "deny", subjects=(str(seen.index),))


def _retried(event: Event, facts: Facts) -> Iterator[Finding]:
    """What is tried again has been refused, and to the same party: the log shows what became of it."""
    if event.retries is None:
        return
    if facts.get(Refused, attempt_key(event.actor.party, event.retries)) is None:
        action: Action = "flag" if event.data.nature == "fact" else "deny"
        yield finding_of("retried.unknown", action, observed=event.retries)


def _listed(roles: frozenset[str]) -> str:
    return ", ".join(sorted(roles))
