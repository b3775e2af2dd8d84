"""What the ledger says of its own soundness, found by a look at all of it (`ledger.integrity`).

They have no cause in the log: they tell of what was found outside it. A replay judges each as it stands
and recomputes nothing of it, and it changes no fact.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ledger.kinds.ledger import Own
from ledger.values import Any_, Sha256, Text, Timestamp, Value

FAILURES_NAMED = 100


class Evidence(Value):
    """A digest, a size, the name of a column: never what a body says."""

    name: Text
    value: Text


class IntegrityFailed(Own, kind="integrity.failed"):
    """A look at the log found something that is not as it was committed."""

    example: ClassVar[dict[str, Any]] = {
        "failure": "7a" * 32,
        "damage": "event_altered",
        "where": "entry 17",
        "at_index": 17,
        "evidence": [{"name": "is", "value": "5e" * 32}, {"name": "must_be", "value": "7a" * 32}],
        "found_at": "2027-03-02T00:00:00.000000Z",
        "found_by": "watch-2:4711",
    }

    failure: Sha256
    """Digest of the kind of damage and its place, by which an explanation names it."""
    damage: Text
    where: Text
    at_index: Annotated[int, Field(ge=0)] | None = None
    """Index of the damaged entry, where it can be told."""
    evidence: Any_[Evidence] = ()
    found_at: Timestamp
    found_by: Text
    """Host and process."""


class IntegrityExplained(Own, kind="integrity.explained"):
    """An operator says what came of failures: until then no look passes."""

    example: ClassVar[dict[str, Any]] = {
        "failures": ["7a" * 32],
        "failures_count": 1,
        "words": "A technician edited row 17; it was restored from the export of that morning.",
        "explained_by": "0123456789ab",
    }

    failures: Any_[Sha256]
    """The first FAILURES_NAMED of them."""
    failures_count: Annotated[int, Field(ge=0)]
    words: Text
    explained_by: Text
    """Id of the operator's API key."""


class IntegritySummarised(Own, kind="integrity.summarised"):
    """What the looks at the log came to, once a day."""

    example: ClassVar[dict[str, Any]] = {
        "since": "2027-03-01T00:00:00.000000Z",
        "until": "2027-03-02T00:00:00.000000Z",
        "runs": 1729,
        "damaged": 0,
        "unexplained": 0,
        "verified": 41000,
        "root": "7a" * 32,
        "result": "intact",
    }

    since: Timestamp
    until: Timestamp
    runs: Annotated[int, Field(ge=0)]
    damaged: Annotated[int, Field(ge=0)]
    """Runs that found damage."""
    unexplained: Annotated[int, Field(ge=0)]
    """Runs that found none, while an earlier failure was not explained."""
    verified: Annotated[int, Field(ge=0)]
    """Entries from the first that are known to be sound, every byte."""
    root: Sha256
    """Root hash of these."""
    result: Literal["intact", "damaged", "unexplained"]
    """Of the last run."""
