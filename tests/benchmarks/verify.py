"""How near the offline verifier comes to the hash-only ceiling, and what memory it takes.

The ceiling is a loop in the same process that reads the same file, splits its lines, and computes
only the SHA-256s that the format demands: two commitments, the leaf, the nodes of the tree.

    python tests/benchmarks/verify.py [entries]
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
import uuid
from binascii import unhexlify
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.canonical import encode
from ledger.checkpoint import Checkpoint, sign
from ledger.entry import ZERO_HASH, Body, Entry, Header
from ledger.export import write
from ledger.export_file import CHUNK_BYTES
from ledger.loading import StoredEntry
from ledger.merkle import Frontier
from ledger.note import Signer
from ledger.values import format_timestamp
from ledger.verify import verify_export

ENTRIES = 50_000
CONTRACTS = 50
ROUNDS = 3
EVENT_BYTES = 640
DECISION_BYTES = 1_200
START = datetime(2027, 1, 1, tzinfo=UTC)
signer = Signer("ledger.example/bench", Ed25519PrivateKey.from_private_bytes(bytes(32)))


def main(size: int = ENTRIES) -> float:
    """Print the medians, and give the share of the ceiling that the verifier reaches."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.export"
        tree = Frontier()
        for entry in _log(size):
            tree.append(entry.leaf)
        _export(path, size, tree)
        before_mib, times = _rss_mib(), _measure(path)
        megabytes = path.stat().st_size / 1e6
    hashing, verifying = (float(statistics.median(each)) for each in zip(*times, strict=True))
    share = hashing / verifying
    print(f"export of {size:,} entries, {CONTRACTS} contracts, {megabytes:,.0f} MB")
    print(f"hash-only ceiling  {size / hashing:>9,.0f} entries/s  {hashing / size * 1e6:6.2f} µs")
    print(f"full verification  {size / verifying:>9,.0f} entries/s  {verifying / size * 1e6:6.2f} µs")
    print(f"share of the ceiling {share:.0%}; must be 35 %, aim 55 %")
    print(f"peak RSS {_peak_mib():.0f} MiB, {_peak_mib() - before_mib:.0f} MiB above the start")
    return share


def _measure(path: Path) -> list[tuple[float, float]]:
    """Seconds of hashing and of verifying, in rounds: the machine is noisy, so they take turns."""
    return [(_seconds(_hash, path), _seconds(_verify, path)) for _ in range(ROUNDS)]


def _seconds(work: Callable[[Path], object], path: Path) -> float:
    start = time.perf_counter()
    work(path)
    return time.perf_counter() - start


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        verify_export(file, verifier=signer.verifier)


def _hash(path: Path) -> None:
    nodes: list[bytes] = []
    size, tail = 0, b""
    with path.open("rb") as file:
        file.readline()
        while chunk := file.read(CHUNK_BYTES):
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                header, event_salt, event, decision_salt, decision = line.split(b"\t")
                sha256(unhexlify(event_salt) + event).digest()
                sha256(unhexlify(decision_salt) + decision).digest()
                node = sha256(b"\0" + header).digest()
                height = size
                while height & 1:
                    node = sha256(b"\1" + nodes.pop() + node).digest()
                    height >>= 1
                nodes.append(node)
                size += 1


# --- the log --------------------------------------------------------------------------------------


def _export(path: Path, size: int, tree: Frontier) -> None:
    note = sign(Checkpoint(signer.name, size, tree.root()), signer)

    async def stream() -> AsyncIterator[StoredEntry]:
        for entry in _log(size):
            yield StoredEntry(entry, "shipment.dispatched", "maker.example", "", "accepted", START)

    async def run() -> None:
        with path.open("wb") as file:
            await write(stream(), checkpoint=note, verifier=signer.verifier, to=file)

    asyncio.run(run())


def _log(size: int) -> Iterator[Entry]:
    """The same entries every time, made one by one so that they take no memory."""
    contracts = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"contract {n}")) for n in range(CONTRACTS)]
    chains: dict[str, tuple[int, bytes]] = {}
    previous = ZERO_HASH
    for index in range(size):
        contract = contracts[index * 7 % CONTRACTS] if index else "_ledger"
        count, chain = chains.get(contract, (0, ZERO_HASH))
        at = START + timedelta(milliseconds=7 * index)  # a time of its own for each: the dearest
        event, decision = _bodies(index, contract, at)
        header = Header(
            index=index,
            previous=previous,
            contract=contract,
            contract_index=count,
            contract_previous=chain,
            recorded_at=format_timestamp(at),
            decision=decision.commitment,
            event=event.commitment,
        )
        entry = Entry.build(header, {"event": event, "decision": decision})
        previous = entry.leaf
        chains[contract] = count + 1, previous
        yield entry


def _bodies(index: int, contract: str, at: datetime) -> tuple[Body, Body]:
    event: dict[str, Any] = {
        "actor": {"party": "maker.example", "role": "exporter"},
        "contract": contract,
        "data": {"serials": [f"1654{index:08}{n}" for n in range(3)], "shipment": f"SH-{index}"},
        "id": str(uuid.UUID(int=index)),
        "kind": "shipment.dispatched" if index else "ledger.opened",
        "occurred_at": format_timestamp(at),
        "version": 1,
    }
    if not index:
        event["data"] = {
            "clock": "system",
            "key": str(signer.verifier),
            "origin": signer.name,
            "versions": {"engine": 1, "fold": 1, "format": 1},
        }
    decision: dict[str, Any] = {
        "outcome": "accepted",
        "engine": 1,
        "policies": [{"policy": "constitution", "version": 1, "sha256": ZERO_HASH.hex()}],
        "proposals": [],
        "conditions": [
            {"id": f"c{n}", "uses": "shipment.within_license", "policy": 0, "result": "pass",
             "action": "deny", "clock": "recorded_at", "observed": index, "unit": "units"}
            for n in range(6)
        ],
    }  # fmt: skip
    _pad(event, EVENT_BYTES)
    _pad(decision, DECISION_BYTES)
    salts = sha256(b"event %d" % index).digest(), sha256(b"decision %d" % index).digest()
    return Body(salts[0], encode(event)), Body(salts[1], encode(decision))


def _pad(value: dict[str, Any], length: int) -> None:
    value["note"] = ""
    value["note"] = "." * (length - len(encode(value)))


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
