"""A contract and what governs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ledger.event import KINDS, Event, Kind, Nature
from ledger.facts import (
    Contract,
    ContractParty,
    Correction,
    Erasure,
    Exporter,
    Facts,
    Key,
    License,
    Recorded,
    erasure_key,
)
from ledger.kinds.license import LicenseAmended, LicenseRevoked, run_term
from ledger.signatories import DEMANDED_BY_DEFAULT, demanded
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


def _can_be_signed(pattern: str) -> str:
    submitted = {name for (name, _), kind in KINDS.items() if kind.nature != "own"}
    if pattern == "contract.opened" or not any(
        demanded((pattern,), name) for name in submitted if not name.startswith("key.")
    ):
        raise ValueError(
            f"{pattern} names nothing that can be asked for: it must be a kind, such as order.placed, or a"
            " group, such as license.*; keys have a rule of their own, and before the opening there are none"
        )
    return pattern


Signed = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z_]{1,40}\.([a-z_]{1,40}|\*)$"),
    AfterValidator(_can_be_signed),
]
"""Kinds of event that must be signed (`ledger.dsse`) by a key of whoever says them."""


class ContractOpened(Kind, kind="contract.opened", version=1):
    """Opens the stream of one contract: its parties by role, its licenses, sites and time zone.

    It demands no signatures; version 2 does.
    """

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

    @property
    def demands(self) -> tuple[str, ...]:
        return ()

    def upcast(self) -> Kind:
        # Not validated again: what it says was judged fit when it came in.
        return ContractOpening.model_construct(**dict(self), signed=())

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
                parties=tuple(map(_known, self.parties)),
                licenses=self.licenses,
                sites=tuple(site.site for site in self.sites),
                countries=tuple(site.country for site in self.sites),
                opened=index,
                signed=self.demands,
            )
        )
        for party in self.parties:
            if "exporter" in party.roles:
                exporter = facts.get(Exporter, party.party) or Exporter(exporter=party.party)
                facts.update(exporter, contracts=exporter.contracts + 1)


class ContractOpening(ContractOpened, kind="contract.opened", version=2):
    """Opens the stream of one contract, which demands signatures unless it says that it does not."""

    example: ClassVar[dict[str, Any]] = {**ContractOpened.example, "signed": list(DEMANDED_BY_DEFAULT)}

    signed: Any_[Signed] = DEMANDED_BY_DEFAULT
    """What must be signed by a key that the speaker has registered; by default licensing and shipments."""

    @property
    def demands(self) -> tuple[str, ...]:
        return self.signed

    def upcast(self) -> Kind:
        return self


class ContractAmended(Kind, kind="contract.amended"):
    """Changes what a contract names: its title, parties and their roles, licenses and sites.

    What is not said stays, and what is taken away stays readable where it was said. A party that is
    named takes the place of the one of that name. Whose contract it is, its exporter, stays.
    """

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = ContractOpened.said_by
    example: ClassVar[dict[str, Any]] = {
        "parties": [
            {
                "party": "dragon-affiliate",
                "roles": ["consignee", "end_user"],
                "name": "Dragon Affiliate",
                "country": "CN",
            }
        ],
        "parties_removed": ["swift-freight"],
        "licenses": ["D-100201"],
        "sites": [{"site": "SHA-2", "name": "Shanghai hall 2", "country": "CN"}],
        "sites_removed": [],
        "reason": "second hall, and the affiliate that runs it",
    }

    title: Text | None = None
    parties: Annotated[Any_[Party], unique_by("party"), AfterValidator(_no_ledger)] = ()
    """Those that join, and those whose roles or country change."""
    parties_removed: Any_[PartyId] = ()
    licenses: Any_[Identifier] = ()
    """Those that it rests on as well."""
    sites: Annotated[Any_[Site], unique_by("site")] = ()
    """Those that it has as well."""
    sites_removed: Any_[Identifier] = ()
    signed: Any_[Signed] = ()
    """What must be signed from the next entry on, as well: a demand is never taken back."""
    reason: Text

    @model_validator(mode="after")
    def _something(self) -> Self:
        said = (self.title, self.parties, self.parties_removed, self.licenses, self.sites, self.sites_removed)
        if not any(said) and not self.signed:
            raise ValueError("an amendment changes something")
        _never_both({p.party for p in self.parties}, self.parties_removed)
        _never_both({s.site for s in self.sites}, self.sites_removed)
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        contract = facts.peek(Contract, event.contract)
        # An authority stays as long as one of its licenses does: nobody else could revoke it.
        if contract is not None and self.loses(contract, "authority"):
            for license_ in contract.licenses:
                yield License.name, license_

    def amended(self, contract: Contract) -> Contract:
        """The contract as it is afterwards."""
        parties = {p.party: p for p in contract.parties if p.party not in self.parties_removed}
        parties |= {p.party: _known(p) for p in self.parties}
        sites = dict(zip(contract.sites, contract.countries, strict=True))
        sites |= {site.site: site.country for site in self.sites}
        kept = {site: country for site, country in sites.items() if site not in self.sites_removed}
        return replace(
            contract,
            title=self.title or contract.title,
            parties=tuple(parties.values()),
            licenses=tuple(dict.fromkeys((*contract.licenses, *self.licenses))),
            sites=tuple(kept),
            countries=tuple(kept.values()),
            signed=tuple(dict.fromkeys((*contract.signed, *self.signed))),
        )

    def loses(self, contract: Contract, role: str) -> tuple[str, ...]:
        """Who has a role and no longer has it afterwards."""
        kept = self.amended(contract).holders(role)
        return tuple(party for party in contract.holders(role) if party not in kept)

    def gains(self, contract: Contract, role: str) -> tuple[str, ...]:
        """Who has a role afterwards and does not have it yet."""
        had = contract.holders(role)
        return tuple(party for party in self.amended(contract).holders(role) if party not in had)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        contract = facts.get(Contract, event.contract)
        if contract is not None:
            facts.put(self.amended(contract))


def _known(party: Party) -> ContractParty:
    return ContractParty(party=party.party, roles=party.roles, country=party.country)


def _never_both(joins: set[str], leaves: tuple[str, ...]) -> None:
    if both := sorted(joins & set(leaves)):
        raise ValueError(f"{both[0]} is both added and removed")


class Mistake(Value):
    index: Annotated[int, Field(ge=0)]
    """Entry of the mistaken event."""
    id: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
    """Its id, so that a slip of the index corrects nothing."""


MISTAKES_MAX = 100


class DeclaredInError(Kind, kind="event.declared_in_error"):
    """Takes back an event: nothing is edited, the facts change from here on.

    Said by the party that said the first, and by the authority about licensing events. What was
    decided on the mistaken facts stays decided. What rests on it is corrected first, or in the same event.
    """

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    looks_up: ClassVar[bool] = True
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
    also: Annotated[Any_[Mistake], Field(max_length=MISTAKES_MAX), unique_by("index")] = ()
    """What rests on it, and is taken back with it."""
    reason: Text

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if any(one.index == self.index for one in self.also):
            raise ValueError(f"also names entry {self.index}, which is the one that is corrected")
        return self

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """All that is taken back, the latest first: nothing rests on what comes after it."""
        both = (Mistake(index=self.index, id=self.id), *self.also)
        return tuple(sorted(both, key=lambda one: -one.index))

    def mistaken(self, facts: Facts) -> Iterator[tuple[int, Event]]:
        """The events that are taken back with their entries, the latest first.

        As far as they are loaded, and not erased.
        """
        for one in self.mistakes:
            recorded = facts.peek(Recorded, str(one.index))
            if recorded is not None and recorded.event is not None:
                yield one.index, cast(Event, recorded.event)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        for one in self.mistakes:
            yield Recorded.name, str(one.index)
            yield Correction.name, str(one.index)
            yield Erasure.name, erasure_key(event.contract, one.index)
        for _, mistaken in self.mistaken(facts):
            # A correction is not taken back; and one that cites one that cites one would be walked to its
            # end, a round trip a step, until no event of the batch could be judged.
            if not isinstance(mistaken.data, DeclaredInError):
                yield from mistaken.data.undo_reads(mistaken, facts)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for one in self.mistakes:
            facts.put(Correction(index=one.index, by=index))
        for entry, mistaken in self.mistaken(facts):
            data = mistaken.data
            data.undo(mistaken, facts, index=entry)
            if isinstance(data, LicenseAmended | LicenseRevoked):
                run_term(event.contract, data.license, facts, index=index, at=at)
