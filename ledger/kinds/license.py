"""Licenses: what an authority permits, and takes back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import Contract, Facts, Key, License, Order, Shipment, Under
from ledger.values import EVERY_ROLE, Any_, Date, Identifier, PartyId, Sha256, Text, Units


def _near(day: date) -> date:
    # The midnight that ends it, in UTC, must be of the calendar too.
    if not date(1900, 1, 1) <= day <= date(9000, 1, 1):
        raise ValueError(f"{day} is too far away")
    return day


Day = Annotated[Date, AfterValidator(_near)]


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

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.valid_until < self.valid_from:
            raise ValueError(
                f"valid_until is {self.valid_until}, must not be before valid_from {self.valid_from}"
            )
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
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
                must_acknowledge=self.must_acknowledge,
            )
        )


class LicenseSuspended(Kind, kind="license.suspended"):
    """Stops new supply under a license. It does not end the duty to attest."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "reason": "end-use check refused"}

    license: Identifier
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        if license_ is not None:
            facts.update(license_, state="suspended", suspended_at=at)


class LicenseRevoked(Kind, kind="license.revoked"):
    """Ends a license for good. The ledger records at once what it touches (`revocation.scoped`)."""

    nature: ClassVar[Nature] = "request"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = frozenset({"authority"})
    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "reason": "diversion found"}

    license: Identifier
    reason: Text

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield License.name, self.license
        yield Under.name, self.license
        under = facts.peek(Under, self.license)
        for order in under.orders if under else ():
            yield Order.name, order
        for shipment in under.shipments if under else ():
            yield Shipment.name, shipment

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        license_ = facts.get(License, self.license)
        if license_ is not None:
            facts.update(license_, state="revoked", revoked_at=at)


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
        acknowledged = (*license_.acknowledged, party)
        complete = set(acknowledged) == set(license_.must_acknowledge)
        state = "active" if license_.state == "granted" and complete else license_.state
        facts.update(license_, acknowledged=acknowledged, state=state)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        license_ = facts.get(License, self.license)
        # What acknowledged another document has changed nothing.
        if license_ is None or self.conditions_sha256 != license_.conditions_sha256:
            return None
        left = tuple(p for p in license_.acknowledged if p != event.actor.party)
        # Nor has what a party acknowledged that was not asked to.
        complete = set(left) == set(license_.must_acknowledge)
        state = "granted" if license_.state == "active" and not complete else license_.state
        facts.update(license_, acknowledged=left, state=state)
        return None
