"""What comes back when a license was revoked: who has received the revocation says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ledger.event import Event, Kind, Nature
from ledger.facts import Acknowledged, Acknowledgements, Facts, Key, Recorded
from ledger.kinds.license import LicenseRevoked
from ledger.values import EVERY_ROLE, Identifier, Text


class RevocationAcknowledged(Kind, kind="revocation.acknowledged"):
    """A party has received the revocation of a license, by a webhook or otherwise."""

    nature: ClassVar[Nature] = "fact"
    looks_up: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "license": "D-100200", "revocation": 52, "webhook_id": "msg_4f1c0a9b2d3e5f60_52",
    }  # fmt: skip

    license: Identifier
    revocation: Annotated[int, Field(ge=0)]
    """Index of the entry that revoked it."""
    webhook_id: Text | None = None
    """Of the delivery that told."""

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Recorded.name, str(self.revocation)
        yield Acknowledgements.name, f"{event.contract}/{self.license}"

    def revocation_of(self, event: Event, facts: Facts) -> bool:
        """Whether that entry did revoke this license, in this contract."""
        recorded = facts.get(Recorded, str(self.revocation))
        return (
            recorded is not None
            and recorded.outcome in ("accepted", "flagged")
            and recorded.event.contract == event.contract
            and isinstance(recorded.event.data, LicenseRevoked)
            and recorded.event.data.license == self.license
        )

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if not self.revocation_of(event, facts):
            return
        known = facts.get(Acknowledgements, f"{event.contract}/{self.license}") or Acknowledgements(
            contract=event.contract, license=self.license
        )
        party = event.actor.party
        if party not in {one.party for one in known.of(self.revocation)}:
            said = Acknowledged(party=party, revocation=self.revocation, index=index, at=at)
            facts.put(replace(known, by=(*known.by, said)))

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        known = facts.get(Acknowledgements, f"{event.contract}/{self.license}")
        if known is not None:
            facts.update(known, by=tuple(one for one in known.by if one.index != index))
        return None
