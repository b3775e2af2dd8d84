"""The decision that is committed with an event: codes and values, never sentences.

Sentences are rendered from it (`policies.explain`), so that wording and language may change while the
committed bytes stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, cast

from ledger.canonical import encode, parse
from ledger.event import Event
from ledger.facts import Duty, Facts, Key

Outcome = Literal["accepted", "flagged", "held", "denied"]
Result = Literal["pass", "fail", "error", "not_applicable"]
Action = Literal["deny", "hold", "flag", "shadow"]

OUTCOMES: tuple[Outcome, ...] = ("accepted", "flagged", "held", "denied")
"""From the lightest to the gravest."""
SUBJECTS_MAX = 100
StepAction = Literal["flag", "propose_suspension", "propose_revocation"]
"""What a duty that is not met brings about. `flag`: the breach is recorded, and no more."""


class Finding(NamedTuple):  # a dataclass that is frozen takes three times as long to make
    """What one condition found.

    `observed`, `limit` and `shortfall` are whole numbers, or strings: decimals, UTC times, names.
    """

    id: str
    uses: str
    """The permanent name of the condition."""
    policy: int
    """Which of the decision's policies it stands in; 0 is the constitution."""
    result: Result
    action: Action
    clock: Literal["recorded_at", "occurred_at", "none"] = "none"
    code: str | None = None
    observed: int | str | None = None
    limit: int | str | None = None
    shortfall: int | str | None = None
    headroom: int | str | None = None
    """What the limit left before this event: a request for so much would have passed."""
    unit: str | None = None
    subjects: tuple[str, ...] = ()
    """The serials, parties or entries it names: the first SUBJECTS_MAX, sorted as they came."""
    subjects_count: int = 0
    override: int | None = None
    """Index of the entry that allows what the finding would refuse: then it weighs as a flag."""

    def value(self) -> dict[str, Any]:
        """Its JSON, without what it does not say."""
        value: dict[str, Any] = {
            "id": self.id,
            "uses": self.uses,
            "policy": self.policy,
            "result": self.result,
            "action": self.action,
            "clock": self.clock,
        }
        for name in ("code", "observed", "limit", "shortfall", "headroom", "unit"):
            if (found := getattr(self, name)) is not None:
                value[name] = found
        if self.subjects_count:
            value["subjects"] = list(self.subjects)
            value["subjects_count"] = self.subjects_count
        if self.override is not None:
            value["override"] = self.override
        return value

    @property
    def weight(self) -> Action | None:
        """The action that it brings about; None where nothing failed."""
        if self.result not in ("fail", "error"):
            return None
        return self.action if self.override is None else "flag"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a finding asks a person, or a deadline, to follow up."""

    propose: Literal["suspension", "revocation", "incident_report"]
    condition: str
    license: str | None = None
    due: str | None = None

    def value(self) -> dict[str, Any]:
        value: dict[str, Any] = {"propose": self.propose, "condition": self.condition}
        if self.license is not None:
            value["license"] = self.license
        if self.due is not None:
            value["due"] = self.due
        return value


class Awaited(NamedTuple):
    """A condition that holds what was asked for, until one of these roles releases it."""

    policy: str
    condition: str
    released_by: tuple[str, ...]

    def value(self) -> dict[str, Any]:
        return {"policy": self.policy, "condition": self.condition, "released_by": list(self.released_by)}


class Step(NamedTuple):
    """What becomes of a duty that is not met by an instant."""

    at: str
    """UTC, as committed."""
    action: StepAction

    def value(self) -> dict[str, Any]:
        return {"at": self.at, "action": self.action}


class DutyChange(NamedTuple):
    """Duties that an event opens (anew, where they stand already), or meets: without `due` it meets them."""

    policy: str
    version: int
    obligation: str
    uses: str
    subjects: tuple[str, ...]
    """What the duty is about: a serial, a shipment, a period. Each has a duty of its own."""
    due: str | None = None
    """UTC, as committed: the first instant at which it is late."""
    steps: tuple[Step, ...] = ()
    items: tuple[str, ...] = ()
    """What each of them covers, such as the devices of a delivery."""
    license: str | None = None
    """Whose suspension or revocation a step may propose."""
    cures: bool = False
    """It meets what was breached: the ledger says so in an entry of its own."""

    def value(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "policy": self.policy,
            "version": self.version,
            "obligation": self.obligation,
            "uses": self.uses,
            "subjects": list(self.subjects),
        }
        if self.due is not None:
            value["due"] = self.due
            value["steps"] = [step.value() for step in self.steps]
        if self.items:
            value["items"] = list(self.items)
        if self.license is not None:
            value["license"] = self.license
        if self.cures:
            value["cures"] = True
        return value


class Shadow(NamedTuple):
    """What a version that is only watched would have decided, where that is another outcome."""

    policy: str
    version: int
    sha256: str
    outcome: Outcome
    failed: tuple[Finding, ...]
    cel: str | None = None
    """Version of the CEL library, where it has custom conditions."""

    def value(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "version": self.version,
            "sha256": self.sha256,
            "outcome": self.outcome,
            "conditions": [finding.value() for finding in self.failed],
            **({} if self.cel is None else {"cel": self.cel}),
        }


@dataclass(frozen=True)
class Decision:
    outcome: Outcome
    engine: int
    policies: tuple[Mapping[str, Any], ...]
    """{policy, version, sha256} of each document that was asked, the constitution first; and `cel`, the
    version of the CEL library, where a document has custom conditions."""
    findings: tuple[Finding, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    awaited: tuple[Awaited, ...] = ()
    """What holds it, where the outcome is held."""
    duties: tuple[DutyChange, ...] = ()
    shadows: tuple[Shadow, ...] = ()

    @property
    def denied(self) -> bool:
        return self.outcome == "denied"

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.result in ("fail", "error"))

    def value(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "outcome": self.outcome,
            "engine": self.engine,
            "policies": [dict(policy) for policy in self.policies],
            "conditions": [finding.value() for finding in self.findings],
            "proposals": [proposal.value() for proposal in self.proposals],
        }
        for name in ("awaited", "duties", "shadows"):
            if found := getattr(self, name):
                value[name] = [one.value() for one in found]
        return value

    @cached_property
    def body(self) -> bytes:
        """The canonical bytes that are committed."""
        return encode(self.value())


def duties_of(body: bytes) -> tuple[str, tuple[DutyChange, ...]]:
    """Outcome and duties of committed decision bytes: all that folding an event takes from them."""
    value = cast(dict[str, Any], parse(body))
    changes = (
        DutyChange(
            **{
                **change,
                "subjects": tuple(change["subjects"]),
                "items": tuple(change.get("items", ())),
                "steps": tuple(Step(**step) for step in change.get("steps", ())),
            }
        )
        for change in value.get("duties", ())
    )
    return value["outcome"], tuple(changes)


class Verdict(NamedTuple):
    """What a duty comes to at the instant at which a step of it falls due."""

    met: bool
    observed: int | str | None = None
    limit: int | str | None = None
    shortfall: int | str | None = None
    unit: str | None = None
    subjects: tuple[str, ...] = ()
    subjects_count: int = 0
    next: DutyChange | None = None
    """The duty of the next period, where it comes again."""
    lapsed: bool = False
    """Nobody asks for it any more: the document that did is no longer in force."""


class Judge(Protocol):
    """Who decides. The ledger knows no condition: it is handed one of these."""

    @property
    def engine(self) -> int:
        """The engine version, which the head row pins."""
        ...

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        """The facts that judging looks at, beyond those that the event's kind names.

        Asked again once these are loaded, until it names nothing new.
        """
        ...

    def judge(self, event: Event, facts: Facts, *, at: datetime) -> Decision:
        """Decide, from the event, the facts and `recorded_at` alone."""
        ...

    def due_reads(self, duty: Duty, facts: Facts) -> Iterable[Key]:
        """As `reads`, for a duty that falls due."""
        ...

    def due(self, duty: Duty, facts: Facts, *, at: datetime) -> Verdict:
        """Whether the duty is met, from the facts alone; asked at or after the instant of a step."""
        ...
