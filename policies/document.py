"""Policy documents: text to frozen types, or every fault with its line, column and nearest name.

Language 1. A document binds conditions of the catalogue (`policies.conditions`) to kinds of event, and
obligations (`policies.obligations`) to the contract, for a time: `force` is half-open, and a date
begins at 00:00 in the document's `zone`. Everything that is written is enforced: an unknown word is
refused, since a rule that nobody watches would be worse than none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

import ledger.kinds  # noqa: F401 - declares every kind
from ledger.decision import Action, StepAction
from ledger.errors import Fault
from ledger.event import KINDS, Kind
from ledger.values import EVERY_ROLE, Date, Many, Role, Text, Value, Zone, midnight
from policies.checked import checked, names_of
from policies.conditions import CONDITIONS, Condition, Misfit
from policies.conditions.cel.dialect import CUSTOM_MAX
from policies.conditions.cel.program import version as cel_version
from policies.conditions.parameters import Duration, Parameters, nearest, one_of
from policies.obligations import OBLIGATIONS, Obligation
from policies.obligations.documents import REACKNOWLEDGEMENT, Acknowledged
from policies.tree import Path, PolicyDocumentError, Tree, read

LANGUAGE = 1
CONDITIONS_MAX = 200
CUSTOM = "custom"
REACKNOWLEDGE = "reacknowledge"
FAULTS_MAX = 20


# --- what a document is, once it is read ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bound:
    """A condition as one document uses it."""

    id: str
    condition: Condition
    at: tuple[str, ...]
    """Kinds of event at which it is asked."""
    action: Action
    clause: str
    """Where the contract, the license or the law says so."""
    parameters: Parameters
    released_by: tuple[str, ...] = ()
    """Roles that may release what it holds."""
    overridden_by: tuple[str, ...] = ()
    """Roles that may let it count as a flag, by an event of its own."""

    @property
    def cited(self) -> str:
        """Its clause, and what it demands where the document says that in an expression."""
        expression = getattr(self.parameters, "expression", None)
        return self.clause if expression is None else f"{self.clause}: {' '.join(expression.split())}"


@dataclass(frozen=True, slots=True)
class BoundStep:
    after: timedelta
    """After the due date and its grace."""
    action: StepAction


@dataclass(frozen=True, slots=True)
class BoundObligation:
    """An obligation as one document uses it."""

    id: str
    obligation: Obligation[Any]
    clause: str
    grace: timedelta
    steps: tuple[BoundStep, ...]
    parameters: Parameters


class Transition(Value):
    """What becomes of orders that are open when a new version comes into force."""

    open_orders: Literal["keep_version", "new_version"] | None = None
    reacknowledge: Duration | None = None


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    policy: str
    version: int
    zone: str
    begins: datetime
    """The first instant at which it is in force, UTC."""
    ends: datetime | None
    """The first instant at which it no longer is; None: until another version is."""
    approvals: tuple[str, ...]
    """Roles, or offices of a role such as `exporter.counsel`, all of which must approve."""
    transition: Transition | None
    conditions: tuple[Bound, ...]
    obligations: tuple[BoundObligation, ...]
    sha256: str
    cel: str | None = None
    """Version of the CEL library that judges its custom conditions; None where it has none."""

    def obligation(self, name: str) -> BoundObligation | None:
        """The obligation of that id."""
        return next((bound for bound in self.obligations if bound.id == name), None)

    def in_force(self, at: datetime) -> bool:
        return self.begins <= at and (self.ends is None or at < self.ends)


def digest(text: str) -> str:
    """SHA-256 of the document's UTF-8 bytes, hex: the name under which a decision cites it."""
    return hashlib.sha256(text.encode()).hexdigest()


# --- what may be written --------------------------------------------------------------------------

PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
ConditionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]

HOLDABLE = tuple(sorted({name for (name, _), kind in KINDS.items() if kind.subject is not Kind.subject}))
"""Kinds of event that may be held: they ask for something that can be named."""

_ROLES = tuple(sorted(EVERY_ROLE))
_ACTIONS = get_args(Action)
_STEP_ACTIONS = get_args(StepAction)


def _office(approval: str) -> str:
    """`authority`, or an office of a role: `exporter.counsel`."""
    role, dot, office = approval.partition(".")
    if role not in _ROLES:
        raise ValueError(f"{role[:80]} is not a role; {nearest(role, _ROLES)}")
    if dot and not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", office):
        raise ValueError(f"{approval[:80]} must be a role, or a role and an office such as exporter.counsel")
    return approval


def _elsewhere(names: tuple[str, ...], what: str) -> BeforeValidator:
    """Refuse a name that is known in another list, and say which."""

    def validate(name: object) -> object:
        if isinstance(name, str) and name in names:
            raise ValueError(f"{name} is {what}")
        return name

    # Of validators before, the one that is written last is asked first: it would call the name unknown.
    return BeforeValidator(validate)


def _language(number: int) -> int:
    if number != LANGUAGE:
        raise ValueError(f"is {number}, must be {LANGUAGE}")
    return number


