"""The proofs of the log, for anyone with a key, and its checkpoint, for anyone at all."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import PlainTextResponse, Response

from api.accept import weight_of
from api.audit import next_link, readable_entry
from api.auth import KeyHolder
from api.schemas import (
    INDEX_MAX,
    ConsistencyQuery,
    ConsistencyView,
    InclusionQuery,
    InclusionView,
    ReceiptQuery,
    TimestampPage,
    TimestampQuery,
    WitnessesView,
)
from api.wiring import service_of
from ledger import tiles
from ledger.checkpoint import Checkpoint
from ledger.errors import NotFound, SigningFailed
from ledger.head import Head
from ledger.note import parse_note
from ledger.publisher import head_to_sign
from ledger.receipt import Receipt
from ledger.values import format_timestamp

router = APIRouter(tags=["proofs"])


@router.get("/checkpoint", response_class=PlainTextResponse)
async def get_checkpoint(request: Request) -> PlainTextResponse:
    """The signed tree head, now (C2SP tlog-checkpoint)."""
    return PlainTextResponse(await signed_checkpoint(request), headers={"cache-control": "no-store"})


async def signed_checkpoint(request: Request) -> str:
    """The durable head, signed when asked: no process can serve an older one than another just did."""
    service = service_of(request)
    return _signed(request, await head_to_sign(service.reader, service.signer, service.publisher.store))


def _signed(request: Request, head: Head) -> str:
    signer = service_of(request).signer
    head.check_key(signer)
    try:
        return head.checkpoint(signer)
    except Exception as error:
        raise SigningFailed("the checkpoint could not be signed; ask again") from error


@router.get("/v1/proofs/inclusion", response_model=InclusionView)
async def prove_inclusion(
    request: Request, _: KeyHolder, query: Annotated[InclusionQuery, Query()]
) -> dict[str, Any]:
    """That entry `index` is in the tree of `tree_size`."""
    service = service_of(request)
    index, size = query.index, await _size(request, query.tree_size)
    wanted = tiles.tiles_for_inclusion(index, size)
    leaf = tiles.Coordinates(0, index // tiles.FULL_WIDTH, tiles.width_at(0, index // tiles.FULL_WIDTH, size))
    found = await service.reader.hashes({*wanted, leaf})
    proof = tiles.prove_inclusion(index, size, lambda *at: found[tiles.Coordinates(*at)])
    at = 32 * (index % tiles.FULL_WIDTH)
    return {
        "index": index,
        "tree_size": size,
        "leaf_hash": found[leaf][at : at + 32].hex(),
        "hashes": [b64encode(one).decode() for one in proof],
    }


@router.get(
    "/v1/entries/{index}/receipt",
    response_class=Response,
    responses={
        200: {
            "description": "Ours, JSON; or C2SP tlog-proof, text.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}},
                "text/plain": {"schema": {"type": "string"}},
            },
        }
    },
)
async def get_receipt(
    request: Request,
    index: Annotated[int, Path(ge=0, le=INDEX_MAX, description="Position in the log, from 0.")],
    caller: KeyHolder,
    query: Annotated[ReceiptQuery, Query()],
) -> Response:
    """A receipt of the entry under the present checkpoint, for whoever may read the entry.

    In JSON it shows header, decision and salts; as tlog-proof no more than index, path and checkpoint.
    `format` chooses, or else `Accept`: text/plain is the tlog-proof.
    """
    reader, stored = await readable_entry(request, index, caller, query)
    service = service_of(request)
    head = await head_to_sign(service.reader, service.signer, service.publisher.store)
    receipt = Receipt.of(
        stored.entry,
        tree_size=head.size,
        hashes=await reader.prove_inclusion(index, head.size),
        checkpoint=_signed(request, head),
    )
    headers = {"cache-control": "no-store", "vary": "accept, authorization"}
    accept = request.headers.get("accept", "")
    text_wanted = weight_of("text/plain", accept) > weight_of("application/json", accept)
    if query.format == "tlog-proof" or (query.format is None and text_wanted):
        return PlainTextResponse(receipt.tlog_proof(), headers=headers)
    return Response(receipt.encode(), 200, headers, "application/json")


@router.get("/v1/proofs/consistency", response_model=ConsistencyView)
async def prove_consistency(
    request: Request, _: KeyHolder, query: Annotated[ConsistencyQuery, Query()]
) -> dict[str, Any]:
    """That the tree of `new_size` continues that of `old_size`."""
    service = service_of(request)
    old_size, size = query.old_size, await _size(request, query.new_size)
    found = await service.reader.hashes(tiles.tiles_for_consistency(old_size, size))
    proof = tiles.prove_consistency(old_size, size, lambda *at: found[tiles.Coordinates(*at)])
    return {
        "old_size": old_size,
        "new_size": size,
        "hashes": [b64encode(one).decode() for one in proof],
    }


async def _size(request: Request, wanted: int | None) -> int:
    head = await service_of(request).reader.head()
    if wanted is None:
        return head.size
    if wanted > head.size:
        raise NotFound(f"size is {wanted}, must not be above the present {head.size}")
    return wanted


@router.get("/v1/witnesses", response_model=WitnessesView)
async def get_witnesses(request: Request) -> dict[str, Any]:
    """How far the log is committed, and how far enough witnesses have cosigned it; for anyone at all."""
    service = service_of(request)
    head = await service.reader.head()
    note = await service.reader.witnessed(service.signer.name)
    witnessing = service.witnessing
    needed, of = witnessing.needed if witnessing is not None else (0, 0)
    return {
        "committed": head.size,
        "witnessed": None if note is None else Checkpoint.parse(parse_note(note)[0]).size,
        "needed": needed,
        "of": of,
        "witnesses": [
            {
                "name": one.witness.name,
                "key": str(one.witness),
                "size": one.size,
                "time": one.time,
                "error": one.error,
                "failing_since": one.failing_since,
            }
            for one in (witnessing.witnesses if witnessing is not None else ())
        ],
    }


@router.get("/v1/timestamps", response_model=TimestampPage)
async def list_timestamps(
    request: Request, response: Response, query: Annotated[TimestampQuery, Query()]
) -> dict[str, Any]:
    """Checkpoints that a time-stamping authority has seen (RFC 3161), in order of size; for anyone at all."""
    found = await service_of(request).reader.timestamps(after=query.after, limit=query.limit + 1)
    page = found[: query.limit]
    following = page[-1].size if len(found) > query.limit else None
    response.headers.update(next_link(request, following))
    return {
        "timestamps": [
            {
                "authority": one.authority,
                "tree_size": one.size,
                "stamped_at": format_timestamp(one.stamped_at),
                "checkpoint": one.note,
                "token": b64encode(one.token).decode(),
            }
            for one in page
        ],
        "next": following,
    }
