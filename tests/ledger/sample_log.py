"""A small log made of the pure parts alone: no database, no sequencer, every byte fixed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import dsse, merkle
from ledger.canonical import canonical
from ledger.checkpoint import Checkpoint, sign
from ledger.entry import ZERO_HASH, Body, Entry, Header
from ledger.event import LEDGER_CONTRACT, LEDGER_PARTY
from ledger.export import write
from ledger.fold import Entailed, own_submission
from ledger.kinds.ledger import LedgerOpened
from ledger.loading import StoredEntry
from ledger.note import Signer
from ledger.receipt import Receipt
from ledger.values import format_timestamp

ORIGIN = "ledger.example/h200"
START = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
STEP = timedelta(seconds=7)
CONTRACTS = (
    "5c1b8f2e-0d5a-4c3e-9f70-2a6f1d9b4e01",
    "b7e3a0c4-6a1f-4d2b-8c55-93d0e7f1a202",
    "e90d4c77-32b8-4f6e-a1c9-7b58c20f6d03",
)


def signer_of(seed: int, origin: str = ORIGIN) -> Signer:
    return Signer(origin, Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32)))


SIGNER = signer_of(1)
SUBMITTER, KEY = "acme", Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
"""Who signs its events, and with what."""


def opening(signer: Signer = SIGNER, *, clock: str = "system") -> bytes:
    """The event that opens a log, as the ledger itself says it."""
    data = {
        "versions": {"format": 1, "fold": 1, "engine": 1},
        "origin": signer.name,
        "key": str(signer.verifier),
        "clock": clock,
    }
    said = Entailed(LEDGER_CONTRACT, LedgerOpened, data)
    return own_submission(said, origin=signer.name, index=0, at=START).body


def registration(key: dsse.PrivateKey = KEY, *, party: str = SUBMITTER) -> dict[str, Any]:
    """As much of a key.registered as a verifier looks at."""
    data = {"algorithm": dsse.algorithm_of(key), "public_key": dsse.spelled(key.public_key())}
    return {"kind": "key.registered", "version": 1, "actor": {"party": party}, "data": data}


def salt_of(index: int, name: str) -> bytes:
    return sha256(f"salt of {name} {index}".encode()).digest()


class SampleLog:
    """Append events; export them, and give receipts."""

    def __init__(
        self,
        signer: Signer = SIGNER,
        *,
        genesis: bytes | None = None,
        of: str = LEDGER_CONTRACT,
        **given: Any,
    ) -> None:
        """`genesis` is the event of entry 0, and `of` its contract."""
        self.signer = signer
        self.entries: list[Entry] = []
        self._last: dict[str, tuple[int, bytes]] = {}
        self.append(of, opening(signer) if genesis is None else genesis, **given)

    @classmethod
    def of(cls, size: int, *, signed: Collection[int] = (), **given: Any) -> SampleLog:
        """A log of `size` entries of several contracts, interleaved; entries `signed` have a third body,
        and where there are any, a contract begins with the key."""
        log = cls(**given)
        for index in range(1, size):
            contract = CONTRACTS[index * 5 // 3 % len(CONTRACTS)]
            event: dict[str, Any] = {"id": index, "kind": "order.placed", "note": f"№ {index}\t\n"}
            if index in signed:
                log.append_signed(contract, {**event, "actor": {"party": SUBMITTER}})
            elif signed and contract not in log._last:
                log.append(contract, canonical(registration()))
            else:
                log.append(contract, canonical(event))
        return log

    def append_signed(
        self, contract: str, event: dict[str, Any], *by: dsse.PrivateKey, **given: Any
    ) -> Entry:
        """Add an entry of an event that is signed, by KEY if by no other."""
        envelope = dsse.Envelope.parse(dsse.sign(event, *(by or (KEY,))))
        return self.append(contract, envelope.payload, signatures=envelope.body, **given)

    @property
    def leaves(self) -> list[bytes]:
        return [entry.leaf for entry in self.entries]

    def append(
        self,
        contract: str,
        event: bytes,
        decision: bytes = b'{"outcome":"accepted"}',
        *,
        signatures: bytes | None = None,
        header: Mapping[str, Any] = MappingProxyType({}),
    ) -> Entry:
        """Add an entry that is right but for what `header` changes in its header."""
        index = len(self.entries)
        bodies = {"event": event, "decision": decision}
        if signatures is not None:
            bodies["signatures"] = signatures
        kept = {name: Body(salt_of(index, name), value) for name, value in bodies.items()}
        count, chain = self._last.get(contract, (0, ZERO_HASH))
        right = Header(
            index=index,
            previous=self.entries[-1].leaf if self.entries else ZERO_HASH,
            contract=contract,
            contract_index=count,
            contract_previous=chain,
            recorded_at=format_timestamp(START + STEP * index),
            decision=kept["decision"].commitment,
            event=kept["event"].commitment,
            signatures=kept["signatures"].commitment if signatures is not None else None,
        )
        entry = Entry.build(right._replace(**header), kept)
        self.entries.append(entry)
        self._last[contract] = count + 1, entry.leaf
        return entry

    def withhold(self, index: int, *names: str) -> None:
        entry = self.entries[index]
        bodies = {name: None if name in names else body for name, body in entry.bodies.items()}
        self.entries[index] = entry._replace(bodies=bodies)

    def checkpoint(self, size: int | None = None, *, signer: Signer | None = None) -> str:
        """The signed checkpoint of the first `size` entries."""
        leaves = self.leaves[:size]
        signer = signer or self.signer
        return sign(Checkpoint(signer.name, len(leaves), merkle.root(leaves)), signer)

    def receipt(self, index: int, size: int | None = None) -> Receipt:
        leaves, entry = self.leaves[:size], self.entries[index]
        decision = entry.bodies["decision"]
        assert decision is not None
        return Receipt(
            index=index,
            header=entry.raw,
            decision=decision.value,
            salts={name: body.salt for name, body in entry.bodies.items() if body is not None},
            tree_size=len(leaves),
            hashes=merkle.prove_inclusion(leaves, index),
            checkpoint=self.checkpoint(size),
        )

    def export(self, **given: Any) -> bytes:
        return export_of(self.entries, self.checkpoint(), self.signer, **given)


def export_of(entries: Iterable[Entry], checkpoint: str, signer: Signer, **given: Any) -> bytes:
    """What `ledger.export` writes of these entries."""
    file = io.BytesIO()
    asyncio.run(write(stored(entries), checkpoint=checkpoint, verifier=signer.verifier, to=file, **given))
    return file.getvalue()


async def stored(entries: Iterable[Entry]) -> AsyncIterator[StoredEntry]:
    """The entries as `Reader.stream` gives them."""
    for entry in entries:
        yield StoredEntry(entry, "kind", LEDGER_PARTY, "id", "accepted", START)
