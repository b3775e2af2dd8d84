"""Policy documents: text to frozen types, or every fault with its line, column and nearest name.

Language 1. A document binds conditions of the catalogue (`policies.conditions`) to kinds of event,
for a time: `force` is half-open, and a date begins at 00:00 in the document's `zone`. `transition`
is read and kept with the document; the engine does not act on it yet. What the language does not
have yet (obligations, holds, approvals by a named office of a party) is refused in so many words,
since a rule that is written and not enforced would be worse than none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError

import ledger.kinds  # noqa: F401 - declares every kind
from ledger.decision import Action
from ledger.errors import Fault
from ledger.event import KINDS
from ledger.values import EVERY_ROLE, Date, Many, Role, Text, Value, Zone, midnight
from policies.conditions import CONDITIONS, Condition
from policies.conditions.parameters import Duration, Parameters, nearest, one_of
from policies.tree import Path, PolicyDocumentError, Tree, read

LANGUAGE = 1
CONDITIONS_MAX = 200
FAULTS_MAX = 20

__all__ = [
    "Bound", "PolicyDocument", "PolicyDocumentError", "Transition", "digest", "parse_document",
]  # fmt: skip


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
    """Roles, any of which may put it in force."""
    transition: Transition | None
    conditions: tuple[Bound, ...]
    sha256: str

    def in_force(self, at: datetime) -> bool:
        return self.begins <= at and (self.ends is None or at < self.ends)


def digest(text: str) -> str:
    """SHA-256 of the document's UTF-8 bytes, hex: the name under which a decision cites it."""
    return hashlib.sha256(text.encode()).hexdigest()


# --- what may be written --------------------------------------------------------------------------

PolicyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
ConditionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]

_ROLES = tuple(sorted(EVERY_ROLE))
_ACTIONS = ("deny", "flag", "shadow")


def _no_office(role: object) -> object:
    if isinstance(role, str) and "." in role:
        party, office = role.split(".", 1)
        raise ValueError(
            f"{party[:40]}.{office[:40]} names an office, which is not supported in language 1; "
            f"write {party[:40]}"
        )
    return role


def _no_hold(action: object) -> object:
    if action == "hold":
        raise ValueError("hold is not supported in language 1; write deny, flag or shadow")
    return action


def _language(number: int) -> int:
    if number != LANGUAGE:
        raise ValueError(f"is {number}, must be {LANGUAGE}")
    return number


def _no_obligations(_: object) -> None:
    raise ValueError("obligations are not supported in language 1: nothing would watch them; leave them out")


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
    approvals: Many[Annotated[Role, one_of("a role", _ROLES), BeforeValidator(_no_office)]]
    transition: Transition | None = None
    conditions: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=CONDITIONS_MAX)]
    obligations: Annotated[Any, BeforeValidator(_no_obligations)] = None


class _Frame(Value):
    """What every condition says, whatever its parameters."""

    id: ConditionId
    uses: Annotated[str, one_of("a condition", tuple(sorted(CONDITIONS)))]
    at: Many[Annotated[str, one_of("a kind of event", tuple(sorted({k for k, _ in KINDS})))]]
    clock: str | None = None
    action: Annotated[Action, one_of("an action", _ACTIONS), BeforeValidator(_no_hold)]
    clause: Text


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
    written = _checked(_Written, tree.value, (), tree, faults)
    conditions = _conditions(tree, faults)
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
        sha256=digest(text),
    )


# Beyond, a day has no midnight in every zone.
_CALENDAR = date(1900, 1, 1), date(9000, 1, 1)


def _check_force(force: _Force, tree: Tree, faults: list[Fault]) -> None:
    for name, day in (("from", force.from_), ("until", force.until)):
        if day is not None and not _CALENDAR[0] <= day <= _CALENDAR[1]:
            faults.append(tree.fault(("force", name), f"{day} is too far away"))
    if force.until is not None and force.until <= force.from_:
        words = f"is {force.until}, must be after from, {force.from_}"
        faults.append(tree.fault(("force", "until"), words))


