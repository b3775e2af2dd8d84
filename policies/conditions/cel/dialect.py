"""The dialect: which functions of CEL there are, and how large an expression may be.

Left out: maps, floats, `dyn`, regular expressions and named time zones. The order of a map's keys differs
from process to process, floats from machine to machine, and zone data from year to year; a decision must
come out the same for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CUSTOM_MAX: Final = 20
"""Custom conditions in one document."""
EXPRESSION_CHARS_MAX: Final = 1_000
DEPTH_MAX: Final = 32
"""Levels of nesting. The library's parser is built with it, and refuses a deeper expression."""
ITERATIONS_MAX: Final = 10_000
"""Rounds of all loops of one judgement. The library counts them, and fails at this one."""
COST_MAX: Final = 250_000
"""Steps of one judgement at most (`cost`): some ten milliseconds."""

MACROS: Final = ("all", "exists", "exists_one", "filter", "map")

_ORDERED: Final = ("int64", "string", "timestamp", "duration")
FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "_&&_": ("logical_and",),
    "_||_": ("logical_or",),
    "!_": ("logical_not",),
    "_?_:_": ("conditional",),
    "_==_": ("equals",),
    "_!=_": ("not_equals",),
    "_<_": tuple(f"less_{name}" for name in _ORDERED),
    "_<=_": tuple(f"less_equals_{name}" for name in _ORDERED),
    "_>_": tuple(f"greater_{name}" for name in _ORDERED),
    "_>=_": tuple(f"greater_equals_{name}" for name in _ORDERED),
    "_+_": (
        "add_int64", "add_list", "add_timestamp_duration", "add_duration_timestamp",
        "add_duration_duration",
    ),
    "_-_": (
        "subtract_int64", "subtract_timestamp_timestamp", "subtract_timestamp_duration",
        "subtract_duration_duration",
    ),
    "_*_": ("multiply_int64",),
    "_/_": ("divide_int64",),
    "_%_": ("modulo_int64",),
    "-_": ("negate_int64",),
    "_[_]": ("index_list",),
    "@in": ("in_list",),
    "@not_strictly_false": ("not_strictly_false",),
    "size": ("size_string", "size_list", "string_size", "list_size"),
    "contains": ("contains_string",),
    "startsWith": ("starts_with_string",),
    "endsWith": ("ends_with_string",),
    "int": ("timestamp_to_int64",),
    "timestamp": ("string_to_timestamp",),
    "duration": ("string_to_duration",),
    "getFullYear": ("timestamp_to_year",),
    "getMonth": ("timestamp_to_month",),
    "getDate": ("timestamp_to_day_of_month_1_based",),
    "getDayOfWeek": ("timestamp_to_day_of_week",),
    "getHours": ("timestamp_to_hours", "duration_to_hours"),
    "getMinutes": ("timestamp_to_minutes", "duration_to_minutes"),
    "getSeconds": ("timestamp_to_seconds", "duration_to_seconds"),
}  # fmt: skip
"""By name, the overloads that the dialect keeps."""

WRITTEN: Final = (
    "`&&` `||` `!` `? :`", "`==` `!=` `<` `<=` `>` `>=`", "`+` `-` `*` `/` `%` of integers",
    "`+` of lists, of a time and a duration; `-` of times and durations",
    "`in`", "`list[0]`", "`size(x)`", "`contains` `startsWith` `endsWith`",
    "`all` `exists` `exists_one` `filter` `map` over a list", "`has(event.x)`",
    '`timestamp("2027-03-01T00:00:00Z")`', '`duration("72h")`', "`int(time)`, seconds since 1970",
    "`getFullYear` `getMonth` `getDate` `getDayOfWeek` `getHours` `getMinutes` `getSeconds`, in UTC",
)  # fmt: skip
"""The same for a reader."""


def spelled(function: str) -> str:
    """As an expression writes it: `_<=_` is `<=`."""
    return function if function.isalpha() else function.strip("_@").replace("_", " ").strip() or function


def config() -> str:
    """The dialect as the library is configured with it, in YAML."""
    lines = ["stdlib:", f"  include_macros: [{', '.join(MACROS)}]", "  include_functions:"]
    for name, overloads in FUNCTIONS.items():
        lines += [f'    - name: "{name}"', "      overloads:"]
        lines += [f"        - id: {overload}" for overload in overloads]
    return "\n".join(lines) + "\n"
