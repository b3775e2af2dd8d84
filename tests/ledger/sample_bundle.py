"""Bundles of the sample log, with every byte fixed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from ledger import merkle
from ledger.archive import pack, unpack
from ledger.bundle import MANIFEST, Anchor, Asked, Content, Summary
from ledger.canonical import canonical, parse
from ledger.entry import Entry
from ledger.event import LEDGER_CONTRACT
from ledger.merkle import Frontier, Growth, siblings_of_all
from ledger.summary import Tail, prove, root_of
from tests.ledger.sample_log import CONTRACTS, SampleLog

TEXT = "policy: example\n"
DIGEST = sha256(TEXT.encode()).hexdigest()
_CONSTITUTION = {"policy": "constitution", "version": 1}
_ACCEPTED: dict[str, Any] = {
    "conditions": [], "engine": 1, "outcome": "accepted", "policies": [_CONSTITUTION], "proposals": [],
}  # fmt: skip
_EXAMPLE = {"policy": "example", "sha256": DIGEST, "version": 1}
DECISION = canonical({**_ACCEPTED, "policies": [_CONSTITUTION, _EXAMPLE]})
SIZE = 14


class _Judged(SampleLog):
    """Its decisions are of the form that a ledger commits."""

    def append(
        self, contract: str, event: bytes, decision: bytes = canonical(_ACCEPTED), **given: Any
    ) -> Entry:
        return super().append(contract, event, decision, **given)


def summarised(*, after: int = 2) -> tuple[SampleLog, Summary]:
    """A log of 14 entries whose twelfth says how its chains end, and the proof for the first contract."""
    log = _Judged.of(SIZE - after - 1)
    tails = tails_of(log)
    data = {"contracts": len(tails), "root": root_of(tails).hex()}
    log.append(LEDGER_CONTRACT, canonical({"kind": "contracts.summarised", "version": 1, "data": data}))
    index = len(log.entries) - 1
    for number in range(after):
        log.append(CONTRACTS[number % 2], canonical({"id": number, "kind": "order.placed"}), DECISION)
    return log, Summary(index, prove(tails, CONTRACTS[0]))


def tails_of(log: SampleLog) -> list[Tail]:
    ends = {entry.header.contract: entry for entry in log.entries}
    return [
        Tail(name, entry.header.contract_index + 1, entry.leaf.hex()) for name, entry in sorted(ends.items())
    ]


def content(
    log: SampleLog, asked: Asked, indexes: Collection[int], *, summary: Summary | None = None, **given: Any
) -> Content:
    """These entries of a log, proven under the checkpoint of all of it."""
    tree = Growth(Frontier(), log.leaves)
    made = Content(
        asked=asked,
        reader={"role": "auditor", "party": None},
        checkpoint=log.checkpoint(),
        verifier=log.signer.verifier,
        entries=[log.entries[index] for index in sorted(indexes)],
        hashes=[tree.node(*at) for at in siblings_of_all(indexes, len(log.leaves))],
        summary=summary,
        anchors=(),
        documents={DIGEST: TEXT} if any(_cites(log, index) for index in indexes) else {},
        schemas={("order.placed", 1): b"{}\n"},
        page=b"<!DOCTYPE html>\n",
    )
    return made._replace(**given)


def _cites(log: SampleLog, index: int) -> bool:
    body = log.entries[index].bodies["decision"]
    return body is not None and body.value == DECISION


def whole() -> Content:
    """The first contract, shown whole, and an older checkpoint that others have vouched for."""
    log, summary = summarised()
    chain = {entry.header.index for entry in log.entries if entry.header.contract == CONTRACTS[0]}
    anchor = Anchor(log.checkpoint(9), merkle.prove_consistency(log.leaves, 9), b"token")
    asked = {"contract": CONTRACTS[0]}
    return content(log, asked, {0, summary.index, *chain}, summary=summary, anchors=(anchor,), schemas={})


def rewritten(raw: bytes, changes: Mapping[str, bytes | None], **said: Any) -> bytes:
    """The bundle with other files, and a manifest that fits them; what is `said` in it is changed too."""
    files = {**unpack(raw), **changes}
    kept = {name: body for name, body in files.items() if body is not None and name != MANIFEST}
    manifest: Any = parse(unpack(raw)[MANIFEST])
    manifest["files"] = {
        name: {"bytes": len(body), "sha256": sha256(body).hexdigest()} for name, body in kept.items()
    }
    return pack({MANIFEST: canonical({**manifest, **said}), **kept})
