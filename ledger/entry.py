"""The entry: a small canonical header that is hashed into the tree, and salted bodies beside it.

Every byte is in `ledger/FORMAT.md`. The header is matched by one strict expression, so whatever
parses is canonical, and there is exactly one spelling of each entry.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from ledger.errors import VerificationError
from ledger.merkle import leaf_hash

FORMAT = 1
SALT_BYTES = 32
ZERO_HASH = bytes(32)
"""`previous` of the first entry, and `contract_previous` of a contract's first."""

_BODIES = rb'"decision":"([0-9a-f]{64})","event":"([0-9a-f]{64})"(?:,"signatures":"([0-9a-f]{64})")?'
_HEADER = re.compile(
    rb'\{"bodies":\{' + _BODIES + rb"\},"
    rb'"contract":"(_ledger|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",'
    rb'"contract_index":(0|[1-9][0-9]{0,15}),'
    rb'"contract_previous":"([0-9a-f]{64})",'
    rb'"format":1,'
    rb'"index":(0|[1-9][0-9]{0,15}),'
    rb'"previous":"([0-9a-f]{64})",'
    rb'"recorded_at":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)"\}'
)


def commitment(salt: bytes, body: bytes) -> bytes:
    """SHA-256(salt ‖ body): hides the body until the 32-byte salt is shown, and binds to it."""
    return hashlib.sha256(salt + body).digest()


def spell(
    decision: str,
    event: str,
    signatures: str,
    contract: str,
    contract_index: int,
    contract_previous: str,
    index: int,
    previous: str,
    recorded_at: str,
) -> bytes:
    """The header's one spelling, of hashes in hex; `signatures` is "" where there are none.

    Nothing is checked: a verifier compares a header that it was given with the one it must be.
    """
    signed = f',"signatures":"{signatures}"' if signatures else ""
    return (
        f'{{"bodies":{{"decision":"{decision}","event":"{event}"{signed}}},'
        f'"contract":"{contract}","contract_index":{contract_index},'
        f'"contract_previous":"{contract_previous}","format":{FORMAT},'
        f'"index":{index},"previous":"{previous}",'
        f'"recorded_at":"{recorded_at}"}}'
    ).encode("ascii")


# Tuples, here and wherever each event makes one: a frozen dataclass takes four times as long to make.
class Header(NamedTuple):
    index: int  # type: ignore[assignment] # ours, not tuple.index
    previous: bytes
    """Leaf hash of entry `index` - 1."""
    contract: str
    contract_index: int
    contract_previous: bytes
    """Leaf hash of the contract's entry `contract_index` - 1."""
    recorded_at: str
    """UTC, RFC 3339 with six fraction digits."""
    decision: bytes
    """Commitment of the decision; likewise of the other bodies."""
    event: bytes
    signatures: bytes | None = None

    def encode(self) -> bytes:
        return spell(
            self.decision.hex(),
            self.event.hex(),
            self.signatures.hex() if self.signatures else "",
            self.contract,
            self.contract_index,
            self.contract_previous.hex(),
            self.index,
            self.previous.hex(),
            self.recorded_at,
        )

    @classmethod
    def parse(cls, raw: bytes) -> Header:
        """Raise VerificationError unless `raw` is exactly a header of this format."""
        match = _HEADER.fullmatch(raw)
        if match is None:
            raise VerificationError(f"the header is not canonical, or not of format {FORMAT}")
        decision, event, signatures, contract, number, chain, index, previous, at = match.groups()
        unhex = bytes.fromhex
        return cls(
            index=int(index),
            previous=unhex(previous.decode()),
            contract=contract.decode(),
            contract_index=int(number),
            contract_previous=unhex(chain.decode()),
            recorded_at=at.decode(),
            decision=unhex(decision.decode()),
            event=unhex(event.decode()),
            signatures=unhex(signatures.decode()) if signatures else None,
        )


class Body(NamedTuple):
    salt: bytes
    value: bytes
    """Canonical JSON."""

    @property
    def commitment(self) -> bytes:
        return commitment(self.salt, self.value)


class Entry(NamedTuple):
    """One committed entry with the bodies that this reader may see."""

    header: Header
    raw: bytes
    """The header's bytes, as hashed."""
    leaf: bytes
    """Leaf hash, RFC 9162 §2.1.1."""
    bodies: Mapping[str, Body | None]
    """`event`, `decision` and, where there are any, `signatures`; None: withheld or erased."""

    @classmethod
    def build(cls, header: Header, bodies: Mapping[str, Body | None]) -> Entry:
        raw = header.encode()
        return cls(header, raw, leaf_hash(raw), bodies)


def line_of(entry: Entry) -> bytes:
    """The line of one entry in a file; a body that is not there leaves two empty fields."""
    fields = [entry.raw]
    signed = ("signatures",) if entry.header.signatures is not None else ()
    for name in ("event", "decision", *signed):
        body = entry.bodies.get(name)
        fields += (b"", b"") if body is None else (body.salt.hex().encode(), body.value)
    return b"\t".join(fields) + b"\n"
