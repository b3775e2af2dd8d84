"""Repair: defective devices go back, and as many take their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from ledger.event import Event, Kind, Nature
from ledger.facts import Advances, Device, Facts, Interruptions, Key, License, Replaced, Rma
from ledger.kinds.device import AT_HOME
from ledger.kinds.withdrawal import ABROAD, interrupt, interrupted_by, resume
from ledger.values import (
    SERIALS_PER_EVENT_MAX,
    Identifier,
    Serial,
    Serials,
    Text,
    Value,
    unique_by,
)

_RETURNS_FROM: Final = ABROAD | {"rma_out", "replaced"}


class RmaRequested(Kind, kind="rma.requested"):
    """Asks that defective devices be taken back, and that others come in their place."""

    nature: ClassVar[Nature] = "request"
    said_by: ClassVar[frozenset[str]] = frozenset({"buyer", "consignee", "end_user", "data_centre"})
    example: ClassVar[dict[str, Any]] = {
        "rma": "RMA-1",
        "license": "D-100200",
        "serials": ["SN000001", "SN000002"],
        "replacements": 2,
        "advance": 1,
        "reason": "uncorrectable memory errors",
    }

    rma: Identifier
    license: Identifier
    serials: Serials
    """The defective devices."""
    replacements: Annotated[int, Field(ge=0, le=SERIALS_PER_EVENT_MAX)]
    """Devices that are to take their place."""
    advance: Annotated[int, Field(ge=0, le=SERIALS_PER_EVENT_MAX)] = 0
    """Of these, what is to come before the defective ones go back."""
    reason: Text

    @model_validator(mode="after")
    def _part(self) -> Self:
        if self.advance > self.replacements:
            raise ValueError(f"advance is {self.advance}, must not be more than {self.replacements} in all")
        return self

    def subject(self) -> str:
        return f"rma/{self.rma}"

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Rma.name, f"{event.contract}/{self.rma}"
        yield License.name, self.license
        yield Advances.name, f"{event.contract}/{self.license}"
        for serial in self.serials:
            yield Device.name, serial

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        rma = Rma(
            contract=event.contract,
            rma=self.rma,
            license=self.license,
            serials=self.serials,
            replacements=self.replacements,
            advance=self.advance,
            requested=index,
            requested_at=at,
        )
        facts.put(rma)
        _count(rma, rma.outstanding, facts)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        rma = facts.get(Rma, f"{event.contract}/{self.rma}")
        if rma is None or rma.requested != index:
            return None
        if rma.state != "requested":
            return "correction.dependents"
        _change(rma, facts, state="cancelled")
        return None


class _OfCase(Kind):
    """Something happens in a case that was requested."""

    nature: ClassVar[Nature] = "fact"

    rma: Identifier

    def rests_on(self) -> Iterable[str]:
        return (f"rma/{self.rma}",)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        key = f"{event.contract}/{self.rma}"
        yield Rma.name, key
        rma = facts.peek(Rma, key)
        if rma is not None:
            yield Advances.name, f"{event.contract}/{rma.license}"
        for serial in self.speaks_of():
            yield Device.name, serial
            yield Interruptions.name, serial


class RmaOpened(_OfCase, kind="rma.opened"):
    """The supplier has taken up the case: the defective devices are out of use."""

    said_by: ClassVar[frozenset[str]] = frozenset({"exporter"})
    example: ClassVar[dict[str, Any]] = {"rma": "RMA-1", "serials": ["SN000001"], "reference": "CASE-77120"}

    serials: Serials
    reference: Identifier
    """The case in the supplier's own books."""

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        rma = facts.get(Rma, f"{event.contract}/{self.rma}")
        if rma is None or rma.state not in ("requested", "opened"):
            return
        facts.update(rma, state="opened", opened_at=rma.opened_at or at)
        for device in _of_case(rma, self.serials, facts):
            if device.state in ABROAD:
                interrupt(device, facts, state="rma_out", site=device.site, index=index)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        # The case stays open: that it was taken up is not unsaid by a slip of its serials.
        return resume(event.contract, self.serials, facts, state="rma_out", index=index)


class Replacement(Value):
    defective: Serial
    replacement: Serial


