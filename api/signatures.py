"""The signatures that come with events, checked before the lock, in parallel: no forged one is queued.

Whether a key may sign the very entry that an event becomes is known under the lock alone
(`policies.constitution`): here it must be one that the speaker has registered and not retired so far, or
registers with an event before it in the same request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from ledger.dsse import Envelope, PublicKey, check, pae, public_key_of
from ledger.errors import BadSignature, Fault
from ledger.event import Event, Submission
from ledger.facts import SigningKey
from ledger.kinds.keys import KeyRegistered, signing_key
from ledger.reader import Reader

AT_ONCE: Final = 32
"""Signatures that one thread checks in a row: some 5 ms."""
FAULTS_MAX: Final = 100

_key = lru_cache(maxsize=4_096)(public_key_of)


class _Check(NamedTuple):
    pointer: str
    key: PublicKey
    message: bytes
    signature: bytes


async def prove(submissions: Sequence[Submission], reader: Reader, *, pointers: Sequence[str]) -> None:
    """Raise BadSignature unless every signature holds, by a key of whoever speaks.

    `pointers`: where each submission stands in the request. Of the unsigned nothing is asked.
    """
    if all(submission.signatures is None for submission in submissions):
        return
    known = await _registered(submissions, reader)
    faults: list[Fault] = []
    checks: list[_Check] = []
    for (event, body, signatures), pointer in zip(submissions, pointers, strict=True):
        if isinstance(event.data, KeyRegistered):
            known.setdefault(signing_key(event, event.data.fingerprint), event.data)
        if signatures is None:
            continue
        message = pae(body)
        for number, signature in enumerate(Envelope.committed(body, signatures).signatures):
            key, place = known.get(signing_key(event, signature.keyid)), f"{pointer}/signatures/{number}"
            if key is None:
                words = f"{event.actor.party} has registered no such key in contract {event.contract}"
                faults.append(Fault(f"{place}/keyid", words))
            elif isinstance(key, SigningKey) and key.retired is not None:
                faults.append(Fault(f"{place}/keyid", f"the key was retired with entry {key.retired}"))
            else:
                public_key = _key(key.public_key, key.algorithm)
                checks.append(_Check(f"{place}/sig", public_key, message, signature.raw))
    parts = [checks[start : start + AT_ONCE] for start in range(0, len(checks), AT_ONCE)]
    # The cryptography is done outside the interpreter's lock, so these run beside each other.
    for failed in await asyncio.gather(*(asyncio.to_thread(_failed, part) for part in parts)):
        faults += failed
    if faults:
        raise BadSignature(*islice(faults, FAULTS_MAX))


async def _registered(
    submissions: Sequence[Submission], reader: Reader
) -> dict[str, SigningKey | KeyRegistered]:
    """The keys that the log knows of those that are named, by the key of the fact.

    A key that was retired since an event was committed counts as in use for that event: asked for again,
    it is answered with the entry that it has.
    """
    wanted = {signing_key(s.event, keyid) for s in submissions for keyid in s.event.signed_by}
    found = await reader.signing_keys(wanted)
    retired = {key for key, fact in found.items() if fact.retired is not None}
    known: dict[str, SigningKey | KeyRegistered] = dict(found)
    if not retired:
        return known
    doubtful = {_id(s.event): s.event for s in submissions if retired & set(_keys(s.event))}
    for committed in await reader.ids_taken(doubtful):
        for key in retired & set(_keys(doubtful[committed])):
            known[key] = found[key].altered({"retired": None})
    return known


def _keys(event: Event) -> list[str]:
    return [signing_key(event, keyid) for keyid in event.signed_by]


def _id(event: Event) -> tuple[str, str]:
    return event.actor.party, event.id


def _failed(checks: Sequence[_Check]) -> list[Fault]:
    return [
        Fault(one.pointer, "the signature does not hold over the payload")
        for one in checks
        if not check(one.key, one.message, one.signature)
    ]
