"""What a contract demands to be signed, and by whose key: judged on what is registered before the entry."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.dsse import PrivateKey, algorithm_of, fingerprint_of, spelled
from ledger.errors import MalformedEvent
from ledger.event import KINDS, committed_event, parse_event, submission_of
from ledger.facts import Contract, Signatory
from ledger.kinds.contract import ContractOpened, ContractOpening
from ledger.signatories import DEMANDED_BY_DEFAULT, demanded
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    FORWARDER,
    LICENSE,
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    codes,
    finding,
    wire,
)

ORGANISATION, DEVICE, THEIRS = (
    Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate(),
)  # fmt: skip


def data_of(key: PrivateKey) -> dict[str, str]:
    return {"algorithm": algorithm_of(key), "public_key": spelled(key.public_key())}


def mark_of(key: PrivateKey) -> str:
    return fingerprint_of(spelled(key.public_key()))


def opened(*signed: str, by_default: bool = False) -> Workbench:
    bench = Workbench()
    said: dict[str, Any] = {"parties": PARTIES, "licenses": [LICENSE], "signed": list(signed)}
    value = wire("contract.opened", **said)
    if by_default:
        del value["data"]["signed"]
    assert bench.submit(value).outcome == "accepted"
    return bench


def demanding() -> Workbench:
    """The default, and the authority has a key."""
    bench = opened(by_default=True)
    bench.accepted("key.registered", by=(AUTHORITY, "authority"), **data_of(ORGANISATION))
    return bench


# --- what is demanded -----------------------------------------------------------------------------


def test_licensing_and_shipments_are_demanded_unless_the_opening_says_otherwise() -> None:
    assert opened(by_default=True).fact(Contract, CONTRACT).signed == DEMANDED_BY_DEFAULT
    assert opened().fact(Contract, CONTRACT).signed == ()
    assert opened("order.placed").fact(Contract, CONTRACT).signed == ("order.placed",)


def test_a_contract_opened_with_version_1_demands_nothing_then_and_when_it_is_read_again() -> None:
    submission = submission_of(wire("contract.opened"))
    assert type(submission.event.data) is ContractOpened
    again = committed_event(submission.body)
    assert isinstance(again.data, ContractOpening)
    assert (again.version, again.data.demands) == (2, ())
    assert again.data.parties == submission.event.data.parties


def test_an_amendment_adds_demands_and_takes_none_back() -> None:
    bench = opened("order.placed")
    bench.accepted("contract.amended", signed=["lab.*", "order.placed"])
    assert bench.fact(Contract, CONTRACT).signed == ("order.placed", "lab.*")
    assert codes(bench.say("lab.tested")) == ["signed.missing"]


@pytest.mark.parametrize(
    "pattern",
    ["key.registered", "key.*", "contract.opened", "order", "*", "odrer.placed", "revocation.scoped"],
)
def test_what_cannot_be_demanded_is_refused(pattern: str) -> None:
    with pytest.raises(MalformedEvent) as caught:
        parse_event(wire("contract.opened", signed=[pattern]))
    assert caught.value.faults[0].pointer == "/data/signed/0"


def test_a_group_is_every_kind_of_it_and_no_other() -> None:
    licensing = {kind for kind, _ in KINDS if demanded(("license.*",), kind)}
    assert licensing == {kind for kind, _ in KINDS if kind.startswith("license.")} != set()
    assert not demanded(("license.granted",), "license.granted_again")


def test_an_unsigned_event_is_denied_where_it_must_be_signed() -> None:
    decision = demanding().say("license.granted")
    assert (decision.outcome, codes(decision)) == ("denied", ["signed.missing"])
    assert finding(decision, "signed").observed == "license.granted"


def test_a_fact_too_is_denied_unsigned_for_nobody_knows_whose_word_it_is() -> None:
    bench = demanding()
    decision = bench.say("shipment.dispatched", by=(FORWARDER, "forwarder"))
    assert (decision.outcome, codes(decision)) == ("denied", ["signed.missing"])


def test_a_signed_event_is_judged_like_any_other() -> None:
    bench = demanding()
    bench.accepted("license.granted", keys=[ORGANISATION])
    assert codes(bench.say("license.granted", keys=[ORGANISATION])) != ["signed.missing"]


def test_what_is_not_demanded_may_be_signed_or_not() -> None:
    bench, nothing = demanding(), {"parties": [], "licenses": [], "sites": [], "sites_removed": []}
    nothing["parties_removed"] = []
    bench.accepted("contract.amended", title="unsigned", **nothing)
    bench.accepted("contract.amended", title="signed", keys=[ORGANISATION], **nothing)


def test_what_the_ledger_says_itself_needs_no_signature() -> None:
    bench = opened("license.*")
    bench.accepted("key.registered", by=(AUTHORITY, "authority"), **data_of(ORGANISATION))
    bench.accepted("license.granted", keys=[ORGANISATION])
    bench.accepted("license.revoked", keys=[ORGANISATION])
    assert bench.spoken[-1] == "revocation.scoped"


# --- whose key ------------------------------------------------------------------------------------


def test_a_key_signs_from_the_entry_after_its_registration() -> None:
    bench = opened("license.*")
    by = (AUTHORITY, "authority")
    early = bench.say("license.granted", keys=[ORGANISATION])
    assert (early.outcome, codes(early)) == ("denied", ["signature_valid.unknown"])
    assert finding(early, "signature_valid").subjects == (mark_of(ORGANISATION),)
    bench.accepted("key.registered", by=by, **data_of(ORGANISATION))
    bench.accepted("license.granted", keys=[ORGANISATION])


def test_a_key_signs_its_own_retirement_and_nothing_after() -> None:
    bench, by = demanding(), (AUTHORITY, "authority")
    bench.accepted("key.retired", by=by, keys=[ORGANISATION], fingerprint=mark_of(ORGANISATION))
    late = bench.say("license.granted", keys=[ORGANISATION])
    assert (late.outcome, codes(late)) == ("denied", ["signature_valid.retired"])


def test_the_key_of_another_party_or_of_another_contract_signs_nothing() -> None:
    bench = demanding()
    bench.accepted("key.registered", by=(BUYER, "buyer"), **data_of(THEIRS))
    foreign = bench.say("license.granted", keys=[THEIRS])
    assert codes(foreign) == ["signature_valid.unknown"]
    bench.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES)
    elsewhere = bench.say("license.granted", contract=OTHER_CONTRACT, keys=[ORGANISATION])
    assert codes(elsewhere) == ["signature_valid.unknown"]


def test_one_foreign_signature_among_good_ones_denies() -> None:
    bench = demanding()
    assert codes(bench.say("license.granted", keys=[ORGANISATION, THEIRS])) == ["signature_valid.unknown"]


def test_a_signature_that_nobody_asked_for_is_judged_too() -> None:
    assert codes(opened().say("license.granted", keys=[THEIRS])) == ["signature_valid.unknown"]


def test_an_opening_cannot_be_signed_for_no_key_is_registered_yet() -> None:
    assert codes(Workbench().say("contract.opened", keys=[THEIRS])) == ["signature_valid.unknown"]


def test_whoever_has_no_standing_is_not_told_about_signatures() -> None:
    bench = opened("license.*")
    assert codes(bench.say("license.granted", by=(BUYER, "authority"))) == ["standing.party"]


# --- keys -----------------------------------------------------------------------------------------


def test_who_has_a_key_registers_another_with_it_alone() -> None:
    """Or the operator, who makes API keys, could put a key of his own beside the party's."""
    bench, by = demanding(), (AUTHORITY, "authority")
    further = {"by": by, **data_of(DEVICE)}
    assert finding(bench.say("key.registered", **further), "key_signed").observed == 1
    assert codes(bench.say("key.registered", keys=[DEVICE], **further)) == ["signature_valid.unknown"]
    bench.accepted("key.registered", keys=[ORGANISATION], **further)
    bench.accepted("license.granted", keys=[ORGANISATION, DEVICE])
    assert bench.fact(Signatory, f"{CONTRACT}/{AUTHORITY}").keys == 2


def test_no_key_is_retired_unsigned() -> None:
    bench, by = demanding(), (AUTHORITY, "authority")
    unsigned = bench.say("key.retired", by=by, fingerprint=mark_of(ORGANISATION))
    assert codes(unsigned) == ["key_signed.missing"]


def test_who_has_retired_every_key_begins_anew() -> None:
    bench, by = demanding(), (AUTHORITY, "authority")
    bench.accepted("key.retired", by=by, keys=[ORGANISATION], fingerprint=mark_of(ORGANISATION))
    assert bench.fact(Signatory, f"{CONTRACT}/{AUTHORITY}").keys == 0
    bench.accepted("key.registered", by=by, **data_of(DEVICE))
    bench.accepted("license.granted", keys=[DEVICE])
