"""JSON of which nobody has checked that it is what it should be, read as far as it can be."""

from __future__ import annotations

from typing import Any

import orjson


def parsed(raw: bytes | None) -> Any:
    """The value; text where it is no JSON, None where there is nothing."""
    try:
        return orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return None if raw is None else raw.decode(errors="replace")


def member(value: Any, name: str) -> Any:
    """Of an object; None where it has none of that name, or is no object."""
    return value.get(name) if isinstance(value, dict) else None
