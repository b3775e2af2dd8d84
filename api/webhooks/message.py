"""What a receiver is sent: an entry as a CloudEvents 1.0 event, in the structured JSON format.

The same bytes at every attempt, so that a receiver can compare what it was told twice. Deliveries may
arrive twice and in any order: `data.index` says which entry it is, `id` and `source` together the same.
"""

from __future__ import annotations

from typing import Any

import orjson

from ledger.entry import Body
from ledger.loading import StoredEntry
from ledger.receipt import Receipt
from ledger.values import format_timestamp

MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
EVENT_BYTES_MAX = 64 << 10
RECEIPT_BYTES_MAX = 64 << 10
"""What is larger shows as null, and is read at `/v1/entries/<index>`."""
VERIFICATION, TEST = "chipledger.webhook.verification", "chipledger.webhook.test"


def of_entry(stored: StoredEntry, *, source: str, receipt: Receipt, revocation: bytes = b"null") -> bytes:
    """`source`: the log's origin. `revocation`: JSON of what concerns the receiver (`scope.touched`)."""
    header = stored.entry.header
    recorded_at = format_timestamp(stored.recorded_at)
    event = stored.entry.bodies.get("event")
    told = receipt.encode()
    data = orjson.dumps(
        {
            "index": stored.index,
            "kind": stored.kind,
            "contract": header.contract,
            "outcome": stored.outcome,
            "party": stored.party,
            "event_id": stored.event_id,
            "recorded_at": recorded_at,
            "leaf_hash": stored.entry.leaf.hex(),
        }
    )
    return b'%s,"data":%s,"event":%s,"receipt":%s,"revocation":%s}}' % (
        _envelope(str(stored.index), source, stored.kind, header.contract, recorded_at)[:-1],
        data[:-1],
        _shown(event),
        told if len(told) <= RECEIPT_BYTES_MAX else b"null",
        revocation,
    )


def of_test(message_id: str, *, source: str, type_: str, at: str, data: dict[str, Any]) -> bytes:
    """A handshake or a test: of no entry."""
    return b'%s,"data":%s}' % (_envelope(message_id, source, type_, None, at)[:-1], orjson.dumps(data))


def _envelope(id_: str, source: str, type_: str, subject: str | None, time: str) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": id_,
            "source": source,
            "type": type_ if type_.startswith("chipledger.") else f"chipledger.{type_}",
            **({} if subject is None else {"subject": subject}),
            "time": time,
            "datacontenttype": "application/json",
        }
    )


def _shown(event: Body | None) -> bytes:
    return event.value if event is not None and len(event.value) <= EVENT_BYTES_MAX else b"null"
