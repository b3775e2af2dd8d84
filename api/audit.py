"""The read routes: entries, contracts, devices, kinds. What a caller may see depends on its key."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from api.auth import Caller, Forbidden, KeyHolder
from api.problems import NotYet
from api.schemas import (
    INDEX_MAX,
    SERIAL,
    CompletenessView,
    ContractName,
    ContractView,
    DeviceView,
    DutyPage,
    DutyQuery,
    EntryPage,
    EntryQuery,
    EntryView,
    ErasurePage,
    FactQuery,
    HoldPage,
    KindView,
    LinkQuery,
    OrderPage,
    Reading,
    ShipmentPage,
)
from api.wiring import service_of
from ledger.canonical import parse
from ledger.entry import Body
from ledger.errors import NotFound
from ledger.event import KINDS, schema_of, versions_of
from ledger.facts import Chain, Contract, Device, Duty, Erasure, Fact, FactT, Hold, License, Order, Shipment
from ledger.loading import StoredEntry
from ledger.pages import Filter
from ledger.reader import Reader
from ledger.summary import prove
from ledger.values import format_timestamp
from ledger.withheld import Withheld

PAGE_BYTES_MAX = 8 << 20
"""A page that is larger ends early: an event may be 1 MiB, and a page may ask for 1,000."""
SLICE_ENTRIES = 100
"""How many entries are read at once."""
FACTS_SHOWN = 100
"""Orders, and shipments, in the view of a contract."""

router = APIRouter(prefix="/v1")
ContractPath = Annotated[ContractName, Path()]


# --- who sees what --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sight:
    """Where one caller reads, and what it may see there."""

    reader: Reader
    contracts: frozenset[str] | None
    """None: all."""
    party: str | None
    withheld: Withheld

    def shows(self, stored: StoredEntry) -> StoredEntry:
        """The entry as this caller may see it. Nobody is kept from its own words."""
        if stored.party == self.party:
            return stored
        return replace(stored, entry=self.withheld.shown(stored.entry, stored.kind))

    def sees(self, contract: str | None) -> bool:
        return self.contracts is None or contract in self.contracts


async def sight_of(request: Request, caller: Caller, query: Reading) -> Sight:
    """Where a caller reads.

    Raises NotYet before anything else is looked at: a replica may not know the contract either.
    """
    reader = service_of(request).reader
    if query.min_index is not None:
        size = (await reader.head()).size
        if query.min_index >= size:
            raise NotYet(f"min_index is {query.min_index}, what can be read now has {size} entries")
    if caller.reads_everything:
        return Sight(reader, None, caller.party, caller.withheld)
    if caller.party is None:
        raise Forbidden("this key speaks for no party")
    return Sight(reader, await reader.contracts_of(caller.party), caller.party, caller.withheld)


async def sight_of_facts(request: Request, caller: Caller, query: Reading) -> Sight:
    """Likewise, of what is folded from events."""
    if caller.withheld.events:
        raise Forbidden("facts are folded from events, and some of these are withheld from this key")
    return await sight_of(request, caller, query)


# --- entries --------------------------------------------------------------------------------------


async def readable_entry(
    request: Request, index: int, caller: Caller, query: Reading
) -> tuple[Reader, StoredEntry]:
    """The entry, and where it was read. NotFound, if there is none or the caller may not read it."""
    sight = await sight_of(request, caller, query)
    stored = await sight.reader.entry(index)
    if not sight.sees(stored.entry.header.contract):
        # In the same words as for an entry that is not there: its existence is not theirs to know.
        raise NotFound(f"there is no entry {index}")
    return sight.reader, sight.shows(stored)


@router.get(
    "/entries/{index}",
    response_model=EntryView,
    responses={304: {"description": "The entry that `If-None-Match` names."}},
    tags=["entries"],
)
async def get_entry(
    request: Request,
    index: Annotated[int, Path(ge=0, le=INDEX_MAX, description="Position in the log, from 0.")],
    caller: KeyHolder,
    query: Annotated[Reading, Query()],
) -> Response:
    """One entry: header, leaf hash, event and decision with their salts."""
    reader, stored = await readable_entry(request, index, caller, query)
    erasure = (await reader.erasures_of([stored])).get(index)
    # An entry never changes; its bodies may be erased, or be withheld.
    erased = "".join(f"-{name}" for name, body in stored.entry.bodies.items() if body is None)
    etag = f'"{stored.entry.leaf.hex()}{erased}{"-erased" if erasure is not None else ""}"'
    headers = {
        "etag": etag,
        "cache-control": "private, max-age=86400" + ("" if erased else ", immutable"),
        "vary": "authorization",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(None, 304, headers)
    return Response(_entry(stored, erasure), 200, headers, "application/json")


@router.get("/entries", response_model=EntryPage, tags=["entries"])
async def list_entries(
    request: Request, caller: KeyHolder, query: Annotated[EntryQuery, Query()]
) -> Response:
    """A page of entries, in order of index: go by `next`.

    It ends early, or is empty, where it grows past 8 MiB or few of many entries match.
    """
    sight = await sight_of(request, caller, query)
    if not sight.sees(query.contract):
        raise Forbidden("a submitter lists the entries of one of its own contracts: give `contract`")
    wanted = Filter(**query.model_dump(exclude={"min_index"}))
    entries, following = await _page(sight, wanted)
    body = b'{"entries":[%s],"next":%s}' % (b",".join(entries), orjson.dumps(following))
    return Response(body, 200, next_link(request, following), "application/json")


async def _page(sight: Sight, wanted: Filter) -> tuple[list[bytes], int | None]:
    """Entries as JSON, and after which index the next page begins; None: there is none."""
    page: list[bytes] = []
    size, last = 0, wanted.after
    while True:
        limit = min(wanted.limit - len(page), SLICE_ENTRIES)
        found, following = await sight.reader.entries(replace(wanted, after=last, limit=limit))
        erasures = await sight.reader.erasures_of(found)
        for stored in found:
            if size > PAGE_BYTES_MAX:
                return page, last
            page.append(_entry(sight.shows(stored), erasures.get(stored.index)))
            size, last = size + len(page[-1]), stored.index
        if following is None or len(found) < limit or len(page) == wanted.limit:
            return page, following


def _entry(stored: StoredEntry, erasure: Erasure | None = None) -> bytes:
    """An entry as JSON, around the very bytes that were hashed and committed to."""
    shown: dict[str, Any] = {
        "index": stored.index,
        "kind": stored.kind,
        "party": stored.party,
        "outcome": stored.outcome,
        "recorded_at": format_timestamp(stored.recorded_at),
        "leaf_hash": stored.entry.leaf.hex(),
    }
    if erasure is not None:
        shown["erased"] = {"by": erasure.erased, "request": erasure.request}
    columns = orjson.dumps(shown)
    bodies = (b'"%s":%s' % (name.encode(), _body(body)) for name, body in stored.entry.bodies.items())
    return b'%s,"header":%s,%s}' % (columns[:-1], stored.entry.raw, b",".join(bodies))


def _body(body: Body | None) -> bytes:
    if body is None:
        return b"null"
    return b'{"salt":"%s","value":%s}' % (body.salt.hex().encode(), body.value)


def next_link(request: Request, following: int | str | None) -> dict[str, str]:
    """The next page as a header (RFC 8288), for whoever follows links."""
    if following is None:
        return {}
    query = urlencode({**request.query_params, "after": following})
    return {"link": f'<{request.url.path}?{query}>; rel="next"'}


# --- facts ----------------------------------------------------------------------------------------


async def _contract(contract: str, sight: Sight) -> Contract:
    found = await sight.reader.fact(Contract, contract)
    if found is None or not sight.sees(contract):
        raise NotFound(f"there is no contract {contract}")
    return found


async def _facts(
    reader: Reader, fact: type[FactT], contract: str, query: FactQuery
) -> tuple[Sequence[FactT], str | None]:
    """A page of a contract's facts in order of their numbers, and after which the next one begins."""
    prefix = f"{contract}/"
    after = prefix + query.after if query.after is not None else ""
    found = await reader.facts_of(fact, contract, after=after, limit=query.limit + 1)
    if len(found) <= query.limit:
        return found, None
    page = found[: query.limit]
    return page, page[-1].key.removeprefix(prefix)


