"""The proofs of the log, for anyone with a key, and its checkpoint, for anyone at all."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse

from api.auth import KeyHolder
from api.schemas import ConsistencyQuery, ConsistencyView, InclusionQuery, InclusionView
from api.wiring import service_of
from ledger import tiles
from ledger.checkpoint import Checkpoint, sign
from ledger.errors import NotFound, SigningFailed

router = APIRouter(tags=["proofs"])


@router.get("/checkpoint", response_class=PlainTextResponse)
async def get_checkpoint(request: Request) -> PlainTextResponse:
    """The signed tree head, now (C2SP tlog-checkpoint)."""
    service = service_of(request)
    # The durable head, signed when asked: no process can serve an older one than another just did.
    head = await service.reader.head()
    try:
        note = sign(Checkpoint(head.origin, head.size, head.root), service.signer)
    except Exception as error:
        raise SigningFailed("the checkpoint could not be signed; ask again") from error
    return PlainTextResponse(note, headers={"cache-control": "no-store"})


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
