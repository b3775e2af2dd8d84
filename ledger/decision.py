"""The decision that is committed with an event: codes and values, never sentences.

Sentences are rendered from it (`policies.explain`), so that wording and language may change while the
committed bytes stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

from ledger.canonical import encode
from ledger.event import Event
from ledger.facts import Facts, Key

Outcome = Literal["accepted", "flagged", "held", "denied"]
Result = Literal["pass", "fail", "error", "not_applicable"]
Action = Literal["deny", "hold", "flag", "shadow"]

OUTCOMES: tuple[Outcome, ...] = ("accepted", "flagged", "held", "denied")
"""From the lightest to the gravest."""
SUBJECTS_MAX = 100


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
        return value


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


@dataclass(frozen=True)
class Decision:
    outcome: Outcome
    engine: int
    policies: tuple[Mapping[str, Any], ...]
    """{policy, version, sha256} of each document that was asked, the constitution first."""
    findings: tuple[Finding, ...] = ()
    proposals: tuple[Proposal, ...] = ()

    @property
    def denied(self) -> bool:
        return self.outcome == "denied"

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.result in ("fail", "error"))

    def value(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "engine": self.engine,
            "policies": [dict(policy) for policy in self.policies],
            "conditions": [finding.value() for finding in self.findings],
            "proposals": [proposal.value() for proposal in self.proposals],
        }

    @cached_property
    def body(self) -> bytes:
        """The canonical bytes that are committed."""
        return encode(self.value())


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
