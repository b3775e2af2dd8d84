"""Erasing: what is kept of an entry whose bodies go, and the words in which the ledger says so.

An entry's facts stay, for later decisions rest on them. So the event that says that its bodies are
erased carries those that it changed, as they were right behind it: whoever folds or judges the log
again puts these in the place of the entry, and comes out where the log did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from ledger.decision import Decision
from ledger.event import Event, committed_event
from ledger.facts import Erasure, Fact, Facts, Recorded, decode, erasure_key
from ledger.fold import Entailed
from ledger.kinds.records import PurgeRequested, ValueErased

PART_BYTES = 512 << 10
"""Of facts in one event, which may be 1 MiB: a large shipment changes ten thousand."""


@dataclass(slots=True)
class Erasing:
    """An entry whose bodies are to be erased, and the facts that it changed."""

    contract: str
    index: int
    id: str
    request: int
    kind: str
    party: str
    outcome: str
    bodies: dict[str, str]
    """Body name → commitment, hex, as its header has them."""
    facts: Sequence[Fact]
    part_bytes: int = PART_BYTES
    refused: Decision | None = None
    """Why it is not erased: the request, asked again under the lock, would be denied now."""

    def asked_again(self, facts: Facts) -> Event | None:
        """The request anew, for this entry alone; None if nothing is to be erased any more.

        Since it was accepted a legal hold may have been placed, or a shipment dispatched.
        """
        erasure = facts.get(Erasure, erasure_key(self.contract, self.index))
        recorded = facts.get(Recorded, str(self.request))
        if erasure is None or erasure.erased is not None or recorded is None or recorded.event is None:
            return None
        event: Event = recorded.event
        if not isinstance(event.data, PurgeRequested):
            return None
        data = event.data.model_copy(update={"entries": (self.index,)})
        # The revision of the document that it cites has been used: by itself.
        return event.model_copy(update={"data": data, "document": None})

    def said(self) -> list[Entailed]:
        """What the ledger says: one event, or several in order."""
        parts = list(_parts(self.facts, self.part_bytes)) or [[]]
        return [
            Entailed(
                self.contract,
                ValueErased,
                {
                    "index": self.index,
                    "id": self.id,
                    "kind": self.kind,
                    "party": self.party,
                    "outcome": self.outcome,
                    "bodies": self.bodies,
                    "request": self.request,
                    "facts": facts,
                    "part": number,
                    "parts": len(parts),
                },
            )
            for number, facts in enumerate(parts, 1)
        ]


def _parts(facts: Iterable[Fact], most: int) -> Iterator[list[dict[str, object]]]:
    part: list[dict[str, object]] = []
    size = 0
    for fact in facts:
        raw = fact.encode()
        if part and size + len(raw) > most:
            yield part
            part, size = [], 0
        part.append({"name": fact.name, "data": orjson.loads(raw)})
        size += len(raw)
    if part:
        yield part


class Kept(NamedTuple):
    """What the log still says of an erased entry."""

    recorded: Recorded
    id: str
    facts: tuple[Fact, ...]
    by: int
    """Index of the last entry that says that it is erased."""


def kept_in(said: Iterable[tuple[int, bytes | None]]) -> Kept | None:
    """Of one entry's `value.erased`, by index; None if one of them is not there."""
    events = [(by, None if body is None else committed_event(body)) for by, body in said]
    facts: list[Fact] = []
    for _, event in events:
        if event is None or not isinstance(event.data, ValueErased):
            return None
        facts += (decode(kept.name, orjson.dumps(kept.data)) for kept in event.data.facts)
    by, last = events[-1]
    assert last is not None
    data = last.data
    assert isinstance(data, ValueErased)
    recorded = Recorded(
        index=data.index, contract=last.contract, kind=data.kind, party=data.party,
        outcome=data.outcome, event=None,
    )  # fmt: skip
    return Kept(recorded, data.id, tuple(facts), by)
