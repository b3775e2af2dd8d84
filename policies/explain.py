"""From a committed decision to plain words: wording may change, what was committed does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from policies.document import PolicyDocument
from policies.words import ENGLISH, Language

SUBJECTS_SHOWN: Final = 5

_CURRENCY = re.compile(r"[A-Z]{3}")
_DECIMAL = re.compile(r"(-?)(\d+)((?:\.\d+)?)")
VOCABULARY: Final[Mapping[str, tuple[str, ...]]] = {
    "license_active.pass": ("observed",),
    "import_approved.class": ("observed",),
    "no_onward_transfer.not_allowed": ("subjects",),
    "no_onward_transfer.passed": ("subjects",),
    "party_item_match.party": ("subjects",),
    "prohibited_end_use.end_use": ("observed",),
    "retention_hold.retained": ("subjects",),
    "service_level.credit_due": ("subjects",),
    "supply_certified.incomplete": ("subjects",),
    "us_ratio_cap.not_measured": ("subjects",),
    "approval_due.given": ("observed",),
    "approval_due.not_asked": ("observed", "limit"),
    "approval_due.role": ("observed", "limit"),
    "hold_open.role": ("observed", "limit"),
    "license_standing.not_suspended": ("observed",),
    "order_amendable.consignee": ("subjects",),
    "override_allowed.role": ("observed",),
    "parties_known.role": ("subjects",),
    "policy_activation.approval": ("subjects",),
    "policy_activation.role": ("observed", "limit"),
    "proposal_open.kind": ("limit",),
    "standing.party": ("observed",),
    "standing.role": ("observed", "limit"),
}
"""Where a value is a word of ours, which a language may have another word for: elsewhere it is a name."""

Clauses = Mapping[tuple[int, str], str]
"""By number of the policy in the decision and id of the condition."""


def clauses_of(documents: Sequence[PolicyDocument]) -> dict[tuple[int, str], str]:
    """The clauses of the documents that a decision lists after the constitution, in its order."""
    return {
        (number, bound.id): bound.cited
        for number, document in enumerate(documents, 1)
        for bound in document.conditions
    }


def explain(
    decision: Mapping[str, Any], clauses: Clauses | None = None, language: Language = ENGLISH
) -> list[str]:
    """What is said of each finding, from `Decision.value()` or the JSON that was committed."""
    proposals = list(decision.get("proposals", ()))
    told = []
    for finding in decision["conditions"]:
        mine: list[Mapping[str, Any]] = []
        if finding["result"] in ("fail", "error") and finding["action"] != "shadow":
            mine = [p for p in proposals if p["condition"] == finding["id"]]
            proposals = [p for p in proposals if p not in mine]
        clause = clauses.get((finding["policy"], finding["id"])) if clauses else None
        template = _template(finding, language, constitutional=finding["policy"] == 0)
        told.append(_told(finding, template, mine, clause, language))
    return told


def explain_shadow(
    findings: Iterable[Mapping[str, Any]], clauses: Mapping[str, str], language: Language = ENGLISH
) -> list[str]:
    """Likewise of what a version found that is only watched; `clauses` by id of the condition."""
    return [
        _told(
            finding,
            _template(finding, language, constitutional=False),
            (),
            clauses.get(finding["id"]),
            language,
        )
        for finding in findings
    ]


def _told(
    finding: Mapping[str, Any],
    template: str | None,
    proposals: Iterable[Mapping[str, Any]],
    clause: str | None,
    language: Language,
) -> str:
    said = [_what(finding, template, language), *(_proposed(proposal, language) for proposal in proposals)]
    sentences = [language.say("finding", id=finding["id"], said=language.phrases["next"].join(said))]
    if finding["action"] == "shadow":
        sentences.append(language.say("is_shadow"))
    if "override" in finding:
        sentences.append(language.say("overridden", entry=finding["override"]))
    if clause:
        sentences.append(language.say("clause", clause=clause))
    return language.phrases["between"].join(sentences)


def _template(finding: Mapping[str, Any], language: Language, *, constitutional: bool) -> str | None:
    if constitutional:
        return language.rules.get(finding.get("code", ""))
    code = finding.get("code", ".pass").partition(".")[2]
    return language.conditions.get(finding["uses"], {}).get(code)


def _what(finding: Mapping[str, Any], template: str | None, language: Language) -> str:
    if finding["result"] == "error":
        return language.phrases["error"]
    if finding["result"] == "not_applicable":
        return language.phrases["not_applicable"]
    if template is None:  # of a later version than this reader, or without words in this language
        template = language.phrases["unknown_measured" if "limit" in finding else "unknown"]
    return filled(template, finding, language)


def filled(template: str, found: Mapping[str, Any], language: Language) -> str:
    """The template with what was found: of a finding, or of a duty that fell due."""
    unit = found.get("unit") or ""
    if unit in ("currency", "seconds"):  # what was found are currencies themselves, or is told in hours
        template = template.replace(" {unit}", "").replace("{unit}", "")
    values = {name: found.get(name) for name in ("observed", "limit", "shortfall", "headroom")}
    words = {name: "?" if value is None else shown_value(value, unit) for name, value in values.items()}
    if unit == "seconds":
        words |= {name: _elapsed(value, language) for name, value in values.items() if type(value) is int}
    subjects = list(found.get("subjects", ()))
    code = found.get("code") or f"{found['uses']}.pass"
    for name in VOCABULARY.get(code, ()):
        if name == "subjects":
            subjects = [_subject(subject, language) for subject in subjects]
        else:
            words[name] = language.term(words[name])
    words["subjects"] = shown_list(subjects, language, count=found.get("subjects_count", 0))
    result = language.phrases.get(found.get("result", ""), "")
    code = found.get("code", found["uses"])
    return language.agreeing(template, {**values, "unit": unit}).format(
        unit=language.unit(unit), result=result, code=code, **words
    )


def _subject(subject: str, language: Language) -> str:
    """A party and its place, a sum, or words of ours."""
    party, at, place = subject.partition(" at ")
    amount, _, currency = subject.partition(" ")
    if at:
        return language.say("located", party=party, place=place)
    if _CURRENCY.fullmatch(currency):
        return f"{shown_value(amount, currency)} {currency}"
    return language.term(subject)


def _elapsed(seconds: int, language: Language) -> str:
    """Hours, minutes and seconds, without those that are none."""
    minutes, left = divmod(seconds, 60)
    parts = {"hours": minutes // 60, "minutes": minutes % 60, "seconds": left}
    said = [language.say(name, count=f"{count:,}") for name, count in parts.items() if count]
    return language.phrases["between"].join(said) or language.say("seconds", count=0)


def shown_value(value: int | str, unit: str = "") -> str:
    """Numbers and sums in groups of three; names and times as they are."""
    if isinstance(value, int):
        return f"{value:,}" if unit != "entry" else str(value)
    if _CURRENCY.fullmatch(unit) and (sum_ := _DECIMAL.fullmatch(value)):
        sign, whole, fraction = sum_.groups()
        return f"{sign}{int(whole):,}{fraction}"
    return value


def shown_list(names: Sequence[str], language: Language, *, count: int | None = None) -> str:
    """The first of `count` names, and how many there are besides."""
    shown = language.join(names[:SUBJECTS_SHOWN])
    more = (len(names) if count is None else count) - len(names[:SUBJECTS_SHOWN])
    return language.say("more", shown=shown, count=f"{more:,}") if more > 0 else shown


def _proposed(proposal: Mapping[str, Any], language: Language) -> str:
    propose, license_ = proposal["propose"], proposal.get("license")
    if propose not in language.phrases:
        words = language.say("proposed", propose=propose)
    elif license_ is None:
        words = language.phrases[propose]
    else:
        words = language.say(f"{propose}_of", license=license_)
    return language.say("due_by", proposed=words, due=proposal["due"]) if "due" in proposal else words
