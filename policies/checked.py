"""Values against their shape: what pydantic finds wrong, at its line and column and in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from ledger.errors import Fault
from ledger.values import Value
from policies.conditions.parameters import nearest
from policies.tree import Path, Tree

V = TypeVar("V", bound=Value)

_WRITTEN = re.compile(r"[0-9][0-9,.' ]*")
"""A number, as people write it."""

_WORDS = {
    "missing": "is missing",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object: names and values, indented or in { }",
    "model_type": "must be an object: names and values, indented or in { }",
    "too_short": "must not be empty",
}


def checked(
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
                if found["type"] == "int_type" and _WRITTEN.fullmatch(str(found["input"])):
                    words += ", written without quotes, commas or spaces"
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


def names_of(model: type[Value]) -> tuple[str, ...]:
    """The fields of a shape, as they are written."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _names_at(model: type[Value], steps: tuple[str, ...]) -> tuple[str, ...]:
    """The fields known inside the field that `steps` lead to."""
    for step in steps:
        for name, field in model.model_fields.items():
            if step == (field.alias or name):
                model = next(_models_in(field.annotation), model)
    return names_of(model)


def _models_in(annotation: object) -> Iterator[type[Value]]:
    if isinstance(annotation, type) and issubclass(annotation, Value):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _must(words: str) -> str:
    """ "Input should be ..." as we say it."""
    words = words.replace(" after validation", "")
    if " should match pattern '^[a-z]" in words:
        return "must begin with a small letter, and hold small letters, digits and hyphens, no spaces"
    return "must" + words.partition(" should")[2] if " should " in words else f"is wrong: {words}"
