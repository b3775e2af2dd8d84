"""The frozen bytes of the facts of trade, money and supply."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from ledger.facts import (
    Amendments,
    Baseline,
    Before,
    Capacity,
    Certification,
    Counted,
    Exports,
    Fact,
    Filed,
    Filing,
    ImportApproval,
    Imports,
    InMonth,
    Invoice,
    InvoicedOn,
    MonthOfTrade,
    Movement,
    Movements,
    Releases,
    Revenue,
    RevenueAccount,
    Sum,
    Supply,
    ToCountry,
    Was,
)

GOLDEN: dict[str, tuple[Fact, str]] = {
    "movements": (
        Movements(
            contract="c", shipment="SH-1",
            movements=(
                Movement(
                    index=9, state="cancelled", dispatched=1, received=0, damaged=0, counted=2,
                    missing=("A",), retaken=("B",), devices=(Was(serial="C", state="lost", site="SHA-1"),),
                ),
            ),
        ),
        '{"contract":"c","shipment":"SH-1","movements":[{"index":9,"state":"cancelled","dispatched":1,'
        '"received":0,"damaged":0,"counted":2,"missing":["A"],"retaken":["B"],'
        '"devices":[{"serial":"C","state":"lost","site":"SHA-1"}]}]}',
    ),
    "amendments": (
        Amendments(
            contract="c", order="PO-1",
            before=(Before(index=9, units=10, unit_value=Decimal("27000.00"), consignee="a"),),
        ),
        '{"contract":"c","order":"PO-1","before":[{"index":9,"units":10,"unit_value":"27000.00",'
        '"consignee":"a"}]}',
    ),
    "releases": (
        Releases(
            contract="c", license="D-1", values=(Sum(amount=Decimal("54000.00"), currency="USD"),),
            months=(InMonth(month="2027-03", units=2),),
        ),
        '{"contract":"c","license":"D-1","values":[{"amount":"54000.00","currency":"USD"}],'
        '"months":[{"month":"2027-03","units":2}]}',
    ),
    "invoice": (
        Invoice(
            contract="c", invoice="INV-1", order="PO-1", shipment=None, amount=Decimal("27000.00"),
            currency="USD", due=date(2027, 4, 30), issued_on=date(2027, 3, 1), index=4,
            paid_at=datetime(2027, 3, 1, 12, tzinfo=UTC),
        ),
        '{"contract":"c","invoice":"INV-1","order":"PO-1","shipment":null,"amount":"27000.00",'
        '"currency":"USD","due":"2027-04-30","issued_on":"2027-03-01","index":4,"void":false,"paid":"0",'
        '"paid_at":"2027-03-01T12:00:00Z"}',
    ),
    "revenue": (
        RevenueAccount(
            contract="c",
            currencies=(
                Revenue(
                    currency="USD",
                    days=(InvoicedOn(day=date(2027, 3, 1), amount=Decimal("27000.00")),),
                ),
            ),
        ),
        '{"contract":"c","currencies":[{"currency":"USD","before":"0","kept_from":null,"days":[{"day":"2027-03-01",'
        '"amount":"27000.00"}],"shared":"0"}]}',
    ),
    "exports": (
        Exports(exporter="acme", sku="s", countries=(ToCountry(country="CN", units=2),)),
        '{"exporter":"acme","sku":"s","countries":[{"country":"CN","units":2}]}',
    ),
    "supply": (
        Supply(
            exporter="acme", sku="s",
            baselines=(
                Baseline(index=3, units=8, tpp=None, begins=date(2026, 1, 1), ends=date(2026, 12, 31)),
            ),
            certifications=(Certification(index=4, dated=date(2027, 1, 20), certifications=("a",)),),
        ),
        '{"exporter":"acme","sku":"s","baselines":[{"index":3,"units":8,"tpp":null,"begins":"2026-01-01",'
        '"ends":"2026-12-31"}],"certifications":[{"index":4,"dated":"2027-01-20","certifications":["a"]}]}',
    ),
    "capacity": (
        Capacity(contract="c", site="SHA-1", units=2, tpp=4736),
        '{"contract":"c","site":"SHA-1","units":2,"tpp":4736}',
    ),
    "filing": (
        Filing(
            contract="c", shipment="SH-1",
            filings=(
                Filed(
                    index=5, itn="X20270301000001", license="D-1", eccn="3A090.a", quantity=2,
                    value=Decimal("54000.00"), currency="USD",
                ),
            ),
        ),
        '{"contract":"c","shipment":"SH-1","filings":[{"index":5,"itn":"X20270301000001","license":"D-1","eccn":"3A090.a",'
        '"quantity":2,"value":"54000.00","currency":"USD"}]}',
    ),
    "import_approval": (
        ImportApproval(
            contract="c", approval="IMP-1", sku="s", country="CN", quota=40, excluded=("military",),
            valid_from=date(2027, 1, 1), valid_until=date(2027, 12, 31), index=6, released=2,
        ),
        '{"contract":"c","approval":"IMP-1","sku":"s","country":"CN","quota":40,"excluded":["military"],'
        '"valid_from":"2027-01-01","valid_until":"2027-12-31","index":6,"withdrawn":false,"released":2,'
        '"cleared":0}',
    ),
    "imports": (
        Imports(contract="c", months=(MonthOfTrade(month="2027-03", imported=2),)),
        '{"contract":"c","months":[{"month":"2027-03","imported":2,"domestic":0,"domestic_tpp":0}]}',
    ),
    "counted": (
        Counted(contract="c", party="acme", id="i", index=7, month="2027-03"),
        '{"contract":"c","party":"acme","id":"i","index":7,"month":"2027-03"}',
    ),
}  # fmt: skip
