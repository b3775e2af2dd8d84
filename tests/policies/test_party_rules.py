"""The constitution on parties, licenses, keys, screening and transfers: what passes, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ledger.dsse import spelled
from ledger.event import parse_event
from ledger.facts import Contract, License, SigningKey
from ledger.kinds.keys import KeyRegistered
from policies.explain import explain
from policies.rules.parties import NAMED_MAX
from tests.policies.at_work import ALIBI, installed
from tests.workbench import (
    AUTHORITY,
    BUYER,
    CONTRACT,
    EXPORTER,
    FORWARDER,
    LICENSE,
    OTHER_CONTRACT,
    PARTIES,
    Workbench,
    codes,
    finding,
    policy,
    serials,
    wire,
)

NOTHING: dict[str, Any] = {"parties": [], "parties_removed": [], "licenses": [], "sites": []}
"""Of the example of an amendment."""
AS_EXPORTER = (EXPORTER, "exporter")


def lenient() -> Workbench:
    return Workbench().open(text=policy(ALIBI))


def denied(bench: Workbench, kind: str, **said: Any) -> list[str | None]:
    decision = bench.say(kind, **said)
    assert decision.outcome == "denied"
    assert all(f.policy == 0 and f.action == "deny" for f in decision.failed)
    words = " ".join(explain(decision.value()))
    assert not any(f"({code})" in words for code in codes(decision)), "each has its words"
    return codes(decision)


def amend(**said: Any) -> dict[str, Any]:
    return {**NOTHING, **said}


def party(name: str, *roles: str, country: str = "US") -> dict[str, Any]:
    return {"party": name, "roles": list(roles), "name": name, "country": country}


# --- contract.amended -----------------------------------------------------------------------------


def test_parties_join_change_and_leave() -> None:
    bench = lenient()
    joins = [
        party("new-dc", "consignee", "end_user", country="CN"),
        party(FORWARDER, "forwarder", "consignee"),
    ]
    bench.accepted("contract.amended", by=AS_EXPORTER, **amend(parties=joins, parties_removed=["test-house"]))
    contract = bench.fact(Contract, CONTRACT)
    assert contract.roles_of("new-dc") == ("consignee", "end_user")
    assert contract.roles_of(FORWARDER) == ("forwarder", "consignee")
    assert contract.roles_of("test-house") == ()
    assert codes(bench.say("lab.tested")) == ["standing.party"]
    bench.order(2)
    assert bench.ask("shipment.requested", consignee="new-dc").outcome == "accepted"


def test_licenses_and_sites_are_added_and_a_site_is_taken_away() -> None:
    bench = lenient()
    assert denied(bench, "license.granted", license="D-100201") == ["license_new.not_named"]
    sites = [{"site": "SHA-2", "name": "Second", "country": "CN"}]
    bench.accepted("contract.amended", **amend(licenses=["D-100201"], sites=sites, title="H200, amended"))
    bench.accepted("license.granted", license="D-100201")
    contract = bench.fact(Contract, CONTRACT)
    assert (contract.title, contract.licenses) == ("H200, amended", (LICENSE, "D-100201"))
    assert contract.sites == ("SHA-1", "SHA-2")
    bench.accepted("contract.amended", **amend(sites_removed=["SHA-1"]))
    assert bench.fact(Contract, CONTRACT).sites == ("SHA-2",)


def test_an_amendment_said_twice_changes_nothing_more() -> None:
    bench = lenient()
    bench.accepted("contract.amended", **amend(licenses=[LICENSE, "D-100201"], parties=[party("x", "buyer")]))
    once = bench.fact(Contract, CONTRACT)
    bench.accepted("contract.amended", **amend(licenses=["D-100201"], parties=[party("x", "buyer")]))
    assert bench.fact(Contract, CONTRACT) == once


@pytest.mark.parametrize(
    "said",
    [
        {"parties": [party("other", "exporter")]},
        {"parties": [party(EXPORTER, "buyer")]},
        {"parties_removed": [EXPORTER]},
    ],
)
def test_whose_contract_it_is_does_not_change(said: dict[str, Any]) -> None:
    assert denied(lenient(), "contract.amended", **amend(**said)) == ["contract_amendment.exporter"]


@pytest.mark.parametrize(
    "said",
    [
        {"parties": [party("other", "authority")]},
        {"parties": [party(EXPORTER, "exporter", "authority")]},
        {"parties": [party(AUTHORITY, "authority", country="CN")]},
    ],
)
def test_an_exporter_makes_nobody_an_authority(said: dict[str, Any]) -> None:
    assert denied(lenient(), "contract.amended", by=AS_EXPORTER, **amend(**said)) == [
        "contract_amendment.authority"
    ]
    assert lenient().say("contract.amended", **amend(**said)).outcome == "accepted"


def test_an_authority_stays_as_long_as_a_license_of_its_own_stands() -> None:
    bench = lenient()
    bench.accepted("contract.amended", **amend(parties=[party("other", "authority")]))
    gone = amend(parties_removed=[AUTHORITY])
    decision = bench.say("contract.amended", by=("other", "authority"), **gone)
    assert finding(decision, "contract_amendment").subjects == (AUTHORITY,)
    assert codes(decision) == ["contract_amendment.granted"]
    bench.accepted("license.revoked")
    bench.accepted("contract.amended", by=("other", "authority"), **gone)


def test_what_is_not_there_is_not_removed() -> None:
    decision = lenient().say("contract.amended", **amend(parties_removed=["x"], sites_removed=["Y"]))
    assert finding(decision, "contract_amendment").subjects == ("x", "Y")
    assert decision.outcome == "denied"


def test_a_contract_names_a_bounded_number() -> None:
    bench = lenient()
    full = [f"D-{n}" for n in range(NAMED_MAX - 1)]
    assert bench.ask("contract.amended", **amend(licenses=full)).outcome == "accepted"
    found = finding(bench.ask("contract.amended", **amend(licenses=[*full, "D-more"])), "contract_amendment")
    assert (found.code, found.observed, found.limit, found.unit) == (
        "contract_amendment.too_many", NAMED_MAX + 1, NAMED_MAX, "licenses",
    )  # fmt: skip


# --- licenses -------------------------------------------------------------------------------------


def test_an_application_is_answered_by_a_license_for_its_item() -> None:
    bench = Workbench()
    bench.accepted("contract.opened", parties=PARTIES)
    assert denied(bench, "license.granted", application="Z-900100") == ["application_known.unknown"]
    bench.accepted("license.applied")
    assert denied(bench, "license.applied") == ["application_new.exists"]
    decision = bench.say("license.granted", application="Z-900100", sku="H20-SXM")
    found = finding(decision, "application_known")
    assert (found.code, found.observed, found.limit) == ("application_known.item", "H20-SXM", "H200-SXM")
    bench.accepted("license.granted", application="Z-900100")


@pytest.mark.parametrize("kind", ["license.amended", "license.reinstated"])
def test_only_who_granted_it_changes_a_license(kind: str) -> None:
    bench = lenient()
    bench.accepted("contract.amended", **amend(parties=[party("other", "authority")]))
    if kind == "license.reinstated":
        bench.accepted("license.suspended")
    assert denied(bench, kind, by=("other", "authority")) == ["license_standing.authority"]
    assert denied(bench, kind, license="D-999") == ["license_known.unknown"]
    bench.accepted(kind)


def test_a_revoked_license_is_neither_amended_nor_reinstated() -> None:
    bench = lenient()
    bench.accepted("license.revoked")
    for kind in ("license.amended", "license.reinstated"):
        assert denied(bench, kind) == ["license_standing.revoked"]


def test_only_a_suspended_license_is_reinstated() -> None:
    bench = lenient()
    found = finding(bench.say("license.reinstated"), "license_standing")
    assert (found.code, found.observed) == ("license_standing.not_suspended", "active")


def test_a_license_that_has_ended_is_not_extended() -> None:
    """Whether or not anybody has said yet that it has."""
    bench = Workbench().open(text=policy(ALIBI), valid_until="2027-06-09")
    amendment = {"quantity": None, "conditions_sha256": None, "valid_until": "2028-06-09"}
    assert bench.ask("license.amended", at="2027-06-10T03:59:59Z", **amendment).outcome == "accepted"
    decision = bench.say("license.amended", at="2027-06-10T04:00:00Z", **amendment)
    assert codes(decision) == ["license_standing.expired"]
    assert finding(decision, "license_standing").observed == "2027-06-09"


def test_an_expired_license_can_still_be_revoked_and_no_longer_be_suspended() -> None:
    bench = lenient()
    bench.facts.update(bench.fact(License, LICENSE), state="expired")
    for kind in ("license.suspended", "license.reinstated", "license.amended"):
        assert denied(bench, kind) == ["license_standing.expired"]
    bench.accepted("license.revoked")


def test_an_amendment_ends_after_it_begins_and_asks_only_parties() -> None:
    bench = lenient()
    decision = bench.say("license.amended", valid_until="2027-02-09")
    found = finding(decision, "license_amendment")
    assert (found.code, found.observed, found.limit) == (
        "license_amendment.window", "2027-02-09", "2027-02-10",
    )  # fmt: skip
    assert denied(bench, "license.amended", must_acknowledge=["x"]) == ["parties_known.acknowledging"]


# --- keys -----------------------------------------------------------------------------------------


def p256() -> tuple[ec.EllipticCurvePrivateKey, dict[str, str]]:
    """A key, and the data that registers it."""
    private = ec.generate_private_key(ec.SECP256R1())
    return private, {"algorithm": "ecdsa-p256", "public_key": spelled(private.public_key())}


def fingerprint(**said: Any) -> str:
    data = parse_event(wire("key.registered", **said)).data
    assert isinstance(data, KeyRegistered)
    return data.fingerprint


def test_a_key_is_registered_once_and_retired_once() -> None:
    bench, (private, key) = lenient(), p256()
    mark = fingerprint(**key)
    assert denied(bench, "key.retired", fingerprint=mark) == ["key_known.unknown"]
    bench.accepted("key.registered", **key)
    registered = len(bench.log) - 1
    again = bench.say("key.registered", keys=[private], **key)
    assert finding(again, "key_new").observed == registered
    bench.accepted("key.retired", keys=[private], fingerprint=mark)
    assert denied(bench, "key.retired", fingerprint=mark) == ["key_known.retired"]
    assert denied(bench, "key.registered", **key) == ["key_new.retired"]
    stored = bench.fact(SigningKey, f"{CONTRACT}/{EXPORTER}/{mark}")
    assert (stored.registered, stored.retired) == (registered, registered + 2)


def test_a_key_is_the_speakers_own() -> None:
    """There is no field for another party: a stranger's registration is the stranger's."""
    bench, (private, key) = lenient(), p256()
    bench.accepted("key.registered", by=(FORWARDER, "forwarder"), **key)
    mark = fingerprint(**key)
    assert denied(bench, "key.retired", fingerprint=mark) == ["key_known.unknown"]
    bench.accepted("key.registered", **key)
    bench.accepted("key.retired", keys=[private], by=(FORWARDER, "forwarder"), fingerprint=mark)
    assert bench.fact(SigningKey, f"{CONTRACT}/{EXPORTER}/{mark}").retired is None
    assert denied(bench, "key.registered", by=(EXPORTER, "buyer"), **p256()[1]) == ["standing.party"]


def test_a_key_of_one_contract_says_nothing_of_another() -> None:
    bench, (private, key) = lenient(), p256()
    bench.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES)
    bench.accepted("key.registered", **key)
    bench.accepted("key.registered", contract=OTHER_CONTRACT, **key)
    bench.accepted("key.retired", keys=[private], fingerprint=fingerprint(**key))
    assert bench.fact(SigningKey, f"{OTHER_CONTRACT}/{EXPORTER}/{fingerprint(**key)}").retired is None


# --- screening ------------------------------------------------------------------------------------


def test_an_observation_of_tomorrow_is_kept_and_flagged() -> None:
    bench = lenient()
    decision = bench.say("observation.imported", dated="2027-03-02")
    found = finding(decision, "dated_ahead")
    assert (decision.outcome, found.observed, found.limit) == ("flagged", "2027-03-02", "2027-03-01")
    assert bench.say("observation.imported", dated="2027-03-01").outcome == "accepted"


# --- transfers ------------------------------------------------------------------------------------


def test_a_transfer_number_is_used_once_and_its_giver_is_a_party() -> None:
    bench = installed(2)
    giver = {"party": "nobody", "site": "SHA-1", "country": "CN"}
    assert denied(bench, "transfer.requested", **{"from": giver}) == ["transfer_giver.unknown"]
    bench.accepted("transfer.requested")
    assert denied(bench, "transfer.requested") == ["transfer_new.exists"]


def test_a_transfer_is_of_devices_that_are_there() -> None:
    bench = installed(2)
    assert denied(bench, "transfer.requested", serials=serials(3)) == ["devices_known.unknown"]
    there: dict[str, Any] = {"from": {"party": BUYER, "site": "BJS-1", "country": "CN"}}
    decision = bench.say("transfer.requested", **there)
    found = finding(decision, "transfer_devices")
    assert (found.code, found.observed, found.limit) == ("transfer_devices.elsewhere", 0, 2)
    bench.accepted("device.lost", serials=["SN000002"])
    assert denied(bench, "transfer.requested") == ["device_state.wrong"]
    assert bench.ask("transfer.requested", serials=["SN000001"]).outcome == "accepted"


def test_a_transfer_is_under_the_license_of_the_release() -> None:
    bench = installed(2)
    bench.accepted("contract.amended", **amend(licenses=["D-100201"]))
    bench.accepted("license.granted", license="D-100201")
    decision = bench.say("transfer.requested", license="D-100201")
    assert codes(decision) == ["transfer_devices.license"]
    assert denied(bench, "transfer.requested", license="D-999") == [
        "license_known.unknown", "transfer_devices.license",
    ]  # fmt: skip


def test_a_transfer_nobody_asked_for_is_kept_and_flagged() -> None:
    bench = installed(3)
    assert codes(bench.say("device.transferred", transfer=None)) == ["transfer_known.unasked"]
    assert codes(bench.say("device.transferred", transfer="TR-9", serials=["SN000003"])) == [
        "transfer_known.unasked"
    ]


def test_a_transfer_goes_as_it_was_asked_for() -> None:
    bench = installed(3)
    bench.accepted("transfer.requested")
    decision = bench.ask("device.transferred", serials=serials(3))
    found = finding(decision, "transfer_known")
    assert (decision.outcome, found.code, found.subjects) == (
        "flagged", "transfer_known.devices", ("SN000003",),
    )  # fmt: skip
    to = {"party": "dragon-affiliate", "site": "SIN-1", "country": "SG"}
    found = finding(bench.ask("device.transferred", to=to), "transfer_known")
    assert (found.code, found.observed, found.limit) == (
        "transfer_known.receiver", "dragon-affiliate/SIN-1", "dragon-affiliate/SHA-2",
    )  # fmt: skip
    assert bench.ask("device.transferred").outcome == "accepted"


def test_another_contract_transfers_nothing_of_ours() -> None:
    bench = installed(2)
    bench.accepted("contract.opened", contract=OTHER_CONTRACT, parties=PARTIES)
    assert codes(bench.say("transfer.requested", contract=OTHER_CONTRACT)) == [
        "policy_in_force.none", "license_known.unknown", "devices_known.unknown",
    ]  # fmt: skip
