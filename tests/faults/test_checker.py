"""The checker can fail: each property is broken by hand, once, and must be named."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import database
from ledger.batch import Batch
from ledger.checkpoint import Checkpoint, sign
from ledger.clock import BEFORE_ALL
from ledger.decision import Decision
from ledger.errors import NotFound
from ledger.event import Event, Submission, submission_of
from ledger.facts import Facts, Key
from ledger.fold import missing
from ledger.head import Head
from ledger.merkle import EMPTY_ROOT
from ledger.note import Signer
from ledger.receipt import Receipt
from ledger.statements import NewEntry
from tests.faults import checker
from tests.faults.checker import Attempt, Bodies, Log, Row
from tests.ledger import rfc9162
from tests.workbench import wire

SIGNER = Signer("faults.example/log", Ed25519PrivateKey.from_private_bytes(b"\7" * 32))
AT = datetime(2027, 3, 1, 12, tzinfo=UTC)
MS = 1_000_000
Story = tuple[list[Attempt], Log]


class _Accepts:
    engine = 1

    def reads(self, event: Event, facts: Facts) -> list[Key]:
        return []

    def judge(self, event: Event, facts: Facts, *, at: datetime) -> Decision:
        return Decision("accepted", 1, ())


def _head() -> Head:
    return Head(
        epoch=1, size=0, root=EMPTY_ROOT, frontier=b"", last_leaf=bytes(32), recorded_at=BEFORE_ALL,
        format=1, fold=1, engine=1, origin=SIGNER.name, verifier_key=str(SIGNER.verifier), clock="system",
    )  # fmt: skip


def _story(*batches: Sequence[Submission]) -> Story:
    """A log written batch after batch, and its clients' history: each sends when the last has its answer."""
    head, facts = _head(), Facts()
    entries: list[NewEntry] = []
    history: list[Attempt] = []
    now = 0
    for submissions in batches:
        batch = Batch(head, facts, _Accepts(), at=AT)
        for submission in submissions:
            while keys := missing(submission.event, facts):
                facts.load((key, None) for key in keys)
            batch.append(submission)
        head, growth = batch.grow()
        checkpoint = sign(Checkpoint(head.origin, head.size, head.root), SIGNER)
        for new, submission in zip(batch.entries, submissions, strict=True):
            decision, event = new.entry.bodies["decision"], new.entry.bodies["event"]
            assert decision is not None
            assert event is not None
            receipt = Receipt(
                index=new.entry.header.index, header=new.entry.raw, decision=decision.value,
                salts={"decision": decision.salt, "event": event.salt}, tree_size=head.size,
                hashes=growth.prove_inclusion(new.entry.header.index), checkpoint=checkpoint,
            )  # fmt: skip
            history.append(
                Attempt(
                    new.party,
                    new.event_id,
                    submission.body,
                    sent_ns=now,
                    answered_ns=now + MS,
                    status=201,
                    answer=receipt.encode(),
                )
            )
        entries += batch.entries
        now += 2 * MS
    leaves = [new.entry.leaf for new in entries]
    log = Log(
        origin=head.origin, size=head.size, root=head.root, last_leaf=head.last_leaf,
        rows=tuple(map(_row, entries)), bodies={new.entry.header.index: _bodies(new) for new in entries},
        tiles=dict(checker.full_tiles(leaves)),
    )  # fmt: skip
    return history, log


def _row(new: NewEntry) -> Row:
    header = new.entry.header
    return Row(
        header.index, header.contract, header.contract_index, new.party, new.event_id, new.outcome,
        new.entry.leaf, new.entry.raw,
    )  # fmt: skip


def _bodies(new: NewEntry) -> Bodies:
    event, decision = new.entry.bodies["event"], new.entry.bodies["decision"]
    assert event is not None
    assert decision is not None
    return Bodies(event.salt, event.value, decision.salt, decision.value)


def _orders(count: int) -> list[Submission]:
    return [submission_of(wire("order.placed", order=f"PO-{uuid.uuid4()}")) for _ in range(count)]


@pytest.fixture(scope="module")
def story() -> Story:
    return _story(_orders(3), _orders(1), _orders(250), _orders(5), _orders(2))


def _properties(story: Story) -> set[str]:
    return {one.property for one in checker.check(*story, SIGNER.verifier)}


def test_a_true_history_of_a_true_log_holds(story: Story) -> None:
    assert checker.check(*story, SIGNER.verifier) == []
    checker.assert_holds(*story, SIGNER.verifier)


# --- the log was doctored -------------------------------------------------------------------------


