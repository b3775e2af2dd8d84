"""Payments: of an order that is known, on an invoice that is known, under a number used once."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import Invoice
from ledger.kinds.payment import InvoiceIssued, PaymentReceived
from policies.conditions import Case
from policies.rules.rule import broken, rule


@rule(
    "invoice.issued",
    sentences={
        "invoice_new.exists": "the invoice number is taken: it is invoiced once",
    },
)
def invoice_new(case: Case, data: InvoiceIssued) -> Iterator[Finding]:
    if case.facts.get(Invoice, f"{case.event.contract}/{data.invoice}") is not None:
        yield broken(case, "invoice_new.exists")


@rule(
    "payment.received",
    sentences={
        "invoice_known.unknown": "the invoice is not one of this contract",
        "invoice_known.void": "the invoice was declared in error",
        "invoice_known.order": "the invoice is of order {limit}, paid for {observed}: it pays nothing of it",
        "invoice_known.currency": "paid in {observed}, the invoice is in {limit}: it pays nothing of it",
    },
)
def invoice_known(case: Case, data: PaymentReceived) -> Iterator[Finding]:
    if data.invoice is None:
        return
    invoice = case.facts.get(Invoice, f"{case.event.contract}/{data.invoice}")
    if invoice is None:
        yield broken(case, "invoice_known.unknown")
        return
    if invoice.void:
        yield broken(case, "invoice_known.void")
    if invoice.order != data.order:
        yield broken(case, "invoice_known.order", observed=data.order, limit=invoice.order)
    if invoice.currency != data.amount.currency:
        yield broken(case, "invoice_known.currency", observed=data.amount.currency, limit=invoice.currency)
