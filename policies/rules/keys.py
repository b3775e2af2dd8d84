"""Signing keys: each party registers and retires its own."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.decision import Finding
from ledger.facts import Signatory, SigningKey
from ledger.kinds.keys import KeyRegistered, KeyRetired, signatory, signing_key
from policies.conditions import Case
from policies.rules.rule import broken, rule


@rule(
    "key.registered",
    sentences={
        "key_new.exists": "the party has registered this key before, with entry {observed}",
        "key_new.retired": "the party has retired this key, with entry {observed}: it does not come back",
    },
)
def key_new(case: Case, data: KeyRegistered) -> Iterator[Finding]:
    known = case.facts.get(SigningKey, signing_key(case.event, data.fingerprint))
    if known is None:
        return
    if known.retired is None:
        yield broken(case, "key_new.exists", observed=known.registered, unit="entry")
    else:
        yield broken(case, "key_new.retired", observed=known.retired, unit="entry")


@rule(
    "key.retired",
    sentences={
        "key_known.unknown": "the party has registered no such key in this contract",
        "key_known.retired": "the key was retired before, with entry {observed}",
    },
)
def key_known(case: Case, data: KeyRetired) -> Iterator[Finding]:
    known = case.facts.get(SigningKey, signing_key(case.event, data.fingerprint))
    if known is None:
        yield broken(case, "key_known.unknown")
    elif known.retired is not None:
        yield broken(case, "key_known.retired", observed=known.retired, unit="entry")


@rule(
    "key.registered",
    "key.retired",
    sentences={
        "key_signed.missing": "keys of the party in use: {observed}; one of them must sign this",
    },
)
def key_signed(case: Case, _: KeyRegistered | KeyRetired) -> Iterator[Finding]:
    """Or whoever gets hold of a party's API key could put a key of his own in place of the party's."""
    known = case.facts.get(Signatory, signatory(case.event))
    if known is not None and known.keys and not case.event.signed_by:
        yield broken(case, "key_signed.missing", observed=known.keys)
