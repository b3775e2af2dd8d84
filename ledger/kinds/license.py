"""Licenses: what an authority permits, and takes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ledger.event import LEDGER_PARTY, Event, Kind, Nature
from ledger.facts import (
    CHANGES_KEPT,
    Application,
    Contract,
    Duty,
    DutyStep,
    Facts,
    Key,
    License,
    LicenseChanges,
    Once,
    Order,
    Proposed,
    Shipment,
    Under,
    duty_key,
)
from ledger.kinds.ledger import Own
from ledger.values import (
    EVERY_ROLE,
    Any_,
    Date,
    Identifier,
    Money,
    PartyId,
    Sha256,
    Text,
    Timestamp,
    Units,
    format_timestamp,
    later,
)


def _near(day: date) -> date:
    # The midnight that ends it, in UTC, must be of the calendar too.
    if not date(1900, 1, 1) <= day <= date(9000, 1, 1):
        raise ValueError(f"{day} is too far away")
    return day


Day = Annotated[Date, AfterValidator(_near)]


class LicenseApplied(Kind, kind="license.applied"):
    """Asks an authority for a license; how long the answer takes is counted from here."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter"})
    example: ClassVar[dict[str, Any]] = {
        "application": "Z-900100",
        "sku": "H200-SXM",
        "quantity": 10000,
        "end_user": "dragon-dc",
    }

    application: Identifier
    """The number under which the authority takes it."""
    sku: Identifier
    quantity: Units
    end_user: PartyId | None = None

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Application.name, f"{event.contract}/{self.application}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(
            Application(
                contract=event.contract,
                application=self.application,
                exporter=event.actor.party,
                sku=self.sku,
                quantity=self.quantity,
                index=index,
                applied_at=at,
            )
        )


class LicenseGranted(Kind, kind="license.granted"):
    """Permits a quantity of one item between two days, under conditions that must be acknowledged."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {
        "license": "D-100200",
        "sku": "H200-SXM",
        "eccn": "3A090.a",
        "quantity": 10000,
        "valid_from": "2027-02-10",
        "valid_until": "2030-02-09",
        "conditions_sha256": "5e" * 32,
        "must_acknowledge": ["acme", "dragon-dc"],
    }

    license: Identifier
    sku: Identifier
    eccn: Annotated[str, Field(pattern=r"^[0-9][A-E][0-9]{3}(\.[a-z](\.[0-9]{1,2})?)?$")]
    quantity: Units
    valid_from: Day
    valid_until: Day
    """The last day; it ends at 24:00 in the contract's zone."""
    conditions_sha256: Sha256
    """Of the document that conveys the conditions."""
    must_acknowledge: Any_[PartyId] = ()
    value: Money | None = None
    """What may be released under it is worth at most, where the license says so."""
    application: Identifier | None = None
    """What it answers."""
    tpp: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Total processing performance of one unit, in the unit of 3A090 (TOPS × bit length)."""
    bandwidth_gb_s: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Total DRAM bandwidth of one unit, GB/s."""
    consignees: Any_[PartyId] = ()
    """Parties that it names; none: any consignee of the contract."""
    end_users: Any_[PartyId] = ()
    """As `consignees`."""
    forwarders: Any_[PartyId] = ()
    """As `consignees`."""

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.valid_until < self.valid_from:
            raise ValueError(
                f"valid_until is {self.valid_until}, must not be before valid_from {self.valid_from}"
            )
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license
        if self.application is not None:
            yield Application.name, f"{event.contract}/{self.application}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if self.application is not None:
            applied = facts.get(Application, f"{event.contract}/{self.application}")
            if applied is not None:
                facts.update(applied, license=self.license)
        contract = facts.get(Contract, event.contract)
        facts.put(
            License(
                license=self.license,
                contract=event.contract,
                authority=event.actor.party,
                state="granted" if self.must_acknowledge else "active",
                sku=self.sku,
                eccn=self.eccn,
                quantity=self.quantity,
                zone=contract.zone if contract else "UTC",
                valid_from=self.valid_from,
                valid_until=self.valid_until,
                conditions_sha256=self.conditions_sha256,
                granted=index,
                must_acknowledge=self.must_acknowledge,
                value=self.value.amount if self.value else None,
                currency=self.value.currency if self.value else None,
                application=self.application,
                tpp=self.tpp,
                bandwidth_gb_s=self.bandwidth_gb_s,
                consignees=self.consignees,
                end_users=self.end_users,
                forwarders=self.forwarders,
            )
        )
        run_term(event.contract, self.license, facts, index=index, at=at)

    def undo_reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from self.reads(event, facts)
        yield LicenseChanges.name, self.license
        yield Duty.name, term_key(event.contract, self.license)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        """As if it had never been granted: its number is free, and it is acknowledged anew."""
        license_, known = facts.get(License, self.license), facts.get(LicenseChanges, self.license)
        if license_ is None or license_.contract != event.contract:
            return None
        if license_.ordered or license_.released:
            return "correction.license_used"
        if (known is not None and known.before) or license_.state == "expired":
            return "correction.license_changed"
        facts.update(license_, state="withdrawn")
        _stop_term(event.contract, self.license, facts)
        if self.application is not None:
            applied = facts.get(Application, f"{event.contract}/{self.application}")
            if applied is not None and applied.license == self.license:
                facts.update(applied, license=None)
        return None


