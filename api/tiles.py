"""The log as static resources (C2SP tlog-tiles), for anyone at all: what an auditor, a mirror or a CDN reads.

No key is asked for. A tile holds hashes, and a bundle the headers that were hashed: no body, and of a
contract its opaque id (decision 9). Every answer but the checkpoint is for ever.
"""

from __future__ import annotations

import asyncio
import gzip
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import PlainTextResponse, Response

from api.accept import weights
from api.proofs import signed_checkpoint
from api.wiring import service_of
from ledger.errors import NotFound
from ledger.publisher import cosigned_head
from ledger.tiles import ENTRIES, parse_tile_path

router = APIRouter(prefix="/log", tags=["static log"])

_FOR_EVER = "public, max-age=31536000, immutable"
_NAME = r"^(0|[1-9][0-9]?|entries)/(x[0-9]{3}/){0,5}[0-9]{3}(\.p/[1-9][0-9]{0,2})?$"
_BINARY = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}


@router.get("/checkpoint", response_class=PlainTextResponse)
async def get_log_checkpoint(request: Request) -> PlainTextResponse:
    """The signed tree head, where a client of tiles looks for it.

    Where the log has witnesses: the last that enough of them have cosigned, with their lines, once they know
    the log's present key. `/checkpoint` may be ahead of it.
    """
    service = service_of(request)
    known = service.witnessing is not None
    note = await cosigned_head(service.reader, service.signer.verifier) if known else None
    return PlainTextResponse(note or await signed_checkpoint(request), headers={"cache-control": "no-cache"})


@router.get(
    "/tile/{path:path}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": _BINARY}},
        304: {"description": "The tile that `If-None-Match` names."},
    },
)
async def get_tile(
    request: Request,
    # Described, not enforced: what names no tile is not found, as on any static server.
    path: Annotated[str, Path(json_schema_extra={"pattern": _NAME}, examples=["entries/x001/234.p/5"])],
) -> Response:
    """A tile of hashes `<level>/<n>[.p/<width>]`, or a bundle of headers `entries/<n>[.p/<width>]`.

    404 while the tree has not grown so far. Each tile has one name: `n` in groups of three digits, all
    but the last behind an `x`, and no `.p/256`.
    """
    # As it was sent: a name with an escape in it would be a second name, and a cache would keep both.
    if request.scope["raw_path"] != request.scope["path"].encode():
        raise NotFound("the path has escapes in it, which names no tile")
    where = parse_tile_path(f"tile/{path}")
    body = await service_of(request).reader.tile(where)
    tag = sha256(body).hexdigest()[:32]
    headers = {"cache-control": _FOR_EVER}
    if where.level == ENTRIES:
        headers["vary"] = "accept-encoding"
        if weights(request.headers.get("accept-encoding", "")).get("gzip", 0.0) > 0:
            headers["content-encoding"] = "gzip"
            tag += "-gzip"
            body = await asyncio.to_thread(gzip.compress, body, 6, mtime=0)
    headers["etag"] = f'"{tag}"'
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(None, 304, {k: v for k, v in headers.items() if k != "content-encoding"})
    return Response(body, 200, headers, "application/octet-stream")
