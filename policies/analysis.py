"""What would have been: other documents, or an entry less, over the same history. Nothing is committed.

A candidate document stands in place of whichever version of its policy is in force when an event is
judged; its own dates do not matter, since the question is what it says and not when. *Pointwise*, each
event is judged on the facts as they were recorded. *Counterfactually*, what the candidate refuses folds
into nothing, so that what follows is judged on other facts. The clock is asked when it was asked.

The log must be sound (`policies.replay`): here it is taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson

from ledger.decision import Decision, Judge
from ledger.erasure import Kept
from ledger.event import Event, Submission, committed_event
from ledger.facts import Contract, Facts
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.ledger import ContractsSummarised
from ledger.values import Value, format_timestamp, parse_timestamp
from policies.checks.found import spelled
from policies.compiled import Compiled, Library, OrderedAt, compile_document
from policies.document import Bound, PolicyDocument, parse_document
from policies.engine import Engine
from policies.explain import explain
from policies.history import History
from policies.replay import Line, duties_in, follows_a_cause

Progress = Callable[[int, int], object]


class Log(Protocol):
    """A committed log that can be read again: `policies.exported.Export` is one."""

    origin: str
    size: int

    def entries(self) -> Iterator[Line]: ...

    def entry(self, index: int) -> Line: ...

    def kept(self, index: int) -> Kept | None: ...


# --- other documents ------------------------------------------------------------------------------


class Instead(Library):
    """The bound documents, but for one that stands in place of the version of its policy in force.

    `added`: it is asked too where no version of its policy is in force.
    """

    def __init__(self, document: PolicyDocument, *, added: bool = False) -> None:
        super().__init__()
        self._candidate = compile_document(document)
        self._added = added

    def bound(self, contract: Contract, facts: Facts) -> tuple[Compiled, ...]:
        return (*super().bound(contract, facts), self._candidate)

    def in_force(
        self, contract: Contract, facts: Facts, at: datetime, *, ordered_at: OrderedAt = lambda: None
    ) -> tuple[Compiled, ...]:
        found = super().in_force(contract, facts, at, ordered_at=ordered_at)
        policy = self._candidate.document.policy
        if self._added and all(c.document.policy != policy for c in found):
            return (*found, self._candidate)
        return tuple(self._candidate if c.document.policy == policy else c for c in found)


def judge_with(document: PolicyDocument, *, added: bool = False) -> Engine:
    """An engine that judges by `document` in place of the version of its policy that is in force."""
    return Engine(Instead(document, added=added))


def evaluate(
    log: Log, submission: Submission, *, at: datetime, document: PolicyDocument | None = None
) -> Decision:
    """The decision on an event, were it recorded `at`, and not before the last entry, after all of `log`.

    `document`: judged in place of its policy's version in force, or beside those in force where there is
    none.
    """
    history = History(Engine(), origin=log.origin)
    for line, earlier in _read(log):
        _step(history, line, earlier, log)
        at = max(at, parse_timestamp(line.recorded_at))
    judge = history.judge if document is None else judge_with(document, added=True)
    _prepare(history, submission.event, log, judge)
    return history.ask(submission.event, at=at, judge=judge)


# --- one history after another --------------------------------------------------------------------


def _read(log: Log, progress: Progress | None = None) -> Iterator[tuple[Line, Submission | None]]:
    """Each entry with its event; None if that is withheld."""
    for line in log.entries():
        yield line, _submission_in(line)
        if progress is not None and (line.index % 256 == 0 or line.index + 1 == log.size):
            progress(line.index + 1, log.size)


def _submission_in(line: Line) -> Submission | None:
    if line.event is None:
        return None
    return Submission(committed_event(line.event, line.signatures), line.event, line.signatures)


def _prepare(history: History, event: Event, log: Log, judge: Judge | None = None) -> None:
    while wanted := history.prepare(event, judge):
        for index in wanted:
            earlier = _submission_in(log.entry(index))
            history.recall(index, None if earlier is None else earlier.event)


def _step(history: History, line: Line, submission: Submission | None, log: Log) -> Decision | None:
    """Take the next entry of the log into a history; the decision there, if it is a cause.

    What the ledger said because of another entry comes about with that, or in this history does not.
    """
    if submission is None:
        history.pass_by(line.contract, leaf=line.leaf, kept=log.kept(line.index))
        return None
    # Nothing brings about what followed from an entry that is not there: it is taken as it stands.
    history.lost_cause = history.lost_cause and submission.event.data.nature == "own"
    if follows_a_cause(submission.event) and not history.lost_cause:
        history.note("accepted")
        return None
    at = parse_timestamp(line.recorded_at)
    # How chains end in a history that never was nobody can say: a summary is taken at its word.
    summary = isinstance(submission.event.data, ContractsSummarised)
    if not summary and (duties := duties_in(submission.event)):
        said = list(history.take_due(duties, at=at))
        history.note("accepted")
        return said[0][1] if said else None
    _prepare(history, submission.event, log)
    first, *_ = [decision for _, decision, _ in history.take(submission, at=at)]
    history.note(first.outcome)
    return first


def _is_governed(event: Event, gated: frozenset[str]) -> bool:
    """Whether documents are asked about it: of setup events those that one of them asks of by name."""
    return event.data.nature != "own" and (not event.data.setup or event.kind in gated)


# --- decisions that change ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """An entry that would have been decided otherwise."""

    index: int
    kind: str
    contract: str
    before: str
    """The outcome; likewise `after`."""
    after: str
    fails: tuple[str, ...]
    """Conditions and rules that fail where they did not before."""
    passes: tuple[str, ...]
    """Those that failed and no longer do."""
    graver: tuple[str, ...]
    """Those that failed before, and now weigh more: a flag has become a refusal."""
    lighter: tuple[str, ...]
    asks: tuple[str, ...]
    """Conditions that now propose a suspension or revocation, and did not."""
    asks_not: tuple[str, ...]
    """Those that did, and no longer do."""
    why: tuple[str, ...]
    """What fails now, weighs more, or proposes more, in words."""

    @property
    def flips(self) -> bool:
        """Whether the outcome is another, or, as of a fact that is flagged either way, what is proposed."""
        return self.before != self.after or bool(self.asks or self.asks_not)

    def __str__(self) -> str:
        reasons = [
            f"{name} {words}"
            for names, words in (
                (self.fails, "fails"),
                (self.graver, "weighs more"),
                (self.passes, "no longer fails"),
                (self.lighter, "weighs less"),
                (self.asks, "proposes to stop the license"),
                (self.asks_not, "no longer proposes to stop the license"),
            )
            for name in names
        ]
        because = f": {', '.join(reasons)}" if reasons else ""
        return f"entry {self.index}, {self.kind}: {self.before} → {self.after}{because}"


def change_of(line: Line, kind: str, before: Decision, after: Decision) -> Change | None:
    """How two decisions on one entry differ in outcome or in what failed; None if they do not."""
    old, new = _weights(before), _weights(after)
    fails = tuple(name for name in new if name not in old)
    passes = tuple(name for name in old if name not in new)
    graver = tuple(name for name, weight in new.items() if weight > old.get(name, weight))
    lighter = tuple(name for name, weight in new.items() if weight < old.get(name, weight))
    asked, asks = _asking(before), _asking(after)
    more = tuple(name for name in asks if name not in asked)
    less = tuple(name for name in asked if name not in asks)
    if before.outcome == after.outcome and not (fails or passes or graver or lighter or more or less):
        return None
    value = after.value()
    failed = [
        finding
        for finding in value["conditions"]
        if finding["result"] in ("fail", "error") and finding["id"] in (*fails, *graver, *more)
    ]
    why = explain({**value, "conditions": failed})
    return Change(
        line.index, kind, line.contract, before.outcome, after.outcome, fails, passes, graver, lighter,
        more, less, tuple(why),
    )  # fmt: skip


_GRAVITY = {"shadow": 0, "accepted": 0, "flag": 1, "hold": 2, "deny": 3}


def _asking(decision: Decision) -> tuple[str, ...]:
    """The conditions that propose to stop a license."""
    stops = (p.condition for p in decision.proposals if p.propose in ("suspension", "revocation"))
    return tuple(dict.fromkeys(stops))


def _weights(decision: Decision) -> dict[str, int]:
    """How gravely each failed condition weighs; the constitution's rules among them."""
    found: dict[str, int] = {}
    for finding in decision.failed:
        weight = _GRAVITY["flag" if finding.override is not None else finding.action]
        found[finding.id] = max(found.get(finding.id, 0), weight)
    return found


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a candidate would have decided otherwise, by both ways of asking."""

    judged: int
    """Events that are judged by documents."""
    pointwise: tuple[Change, ...]
    counterfactual: tuple[Change, ...]


def backtest(
    log: Log,
    new: PolicyDocument,
    *,
    old: PolicyDocument | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Judge a whole log again under `new`, against what was decided, or against what `old` would have.

    Gives every entry whose outcome is another, in either direction, with the conditions that turn it.
    """
    recorded = History(Engine(), origin=log.origin)
    candidate = History(judge_with(new), origin=log.origin)
    baseline = None if old is None else History(judge_with(old), origin=log.origin)
    documents = (new,) if old is None else (new, old)
    gated = frozenset(kind for one in documents for bound in one.conditions for kind in bound.at)
    judged = 0
    pointwise: list[Change] = []
    counterfactual: list[Change] = []
    for line, submission in _read(log, progress):
        asked: list[Decision] = []
        if submission is not None and _is_governed(submission.event, gated):
            judged += 1
            asked = [
                _ask(recorded, line, submission, log, history.judge)
                for history in (candidate, baseline)
                if history is not None
            ]
        decided = _step(recorded, line, submission, log)
        after = _step(candidate, line, submission, log)
        before = decided if baseline is None else _step(baseline, line, submission, log)
        if asked and decided is not None:
            _note_flip(pointwise, line, submission, asked[1] if baseline is not None else decided, asked[0])
        _note_flip(counterfactual, line, submission, before, after)
    return Backtest(judged, tuple(pointwise), tuple(counterfactual))


