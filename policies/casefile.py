"""Case files: "given these events, when this one, expect that", as tests of a policy document.

Strict YAML as a policy document is (`policies.tree`): every fault has its line and column.

    language: 1
    document: us-h200-china.yaml    # beside this file
    events:                         # what cases may name
      ordered: {kind: order.placed, by: lotus/buyer, at: 2027-03-01T12:00:00Z, data: {...}}
    setups:                         # lists of events, and of setups before them
      licensed: [opened, activated, granted]
    cases:
      - name: an order over the license is refused
        given: [licensed, ordered]
        when: {like: ordered, data: {order: PO-3, units: 9000}}
        expect: {outcome: denied, fails: [quantity]}

An event says `kind`, `by` (party/role), `data`, and `at`, which defaults to that of the event before it:
when it is recorded, and when it occurred unless `occurred_at` says so;
`contract` names another contract than the usual one. `like` takes another event and replaces what is
said, in `data` field by field. Events of kinds `policy.` are about the document under test: a
`policy.activated` without `data` carries it whole, and one with `data` puts in force what was proposed.
`corrects` names an event given before, whose index and id a correction takes. Ids and the contract's id
follow from the case, and `version` of the kind is the newest unless it is said.

`fails` are the ids of exactly those conditions and rules that fail, in any order; `passes` are conditions
that must pass, and `codes` codes that must be found. What is given must not be refused, unless it says
`refused: true`.

`then` lets the clock run on after the event, and says what becomes of the document's obligations:

        then:
          - {at: 2027-04-10T04:00:00Z, breached: [install]}

At each instant `breached` are the ids of exactly those of which a duty stands breached, `met` ids of which
one stands met, and `proposes` exactly what the ledger has come to propose, since the instant before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from ledger.decision import Decision
from ledger.errors import Fault, MalformedEvent, MalformedInput
from ledger.event import KINDS, Event, Submission, submission_of, versions_of
from ledger.facts import Duty, Facts, decode
from ledger.values import Any_, Many, Text, Timestamp, Value, format_timestamp, parse_timestamp
from policies.conditions.parameters import nearest, one_of
from policies.document import FAULTS_MAX, PolicyDocument, checked
from policies.engine import Engine
from policies.explain import explain
from policies.history import History
from policies.rules import SENTENCES
from policies.tree import Path, PolicyDocumentError, Tree, read

LANGUAGE: Final = 1
CASES_MAX: Final = 1_000
EVENTS_MAX: Final = 500
"""That one case may give."""
ORIGIN: Final = "cases.chipledger/log"
_FIRST: Final = "2000-01-01T00:00:00Z"
"""When events are said that say no time, nor does any before them."""
_OUTCOMES: Final = ("accepted", "flagged", "held", "denied")
_PROPOSALS: Final = {"suspension.proposed": "suspension", "revocation.proposed": "revocation"}
_ENDS: Final = ("breached", "met")


# --- what a case is, once it is read --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a case, short as it was written."""

    name: str
    """"" where nobody names it."""
    said: Mapping[str, Any]
    refused: bool


