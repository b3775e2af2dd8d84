"""Invoices, and what is paid on them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from ledger.event import Event, Kind, Nature
from ledger.facts import Contract, Facts, Invoice, Key, Order, RevenueAccount
from ledger.values import Date, Identifier, Money, day_of


class InvoiceIssued(Kind, kind="invoice.issued"):
    """Goods of an order have been invoiced."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter"})
    example: ClassVar[dict[str, Any]] = {
        "invoice": "INV-2027-001",
        "order": "PO-4711",
        "shipment": "SH-1",
        "amount": {"amount": "27000000.00", "currency": "USD"},
        "due": "2027-04-30",
    }

    invoice: Identifier
    order: Identifier
    shipment: Identifier | None = None
    """Where it is for one shipment."""
    amount: Money
    due: Date
    """The last day to pay; it ends at 24:00 in the contract's zone."""

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Order.name, f"{event.contract}/{self.order}"
        yield Invoice.name, f"{event.contract}/{self.invoice}"
        yield RevenueAccount.name, event.contract

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if facts.get(Invoice, f"{event.contract}/{self.invoice}") is not None:
            return  # flagged: a number is used once
        contract = facts.get(Contract, event.contract)
        invoice = Invoice(
            contract=event.contract,
            invoice=self.invoice,
            order=self.order,
            shipment=self.shipment,
            amount=self.amount.amount,
            currency=self.amount.currency,
            due=self.due,
            # Not as claimed: an invoice that is dated on would put off the share that is due on it.
            issued_on=day_of(at, contract.zone if contract else "UTC"),
            index=index,
        )
        facts.put(invoice)
        _invoiced(invoice, facts, invoice.amount)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        invoice = facts.get(Invoice, f"{event.contract}/{self.invoice}")
        if invoice is None or invoice.index != index:
            return None
        if invoice.paid:
            return "correction.dependents"
        facts.update(invoice, void=True)
        _invoiced(invoice, facts, -invoice.amount)
        return None


class PaymentReceived(Kind, kind="payment.received"):
    """Money has come in: for the goods of an order, or as somebody's share of what was invoiced."""

    nature: ClassVar[Nature] = "fact"
    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "authority"})
    example: ClassVar[dict[str, Any]] = {
        "order": "PO-4711",
        "amount": {"amount": "27000000.00", "currency": "USD"},
        "purpose": "prepayment",
        "reference": "SWIFT-20270301-77",
    }

    order: Identifier
    invoice: Identifier | None = None
    amount: Money
    purpose: Literal["prepayment", "balance", "revenue_share"]
    """`revenue_share`: paid on by the exporter; the others are paid to it."""
    reference: Identifier

    @property
    def for_goods(self) -> bool:
        return self.purpose != "revenue_share"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Order.name, f"{event.contract}/{self.order}"
        yield RevenueAccount.name, event.contract
        if self.invoice is not None:
            yield Invoice.name, f"{event.contract}/{self.invoice}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        self._pay(event, facts, self.amount.amount, index=index, at=at)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        self._pay(event, facts, -self.amount.amount, index=index, at=None)
        return None

    def _pay(self, event: Event, facts: Facts, amount: Decimal, *, index: int, at: datetime | None) -> None:
        """Count what entry `index` paid; again with the amount negative, to take it back."""
        currency = self.amount.currency
        if not self.for_goods:
            account = facts.get(RevenueAccount, event.contract) or RevenueAccount(contract=event.contract)
            revenue = account.of(currency).shared_on(amount)
            facts.update(account, currencies=account.with_revenue(revenue))
            return
        order = facts.get(Order, f"{event.contract}/{self.order}")
        # An amount in another currency pays nothing: the ledger knows no rate of exchange. Nor does
        # what was paid before the order was placed.
        if order is not None and order.currency == currency and order.placed < index:
            facts.update(order, paid=order.paid + amount)
        invoice = self._invoice(event, facts)
        if invoice is not None and invoice.index < index:
            paid = invoice.paid + amount
            whole = paid >= invoice.amount
            facts.update(invoice, paid=paid, paid_at=(invoice.paid_at or at) if whole else None)

    def _invoice(self, event: Event, facts: Facts) -> Invoice | None:
        """The invoice that it pays."""
        if self.invoice is None:
            return None
        invoice = facts.get(Invoice, f"{event.contract}/{self.invoice}")
        if invoice is None or invoice.order != self.order or invoice.currency != self.amount.currency:
            return None
        return invoice


def _invoiced(invoice: Invoice, facts: Facts, amount: Decimal) -> None:
    account = facts.get(RevenueAccount, invoice.contract) or RevenueAccount(contract=invoice.contract)
    revenue = account.of(invoice.currency).invoiced(invoice.issued_on, amount)
    facts.update(account, currencies=account.with_revenue(revenue))