class LicenseAmended(Kind, kind="license.amended"):
    """Changes what a license permits, to whom and on what conditions. What is not said stays.

    Other conditions are to be acknowledged anew. More units reopen a license that is exhausted; fewer
    than are released are the authority's word, and stop what would be released beyond them.
    """

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {
        "license": "D-100200",
        "quantity": 12000,
        "valid_until": "2031-02-09",
        "conditions_sha256": "6f" * 32,
        "reason": "second hall",
    }

    license: Identifier
    quantity: Units | None = None
    value: Money | None = None
    valid_until: Day | None = None
    """The last day; it ends at 24:00 in the contract's zone."""
    conditions_sha256: Sha256 | None = None
    must_acknowledge: Any_[PartyId] | None = None
    consignees: Any_[PartyId] | None = None
    end_users: Any_[PartyId] | None = None
    forwarders: Any_[PartyId] | None = None
    reason: Text

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.changes:
            raise ValueError("an amendment changes something")
        return self

    @property
    def changes(self) -> dict[str, object]:
        """What the license says instead, by field of the fact."""
        said = {name: getattr(self, name) for name in _AMENDABLE if getattr(self, name) is not None}
        if self.value is not None:
            said |= {"value": self.value.amount, "currency": self.value.currency}
        return said

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license
        yield LicenseChanges.name, self.license

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        if license_ is None:
            return
        _remember(license_, facts, index)
        amended = replace(license_, **self.changes)  # type: ignore[arg-type] # its own fields, by name
        if amended.conditions_sha256 != license_.conditions_sha256:
            amended = replace(amended, acknowledged=(), acknowledgements=())
        state = _standing(amended) if license_.state in ("granted", "active") else license_.state
        facts.put(replace(amended, state=state))
        if amended.valid_until != license_.valid_until and license_.state not in ("revoked", "expired"):
            run_term(event.contract, self.license, facts, index=index, at=at)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        return _restore(self.license, facts, index, said=True)


TERM: Final = "license_term"
ALERTS: Final = (90, 30, 7)
"""Days before the end of a license at which the ledger says that it is coming."""


def term_key(contract: str, license_: str) -> str:
    """Of the duty that says when a license ends; it is the ledger's own."""
    return duty_key(contract, LEDGER_PARTY, TERM, license_)


