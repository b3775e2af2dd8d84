"""What is withheld from one reader: which bodies of which entries, and that proofs hold without them."""

from __future__ import annotations

import pytest

from ledger.entry import Body, Entry, Header
from ledger.errors import UnusableInput
from ledger.event import LEDGER_CONTRACT
from ledger.withheld import Withheld
from tests.workbench import CONTRACT

EVENT, DECISION, SIGNATURES = (Body(bytes(32), raw) for raw in (b'{"a":1}', b'{"b":2}', b"[]"))


def entry(contract: str = CONTRACT) -> Entry:
    header = Header(
        index=7, previous=bytes(32), contract=contract, contract_index=0, contract_previous=bytes(32),
        recorded_at="2027-03-01T12:00:00.000000Z", decision=DECISION.commitment, event=EVENT.commitment,
        signatures=SIGNATURES.commitment,
    )  # fmt: skip
    return Entry.build(header, {"event": EVENT, "decision": DECISION, "signatures": SIGNATURES})


@pytest.mark.parametrize(
    ("asked", "kind", "hidden"),
    [
        ((), "invoice.issued", ()),
        (("decision",), "invoice.issued", ("decision",)),
        (("event",), "invoice.issued", ("event", "signatures")),
        (("event:invoice.issued",), "invoice.issued", ("event", "signatures")),
        (("event:invoice.issued",), "order.placed", ()),
        (("event", "decision:order.placed"), "order.placed", ("event", "decision", "signatures")),
        # It carries the facts of what it erases.
        (("event:invoice.issued",), "value.erased", ("event", "signatures")),
        (("decision",), "value.erased", ("decision",)),
    ],
)
def test_bodies_are_withheld_by_name_and_kind(
    asked: tuple[str, ...], kind: str, hidden: tuple[str, ...]
) -> None:
    withheld, whole = Withheld(asked), entry()
    assert withheld.of(whole, kind) == hidden
    shown = withheld.shown(whole, kind)
    assert {name for name, body in shown.bodies.items() if body is None} == set(hidden)
    assert (shown.raw, shown.leaf) == (whole.raw, whole.leaf)


def test_what_the_log_says_of_itself_is_withheld_from_nobody() -> None:
    assert Withheld(["event", "decision"]).of(entry(LEDGER_CONTRACT), "contracts.summarised") == ()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("salts", "withheld is salts, must be event or decision"),
        ("event:", "withheld is event:, must be event or decision"),
        ("event:order.palced", "order.palced is no known kind of event"),
        ("signatures", "must be event or decision"),
    ],
)
def test_what_names_no_body_is_refused(asked: str, words: str) -> None:
    with pytest.raises(UnusableInput, match=words):
        Withheld([asked])
