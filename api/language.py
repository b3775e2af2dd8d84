"""Which language a caller wants to read."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from policies.words import ENGLISH, LANGUAGES, Language

ACCEPT_LENGTH_MAX: Final = 1_000


def accepted_language(accept_language: str) -> Language:
    """By `Accept-Language` (RFC 9110 §12.5.4), a range matched as in RFC 4647 §3.4; else English."""
    return _accepted(accept_language[:ACCEPT_LENGTH_MAX])


@lru_cache(maxsize=256)
def _accepted(accept_language: str) -> Language:
    best, weight = ENGLISH, 0.0
    for part in accept_language.split(","):
        tag, _, parameter = part.strip().lower().partition(";")
        # `zh-Hans-CN` is read as zh: of each language there is one.
        language = ENGLISH if tag.strip() == "*" else LANGUAGES.get(tag.strip().partition("-")[0])
        quality = _quality(parameter)
        if language is not None and quality > weight:
            best, weight = language, quality
    return best


def _quality(parameter: str) -> float:
    """`q=0.8`; 1 where none is given, 0 where it cannot be read."""
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1.0
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if name.strip() == "q" and 0 <= quality <= 1 else 0.0