@router.get("/contracts/{contract}", response_model=ContractView, tags=["facts"])
async def get_contract(
    request: Request, contract: ContractPath, caller: KeyHolder, query: Annotated[Reading, Query()]
) -> dict[str, Any]:
    """What is true of a contract now: parties, licenses with headroom, orders, shipments, its chain.

    The first 100 orders and shipments: the rest have routes of their own.
    """
    sight = await sight_of_facts(request, caller, query)
    reader = sight.reader
    found = await _contract(contract, sight)
    chain = await reader.fact(Chain, contract)
    licenses = [await reader.fact(License, number) for number in found.licenses]
    first = FactQuery(limit=FACTS_SHOWN)
    orders, orders_next = await _facts(reader, Order, contract, first)
    shipments, shipments_next = await _facts(reader, Shipment, contract, first)
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
            # Anybody can name a number: the license shows to the parties of the contract it is for.
            if license_ is not None and sight.sees(license_.contract)
        ],
        "orders": [order.view() for order in orders],
        "orders_next": orders_next,
        "shipments": [_shipment(shipment) for shipment in shipments],
        "shipments_next": shipments_next,
    }


@router.get("/contracts/{contract}/completeness", response_model=CompletenessView, tags=["proofs"])
async def prove_complete(
    request: Request, contract: ContractPath, caller: KeyHolder, query: Annotated[Reading, Query()]
) -> Response:
    """That nothing of a contract was left out: its tail, under the root that the log last said of all.

    The tail is hashed as RFC 9162 §2.1.1 hashes an entry: canonical JSON of `contract`, `count`, `head`.
    """
    sight = await sight_of(request, caller, query)
    await _contract(contract, sight)
    summary = await sight.reader.last_summary()
    proof = prove(await sight.reader.tails(summary.index), contract)
    found = orjson.dumps(
        {
            "contract": contract,
            "count": proof.tail.entries,
            "head": proof.tail.head,
            "position": proof.position,
            "contracts": proof.contracts,
            "hashes": [b64encode(one).decode() for one in proof.hashes],
        }
    )
    # The entry is the ledger's own and tells nothing of any contract, so every party may see it.
    return Response(b'{"entry":%s,%s' % (_entry(summary), found[1:]), 200, media_type="application/json")


