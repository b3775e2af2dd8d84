"""The duty that follows from a revocation: whoever is concerned says that it has arrived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from ledger.event import Event
from ledger.facts import Contract, Facts, Key, LicenseChanges
from ledger.kinds.license import LicenseRevoked
from ledger.kinds.revocation import RevocationAcknowledged
from policies.conditions.case import Case
from policies.conditions.declared import LESS
from policies.conditions.parameters import Duration, Parameters
from policies.obligations.registry import Change, Meets, Obligation, Opens


class AcknowledgedWithin(Parameters):
    within: Annotated[Duration, LESS, Field(description="After the revocation is recorded: `PT24H`.")]


class RevocationAcknowledgement(Obligation[AcknowledgedWithin], name="revocation_acknowledgement"):
    """A revocation must be acknowledged by every party of the contract but the one that revoked.

    A duty for each party. `revocation.acknowledged` meets its own; whether it must be signed is for a
    condition. A revoked license has nothing left that a step could propose: a step flags.
    """

    number = 39
    of_license = False
    watches = ("license.revoked", "revocation.acknowledged")
    parameters = AcknowledgedWithin
    sentences: ClassVar[Mapping[str, str]] = {"late": "the revocation was not acknowledged in time"}

    def touches(self, event: Event, facts: Facts, parameters: AcknowledgedWithin) -> Iterable[str]:
        if isinstance(event.data, RevocationAcknowledged):
            return (f"{event.data.license}/{event.actor.party}",)
        return _concerned(event, facts.peek(Contract, event.contract))

    def reads(self, event: Event, facts: Facts, parameters: AcknowledgedWithin) -> Iterable[Key]:
        if isinstance(event.data, RevocationAcknowledged):
            yield LicenseChanges.name, event.data.license

    def changes(self, case: Case, parameters: AcknowledgedWithin) -> Iterable[Change]:
        data = case.data
        if isinstance(data, RevocationAcknowledged):
            if data.revocation_of(case.event, case.facts) and _stands(data, case.facts):
                yield Meets((f"{data.license}/{case.event.actor.party}",))
            return
        concerned = _concerned(case.event, case.facts.get(Contract, case.event.contract))
        if concerned:
            yield Opens(concerned, case.at + parameters.within)


def _stands(data: RevocationAcknowledged, facts: Facts) -> bool:
    """Whether it is of the revocation that stands, and not of one that was in error."""
    changes = facts.get(LicenseChanges, data.license)
    return changes is None or not changes.before or changes.before[-1].index == data.revocation


def _concerned(event: Event, contract: Contract | None) -> tuple[str, ...]:
    data = event.data
    if not isinstance(data, LicenseRevoked) or contract is None:
        return ()
    return tuple(f"{data.license}/{one.party}" for one in contract.parties if one.party != event.actor.party)
