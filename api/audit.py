"""The read routes: entries, contracts, devices, kinds. What a caller may see depends on its key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from api.auth import Caller, Forbidden
from api.schemas import ContractView, DeviceView, EntryPage, EntryView, KindView
from api.wiring import service_of
from ledger.canonical import parse
from ledger.errors import NotFound
from ledger.event import KINDS, schema_of, versions_of
from ledger.facts import Chain, Contract, Device, License, Order, Shipment
from ledger.reader import Filter, StoredEntry
from ledger.values import UUID_PATTERN, Timestamp, format_timestamp

router = APIRouter(prefix="/v1")

Index = Annotated[int, Path(ge=0, le=2**53 - 1, description="Position in the log, from 0.")]
ContractPath = Annotated[str, Path(pattern=rf"{UUID_PATTERN}|^_ledger$")]


async def _visible(request: Request, caller: Caller) -> frozenset[str] | None:
    """The contracts that the caller may see; None: all."""
    if caller.reads_everything:
        return None
    if caller.party is None:
        raise Forbidden("this key speaks for no party")
    return await service_of(request).reader.contracts_of(caller.party)


def entry_view(stored: StoredEntry) -> dict[str, Any]:
    """An entry as JSON: the header as hashed, its leaf hash, and the bodies with their salts."""
    bodies = {
        name: {"salt": body.salt.hex(), "value": parse(body.value)} if body is not None else None
        for name, body in stored.entry.bodies.items()
    }
    return {
        "index": stored.index,
        "kind": stored.kind,
        "party": stored.party,
        "outcome": stored.outcome,
        "recorded_at": format_timestamp(stored.recorded_at),
        "leaf_hash": stored.entry.leaf.hex(),
        "header": parse(stored.entry.raw),
        **bodies,
    }


@router.get("/entries/{index}", response_model=EntryView, tags=["entries"])
async def get_entry(request: Request, index: Index) -> dict[str, Any]:
    """One entry: header, leaf hash, event and decision with their salts."""
    caller = await service_of(request).caller(request)
    stored = await service_of(request).reader.entry(index)
    visible = await _visible(request, caller)
    if visible is not None and stored.entry.header.contract not in visible:
        # In the same words as for an entry that is not there: its existence is not theirs to know.
        raise NotFound(f"there is no entry {index}")
    return entry_view(stored)


@router.get("/entries", response_model=EntryPage, tags=["entries"])
async def list_entries(
    request: Request,
    after: Annotated[int, Query(ge=-1, le=2**53 - 1, description="Entries after this index.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    contract: Annotated[str | None, Query(pattern=rf"{UUID_PATTERN}|^_ledger$")] = None,
    kind: Annotated[str | None, Query(pattern=r"^[a-z_]+\.[a-z_]+$", max_length=64)] = None,
    party: Annotated[str | None, Query(pattern=r"^[a-z0-9_][a-z0-9.-]{0,62}$")] = None,
    outcome: Annotated[str | None, Query(pattern=r"^(accepted|flagged|held|denied)$")] = None,
    since: Annotated[Timestamp | None, Query(description="Recorded at or after.")] = None,
    until: Annotated[Timestamp | None, Query(description="Recorded before.")] = None,
) -> dict[str, Any]:
    """A page of entries, in order. `next` is the `after` of the following page, null at the end."""
    caller = await service_of(request).caller(request)
    visible = await _visible(request, caller)
    if visible is not None and contract not in visible:
        raise Forbidden("a submitter lists the entries of one of its own contracts: give `contract`")
    found = await service_of(request).reader.entries(
        Filter(after, limit, contract, kind, party, outcome, since, until)
    )
    following = found[-1].index if len(found) == limit else None
    return {"entries": [entry_view(stored) for stored in found], "next": following}


@router.get("/contracts/{contract}", response_model=ContractView, tags=["facts"])
async def get_contract(request: Request, contract: ContractPath) -> dict[str, Any]:
    """What is true of a contract now: parties, licenses with headroom, orders, shipments, its chain."""
    service = service_of(request)
    caller = await service.caller(request)
    visible = await _visible(request, caller)
    reader = service.reader
    found = await reader.fact(Contract, contract)
    if found is None or (visible is not None and contract not in visible):
        raise NotFound(f"there is no contract {contract}")
    chain = await reader.fact(Chain, contract)
    licenses = [await reader.fact(License, number) for number in found.licenses]
    orders = await reader.facts_of(Order, contract)
    shipments = await reader.facts_of(Shipment, contract)
    return {
        **found.view(),
        "chain": None if chain is None else {"count": chain.count, "head": chain.head},
        "licenses": [
            {
                **license_.view(),
                "headroom_to_order": license_.quantity - license_.ordered,
                "headroom_to_release": license_.quantity - license_.released,
            }
            for license_ in licenses
            if license_ is not None
        ],
        "orders": [order.view() for order in orders],
        "shipments": [
            {
                **shipment.view(),
                "serials": len(shipment.serials),
                "dispatched": len(shipment.dispatched),
                "received": len(shipment.received),
            }
            for shipment in shipments
        ],
    }


@router.get("/devices/{serial}", response_model=DeviceView, tags=["facts"])
async def get_device(
    request: Request,
    serial: Annotated[str, Path(pattern=r"^[A-Z0-9][A-Z0-9._-]{2,39}$")],
    after: Annotated[int, Query(ge=-1, le=2**53 - 1)] = -1,
) -> dict[str, Any]:
    """What is true of one device now, and its custody chain: every entry that speaks of it."""
    service = service_of(request)
    caller = await service.caller(request)
    visible = await _visible(request, caller)
    device = await service.reader.fact(Device, serial)
    links = await service.reader.links(serial, after=after)
    if visible is not None:
        links = [link for link in links if link.entry.header.contract in visible]
        if device is not None and device.contract not in visible and not links:
            device = None
    if device is None and not links:
        raise NotFound(f"the log does not speak of a device {serial}")
    return {
        "serial": serial,
        "device": None if device is None else device.view(),
        "custody": [_link(link) for link in links],
    }


def _link(stored: StoredEntry) -> dict[str, Any]:
    event = stored.entry.bodies["event"]
    return {
        "index": stored.index,
        "kind": stored.kind,
        "party": stored.party,
        "outcome": stored.outcome,
        "contract": stored.entry.header.contract,
        "recorded_at": format_timestamp(stored.recorded_at),
        "occurred_at": None if event is None else parse(event.value)["occurred_at"],
        "leaf_hash": stored.entry.leaf.hex(),
    }


@router.get("/kinds", response_model=list[KindView], tags=["kinds"])
async def list_kinds() -> list[dict[str, Any]]:
    """Every kind of event: who may say it, what it is, an example of its data."""
    return [
        {
            "kind": name,
            "version": version,
            "nature": kind.nature,
            "said_by": sorted(kind.said_by),
            "description": (kind.__doc__ or "").strip(),
            "schema_url": f"/v1/kinds/{name}/{version}",
            "example": kind.example,
        }
        for (name, version), kind in sorted(KINDS.items())
    ]


@router.get("/kinds/{kind}/{version}", tags=["kinds"], response_model=dict[str, Any])
async def get_kind(
    kind: Annotated[str, Path(max_length=64)], version: Annotated[int, Path(ge=1, le=1_000_000)]
) -> dict[str, Any]:
    """JSON Schema (2020-12) of the whole event."""
    if version not in versions_of(kind):
        raise NotFound(f"there is no kind {kind} version {version}")
    return schema_of(kind, version)


__all__ = ["Response", "entry_view", "router"]
