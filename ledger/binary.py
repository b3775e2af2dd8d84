"""PostgreSQL's binary format: single values, and arrays, which take a column of many rows at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from struct import Struct
from typing import Final

_BYTEA: Final = 17
_INT8: Final = 20
_TEXT: Final = 25
_JSON: Final = 114
_TIMESTAMPTZ: Final = 1184
_UUID: Final = 2950
"""Object ids of the types (pg_type.dat)."""

_HEAD = Struct("!iii")
"""Dimensions, whether there is a NULL, type."""
_DIMENSION = Struct("!ii")
"""Length, first index."""
_LENGTH = Struct("!i")
_INT8_VALUE = Struct("!q")
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def int8(value: int) -> bytes:
    return _INT8_VALUE.pack(value)


def timestamp(value: datetime) -> bytes:
    """Of a `timestamptz`."""
    return _INT8_VALUE.pack((value - _EPOCH) // _MICROSECOND)


def byteas(values: Sequence[bytes]) -> bytes:
    return _array(_BYTEA, values)


def jsons(values: Sequence[bytes]) -> bytes:
    return _array(_JSON, values)


def texts(values: Iterable[str]) -> bytes:
    return _array(_TEXT, [value.encode() for value in values])


def uuids(values: Iterable[str]) -> bytes:
    return _array(_UUID, [bytes.fromhex(value.replace("-", "")) for value in values])


def int8s(values: Iterable[int]) -> bytes:
    return _array(_INT8, [_INT8_VALUE.pack(value) for value in values])


def timestamps(values: Iterable[datetime]) -> bytes:
    return _array(_TIMESTAMPTZ, [timestamp(value) for value in values])


def _array(type_: int, elements: Sequence[bytes]) -> bytes:
    """One dimension, counted from 1, without a NULL."""
    head = _HEAD.pack(bool(elements), 0, type_)
    if not elements:
        return head
    lengths = map(_LENGTH.pack, map(len, elements))
    spelled = chain.from_iterable(zip(lengths, elements, strict=True))
    return b"".join((head, _DIMENSION.pack(len(elements), 1), *spelled))
