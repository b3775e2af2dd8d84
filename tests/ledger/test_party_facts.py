"""Parties, licenses, keys, screening and transfers as facts: what each event changes, what is taken back."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedEvent
from ledger.event import parse_event
from ledger.facts import (
    Application,
    Correction,
    Device,
    License,
    Observation,
    Purchases,
    Screening,
    Statements,
    Transfer,
)
from ledger.facts.screening import (
    OBSERVATIONS_KEPT,
    PURCHASE_DAYS_KEPT,
    SCREENINGS_KEPT,
    STATEMENTS_ON_FILE,
)
from ledger.fold import Entailed, fold, own_submission
from ledger.kinds.license import LicenseExpired
from tests.policies.at_work import attest, installed
from tests.workbench import (
    BUYER,
    CONTRACT,
    EXPORTER,
    LICENSE,
    PARTIES,
    Workbench,
    activation,
    codes,
    condition,
    policy,
    serials,
    usd,
    wire,
)

CHIPS = serials(2)
ONLY: dict[str, Any] = {"quantity": None, "valid_until": None, "conditions_sha256": None}
"""Of the example of an amendment of a license."""


@pytest.fixture
def bench() -> Workbench:
    """A contract under a policy that asks for hardly anything."""
    return Workbench().open(text=policy())


def license_of(bench: Workbench) -> License:
    return bench.fact(License, LICENSE)


def transfer_of(bench: Workbench) -> Transfer:
    return bench.fact(Transfer, f"{CONTRACT}/TR-1")


def every(bench: Workbench) -> dict[tuple[str, str], str]:
    """All facts as they would be stored, but for what a correction itself leaves."""
    changed = bench.facts.changed.items()
    return {key: fact.encode().decode() for key, fact in changed if key[0] != Correction.name}


def corrects(bench: Workbench, *, by: tuple[str, str], index: int = -1) -> list[str | None]:
    """Declare an entry in error, the latest by default; the codes, where that is refused."""
    index %= len(bench.log)
    said: dict[str, Any] = {"index": index, "id": bench.log[index][0].id}
    return codes(bench.say("event.declared_in_error", by=by, **said))


AS_EXPORTER, AS_BUYER = (EXPORTER, "exporter"), (BUYER, "end_user")

# --- licenses -------------------------------------------------------------------------------------


def test_an_application_knows_its_answer() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", parties=PARTIES)
    bench.accepted("license.applied", at="2027-01-04T12:00:00Z")
    applied = bench.fact(Application, f"{CONTRACT}/Z-900100")
    assert (applied.license, applied.quantity, applied.exporter) == (None, 10_000, EXPORTER)
    bench.accepted("license.granted", application="Z-900100", at="2027-02-10T12:00:00Z")
    answered = bench.fact(Application, f"{CONTRACT}/Z-900100")
    assert (answered.license, answered.applied_at) == (LICENSE, datetime(2027, 1, 4, 12, tzinfo=UTC))
    assert license_of(bench).application == "Z-900100"


def test_new_conditions_are_acknowledged_anew(bench: Workbench) -> None:
    digest = "6f" * 32
    bench.accepted("license.amended", **{**ONLY, "conditions_sha256": digest})
    assert (license_of(bench).state, license_of(bench).acknowledged) == ("granted", ())
    bench.accepted("conditions.acknowledged", conditions_sha256=digest)
    assert license_of(bench).unacknowledged == (BUYER,)
    bench.accepted("conditions.acknowledged", by=(BUYER, "consignee"), conditions_sha256=digest)
    assert license_of(bench).state == "active"


def test_the_same_conditions_stay_acknowledged(bench: Workbench) -> None:
    before = license_of(bench)
    bench.accepted("license.amended", conditions_sha256=before.conditions_sha256, quantity=20_000)
    after = license_of(bench)
    assert (after.state, after.acknowledged, after.quantity) == ("active", before.acknowledged, 20_000)


def test_another_party_that_must_acknowledge_makes_a_license_wait(bench: Workbench) -> None:
    bench.accepted("license.amended", **ONLY, must_acknowledge=[EXPORTER, BUYER, "swift-freight"])
    assert (license_of(bench).state, license_of(bench).unacknowledged) == ("granted", ("swift-freight",))
    bench.accepted("license.amended", **ONLY, must_acknowledge=[EXPORTER])
    assert license_of(bench).state == "active"


def test_an_amendment_moves_what_it_names_and_nothing_else(bench: Workbench) -> None:
    before = license_of(bench)
    value = {"amount": "300000000.00", "currency": "USD"}
    bench.accepted("license.amended", **ONLY, value=value, forwarders=["swift-freight"])
    after = license_of(bench)
    assert (after.value, after.currency) == (Decimal("300000000.00"), "USD")
    assert after.forwarders == ("swift-freight",)
    assert (after.quantity, after.valid_until, after.state) == (
        before.quantity, before.valid_until, before.state,
    )  # fmt: skip


def test_more_units_reopen_an_exhausted_license(bench: Workbench) -> None:
    bench.accepted("license.amended", **{**ONLY, "quantity": 2})
    assert not license_of(bench).exhausted
    bench.order(2)
    bench.release(CHIPS)
    assert license_of(bench).exhausted
    bench.accepted("license.amended", **{**ONLY, "quantity": 3})
    assert not license_of(bench).exhausted


def test_fewer_units_than_are_released_are_the_authoritys_word() -> None:
    bench = Workbench().open(text=None)
    from_license = {
        "id": "cap", "uses": "quantity_cap", "at": ["shipment.requested"], "action": "deny",
        "clause": "a test", "limit": {"from": "license.quantity"},
    }  # fmt: skip
    bench.accepted("policy.activated", **activation(policy(from_license)))
    bench.order(3)
    bench.release(CHIPS)
    bench.accepted("license.amended", **{**ONLY, "quantity": 1})
    decision = bench.ask("shipment.requested", shipment="SH-2", serials=serials(1, first=3))
    [found] = decision.failed
    assert (found.code, found.observed, found.limit, found.headroom) == ("quantity_cap.over", 3, 1, -1)


def test_an_amendment_does_not_lift_a_suspension(bench: Workbench) -> None:
    bench.accepted("license.suspended")
    bench.accepted("license.amended")
    assert license_of(bench).state == "suspended"
    bench.accepted("license.reinstated")
    assert (license_of(bench).state, license_of(bench).suspended_at) == ("granted", None)


def test_a_reinstated_license_is_what_it_was(bench: Workbench) -> None:
    before = every(bench)
    bench.accepted("license.suspended")
    bench.accepted("license.reinstated")
    after = every(bench)
    changed = {key for key in after if before.get(key) != after[key]}
    assert changed <= {("chain", CONTRACT), ("license_changes", LICENSE)}


def test_an_expiry_keeps_when_a_suspension_began_and_spares_what_is_revoked(bench: Workbench) -> None:
    bench.accepted("license.suspended", at="2027-05-01T00:00:00Z")
    _expire(bench)
    assert (license_of(bench).state, license_of(bench).suspended_at) == (
        "expired", datetime(2027, 5, 1, tzinfo=UTC),
    )  # fmt: skip
    bench.accepted("license.revoked")
    _expire(bench)
    assert license_of(bench).state == "revoked"


def _expire(bench: Workbench) -> None:
    said = Entailed(CONTRACT, LicenseExpired, LicenseExpired.example)
    event = own_submission(said, origin="workbench", index=99, at=bench.now()).event
    bench.load(event)
    fold(event, bench.facts, index=99, at=bench.now())


# --- keys -----------------------------------------------------------------------------------------


def spelled(key: Any, encoding: Encoding = Encoding.DER) -> str:
    der = key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


COMPRESSED = "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgAC"


@pytest.mark.parametrize(
    ("algorithm", "public_key", "words"),
    [
        ("ed25519", spelled(ec.generate_private_key(ec.SECP256R1())), "no key of ed25519"),
        ("ecdsa-p256", spelled(ed25519.Ed25519PrivateKey.generate()), "no key of ecdsa-p256"),
        ("ecdsa-p256", spelled(ec.generate_private_key(ec.SECP384R1())), "no key of ecdsa-p256"),
        ("ed25519", spelled(rsa.generate_private_key(65537, 1024)), "at most 400 characters|no key of"),
        ("ed25519", "AAAA", "no SubjectPublicKeyInfo"),
        ("ed25519", "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbh=", "one spelling|no Subj"),
        ("ed25519", "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg", "no SubjectPublicKeyInfo"),
    ],
)
def test_what_is_not_exactly_a_key_is_refused(algorithm: str, public_key: str, words: str) -> None:
    with pytest.raises(MalformedEvent, match=words):
        parse_event(wire("key.registered", algorithm=algorithm, public_key=public_key))


def test_a_key_has_one_spelling() -> None:
    """A compressed point, a trailing byte and a line break name the same key and another fingerprint."""
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    compressed = base64.b64encode(base64.b64decode(COMPRESSED)[:-1] + point).decode()
    der = base64.b64decode(spelled(private))
    for other in (compressed, base64.b64encode(der + b"\0").decode()):
        with pytest.raises(MalformedEvent, match=r"one spelling|no SubjectPublicKeyInfo"):
            parse_event(wire("key.registered", algorithm="ecdsa-p256", public_key=other))
    parse_event(wire("key.registered", algorithm="ecdsa-p256", public_key=spelled(private)))


@given(st.binary(max_size=120))
def test_arbitrary_bytes_are_no_key(raw: bytes) -> None:
    with pytest.raises(MalformedEvent):
        parse_event(wire("key.registered", public_key=base64.b64encode(raw).decode()))


# --- screening ------------------------------------------------------------------------------------


def test_what_is_kept_of_a_party_is_bounded(bench: Workbench) -> None:
    for number in range(12):
        bench.accepted("statement.filed", statement=f"EUS-{number}")
        bench.accepted("screening.recorded")
        bench.accepted("observation.imported", value=str(number))
    statements = bench.fact(Statements, f"{CONTRACT}/{BUYER}").statements
    assert [s.statement for s in statements] == [f"EUS-{n}" for n in range(12)][-STATEMENTS_ON_FILE:]
    assert len(bench.fact(Screening, f"{CONTRACT}/{BUYER}").results) == SCREENINGS_KEPT
    values = bench.fact(Observation, f"{CONTRACT}/{EXPORTER}/reference-price.H200-SXM").values
    assert [v.value for v in values] == [str(n) for n in range(12)][-OBSERVATIONS_KEPT:]


def test_an_observation_is_of_whoever_imports_it(bench: Workbench) -> None:
    bench.accepted("observation.imported", value="1")
    bench.accepted("observation.imported", by=AS_BUYER, value="2")
    [ours] = bench.fact(Observation, f"{CONTRACT}/{EXPORTER}/reference-price.H200-SXM").values
    assert (ours.value, ours.unit, ours.dated) == ("1", "USD", date(2027, 2, 28))
    assert corrects(bench, by=AS_BUYER) == []
    assert bench.fact(Observation, f"{CONTRACT}/{BUYER}/reference-price.H200-SXM").values == ()


@pytest.mark.parametrize("kind", ["ownership.declared", "screening.recorded", "observation.imported"])
def test_what_was_said_of_a_party_is_taken_back(bench: Workbench, kind: str) -> None:
    bench.accepted(kind)
    before = every(bench)
    bench.accepted(kind, **({"by": (BUYER, "end_user")} if kind == "ownership.declared" else {}))
    by = AS_BUYER if kind == "ownership.declared" else AS_EXPORTER
    assert every(bench) != before
    assert corrects(bench, by=by) == []
    after = every(bench)
    assert {key for key in after if before.get(key) != after[key]} <= {("chain", CONTRACT)}


CANDIDATE = {"list": "US-CSL", "entry": "E", "name": "N", "score": 1}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"verdict": "false_positive"}, "names the reviewer"),
        (
            {"candidates": [{"list": "X", "entry": "E", "name": "N", "score": 1}]},
            "list X, which was not used",
        ),
        (
            {"candidates": [{"list": "US-CSL", "entry": "E", "name": "N", "score": 1_001}]},
            "less than or equal",
        ),
        ({"lists": []}, "at least 1 item"),
    ],
)
def test_a_screening_is_whole(said: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedEvent, match=words):
        parse_event(wire("screening.recorded", **said))


@pytest.mark.parametrize("percent", ["100.000001", "-1", "1e1", 55])
def test_a_percentage_is_one(percent: object) -> None:
    holders = [{"name": "H", "country": "CN", "percent": percent}]
    with pytest.raises(MalformedEvent):
        parse_event(wire("ownership.declared", holders=holders))


# --- purchases ------------------------------------------------------------------------------------


def bought(bench: Workbench) -> list[tuple[str, str]]:
    days = bench.fact(Purchases, f"{CONTRACT}/{BUYER}").days
    return [(one.day.isoformat(), f"{one.amount:f}") for one in days]


def test_orders_count_on_the_day_they_are_placed_in_the_contracts_zone(bench: Workbench) -> None:
    bench.accepted("order.placed", order="PO-1", units=2, at="2027-03-02T04:59:59Z")
    bench.accepted("order.placed", order="PO-2", units=1, at="2027-03-02T05:00:00Z")
    assert bought(bench) == [("2027-03-01", "54000.00"), ("2027-03-02", "27000.00")]


def test_an_amendment_moves_the_day_of_its_order_and_a_correction_moves_it_back(bench: Workbench) -> None:
    bench.accepted("order.placed", order="PO-1", units=2)
    at = "2027-03-20T12:00:00Z"
    bench.accepted("order.amended", order="PO-1", units=3, unit_value=usd("26000.00"), at=at)
    assert bought(bench) == [("2027-03-01", "78000.00")]
    assert corrects(bench, by=(BUYER, "buyer")) == []
    assert bought(bench) == [("2027-03-01", "54000.00")]


def test_a_cancelled_order_leaves_what_it_released(bench: Workbench) -> None:
    bench.accepted("order.placed", units=5)
    bench.release(CHIPS)
    bench.accepted("order.cancelled")
    assert bought(bench) == [("2027-03-01", "54000.00")]


def test_an_order_that_was_an_error_was_never_placed(bench: Workbench) -> None:
    bench.accepted("order.placed", units=5)
    assert corrects(bench, by=(BUYER, "buyer")) == []
    assert bought(bench) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(-(10**12), 10**12), st.sampled_from(["USD", "CNY"])),
        max_size=30,
    )
)
def test_purchases_are_sorted_bounded_and_positive(changes: list[tuple[int, int, str]]) -> None:
    purchases = Purchases(contract="c", end_user="e")
    for offset, amount, currency in changes:
        day = date(2027, 1, 1) + timedelta(days=offset)
        days = purchases.with_amount(day, Decimal(amount).scaleb(-6), currency)
        purchases = Purchases(contract="c", end_user="e", days=days)
        assert [(d.day, d.currency) for d in days] == sorted({(d.day, d.currency) for d in days})
        assert all(one.amount > 0 for one in days)
        if days:
            assert (days[-1].day - days[0].day).days < PURCHASE_DAYS_KEPT


@pytest.mark.parametrize(("after", "kept"), [(91, 2), (92, 1)])
def test_a_day_is_kept_for_92_days_itself_included(after: int, kept: int) -> None:
    first = date(2027, 1, 1)
    purchases = Purchases(contract="c", end_user="e")
    for day in (first, first + timedelta(days=after)):
        days = purchases.with_amount(day, Decimal(1), "USD")
        purchases = Purchases(contract="c", end_user="e", days=days)
    assert len(purchases.days) == kept
    assert purchases.since(first, "USD") == kept


def test_sums_of_the_largest_amounts_are_exact() -> None:
    """More digits than decimal arithmetic keeps by itself: 29, and then 30."""
    bench = Workbench().open(text=policy(condition("quantity_cap", limit=1_000_000_000)))
    largest = usd("999999999999999.999999")
    for number in range(1, 11):
        bench.accepted("order.placed", order=f"PO-{number}", units=99_999_999, unit_value=largest)
    assert bought(bench) == [("2027-03-01", "999999989999999999999000.000010")]
    bench.accepted("order.cancelled", order="PO-1")
    assert bought(bench) == [("2027-03-01", "899999990999999999999100.000009")]


# --- transfers ------------------------------------------------------------------------------------


def states(bench: Workbench) -> list[tuple[str, str | None]]:
    devices = [bench.fact(Device, serial) for serial in CHIPS]
    return [(device.state, device.site) for device in devices]


def test_devices_pass_on_in_parts() -> None:
    bench = installed(2)
    bench.accepted("transfer.requested")
    assert (transfer_of(bench).state, states(bench)[0]) == ("requested", ("installed", "SHA-1"))
    bench.accepted("device.transferred", serials=CHIPS[:1])
    assert (transfer_of(bench).state, transfer_of(bench).transferred) == ("part_transferred", ("SN000001",))
    assert states(bench) == [("transferred", "SHA-2"), ("installed", "SHA-1")]
    bench.accepted("device.transferred", serials=CHIPS[1:])
    assert transfer_of(bench).state == "transferred"


def test_a_transfer_that_was_an_error_is_taken_back_and_so_is_its_request() -> None:
    bench = installed(2)
    bench.accepted("transfer.requested")
    request = len(bench.log) - 1
    before = states(bench), transfer_of(bench)
    bench.accepted("device.transferred")
    assert corrects(bench, by=AS_BUYER, index=request) == ["correction.dependents"]
    assert corrects(bench, by=AS_BUYER, index=request + 1) == []
    assert (states(bench), transfer_of(bench)) == before
    assert corrects(bench, by=AS_BUYER, index=request) == []
    assert transfer_of(bench).state == "cancelled"
    assert codes(bench.say("device.transferred")) == ["transfer_known.unasked"]


def test_a_transfer_on_which_work_rests_is_not_taken_back() -> None:
    bench = installed(2)
    bench.accepted("transfer.requested")
    bench.accepted("device.transferred")
    transferred = len(bench.log) - 1
    attest(bench, CHIPS, site="SHA-2")
    assert corrects(bench, by=AS_BUYER, index=transferred) == ["correction.dependents"]


def test_a_refused_transfer_moves_nothing() -> None:
    bench = installed(2)
    assert bench.say("transfer.requested", license="D-999").denied
    assert not bench.facts.changed.keys() & {(Transfer.name, f"{CONTRACT}/TR-1")}
    assert states(bench)[0] == ("installed", "SHA-1")