def run_term(contract: str, number: str, facts: Facts, *, index: int, at: datetime) -> None:
    """Let the clock say when the license is about to end, and when it has."""
    license_ = facts.get(License, number)
    if license_ is None:
        return
    ends = license_.ends
    alerts = (later(ends, -timedelta(days=days), license_.zone) for days in ALERTS)
    steps = tuple(
        DutyStep(at=format_timestamp(instant), action="flag") for instant in (*alerts, ends) if instant >= at
    )
    facts.put(
        Duty(
            contract=contract,
            policy=LEDGER_PARTY,
            version=1,
            obligation=TERM,
            uses=TERM,
            subject=number,
            opened=index,
            due=format_timestamp(ends),
            steps=steps,
            next=steps[0].at if steps else format_timestamp(ends),
        )
    )


def _stop_term(contract: str, number: str, facts: Facts) -> None:
    duty = facts.get(Duty, term_key(contract, number))
    if duty is not None:
        facts.update(duty, state="met", next=None)


_AMENDABLE: Final = (
    "quantity", "valid_until", "conditions_sha256", "must_acknowledge", "consignees", "end_users",
    "forwarders",
)  # fmt: skip


def confirm(proposal: int | None, facts: Facts, *, index: int) -> None:
    """A person has done what the ledger had proposed."""
    proposed = None if proposal is None else facts.get(Proposed, str(proposal))
    if proposed is not None:
        facts.update(proposed, state="confirmed", answered=index)


def _reopen(proposal: int | None, facts: Facts, index: int) -> None:
    """What entry `index` had answered waits for an answer again."""
    proposed = None if proposal is None else facts.get(Proposed, str(proposal))
    if proposed is not None and proposed.answered == index:
        facts.update(proposed, state="open", answered=None)


def _remember(license_: License, facts: Facts, index: int) -> None:
    """Keep what entry `index` is about to change."""
    known = facts.get(LicenseChanges, license_.license) or LicenseChanges(license=license_.license)
    said = {field.name: getattr(license_, field.name) for field in fields(Once) if field.name != "index"}
    facts.update(known, before=(*known.before, Once(index=index, **said))[-CHANGES_KEPT:])


def _restore(number: str, facts: Facts, index: int, *, said: bool = False) -> str | None:
    """Put back how the license stood before entry `index`, or what it `said`; a code where that is built on.

    What was acknowledged since stays acknowledged, unless it was of conditions that are taken back.
    """
    license_, known = facts.get(License, number), facts.get(LicenseChanges, number)
    latest = known.before[-1] if known is not None and known.before else None
    # What has ended has ended: only a revocation of it is still taken back.
    ended = license_ is not None and license_.state == "expired"
    if license_ is None or known is None or latest is None or latest.index != index or ended:
        return "correction.dependents"
    facts.update(known, before=known.before[:-1])
    restored = replace(
        license_, state=latest.state, suspended_at=latest.suspended_at, revoked_at=latest.revoked_at
    )
    if said:
        names: tuple[str, ...] = (*_AMENDABLE, "value", "currency")
        if license_.conditions_sha256 != latest.conditions_sha256:
            names = (*names, "acknowledged", "acknowledgements")
        restored = replace(license_, **{name: getattr(latest, name) for name in names})
    if restored.state in ("granted", "active"):
        restored = replace(restored, state=_standing(restored))
    facts.put(restored)
    return None


class LicenseSuspended(Kind, kind="license.suspended"):
    """Stops new supply under a license. It does not end the duty to attest."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "reason": "end-use check refused"}

    license: Identifier
    reason: Text
    proposal: int | None = None
    """Index of the proposal that this confirms."""

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license
        yield LicenseChanges.name, self.license
        if self.proposal is not None:
            yield Proposed.name, str(self.proposal)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        if license_ is not None:
            _remember(license_, facts, index)
            facts.update(license_, state="suspended", suspended_at=at)
        confirm(self.proposal, facts, index=index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        code = _restore(self.license, facts, index)
        if code is None:
            _reopen(self.proposal, facts, index)
        return code


class LicenseReinstated(Kind, kind="license.reinstated"):
    """Ends a suspension: supply goes on as before it, once the conditions are acknowledged."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "reason": "end-use check completed"}

    license: Identifier
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license
        yield LicenseChanges.name, self.license

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        if license_ is not None:
            _remember(license_, facts, index)
            # A later stop must not be taken to have begun with this one.
            facts.update(license_, state=_standing(license_), suspended_at=None)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        return _restore(self.license, facts, index)


