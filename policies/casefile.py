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

from ledger.errors import Fault, MalformedInput
from ledger.event import KINDS, submission_of, versions_of
from ledger.values import Any_, Many, Text, Timestamp, Value, format_timestamp
from policies.checked import checked
from policies.conditions.parameters import nearest, one_of
from policies.document import FAULTS_MAX, PolicyDocument
from policies.rules import SENTENCES
from policies.tree import Path, PolicyDocumentError, Tree, read

LANGUAGE: Final = 1
CASES_MAX: Final = 1_000
EVENTS_MAX: Final = 500
"""That one case may give."""
ORIGIN: Final = "cases.chipledger/log"
FIRST: Final = "2000-01-01T00:00:00Z"
"""When events are said that say no time, nor does any before them."""
_OUTCOMES: Final = ("accepted", "flagged", "held", "denied")
PROPOSALS: Final = {"suspension.proposed": "suspension", "revocation.proposed": "revocation"}
ENDS: Final = ("breached", "met")


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
    proposes: Any_[Annotated[str, one_of("a proposal", tuple(PROPOSALS.values()))]] = ()


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
        for field in ENDS:
            for number, name in enumerate(getattr(written, field)):
                if name not in ids:
                    words = f"{name[:63]} is no obligation of the document; {nearest(name, ids)}"
                    self._fault((*path, field, number), words)
        return Became(format_timestamp(written.at), written.breached, written.met, written.proposes)

    def _check(self, said: Mapping[str, Any], path: Path) -> bool:
        """Whether it will be an event, whichever it corrects."""
        nobody = str(uuid.UUID(int=0))
        try:
            submission_of(wire_of(said, id_=nobody, at=said.get("at", FIRST), corrects=(0, nobody)))
        except MalformedInput as error:
            for fault in error.faults:
                steps = tuple(fault.pointer.split("/")[1:])
                self._fault((*path, *steps), f"{fault.pointer} {fault.detail}")
            return False
        return True

    def _fault(self, path: Path, words: str) -> None:
        self._faults.append(self._tree.fault(path, words))


def wire_of(
    said: Mapping[str, Any], *, id_: str, at: str, corrects: tuple[int, str] | None
) -> dict[str, Any]:
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
        "contract": id_of(said.get("contract", "")),
        "occurred_at": said.get("occurred_at", at),
        "actor": {"party": party, "role": role},
        "data": data,
    }
    return {**value, **{name: said[name] for name in ("document", "evidence") if name in said}}


def id_of(name: str) -> str:
    """Of an event or a contract, the same at every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ORIGIN}/{name}"))
