"""Licenses: who grants, stops and takes on which."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import Application, License
from ledger.kinds.license import (
    ConditionsAcknowledged,
    LicenseAmended,
    LicenseApplied,
    LicenseGranted,
    LicenseReinstated,
    LicenseRevoked,
    LicenseSuspended,
)
from ledger.kinds.revocation import RevocationAcknowledged
from policies.conditions import Case
from policies.rules.rule import broken, rule

Standing = LicenseSuspended | LicenseRevoked | LicenseAmended | LicenseReinstated
"""What is said of a license that stands."""


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
    known = case.license_anywhere(data.license)
    if known is not None and known.was_granted:
        yield broken(case, "license_new.exists")
    # A party that is not there can never acknowledge: the license could never be used.
    strange = tuple(p for p in data.must_acknowledge if not case.contract.roles_of(p))
    if strange:
        yield broken(case, "parties_known.acknowledging", subjects=strange)


@rule(
    "license.applied",
    sentences={
        "application_new.exists": "the application number is taken",
    },
)
def application_new(case: Case, data: LicenseApplied) -> Iterator[Finding]:
    if case.facts.get(Application, f"{case.event.contract}/{data.application}") is not None:
        yield broken(case, "application_new.exists")


@rule(
    "license.granted",
    sentences={
        "application_known.unknown": "the license answers an application that is not on record",
        "application_known.item": "applied for {limit}, granted for {observed}",
    },
)
def application_known(case: Case, data: LicenseGranted) -> Iterator[Finding]:
    if data.application is None:
        return
    applied = case.facts.get(Application, f"{case.event.contract}/{data.application}")
    if applied is None:
        yield broken(case, "application_known.unknown")
    elif applied.sku != data.sku:
        yield broken(case, "application_known.item", observed=data.sku, limit=applied.sku)


@rule(
    "license.suspended",
    "license.revoked",
    "license.amended",
    "license.reinstated",
    sentences={
        "license_standing.revoked": "the license is revoked, which is for good",
        "license_standing.suspended": "the license is suspended already",
        "license_standing.not_suspended": "the license is {observed}, only a suspended one is reinstated",
        "license_standing.expired": "the license has ended with {observed}: a new one must be applied for",
        "license_standing.authority": "the license was granted by {limit}, not by {observed}",
    },
)
def license_standing(case: Case, data: Standing) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield broken(case, "license_known.unknown")
        return
    authority = case.event.actor.party
    if authority != license_.authority:
        yield broken(case, "license_standing.authority", observed=authority, limit=license_.authority)
    if license_.state == "revoked":
        yield broken(case, "license_standing.revoked")
    # What has ended may still be revoked, for that reaches what was released under it.
    elif not isinstance(data, LicenseRevoked) and _ended(case, license_, data):
        last = license_.valid_until.isoformat()
        yield broken(case, "license_standing.expired", observed=last, unit="day")
    # A second suspension would move the first one's instant, and with it what was in transit.
    elif license_.state == "suspended" and isinstance(data, LicenseSuspended):
        yield broken(case, "license_standing.suspended")
    elif license_.state != "suspended" and isinstance(data, LicenseReinstated):
        yield broken(case, "license_standing.not_suspended", observed=license_.state)


def _ended(case: Case, license_: License, data: Standing) -> bool:
    # To say that it has ended takes a clock that runs: nobody extends it in between.
    return license_.state == "expired" or (isinstance(data, LicenseAmended) and case.at >= license_.ends)


@rule(
    "license.amended",
    sentences={
        "license_amendment.window": "valid until {observed}, must not be before {limit}, its first day",
    },
)
def license_amendment(case: Case, data: LicenseAmended) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is not None and data.valid_until is not None and data.valid_until < license_.valid_from:
        yield broken(
            case,
            "license_amendment.window",
            observed=data.valid_until.isoformat(),
            limit=license_.valid_from.isoformat(),
            unit="day",
        )
    strange = tuple(p for p in data.must_acknowledge or () if not case.contract.roles_of(p))
    if strange:
        yield broken(case, "parties_known.acknowledging", subjects=strange)


@rule(
    "conditions.acknowledged",
    sentences={
        "acknowledgement_matches.digest": "what is acknowledged is neither the license's conditions "
        "nor a document of the contract",
        "acknowledgement_matches.party": "the license does not ask this party: {subjects}",
    },
)
def acknowledgement_matches(case: Case, data: ConditionsAcknowledged) -> Iterator[Finding]:
    license_ = case.license(data.license)
    if license_ is None:
        yield broken(case, "license_known.unknown")
        return
    documents = {policy.sha256 for policy in case.contract.policies}
    if data.conditions_sha256 not in documents | {license_.conditions_sha256}:
        yield broken(case, "acknowledgement_matches.digest")
    if case.event.actor.party not in license_.must_acknowledge:
        yield broken(case, "acknowledgement_matches.party", subjects=(case.event.actor.party,))


@rule(
    "revocation.acknowledged",
    sentences={"revocation_known.unknown": "entry {observed} did not revoke this license in this contract"},
)
def revocation_known(case: Case, data: RevocationAcknowledged) -> Iterator[Finding]:
    if not data.revocation_of(case.event, case.facts):
        yield broken(case, "revocation_known.unknown", observed=data.revocation)
