"""The small types that event data is made of: each is checked when it is parsed, and never again.

Wire values are JSON strings and integers only. A type refuses what it cannot read exactly: no float,
no seventh fraction digit, no time without an offset, no number where a string belongs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

import pycountry
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from stdnum import ean, lei
from stdnum.cn import uscc
from stdnum.exceptions import ValidationError as StdnumError

T = TypeVar("T")

SERIALS_PER_EVENT_MAX = 10_000


class Value(BaseModel):
    """A frozen JSON object that knows all of its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# --- time -----------------------------------------------------------------------------------------

# No 24:00, which a newer Python reads as the next day and an older one refuses.
_TIMESTAMP = re.compile(
    r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII
)


_NO_TIMESTAMP = (
    "must be an RFC 3339 time with an offset and at most six fraction digits, such as 2027-03-01T09:30:00Z"
)


def parse_timestamp(text: object) -> datetime:
    """UTC instant of an RFC 3339 `date-time` with an offset and at most six fraction digits."""
    if isinstance(text, datetime):  # a value parsed before
        return text
    if not isinstance(text, str):
        raise ValueError(_NO_TIMESTAMP)  # noqa: TRY004 - pydantic reports no TypeError
    return _instant(text)


# What is reported of one hour begins and ends with it, many times over.
@lru_cache(maxsize=1_024)
def _instant(text: str) -> datetime:
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError(_NO_TIMESTAMP)
    try:
        instant = datetime.fromisoformat(text)
        return instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is not a time of the calendar") from None


def format_timestamp(instant: datetime) -> str:
    """The one spelling the ledger itself writes: UTC, six fraction digits, `Z`."""
    # Not strftime("%Y"): glibc drops the leading zeros of a year before 1000.
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _parse_date(text: object) -> date:
    if isinstance(text, date):
        return text
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        raise ValueError("must be a date such as 2030-02-09")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is not a day of the calendar") from None


@cache
def _zones() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


@cache
def zone(name: str) -> ZoneInfo:
    """A time zone by the rules of the pinned `tzdata` package, never by the machine's own.

    Machines differ in them, and a decision must come out the same on each.
    """
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def midnight(day: date, name: str) -> datetime:
    """The instant at which `day` begins in the zone of that name."""
    return datetime.combine(day, time(0), tzinfo=zone(name)).astimezone(UTC)


def day_of(instant: datetime, name: str) -> date:
    """The day that it is at `instant` in the zone of that name."""
    return instant.astimezone(zone(name)).date()


class Elapsed(timedelta):
    """A duration by the clock alone: 24 hours are 24 hours on the day on which the clocks change, too."""


def later(instant: datetime, duration: timedelta, name: str) -> datetime:
    """The instant so much later: days are counted on the calendar of the zone, the rest on the clock.

    So what is due at midnight stays due at midnight when the clocks change.
    """
    if isinstance(duration, Elapsed):
        return instant + duration
    there = instant.astimezone(zone(name))
    days = timedelta(days=duration.days)
    return (there + days).astimezone(UTC) + (duration - days)


COMMITTED = "committed"
"""Validation context of what stands in the log: registries of codes and numbers change, it does not."""


def _known_zone(name: str, info: ValidationInfo) -> str:
    if info.context != COMMITTED and name not in _zones():
        near = get_close_matches(name[:80], sorted(_zones()), 1)
        hint = f"the nearest is {near[0]}" if near else "such as America/New_York"
        raise ValueError(f"{name[:80]} is not a time zone of the IANA database; {hint}")
    return name


Timestamp = Annotated[
    datetime,
    BeforeValidator(parse_timestamp),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Date = Annotated[date, BeforeValidator(_parse_date), WithJsonSchema({"type": "string", "format": "date"})]
Zone = Annotated[str, AfterValidator(_known_zone), Field(examples=["America/New_York"])]


# --- numbers --------------------------------------------------------------------------------------

# 15 + 6 digits: times a number of units it stays within the 28 that decimal arithmetic keeps exactly.
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,6})?", re.ASCII)


def _parse_decimal(text: object) -> Decimal:
    if isinstance(text, Decimal):
        return text
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise ValueError('must be a decimal in a string, such as "27000.00" or "0.25"')
    return Decimal(text)


def _not_negative(number: Decimal) -> Decimal:
    if number.is_signed():
        raise ValueError(f"is {number}, must not be negative")
    return number


def _known_currency(code: str, info: ValidationInfo) -> str:
    if info.context != COMMITTED and code not in _CURRENCIES:
        raise ValueError(f"{code} is not an ISO 4217 currency code")
    return code


def _known_country(code: str, info: ValidationInfo) -> str:
    if info.context != COMMITTED and code not in _COUNTRIES:
        raise ValueError(f"{code} is not an ISO 3166-1 alpha-2 country code")
    return code


_CURRENCIES = frozenset(c.alpha_3 for c in pycountry.currencies)
_COUNTRIES = frozenset(c.alpha_2 for c in pycountry.countries)

Amount = Annotated[
    Decimal,
    BeforeValidator(_parse_decimal),
    AfterValidator(_not_negative),
    WithJsonSchema({"type": "string", "pattern": r"^(0|[1-9]\d{0,14})(\.\d{1,6})?$"}),
]
Currency = Annotated[str, AfterValidator(_known_currency), Field(examples=["USD"])]
Country = Annotated[str, AfterValidator(_known_country), Field(examples=["US"])]
Units = Annotated[int, Field(ge=1, le=100_000_000)]
"""A number of devices."""


