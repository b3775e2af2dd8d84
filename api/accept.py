"""What a client takes, by its Accept headers (RFC 9110 §12.5)."""

from __future__ import annotations

import re

_WEIGHT = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")


def weights(header: str) -> dict[str, float]:
    """Each range that the header names, in lower case, with its weight from 0 (not acceptable) to 1."""
    found = {}
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = next(filter(None, map(_WEIGHT.fullmatch, parameters)), None)
        found[name] = float(weight[1]) if weight is not None else 1.0
    return found


def weight_of(media_type: str, header: str) -> float:
    """How much a media type is wanted: by its own name, its kind's or any's, whichever is named first so."""
    found = weights(header)
    kind = media_type.partition("/")[0]
    return next((found[name] for name in (media_type, f"{kind}/*", "*/*") if name in found), 0.0)
