"""The event that every contender is given: three devices of one site, attested for one hour."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from ledger.canonical import encode

CONTRACT = "5a0f7c0e-9a1d-4f55-8f43-2b7f6a0c9d11"
SITE = "SHA-1"
DATA_CENTRE = "dragon-dc"
DEVICES = 3_000
"""So many that a batch of a thousand events never speaks of one device twice."""
SERIALS = [f"SN{number:06}" for number in range(1, DEVICES + 1)]
PER_EVENT = 3


def attestation(number: int) -> dict[str, Any]:
    """The JSON of an event with an id of its own; `number` chooses the devices."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    until = hour + timedelta(hours=1)
    first = number * PER_EVENT % DEVICES
    return {
        "id": _random_uuid(),
        "kind": "usage.attested",
        "version": 1,
        "contract": CONTRACT,
        "occurred_at": _spelled(until),
        "actor": {"party": DATA_CENTRE, "role": "data_centre"},
        "data": {
            "site": SITE,
            "from": _spelled(hour),
            "until": _spelled(until),
            "level": "L1",
            "devices": [
                {"serial": serial, "outcome": "pass", "busy_seconds": 3_120}
                for serial in SERIALS[first : first + PER_EVENT]
            ],
        },
        "evidence": [
            {
                "sha256": sha256(b"%d" % number).hexdigest(),
                "media_type": "text/csv",
                "uri": f"s3://telemetry/{number:08}",
            }
        ],
    }


def body(number: int) -> bytes:
    """The same as canonical JSON."""
    return encode(attestation(number))


def _spelled(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _random_uuid() -> str:
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