class Money(Value):
    """An exact amount of one currency (ISO 4217)."""

    amount: Amount
    currency: Currency


# --- names ----------------------------------------------------------------------------------------

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
CONTRACT_PATTERN = f"{UUID_PATTERN}|^_ledger$"
PARTY_PATTERN = r"^[a-z0-9][a-z0-9.-]{0,62}$"
IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:#+-]{0,63}$"
SERIAL_PATTERN = r"^[A-Z0-9][A-Z0-9._-]{2,39}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
SHAPES: Mapping[str, str] = {
    UUID_PATTERN: "a UUID in lower case, such as 7c0f7a56-2b6e-4f0c-9a44-5d1f0c3e8a01",
    CONTRACT_PATTERN: "a UUID in lower case, such as 7c0f7a56-2b6e-4f0c-9a44-5d1f0c3e8a01, or _ledger",
    PARTY_PATTERN: "1 to 63 lower-case letters, digits, dots and hyphens, such as acme",
    IDENTIFIER_PATTERN: "1 to 64 letters, digits and . _ : # + -, such as PO-4711",
    SERIAL_PATTERN: "3 to 40 capital letters, digits and . _ -, such as SN000001",
    SHA256_PATTERN: "64 hexadecimal digits in lower case",
}
"""What each of these patterns asks for, in words."""

EventId = Annotated[str, StringConstraints(pattern=UUID_PATTERN)]
"""A UUID in lower case, unique for its party; it names one attempt (RFC 9562)."""
ContractId = Annotated[str, StringConstraints(pattern=CONTRACT_PATTERN)]
"""An opaque UUID, for it stands in the public leaf; `_ledger` holds the ledger's own entries."""
PartyId = Annotated[str, StringConstraints(pattern=PARTY_PATTERN)]
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
"""A number or code in somebody's books: order, license, shipment, site, SKU."""
Serial = Annotated[str, StringConstraints(pattern=SERIAL_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
"""Free text, kept as it came."""


def _port_of_country(code: str, info: ValidationInfo) -> str:
    # XZ: installations in international waters.
    if info.context != COMMITTED and code[:2] != "XZ" and code[:2] not in _COUNTRIES:
        raise ValueError(f"{code} is no UN/LOCODE: {code[:2]} is not an ISO 3166-1 alpha-2 country code")
    return code


Port = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}[A-Z2-9]{3}$"), AfterValidator(_port_of_country)]
"""UN/LOCODE: a country and a place in it."""
Incoterm = Literal[
    "EXW", "FCA", "CPT", "CIP", "DAP", "DPU", "DDP", "FAS", "FOB", "CFR", "CIF"
]  # fmt: skip
"""Incoterms 2020."""
Role = Literal[
    "authority", "buyer", "consignee", "data_centre", "end_user", "exporter", "forwarder",
    "laboratory", "ledger",
]  # fmt: skip
"""What a party is to a contract; `ledger` is the ledger itself."""
EVERY_ROLE: frozenset[str] = frozenset(get_args(Role)) - {"ledger"}


def _standard(check: Any, name: str) -> AfterValidator:
    def validate(number: str, info: ValidationInfo) -> str:
        if info.context == COMMITTED:
            return number
        try:
            compact = check.validate(number)
        except StdnumError as error:
            raise ValueError(f"{number} is not a valid {name}: {error!s}") from None
        if compact != number:
            raise ValueError(f"{number} must be written {compact}")
        return number

    return AfterValidator(validate)


def _check_sscc(number: str) -> str:
    if ean.calc_check_digit(number[:-1]) != number[-1]:
        raise ValueError(f"{number} is not a valid SSCC: its check digit is wrong")
    return number


LEI = Annotated[str, _standard(lei, "LEI (ISO 17442)")]
USCC = Annotated[str, _standard(uscc, "unified social credit code (GB 32100)")]
GTIN = Annotated[str, _standard(ean, "GTIN (GS1)")]
SSCC = Annotated[str, StringConstraints(pattern=r"^[0-9]{18}$"), AfterValidator(_check_sscc)]


# --- lists ----------------------------------------------------------------------------------------


def _unique(items: Sequence[Hashable]) -> Sequence[Hashable]:
    if len(set(items)) != len(items):
        twice = next(item for item, times in Counter(items).items() if times > 1)
        raise ValueError(f"{twice} stands twice, must be unique within the event")
    return items


# A JSON array is a list, and strict pydantic takes only a tuple for a tuple: lax for the array alone.
Many = Annotated[tuple[T, ...], Field(strict=False, min_length=1, max_length=1_000)]
"""One or more."""
Any_ = Annotated[tuple[T, ...], Field(strict=False, max_length=1_000)]
"""None or more."""
Serials = Annotated[
    tuple[Serial, ...],
    Field(strict=False, min_length=1, max_length=SERIALS_PER_EVENT_MAX),
    AfterValidator(_unique),
]
SerialsOrNone = Annotated[
    tuple[Serial, ...],
    Field(strict=False, max_length=SERIALS_PER_EVENT_MAX),
    AfterValidator(_unique),
]


def unique_by(name: str) -> AfterValidator:
    """Refuse a list in which two items have the same `name`."""

    name_of = attrgetter(name)

    def validate(items: Sequence[Any]) -> Sequence[Any]:
        _unique(list(map(name_of, items)))
        return items

    return AfterValidator(validate)
