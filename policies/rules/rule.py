"""Rules of the constitution, entered by kind of event, and the findings that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from ledger.decision import SUBJECTS_MAX, Action, Finding
from ledger.event import KINDS
from policies.conditions import Case

DataT = TypeVar("DataT")
Rule = Callable[[Case, Any], Iterator[Finding]]

RULES: Final[dict[str, tuple[Rule, ...]]] = {}
"""What is asked of a kind beyond contract, standing, document and policy, in order."""
SENTENCES: Final[dict[str, str]] = {}
"""How each finding reads, by code; the part before the dot names the rule."""


def rule(
    *kinds: str, sentences: Mapping[str, str]
) -> Callable[[Callable[[Case, DataT], Iterator[Finding]]], Callable[[Case, DataT], Iterator[Finding]]]:
    """Ask the function of every event of these kinds, after the rules entered before it."""

    def enter(
        check: Callable[[Case, DataT], Iterator[Finding]],
    ) -> Callable[[Case, DataT], Iterator[Finding]]:
        known = {name for name, _ in KINDS}
        for kind in kinds:
            if kind not in known:
                raise TypeError(f"{kind} is not a kind of event")
            RULES[kind] = (*RULES.get(kind, ()), check)
        sentences_of(sentences)
        return check

    return enter


def sentences_of(sentences: Mapping[str, str]) -> None:
    """Enter how findings read; a code that two rules give is written once."""
    if twice := SENTENCES.keys() & sentences.keys():
        raise TypeError(f"said twice: {', '.join(sorted(twice))}")
    SENTENCES.update(sentences)


def broken(case: Case, code: str, **found: Any) -> Finding:
    """A request that breaks a rule is denied, a fact is flagged."""
    return finding_of(code, "flag" if case.data.nature == "fact" else "deny", **found)


def broken_by_devices(case: Case, code: str, named: int, serials: tuple[str, ...]) -> Finding:
    """`serials` of the `named` devices break the rule."""
    return broken(
        case,
        code,
        observed=named - len(serials),
        limit=named,
        shortfall=len(serials),
        unit="devices",
        subjects=serials,
    )


def finding_of(code: str, action: Action, *, subjects: tuple[str, ...] = (), **found: Any) -> Finding:
    rule = code.partition(".")[0]
    return Finding(
        id=rule,
        uses=rule,
        policy=0,
        result="fail",
        action=action,
        code=code,
        subjects=subjects[:SUBJECTS_MAX],
        subjects_count=len(subjects),
        **found,
    )
