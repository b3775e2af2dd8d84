"""Dispatches and deliveries keep what they replace, so that the last of a shipment can be taken back.

Nearly every device is moved from where it is expected: only one that was not is kept by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ledger.facts import (
    MOVEMENTS_KEPT,
    OVER,
    Device,
    Facts,
    Key,
    Movement,
    Movements,
    Shipment,
    ShipmentState,
    Was,
)
from ledger.facts.device import DeviceState


class Move(NamedTuple):
    """Devices that an event takes from `begins` to `ends`, and where they stand then."""

    serials: tuple[str, ...]
    begins: DeviceState
    ends: DeviceState
    site: str | None = None


def movement_keys(contract: str, shipment: str, serials: Iterable[str], facts: Facts) -> Iterable[Key]:
    """The keys of what is kept, under the number that was named and of the releases that hold the devices."""
    key = f"{contract}/{shipment}"
    yield Movements.name, key
    for serial in serials:
        device = facts.peek(Device, serial)
        if device is not None and device.shipment not in (None, key):
            yield Movements.name, device.shipment


class Moved(NamedTuple):
    """What has become of the devices of an event."""

    strange: tuple[Was, ...]
    """Those that were not where the event begins."""
    holders: tuple[str, ...]
    """Keys of the releases that hold what was moved."""


def move(contract: str, moves: Iterable[Move], facts: Facts) -> Moved:
    """Move the contract's devices."""
    strange, holders = [], dict[str, None]()
    for serials, begins, ends, site in moves:
        for serial in serials:
            device = facts.get(Device, serial)
            if device is None or device.contract != contract:
                strange.append(Was(serial=serial, state=None, site=None))
                continue
            if device.state != begins or device.site is not None:
                strange.append(Was(serial=serial, state=device.state, site=device.site))
            facts.update(device, state=ends, site=site)
            if device.shipment is not None:
                holders[device.shipment] = None
    return Moved(tuple(strange), tuple(holders))


def remember(
    contract: str, shipment: str, movement: Movement, holders: tuple[str, ...], facts: Facts
) -> None:
    """Keep what an entry has replaced; also for the releases that hold what it moved under another number."""
    for key in dict.fromkeys((f"{contract}/{shipment}", *holders)):
        known = facts.get(Movements, key) or Movements(contract=contract, shipment=key.partition("/")[2])
        facts.update(known, movements=(*known.movements, movement)[-MOVEMENTS_KEPT:])


def latest(contract: str, shipment: str, facts: Facts, *, index: int) -> Movement | None:
    """What entry `index` replaced; None, where a later one has moved something of the shipment."""
    known = facts.get(Movements, f"{contract}/{shipment}")
    last = known.movements[-1] if known is not None and known.movements else None
    return last if last is not None and last.index == index else None


def forget(contract: str, shipment: str, movement: Movement, moves: Iterable[Move], facts: Facts) -> bool:
    """The last movement is taken back; False, where a device was moved again under another number."""
    kept = [facts.get(Movements, key) for key in concerned(contract, shipment, movement, moves, facts)]
    if any(known is None or known.movements[-1:] != (movement,) for known in kept):
        return False
    for known in kept:
        assert known is not None, "asked just now"
        facts.update(known, movements=known.movements[:-1])
    return True


def concerned(
    contract: str, shipment: str, movement: Movement, moves: Iterable[Move], facts: Facts
) -> Iterable[str]:
    """Keys of the shipment that was named, and of those that hold the devices that were moved."""
    strangers = {was.serial for was in movement.devices if was.state is None}
    keys = {f"{contract}/{shipment}": None}
    for one in moves:
        for serial in one.serials:
            device = facts.get(Device, serial)
            if device is not None and device.shipment is not None and serial not in strangers:
                keys[device.shipment] = None
    return keys


def moved_on(contract: str, moves: Iterable[Move], movement: Movement, facts: Facts) -> bool:
    """Whether a device is no longer where the movement has left it."""
    strangers = {was.serial for was in movement.devices if was.state is None}
    for serials, _, ends, site in moves:
        for serial in serials:
            if serial in strangers:
                continue
            device = facts.get(Device, serial)
            if device is None or (device.contract, device.state, device.site) != (contract, ends, site):
                return True
    return False


def state_before(shipment: Shipment, movement: Movement) -> ShipmentState:
    """How a shipment stood before the movement, as far as a correction says so.

    What has ended since is over all the same; and what had ended before is again once `take_back` has freed
    what stood again.
    """
    before = movement.state
    if before is None or before in OVER or not shipment.stands:
        return shipment.state
    return before


def move_back(moves: Iterable[Move], movement: Movement, facts: Facts) -> None:
    """Put the devices back where they were."""
    before = {was.serial: was for was in movement.devices}
    for serials, begins, _, _ in moves:
        for device in facts.devices(serials):
            was = before.get(device.serial)
            if was is None:
                facts.update(device, state=begins, site=None)
            elif was.state is not None:
                facts.update(device, state=was.state, site=was.site)


def joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Both, without repeats, in order."""
    return tuple(dict.fromkeys((*first, *second)))
