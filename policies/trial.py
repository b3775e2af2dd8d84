"""Case files run: each case on a log of its own, and what became of it held against what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.decision import Decision
from ledger.errors import Fault, MalformedEvent, MalformedInput
from ledger.event import Event, Submission, submission_of
from ledger.facts import Duty, Facts
from ledger.values import parse_timestamp
from policies.casefile import ENDS, FIRST, ORIGIN, PROPOSALS, Became, Case, Expectation, Step, id_of, wire_of
from policies.document import PolicyDocument
from policies.engine import Engine
from policies.explain import explain
from policies.history import History


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case; `problems` is empty where it holds."""

    case: Case
    decision: Decision | None
    """None: it never came so far."""
    problems: tuple[str, ...]
    became: tuple[Became, ...] = ()
    """At each instant that it looks at, as far as it came."""


@dataclass(frozen=True, slots=True)
class Report:
    results: tuple[Result, ...]
    never_passed: tuple[str, ...]
    """Conditions of the document that pass, and obligations that are met, in no case that holds."""
    never_failed: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not (self.never_passed or self.never_failed or any(r.problems for r in self.results))


def run(cases: tuple[Case, ...], document: PolicyDocument) -> Report:
    """Judge every case, each on a log of its own, and see which conditions they leave untested."""
    engine = Engine()
    results = tuple(_run(case, document.policy, engine) for case in cases)
    passed: set[str] = set()
    failed: set[str] = set()
    for result in results:
        if result.decision is not None and not result.problems:
            findings = [f for f in result.decision.findings if f.policy > 0]
            passed |= {f.id for f in findings if f.result == "pass"}
            failed |= {f.id for f in findings if f.result == "fail"}
            for became in result.became:
                passed.update(became.met)
                failed.update(became.breached)
    ids = [
        *(bound.id for bound in document.conditions), *(bound.id for bound in document.obligations),
    ]  # fmt: skip
    return Report(
        results,
        tuple(id_ for id_ in ids if id_ not in passed),
        tuple(id_ for id_ in ids if id_ not in failed),
    )


def _run(case: Case, policy: str, engine: Engine) -> Result:
    log = _CaseLog(case.name, engine)
    for number, step in enumerate(case.given, 1):
        name = step.name or step.said["kind"]
        try:
            decision = log.say(step)
        except MalformedInput as error:
            return Result(case, None, (f"given {number} ({name}) cannot be said: {error}",))
        if decision.denied != step.refused:
            words = "was not refused" if step.refused else f"was refused: {_why(decision)}"
            return Result(case, None, (f"given {number} ({name}) {words}",))
    try:
        decision = log.say(case.when)
    except MalformedInput as error:
        return Result(case, None, (f"when ({case.when.said['kind']}) cannot be said: {error}",))
    problems, became = [*_problems(case.expect, decision)], []
    for expected in case.then:
        try:
            became.append(log.wait(expected.at, policy))
        except MalformedInput as error:
            problems.append(f"then cannot come: {error}")
            break
        problems += _differences(expected, became[-1])
    return Result(case, decision, tuple(problems), tuple(became))


def _differences(expected: Became, found: Became) -> Iterator[str]:
    for name in found.breached:
        if name not in expected.breached:
            yield f"at {found.at} {name} is breached, which is not expected"
    for name in found.proposes:
        if name not in expected.proposes:
            yield f"at {found.at} a {name} is proposed, which is not expected"
    for state in ENDS:
        for name in getattr(expected, state):
            if name not in getattr(found, state):
                yield f"at {found.at} {name} is not {state}"
    for name in expected.proposes:
        if name not in found.proposes:
            yield f"at {found.at} no {name} is proposed"


def _problems(expect: Expectation, decision: Decision) -> Iterator[str]:
    found = tuple(dict.fromkeys(f.id for f in decision.failed))
    if decision.outcome != expect.outcome or set(found) != set(expect.fails):
        if decision.outcome != expect.outcome:
            yield f"outcome is {decision.outcome}, expected {expect.outcome}"
        for id_ in found:
            if id_ not in expect.fails:
                yield f"{id_} fails, which is not expected"
        for id_ in expect.fails:
            if id_ not in found:
                yield f"{id_} does not fail"
    passed = {f.id for f in decision.findings if f.result == "pass"}
    for id_ in expect.passes:
        if id_ not in passed:
            yield f"{id_} does not pass"
    codes = tuple(f.code for f in decision.failed if f.code)
    for code in expect.codes:
        if code not in codes:
            yield f"{code} is not found; there is {', '.join(codes) or 'nothing'}"
    if decision.failed and (decision.outcome != expect.outcome or set(found) != set(expect.fails)):
        yield f"because {_why(decision)}"


def _why(decision: Decision) -> str:
    value = decision.value()
    failed = [f for f in value["conditions"] if f["result"] in ("fail", "error")]
    return " ".join(explain({**value, "conditions": failed}))


class _CaseLog:
    """The log of one case: ids and contracts follow from its name, so that every run is the same."""

    def __init__(self, case: str, engine: Engine) -> None:
        self._case = case
        self._history = History(engine, origin=ORIGIN)
        self._events: dict[int, Event] = {}
        self._named: dict[str, tuple[int, str]] = {}
        self._at = FIRST

    def say(self, step: Step) -> Decision:
        index = self._history.size
        self._move_to(step.said.get("at", self._at))
        name = step.said.get("corrects")
        corrects = self._named[name] if name is not None else None
        submission = submission_of(
            wire_of(step.said, id_=id_of(f"{self._case}/{index}"), at=self._at, corrects=corrects)
        )
        if step.name:
            self._named[step.name] = index, submission.event.id
        return self._commit(submission)

    def wait(self, at: str, policy: str) -> Became:
        """Let what falls due of the policy's duties by `at` be said, each at its own time."""
        first = self._history.size
        self._move_to(at)
        while due := sorted((d.next, d.key) for d in self._duties(policy) if d.next and d.next <= at):
            keys = [key for instant, key in due if instant == due[0][0]]
            self._enter(self._history.take_due(keys, at=parse_timestamp(due[0][0])))
        kinds = {self._events[index].kind for index in range(first, self._history.size)}
        duties = self._duties(policy)
        breached, met = (tuple({d.obligation: None for d in duties if d.state == end}) for end in ENDS)
        return Became(at, breached, met, tuple(n for kind, n in PROPOSALS.items() if kind in kinds))

    def _duties(self, policy: str) -> list[Duty]:
        """Those that documents of the policy have opened."""
        found = (Duty.decode(fact) for (name, _), fact in self._history.rows() if name == Duty.name)
        return [duty for duty in found if duty.policy == policy]

    def _move_to(self, at: str) -> None:
        if parse_timestamp(at) < parse_timestamp(self._at):
            raise MalformedEvent(Fault("/at", f"is {at}, must not be before {self._at}"))
        self._at = at

    def _commit(self, submission: Submission) -> Decision:
        history = self._history
        while wanted := history.prepare(submission.event):
            for index in wanted:
                history.recall(index, self._events.get(index))
        return self._enter(history.take(submission, at=parse_timestamp(self._at)))[0]

    def _enter(self, course: Iterator[tuple[Submission, Decision, Facts]]) -> list[Decision]:
        decisions = []
        for said, decision, _ in course:
            self._events[self._history.size] = said.event
            self._history.note(decision.outcome)
            decisions.append(decision)
        return decisions
