"""`GET /v1/bundles`, `chipledger bundle`: which entries go into an evidence bundle, and who may have them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.audit import Sight, sight_of, sight_of_facts
from api.auth import KeyHolder
from api.database import Logins
from api.export import signer_of
from api.places import store_of
from api.schemas import BundleQuery
from api.settings import Settings
from api.wiring import service_of
from ledger import tiles
from ledger.archive import BYTES_MAX
from ledger.bundle import ENTRIES_MAX, Anchor, Content, Summary, write
from ledger.checkpoint import Checkpoint
from ledger.checkpoint_store import CheckpointStore
from ledger.errors import NotFound, SigningFailed, TooLarge
from ledger.event import KINDS, LEDGER_CONTRACT, schema_of
from ledger.loading import StoredEntry
from ledger.note import Signer, parse_note
from ledger.publisher import head_to_sign
from ledger.reader import Reader
from ledger.succession import Lineage
from ledger.summary import prove
from ledger.verify_bundle import open_bundle
from ledger.withheld import Withheld
from policies.carried import Carried
from policies.dossier import page
from policies.explanation import cited

AT_ONCE_MAX: Final = 2
"""Bundles that a process makes at the same time, for each takes several times its size. Others wait."""
SLICE_ENTRIES: Final = 100
TIMESTAMPS_MAX: Final = 100
MEDIA_TYPE: Final = "application/zip"
GROUNDS: Final = ("conditions.", "contract.", "key.", "license.", "policy.")
"""What the custody of a device rests on, of the contracts that held it."""
HANDOVERS: Final = ("checkpoint_key.", "ledger.recovered")
"""What the key of the checkpoint rests on."""

router = APIRouter(prefix="/v1")


@router.get(
    "/bundles",
    response_class=Response,
    responses={
        200: {
            "description": "A zip, checked by `chipledger verify`.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    tags=["proofs"],
)
async def get_bundle(request: Request, caller: KeyHolder, query: Annotated[BundleQuery, Query()]) -> Response:
    """Evidence to take away: entries as this key may see them, proofs, checkpoint, policy documents.

    Give one of `serial`, `contract` or `index`. At most 10,000 entries and 64 MiB: what is larger is a
    problem (413), and an export, or a bundle of some `index`, takes its place.
    """
    asked = query.asked
    # Which entries speak of a device is folded from events.
    looking = sight_of_facts if query.serial is not None else sight_of
    sight = await looking(request, caller, query)
    async with request.app.state.bundling:
        service = service_of(request)
        raw = await made(
            sight,
            asked,
            {"role": caller.role, "party": caller.party},
            signer=service.signer,
            store=service.publisher.store,
        )
    name = f"bundle-{next(iter(asked))}.zip"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(raw, 200, headers, MEDIA_TYPE)


async def bundle_to(
    path: Path, asked: Mapping[str, Any], settings: Settings, logins: Logins, *, party: str | None
) -> int:
    """Write a bundle out of the database to `path`, with all bodies or those that a party may see."""
    signer, reader = signer_of(settings), Reader(logins.reader)
    await reader.open()
    try:
        contracts = None if party is None else await reader.contracts_of(party)
        made_for = {"role": "operator" if party is None else "submitter", "party": party}
        raw = await made(
            Sight(reader, contracts, party, Withheld()),
            asked,
            made_for,
            signer=signer,
            store=store_of(settings, signer),
        )
    finally:
        await reader.close()
    await asyncio.to_thread(path.write_bytes, raw)
    return len(raw)


# --- which entries --------------------------------------------------------------------------------


async def made(
    sight: Sight,
    asked: Mapping[str, Any],
    made_for: Mapping[str, str | None],
    *,
    signer: Signer,
    store: CheckpointStore,
) -> bytes:
    """The bytes of a bundle. Raises NotFound for what is not there or not the caller's, and TooLarge."""
    reader = sight.reader
    # Before anything is read: an answer that takes longer would tell that it is there.
    if "contract" in asked and not sight.sees(asked["contract"]):
        raise NotFound(f"there is no contract {asked['contract']}")
    # Before the head, so that the head covers it.
    summary = await _summary(reader, asked["contract"]) if "contract" in asked else None
    head = await head_to_sign(reader, signer, store)
    gathered = _Gathered(sight, head.size)
    gathered.take(await reader.entries_at([0]))
    async for handovers in _grounds(reader, {LEDGER_CONTRACT}, HANDOVERS):
        gathered.take(handovers)
    match asked:
        case {"serial": serial}:
            await _of_device(sight, serial, gathered)
        case {"contract": contract}:
            await _of_contract(reader, contract, gathered)
        case {"index": indexes}:
            await _of_indexes(sight, indexes, gathered)
    await _overrides(sight, gathered)
    await _erasures(reader, gathered)
    if summary is not None:
        gathered.take(await reader.entries_at([summary.index]))
    head.check_key(signer)
    try:
        note = head.checkpoint(signer)
    except Exception as error:
        raise SigningFailed("the checkpoint could not be signed; ask again") from error
    indexes = gathered.entries.keys()
    found = await reader.hashes(tiles.tiles_for_inclusion_of_all(indexes, head.size))
    hashes = tiles.prove_inclusion_of_all(indexes, head.size, _reading(found))
    anchors = await _anchors(reader, gathered, head.size, await reader.lineage(signer.verifier))
    return await asyncio.to_thread(
        _written, gathered, asked, made_for, note, signer, hashes, summary, anchors
    )


