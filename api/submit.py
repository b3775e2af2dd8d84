"""The write routes: an event, or a batch of them, from raw bytes to receipts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from api import problems
from api.auth import Caller, Forbidden, Keyring
from api.exchange import Answer, Exchange
from api.language import accepted_language
from api.problems import UnsupportedMedia
from api.quotas import Quotas
from api.signatures import prove
from api.telemetry import Metrics
from ledger.answers import Committed, Result
from ledger.canonical import DEPTH_MAX, parse
from ledger.errors import Fault, LedgerError, MalformedEvent, MalformedInput, NotJSON, TooLarge
from ledger.event import EVENT_BYTES_MAX, Submission, submission_of
from ledger.kinds.policy import CarriedPolicy
from ledger.reader import Reader
from ledger.sequencer import Sequencer
from ledger.values import format_timestamp
from policies.checks import sound_document
from policies.explain import explain
from policies.words import Language

EVENT_BODY_BYTES_MAX = EVENT_BYTES_MAX * 4 // 3 + 65_536
"""Signed, an event comes in base64; and there is room for white space."""
BATCH_BODY_BYTES_MAX = 16 << 20
BATCH_EVENTS_MAX = 1_000
AHEAD_MAX = timedelta(minutes=5)
"""How far `occurred_at` may lie in the future: clocks differ."""

JSON_TYPES = ("application/json",)
_CHARSET = re.compile(r'charset\s*=\s*"?([^\s";]*)')
NDJSON_TYPES = ("application/x-ndjson", "application/jsonl", "application/json-lines")


@dataclass(frozen=True, slots=True)
class Door:
    """What the write routes need."""

    keyring: Keyring
    quotas: Quotas
    reader: Reader
    sequencer: Sequencer
    metrics: Metrics
    now: Callable[[], datetime]

    async def submit_event(self, exchange: Exchange) -> Answer:
        """`POST /v1/events`"""
        caller = await self.caller(exchange)
        media_type_of(exchange, JSON_TYPES)
        value = parse(await exchange.body(EVENT_BODY_BYTES_MAX))
        submission = self.admit(value, caller)
        await self.prove([submission], pointers=[""])
        [result] = await self.sequencer.append([submission])
        outcome = _counted(result)
        self.metrics.count(outcome)
        if outcome == "denied":
            self.quotas.denied(caller, 1)
        return _rendered(result, exchange)

    async def submit_batch(self, exchange: Exchange) -> Answer:
        """`POST /v1/events:batch`: all of it is well formed, or nothing is written."""
        caller = await self.caller(exchange)
        media_type = media_type_of(exchange, (*JSON_TYPES, *NDJSON_TYPES))
        raw = await exchange.body(BATCH_BODY_BYTES_MAX)
        values = _lines(raw) if media_type in NDJSON_TYPES else _array(raw)
        self.quotas.more(caller, len(values) - 1)
        submissions = self._admit_all(values, caller)
        await self.prove(submissions, pointers=[f"/{number}" for number in range(len(submissions))])
        results = await self.sequencer.append(submissions)
        counted = Counter(map(_counted, results))
        for outcome, number in counted.items():
            self.metrics.count(outcome, number)
        self.quotas.denied(caller, counted["denied"])
        items = [_item(s, r, exchange) for s, r in zip(submissions, results, strict=True)]
        return Answer(200, b'{"results":[' + b",".join(items) + b"]}")

    async def caller(self, exchange: Exchange) -> Caller:
        caller = await self.keyring.caller(exchange.headers.get(b"authorization", b"").decode("latin-1"))
        exchange.key_id = caller.key_id
        if caller.role not in ("submitter", "regulator"):
            raise Forbidden(f"a key of role {caller.role} may not submit events")
        self.quotas.begin(caller)
        return caller

    def admit(self, value: object, caller: Caller) -> Submission:
        """What can be refused without looking at any fact: shape, speaker, time."""
        submission = submission_of(value)
        event = submission.event
        if event.data.nature == "own":
            raise MalformedEvent(Fault("/kind", f"{event.kind} is said by the ledger itself"))
        if event.actor.party != caller.party:
            raise Forbidden(f"this key speaks for {caller.party}, not for {event.actor.party}")
        if (event.actor.role == "authority") != (caller.role == "regulator"):
            raise Forbidden(
                f"a key of role {caller.role} may not speak as {event.actor.role}; an authority speaks"
                " with a regulator's key, and a regulator only as authority"
            )
        latest = self.now() + AHEAD_MAX
        if event.occurred_at > latest:
            raise MalformedEvent(
                Fault("/occurred_at", f"is in the future, must not be after {format_timestamp(latest)}")
            )
        if isinstance(event.data, CarriedPolicy):
            sound_document(event.data.text, pointer="/data/text")
        return submission

    async def prove(self, submissions: Sequence[Submission], *, pointers: Sequence[str]) -> None:
        """BadSignature unless the signatures that came with events hold."""
        await prove(submissions, self.reader, pointers=pointers)

    def _admit_all(self, values: Sequence[object], caller: Caller) -> list[Submission]:
        if not values:
            raise MalformedEvent(Fault("", "a batch holds at least one event"))
        if len(values) > BATCH_EVENTS_MAX:
            raise TooLarge(f"the batch has {len(values)} events, must have at most {BATCH_EVENTS_MAX}")
        submissions: list[Submission] = []
        faults: list[Fault] = []
        for number, value in enumerate(values):
            try:
                submissions.append(self.admit(value, caller))
            except MalformedInput as error:
                faults += [Fault(f"/{number}{f.pointer}", f.detail) for f in error.faults]
                if len(faults) >= 100:
                    break
        if faults:
            raise MalformedEvent(*faults[:100])
        return submissions


def media_type_of(exchange: Exchange, known: Sequence[str]) -> str:
    content_type = exchange.headers.get(b"content-type", b"application/json").decode("latin-1")
    given, _, parameters = content_type.lower().partition(";")
    given = given.strip()
    if given not in known:
        raise UnsupportedMedia(f"content type is {given[:80]}, must be {' or '.join(known)}")
    if parameters and (charset := _CHARSET.search(parameters)) and charset[1] not in ("utf-8", "us-ascii"):
        raise UnsupportedMedia(f"charset is {charset[1][:80]}, must be utf-8")
    encoding = exchange.headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding != "identity":
        raise UnsupportedMedia(f"content encoding is {encoding[:80]}, must be none: send it uncompressed")
    return given


def _array(raw: bytes) -> list[object]:
    # Looked at first: of several lines the parser would only say that the second is one too many.
    values = None if raw.lstrip().startswith(b"{") else parse(raw, depth_max=DEPTH_MAX + 1)
    if not isinstance(values, list):
        raise MalformedEvent(
            Fault("", "a batch is a JSON array of events, or NDJSON under its own type: application/x-ndjson")
        )
    return values


def _lines(raw: bytes) -> list[object]:
    values: list[object] = []
    for number, line in enumerate(line for line in raw.split(b"\n") if line.strip()):
        try:
            values.append(parse(line))
        except NotJSON as error:
            raise NotJSON(*(Fault(f"/{number}{f.pointer}", f.detail) for f in error.faults)) from None
    return values


def _denied(committed: Committed, language: Language, request_id: str = "") -> bytes:
    """The problem of a refusal: its failed conditions in codes and words, and the receipt."""
    receipt = committed.receipt
    decision: dict[str, Any] = orjson.loads(receipt.decision)
    failed = [
        condition
        for condition in decision["conditions"]
        if condition["result"] in ("fail", "error") and condition["action"] == "deny"
    ]
    words = explain({**decision, "conditions": failed}, language=language)
    if committed.replayed:
        words.append(language.say("decided_before", index=receipt.index, id="id", retries="retries"))
    body = problems.body_of(
        problems.DENIED,
        detail=language.phrases["between"].join(words),
        request_id=request_id,
        index=receipt.index,
        failed=failed,
        replayed=committed.replayed,
    )
    return orjson.dumps(body)[:-1] + b',"receipt":' + receipt.encode() + b"}"


def _counted(result: Result) -> str:
    if isinstance(result, LedgerError):
        return problems.problem_of(result).name
    return "replayed" if result.replayed else result.outcome


def _rendered(result: Result, exchange: Exchange) -> Answer:
    if isinstance(result, LedgerError):
        raise result
    headers = {"location": f"/v1/entries/{result.receipt.index}"}
    if result.replayed:
        headers["idempotent-replayed"] = "true"
    if result.outcome == "denied":
        language = accepted_language(exchange.accept_language)
        headers["content-language"] = language.tag
        return Answer(422, _denied(result, language, exchange.request_id), problems.MEDIA_TYPE, headers)
    return Answer(200 if result.replayed else 201, result.receipt.encode(), headers=headers)


def _item(submission: Submission, result: Result, exchange: Exchange) -> bytes:
    """One result of a batch, as its event alone would have been answered."""
    head = f'{{"id":"{submission.event.id}",'
    if isinstance(result, LedgerError):
        problem = problems.describe(result)
        body = b'"problem":' + orjson.dumps(problem)
        return f'{head}"status":{problem["status"]},'.encode() + body + b"}"
    index = result.receipt.index
    if result.outcome == "denied":
        problem_of_it = _denied(result, accepted_language(exchange.accept_language))
        return f'{head}"status":422,"index":{index},"problem":'.encode() + problem_of_it + b"}"
    status = 200 if result.replayed else 201
    receipt = result.receipt.encode()
    return f'{head}"status":{status},"index":{index},"receipt":'.encode() + receipt + b"}"
