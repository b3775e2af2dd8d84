"""The words that decisions are told in, a language to each file; `policies.explain` tells them."""

from __future__ import annotations

from typing import Final, Literal

from policies.words.en import ENGLISH
from policies.words.language import Language
from policies.words.zh import CHINESE

Tag = Literal["en", "zh"]

LANGUAGES: Final[dict[str, Language]] = {language.tag: language for language in (ENGLISH, CHINESE)}

__all__ = ["CHINESE", "ENGLISH", "LANGUAGES", "Language", "Tag"]
