"""A contract and what governs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import AfterValidator, Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    Contract,
    ContractParty,
    Correction,
    Exporter,
    Facts,
    Key,
    Policy,
    PolicyRef,
    Recorded,
)
from ledger.values import (
    EVERY_ROLE,
    LEI,
    USCC,
    Any_,
    Country,
    Identifier,
    Many,
    PartyId,
    Role,
    Sha256,
    Text,
    Value,
    Zone,
    unique_by,
)


class Party(Value):
    """A party to the contract and what it is there."""

    party: PartyId
    roles: Many[Role]
    name: Text
    country: Country
    lei: LEI | None = None
    uscc: USCC | None = None


def _no_ledger(parties: tuple[Party, ...]) -> tuple[Party, ...]:
    if any("ledger" in party.roles for party in parties):
        raise ValueError("the role ledger is the ledger's own")
    return parties


class Site(Value):
    """A place where chips may stand."""

    site: Identifier
    name: Text
    country: Country


class ContractOpened(Kind, kind="contract.opened"):
    """Opens the stream of one contract: its parties by role, its licenses, sites and time zone."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "authority"})
    example: ClassVar[dict[str, Any]] = {
        "title": "H200 supply, second half",
        "zone": "America/New_York",
        "parties": [
            {"party": "bis", "roles": ["authority"], "name": "Licensing authority", "country": "US"},
            {"party": "acme", "roles": ["exporter"], "name": "Acme Accelerators", "country": "US"},
            {
                "party": "dragon-dc",
                "roles": ["consignee", "end_user", "data_centre"],
                "name": "Dragon Data Centres",
                "country": "CN",
            },
        ],
        "licenses": ["D-100200"],
        "sites": [{"site": "SHA-1", "name": "Shanghai hall 1", "country": "CN"}],
    }

    title: Text
    zone: Zone
    parties: Annotated[Many[Party], unique_by("party"), AfterValidator(_no_ledger)]
    licenses: Any_[Identifier] = ()
    sites: Annotated[Any_[Site], unique_by("site")] = ()

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        for party in self.parties:
            if "exporter" in party.roles:
                yield Exporter.name, party.party

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(
            Contract(
                contract=event.contract,
                title=self.title,
                zone=self.zone,
                parties=tuple(
                    ContractParty(party=p.party, roles=p.roles, country=p.country) for p in self.parties
                ),
                licenses=self.licenses,
                sites=tuple(site.site for site in self.sites),
                opened=index,
            )
        )
        for party in self.parties:
            if "exporter" in party.roles:
                exporter = facts.get(Exporter, party.party) or Exporter(exporter=party.party)
                facts.update(exporter, contracts=exporter.contracts + 1)


class PolicyActivated(Kind, kind="policy.activated"):
    """Puts a version of a policy document, carried whole, in force for this contract from now on."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "authority"})
    example: ClassVar[dict[str, Any]] = {
        "policy": "example",
        "version": 1,
        "sha256": hashlib.sha256(b"policy: example\n").hexdigest(),
        "text": "policy: example\n",
    }

    policy: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    sha256: Sha256
    """Of the document's bytes, UTF-8."""
    text: Annotated[str, Field(min_length=1, max_length=200_000)]

    @model_validator(mode="after")
    def _digest(self) -> Self:
        found = hashlib.sha256(self.text.encode()).hexdigest()
        if found != self.sha256:
            raise ValueError(f"sha256 is {self.sha256}, but the text has {found}")
        return self

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(Policy(sha256=self.sha256, policy=self.policy, version=self.version, text=self.text))
        contract = facts.get(Contract, event.contract)
        if contract is None:
            return
        # The version before stays bound: it is in force until this one's own dates begin.
        ours = PolicyRef(policy=self.policy, version=self.version, sha256=self.sha256)
        facts.update(contract, policies=(*contract.policies, ours))

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Policy.name, self.sha256


class DeclaredInError(Kind, kind="event.declared_in_error"):
    """Takes back an event: nothing is edited, the facts change from here on.

    Said by the party that said the first, and by the authority about licensing events. What was
    decided on the mistaken facts stays decided. Dependents are corrected first.
    """

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "index": 17,
        "id": "8d5f6a52-6a70-4a2c-9f0b-6a4ab55c7f01",
        "reason": "amount keyed twice",
    }

    index: Annotated[int, Field(ge=0)]
    """Entry of the mistaken event."""
    id: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
    """Its id, so that a slip of the index corrects nothing."""
    reason: Text

    def mistaken(self, facts: Facts) -> Event | None:
        """The event that is taken back, once it is loaded."""
        recorded = facts.peek(Recorded, str(self.index))
        return None if recorded is None else cast(Event, recorded.event)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Recorded.name, str(self.index)
        yield Correction.name, str(self.index)
        mistaken = self.mistaken(facts)
        # A correction is not taken back; and one that cites one that cites one would be walked to its
        # end, a round trip a step, until no event of the batch could be judged.
        if mistaken is not None and not isinstance(mistaken.data, DeclaredInError):
            yield from mistaken.data.reads(mistaken, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(Correction(index=self.index, by=index))
        mistaken = self.mistaken(facts)
        if mistaken is not None:
            mistaken.data.undo(mistaken, facts, index=self.index)