class LicenseExpiring(Own, kind="license.expiring"):
    """The end of a license is near: said 90, 30 and 7 days before it."""

    example: ClassVar[dict[str, Any]] = {
        "license": "D-100200", "ends_at": "2030-02-10T05:00:00.000000Z", "step": 1,
    }  # fmt: skip

    license: Identifier
    ends_at: Timestamp
    """The first instant at which it will not be valid."""
    step: Annotated[int, Field(ge=1)]

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Duty.name, term_key(event.contract, self.license)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        duty = facts.get(Duty, term_key(event.contract, self.license))
        if duty is not None:
            facts.update(duty, taken=self.step, next=duty.steps[self.step].at)


class LicenseExpired(Own, kind="license.expired"):
    """The last day of a license has ended: nothing more may be released under it."""

    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "ended_at": "2030-02-10T05:00:00.000000Z"}

    license: Identifier
    ended_at: Timestamp
    """The first instant at which it was no longer valid."""

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license
        yield Duty.name, term_key(event.contract, self.license)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        if license_ is not None and license_.state != "revoked":
            facts.update(license_, state="expired")
        _stop_term(event.contract, self.license, facts)


def _standing(license_: License) -> Literal["granted", "active"]:
    """The state of a license that is not stopped."""
    return "granted" if license_.unacknowledged else "active"


class LicenseRevoked(Kind, kind="license.revoked"):
    """Ends a license for good. The ledger records at once what it touches (`revocation.scoped`)."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    looks_up: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "reason": "diversion found"}

    license: Identifier
    reason: Text
    proposal: int | None = None
    """Index of the proposal that this confirms."""

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license
        yield LicenseChanges.name, self.license
        if self.proposal is not None:
            yield Proposed.name, str(self.proposal)
        yield Duty.name, term_key(event.contract, self.license)
        yield Under.name, self.license
        under = facts.peek(Under, self.license)
        for order in under.orders if under else ():
            yield Order.name, order
        for shipment in under.shipments if under else ():
            yield Shipment.name, shipment

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        if license_ is not None:
            _remember(license_, facts, index)
            facts.update(license_, state="revoked", revoked_at=at)
            _stop_term(event.contract, self.license, facts)
        confirm(self.proposal, facts, index=index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        code = _restore(self.license, facts, index)
        if code is None:
            _reopen(self.proposal, facts, index)
        return code


class ConditionsAcknowledged(Kind, kind="conditions.acknowledged"):
    """A party has received the license's conditions in writing and takes them on."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = EVERY_ROLE
    example: ClassVar[dict[str, Any]] = {
        "license": "D-100200",
        "conditions_sha256": "5e" * 32,
        "signatory": "J. Doe, general counsel",
    }

    license: Identifier
    conditions_sha256: Sha256
    signatory: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        party = event.actor.party
        if (
            license_ is None
            or self.conditions_sha256 != license_.conditions_sha256
            or party not in license_.must_acknowledge
            or party in license_.acknowledged
        ):
            return
        taken_on = replace(
            license_,
            acknowledged=(*license_.acknowledged, party),
            acknowledgements=(*license_.acknowledgements, index),
        )
        facts.put(replace(taken_on, state=_standing(taken_on)) if license_.state == "granted" else taken_on)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        license_ = facts.get(License, self.license)
        # One of another document, of whoever was not asked, or said again has changed nothing.
        if license_ is None or index not in license_.acknowledgements:
            return None
        given = zip(license_.acknowledged, license_.acknowledgements, strict=True)
        left = [(party, at) for party, at in given if at != index]
        taken_back = replace(
            license_,
            acknowledged=tuple(party for party, _ in left),
            acknowledgements=tuple(at for _, at in left),
        )
        facts.put(
            replace(taken_back, state=_standing(taken_back)) if license_.state == "active" else taken_back
        )
        return None