@dataclass(frozen=True, slots=True)
class Listing:
    """A request for a page of a contract's facts."""

    request: Request
    response: Response
    contract: ContractPath
    caller: KeyHolder
    query: Annotated[FactQuery, Query()]

    async def of(
        self, name: str, fact: type[FactT], view: Callable[[FactT], dict[str, Any]] = Fact.view
    ) -> dict[str, Any]:
        sight = await sight_of_facts(self.request, self.caller, self.query)
        await _contract(self.contract, sight)
        found, following = await _facts(sight.reader, fact, self.contract, self.query)
        self.response.headers.update(next_link(self.request, following))
        return {name: [view(one) for one in found], "next": following}


@dataclass(frozen=True, slots=True)
class DutyListing(Listing):
    """The same of facts that are about several things, and under longer keys."""

    query: Annotated[DutyQuery, Query()]


@router.get("/contracts/{contract}/erasures", response_model=ErasurePage, tags=["facts"])
async def list_erasures(asked: Annotated[Listing, Depends()]) -> dict[str, Any]:
    """The entries whose bodies are to be erased, as accepted requests ask, and those that are."""
    return await asked.of("erasures", Erasure)


@router.get("/contracts/{contract}/orders", response_model=OrderPage, tags=["facts"])
async def list_orders(asked: Annotated[Listing, Depends()]) -> dict[str, Any]:
    """The orders of a contract, in order of their numbers."""
    return await asked.of("orders", Order)


@router.get("/contracts/{contract}/shipments", response_model=ShipmentPage, tags=["facts"])
async def list_shipments(asked: Annotated[Listing, Depends()]) -> dict[str, Any]:
    """The shipments of a contract, in order of their numbers. The entry `released` names the serials."""
    return await asked.of("shipments", Shipment, _shipment)


@router.get("/contracts/{contract}/duties", response_model=DutyPage, tags=["facts"])
async def list_duties(asked: Annotated[DutyListing, Depends()]) -> dict[str, Any]:
    """What must be done under a contract, by when, and what has been late, in order of obligation."""
    return await asked.of("duties", Duty)


@router.get("/contracts/{contract}/holds", response_model=HoldPage, tags=["facts"])
async def list_holds(asked: Annotated[DutyListing, Depends()]) -> dict[str, Any]:
    """The holds of a contract, those that were released too: these are held by nothing."""
    return await asked.of("holds", Hold)


def _shipment(shipment: Shipment) -> dict[str, Any]:
    return {
        **shipment.view(),
        "serials": len(shipment.serials),
        "dispatched": len(shipment.dispatched),
        "received": len(shipment.received),
        "taken_back": len(shipment.taken_back),
    }


@router.get("/devices/{serial}", response_model=DeviceView, tags=["facts"])
async def get_device(
    request: Request,
    response: Response,
    serial: Annotated[str, Path(pattern=SERIAL)],
    caller: KeyHolder,
    query: Annotated[LinkQuery, Query()],
) -> dict[str, Any]:
    """What is true of one device now, and its custody chain: every entry that speaks of it, in order."""
    sight = await sight_of_facts(request, caller, query)
    device = await sight.reader.fact(Device, serial)
    if device is not None and not _shows(device, sight):
        device = None
    links = await sight.reader.links(
        serial, after=query.after, limit=query.limit + 1, contracts=sight.contracts
    )
    if device is None and not links:
        raise NotFound(f"the log does not speak of a device {serial}")
    page = links[: query.limit]
    following = page[-1].index if len(links) > query.limit else None
    response.headers.update(next_link(request, following))
    return {
        "serial": serial,
        "device": None if device is None else device.view(),
        "custody": [_link(link) for link in page],
        "next": following,
    }


def _shows(device: Device, sight: Sight) -> bool:
    """A device shows to the parties of the contract that holds it, and before that to who tested it.

    Not to everybody who speaks of it: anybody can name a serial.
    """
    if sight.contracts is None or device.contract is not None:
        return sight.sees(device.contract)
    return any(sight.sees(test.contract) for test in device.tests)


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


# --- kinds ----------------------------------------------------------------------------------------


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
