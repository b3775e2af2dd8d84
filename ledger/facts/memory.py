"""The facts in memory while a batch is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger.facts.base import LOOKED_UP, Fact, FactT, Key
from ledger.facts.device import Device


class NotLoaded(KeyError):
    """A fact was asked for that nobody named beforehand: a bug of a `reads`, and no property of an event."""


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
        layer: Facts | None = self
        while layer is not None:
            if key in layer.changed:
                return True
            layer = layer._parent
        return key in self._known or key in self._looked_up

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """The keys that nobody has loaded."""
        known, changed, looked_up = self._known, self.changed, self._looked_up
        found = [key for key in keys if not (key in known or key in changed or key in looked_up)]
        return found if self._parent is None or not found else self._parent.missing(found)

    def load(self, facts: Iterable[tuple[Key, Fact | None]]) -> None:
        for key, fact in facts:
            (self._looked_up if key[0] in LOOKED_UP else self._known)[key] = fact

    def get(self, fact: type[FactT], key: str) -> FactT | None:
        """The fact, or None if there is none; NotLoaded if nobody has loaded it."""
        try:
            return self._find((fact.name, key))  # type: ignore[return-value] # a name is of one type
        except KeyError:
            raise NotLoaded((fact.name, key)) from None

    def peek(self, fact: type[FactT], key: str) -> FactT | None:
        """As `get`, but None too for a fact that is not loaded yet: for `Kind.reads`."""
        try:
            return self._find((fact.name, key))  # type: ignore[return-value] # likewise
        except KeyError:
            return None

    def _find(self, key: Key) -> Fact | None:
        layer: Facts | None = self
        while layer is not None:
            if (found := layer.changed.get(key)) is not None:
                return found
            layer = layer._parent
        return self._known[key] if key in self._known else self._looked_up[key]

    def changes(self) -> Iterator[Fact]:
        """The facts that have changed, a fact's newest state first."""
        layer: Facts | None = self
        while layer is not None:
            yield from layer.changed.values()
            layer = layer._parent

    def put(self, fact: Fact) -> None:
        self.changed[fact.name, fact.key] = fact

    def update(self, fact: FactT, **changes: object) -> FactT:
        changed = fact.altered(changes)
        self.put(changed)
        return changed

    def devices(self, serials: Iterable[str]) -> Iterator[Device]:
        """The device of each serial, a new one where the log has not spoken of it."""
        get = self.get
        for serial in serials:
            yield get(Device, serial) or Device(serial=serial)

    def devices_of(self, contract: str, serials: Iterable[str]) -> Iterator[Device]:
        """Those of the devices that were released under the contract: it may say where they are."""
        get = self.get
        for serial in serials:
            device = get(Device, serial)
            if device is not None and device.contract == contract:
                yield device


class AllFacts(Facts):
    """Every fact that there is: what is not here does not exist. What is looked up must still be loaded."""

    __slots__ = ()

    def attempt(self) -> Facts:
        return AllFacts(self._known, parent=self)

    def loaded(self, key: Key) -> bool:
        return key[0] not in LOOKED_UP or key in self._looked_up

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        return [key for key in keys if not self.loaded(key)]

    def _find(self, key: Key) -> Fact | None:
        layer: Facts | None = self
        while layer is not None:
            if (found := layer.changed.get(key)) is not None:
                return found
            layer = layer._parent
        return self._looked_up[key] if key[0] in LOOKED_UP else self._known.get(key)
