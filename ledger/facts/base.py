"""What a fact is: a frozen record under a key, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import TypeAdapter

FOLD_VERSION = 1

Key = tuple[str, str]
"""(fact name, key within it)."""


class Fact:
    """One record. Its JSON is its fields in the order they are declared."""

    __slots__ = ()

    name: ClassVar[str]
    stored: ClassVar[bool] = True
    """False: read from the log or computed from other facts, true for one batch, then asked again."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # A dataclass with slots is made twice: the second is the one.
        (FACTS if cls.stored else LOOKED_UP)[cls.name] = cls

    @property
    def key(self) -> str:
        raise NotImplementedError

    @classmethod
    def decode(cls, data: bytes | str) -> Self:
        return cast(Self, _adapter(cls.name).validate_json(data))

    def encode(self) -> bytes:
        return _adapter(self.name).serializer.to_json(self)

    def altered(self, changes: Mapping[str, object]) -> Self:
        """The record with other values for some fields: `dataclasses.replace`, at half its cost."""
        new = object.__new__(type(self))
        for name, slot in _slots(self.name):
            slot.__set__(new, changes[name] if name in changes else slot.__get__(self))
        return new

    def view(self) -> dict[str, Any]:
        """Its JSON as Python values."""
        return cast(dict[str, Any], _adapter(self.name).dump_python(self, mode="json"))


FactT = TypeVar("FactT", bound=Fact)

FACTS: dict[str, type[Fact]] = {}
"""What is stored, by name."""
LOOKED_UP: dict[str, type[Fact]] = {}
"""What is not stored, by name."""


@cache
def _slots(name: str) -> tuple[tuple[str, Any], ...]:
    """The descriptor of each field: these set what the frozen record itself would refuse to."""
    fact: Any = FACTS.get(name) or LOOKED_UP[name]
    return tuple((field.name, vars(fact)[field.name]) for field in fields(fact))


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(FACTS[name])


def decode(name: str, data: bytes | str) -> Fact:
    """The fact of that name."""
    return FACTS[name].decode(data)