class _Force(Value):
    from_: Annotated[Date, Field(alias="from")]
    until: Date | None = None


class _Written(Value):
    """A document's own fields; its conditions are looked at one by one."""

    policy: PolicyName
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    language: Annotated[int, AfterValidator(_language)]
    zone: Zone
    force: _Force
    approvals: Many[Annotated[str, AfterValidator(_office)]]
    transition: Transition | None = None
    conditions: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=CONDITIONS_MAX)]
    obligations: Annotated[list[dict[str, Any]], Field(default_factory=list, max_length=CONDITIONS_MAX)]


_OneRole = Annotated[Role, one_of("a role", _ROLES)]


class _Frame(Value):
    """What every condition says, whatever its parameters."""

    id: ConditionId
    uses: Annotated[
        str,
        one_of("a condition", tuple(sorted(CONDITIONS))),
        _elsewhere(tuple(OBLIGATIONS), "an obligation, which stands under obligations"),
    ]
    at: Many[Annotated[str, one_of("a kind of event", tuple(sorted({k for k, _ in KINDS})))]]
    clock: str | None = None
    action: Annotated[Action, one_of("an action", _ACTIONS)]
    clause: Text
    released_by: Many[_OneRole] | None = None
    overridden_by: Many[_OneRole] | None = None


class _Step(Value):
    after: Duration
    action: Annotated[StepAction, one_of("an action", _STEP_ACTIONS)]


class _ObligationFrame(Value):
    """What every obligation says, whatever its parameters."""

    id: ConditionId
    uses: Annotated[
        str,
        one_of("an obligation", tuple(sorted(OBLIGATIONS))),
        _elsewhere(tuple(CONDITIONS), "a condition, which stands under conditions"),
    ]
    clause: Text
    grace: Duration = timedelta(0)
    steps: Many[_Step] = (_Step(after=timedelta(0), action="flag"),)


# --- reading --------------------------------------------------------------------------------------


def parse_document(text: str, *, pointer: str | None = None) -> PolicyDocument:
    """Raise PolicyDocumentError with every fault, up to FAULTS_MAX.

    A fault points into the document; or, where the text stands inside another input, to `pointer`.
    """
    try:
        return _parse(text)
    except PolicyDocumentError as error:
        if pointer is None:
            raise
        raise PolicyDocumentError(*(Fault(pointer, f.detail) for f in error.faults)) from None


@lru_cache(maxsize=64)
def _parse(text: str) -> PolicyDocument:
    """Kept for a while: the door reads a document before the lock, the constitution under it."""
    tree = read(text)
    if not isinstance(tree.value, dict):
        raise PolicyDocumentError(tree.fault((), "a policy document is an object"))
    faults: list[Fault] = []
    written = checked(_Written, tree.value, (), tree, faults)
    conditions = _items(tree, "conditions", _condition, faults)
    obligations = _items(tree, "obligations", _obligation, faults)
    _distinct(tree, faults)
    _check_custom(tree, conditions, faults)
    if written is not None:
        _check_force(written.force, tree, faults)
    if faults or written is None:
        raise PolicyDocumentError(*faults[:FAULTS_MAX])
    return PolicyDocument(
        policy=written.policy,
        version=written.version,
        zone=written.zone,
        begins=midnight(written.force.from_, written.zone),
        ends=midnight(written.force.until, written.zone) if written.force.until else None,
        approvals=written.approvals,
        transition=written.transition,
        conditions=conditions,
        obligations=(*obligations, *_implied(written.transition, digest(text))),
        sha256=digest(text),
        cel=cel_version() if any(bound.condition.name == CUSTOM for bound in conditions) else None,
    )


def _implied(transition: Transition | None, sha256: str) -> tuple[BoundObligation, ...]:
    """What the transition asks for, as an obligation like those that are written out."""
    if transition is None or transition.reacknowledge is None:
        return ()
    steps = (BoundStep(timedelta(0), "flag"),)
    parameters = Acknowledged(sha256=sha256, within=transition.reacknowledge)
    none = timedelta(0)
    return (BoundObligation(REACKNOWLEDGE, REACKNOWLEDGEMENT, "transition", none, steps, parameters),)


# Beyond, a day has no midnight in every zone.
_CALENDAR = date(1900, 1, 1), date(9000, 1, 1)


def _check_force(force: _Force, tree: Tree, faults: list[Fault]) -> None:
    for name, day in (("from", force.from_), ("until", force.until)):
        if day is not None and not _CALENDAR[0] <= day <= _CALENDAR[1]:
            faults.append(tree.fault(("force", name), f"{day} is too far away"))
    if force.until is not None and force.until <= force.from_:
        words = f"is {force.until}, must be after from, {force.from_}"
        faults.append(tree.fault(("force", "until"), words))


T = TypeVar("T")


def _items(
    tree: Tree,
    section: str,
    read_one: Callable[[dict[str, Any], Path, Tree, list[Fault]], T | None],
    faults: list[Fault],
) -> tuple[T, ...]:
    written = tree.value.get(section)
    items = []
    for number, value in enumerate(written[:CONDITIONS_MAX] if isinstance(written, list) else ()):
        # What is no object, _Written has said so.
        if isinstance(value, dict):
            items.append(read_one(value, (section, number), tree, faults))
    return tuple(item for item in items if item is not None)


