"""Facts: what is true now, as a pure fold of accepted events.

A fact is a frozen record under a key. Facts are derived: written in the transaction that commits
their cause, and at any time rebuilt from the log and compared byte for byte (`encode`). A change of
any shape or fold here is a new FOLD_VERSION, which the head row pins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Literal, TypeVar, cast

from pydantic import TypeAdapter

from ledger.values import midnight

FOLD_VERSION = 1

Key = tuple[str, str]
"""(fact name, key within it)."""


class Fact:
    """One record. Its JSON is its fields in the order they are declared."""

    __slots__ = ()

    name: ClassVar[str]

    @property
    def key(self) -> str:
        raise NotImplementedError

    def encode(self) -> bytes:
        return _ADAPTERS[self.name].serializer.to_json(self)

    def view(self) -> dict[str, Any]:
        """Its JSON as Python values."""
        return cast(dict[str, Any], _ADAPTERS[self.name].dump_python(self, mode="json"))


FactT = TypeVar("FactT", bound=Fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain(Fact):
    """The tail of one contract's own chain; `_ledger` has one too."""

    name: ClassVar[str] = "chain"
    contract: str
    count: int
    head: str
    """Leaf hash of its last entry, hex."""

    @property
    def key(self) -> str:
        return self.contract


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    policy: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractParty:
    party: str
    roles: tuple[str, ...]
    country: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Fact):
    name: ClassVar[str] = "contract"
    contract: str
    title: str
    zone: str
    parties: tuple[ContractParty, ...]
    licenses: tuple[str, ...]
    sites: tuple[str, ...]
    policies: tuple[PolicyRef, ...] = ()
    opened: int
    """Index of the entry that opened it."""

    @property
    def key(self) -> str:
        return self.contract

    def roles_of(self, party: str) -> tuple[str, ...]:
        for known in self.parties:
            if known.party == party:
                return known.roles
        return ()

    @property
    def exporter(self) -> str | None:
        return next((p.party for p in self.parties if "exporter" in p.roles), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Fact):
    """The text of a policy document, by digest."""

    name: ClassVar[str] = "policy"
    sha256: str
    policy: str
    version: int
    text: str

    @property
    def key(self) -> str:
        return self.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class License(Fact):
    """A license, its counters and what is open under it. Keyed by its number across all contracts."""

    name: ClassVar[str] = "license"
    license: str
    contract: str
    authority: str
    state: Literal["granted", "active", "suspended", "revoked"]
    sku: str
    eccn: str
    quantity: int
    zone: str
    valid_from: date
    valid_until: date
    """The last day, which ends at 24:00 in `zone`."""
    conditions_sha256: str
    must_acknowledge: tuple[str, ...]
    acknowledged: tuple[str, ...] = ()
    ordered: int = 0
    """Units reserved by orders that stand."""
    released: int = 0
    """Units consumed by releases that stand."""
    suspended_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def key(self) -> str:
        return self.license

    @property
    def begins(self) -> datetime:
        return midnight(self.valid_from, self.zone)

    @property
    def ends(self) -> datetime:
        """The first instant at which it is no longer valid."""
        return midnight(self.valid_until + timedelta(days=1), self.zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Fact):
    name: ClassVar[str] = "order"
    contract: str
    order: str
    license: str
    sku: str
    units: int
    unit_value: Decimal
    currency: str
    consignee: str
    end_user: str
    state: Literal["placed", "part_released", "released", "cancelled"] = "placed"
    placed: int
    released: int = 0
    """Units."""
    released_value: Decimal = Decimal(0)
    levied: Decimal = Decimal(0)
    """Levy settled for it."""
    received: int = 0
    """Units that arrived, damaged ones included."""

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.order}"

    @property
    def remaining(self) -> int:
        return self.units - self.released

    @property
    def reserves(self) -> bool:
        """It stands, and has not released all of its units."""
        return self.state in ("placed", "part_released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment(Fact):
    name: ClassVar[str] = "shipment"
    contract: str
    shipment: str
    order: str
    license: str
    sku: str
    serials: tuple[str, ...]
    value: Decimal
    currency: str
    state: Literal["released", "dispatched", "part_received", "received", "cancelled"] = "released"
    released: int
    released_at: datetime
    dispatched_at: datetime | None = None
    dispatched: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.shipment}"

    @property
    def open(self) -> bool:
        """It is released or on its way."""
        return self.state in ("released", "dispatched", "part_received")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTest:
    """What a laboratory found, for one contract."""

    contract: str
    result: Literal["pass", "fail"]
    index: int
    """Of the laboratory's entry."""
    country: str
    """Of the laboratory."""
    sku: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device(Fact):
    """One chip, by serial. Anybody may speak of a serial, so each contract is kept to its own."""

    name: ClassVar[str] = "device"
    serial: str
    sku: str | None = None
    state: Literal[
        "known", "tested", "failed", "released", "in_transit", "received", "missing", "damaged",
        "installed", "attesting",
    ] = "known"  # fmt: skip
    tests: tuple[DeviceTest, ...] = ()
    """The latest of each contract whose laboratory has tested it: no other contract's counts."""
    contract: str | None = None
    """The contract that it was released under: nobody else's events move it."""
    shipment: str | None = None
    """Key of the release that holds it."""
    site: str | None = None
    attested_at: datetime | None = None
    """Index time (`recorded_at`) of its latest attestation."""

    @property
    def key(self) -> str:
        return self.serial

    def test_for(self, contract: str) -> DeviceTest | None:
        """What that contract's laboratory found last."""
        return next((test for test in self.tests if test.contract == contract), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter(Fact):
    """What one exporter has released, across all contracts."""

    name: ClassVar[str] = "exporter"
    exporter: str
    contracts: int = 0
    released: int = 0
    """Units."""

    @property
    def key(self) -> str:
        return self.exporter


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSeen(Fact):
    """An accepted event has used this revision of a document."""

    name: ClassVar[str] = "document"
    document: str
    index: int

    @property
    def key(self) -> str:
        return self.document


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(Fact):
    """Entry `index` was declared in error by entry `by`."""

    name: ClassVar[str] = "correction"
    index: int
    by: int

    @property
    def key(self) -> str:
        return str(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Fact):
    """A committed event, read back from the log: never stored as a fact, never changed."""

    name: ClassVar[str] = "entry"
    index: int
    outcome: str
    event: Any
    """Its `ledger.event.Event`."""

    @property
    def key(self) -> str:
        return str(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Under(Fact):
    """What is open under a license, looked up when it is asked for: never stored as a fact."""

    name: ClassVar[str] = "under"
    license: str
    orders: tuple[str, ...]
    """Keys of the orders that may still reserve units."""
    shipments: tuple[str, ...]
    """Keys of the shipments that may still be released or on their way."""

    @property
    def key(self) -> str:
        return self.license


LOOKED_UP = frozenset({Recorded.name, Under.name})
"""What is read from the log or computed from other facts: true for one batch, then asked again."""

FACTS: dict[str, type[Fact]] = {
    fact.name: fact
    for fact in (
        Chain, Contract, Policy, License, Order, Shipment, Device, Exporter, DocumentSeen, Correction,
    )
}  # fmt: skip

_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(fact) for name, fact in FACTS.items()}


def decode(name: str, data: bytes | str) -> Fact:
    return cast(Fact, _ADAPTERS[name].validate_json(data))


class Facts:
    """The facts in memory while a batch is judged: what was loaded, and over it what has changed.

    `None` under a key means "loaded, and there is none"; a key not there at all was not loaded, and
    asking for it is a bug of the kind's `reads`.
    """

    __slots__ = ("_known", "_looked_up", "_parent", "changed")

    def __init__(self, known: dict[Key, Fact | None] | None = None, *, parent: Facts | None = None):
        """`known` is filled by `load`, and may be kept for the next batch."""
        self._known = {} if known is None else known
        self._looked_up: dict[Key, Fact | None] = {} if parent is None else parent._looked_up
        self._parent = parent
        self.changed: dict[Key, Fact] = {}

    def attempt(self) -> Facts:
        """A layer over this one, whose changes count only once `keep` is called."""
        return Facts(self._known, parent=self)

    def keep(self) -> None:
        assert self._parent is not None
        self._parent.changed.update(self.changed)

    def loaded(self, key: Key) -> bool:
        return not self.missing([key])

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """The keys that nobody has loaded."""
        known, changed, looked_up = self._known, self.changed, self._looked_up
        found = [key for key in keys if not (key in known or key in changed or key in looked_up)]
        return found if self._parent is None or not found else self._parent.missing(found)

    def load(self, facts: Iterable[tuple[Key, Fact | None]]) -> None:
        for key, fact in facts:
            (self._looked_up if key[0] in LOOKED_UP else self._known)[key] = fact

    def _find(self, key: Key) -> Fact | None:
        layer: Facts | None = self
        while layer is not None:
            if (fact := layer.changed.get(key)) is not None:
                return fact
            layer = layer._parent
        return self._known[key] if key in self._known else self._looked_up[key]

    def get(self, fact: type[FactT], key: str) -> FactT | None:
        """The fact, or None if there is none; KeyError if it was not loaded."""
        return self._find((fact.name, key))  # type: ignore[return-value]

    def peek(self, fact: type[FactT], key: str) -> FactT | None:
        """As `get`, but None too for a fact that is not loaded yet: for `Kind.reads`."""
        return self.get(fact, key) if self.loaded((fact.name, key)) else None

    def changes(self) -> Iterator[Fact]:
        """The facts that have changed, a fact's newest state first."""
        layer: Facts | None = self
        while layer is not None:
            yield from layer.changed.values()
            layer = layer._parent

    def put(self, fact: Fact) -> None:
        self.changed[fact.name, fact.key] = fact

    def update(self, fact: FactT, **changes: object) -> FactT:
        changed = replace(fact, **changes)  # type: ignore[type-var] # every fact is a record
        self.put(changed)
        return changed

    def devices(self, serials: Iterable[str]) -> Iterator[Device]:
        """The device of each serial, a new one where the log has not spoken of it."""
        for serial in serials:
            yield self.get(Device, serial) or Device(serial=serial)

    def devices_of(self, contract: str, serials: Iterable[str]) -> Iterator[Device]:
        """Those of the devices that were released under the contract: it may say where they are."""
        return (device for device in self.devices(serials) if device.contract == contract)
