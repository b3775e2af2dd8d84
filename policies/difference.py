"""Where the log first differs from what the same code makes of it, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from policies.conditions.cel.program import LIBRARY
from policies.explain import explain
from policies.unchecked import member, parsed

PLACES_MAX: Final = 20
"""At which two decisions differ, that are named."""
_ABSENT: Final = object()
"""Where one of two values has nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first entry that is not what the log makes it."""

    index: int
    kind: str
    what: Literal["decision", "event", "missing", "uncalled", "unreadable"]
    committed: bytes | None = None
    recomputed: bytes | None = None
    why: str = ""

    def lines(self) -> list[str]:
        """In words: what, and both values side by side."""
        head = f"entry {self.index}, {self.kind}"
        if self.what == "unreadable":
            return [f"{head}: it cannot be judged again: {self.why}"]
        if self.what == "missing":
            return [f"{head}: it is missing; the ledger must say {_text(self.recomputed)}"]
        if self.what == "uncalled":
            return [f"{head}: nothing before it calls for it; it says {_text(self.committed)}"]
        title = "the decision" if self.what == "decision" else "what the ledger says because of its cause"
        places = list(_places(parsed(self.committed), parsed(self.recomputed)))
        lines = [f"{head}: {title} differs"]
        for where, committed, recomputed in places[:PLACES_MAX]:
            lines.append(f"  {where}: committed {_shown(committed)}, recomputed {_shown(recomputed)}")
        if not places:
            lines.append("  the same values, in other bytes")
        if len(places) > PLACES_MAX:
            lines.append(f"  and {len(places) - PLACES_MAX} places more")
        if self.what == "decision":
            lines += [f"  {words}" for words in _engines(parsed(self.committed), parsed(self.recomputed))]
            lines += [f"  recomputed: {sentence}" for sentence in _reasons(parsed(self.recomputed))]
        return lines


def _places(committed: Any, recomputed: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ, in order, conditions by their name."""
    if isinstance(committed, dict) and isinstance(recomputed, dict):
        for name in dict.fromkeys((*committed, *recomputed)):
            below = f"{where}, {name}" if where else name
            one, other = committed.get(name, _ABSENT), recomputed.get(name, _ABSENT)
            if name == "conditions" and not where:
                one, other, below = _by_condition(one), _by_condition(other), ""
            yield from _places(one, other, below)
    elif isinstance(committed, list) and isinstance(recomputed, list):
        for number in range(max(len(committed), len(recomputed))):
            one, other = (
                values[number] if number < len(values) else _ABSENT for values in (committed, recomputed)
            )
            yield from _places(one, other, f"{where} {number + 1}")
    elif type(committed) is not type(recomputed) or committed != recomputed:
        yield where or "all of it", committed, recomputed


def _by_condition(findings: Any) -> Any:
    """Findings by the name of their condition, as `_places` says it."""
    if not isinstance(findings, list):
        return findings
    named: dict[str, Any] = {}
    for finding in findings:
        id_, uses, policy = (member(finding, name) for name in ("id", "uses", "policy"))
        name = f"condition {id_}" + (f" ({uses})" if uses != id_ else "") + f" of policy {policy}"
        named[name if name not in named else f"{name} again"] = finding
    return named


def _reasons(decision: Any) -> list[str]:
    """Why the recomputed decision is what it is: its failed conditions in words."""
    failed = [f for f in decision["conditions"] if f["result"] in ("fail", "error")]
    return explain({**decision, "conditions": failed})


def _engines(committed: Any, recomputed: Any) -> Iterator[str]:
    """Of documents whose expressions another version of the CEL library judged."""
    then = member(committed, "policies")
    for cited, now in zip(then if isinstance(then, list) else (), recomputed["policies"], strict=False):
        if member(cited, "sha256") == now.get("sha256") and member(cited, "cel") != now.get("cel"):
            yield (
                f"policy {now['policy']} was judged with CEL {member(cited, 'cel')}, and is here with "
                f"{now.get('cel')}: replay it where {LIBRARY} is of the version that judged it"
            )


def _shown(value: Any) -> str:
    return "nothing" if value is _ABSENT else _text(orjson.dumps(value))


def _text(raw: bytes | None) -> str:
    text = (raw or b"").decode(errors="replace")
    return text if len(text) <= 200 else f"{text[:200]} ... ({len(text)} characters)"
