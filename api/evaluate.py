"""`POST /v1/events:evaluate`: how an event would be decided now. Nothing is committed or locked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError, model_validator

from api.auth import Forbidden
from api.exchange import Answer, Exchange
from api.language import accepted_language
from api.submit import EVENT_BODY_BYTES_MAX, JSON_TYPES, Door, media_type_of
from ledger.canonical import parse
from ledger.decision import Decision
from ledger.errors import Fault, MalformedEvent, MalformedInput
from ledger.event import Event, faults_of
from ledger.facts import Contract, Facts, Policy
from ledger.fold import missing
from ledger.kinds.policy import PolicyActivated, PolicyName, PolicyVersion
from ledger.reader import Reader, Snapshot
from ledger.values import Value, format_timestamp
from policies.analysis import judge_with
from policies.checks import sound_document
from policies.document import PolicyDocument, parse_document
from policies.engine import Engine
from policies.explain import clauses_of, explain


class Against(Value):
    """A document to judge by, in place of its policy's version in force: carried whole, or bound already."""

    text: Annotated[str, Field(min_length=1, max_length=200_000)] | None = None
    policy: PolicyName | None = None
    version: PolicyVersion | None = None

    @model_validator(mode="after")
    def _one(self) -> Against:
        named = (self.policy is not None, self.version is not None)
        if named not in ((False, False), (True, True)) or (self.text is None) != all(named):
            raise ValueError("give either text, or policy and version")
        return self


@dataclass(frozen=True, slots=True)
class Evaluation:
    door: Door
    reader: Reader

    async def evaluate_event(self, exchange: Exchange) -> Answer:
        """`POST /v1/events:evaluate`, with the same key as the event itself would need."""
        caller = await self.door.caller(exchange)
        media_type_of(exchange, JSON_TYPES)
        value = parse(await exchange.body(2 * EVENT_BODY_BYTES_MAX))
        if not isinstance(value, dict) or not value.keys() <= {"event", "against"} or "event" not in value:
            raise MalformedEvent(Fault("", 'must be an object of "event" and, if wanted, "against"'))
        try:
            submission = self.door.admit(value["event"], caller)
        except MalformedInput as error:
            faults = (Fault(f"/event{fault.pointer}", fault.detail) for fault in error.faults)
            raise type(error)(*faults) from None
        await self.door.prove([submission], pointers=["/event"])
        against = _against(value["against"]) if "against" in value else None
        async with self.reader.snapshot() as snapshot:
            now = max(self.door.now(), snapshot.head.recorded_at)
            decision, documents = await _judged(submission.event, against, snapshot, at=now)
        language = accepted_language(exchange.accept_language)
        return Answer(
            200,
            orjson.dumps(
                {
                    "decision": decision.value(),
                    "explained": explain(decision.value(), clauses_of(documents), language),
                    "tree_size": snapshot.head.size,
                    "at": format_timestamp(now),
                }
            ),
            headers={"content-language": language.tag},
        )


def _against(value: object) -> Against:
    try:
        return Against.model_validate(value)
    except ValidationError as error:
        faults = (Fault(f"/against{fault.pointer}", fault.detail) for fault in faults_of(error))
        raise MalformedEvent(*faults) from None


async def _judged(
    event: Event, against: Against | None, snapshot: Snapshot, *, at: datetime
) -> tuple[Decision, list[PolicyDocument]]:
    """The decision, and the documents that it cites, in its order."""
    facts = Facts()
    judge = Engine()
    await _load(event, facts, judge, snapshot)
    if against is not None:
        judge = judge_with(_document(event, against, facts), added=True)
        await _load(event, facts, judge, snapshot)
    decision = judge.judge(event, facts, at=at)
    return decision, [_cited(cited, against, facts) for cited in decision.value()["policies"][1:]]


async def _load(event: Event, facts: Facts, judge: Engine, snapshot: Snapshot) -> None:
    while keys := missing(event, facts, judge):
        facts.load(await snapshot.load(keys))


def _document(event: Event, against: Against, facts: Facts) -> PolicyDocument:
    contract = facts.get(Contract, event.contract)
    roles = () if contract is None else contract.roles_of(event.actor.party)
    # A document asks for numbers, and its decision tells them: whoever may not put one in force is not
    # to read through one of his own what the contract's do not tell him.
    if not PolicyActivated.said_by.intersection(roles):
        raise Forbidden("only a party that may put a document in force may try one out")
    if against.text is not None:
        return sound_document(against.text, pointer="/against/text")
    for reference in contract.policies if contract else ():
        if (reference.policy, reference.version) == (against.policy, against.version):
            return _bound(reference.sha256, facts)
    words = f"{against.policy} {against.version} was never in force in this contract"
    raise MalformedEvent(Fault("/against", words))


def _bound(sha256: str, facts: Facts) -> PolicyDocument:
    policy = facts.get(Policy, sha256)
    assert policy is not None, "a bound document is a fact of its own"
    return parse_document(policy.text)


def _cited(cited: Any, against: Against | None, facts: Facts) -> PolicyDocument:
    text = against.text if against is not None else None
    if text is not None and (document := parse_document(text)).sha256 == cited["sha256"]:
        return document
    return _bound(cited["sha256"], facts)
