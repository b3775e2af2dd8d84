"""The life of a policy document: proposed, approved by those it names, activated now or later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import Contract, Draft, Facts, Key, License, OfficeApproval, Policy, PolicyRef
from ledger.values import EVERY_ROLE, Sha256, Timestamp

PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
PolicyVersion = Annotated[int, Field(ge=1, le=1_000_000)]
Office = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,30}(\.[a-z][a-z0-9_-]{0,30})?$")]
"""A role, or an office of it: `exporter.counsel`."""

_TEXT = "policy: example\n"


class _Named(Kind):
    policy: PolicyName
    version: PolicyVersion
    sha256: Sha256
    """Of the document's bytes, UTF-8."""


class CarriedPolicy(_Named):
    """A document, carried whole."""

    example: ClassVar[dict[str, Any]] = {
        "policy": "example",
        "version": 1,
        "sha256": hashlib.sha256(_TEXT.encode()).hexdigest(),
        "text": _TEXT,
    }

    text: Annotated[str, Field(min_length=1, max_length=200_000)]

    @model_validator(mode="after")
    def _digest(self) -> Self:
        found = hashlib.sha256(self.text.encode()).hexdigest()
        if found != self.sha256:
            raise ValueError(f"sha256 is {self.sha256}, but the text has {found}")
        return self

    def stored(self) -> Policy:
        """As a fact."""
        return Policy(sha256=self.sha256, policy=self.policy, version=self.version, text=self.text)


class PolicyProposed(CarriedPolicy, kind="policy.proposed"):
    """Lays a version of a policy document before the parties that must approve it."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Draft.name, f"{event.contract}/{self.sha256}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(self.stored())
        facts.put(
            Draft(
                contract=event.contract,
                sha256=self.sha256,
                policy=self.policy,
                version=self.version,
                proposed=index,
            )
        )


class PolicyApproved(_Named, kind="policy.approved"):
    """One of those that the document names approves it, by its digest."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "policy": "example",
        "version": 1,
        "sha256": CarriedPolicy.example["sha256"],
        "office": "exporter.counsel",
    }

    office: Office
    """Which of the document's approvals this is."""

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Draft.name, f"{event.contract}/{self.sha256}"
        yield Policy.name, self.sha256

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        draft = facts.get(Draft, f"{event.contract}/{self.sha256}")
        if draft is not None:
            given = OfficeApproval(office=self.office, party=event.actor.party, index=index)
            facts.update(draft, approvals=(*draft.approvals, given))


class PolicyActivated(CarriedPolicy, kind="policy.activated", version=1):
    """Puts a document that the speaker's role alone approves, carried whole, in force from now on."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "authority"})

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(self.stored())
        contract = facts.get(Contract, event.contract)
        if contract is None:
            return
        # The version before stays bound: it is in force until this one's own dates begin.
        ours = PolicyRef(policy=self.policy, version=self.version, sha256=self.sha256, begins=at)
        facts.update(contract, policies=(*contract.policies, ours))

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Policy.name, self.sha256
        yield from _licenses(event, facts)


class PolicyActivation(_Named, kind="policy.activated", version=2):
    """Puts a document that was proposed and approved in force, from now on or from a later instant.

    The version before stays in force until then. A shadow is judged beside the version in force, and
    where it would have decided otherwise, that is recorded; it needs no approval.
    """

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "policy": "example",
        "version": 1,
        "sha256": CarriedPolicy.example["sha256"],
        "begins": "2027-06-01T00:00:00Z",
        "mode": "enforce",
    }

    begins: Timestamp | None = None
    """Not before this instant; None: at once. The document's own dates hold besides."""
    mode: Literal["enforce", "shadow"] = "enforce"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Draft.name, f"{event.contract}/{self.sha256}"
        yield Policy.name, self.sha256
        yield from _licenses(event, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        contract = facts.get(Contract, event.contract)
        if contract is None:
            return
        ours = PolicyRef(
            policy=self.policy,
            version=self.version,
            sha256=self.sha256,
            begins=self.begins or at,
            mode=self.mode,
        )
        facts.update(contract, policies=(*contract.policies, ours))


def _licenses(event: Event, facts: Facts) -> Iterable[Key]:
    """Whose conditions were taken on, by whom: a new document may ask them to take it on too."""
    contract = facts.peek(Contract, event.contract)
    for license_ in contract.licenses if contract else ():
        yield License.name, license_