@dataclass(frozen=True, slots=True)
class Expectation:
    outcome: str
    fails: tuple[str, ...]
    passes: tuple[str, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Became:
    """What has become of the document's obligations by an instant, by their ids."""

    at: str
    breached: tuple[str, ...]
    met: tuple[str, ...]
    proposes: tuple[str, ...]
    """`suspension`, `revocation`."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    line: int
    given: tuple[Step, ...]
    when: Step
    expect: Expectation
    then: tuple[Became, ...]


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


# --- what may be written --------------------------------------------------------------------------

_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
_Name = Annotated[str, StringConstraints(pattern=_NAME)]


class _Said(Value):
    like: _Name | None = None
    kind: Annotated[str, one_of("a kind of event", tuple(sorted({kind for kind, _ in KINDS})))] | None = None
    by: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_][a-z0-9_.-]{0,62}/[a-z_]{1,32}$")] | None = None
    at: Timestamp | None = None
    occurred_at: Timestamp | None = None
    version: Annotated[int, Field(ge=1)] | None = None
    contract: _Name | None = None
    data: dict[str, Any] | None = None
    document: dict[str, Any] | None = None
    evidence: list[Any] | None = None
    corrects: _Name | None = None
    name: _Name | None = None
    refused: bool = False


class _Expect(Value):
    outcome: Annotated[Literal["accepted", "flagged", "held", "denied"], one_of("an outcome", _OUTCOMES)]
    fails: Any_[Text] = ()
    passes: Any_[Text] = ()
    codes: Any_[Text] = ()


class _Later(Value):
    at: Timestamp
    breached: Any_[Text] = ()
    met: Any_[Text] = ()
    proposes: Any_[Annotated[str, one_of("a proposal", tuple(_PROPOSALS.values()))]] = ()


class _Case(Value):
    name: Text
    given: Annotated[list[str | dict[str, Any]], Field(max_length=EVENTS_MAX)]
    when: dict[str, Any] | str
    expect: dict[str, Any]
    then: Annotated[list[dict[str, Any]], Field(default_factory=list, max_length=EVENTS_MAX)]


class _File(Value):
    language: Literal[1]
    document: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
    events: dict[_Name, dict[str, Any]] = Field(default_factory=dict)
    setups: dict[_Name, Many[_Name]] = Field(default_factory=dict)
    cases: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=CASES_MAX)]


# --- reading --------------------------------------------------------------------------------------


def document_of(text: str) -> str:
    """The name of the file that holds the document under test. Raises PolicyDocumentError."""
    tree = read(text)
    faults: list[Fault] = []
    written = _file(tree, faults)
    if written is None:
        raise PolicyDocumentError(*faults[:FAULTS_MAX])
    return written.document


def parse_cases(text: str, document: PolicyDocument, source: str) -> tuple[Case, ...]:
    """The cases of a file, for a document and its text. Raises PolicyDocumentError with every fault."""
    tree = read(text)
    faults: list[Fault] = []
    written = _file(tree, faults)
    cases = () if written is None else _Reader(tree, written, document, source, faults).cases()
    if faults:
        raise PolicyDocumentError(*faults[:FAULTS_MAX])
    return cases


def _file(tree: Tree, faults: list[Fault]) -> _File | None:
    if not isinstance(tree.value, dict):
        faults.append(tree.fault((), "a case file is an object"))
        return None
    return checked(_File, tree.value, (), tree, faults)


class _Reader:
    """Names to events, and each case to steps; what is wrong goes to `faults`."""

    def __init__(
        self, tree: Tree, written: _File, document: PolicyDocument, source: str, faults: list[Fault]
    ) -> None:
        self._tree, self._written, self._faults = tree, written, faults
        self._document, self._source = document, source
        self._known = {
            *(bound.id for bound in document.conditions), *(code.partition(".")[0] for code in SENTENCES),
        }  # fmt: skip
        self._events: dict[str, Mapping[str, Any]] = {}
        for name, value in written.events.items():
            said = self._said(value, ("events", name))
            if said is not None and self._check(said, ("events", name)):
                self._events[name] = said
        self._setups: dict[str, tuple[str, ...]] = {}
        for name in written.setups:
            self._setups[name] = tuple(self._setup(name))

    def cases(self) -> tuple[Case, ...]:
        first: dict[str, int] = {}
        found = []
        for number, value in enumerate(self._written.cases):
            path: Path = ("cases", number)
            case = self._case(value, path)
            if case is not None:
                found.append(case)
                if first.setdefault(case.name, case.line) != case.line:
                    words = f"stands twice, first on line {first[case.name]}"
                    self._fault((*path, "name"), words)
        return tuple(found)

    def _case(self, value: dict[str, Any], path: Path) -> Case | None:
        before = len(self._faults)
        written = checked(_Case, value, path, self._tree, self._faults)
        if written is None:
            return None
        given = [
            step
            for number, one in enumerate(written.given)
            for step in self._steps(one, (*path, "given", number))
        ]
        when = [*self._steps(written.when, (*path, "when"))]
        expect = self._expectation(written.expect, (*path, "expect"))
        if len(self._faults) == before and len(when) != 1:
            self._fault((*path, "when"), "must be one event")
        then = [self._later(one, (*path, "then", number)) for number, one in enumerate(written.then)]
        names = {step.name for step in given}
        for step in (*given, *when):
            if (corrects := step.said.get("corrects")) is not None and corrects not in names:
                self._fault(path, f"{corrects} is corrected, and no event of that name is given")
        if expect is None or len(self._faults) > before:
            return None
        line, later = self._tree.values[path].line, tuple(one for one in then if one is not None)
        return Case(written.name, line, tuple(given), when[0], expect, later)

    def _steps(self, one: str | dict[str, Any], path: Path) -> Iterator[Step]:
        if isinstance(one, dict):
            said = self._said(one, path)
            if said is not None and self._check(said, path):
                yield Step(said.get("name", ""), said, said.get("refused", False))
        elif one in self._setups:
            for name in self._setups[one]:
                yield Step(name, self._events[name], self._events[name].get("refused", False))
        elif one in self._events:
            yield Step(one, self._events[one], self._events[one].get("refused", False))
        else:
            names = (*self._written.events, *self._written.setups)
            self._fault(path, f"{one[:63]} is no event and no setup; {nearest(one, names)}")

    def _setup(self, name: str) -> Iterator[str]:
        for number, one in enumerate(self._written.setups[name]):
            if one in self._setups:
                yield from self._setups[one]
            elif one in self._events:
                yield one
            else:
                words = (
                    f"{one} is no event, and no setup before this one; {nearest(one, tuple(self._events))}"
                )
                self._fault(("setups", name, number), words)

    def _said(self, value: dict[str, Any], path: Path) -> Mapping[str, Any] | None:
        """What is said, with what is like it filled in: plain JSON under the names of `_Said`."""
        before = len(self._faults)
        if checked(_Said, value, path, self._tree, self._faults) is None:
            return None
        like = value.get("like")
        if like is None:
            said = dict(value)
        elif like in self._events:
            said = {**self._events[like], **value}
            said.pop("name", None)
            if "data" in value:
                said["data"] = {**self._events[like].get("data", {}), **value["data"]}
            if "name" in value:
                said["name"] = value["name"]
        else:
            names = tuple(self._events)
            self._fault((*path, "like"), f"{like} is no event before this one; {nearest(like, names)}")
            return None
        for name in ("kind", "by"):
            if name not in said and len(self._faults) == before:
                self._fault(path, f"{name} is missing")
        if str(said.get("kind")).startswith("policy."):
            self._fill_in_document(said)
        return said if len(self._faults) == before else None

    def _fill_in_document(self, said: dict[str, Any]) -> None:
        """The document under test, whole where it is proposed, or put in force by its bearer alone."""
        document, kind = self._document, said["kind"]
        named = {"policy": document.policy, "version": document.version, "sha256": document.sha256}
        bears = kind == "policy.activated" and "data" not in said
        if bears or kind == "policy.proposed":
            named["text"] = self._source
        if bears:
            said.setdefault("version", 1)
        said["data"] = {**named, **said.get("data", {})}

    def _expectation(self, value: dict[str, Any], path: Path) -> Expectation | None:
        expect = checked(_Expect, value, path, self._tree, self._faults)
        if expect is None:
            return None
        for field in ("fails", "passes"):
            for number, name in enumerate(getattr(expect, field)):
                if name not in self._known:
                    words = f"{name[:63]} is no condition of the document, and no rule; "
                    self._fault((*path, field, number), words + nearest(name, tuple(sorted(self._known))))
        return Expectation(expect.outcome, expect.fails, expect.passes, expect.codes)

    def _later(self, value: dict[str, Any], path: Path) -> Became | None:
        written = checked(_Later, value, path, self._tree, self._faults)
        if written is None:
            return None
        ids = tuple(bound.id for bound in self._document.obligations)
        for field in _ENDS:
            for number, name in enumerate(getattr(written, field)):
                if name not in ids:
                    words = f"{name[:63]} is no obligation of the document; {nearest(name, ids)}"
                    self._fault((*path, field, number), words)
        return Became(format_timestamp(written.at), written.breached, written.met, written.proposes)

    def _check(self, said: Mapping[str, Any], path: Path) -> bool:
        """Whether it will be an event, whichever it corrects."""
        nobody = str(uuid.UUID(int=0))
        try:
            submission_of(_wire(said, id_=nobody, at=said.get("at", _FIRST), corrects=(0, nobody)))
        except MalformedInput as error:
            for fault in error.faults:
                steps = tuple(fault.pointer.split("/")[1:])
                self._fault((*path, *steps), f"{fault.pointer} {fault.detail}")
            return False
        return True

    def _fault(self, path: Path, words: str) -> None:
        self._faults.append(self._tree.fault(path, words))


# --- running --------------------------------------------------------------------------------------


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
    for state in _ENDS:
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
        self._at = _FIRST

    def say(self, step: Step) -> Decision:
        index = self._history.size
        self._move_to(step.said.get("at", self._at))
        name = step.said.get("corrects")
        corrects = self._named[name] if name is not None else None
        submission = submission_of(
            _wire(step.said, id_=_id(f"{self._case}/{index}"), at=self._at, corrects=corrects)
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
        breached, met = (tuple({d.obligation: None for d in duties if d.state == end}) for end in _ENDS)
        return Became(at, breached, met, tuple(n for kind, n in _PROPOSALS.items() if kind in kinds))

    def _duties(self, policy: str) -> list[Duty]:
        """Those that documents of the policy have opened."""
        found = (decode(name, fact) for (name, _), fact in self._history.rows() if name == Duty.name)
        return [duty for duty in found if isinstance(duty, Duty) and duty.policy == policy]

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


def _wire(said: Mapping[str, Any], *, id_: str, at: str, corrects: tuple[int, str] | None) -> dict[str, Any]:
    party, _, role = said["by"].partition("/")
    kind = said["kind"]
    data = dict(said.get("data", {}))
    if "corrects" in said and corrects is not None:
        data.update(index=corrects[0], id=corrects[1])
    if kind == "contract.opened" and "version" not in said:
        data.setdefault("signed", [])  # a case asks what a document decides, and nobody signs in it
    value = {
        "id": id_,
        "kind": kind,
        "version": said.get("version", versions_of(kind)[-1]),
        "contract": _id(said.get("contract", "")),
        "occurred_at": said.get("occurred_at", at),
        "actor": {"party": party, "role": role},
        "data": data,
    }
    return {**value, **{name: said[name] for name in ("document", "evidence") if name in said}}


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ORIGIN}/{name}"))
