"""The languages that decisions are told in: nothing is left out, nothing left over, one is singular."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from string import Formatter

import pytest

from ledger.event import KINDS
from policies.conditions import CONDITIONS
from policies.explain import VOCABULARY, explain
from policies.obligations import OBLIGATIONS
from policies.obligations.documents import REACKNOWLEDGEMENT
from policies.rules import SENTENCES
from policies.words import CHINESE, ENGLISH, LANGUAGES, Language
from policies.words.en import agreeing

PLURALS = re.compile(
    r"(?<![\d,.])1 (?:of (?:the )?1 )?(?:[a-z]+ )?(?:devices|units|parties|days|seconds|attestations)\b"
)
LATIN = re.compile(r"[A-Za-z]+")
KEPT = {"GPU", "UUID", "TPP"}
"""Names of things that Chinese too calls so."""


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def every(language: Language) -> Iterator[tuple[str, str]]:
    """Each template by where it stands."""
    for section in ("rules", "own", "phrases"):
        for name, words in getattr(language, section).items():
            yield f"{section} {name}", words
    for section in ("conditions", "obligations"):
        for one, sentences in getattr(language, section).items():
            for code, words in sentences.items():
                yield f"{section} {one}.{code}", words


ALL = {tag: dict(every(language)) for tag, language in LANGUAGES.items()}


def test_english_says_what_is_declared() -> None:
    declared = {name: used.sentences for name, used in CONDITIONS.items()}
    duties = {name: duty.sentences for name, duty in OBLIGATIONS.items()}
    duties[REACKNOWLEDGEMENT.name] = REACKNOWLEDGEMENT.sentences
    assert (ENGLISH.conditions, ENGLISH.rules, ENGLISH.obligations) == (declared, SENTENCES, duties)


def test_each_sentence_has_one_in_chinese_and_none_is_left_over() -> None:
    english, chinese = ALL["en"].keys(), ALL["zh"].keys()
    assert not english - chinese, "put into policies/words/zh: what has no words there is told by its code"
    assert not chinese - english, "no longer in use"


@pytest.mark.parametrize("where", sorted(ALL["en"]))
def test_a_translation_speaks_of_the_same_values(where: str) -> None:
    assert fields(ALL["zh"][where]) == fields(ALL["en"][where])


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_all_that_the_ledger_itself_says_has_words(language: Language) -> None:
    own = {name for (name, _), kind in KINDS.items() if kind.nature == "own"}
    assert own == {".".join(name.split(".")[:2]) for name in language.own}


def test_no_english_is_left_in_chinese_and_its_points_are_full_width() -> None:
    for where, template in ALL["zh"].items():
        words = "".join(text for text, _, _, _ in Formatter().parse(template))
        assert set(LATIN.findall(words)) <= KEPT, where
        assert not set(words) & set(",;:.?()'\""), where
    vocabulary = [*CHINESE.units.values(), *CHINESE.terms.values()]
    assert set(LATIN.findall(" ".join(vocabulary))) <= KEPT


def test_a_unit_that_a_condition_counts_in_has_a_chinese_word() -> None:
    """What a sentence puts behind a number; a currency and what is measured by name stand as they are."""
    measured = {
        used.unit
        for used in CONDITIONS.values()
        if any("{unit}" in words for words in used.sentences.values())
    }
    assert measured - {"currency", "measure", "TPP"} <= CHINESE.units.keys()


def test_where_a_value_is_a_word_of_ours_a_code_that_is_found_says_it() -> None:
    found = {f"{name}.{code}" for name, used in CONDITIONS.items() for code in used.sentences}
    assert VOCABULARY.keys() <= found | SENTENCES.keys()


def test_what_has_no_words_in_a_language_is_told_by_its_code() -> None:
    finding = {
        "id": "site-rule", "uses": "not_yet_translated", "policy": 1, "result": "fail", "action": "deny",
        "clock": "none", "code": "not_yet_translated.over",
    }  # fmt: skip
    assert explain({"conditions": [finding]}, language=CHINESE) == [
        "site-rule：未满足（not_yet_translated.over）。"
    ]
    measured = {**finding, "observed": 1200, "limit": 1000}
    assert explain({"conditions": [measured]}, language=CHINESE) == [
        "site-rule：未满足（not_yet_translated.over）：实际为1,200，限值为1,000。"
    ]
    assert explain({"conditions": [{**finding, "result": "error"}]}, language=CHINESE) == [
        "site-rule：无法判定，因此视为未满足。"
    ]


# --- one of a thing -------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["devices", "units", "parties", "days", "seconds"])
def test_english_counts_one_in_the_singular(unit: str) -> None:
    for where, template in ALL["en"].items():
        ones: dict[str, object] = dict.fromkeys(fields(template), 1)
        words = agreeing(template, {**ones, "unit": unit})
        said = words.format(**{**ones, "unit": unit, "subjects": "x"})
        assert not PLURALS.search(said), f"{where}: {said}"


@pytest.mark.parametrize(
    ("template", "values", "said"),
    [
        ("{observed} of {limit} devices are here", (1, 3), "1 of 3 devices is here"),
        ("{observed} of {limit} devices are here", (0, 1), "0 of 1 device is here"),
        ("{observed} of {limit} devices are here", (2, 3), "2 of 3 devices are here"),
        ("{observed} of {limit} devices are here", (11, 21), "11 of 21 devices are here"),
        ("{observed} devices have left, {limit} are released", (5, 1), "5 devices have left, 1 is released"),
        ("all {observed} {unit} are screened, {limit}", (1, 9), "the one party is screened, 9"),
        ("all {observed} {unit} are screened, {limit}", (4, 9), "all 4 parties are screened, 9"),
    ],
)
def test_nouns_and_verbs_agree_with_their_number(template: str, values: tuple[int, int], said: str) -> None:
    found: Mapping[str, object] = {"observed": values[0], "limit": values[1], "unit": "parties"}
    assert agreeing(template, found).format(**found) == said
