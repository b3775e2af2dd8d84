"""What a person decides after the ledger has held, proposed or refused: releases, dismissals, overrides."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import StringConstraints

from ledger.event import Event, Kind, Nature
from ledger.facts import Exemption, Facts, Hold, Key, Override, Proposed
from ledger.values import EVERY_ROLE, Identifier, Many, Text, Timestamp, format_timestamp

Target = Annotated[
    str,
    StringConstraints(pattern=r"^(order|shipment|transfer|rma)/[A-Za-z0-9][A-Za-z0-9._:#+-]{0,63}$"),
]
"""What of a contract is meant, such as `order/PO-4711`."""


class HoldReleased(Kind, kind="hold.released"):
    """Releases what the speaker's role may release of a hold; the last release ends it."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "target": "order/PO-4711",
        "reason": "the candidate is another person of that name",
    }

    target: Target
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Hold.name, f"{event.contract}/{self.target}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        hold = facts.get(Hold, f"{event.contract}/{self.target}")
        if hold is not None:
            role = event.actor.role
            facts.update(hold, held_by=tuple(h for h in hold.held_by if role not in h.released_by))


class ProposalDismissed(Kind, kind="proposal.dismissed"):
    """Answers a proposed suspension or revocation with no. Yes is the suspension or revocation itself."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {"proposal": 42, "reason": "arrived within the hour, explained"}

    proposal: int
    """Index of the entry that proposes."""
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Proposed.name, str(self.proposal)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        proposed = facts.get(Proposed, str(self.proposal))
        if proposed is not None:
            facts.update(proposed, state="dismissed", answered=index)


class OverrideGranted(Kind, kind="override.granted"):
    """Lets conditions that would refuse or hold one order, shipment or transfer count as a flag.

    Who may do so stands with each condition in the policy document; the evidence is in the envelope.
    """

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "target": "shipment/SH-9",
        "policy": "us-h200-china",
        "conditions": ["laboratory"],
        "until": "2027-04-01T00:00:00Z",
        "authority": "15 CFR 740.2, letter of 2027-03-01",
        "reason": "the laboratory is closed by flood; devices are tested on arrival",
    }

    target: Target
    policy: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    conditions: Many[Identifier]
    """Ids of conditions in the policy document."""
    until: Timestamp
    """From this instant on it counts no longer."""
    authority: Text
    """By what right."""
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Override.name, f"{event.contract}/{self.target}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        key = f"{event.contract}/{self.target}"
        before = facts.get(Override, key)
        granted = tuple(
            Exemption(
                policy=self.policy,
                condition=condition,
                role=event.actor.role,
                until=format_timestamp(self.until),
                index=index,
            )
            for condition in self.conditions
        )
        kept = tuple(
            e
            for e in (before.exemptions if before else ())
            if e.policy != self.policy or e.condition not in self.conditions
        )
        facts.put(Override(contract=event.contract, subject=self.target, exemptions=(*kept, *granted)))