class RmaReplaced(_OfCase, kind="rma.replaced"):
    """Devices have come in the place of defective ones; they are under the license of these."""

    said_by: ClassVar[frozenset[str]] = frozenset({"exporter", "consignee", "data_centre"})
    example: ClassVar[dict[str, Any]] = {
        "rma": "RMA-1",
        "site": "SHA-1",
        "devices": [{"defective": "SN000001", "replacement": "SN010001"}],
    }

    site: Identifier
    """Where the replacements have arrived."""
    devices: Annotated[
        tuple[Replacement, ...],
        Field(strict=False, min_length=1, max_length=SERIALS_PER_EVENT_MAX // 2),
        unique_by("defective"),
        unique_by("replacement"),
    ]

    @model_validator(mode="after")
    def _apart(self) -> Self:
        defective = {device.defective for device in self.devices}
        both = [d.replacement for d in self.devices if d.replacement in defective]
        if both:
            raise ValueError(f"{both[0]} is defective and a replacement, must be one of these")
        return self

    def speaks_of(self) -> Iterable[str]:
        return (serial for device in self.devices for serial in (device.defective, device.replacement))

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        rma = facts.get(Rma, f"{event.contract}/{self.rma}")
        if rma is None or rma.state == "cancelled":
            return
        of_case = frozenset(rma.serials) - {one.defective for one in rma.replaced}
        done = tuple(
            Replaced(defective=said.defective, replacement=said.replacement, index=index)
            for said in self.devices
            if said.defective in of_case and self._replace(said, rma, facts, index)
        )
        facts.update(rma, replaced=(*rma.replaced, *done))

    def _replace(self, said: Replacement, rma: Rma, facts: Facts, index: int) -> bool:
        """Put one device in the place of another, if the one is free and the other is of the contract."""
        defective = facts.get(Device, said.defective)
        replacement = facts.get(Device, said.replacement) or Device(serial=said.replacement)
        if defective is None or defective.contract != rma.contract or not is_free(replacement):
            return False
        if defective.state in ABROAD or defective.state == "rma_out":
            interrupt(defective, facts, state="replaced", site=defective.site, index=index)
        facts.update(
            replacement,
            state="received",
            sku=defective.sku,
            contract=rma.contract,
            shipment=defective.shipment,
            site=self.site,
        )
        return True

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        rma = facts.get(Rma, f"{event.contract}/{self.rma}")
        if rma is None:
            return None
        ours = [one for one in rma.replaced if one.index == index]
        came = list(facts.devices(one.replacement for one in ours))
        if any(device.state != "received" or device.contract != rma.contract for device in came):
            return "correction.dependents"
        code = resume(rma.contract, (one.defective for one in ours), facts, state="replaced", index=index)
        if code is not None:
            return code
        for device in came:
            test = device.test_for(rma.contract)
            state = "known" if test is None else "tested" if test.result == "pass" else "failed"
            facts.update(device, state=state, contract=None, shipment=None, site=None)
        facts.update(rma, replaced=tuple(one for one in rma.replaced if one.index != index))
        return None


class RmaReturned(_OfCase, kind="rma.returned"):
    """Defective devices are back with the supplier."""

    said_by: ClassVar[frozenset[str]] = frozenset({"exporter"})
    example: ClassVar[dict[str, Any]] = {"rma": "RMA-1", "serials": ["SN000001"]}

    serials: Serials

    def speaks_of(self) -> Iterable[str]:
        return self.serials

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        rma = facts.get(Rma, f"{event.contract}/{self.rma}")
        if rma is None or rma.state == "cancelled":
            return
        back: list[str] = []
        for device in _of_case(rma, self.serials, facts):
            if device.state in _RETURNS_FROM:
                interrupt(device, facts, state="returned", site=None, index=index)
                back.append(device.serial)
        returned = tuple(dict.fromkeys((*rma.returned, *back)))
        _change(rma, facts, returned=returned, state=_state_after(rma, returned))

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        rma = facts.get(Rma, f"{event.contract}/{self.rma}")
        if rma is None:
            return None
        moved = interrupted_by(index, rma.contract, self.serials, facts)
        code = resume(rma.contract, self.serials, facts, state="returned", index=index)
        if code is not None:
            return code
        returned = tuple(serial for serial in rma.returned if serial not in moved)
        _change(rma, facts, returned=returned, state=_state_after(rma, returned))
        return None


def is_free(device: Device) -> bool:
    """It has not left, and no contract holds it."""
    return device.state in AT_HOME and device.contract is None


def _of_case(rma: Rma, serials: Iterable[str], facts: Facts) -> list[Device]:
    named = frozenset(rma.serials)
    return [d for d in facts.devices_of(rma.contract, serials) if d.serial in named]


def _state_after(rma: Rma, returned: tuple[str, ...]) -> str:
    if len(returned) == len(rma.serials):
        return "closed"
    return "opened" if rma.opened_at is not None else "requested"


def _change(rma: Rma, facts: Facts, **changes: Any) -> None:
    changed = replace(rma, **changes)
    facts.put(changed)
    _count(changed, changed.outstanding - rma.outstanding, facts)


def _count(rma: Rma, more: int, facts: Facts) -> None:
    """Add to what is in excess under the license."""
    key = f"{rma.contract}/{rma.license}"
    advances = facts.get(Advances, key) or Advances(license=rma.license, contract=rma.contract)
    if more:
        facts.update(advances, outstanding=advances.outstanding + more)
