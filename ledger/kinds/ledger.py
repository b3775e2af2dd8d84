"""What the ledger itself says, in the transaction of its cause."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from ledger.event import Event, Kind, Nature
from ledger.facts import Facts
from ledger.values import Any_, Identifier, Text, Value

OURS = frozenset({"ledger"})


class Own(Kind):
    """Changes no fact: it says aloud what its cause has brought about."""

    nature: ClassVar[Nature] = "own"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = OURS

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        return


class Versions(Value):
    format: int
    """Entry format (`ledger/FORMAT.md`)."""
    fold: int
    """Fold of events into facts (`ledger.facts`)."""
    engine: int
    """Policy engine."""


class LedgerOpened(Own, kind="ledger.opened"):
    """Genesis, entry 0: what the log is written in, under which name and key, by which clock."""

    example: ClassVar[dict[str, Any]] = {
        "versions": {"format": 1, "fold": 1, "engine": 1},
        "origin": "chipledger.example/h200",
        "key": "chipledger.example/h200+00000000+AQ==",
        "clock": "system",
    }

    versions: Versions
    origin: Text
    """Name of the log in its checkpoints (C2SP tlog-checkpoint)."""
    key: Text
    """Verifier key of its checkpoints (C2SP signed-note)."""
    clock: Literal["system", "simulated"]


class SuspensionProposed(Own, kind="suspension.proposed"):
    """A condition asks for a suspension; a person with authority decides."""

    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "cause": 41, "condition": "live"}

    license: Identifier
    cause: int
    """Index of the entry whose decision proposes it."""
    condition: Text


class InTransit(Value):
    shipment: Identifier
    units: int


SCOPE_MAX = 1_000


class RevocationScoped(Own, kind="revocation.scoped"):
    """What a revocation touches at the instant it is recorded.

    Of each list the first SCOPE_MAX, and how many there are: a license with more open orders than
    one event can name must be revocable all the same.
    """

    example: ClassVar[dict[str, Any]] = {
        "license": "D-100200",
        "cause": 52,
        "orders": ["PO-4712"],
        "orders_count": 1,
        "released": [],
        "released_count": 0,
        "in_transit": [{"shipment": "SH-2", "units": 200}],
        "in_transit_count": 1,
        "units_released": 1197,
    }

    license: Identifier
    cause: int
    orders: Any_[Text]
    """Orders that still reserve units."""
    orders_count: int
    released: Any_[InTransit]
    """Shipments released and not dispatched."""
    released_count: int
    in_transit: Any_[InTransit]
    """Shipments dispatched and not received."""
    in_transit_count: int
    units_released: int