class _Gathered:
    """Entries below a size, each once and as the caller may see it, as long as a bundle can hold them."""

    def __init__(self, sight: Sight, size: int) -> None:
        self._sight = sight
        self.size = size
        self._bytes = 0
        self.entries: dict[int, StoredEntry] = {}

    def take(self, entries: Iterable[StoredEntry]) -> None:
        for stored in entries:
            if stored.index >= self.size or stored.index in self.entries:
                continue
            shown = self.entries[stored.index] = self._sight.shows(stored)
            self._bytes += sum(len(body.value) for body in shown.entry.bodies.values() if body is not None)
            if len(self.entries) > ENTRIES_MAX or self._bytes > BYTES_MAX:
                raise TooLarge(
                    f"the bundle would have more than {ENTRIES_MAX:,} entries or {BYTES_MAX:,} bytes: "
                    "ask for some of them by index, or take an export"
                )


Read = Callable[[int], Awaitable[list[StoredEntry]]]


async def _slices(read: Read) -> AsyncIterator[list[StoredEntry]]:
    """What is read after one index and the next, until there is no more."""
    found = await read(-1)
    while found:
        yield found
        found = await read(found[-1].index) if len(found) == SLICE_ENTRIES else []


def _grounds(reader: Reader, contracts: set[str], kinds: Sequence[str]) -> AsyncIterator[list[StoredEntry]]:
    return _slices(lambda after: reader.grounds(contracts, kinds, after=after, limit=SLICE_ENTRIES))


async def _of_device(sight: Sight, serial: str, gathered: _Gathered) -> None:
    """The custody chain, as far as the caller sees it, and what it rests on."""
    contracts: set[str] = set()
    reader, sees = sight.reader, sight.contracts
    async for links in _slices(
        lambda after: reader.links(serial, after=after, limit=SLICE_ENTRIES, contracts=sees)
    ):
        gathered.take(links)
        contracts |= {link.entry.header.contract for link in links}
    if not contracts:
        raise NotFound(f"the log does not speak of a device {serial}")
    async for grounds in _grounds(reader, contracts, GROUNDS):
        gathered.take(grounds)


async def _of_contract(reader: Reader, contract: str, gathered: _Gathered) -> None:
    there = False
    async for found in _slices(lambda after: reader.chain(contract, after=after, limit=SLICE_ENTRIES)):
        gathered.take(found)
        there = True
    if not there:
        raise NotFound(f"there is no contract {contract}")


async def _of_indexes(sight: Sight, indexes: list[int], gathered: _Gathered) -> None:
    """These entries, with the documents that they cite and the keys of their contracts."""
    digests: set[str] = set()
    contracts: set[str] = set()
    for begin in range(0, len(indexes), SLICE_ENTRIES):
        wanted = indexes[begin : begin + SLICE_ENTRIES]
        read = await sight.reader.entries_at(wanted)
        found = {stored.index: stored for stored in read if stored.index < gathered.size}
        for index in wanted:
            if index not in found or not sight.sees(found[index].entry.header.contract):
                # In the same words: that it exists is not theirs to know.
                raise NotFound(f"there is no entry {index}")
        gathered.take(found.values())
        contracts |= {stored.entry.header.contract for stored in found.values()}
        digests |= {digest for index in wanted for digest in _digests(gathered.entries[index])}
    async for grounds in _grounds(sight.reader, contracts - {LEDGER_CONTRACT}, ("key.", "policy.")):
        gathered.take(g for g in grounds if not g.kind.startswith("policy.") or _named(g) in digests)


