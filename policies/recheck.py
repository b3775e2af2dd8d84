"""A committed decision held against itself: its comparisons, its arithmetic, its outcome.

What was observed is taken as it stands: whether it was right takes all facts, and that is `policies.replay`.
So a bundle about one chip can be rechecked, which is no export and cannot be replayed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from policies.comparisons import CUT_OFF, IN_PART, RELATIONS, STRICT
from policies.engine import ENGINE_VERSION

Json = Mapping[str, Any]

_OUTCOMES: Final = ("accepted", "flagged", "held", "denied")
_WEIGHTS: Final = {"shadow": 0, "flag": 1, "hold": 2, "deny": 3}
_RESULTS: Final = ("pass", "fail", "error", "not_applicable")
_HOLDS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt, "<=": operator.le, "==": operator.eq,
    "!=": operator.ne, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip
_DECIMAL: Final = re.compile(r"-?\d{1,60}(\.\d{1,30})?")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}\.\d{6}Z)?")
_CUT: Final = Decimal("0.01")


class Fault(NamedTuple):
    """Something in a decision that does not follow from what stands beside it."""

    condition: str
    """Its id; empty: the decision as a whole."""
    what: str

    def __str__(self) -> str:
        return f"{self.condition}: {self.what}" if self.condition else self.what


class Recheck(NamedTuple):
    """Of one decision, or of several together."""

    compared: int = 0
    """Findings whose result follows from their numbers."""
    uncompared: frozenset[str] = frozenset()
    """Codes of findings with numbers that do not show it."""
    faults: tuple[Fault, ...] = ()

    def __add__(self, other: object) -> Recheck:
        if not isinstance(other, Recheck):
            return NotImplemented
        return Recheck(
            self.compared + other.compared, self.uncompared | other.uncompared, self.faults + other.faults
        )


def recheck(decision: Json) -> Recheck:
    """Of the JSON that was committed. One by an engine that is not known here is not compared."""
    try:
        if decision["engine"] != ENGINE_VERSION:
            return Recheck(uncompared=frozenset({f"engine {decision['engine']}"}))
        findings = decision["conditions"]
        found = sum(map(_compare, findings), Recheck())
        faults = list(_of_outcome(decision["outcome"], findings))
        faults += _of_places(decision)
        for shadow in decision.get("shadows", ()):
            found += sum(map(_compare, shadow["conditions"]), Recheck())
            faults += _of_outcome(shadow["outcome"], shadow["conditions"])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        return Recheck(faults=(Fault("", "the decision is not of the form that a ledger commits"),))
    return found + Recheck(faults=tuple(faults))


def recheck_all(decisions: Mapping[int, Json], events: Mapping[int, Json]) -> Recheck:
    """Of several entries, by index; what is said of one names it. `events` are those that are shown."""
    found = Recheck()
    for index, decision in decisions.items():
        one = recheck(decision)
        faults = one.faults
        # Of one that is not of the form, or by an engine that is not known, nothing more can be said.
        if not faults and decision["engine"] == ENGINE_VERSION:
            faults = tuple(_of_overrides(index, decision, decisions, events))
        found += one._replace(faults=tuple(_at(index, fault) for fault in faults))
    for index, event in events.items():
        if event.get("kind") == "obligation.breached":
            breach = _of_breach(event.get("data"))
            found += breach._replace(faults=tuple(_at(index, fault) for fault in breach.faults))
    return found


def _at(index: int, fault: Fault) -> Fault:
    return Fault(fault.condition, f"entry {index}: {fault.what}")


def _of_breach(data: Any) -> Recheck:
    """What the ledger has found of a duty at its instant, in the numbers of a finding."""
    try:
        return _compare({**data, "id": data["obligation"], "result": "fail", "code": f"{data['uses']}.late"})
    except (KeyError, TypeError):
        return Recheck(faults=(Fault("", "the breach is not of the form that a ledger commits"),))


def _of_overrides(
    index: int, decision: Json, decisions: Mapping[int, Json], events: Mapping[int, Json]
) -> Iterator[Fault]:
    """What allows a finding is an override before it, of this condition, that was not refused."""
    for finding in _list(decision.get("conditions")):
        allowed = finding.get("override")
        if allowed is None:
            continue
        if type(allowed) is not int or not 0 <= allowed < index:
            yield Fault(finding["id"], f"the override is entry {_shown(allowed)}, must be one before it")
            continue
        event, granted = events.get(allowed), decisions.get(allowed)
        if event is not None and (
            event.get("kind") != "override.granted" or finding["id"] not in _overridden(event.get("data"))
        ):
            yield Fault(finding["id"], f"entry {allowed} is no override of it")
        if granted is not None and granted.get("outcome") == "denied":
            yield Fault(finding["id"], f"the override, entry {allowed}, was refused")


def _overridden(data: Any) -> list[Any]:
    return _list(data.get("conditions")) if isinstance(data, dict) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- the whole ------------------------------------------------------------------------------------


def _of_outcome(outcome: str, findings: Iterable[Json]) -> Iterator[Fault]:
    """It is the gravest of what failed; an override makes a flag of a refusal or a hold."""
    gravest = _OUTCOMES[max(map(_weight, findings), default=0)]
    if outcome != gravest:
        yield Fault("", f"the outcome is {str(outcome)[:40]!r}, its conditions make it {gravest!r}")


def _weight(finding: Json) -> int:
    if finding["result"] not in ("fail", "error"):
        return 0
    return 1 if "override" in finding else _WEIGHTS[finding["action"]]


def _of_places(decision: Json) -> Iterator[Fault]:
    """Each condition stands in a document that was asked, and what holds it in one that failed."""
    policies, findings = decision["policies"], decision["conditions"]
    for finding in findings:
        if not 0 <= finding["policy"] < len(policies):
            yield Fault(finding["id"], f"it stands in policy {finding['policy']} of {len(policies)}")
    holding = {
        (policies[finding["policy"]]["policy"], finding["id"])
        for finding in findings
        if _weight(finding) == _WEIGHTS["hold"]
    }
    for one in decision.get("awaited", ()):
        if (one["policy"], one["condition"]) not in holding:
            yield Fault(one["condition"], "it is said to hold the event, and did not fail so")


# --- one comparison -------------------------------------------------------------------------------


def _compare(finding: Json) -> Recheck:
    id_, result = finding["id"], finding["result"]
    observed, limit = finding.get("observed"), finding.get("limit")
    code = finding.get("code") or f"{finding['uses']}.{result}"
    faults = []
    if result not in _RESULTS:
        faults.append(Fault(id_, f"result is {str(result)[:40]!r}"))
    if (result in ("fail", "error")) != ("code" in finding):
        faults.append(Fault(id_, f"result is {result!r} under code {finding.get('code', 'none')!r}"))
    if "subjects" in finding and finding["subjects_count"] < len(finding["subjects"]):
        faults.append(Fault(id_, "it names more than it counts"))
    if observed is None or limit is None:
        return Recheck(faults=tuple(faults))
    if code not in RELATIONS:
        return Recheck(uncompared=frozenset({code}), faults=tuple(faults))
    faults += _of_numbers(finding, code, observed, limit)
    return Recheck(compared=1, faults=tuple(faults))


def _of_numbers(finding: Json, code: str, observed: Any, limit: Any) -> Iterator[Fault]:
    id_, relation = finding["id"], RELATIONS[code]
    if relation in ("==", "!="):
        if not _HOLDS[relation](observed, limit):
            yield Fault(id_, f"{code} states that {_shown(observed)} {relation} {_shown(limit)}")
        return
    seen, bound = _quantity(observed), _quantity(limit)
    if seen is None or bound is None or type(seen) is not type(bound):
        yield Fault(id_, f"{code} compares {_shown(observed)} with {_shown(limit)}, which have no order")
        return
    cut = finding["uses"] in CUT_OFF
    # Cut off after two digits, what is exact lies in [seen, seen + 0.01).
    held = (
        seen + _CUT > bound
        if cut and relation in (">", ">=") and isinstance(seen, Decimal) and isinstance(bound, Decimal)
        else _HOLDS[relation](seen, bound)
    )
    if not held:
        yield Fault(id_, f"{code} states that {_shown(observed)} {relation} {_shown(limit)}")
    if isinstance(seen, Decimal) and isinstance(bound, Decimal) and not cut:
        yield from _of_differences(finding, code, seen, bound)


def _of_differences(finding: Json, code: str, observed: Decimal, limit: Decimal) -> Iterator[Fault]:
    id_, apart = finding["id"], abs(observed - limit)
    if "shortfall" in finding and code not in IN_PART:
        shortfall = _quantity(finding["shortfall"])
        if shortfall != apart + (code in STRICT):
            yield Fault(
                id_, f"shortfall is {_shown(finding['shortfall'])}, {observed} and {limit} make it {apart}"
            )
    if "headroom" in finding:
        headroom = _quantity(finding["headroom"])
        # What was asked for is what was observed less what stood before: limit less headroom.
        if not isinstance(headroom, Decimal) or limit - headroom > observed:
            yield Fault(
                id_,
                f"headroom is {_shown(finding['headroom'])}: so more stood before than the {observed} after",
            )


def _quantity(value: Any) -> Decimal | str | None:
    """A number, or a time as text, whose order is that of its characters."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str):
        if _DECIMAL.fullmatch(value):
            return Decimal(value)
        return value if _TIME.fullmatch(value) else None
    return None


def _shown(value: Any) -> str:
    return str(value)[:80]