def _check_custom(tree: Tree, conditions: tuple[Bound, ...], faults: list[Fault]) -> None:
    """Each may take some milliseconds under the lock, and memory of its own."""
    count = sum(bound.condition.name == CUSTOM for bound in conditions)
    if count > CUSTOM_MAX:
        words = f"has {count} custom conditions, must have at most {CUSTOM_MAX}"
        faults.append(tree.fault(("conditions",), words))


def _distinct(tree: Tree, faults: list[Fault]) -> None:
    """An id names one condition or obligation of the document."""
    first: dict[str, Path] = {}
    for section in ("conditions", "obligations"):
        written = tree.value.get(section)
        for number, value in enumerate(written[:CONDITIONS_MAX] if isinstance(written, list) else ()):
            name = value.get("id") if isinstance(value, dict) else None
            path: Path = (section, number)
            if name == REACKNOWLEDGE:
                faults.append(tree.fault((*path, "id"), f"{name} is what transition asks for by that name"))
            if isinstance(name, str) and first.setdefault(name, path) != path:
                line = tree.values[first[name]].line
                words = f"{name[:63]} stands twice, first on line {line}"
                faults.append(tree.fault((*path, "id"), words))


def _condition(value: dict[str, Any], path: Path, tree: Tree, faults: list[Fault]) -> Bound | None:
    before = len(faults)
    uses = value.get("uses")
    used = CONDITIONS.get(uses) if isinstance(uses, str) else None
    fields = set(names_of(_Frame))
    frame = checked(_Frame, {k: v for k, v in value.items() if k in fields}, path, tree, faults)
    if used is None:  # without it nobody can say which parameters are known
        return None
    parameters = checked(
        used.parameters,
        {k: v for k, v in value.items() if k not in fields},
        path,
        tree,
        faults,
        also=names_of(_Frame),
    )
    if frame is None:
        return None
    for number, kind in enumerate(frame.at):
        if kind not in used.kinds:
            words = f"{used.name} does not judge {kind}; it judges {', '.join(used.kinds)}"
            faults.append(tree.fault((*path, "at", number), words))
        elif kind in frame.at[:number]:
            faults.append(tree.fault((*path, "at", number), f"{kind} stands twice"))
    if frame.clock is not None and frame.clock != used.clock:
        words = f"{frame.clock[:40]} is not the clock of {used.name}, must be {used.clock}"
        faults.append(tree.fault((*path, "clock"), words))
    _check_release(frame, path, tree, faults)
    if parameters is None or len(faults) > before:
        return None
    if used.fit is not None:
        fitted = used.fit(parameters, frame.at)
        if isinstance(fitted, Misfit):
            faults.append(tree.fault((*path, fitted.field), fitted.words))
            return None
        parameters = fitted
    return Bound(
        frame.id,
        used,
        frame.at,
        frame.action,
        frame.clause,
        parameters,
        frame.released_by or (),
        frame.overridden_by or (),
    )


def _check_release(frame: _Frame, path: Path, tree: Tree, faults: list[Fault]) -> None:
    if frame.action == "hold":
        if frame.released_by is None:
            words = "released_by is missing: who may release what this holds?"
            faults.append(tree.fault((*path, "released_by"), words))
        for number, kind in enumerate(frame.at):
            if kind not in HOLDABLE:
                words = f"{kind} cannot be held; what can be: {', '.join(HOLDABLE)}"
                faults.append(tree.fault((*path, "at", number), words))
    elif frame.released_by is not None:
        words = f"released_by says who releases a hold, and the action is {frame.action}"
        faults.append(tree.fault((*path, "released_by"), words, at_key=True))
    if frame.overridden_by is not None and frame.action in ("flag", "shadow"):
        words = f"overridden_by says who lets it count as a flag, and the action is {frame.action}"
        faults.append(tree.fault((*path, "overridden_by"), words, at_key=True))


def _obligation(value: dict[str, Any], path: Path, tree: Tree, faults: list[Fault]) -> BoundObligation | None:
    before = len(faults)
    uses = value.get("uses")
    used = OBLIGATIONS.get(uses) if isinstance(uses, str) else None
    fields = set(names_of(_ObligationFrame))
    own = {k: v for k, v in value.items() if k in fields}
    frame = checked(_ObligationFrame, own, path, tree, faults)
    if used is None:
        return None
    others = {k: v for k, v in value.items() if k not in fields}
    parameters = checked(used.parameters, others, path, tree, faults, also=names_of(_ObligationFrame))
    if frame is None or parameters is None or len(faults) > before:
        return None
    for number, (step, following) in enumerate(pairwise(frame.steps), 1):
        if following.after <= step.after:
            words = "must be after the step before it"
            faults.append(tree.fault((*path, "steps", number, "after"), words))
    steps = tuple(BoundStep(step.after, step.action) for step in frame.steps)
    return BoundObligation(frame.id, used, frame.clause, frame.grace, steps, parameters)
