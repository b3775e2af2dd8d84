"""What a replay makes of erasures: the ledger says them on an accepted request, or a log is forged."""

from __future__ import annotations

import io
from typing import Any

from ledger.fold import Entailed, own_submission
from ledger.kinds.records import ValueErased
from ledger.values import parse_timestamp
from policies.engine import Engine
from policies.exported import replay_export
from policies.replay import Outcome
from tests.ledger.sample_log import ORIGIN
from tests.policies.told_log import CONTRACT, EXPORTER, ToldLog, told

AT = "2027-09-12T15:00:00Z"


def requested(log: ToldLog, *entries: int) -> int:
    decision = log.say("purge.requested", EXPORTER, AT, entries=list(entries), reason="retention is over")
    assert decision.outcome == "accepted"
    return log.history.size - 1


def erase(log: ToldLog, index: int, request: int, **changes: Any) -> None:
    """Have the ledger say it, and leave the bodies in place."""
    event, header = log.event(index), log.entries[index].header
    data = {
        "index": index, "id": event.id, "kind": event.kind, "party": event.actor.party,
        "outcome": log.decision(index)["outcome"],
        "bodies": {"decision": header.decision.hex(), "event": header.event.hex()},
        "request": request, "facts": [], "part": 1, "parts": 1, **changes,
    }  # fmt: skip
    at = parse_timestamp(AT)
    said = Entailed(CONTRACT, ValueErased, data)
    log._commit(own_submission(said, origin=ORIGIN, index=log.history.size, at=at), at)


def replayed(log: ToldLog, *gone: int) -> Outcome:
    """The log judged again, without the bodies of some entries."""
    lines = log.export().split(b"\n")
    for index in gone:
        header, *fields = lines[index + 1].split(b"\t")
        lines[index + 1] = b"\t".join([header, *(b"" for _ in fields)])
    return replay_export(io.BytesIO(b"\n".join(lines)), Engine())


def denied(log: ToldLog) -> int:
    """The first entry that was refused: it made no facts."""
    return next(n for n in range(log.history.size) if log.decision(n)["outcome"] == "denied")


def test_an_erasure_that_was_asked_for_is_called_for() -> None:
    log = told()
    index = denied(log)
    erase(log, index, requested(log, index))
    assert replayed(log).difference is None
    outcome = replayed(log, index)
    assert (outcome.difference, outcome.withheld_first) == (None, (index,))


def test_an_erasure_that_nobody_asked_for_is_found() -> None:
    log = told()
    index = denied(log)
    erase(log, index, 0)
    for gone in ((), (index,)):
        difference = replayed(log, *gone).difference
        assert difference is not None
        assert (difference.index, difference.what, difference.kind) == (
            log.history.size - 1, "uncalled", "value.erased",
        )  # fmt: skip


def test_an_erasure_on_another_request_is_found() -> None:
    log = told()
    index = denied(log)
    request = requested(log, index)
    erase(log, index, request - 1)
    difference = replayed(log).difference
    assert difference is not None
    assert (difference.index, difference.what) == (request + 1, "uncalled")


def test_facts_that_the_entry_did_not_make_show_in_what_follows() -> None:
    """Nobody can compare them with the words that are gone; what rests on them comes out otherwise."""
    log = told()
    first = next(n for n in range(log.history.size) if log.event(n).kind == "order.placed"
                 and log.decision(n)["outcome"] == "accepted")  # fmt: skip
    erase(log, first, requested(log, first))
    difference = replayed(log, first).difference
    assert difference is not None
    assert difference.index > first
