"""From a committed decision to plain English: wording may change, what was committed does not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from policies import constitution  # noqa: F401 - enters its own sentences
from policies.conditions import CONDITIONS
from policies.document import PolicyDocument
from policies.rules import SENTENCES

SUBJECTS_SHOWN: Final = 5

_PROPOSALS: Final = {
    "suspension": "suspension of the license is proposed",
    "revocation": "revocation of the license is proposed",
    "incident_report": "an incident report is asked for",
}
_CURRENCY = re.compile(r"[A-Z]{3}")
_DECIMAL = re.compile(r"(-?)(\d+)((?:\.\d+)?)")


def clauses_of(documents: Sequence[PolicyDocument]) -> dict[tuple[int, str], str]:
    """The clauses of the documents that a decision lists after the constitution, in its order."""
    return {
        (number, bound.id): bound.clause
        for number, document in enumerate(documents, 1)
        for bound in document.conditions
    }


def explain(decision: Mapping[str, Any], clauses: Mapping[tuple[int, str], str] | None = None) -> list[str]:
    """One sentence for each finding, from `Decision.value()` or the JSON that was committed.

    `clauses`: by number of the policy in the decision and id of the condition (`clauses_of`).
    """
    proposals = list(decision.get("proposals", ()))
    sentences = []
    for finding in decision["conditions"]:
        said = [f"{finding['id']}: {_what(finding)}"]
        if finding["result"] in ("fail", "error") and finding["action"] != "shadow":
            mine = [p for p in proposals if p["condition"] == finding["id"]]
            said += [_proposed(proposal) for proposal in mine]
            proposals = [p for p in proposals if p not in mine]
        sentence = "; ".join(said) + "."
        if finding["action"] == "shadow":
            sentence += " Shadow: it does not count."
        if "override" in finding:
            sentence += f" Overridden by entry {finding['override']}."
        if clauses and (clause := clauses.get((finding["policy"], finding["id"]))):
            sentence += f" Clause: {clause}."
        sentences.append(sentence)
    return sentences


def _what(finding: Mapping[str, Any]) -> str:
    if finding["result"] == "error":
        return "it could not be judged, and so it is not met"
    if finding["result"] == "not_applicable":
        return "it does not apply"
    template = _template(finding)
    if template is None:  # of a later version than this reader
        return f"{finding['result']} ({finding.get('code', finding['uses'])})"
    unit = finding.get("unit", "")
    numbers = {
        name: _shown(finding.get(name, "?"), unit) for name in ("observed", "limit", "shortfall", "headroom")
    }
    return template.format(unit=unit, subjects=_subjects(finding), **numbers)


def _template(finding: Mapping[str, Any]) -> str | None:
    if finding["policy"] == 0:
        return SENTENCES.get(finding.get("code", ""))
    used = CONDITIONS.get(finding["uses"])
    code = finding.get("code", ".pass").partition(".")[2]
    return used.sentences.get(code) if used else None


def _shown(value: int | str, unit: str) -> str:
    """Numbers and sums in groups of three; names and times as they are."""
    if isinstance(value, int):
        return f"{value:,}" if unit != "entry" else str(value)
    if _CURRENCY.fullmatch(unit) and (sum_ := _DECIMAL.fullmatch(value)):
        sign, whole, fraction = sum_.groups()
        return f"{sign}{int(whole):,}{fraction}"
    return value


def _subjects(finding: Mapping[str, Any]) -> str:
    subjects = finding.get("subjects", [])
    more = finding.get("subjects_count", 0) - len(subjects[:SUBJECTS_SHOWN])
    shown = ", ".join(subjects[:SUBJECTS_SHOWN])
    return f"{shown} and {more:,} more" if more else shown


def _proposed(proposal: Mapping[str, Any]) -> str:
    words = _PROPOSALS.get(proposal["propose"], f"{proposal['propose']} is proposed")
    if license_ := proposal.get("license"):
        words = words.replace("the license", f"license {license_}")
    return f"{words}, due by {proposal['due']}" if "due" in proposal else words
