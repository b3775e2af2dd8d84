"""At the border: what the exporter files, what the importing side approves, what customs clear."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import (
    Contract,
    Counted,
    Facts,
    Filed,
    Filing,
    ImportApproval,
    Imports,
    Key,
    Order,
    Shipment,
)
from ledger.facts.calendar import month_at
from ledger.facts.customs import FILINGS_KEPT
from ledger.kinds.supply import count, counted_key
from ledger.values import Any_, Country, Date, Identifier, Money, Text, Units


class ExportFiled(Kind, kind="export.filed"):
    """The exporter has filed a shipment with its own customs; a later filing amends it.

    The filing system decrements the value of a license, and not its quantity.
    """

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "forwarder"})
    example: ClassVar[dict[str, Any]] = {
        "shipment": "SH-1",
        "itn": "X20270301000001",
        "hts": "8471.80.4000",
        "license_code": "C30",
        "license": "D-100200",
        "eccn": "3A090.a",
        "quantity": 1000,
        "value": {"amount": "27000000.00", "currency": "USD"},
    }

    shipment: Identifier
    itn: Annotated[str, Field(pattern=r"^X[0-9]{14}$")]
    """Internal transaction number of the filing system (15 CFR 30)."""
    hts: Annotated[str, Field(pattern=r"^[0-9]{4}(\.[0-9]{2}(\.[0-9]{4})?)?$")]
    license_code: Annotated[str, Field(pattern=r"^[A-Z][0-9]{2}$")]
    license: Identifier
    eccn: Annotated[str, Field(pattern=r"^[0-9][A-E][0-9]{3}(\.[a-z](\.[0-9]{1,2})?)?$")]
    quantity: Units
    value: Money

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Shipment.name, f"{event.contract}/{self.shipment}"
        yield Filing.name, f"{event.contract}/{self.shipment}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        filing = facts.get(Filing, f"{event.contract}/{self.shipment}") or Filing(
            contract=event.contract, shipment=self.shipment
        )
        filed = Filed(
            index=index,
            itn=self.itn,
            license=self.license,
            eccn=self.eccn,
            quantity=self.quantity,
            value=self.value.amount,
            currency=self.value.currency,
        )
        facts.update(filing, filings=(*filing.filings, filed)[-FILINGS_KEPT:])

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        filing = facts.get(Filing, f"{event.contract}/{self.shipment}")
        if filing is not None:
            facts.update(filing, filings=tuple(f for f in filing.filings if f.index != index))
        return None


class ImportApproved(Kind, kind="import.approved"):
    """The importing side permits so many units, to whom it does not exclude, between two days."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"authority", "buyer", "consignee", "end_user"})
    example: ClassVar[dict[str, Any]] = {
        "approval": "IMP-2027-17",
        "sku": "H200-SXM",
        "country": "CN",
        "quota": 40000,
        "excluded": ["military", "sensitive_agency", "critical_infrastructure", "state_owned"],
        "valid_from": "2027-01-01",
        "valid_until": "2027-12-31",
    }

    approval: Identifier
    sku: Identifier
    country: Country
    quota: Units
    excluded: Any_[Identifier] = ()
    """Classes of end user that it does not cover."""
    valid_from: Date
    valid_until: Date
    """The last day; it ends at 24:00 in the contract's zone."""

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.valid_until < self.valid_from:
            raise ValueError(
                f"valid_until is {self.valid_until}, must not be before valid_from {self.valid_from}"
            )
        return self

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield ImportApproval.name, f"{event.contract}/{self.approval}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if facts.get(ImportApproval, f"{event.contract}/{self.approval}") is not None:
            return  # flagged: a number is used once
        facts.put(
            ImportApproval(
                contract=event.contract,
                approval=self.approval,
                sku=self.sku,
                country=self.country,
                quota=self.quota,
                excluded=self.excluded,
                valid_from=self.valid_from,
                valid_until=self.valid_until,
                index=index,
            )
        )

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        approval = facts.get(ImportApproval, f"{event.contract}/{self.approval}")
        if approval is None or approval.index != index:
            return None
        if approval.released or approval.cleared:
            return "correction.dependents"
        facts.update(approval, withdrawn=True)
        return None


class CustomsCleared(Kind, kind="customs.cleared"):
    """Customs of the importing side have let goods of a shipment in."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"authority", "buyer", "consignee", "forwarder"})
    example: ClassVar[dict[str, Any]] = {
        "shipment": "SH-1",
        "approval": "IMP-2027-17",
        "quantity": 1000,
        "country": "CN",
        "reference": "CN-2202-2027-000017",
    }

    shipment: Identifier
    approval: Identifier | None = None
    """Where the importing side asks for one."""
    quantity: Units
    country: Country
    reference: Text | None = None

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        key = f"{event.contract}/{self.shipment}"
        yield Shipment.name, key
        shipment = facts.peek(Shipment, key)
        if shipment is not None:
            yield Order.name, f"{event.contract}/{shipment.order}"
        if (approval := self.under(shipment)) is not None:
            yield ImportApproval.name, f"{event.contract}/{approval}"
        yield Imports.name, event.contract
        yield Counted.name, counted_key(event)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        contract = facts.get(Contract, event.contract)
        month = month_at(at, contract.zone if contract else "UTC")
        count(event, facts, month=month, index=index)
        self._clear(event, facts, month, self.quantity, index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        counted = facts.get(Counted, counted_key(event))
        if counted is not None:
            self._clear(event, facts, counted.month, -self.quantity, index)
        return None

    def _clear(self, event: Event, facts: Facts, month: str, units: int, index: int) -> None:
        imports = facts.get(Imports, event.contract) or Imports(contract=event.contract)
        facts.update(imports, months=imports.with_month(month, imported=units))
        shipment = facts.get(Shipment, f"{event.contract}/{self.shipment}")
        # What was said before the release, or before the approval, is counted to neither.
        if shipment is not None and shipment.released > index:
            shipment = None
        if shipment is not None:
            facts.update(shipment, cleared=shipment.cleared + units)
        if (number := self.under(shipment)) is not None:
            approval = facts.get(ImportApproval, f"{event.contract}/{number}")
            if approval is not None and approval.index < index:
                facts.update(approval, cleared=approval.cleared + units)

    def under(self, shipment: Shipment | None) -> str | None:
        """The approval to import that it draws on: of the release, where it names none itself."""
        return self.approval or (None if shipment is None else shipment.approval)
