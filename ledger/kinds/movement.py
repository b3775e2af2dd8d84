"""Dispatches and deliveries keep what they replace, so that the last of a shipment can be taken back.

Nearly every device is moved from where it is expected: only one that was not is kept by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ledger.facts import (
    MOVEMENTS_KEPT,
    Device,
    Facts,
    Key,
    Movement,
    Movements,
    Shipment,
    Was,
)
from ledger.facts.device import DeviceState


class Move(NamedTuple):
    """Devices that an event takes from `begins` to `ends`, and where they stand then."""

    serials: tuple[str, ...]
    begins: DeviceState
    ends: DeviceState
    site: str | None = None


def own_keys(serials: Iterable[str], facts: Facts) -> Iterable[Key]:
    """The keys of the releases that hold these devices, once they are loaded: a number may be mistyped."""
    for serial in serials:
        device = facts.peek(Device, serial)
        if device is not None and device.shipment is not None:
            yield Shipment.name, device.shipment


def move(contract: str, moves: Iterable[Move], facts: Facts) -> tuple[Was, ...]:
    """Move the contract's devices, and give those that were not where the event begins."""
    strange = []
    for serials, begins, ends, site in moves:
        for serial in serials:
            device = facts.get(Device, serial)
            if device is None or device.contract != contract:
                strange.append(Was(serial=serial, state=None, site=None))
                continue
            if device.state != begins or device.site is not None:
                strange.append(Was(serial=serial, state=device.state, site=device.site))
            facts.update(device, state=ends, site=site)
    return tuple(strange)


def remember(contract: str, shipment: str, movement: Movement, facts: Facts) -> None:
    """Keep what an entry has replaced."""
    key = f"{contract}/{shipment}"
    known = facts.get(Movements, key) or Movements(contract=contract, shipment=shipment)
    facts.update(known, movements=(*known.movements, movement)[-MOVEMENTS_KEPT:])


def latest(contract: str, shipment: str, facts: Facts, *, index: int) -> Movement | None:
    """What entry `index` replaced; None, where a later one has moved something of the shipment."""
    known = facts.get(Movements, f"{contract}/{shipment}")
    last = known.movements[-1] if known is not None and known.movements else None
    return last if last is not None and last.index == index else None


def forget(contract: str, shipment: str, facts: Facts) -> None:
    """The last movement is taken back."""
    known = facts.get(Movements, f"{contract}/{shipment}")
    if known is not None:
        facts.update(known, movements=known.movements[:-1])


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


def move_back(
    shipment: str,
    moves: Iterable[Move],
    movement: Movement,
    facts: Facts,
    *,
    passed: Callable[[Shipment], frozenset[str]],
) -> None:
    """Put the devices back; `shipment` is the key that was named.

    `passed`: what a release says has come so far by its own events. Of such a device a movement under
    a mistyped number has changed nothing that would not be true without it.
    """
    before = {was.serial: was for was in movement.devices}
    told: dict[str, frozenset[str]] = {}
    for serials, begins, _, _ in moves:
        for device in facts.devices(serials):
            was = before.get(device.serial)
            if was is not None:
                if was.state is not None:
                    facts.update(device, state=was.state, site=was.site)
                continue
            own = device.shipment
            if own is not None and own != shipment:
                if own not in told:
                    release = facts.get(Shipment, own)
                    told[own] = frozenset() if release is None else passed(release)
                if device.serial in told[own]:
                    continue
            facts.update(device, state=begins, site=None)