def _ask(history: History, line: Line, submission: Submission, log: Log, judge: Judge) -> Decision:
    _prepare(history, submission.event, log, judge)
    return history.ask(submission.event, at=parse_timestamp(line.recorded_at), judge=judge)


def _note_flip(
    flips: list[Change],
    line: Line,
    submission: Submission | None,
    before: Decision | None,
    after: Decision | None,
) -> None:
    if submission is None or before is None or after is None:
        return
    change = change_of(line, submission.event.kind, before, after)
    if change is not None and change.flips:
        flips.append(change)


def affected(log: Log, *indexes: int, progress: Progress | None = None) -> Iterator[Change]:
    """The decisions that would have been others, had none of these entries been accepted.

    In outcome or in what failed; a number that moved is not told. Corrections of the entries themselves
    are left out. Entries after the first of them are judged twice, those before it once.
    """
    mistaken = frozenset(indexes)
    recorded = History(Engine(), origin=log.origin)
    without: History | None = None
    for line, submission in _read(log, progress):
        if line.index in mistaken:
            without = without or recorded.copy()
            without.note("denied")
            _step(recorded, line, submission, log)
            continue
        decided = _step(recorded, line, submission, log)
        if without is None:
            continue
        otherwise = _step(without, line, submission, log)
        if (
            submission is None
            or decided is None
            or otherwise is None
            or _corrects(submission.event, mistaken)
        ):
            continue
        if (change := change_of(line, submission.event.kind, decided, otherwise)) is not None:
            yield change


