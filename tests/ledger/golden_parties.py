"""The frozen bytes of the facts of parties, keys, screening and transfers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from ledger.facts import (
    Application,
    Declared,
    Fact,
    Holder,
    LicenseChanges,
    Observation,
    Observed,
    Once,
    OnDay,
    Ownership,
    Purchases,
    Screened,
    ScreenedList,
    Screening,
    Signatory,
    SigningKey,
    Statement,
    Statements,
    Transfer,
)

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)

GOLDEN: dict[str, tuple[Fact, str]] = {
    "application": (
        Application(
            contract="c", application="Z-1", exporter="acme", sku="s", quantity=10, index=2, applied_at=NOON,
            license="D-1",
        ),
        '{"contract":"c","application":"Z-1","exporter":"acme","sku":"s","quantity":10,"index":2,'
        '"applied_at":"2027-03-01T12:00:00Z","license":"D-1"}',
    ),
    "license_changes": (
        LicenseChanges(
            license="D-1",
            before=(
                Once(
                    index=5, state="active", suspended_at=None, revoked_at=None, quantity=10,
                    valid_until=date(2030, 2, 9), conditions_sha256="5e", must_acknowledge=("a",),
                    acknowledged=("a",), acknowledgements=(4,), value=Decimal("5.00"), currency="USD",
                    consignees=("b",), end_users=(), forwarders=(),
                ),
            ),
        ),
        '{"license":"D-1","before":[{"index":5,"state":"active","suspended_at":null,"revoked_at":null,'
        '"quantity":10,"valid_until":"2030-02-09","conditions_sha256":"5e","must_acknowledge":["a"],'
        '"acknowledged":["a"],"acknowledgements":[4],"value":"5.00","currency":"USD","consignees":["b"],'
        '"end_users":[],"forwarders":[]}]}',
    ),
    "signing_key": (
        SigningKey(
            contract="c", party="acme", fingerprint="5e", algorithm="ed25519", public_key="MCow", registered=3
        ),
        '{"contract":"c","party":"acme","fingerprint":"5e","algorithm":"ed25519","public_key":"MCow",'
        '"registered":3,"retired":null}',
    ),
    "signatory": (
        Signatory(contract="c", party="acme", keys=2), '{"contract":"c","party":"acme","keys":2}',
    ),
    "ownership": (
        Ownership(
            contract="c", party="a",
            declared=(
                Declared(
                    by="acme", index=4, dated=date(2027, 2, 20), headquarters="CN", parent=None,
                    parent_listed=False,
                    holders=(Holder(name="Jade", percent=Decimal("30.5"), country="SG", listed=True),),
                ),
            ),
        ),
        '{"contract":"c","party":"a","declared":[{"by":"acme","index":4,"dated":"2027-02-20",'
        '"headquarters":"CN","parent":null,"parent_listed":false,"holders":[{"name":"Jade",'
        '"percent":"30.5","country":"SG","listed":true}]}]}',
    ),
    "statements": (
        Statements(
            contract="c", party="a",
            statements=(Statement(statement="E-1", index=5, expires=date(2028, 2, 19), sha256="7a"),),
        ),
        '{"contract":"c","party":"a","statements":[{"statement":"E-1","index":5,"expires":"2028-02-19",'
        '"sha256":"7a"}]}',
    ),
    "screening": (
        Screening(
            contract="c", party="a",
            results=(
                Screened(
                    index=6, by="acme", verdict="clear", score=790, expires=None,
                    lists=(ScreenedList(list="US-CSL", retrieved_at=NOON),),
                ),
            ),
        ),
        '{"contract":"c","party":"a","results":[{"index":6,"by":"acme","verdict":"clear","score":790,'
        '"lists":[{"list":"US-CSL","retrieved_at":"2027-03-01T12:00:00Z"}],"expires":null}]}',
    ),
    "observation": (
        Observation(
            contract="c", party="acme", about="price",
            values=(
                Observed(index=7, value="24000.00", unit="USD", dated=date(2027, 2, 28), source="press"),
            ),
        ),
        '{"contract":"c","party":"acme","about":"price","values":[{"index":7,"value":"24000.00",'
        '"unit":"USD","dated":"2027-02-28","source":"press"}]}',
    ),
    "purchases": (
        Purchases(
            contract="c", end_user="a",
            days=(OnDay(day=date(2027, 3, 1), amount=Decimal("27000.00"), currency="USD"),),
        ),
        '{"contract":"c","end_user":"a","days":[{"day":"2027-03-01","amount":"27000.00","currency":"USD"}]}',
    ),
    "transfer": (
        Transfer(
            contract="c", transfer="TR-1", license="D-1", serials=("A", "B"), giver="a", receiver="b",
            site="S-2", country="CN", requested=8, transferred=("A",), state="part_transferred",
        ),
        '{"contract":"c","transfer":"TR-1","license":"D-1","serials":["A","B"],"giver":"a","receiver":"b",'
        '"site":"S-2","country":"CN","state":"part_transferred","requested":8,"transferred":["A"]}',
    ),
}  # fmt: skip
