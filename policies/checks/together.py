"""What is wrong with two conditions or obligations of one document beside each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from functools import cache, partial
from itertools import islice, permutations
from typing import Any, Final, NamedTuple

from ledger.values import Money
from policies.checks.found import (
    DOES,
    GRAVITY,
    ConditionItem,
    Found,
    Item,
    ObligationItem,
    conditions_of,
    declarations,
    declared,
    obligations_of,
    spelled,
    weight_at,
)
from policies.conditions.declared import (
    Allows,
    Below,
    Figure,
    Forbids,
    Includes,
    Names,
    Scale,
    Severity,
    Stricter,
)
from policies.document import PolicyDocument


def check(document: PolicyDocument) -> Iterator[Found]:
    conditions, obligations = tuple(conditions_of(document)), tuple(obligations_of(document))
    for item in conditions:
        yield from _idle(item, conditions)
    yield from _lists(conditions)
    yield from _figures((*conditions, *obligations))
    for first, second in permutations(obligations, 2):
        yield from _alike(first, second)


# --- one asks all that another asks ----------------------------------------------------------------


class _Covers(NamedTuple):
    """What fails under one set of parameters fails under another: how the other differs."""

    stricter: tuple[tuple[str, Any, Any], ...]
    """Of each parameter that differs, its name, its value and the stricter one."""
    scaled: bool
    """Only if both are counted at a figure that the document fixes."""

    def words(self) -> str:
        differ = (
            f"{name} is {spelled(ours)}, there {spelled(theirs)}" for name, ours, theirs in self.stricter
        )
        return "; ".join(differ)


def _covers(strict: Item[Any], lax: Item[Any], unread: Collection[str] = ()) -> _Covers | None:
    """`unread`: the parameters of `lax` that do not count."""
    stricter, scaled = [], False
    for name, words in declarations(type(lax.parameters)):
        one, other = getattr(strict.parameters, name), getattr(lax.parameters, name)
        if one == other or name in unread:
            continue
        if any(isinstance(word, Scale) for word in words):
            if one is not None and other is not None and not isinstance(one, str):
                return None
            scaled = True
        elif any(_is_stricter(word, one, other) for word in words):
            stricter.append((name, other, one))
        else:
            return None
    return _Covers(tuple(stricter), scaled)


def _is_stricter(word: object, one: Any, other: Any) -> bool:
    match word:
        case Stricter("less" | "more" as way):
            if one is None or other is None:
                return other is None
            if isinstance(one, Money) and isinstance(other, Money):
                return one.currency == other.currency and one.amount <= other.amount
            if type(one) is not type(other) or not hasattr(one, "__lt__"):
                return False
            return bool(one <= other if way == "less" else one >= other)
        case Stricter("fewer"):
            return set(one) <= set(other)
        case Allows(_, _, none_is_any):
            if one is None or other is None:
                return other is None and none_is_any
            return set(_many(one)) <= set(_many(other))
        case Stricter("further") | Forbids():
            return set(one) >= set(other)
        case Includes(others):
            return other in others.get(one, ())
    return False


class _Idle(NamedTuple):
    kind: str
    beside: ConditionItem
    covers: _Covers
    twin: bool


def _idle(item: ConditionItem, conditions: tuple[ConditionItem, ...]) -> Iterator[Found]:
    """Whether another condition always decides as gravely wherever this one would decide."""
    same = [other for other in conditions if other.uses == item.uses and other is not item]
    if not same:
        return

    # Kinds at which the same parameters are read are compared once: lists can be long.
    @cache
    def covers(number: int, unread: frozenset[str]) -> _Covers | None:
        return _covers(same[number], item, unread)

    idle: list[_Idle] = []
    for kind in item.bound.at:
        unread = frozenset(item.parameters.unread((kind,)))
        decided = (_decided(item, o, kind, partial(covers, n, unread)) for n, o in enumerate(same))
        idle += islice(filter(None, decided), 1)
    whole = len(idle) == len(item.bound.at)
    never = whole and not any(found.twin or found.covers.scaled for found in idle)
    for beside in {found.beside.path: found.beside for found in idle}.values():
        here = [found for found in idle if found.beside is beside]
        at = "" if whole and len(here) == len(idle) else f" at {', '.join(found.kind for found in here)}"
        words = _words(item, here[0]) + at
        yield Found("error" if never else "remark", item.path, (item.id, beside.id), words)


def _words(item: ConditionItem, found: _Idle) -> str:
    beside, covers = found.beside, found.covers
    how = covers.words() or "the parameters are the same"
    if covers.scaled:
        figures = (
            f"{spelled(value)} {figure.what}"
            for one in (item, beside)
            for name, value, figure in declared(one.parameters, Figure)
            if value is not None and any(n == name for n, _, _ in declared(one.parameters, Scale))
        )
        return f"at {next(figures)} it asks what {beside.id} asks in another measure ({how})"
    if found.twin:
        return f"says once more what {beside.id} says"
    does = DOES[weight_at(beside.bound, found.kind)]
    return f"decides nothing: {beside.id} {does} whatever it would find ({how})"


def _decided(
    item: ConditionItem, other: ConditionItem, kind: str, covered: Callable[[], _Covers | None]
) -> _Idle | None:
    ours, theirs = item.bound, other.bound
    if kind not in theirs.at:
        return None
    weight, beside = weight_at(ours, kind), weight_at(theirs, kind)
    covers = covered() if GRAVITY[beside] >= GRAVITY[weight] else None
    if covers is None:
        return None
    same = not covers.stricter and not covers.scaled
    # A shadow of a laxer limit shows what that limit would have let through.
    if weight == "shadow" and not same:
        return None
    # Of two that find the same, the lighter is idle, or else the one that stands later.
    if not covers.stricter and _rank(other) < _rank(item):
        return None
    twin = same and ours.action == theirs.action
    if twin:
        answers = (ours.released_by, ours.overridden_by) == (theirs.released_by, theirs.overridden_by)
        return _Idle(kind, other, covers, True) if answers else None
    # What is overridden or released leaves the other to be answered for itself.
    if weight in ("deny", "hold") and (theirs.overridden_by or beside == "hold"):
        return None
    return _Idle(kind, other, covers, False)


def _rank(item: ConditionItem) -> tuple[int, int]:
    return GRAVITY[item.bound.action], -int(item.path[-1])


# --- lists ----------------------------------------------------------------------------------------


class _Listed(NamedTuple):
    item: ConditionItem
    name: str
    what: str
    listed: frozenset[Any]


def _many(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _listed(value: Any, by: str) -> frozenset[Any]:
    return frozenset(getattr(one, by, None) if by else one for one in _many(value)) - {None}


def _lists(conditions: tuple[ConditionItem, ...]) -> Iterator[Found]:
    allows, forbids, names = (_all_listed(conditions, kind) for kind in (Allows, Forbids, Names))
    for number, other in enumerate(allows):
        # One that it shares nothing with says it all.
        yield from next(filter(None, (_disjoint(one, other) for one in allows[:number])), ())
    for allowed in allows:
        for forbidden in forbids:
            if kinds := _common(allowed, forbidden):
                yield from _forbidden(allowed, forbidden, kinds)
        for named in names:
            if _common(allowed, named):
                yield from _named(allowed, named)


def _all_listed(conditions: tuple[ConditionItem, ...], kind: type[Any]) -> list[_Listed]:
    return [
        _Listed(item, name, word.what, listed)
        for item in conditions
        for name, value, word in declared(item.parameters, kind)
        if (listed := _listed(value, getattr(word, "by", "")))
    ]


def _common(one: _Listed, other: _Listed) -> tuple[str, ...]:
    """Kinds at which both lists are read, and of the same thing."""
    if one.what != other.what or one.item is other.item:
        return ()
    return tuple(
        kind
        for kind in one.item.bound.at
        if kind in other.item.bound.at
        and one.name not in one.item.parameters.unread((kind,))
        and other.name not in other.item.parameters.unread((kind,))
    )


def _refuses(one: _Listed, other: _Listed, kinds: tuple[str, ...]) -> Severity:
    """What both refuse together is refused; what one of them only marks can be meant."""
    both = (all(weight_at(x.item.bound, kind) == "deny" for x in (one, other)) for kind in kinds)
    return "error" if any(both) else "remark"


def _disjoint(one: _Listed, other: _Listed) -> tuple[Found, ...]:
    if not one.listed.isdisjoint(other.listed) or not (kinds := _common(one, other)):
        return ()
    words = f"{other.what} must be of {_of(other.listed)}, and {one.item.id} allows {_of(one.listed)}"
    words = f"{words}: nothing passes both at {', '.join(kinds)}"
    path = other.item.at(other.name)
    return (Found(_refuses(one, other, kinds), path, (other.item.id, one.item.id), words),)


def _forbidden(allowed: _Listed, forbidden: _Listed, kinds: tuple[str, ...]) -> Iterator[Found]:
    if both := allowed.listed & forbidden.listed:
        every = allowed.listed == both
        words = f"{_of(both)} is allowed as {allowed.what}, and {forbidden.item.id} forbids it"
        severity = _refuses(allowed, forbidden, kinds) if every else "remark"
        words += f": nothing passes both at {', '.join(kinds)}" if every else ""
        yield Found(severity, allowed.item.at(allowed.name), (allowed.item.id, forbidden.item.id), words)


def _named(allowed: _Listed, named: _Listed) -> Iterator[Found]:
    concerns, path = (named.item.id, allowed.item.id), named.item.at(named.name)
    if missing := allowed.listed - named.listed:
        words = f"{allowed.item.id} allows {named.what} {_of(missing)}, and nothing is said of it here"
        yield Found("remark", path, concerns, words)
    if further := named.listed - allowed.listed:
        words = f"{named.what} {_of(further)} is none that {allowed.item.id} allows"
        yield Found("remark", path, concerns, words)


def _of(names: frozenset[Any]) -> str:
    shown = sorted(map(spelled, names))
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more


# --- figures --------------------------------------------------------------------------------------


class _Fixed(NamedTuple):
    item: Item[Any]
    name: str
    what: str
    value: Any
    compared: bool
    """Two of one condition are two steps, of which each has its own."""


def _figures(items: tuple[Item[Any], ...]) -> Iterator[Found]:
    fixed = [one for item in items for one in _fixed(item)]
    for number, one in enumerate(fixed):
        for before in fixed[:number]:
            same = before.item.uses == one.item.uses and one.compared
            if before.what == one.what and before.value != one.value and not same:
                words = f"{one.what} is {spelled(one.value)}, {before.item.id} says {spelled(before.value)}"
                yield Found("remark", one.item.at(one.name), (one.item.id, before.item.id), words)
                break
    for item in items:
        for _, limit, word in declared(item.parameters, Below):
            for one in (one for one in fixed if one.what == word.what and one.value >= limit):
                words = f"{one.what} is {spelled(one.value)}, must be below {spelled(limit)} of {item.id}"
                severity: Severity = "error" if item.use.denies else "remark"
                yield Found(severity, one.item.at(one.name), (one.item.id, item.id), words)


def _fixed(item: Item[Any]) -> Iterator[_Fixed]:
    unread = item.parameters.unread(item.use.kinds)
    stricter = {name for name, _, _ in declared(item.parameters, Stricter)}
    for name, value, word in declared(item.parameters, Figure):
        value = getattr(value, word.by, None) if word.by else value
        if value is not None and name not in unread:
            yield _Fixed(item, name, word.what, value, name in stricter)


# --- obligations ----------------------------------------------------------------------------------

_STEP_GRAVITY: Final = {"flag": 0, "propose_suspension": 1, "propose_revocation": 2}


def _alike(item: ObligationItem, other: ObligationItem) -> Iterator[Found]:
    """Whether another obligation of the name has been broken, as gravely, whenever this one is."""
    if item.uses != other.uses or (covers := _covers(other, item)) is None or covers.scaled:
        return
    ours, theirs = _offsets(item), _offsets(other)
    if not all(any(at <= when and grave >= how for at, grave in theirs) for when, how in ours):
        return
    if not covers.stricter and ours == theirs and other.path > item.path:
        return
    steps = ", ".join(spelled(when) for when, _ in ours)
    how = covers.words() or f"the same, with its steps {steps} after the due date"
    words = f"whoever breaks it has broken {other.id}, no later and as gravely ({how})"
    yield Found("remark", item.path, (item.id, other.id), words)


def _offsets(item: ObligationItem) -> list[tuple[timedelta, int]]:
    """When each step comes after the due date, however grace and steps share it; and how grave it is."""
    bound = item.bound
    return [(bound.grace + step.after, _STEP_GRAVITY[step.action]) for step in bound.steps]