async def _overrides(sight: Sight, gathered: _Gathered) -> None:
    """What has allowed a finding is a part of its evidence."""
    named: set[int] = set()
    for stored in gathered.entries.values():
        decision = stored.entry.bodies["decision"]
        if decision is not None and b'"override":' in decision.value:
            findings = json.loads(decision.value)["conditions"]
            named |= {finding["override"] for finding in findings if "override" in finding}
    lacking = sorted(named - gathered.entries.keys())
    for begin in range(0, len(lacking), SLICE_ENTRIES):
        more = await sight.reader.entries_at(lacking[begin : begin + SLICE_ENTRIES])
        gathered.take(stored for stored in more if sight.sees(stored.entry.header.contract))


async def _erasures(reader: Reader, gathered: _Gathered) -> None:
    """What the log says of bodies that are gone."""
    erased = await reader.erasures_of(gathered.entries.values())
    said = sorted({one.erased for one in erased.values() if one.erased is not None} - gathered.entries.keys())
    for begin in range(0, len(said), SLICE_ENTRIES):
        gathered.take(await reader.entries_at(said[begin : begin + SLICE_ENTRIES]))


async def _summary(reader: Reader, contract: str) -> Summary | None:
    """That the contract was shown whole, up to the last entry that can show it."""
    try:
        said = await reader.last_summary()
        return Summary(said.index, prove(await reader.tails(said.index), contract))
    except NotFound:
        return None


async def _anchors(reader: Reader, gathered: _Gathered, size: int, lineage: Lineage) -> list[Anchor]:
    """The last checkpoint that witnesses have cosigned, and the timestamps that bound the entries."""
    # The opening is in every bundle: when it was there is asked only where nothing else is.
    indexes = gathered.entries.keys() - {0} or {0}
    stamped = await reader.timestamps_over(indexes, limit=TIMESTAMPS_MAX)
    witnessed = await reader.witnessed(lineage.present.name)
    vouched: list[tuple[str, bytes | None]] = [(one.note, one.token) for one in stamped]
    if witnessed is not None:
        vouched.append((witnessed, None))
    anchors = []
    for note, token in vouched:
        told = Checkpoint.parse(parse_note(note)[0])
        ended = lineage.ended(told.origin)
        # Vouched for behind our back, the next bundle has it; or of an end that the log has lost.
        if told.size > (size if ended is None else ended.index):
            continue
        found = await reader.hashes(tiles.tiles_for_consistency(told.size, size))
        hashes = tiles.prove_consistency(told.size, size, _reading(found))
        anchors.append(Anchor(note, hashes, token))
    return anchors


def _reading(found: Mapping[tiles.Coordinates, bytes]) -> tiles.Read:
    return lambda *at: found[tiles.Coordinates(*at)]


def _digests(stored: StoredEntry) -> frozenset[str]:
    decision = stored.entry.bodies["decision"]
    return frozenset() if decision is None else cited(None, json.loads(decision.value)).digests


def _named(stored: StoredEntry) -> str | None:
    """The digest of the document that an event of its life names."""
    event = stored.entry.bodies["event"]
    return None if event is None else json.loads(event.value)["data"].get("sha256")


# --- what is written ------------------------------------------------------------------------------


def _written(
    gathered: _Gathered,
    asked: Mapping[str, Any],
    made_for: Mapping[str, str | None],
    note: str,
    signer: Signer,
    hashes: list[bytes],
    summary: Summary | None,
    anchors: list[Anchor],
) -> bytes:
    entries = [gathered.entries[index].entry for index in sorted(gathered.entries)]
    carried = Carried()
    digests: set[str] = set()
    kinds: set[tuple[str, int]] = set()
    for entry in entries:
        event, decision = entry.bodies["event"], entry.bodies["decision"]
        said, decided = event and event.value, decision and decision.value
        carried.take(entry.header.contract, said, decided)
        if event is not None:
            value = json.loads(event.value)
            kinds.add((value["kind"], value["version"]))
        if decision is not None:
            digests |= cited(None, json.loads(decision.value)).digests
    texts = {digest: carried.text(digest) for digest in digests}
    content = Content(
        asked=asked,
        reader=made_for,
        checkpoint=note,
        verifier=signer.verifier,
        entries=entries,
        hashes=hashes,
        summary=summary,
        anchors=anchors,
        documents={digest: text for digest, text in texts.items() if text is not None},
        schemas={kind: schema(*kind) for kind in kinds if kind in KINDS},
        page=b"",
    )
    # The page is made from what a reader will find proven, and nothing is handed out that does not hold.
    bundle = open_bundle(write(content), verifier=signer.verifier)
    return write(content._replace(page=page(bundle)))


def schema(kind: str, version: int) -> bytes:
    """The file that describes a kind of event."""
    return json.dumps(schema_of(kind, version), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
