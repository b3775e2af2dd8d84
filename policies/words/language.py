"""What a language consists of: every sentence is a template whose placeholders the decision fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Sentences = Mapping[str, str]


def _as_it_stands(template: str, values: Mapping[str, Any]) -> str:
    return template


@dataclass(frozen=True, slots=True)
class Language:
    tag: str
    """BCP 47."""
    conditions: Mapping[str, Sentences]
    """By permanent name of the condition, and code."""
    rules: Sentences
    """The constitution's, by code."""
    obligations: Mapping[str, Sentences]
    """By permanent name of the obligation: `late`, and where it applies `met`."""
    own: Sentences
    """What the ledger itself says, by kind of event."""
    phrases: Sentences
    """What is said around them."""
    units: Mapping[str, str]
    """How a committed unit reads behind a number; one that is not here, a currency, stands as it is."""
    terms: Mapping[str, str]
    """Words of closed vocabularies that are committed as values: roles, states, causes."""
    before_unit: str = ""
    """What parts a number from a unit that is not in `units`, where the templates do not."""
    agreeing: Callable[[str, Mapping[str, Any]], str] = _as_it_stands
    """The template in the number that the values ask for."""

    def say(self, phrase: str, /, **values: object) -> str:
        return self.agreeing(self.phrases[phrase], values).format(**values)

    def join(self, words: Iterable[str]) -> str:
        return self.phrases["list"].join(words)

    def unit(self, unit: str) -> str:
        return self.units.get(unit) or (self.before_unit + unit if unit else unit)

    def term(self, words: str) -> str:
        """A word of a vocabulary, a list of them, or one before a name or behind a number."""
        return self.join([self._term(one) for one in words.split(", ")])

    def _term(self, word: str) -> str:
        before, _, name = word.rpartition(" ")
        number, _, share = word.partition(" ")
        if before in self.terms:
            return f"{self.terms[before]} {name}"
        return number + self.terms[share] if share in self.terms else self.terms.get(word, word)