def _corrects(event: Event, mistaken: Collection[int]) -> bool:
    data = event.data
    return isinstance(data, DeclaredInError) and any(one.index in mistaken for one in data.mistakes)


# --- what was never tried -------------------------------------------------------------------------


@dataclass(slots=True)
class Tried:
    """How often a condition of a document was asked, failed, and was all that failed."""

    policy: str
    version: int
    condition: str
    asked: int = 0
    """Times it passed or failed; where it did not apply, it was not asked."""
    failed: int = 0
    alone: int = 0

    def __str__(self) -> str:
        name = f"{self.policy} {self.version}, {self.condition}"
        if not self.asked:
            return f"{name}: never asked"
        if not self.failed:
            return f"{name}: asked {self.asked:,} times, never failed"
        often = f"failed {self.failed:,} of {self.asked:,} times"
        if not self.alone:
            return f"{name}: {often}, never alone"
        return f"{name}: {often}, {self.alone:,} of them alone"


def coverage(log: Log, *, progress: Progress | None = None) -> list[Tried]:
    """Each condition of each document that the log carries, as the committed decisions asked it."""
    documents: dict[str, PolicyDocument] = {}
    tried: dict[tuple[str, str], Tried] = {}
    for line in log.entries():
        if line.decision is not None:
            decision = orjson.loads(line.decision)
            _count(decision, tried)
            if line.event is not None and decision["outcome"] != "denied":
                _gather(orjson.loads(line.event), documents)
        if progress is not None and line.index % 1024 == 0:
            progress(line.index, log.size)
    return [
        tried.get((document.sha256, bound.id), Tried(document.policy, document.version, bound.id))
        for document in documents.values()
        for bound in document.conditions
    ]