def _drop_the_tail(story: Story) -> Story:
    """The last entry is gone, and all that is left is consistent with that."""
    history, log = story
    leaves = [row.leaf for row in log.rows[:-1]]
    return history, replace(
        log, rows=log.rows[:-1], size=log.size - 1, last_leaf=leaves[-1], tiles=log.tiles,
        root=checker.prefix_roots(leaves, [len(leaves)])[len(leaves)],
        bodies={index: bodies for index, bodies in log.bodies.items() if index != log.size - 1},
    )  # fmt: skip


def _drop_the_middle(story: Story) -> Story:
    history, log = story
    return history, replace(log, rows=log.rows[:2] + log.rows[3:])


def _swap(story: Story) -> Story:
    history, log = story
    rows = list(log.rows)
    rows[1], rows[2] = replace(rows[2], index=1), replace(rows[1], index=2)
    return history, replace(log, rows=tuple(rows))


def _say_twice(story: Story) -> Story:
    """The second entry stands again at the end, under a header of its own, all rehashed."""
    history, log = story
    twice, at = log.rows[1], log.size
    header = json.loads(twice.header)
    header |= {"index": at, "previous": log.last_leaf.hex(), "contract_index": at}
    header["contract_previous"] = log.last_leaf.hex()
    raw = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    again = replace(twice, index=at, contract_index=at, header=raw, leaf=sha256(b"\0" + raw).digest())
    rows = (*log.rows, again)
    root = checker.prefix_roots([row.leaf for row in rows], [at + 1])[at + 1]
    return history, replace(
        log, rows=rows, size=at + 1, root=root, last_leaf=again.leaf,
        bodies={**log.bodies, at: log.bodies[1]},
    )  # fmt: skip


def _forge_the_root(story: Story) -> Story:
    return story[0], replace(story[1], root=bytes(32))


def _forge_a_tile(story: Story) -> Story:
    return story[0], replace(story[1], tiles={(0, 0): bytes(8192)})


def _edit_a_body(story: Story) -> Story:
    history, log = story
    edited = replace(log.bodies[4], event=log.bodies[4].event.replace(b"1000", b"9000"))
    return history, replace(log, bodies={**log.bodies, 4: edited})


def _lose_a_body(story: Story) -> Story:
    history, log = story
    return history, replace(log, bodies={i: one for i, one in log.bodies.items() if i != 4})


def _orphan_a_body(story: Story) -> Story:
    history, log = story
    return history, replace(log, bodies={**log.bodies, log.size: log.bodies[4]})


def _link_to_nothing(story: Story) -> Story:
    return story[0], replace(story[1], links=frozenset({10_000}))


def _break_a_contract(story: Story) -> Story:
    history, log = story
    rows = list(log.rows)
    rows[3] = replace(rows[3], contract_index=7)
    return history, replace(log, rows=tuple(rows))


def _say_it_as_the_ledger(story: Story) -> Story:
    history, log = story
    rows = list(log.rows)
    rows[3] = replace(rows[3], party="_ledger")
    return history, replace(log, rows=tuple(rows))


def _move_the_head(story: Story) -> Story:
    return story[0], replace(story[1], size=story[1].size + 1)


def _drift(story: Story) -> Story:
    return story[0], replace(story[1], differences=("license D-1: stored as 400, must be 401",))


def _rewrite(story: Story) -> Story:
    """Another log of the same events, whole and consistent in itself: only receipts can tell."""
    history, log = story
    _, other = _story([submission_of(json.loads(log.bodies[row.index].event)) for row in log.rows])
    return history, other


# --- the history was doctored ---------------------------------------------------------------------


def _change(story: Story, index: int, **changes: object) -> Story:
    history = list(story[0])
    history[index] = replace(history[index], **changes)  # type: ignore[arg-type]
    return history, story[1]


def _never_sent(story: Story) -> Story:
    return [attempt for attempt in story[0] if attempt is not story[0][5]], story[1]


def _other_bytes(story: Story) -> Story:
    body = story[0][5].body.replace(b"1000", b"2000")
    return _change(story, 5, body=body, status=None, answered_ns=None)


def _answered_out_of_order(story: Story) -> Story:
    """The first was sent only when the whole log had been answered."""
    return _change(story, 0, sent_ns=100 * MS, answered_ns=101 * MS)


def _answered_with_another(story: Story) -> Story:
    """One id has two receipts, of entries that are both there."""
    history, log = story
    extra = replace(history[3], id=history[4].id, body=history[4].body)
    return [*history, extra], log


def _created_twice(story: Story) -> Story:
    return [*story[0], story[0][4]], story[1]


def _refused_and_there(story: Story) -> Story:
    return _change(story, 5, status=503, problem="unavailable", answer=b"{}")


