"""What of a revocation concerns one party: out of the committed scope, and nothing beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.facts import Order, Shipment
from ledger.kinds.ledger import SCOPE_MAX, RevocationScoped

RECEIVES = frozenset({"consignee", "end_user"})
CARRIES = frozenset({"forwarder"})


@dataclass(frozen=True, slots=True)
class Revocation:
    """A revocation, its scope, and what stood under the license."""

    scope: RevocationScoped
    index: int
    """Of the entry that says the scope."""
    orders: Sequence[Order] = ()
    shipments: Sequence[Shipment] = ()


def touched(revocation: Revocation, *, party: str | None, roles: Collection[str]) -> dict[str, Any]:
    """The orders, shipments and devices of `party`, which has these roles in the contract.

    Whoever receives: of the orders that name it. Whoever carries: what is released or on its way. Every
    other, and no party in particular: the whole. Of each list the first SCOPE_MAX, and how many there are.
    """
    scope = revocation.scope
    common = {
        "license": scope.license,
        "scope_index": revocation.index,
        "devices_root": scope.devices_root,
    }
    if (
        party is None
        or not set(roles) <= RECEIVES | CARRIES | {"data_centre"}
        or set(roles) == {"data_centre"}
    ):
        return {
            **common,
            "whole": True,
            "orders": list(scope.orders),
            "orders_count": scope.orders_count,
            "released": [one.shipment for one in scope.released],
            "released_count": scope.released_count,
            "in_transit": [one.shipment for one in scope.in_transit],
            "in_transit_count": scope.in_transit_count,
            "devices": list(scope.devices),
            "devices_count": scope.devices_count,
        }
    orders = [one for one in revocation.orders if party in (one.consignee, one.end_user)]
    if not RECEIVES & set(roles):
        orders = []
    named = {one.order for one in orders}
    stood = [one for one in revocation.shipments if one.stands and one.released < revocation.index]
    carries = bool(CARRIES & set(roles))
    mine = [one for one in stood if one.order in named or (carries and one.open)]
    return {
        **common,
        "whole": False,
        **_listed("orders", (one.order for one in orders if one.reserves)),
        **_listed("released", (one.shipment for one in mine if one.state == "released")),
        **_listed("in_transit", (one.shipment for one in mine if one.open and one.state != "released")),
        **_listed("devices", (serial for one in mine for serial in one.serials)),
    }


def _listed(name: str, found: Iterable[str]) -> dict[str, Any]:
    every = sorted(found)
    return {name: every[:SCOPE_MAX], f"{name}_count": len(every)}
