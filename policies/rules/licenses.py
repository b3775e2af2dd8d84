"""Licenses: who grants, stops and takes on which."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.kinds.license import (
    ConditionsAcknowledged,
    LicenseGranted,
    LicenseRevoked,
    LicenseSuspended,
)
from policies.conditions import Case
from policies.rules.rule import broken, rule


@rule(
    "license.granted",
    sentences={
        "license_new.not_named": "the contract does not name this license",
        "license_new.exists": "the license has been granted before",
        "parties_known.acknowledging": "asked to acknowledge, and no party to the contract: {subjects}",
    },
)
def license_new(case: Case, data: LicenseGranted) -> Iterator[Finding]:
    if data.license not in case.contract.licenses:
        yield broken(case, "license_new.not_named")
    if case.license_anywhere(data.license) is not None:
        yield broken(case, "license_new.exists")
    # A party that is not there can never acknowledge: the license could never be used.
    strange = tuple(p for p in data.must_acknowledge if not case.contract.roles_of(p))
    if strange:
        yield broken(case, "parties_known.acknowledging", subjects=strange)


@rule(
    "license.suspended",
    "license.revoked",
    sentences={
        "license_standing.revoked": "the license is revoked, which is for good",
        "license_standing.suspended": "the license is suspended already",
        "license_standing.authority": "the license was granted by {limit}, not by {observed}",
    },
)
def license_standing(case: Case, data: LicenseSuspended | LicenseRevoked) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield broken(case, "license_known.unknown")
        return
    authority = case.event.actor.party
    if authority != license_.authority:
        yield broken(case, "license_standing.authority", observed=authority, limit=license_.authority)
    if license_.state == "revoked":
        yield broken(case, "license_standing.revoked")
    # A second suspension would move the first one's instant, and with it what was in transit.
    elif license_.state == "suspended" and isinstance(data, LicenseSuspended):
        yield broken(case, "license_standing.suspended")


@rule(
    "conditions.acknowledged",
    sentences={
        "acknowledgement_matches.digest": "the conditions acknowledged are not those of the license",
        "acknowledgement_matches.party": "the license does not ask this party: {subjects}",
    },
)
def acknowledgement_matches(case: Case, data: ConditionsAcknowledged) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield broken(case, "license_known.unknown")
        return
    if data.conditions_sha256 != license_.conditions_sha256:
        yield broken(case, "acknowledgement_matches.digest")
    if case.event.actor.party not in license_.must_acknowledge:
        yield broken(case, "acknowledgement_matches.party", subjects=(case.event.actor.party,))
