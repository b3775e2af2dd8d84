"""What a document asks for when it takes the place of an earlier version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, ClassVar

from ledger.event import Event
from ledger.facts import Facts, Key, License
from ledger.kinds.license import ConditionsAcknowledged
from ledger.kinds.policy import PolicyActivated, PolicyActivation
from ledger.values import later
from policies.conditions.case import Case
from policies.conditions.declared import LESS, Doubt, Use, late_at_once
from policies.conditions.parameters import Parameters
from policies.obligations.registry import Change, Meets, Obligation, Opens


class Acknowledged(Parameters):
    sha256: str
    """Of the document that is to be acknowledged."""
    within: Annotated[timedelta, LESS]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        yield from late_at_once(self, use, "within")


class Reacknowledgement(Obligation[Acknowledged]):
    """Whoever took on the conditions of a license takes on a new version of a document too.

    Bound by `transition: {reacknowledge: P14D}`. An acknowledgement that cites the document's digest
    meets it, of whichever license of the contract it is said.
    """

    name = "reacknowledgement"
    number = 7
    of_license = False
    watches = ("policy.activated", "conditions.acknowledged")
    parameters = Acknowledged
    sentences: ClassVar[Mapping[str, str]] = {"late": "the new version was not acknowledged in time"}

    def touches(self, event: Event, facts: Facts, parameters: Acknowledged) -> Iterable[str]:
        data = event.data
        if isinstance(data, ConditionsAcknowledged) and data.conditions_sha256 == parameters.sha256:
            yield event.actor.party

    def reads(self, event: Event, facts: Facts, parameters: Acknowledged) -> Iterable[Key]:
        return ()

    def changes(self, case: Case, parameters: Acknowledged) -> Iterable[Change]:
        data = case.data
        if isinstance(data, PolicyActivated | PolicyActivation):
            asked = (case.facts.get(License, number) for number in case.contract.licenses)
            parties = dict.fromkeys(
                party
                for license_ in asked
                if license_ is not None and license_.contract == case.event.contract and license_.was_granted
                for party in license_.must_acknowledge
            )
            if parties:
                yield Opens(tuple(parties), later(case.at, parameters.within, case.zone))
        elif isinstance(data, ConditionsAcknowledged) and data.conditions_sha256 == parameters.sha256:
            yield Meets((case.event.actor.party,))


REACKNOWLEDGEMENT = Reacknowledgement()
