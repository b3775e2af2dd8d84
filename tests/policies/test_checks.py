"""Static checks: each fault has its words and its place, and its nearest neighbour has none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.event import KINDS
from policies.checks import check, sound_document
from policies.conditions import CONDITIONS
from policies.conditions.declared import Allows, Below, Figure, Forbids, Includes, Names, Scale, Stricter
from policies.document import parse_document
from policies.obligations import OBLIGATIONS
from policies.tree import PolicyDocumentError, read
from tests.policies.faulty_documents import FAULTS, Told, owned, quantity, value, window
from tests.workbench import Workbench, condition, policy, serials, usd

DOCUMENTS = sorted(
    path
    for path in (Path(__file__).parents[2] / "policies" / "documents").glob("*.yaml")
    if not path.name.endswith(".cases.yaml")
)


def told(text: str) -> list[Told]:
    return [(f.severity, f.pointer, f.words) for f in check(text, parse_document(text))]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_in_words_and_its_neighbour_has_none(name: str) -> None:
    faulty, expected, neighbour = FAULTS[name]
    assert expected in told(faulty)
    # What is no more than remarkable does not keep a document from being proposed.
    assert any(severity == "error" for severity, _, _ in told(faulty)) == (expected[0] == "error")
    assert told(neighbour) == []


def test_a_finding_says_where_it_stands_in_the_text() -> None:
    text = (
        DOCUMENTS[-1]
        .read_text()
        .replace("[order.placed, order.amended, shipment.requested]", "[order.placed]")
    )
    limit = "    limit: {from: license.quantity}\n"
    assert text.count(limit) == 1
    [finding] = check(changed := text.replace(limit, "    limit: 0\n"), parse_document(changed))
    line = changed.splitlines().index("    limit: 0") + 1
    assert str(finding) == (
        f"line {line}, column 12: quantity: limit is 0, must be more: there is room for not one unit"
    )
    assert (finding.severity, finding.concerns) == ("error", ("quantity",))


def test_a_parameter_that_is_not_written_is_found_at_its_condition() -> None:
    [finding] = check(text := policy(owned()), parse_document(text))
    assert text[finding.place.column - 1 :].startswith('{"id": "ownership"')


ANSWERED = {
    "what an override leaves to be refused": (
        quantity(10, overridden_by=["authority"]), quantity(11, "more"),
    ),
    "what another override is needed for": (
        quantity(10, overridden_by=["authority"]), quantity(10, "more", overridden_by=["exporter"]),
    ),
    "what somebody else releases": (
        quantity(10, action="hold", released_by=["authority"]),
        quantity(11, "more", action="hold", released_by=["exporter"]),
    ),
    "a window beside a quantity that is only marked": (quantity(3, action="flag"), window(4)),
    "a window beside a quantity that can be overridden": (
        quantity(3, overridden_by=["authority"]), window(4),
    ),
    "what is refused beyond what is held": (
        quantity(10, action="hold", released_by=["authority"]), quantity(11, "more"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERED)
def test_what_must_be_answered_for_itself_is_not_idle(name: str) -> None:
    assert told(policy(*ANSWERED[name])) == []


# --- at the door, and behind it -------------------------------------------------------------------


def test_a_document_with_an_error_is_no_sound_one_and_parses_all_the_same() -> None:
    text = policy(quantity(0))
    assert parse_document(text).conditions
    with pytest.raises(PolicyDocumentError) as refused:
        sound_document(text)
    [fault] = refused.value.faults
    assert fault.pointer == "/conditions/0/limit"
    assert fault.detail.startswith("line 1, column ")
    with pytest.raises(PolicyDocumentError) as refused:
        sound_document(text, pointer="/data/text")
    assert [f.pointer for f in refused.value.faults] == ["/data/text"]


def test_a_document_with_remarks_alone_is_sound() -> None:
    text = policy(quantity(10), quantity(10, "again"))
    assert told(text)
    assert sound_document(text) == parse_document(text)


def test_what_does_not_parse_is_refused_with_its_own_faults() -> None:
    with pytest.raises(PolicyDocumentError, match="tpp_below"):
        sound_document(policy(condition("performance_thresholds", tpp_below=0)))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_nothing_is_found_in_the_documents_of_the_repository(path: Path) -> None:
    assert told(path.read_text()) == []


# --- what the checks say is true ------------------------------------------------------------------

_LIMITS = st.integers(1, 9)
_CAPS = st.one_of(
    st.builds(quantity, _LIMITS),
    st.builds(
        lambda limit, length: window(limit, length), _LIMITS, st.sampled_from(("month", "quarter", "year"))
    ),
    st.builds(lambda limit: value(f"{limit * 100}.00"), _LIMITS),
    st.builds(lambda limit: value(f"{limit * 100}.00", tolerance="0.5"), _LIMITS),
)
_ACTIONS = st.sampled_from(("deny", "flag", "shadow"))
_ANSWERED = st.sampled_from(({}, {"overridden_by": ["authority"]}))
_BOUND = st.one_of(
    st.builds(lambda cap, answered: {**cap, "action": "deny", **answered}, _CAPS, _ANSWERED),
    st.builds(lambda cap, action: {**cap, "action": action}, _CAPS, st.sampled_from(("flag", "shadow"))),
)


_NEVER = re.compile(r"(decides nothing|never reached|says once more)(?!.* at )")
"""Of what is said of some kinds alone the rest may still decide."""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(_BOUND, min_size=2, max_size=4),
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(("2027-03", "2027-04", "2027-07"))),
        min_size=4,
        max_size=7,
    ),
)
def test_what_decides_nothing_can_be_left_out(
    bound: list[dict[str, Any]], releases: list[tuple[int, str]]
) -> None:
    conditions = [{**one, "id": f"c{number}"} for number, one in enumerate(bound)]
    idle = {
        int(pointer.split("/")[2]) for _, pointer, words in told(policy(*conditions)) if _NEVER.search(words)
    }
    whole = _course(conditions, releases)
    for number in idle:
        assert _course([one for n, one in enumerate(conditions) if n != number], releases) == whole


def _course(conditions: list[dict[str, Any]], releases: list[tuple[int, str]]) -> list[str]:
    """The outcomes of one order and of releases in their months."""
    bench = Workbench().open(text=policy(*conditions, force={"from": "2026-01-01"}))
    price = usd("100.00")
    bench.say("order.placed", order="PO-1", units=20, unit_value=price)
    outcomes, first = [], 1
    for number, (units, month) in enumerate(sorted(releases, key=lambda release: release[1])):
        devices, first = serials(units, first=first), first + units
        decision = bench.release(
            devices, shipment=f"SH-{number}", order="PO-1", unit_value=price, at=f"{month}-10T12:00:00Z"
        )
        outcomes.append(decision.outcome)
    return outcomes


_WRITTEN = [read(path.read_text()).value for path in DOCUMENTS]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(_WRITTEN), st.randoms(use_true_random=False))
def test_less_of_a_sound_document_is_sound(document: dict[str, Any], chance: Random) -> None:
    """What a document does not say can contradict nothing, in whatever order the rest stands."""
    some = {
        section: chance.sample(
            document.get(section, []), chance.randint(least, len(document.get(section, [])))
        )
        for section, least in (("conditions", 1), ("obligations", 0))
    }
    text = json.dumps({**document, **some})
    assert [finding for finding in told(text) if finding[0] == "error"] == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_mixed_is_read_and_found_in_its_text(data: st.DataObject) -> None:
    """Of all documents together, each condition more than once, with other actions: nothing breaks."""
    every = [one for document in _WRITTEN for one in document["conditions"]]
    chosen = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=8))
    actions = data.draw(st.lists(_ACTIONS, min_size=len(chosen), max_size=len(chosen)))
    kept = ("released_by", "overridden_by")
    conditions = [
        {**{k: v for k, v in one.items() if k not in kept}, "id": f"c{number}", "action": action}
        for number, (one, action) in enumerate(zip(chosen, actions, strict=True))
    ]
    duties_ = data.draw(
        st.lists(st.sampled_from([o for d in _WRITTEN for o in d.get("obligations", [])]), max_size=4)
    )
    obligations = [{**one, "id": f"o{number}"} for number, one in enumerate(duties_)]
    text = json.dumps(
        json.loads(policy(*conditions, obligations=obligations)), indent=data.draw(st.integers(0, 3))
    )
    lines = text.splitlines()
    for finding in check(text, parse_document(text)):
        assert 1 <= finding.place.line <= len(lines)
        assert 1 <= finding.place.column <= len(lines[finding.place.line - 1])
        assert finding.words


def test_every_kind_that_a_condition_judges_is_said_by_a_party_and_asked_about() -> None:
    for used in CONDITIONS.values():
        for name in used.kinds:
            versions = [kind for (known, _), kind in KINDS.items() if known == name]
            assert any(kind.said_by and kind.nature != "own" for kind in versions), name


_WORDS = (Allows, Below, Figure, Forbids, Includes, Names, Scale, Stricter)
_NOT_COMPARED = {
    "import_approved.classes", "levy_settled.rounding", "levy_settled.digits",
    "laboratory_test.coverage", "laboratory_test.percent", "laboratory_test.at_least", "ownership.in_force",
    "prepayment.rounding", "prepayment.digits", "service_level.credits",
    "service_level.rounding", "service_level.digits", "window_cap.window", "batch_due.window",
    "domestic_copurchase.measure", "domestic_copurchase.window", "periodic_report.report",
    "periodic_report.every", "custom.expression",
}  # fmt: skip
"""Parameters of which neither value asks more than another."""


def test_every_parameter_says_how_it_compares_or_that_it_does_not() -> None:
    """A condition that says nothing of a parameter is never found to be idle beside another of its name."""
    every = {name: used.parameters for name, used in CONDITIONS.items()}
    every |= {name: used.parameters for name, used in OBLIGATIONS.items()}
    silent = {
        f"{name}.{field}"
        for name, parameters in every.items()
        for field, info in parameters.model_fields.items()
        if not any(isinstance(word, _WORDS) for word in info.metadata)
    }
    assert silent == _NOT_COMPARED
