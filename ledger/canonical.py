"""Strict JSON in, RFC 8785 bytes out: one value has one spelling, and that is what is hashed.

The profile is I-JSON (RFC 7493) with less in it: objects, arrays, strings, true, false, null, and
integers within ±(2^53 - 1). No float, not even 1.0 or 1e3: a decimal is a string. No U+0000, which
PostgreSQL text cannot hold. No lone surrogate, no duplicate key, 32 containers deep at most.
`parse` and `canonical` accept the same values, so whatever was hashed can be read again.

Unicode is not normalised: its tables differ by Python version, and a signature is over bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import jiter
import orjson

from ledger.errors import Fault, NotJSON

DEPTH_MAX: Final = 32
"""Containers around a value, its own included."""
INTEGER_MAX: Final = 2**53 - 1
"""Beyond it a JavaScript reader sees another number (RFC 7493 §2.2)."""

# The lead byte of a character outside the BMP, in UTF-8.
_ASTRAL = re.compile(rb"[\xf0-\xf4]")


def parse(raw: bytes, *, depth_max: int = DEPTH_MAX) -> Any:
    """The JSON value of UTF-8 `raw`, or NotJSON with a pointer to what is outside the profile.

    Where `raw` is no JSON at all the pointer is "" and the words give line and column. `-0` is 0.
    """
    try:
        value = jiter.from_json(raw, catch_duplicate_keys=True, allow_inf_nan=False, cache_mode="keys")
    except ValueError as error:
        raise NotJSON(Fault("", f"is not strict JSON: {str(error)[:300]}")) from None
    # jiter refuses surrogates and raw control characters, so only an escape can bring in a NUL:
    # almost no document has one, and then the strings need not be looked at.
    _check(value, depth_max, text=rb"\u0000" in raw)
    return value


def canonical(value: object) -> bytes:
    """The RFC 8785 bytes of `value`, or NotJSON with a pointer to what is outside the profile.

    Takes dict, list, tuple, str, int, bool and None, and no subclass of these.
    """
    _check(value, DEPTH_MAX, text=True)
    return encode(value)


def encode(value: object) -> bytes:
    """The RFC 8785 bytes of a value known to be in the profile: from `parse`, or built by us.

    Nothing is checked: outside the profile the bytes are not canonical. Key order is always right.
    """
    raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    # orjson sorts keys by code point, RFC 8785 §3.2.3 by UTF-16 code unit. The two differ only
    # where a character outside the BMP meets one of U+E000..U+FFFF.
    if raw.isascii() or not _ASTRAL.search(raw):
        return raw
    return orjson.dumps(_sorted(value))


def _sorted(value: object) -> object:
    """`value` with every object in the order of RFC 8785 §3.2.3."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=_code_units)}
    if isinstance(value, list | tuple):
        return [_sorted(element) for element in value]
    return value


def _code_units(key: str) -> bytes:
    return key.encode("utf-16-be")


class _OutOfProfile(Exception):
    """Carries what is wrong; each container that it passes adds its step to the path."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        self.path: list[str | int] = []


def _check(value: object, depth_max: int, *, text: bool) -> None:
    """Raise NotJSON if `value` is outside the profile; strings are looked at if `text`."""
    try:
        _walk(value, depth_max, depth_max, text)
    except _OutOfProfile as fault:
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in reversed(fault.path))
        pointer = "".join(f"/{step}" for step in steps)
        raise NotJSON(Fault(pointer, fault.detail)) from None


def _walk(value: Any, room: int, depth_max: int, text: bool) -> None:
    """Check `value`, which may hold `room` more levels of containers.

    The path is built while the refusal travels up, so that a good document pays nothing for it.
    """
    kind = type(value)
    if kind is str:
        _check_text(value)
    elif kind is int:
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise _OutOfProfile("is an integer outside ±(2^53 - 1); write it as a string")
    elif kind is dict or kind is list or kind is tuple:
        if not room:
            raise _OutOfProfile(f"is nested too deep, must be within {depth_max} containers")
        if kind is dict:
            if text:
                _check_keys(value)
            steps: Iterable[tuple[Any, Any]] = value.items()
        else:
            steps = enumerate(value)
        step: str | int = ""
        try:
            for step, child in steps:  # noqa: B007 - where it stood is read when it fails
                kind = type(child)
                # Most values are strings, and most of these are good by now: do not call for them.
                if kind is str and not text:
                    continue
                if kind is int and -INTEGER_MAX <= child <= INTEGER_MAX:
                    continue
                if child is not None and kind is not bool:
                    _walk(child, room - 1, depth_max, text)
        except _OutOfProfile as fault:
            fault.path.append(step)
            raise
    elif kind is float:
        raise _OutOfProfile("is a number with a fraction or exponent; write it as a string")
    elif value is not None and kind is not bool:
        raise _OutOfProfile(f"is a {kind.__name__}, must be a JSON value")


def _check_keys(value: dict[object, object]) -> None:
    """The fault of a key is a fault of its object: no pointer could spell such a key."""
    for key in value:
        if type(key) is not str:
            raise _OutOfProfile(f"has a key of type {type(key).__name__}, must be a string")
        try:
            _check_text(key)
        except _OutOfProfile as fault:
            raise _OutOfProfile(f"has the key {ascii(key)[:80]}, which {fault.detail}") from None


def _check_text(value: str) -> None:
    if "\0" in value:
        raise _OutOfProfile("holds U+0000, which no hashed document may")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _OutOfProfile("holds a lone surrogate, which is no character") from None