def _gather(event: Mapping[str, Any], documents: dict[str, PolicyDocument]) -> None:
    """The document that an accepted event carries, if it carries one."""
    data = event.get("data", {})
    if event.get("kind", "").startswith("policy.") and isinstance(data.get("text"), str):
        document = parse_document(data["text"])
        documents[document.sha256] = document


def _count(decision: Mapping[str, Any], tried: dict[tuple[str, str], Tried]) -> None:
    judged = [f for f in decision["conditions"] if f["policy"] > 0 and f["result"] != "not_applicable"]
    failed = [f for f in decision["conditions"] if f["result"] in ("fail", "error")]
    for finding in judged:
        cited = decision["policies"][finding["policy"]]
        name = cited["sha256"], finding["id"]
        one = tried.setdefault(name, Tried(cited["policy"], cited["version"], finding["id"]))
        one.asked += 1
        if finding["result"] != "pass":
            one.failed += 1
            one.alone += len(failed) == 1


# --- two documents --------------------------------------------------------------------------------


def diff(old: PolicyDocument, new: PolicyDocument) -> list[str]:
    """What the new document says otherwise, a line for each difference; [] if it says the same."""
    said = [
        f"{what} is {_words(after)}, was {_words(before)}"
        for what, before, after in (
            ("policy", old.policy, new.policy),
            ("version", old.version, new.version),
            ("zone", old.zone, new.zone),
            ("begin of force", old.begins, new.begins),
            ("end of force", old.ends, new.ends),
            ("approvals", old.approvals, new.approvals),
            ("transition", old.transition, new.transition),
        )
        if before != after
    ]
    before, after = ({bound.id: bound for bound in d.conditions} for d in (old, new))
    said += [
        f"condition {id_} ({before[id_].condition.name}) is removed" for id_ in before if id_ not in after
    ]
    for id_, bound in after.items():
        if id_ not in before:
            said.append(f"condition {id_} ({bound.condition.name}) is added, {_bound_words(bound)}")
        else:
            said += [f"condition {id_}: {words}" for words in _condition_diff(before[id_], bound)]
    kept_before = [id_ for id_ in before if id_ in after]
    if kept_before != [id_ for id_ in after if id_ in before]:
        said.append("the conditions stand in another order")
    return said


def _bound_words(bound: Bound) -> str:
    return f"action {bound.action}, at {', '.join(bound.at)}"


def _condition_diff(old: Bound, new: Bound) -> Iterator[str]:
    if old.condition.name != new.condition.name:
        yield f"uses {new.condition.name}, was {old.condition.name}"
    for field in fields(Bound):
        if field.name in ("id", "condition", "parameters"):
            continue
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            yield f"{field.name} is {_words(after)}, was {_words(before)}"
    before, after = (dict(bound.parameters) for bound in (old, new))
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield f"parameter {name} is {_words(after.get(name))}, was {_words(before.get(name))}"


def _words(value: Any) -> str:
    """A typed value, as a document would have it said."""
    if value is None or value == ():
        return "not given"
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, timedelta):
        return spelled(value)
    if isinstance(value, tuple):
        return ", ".join(map(_words, value))
    if isinstance(value, Value):
        given = value.model_dump(mode="json", by_alias=True, exclude_none=True)
        return "{" + ", ".join(f"{name}: {one}" for name, one in given.items()) + "}"
    return str(value)
