"""The parties of a contract: who joins and leaves, and at whose word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.decision import Finding
from ledger.facts import Contract, ContractParty, License
from ledger.kinds.contract import ContractAmended
from policies.conditions import Case
from policies.rules.rule import broken, rule

NAMED_MAX: Final = 1_000
"""Parties, licenses and sites of one contract, each: all of them are read at every event."""


@rule(
    "contract.amended",
    sentences={
        "contract_amendment.exporter": "whose contract it is does not change: {subjects}",
        "contract_amendment.authority": "only an authority changes who is one: {subjects}",
        "contract_amendment.granted": "a license that it granted stands, and only it could revoke it: "
        "{subjects}",
        "contract_amendment.unknown": "not of this contract, so not removed: {subjects}",
        "contract_amendment.too_many": "{observed} {unit} would be named, at most {limit} may be",
    },
)
def contract_amendment(case: Case, data: ContractAmended) -> Iterator[Finding]:
    before, after = case.contract, data.amended(case.contract)
    if changed := (*data.gains(before, "exporter"), *data.loses(before, "exporter")):
        yield broken(case, "contract_amendment.exporter", subjects=changed)
    if case.event.actor.role != "authority" and (changed := _differing(before, after, "authority")):
        yield broken(case, "contract_amendment.authority", subjects=changed)
    if needed := _needed(case, data.loses(before, "authority")):
        yield broken(case, "contract_amendment.granted", subjects=needed)
    strange = (
        *(party for party in data.parties_removed if not before.roles_of(party)),
        *(site for site in data.sites_removed if site not in before.sites),
    )
    if strange:
        yield broken(case, "contract_amendment.unknown", subjects=strange)
    for unit, named in (("parties", after.parties), ("licenses", after.licenses), ("sites", after.sites)):
        if len(named) > NAMED_MAX:
            yield broken(case, "contract_amendment.too_many", observed=len(named), limit=NAMED_MAX, unit=unit)


def _differing(before: Contract, after: Contract, role: str) -> tuple[str, ...]:
    """The parties with a role, before or after, of whom anything changes."""

    def of_role(contract: Contract) -> dict[str, ContractParty]:
        return {party.party: party for party in contract.parties if role in party.roles}

    was, becomes = of_role(before), of_role(after)
    return tuple(party for party in (was | becomes) if was.get(party) != becomes.get(party))


def _needed(case: Case, leaving: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the authorities that leave of whom a license still stands."""
    if not leaving:
        return ()
    licenses = (case.facts.get(License, number) for number in case.contract.licenses)
    needed = {
        license_.authority
        for license_ in licenses
        if license_ is not None
        and license_.contract == case.event.contract
        and license_.state not in ("revoked", "withdrawn")
    }
    return tuple(party for party in leaving if party in needed)
