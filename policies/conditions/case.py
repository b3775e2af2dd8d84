"""What a condition is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from ledger.decision import Result
from ledger.event import Event, Kind
from ledger.facts import Contract, Device, Facts, License, Order, Shipment
from ledger.values import format_timestamp


class Case:
    """One event of an open contract, the facts, and when it was recorded: all there is to read."""

    __slots__ = ("_spoken", "at", "contract", "data", "event", "facts")

    def __init__(self, event: Event, facts: Facts, contract: Contract, *, at: datetime) -> None:
        self.event = event
        self.data: Kind = event.data
        self.facts = facts
        self.contract = contract
        self.at = at
        """`recorded_at`: claimed times would let a backdated request escape a revocation."""
        self._spoken: list[Device] | None = None

    @property
    def recorded(self) -> str:
        """`at` as it is committed."""
        return _committed(self.at)

    def instant(self, moment: datetime) -> str:
        """Any instant as it is committed."""
        return format_timestamp(moment)

    @property
    def zone(self) -> str:
        return self.contract.zone

    def license(self, number: str) -> License | None:
        """The license, if it was granted in this contract: another contract's is none of ours."""
        license_ = self.license_anywhere(number)
        if license_ is None or license_.contract != self.contract.contract or not license_.was_granted:
            return None
        return license_ if number in self.contract.licenses else None

    @property
    def own_licenses(self) -> tuple[str, ...]:
        """The licenses that the contract names and that were granted in it; they must be loaded."""
        return tuple(number for number in self.contract.licenses if self.license(number) is not None)

    def license_anywhere(self, number: str) -> License | None:
        """The license of that number: numbers are the authority's, one for the whole log."""
        return self.facts.get(License, number)

    def order(self, number: str) -> Order | None:
        return self.facts.get(Order, f"{self.contract.contract}/{number}")

    def shipment(self, number: str) -> Shipment | None:
        return self.facts.get(Shipment, f"{self.contract.contract}/{number}")

    @property
    def spoken(self) -> list[Device]:
        """The devices that the event speaks of, in its order: most that judges an event looks at them."""
        if self._spoken is None:
            self._spoken = list(self.facts.devices(self.data.speaks_of()))
        return self._spoken

    def devices(self, serials: tuple[str, ...]) -> Iterator[Device]:
        return self.facts.devices(serials)


# A whole batch is recorded at one instant.
@lru_cache(maxsize=64)
def _committed(instant: datetime) -> str:
    return format_timestamp(instant)


class Proposes(NamedTuple):
    """What a failed condition asks to be followed up."""

    propose: Literal["suspension", "revocation", "incident_report"]
    license: str | None = None
    due: str | None = None
    """UTC, as committed."""


class Found(NamedTuple):
    """What a condition found; the engine adds who asked and turns it into a `Finding`."""

    result: Result
    code: str | None = None
    """One of the condition's own codes; committed as `<condition>.<code>`."""
    observed: int | str | None = None
    limit: int | str | None = None
    shortfall: int | str | None = None
    headroom: int | str | None = None
    unit: str | None = None
    """Where it is not the condition's usual one."""
    subjects: tuple[str, ...] = ()
    proposes: tuple[Proposes, ...] = ()
    lenient: bool = False
    """Flagged and no more, where the document would refuse or hold."""


NOT_APPLICABLE = Found("not_applicable")