def _conditions(tree: Tree, faults: list[Fault]) -> tuple[Bound, ...]:
    written = tree.value.get("conditions")
    if not isinstance(written, list):
        return ()
    bound: list[Bound] = []
    first: dict[str, int] = {}
    for number, value in enumerate(written[:CONDITIONS_MAX]):
        path: Path = ("conditions", number)
        if not isinstance(value, dict):
            continue  # _Written has said so
        one = _condition(value, path, tree, faults)
        name = value.get("id")
        if isinstance(name, str) and first.setdefault(name, number) != number:
            line = tree.values["conditions", first[name]].line
            words = f"{name[:63]} stands twice, first on line {line}"
            faults.append(tree.fault((*path, "id"), words))
        if one is not None:
            bound.append(one)
    return tuple(bound)


def _condition(value: dict[str, Any], path: Path, tree: Tree, faults: list[Fault]) -> Bound | None:
    before = len(faults)
    uses = value.get("uses")
    used = CONDITIONS.get(uses) if isinstance(uses, str) else None
    fields = set(_names(_Frame))
    frame = _checked(_Frame, {k: v for k, v in value.items() if k in fields}, path, tree, faults)
    if used is None:  # without it nobody can say which parameters are known
        return None
    parameters = _checked(
        used.parameters,
        {k: v for k, v in value.items() if k not in fields},
        path,
        tree,
        faults,
        also=_names(_Frame),
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
    if parameters is None or len(faults) > before:
        return None
    return Bound(frame.id, used, frame.at, frame.action, frame.clause, parameters)


# --- from pydantic's words to ours ----------------------------------------------------------------

V = TypeVar("V", bound=Value)

_WORDS = {
    "missing": "is missing",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "must not be empty",
}


def _checked(
    model: type[V],
    value: dict[str, Any],
    path: Path,
    tree: Tree,
    faults: list[Fault],
    *,
    also: tuple[str, ...] = (),
) -> V | None:
    """The typed value, or None and what is wrong added to `faults`. `also` are known beside it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=False):
            if found["type"] == "too_short" and found["input"]:
                continue  # it is not empty: what stands in it is wrong, and has its own fault
            below, inside = _steps(value, found["loc"], missing=found["type"] == "missing")
            name = str(below[-1])[:63] if below else "the document"
            if found["type"] == "extra_forbidden":
                names = _names_at(model, inside) + (() if len(below) > 1 else also)
                words = f"{name} is not a known field; {nearest(name, names)}"
            elif found["type"] == "value_error":
                words = found["msg"].removeprefix("Value error, ")
            else:
                words = f"{name} {_WORDS.get(found['type']) or _must(found['msg'])}"
            place = (*path, *below)
            faults.append(tree.fault(place, words, at_key=found["type"] == "extra_forbidden"))
    return None


def _steps(value: object, loc: tuple[int | str, ...], *, missing: bool) -> tuple[Path, tuple[str, ...]]:
    """Where `loc` leads within `value`, and the names of the fields on the way.

    A step that names an alternative of a union, and no field, is left out.
    """
    path: list[str | int] = []
    for number, step in enumerate(loc):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        elif not (missing and number == len(loc) - 1):
            continue
        path.append(step)
    return tuple(path), tuple(step for step in path[:-1] if isinstance(step, str))


def _names(model: type[Value]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _names_at(model: type[Value], steps: tuple[str, ...]) -> tuple[str, ...]:
    """The fields known inside the field that `steps` lead to."""
    for step in steps:
        for name, field in model.model_fields.items():
            if step == (field.alias or name):
                model = next(_models_in(field.annotation), model)
    return _names(model)


def _models_in(annotation: object) -> Iterator[type[Value]]:
    if isinstance(annotation, type) and issubclass(annotation, Value):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _must(words: str) -> str:
    """ "Input should be ..." as we say it."""
    return "must" + words.partition(" should")[2] if " should " in words else f"is wrong: {words}"