def _forged_checkpoint(story: Story) -> Story:
    """Signed by the log's own key over another root: a fork, shown to one client."""
    history, log = story
    _, other = _story(_orders(log.size + 1))
    fork = sign(Checkpoint(log.origin, other.size, other.root), SIGNER)
    rows = [row.leaf for row in other.rows]
    last = other.rows[-1]
    bodies = other.bodies[last.index]
    receipt = Receipt(
        index=last.index, header=last.header, decision=bodies.decision,
        salts={"decision": bodies.decision_salt, "event": bodies.event_salt},
        tree_size=other.size, hashes=rfc9162.path(last.index, tuple(rows)), checkpoint=fork,
    )  # fmt: skip
    attempt = Attempt(last.party, last.event_id, bodies.event, 0, MS, 201, receipt.encode())
    return [*history, attempt], log


def _foreign_receipt(story: Story) -> Story:
    foreign = Signer(SIGNER.name, Ed25519PrivateKey.generate())
    value = json.loads(story[0][4].answer)
    text = value["checkpoint"].partition("\n\n")[0] + "\n"
    value["checkpoint"] = sign(Checkpoint.parse(text), foreign)
    return _change(story, 4, answer=json.dumps(value).encode())


def _wrong_status(story: Story) -> Story:
    return _change(story, 4, status=422)


DOCTORED: list[tuple[Callable[[Story], Story], set[str]]] = [
    (_drop_the_tail, {"lost", "checkpoint"}),
    (_drop_the_middle, {"gap", "chain", "root"}),
    (_swap, {"lost", "chain"}),
    (_say_twice, {"once"}),
    (_forge_the_root, {"root"}),
    (_forge_a_tile, {"root"}),
    (_edit_a_body, {"body"}),
    (_lose_a_body, {"half"}),
    (_orphan_a_body, {"half"}),
    (_link_to_nothing, {"half"}),
    (_break_a_contract, {"contract"}),
    (_say_it_as_the_ledger, {"submitted"}),
    (_move_the_head, {"gap"}),
    (_drift, {"facts"}),
    (_rewrite, {"lost", "checkpoint"}),
    (_never_sent, {"submitted"}),
    (_other_bytes, {"submitted"}),
    (_answered_out_of_order, {"order"}),
    (_answered_with_another, {"receipt"}),
    (_created_twice, {"once"}),
    (_refused_and_there, {"untrue"}),
    (_forged_checkpoint, {"lost", "checkpoint"}),
    (_foreign_receipt, {"receipt"}),
    (_wrong_status, {"lost"}),
]


@pytest.mark.parametrize(
    ("doctor", "expected"), [pytest.param(d, e, id=d.__name__.strip("_")) for d, e in DOCTORED]
)
def test_what_was_doctored_is_named(
    doctor: Callable[[Story], Story], expected: set[str], story: Story
) -> None:
    assert _properties(doctor(story)) >= expected
    with pytest.raises(AssertionError, match=next(iter(expected))):
        checker.assert_holds(*doctor(story), SIGNER.verifier)


def test_a_replay_of_what_was_answered_as_not_committed_is_untrue(story: Story) -> None:
    history, log = story
    refused = replace(history[5], status=503, problem="unavailable", answer=b"{}")
    replay = replace(history[5], status=200, replayed=True)
    doctored = [*history[:5], refused, replay, *history[6:]]
    assert _properties((doctored, log)) == {"untrue"}
    unknown = replace(refused, problem="outcome-unknown")
    assert _properties(([*history[:5], unknown, replay, *history[6:]], log)) == set()


def test_what_is_told_twice_names_two_entries(story: Story) -> None:
    history, log = story
    other = replace(history[3], id=history[4].id)
    found = checker._once(checker._verified([history[4], other], SIGNER.verifier)[0], log)
    assert [one.property for one in found] == ["once", "once"]


def test_an_attempt_without_an_answer_may_stand_or_not(story: Story) -> None:
    history, log = _change(story, 5, status=None, answered_ns=None, answer=b"")
    lost = Attempt("acme", str(uuid.uuid4()), b"{}", sent_ns=0)
    assert _properties(([*history, lost], log)) == set()


def test_what_was_unknown_once_may_stand(story: Story) -> None:
    """503 "nothing was committed", after an attempt whose answer was lost, forbids nothing."""
    history, log = _refused_and_there(story)
    lost = replace(history[5], status=None, problem="", answered_ns=None)
    assert _properties(([*history, lost], log)) == set()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 255, 256, 257, 600])
def test_the_checkers_own_tree_is_the_one_of_the_rfc(count: int) -> None:
    leaves = rfc9162.leaves(count)
    roots = checker.prefix_roots(leaves, range(count + 1))
    assert all(roots[size] == rfc9162.mth(leaves[:size]) for size in range(count + 1))


def test_reading_needs_a_log(owner: str) -> None:
    """An empty database is not a log that holds."""
    with pytest.raises(NotFound):
        asyncio.run(checker.read_log(owner, database.logins_of(owner).reader))
