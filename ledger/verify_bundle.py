"""The offline verifier of evidence bundles (`ledger/FORMAT.md`): what the log vouches for.

What was decided on the entries is not judged here: `policies.recheck` holds decisions against themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ledger.archive import unpack
from ledger.bundle import (
    BODIES,
    CHECKPOINT,
    ENTRIES,
    MANIFEST,
    PAGE,
    PROOF,
    SUMMARY,
    Anchor,
    Asked,
    Summary,
    parsed,
    read_entries,
    read_hashes,
    read_manifest,
)
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import FORMAT, Entry
from ledger.errors import UnusableInput, VerificationError
from ledger.merkle import check_consistency, check_inclusion_of_all
from ledger.note import Verifier, parse_note
from ledger.signatories import Signatories
from ledger.succession import Succession

_OURS: Final = "_ledger"
_RECOVERED: Final = "ledger.recovered"
_HANDOVERS: Final = ("checkpoint_key.rotated", _RECOVERED)


class Complete(NamedTuple):
    """A contract of which nothing was left out up to an entry of the log."""

    contract: str
    until: int
    """Index of the entry that says how long the chain is."""
    since: int
    """Entries of the contract after it: of these the bundle has no gap, but may lack the last."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that holds."""

    asked: Asked
    reader: Mapping[str, str | None]
    key: Verifier
    key_given: bool
    """False: the key is the bundle's own word, and so is everything else."""
    signatures: int
    """Submitters' signatures that hold."""
    signatures_unchecked: int
    """For something is withheld that this takes, or their event was refused and its key is unknown."""
    checkpoint: Checkpoint
    note: str
    entries: tuple[Entry, ...]
    events: Mapping[int, Mapping[str, Any]]
    """By index, of the entries that show them; likewise the decisions."""
    decisions: Mapping[int, Mapping[str, Any]]
    withheld: int
    """Bodies that are not here, and not erased as far as the bundle tells."""
    erased: int
    complete: Complete | None
    anchors: tuple[Anchor, ...]
    """Each a checkpoint of this log. Cosignatures and timestamps are not looked at here."""
    documents: Mapping[str, str]
    """Text by digest."""
    schemas: Mapping[tuple[str, int], bytes]
    page: bytes
    """Not proven by anything: it is made from the rest."""
    remarks: tuple[str, ...]


def open_bundle(raw: bytes, *, verifier: Verifier | None = None) -> Bundle:
    """Check everything that the log vouches for.

    Raises VerificationError, and UnusableInput if this is no bundle.
    """
    files = unpack(raw)
    manifest = read_manifest(files)
    try:
        known = Verifier.parse(manifest["key"])
    except UnusableInput as error:
        raise VerificationError(f"{MANIFEST}: {error}") from None
    if manifest["origin"] != known.name:
        raise VerificationError(f"origin is {manifest['origin'][:200]!r}, must be {known.name!r}")
    checkpoint = open_checkpoint(files[CHECKPOINT], known, known.name)
    if manifest["size"] != checkpoint.size:
        raise VerificationError(f"size is {manifest['size']!r}, the checkpoint's is {checkpoint.size}")
    entries = tuple(read_entries(files[ENTRIES]))
    by_index = {entry.header.index: entry for entry in entries}
    check_inclusion_of_all(
        read_hashes(PROOF, files[PROOF]),
        leaf_hashes={index: entry.leaf for index, entry in by_index.items()},
        tree_size=checkpoint.size,
        root=checkpoint.root,
    )
    _check_chains(entries)
    events = dict(_bodies(entries, "event"))
    decisions = dict(_bodies(entries, "decision"))
    keys = _keys(by_index, events, known, verifier)
    first = keys.at(0)
    remarks = list(_check_opening(by_index, events, known.name if first is None else first.name))
    remarks += [
        f"the log was recovered at entry {index}: {lost.origin} had promised {lost.size} entries"
        for index, lost in keys.lost
    ]
    signatories = _check_signatures(entries)
    absent = {index: sum(b is None for b in entry.bodies.values()) for index, entry in by_index.items()}
    erased = _erased(events) & absent.keys()
    asked = manifest["asked"]
    summary = Summary.parse(files[SUMMARY]) if SUMMARY in files else None
    complete = _check_asked(asked, by_index, events, summary)
    if "contract" in asked and complete is None:
        remarks.append("nothing shows that no entry of the contract was left out behind the last")
    documents = _read_documents(files, decisions)
    remarks += (
        f"entry {index}: policy document {digest} is not in the bundle"
        for index, decision in decisions.items()
        for digest in sorted(_digests(decision) - documents.keys())
    )
    return Bundle(
        asked=asked,
        reader=manifest["reader"],
        key=known,
        key_given=verifier is not None,
        signatures=signatories.checked,
        signatures_unchecked=signatories.unchecked,
        checkpoint=checkpoint,
        note=files[CHECKPOINT].decode(),
        entries=entries,
        events=events,
        decisions=decisions,
        withheld=sum(gone for index, gone in absent.items() if index not in erased),
        erased=sum(absent[index] for index in erased),
        complete=complete,
        anchors=tuple(_read_anchors(files, keys, known, checkpoint)),
        documents=documents,
        schemas=dict(_read_schemas(files, events)),
        page=files[PAGE],
        remarks=tuple(remarks),
    )


# --- what stands beside the entries ----------------------------------------------------------------


def _read_anchors(
    files: Mapping[str, bytes], keys: Succession, signed_by: Verifier, checkpoint: Checkpoint
) -> Iterator[Anchor]:
    """Those of numbers 0 and following, each with its proof."""
    named = {name for name in files if name.startswith("anchors/")}
    for number in range(len(named)):
        note, proof, token = (f"anchors/{number}.{kind}" for kind in ("checkpoint", "proof.txt", "tsr"))
        if note not in named or proof not in named:
            break
        named -= {note, proof, token}
        size = Checkpoint.parse(parse_note(files[note])[0]).size
        key = keys.at(size) or signed_by
        anchor = open_checkpoint(files[note], key, key.name)
        hashes = read_hashes(proof, files[proof])
        check_consistency(
            hashes,
            old_size=anchor.size,
            old_root=anchor.root,
            new_size=checkpoint.size,
            new_root=checkpoint.root,
        )
        yield Anchor(files[note].decode(), hashes, files.get(token))
    if named:
        raise VerificationError(f"{min(named)} belongs to no checkpoint of the bundle")


def _read_documents(files: Mapping[str, bytes], decisions: Mapping[int, Any]) -> dict[str, str]:
    cited = {digest for decision in decisions.values() for digest in _digests(decision)}
    documents = {}
    for name, raw in files.items():
        folder, _, rest = name.partition("/")
        if folder != "policies" or not rest:
            continue
        digest = rest.removesuffix(".yaml")
        if sha256(raw).hexdigest() != digest:
            raise VerificationError(f"{name} is not the document of that digest")
        if digest not in cited:
            raise VerificationError(f"{name} is cited by no decision of the bundle")
        documents[digest] = raw.decode("utf-8", "replace")
    return documents


def _digests(decision: Mapping[str, Any]) -> set[str]:
    """Of the documents that were asked, and of those that were only watched."""
    named = (*_list(decision, "policies"), *_list(decision, "shadows"))
    return {one["sha256"] for one in named if isinstance(one, dict) and isinstance(one.get("sha256"), str)}


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def _read_schemas(
    files: Mapping[str, bytes], events: Mapping[int, Any]
) -> Iterator[tuple[tuple[str, int], bytes]]:
    said = ((event.get("kind"), event.get("version")) for event in events.values())
    shown = {(kind, version) for kind, version in said if isinstance(kind, str) and type(version) is int}
    for name, raw in files.items():
        if name.startswith("schemas/"):
            kind, _, version = name.removeprefix("schemas/").removesuffix(".json").rpartition("-")
            if (kind, int(version)) not in shown:
                raise VerificationError(f"{name} describes no event of the bundle")
            yield (kind, int(version)), raw


def _bodies(entries: Iterable[Entry], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for entry in entries:
        body = entry.bodies[name]
        if body is not None:
            value = parsed(f"the {name} of entry {entry.header.index}", body.value)
            if not isinstance(value, dict):
                raise VerificationError(f"entry {entry.header.index}: the {name} is no object")
            yield entry.header.index, value


# --- what the log says ----------------------------------------------------------------------------


def _check_chains(entries: Sequence[Entry]) -> None:
    """That entries continue those before them, wherever both are here."""
    before: Entry | None = None
    ends: dict[str, Entry] = {}
    for entry in entries:
        header, at = entry.header, f"entry {entry.header.index}"
        if before is not None:
            if header.index == before.header.index + 1 and header.previous != before.leaf:
                raise VerificationError(f"{at} is not chained to the entry before it")
            if header.recorded_at < before.header.recorded_at:
                raise VerificationError(f"{at} is recorded before entry {before.header.index}")
        end = ends.get(header.contract)
        if end is not None:
            apart = header.contract_index - end.header.contract_index
            if apart < 1 or (apart == 1 and header.contract_previous != end.leaf):
                raise VerificationError(f"{at} does not continue the chain of contract {header.contract}")
        ends[header.contract] = before = entry


def _check_opening(
    entries: Mapping[int, Entry], events: Mapping[int, Mapping[str, Any]], origin: str
) -> Iterator[str]:
    """Entry 0 opens this log."""
    if 0 not in entries:
        raise VerificationError("entry 0 is missing, which names the log and its key")
    if 0 not in events:
        yield "the event of entry 0 is withheld: origin, key and clock of the opening are unknown"
        return
    try:
        event, data = events[0], events[0]["data"]
        found = (event["kind"], event["contract"], data["versions"]["format"], data["origin"])
        clock = data["clock"]
    except (KeyError, TypeError):
        raise VerificationError("entry 0 is not ledger.opened") from None
    must_be = ("ledger.opened", _OURS, FORMAT, origin)
    names = ("kind", "contract", "format", "origin")
    for name, value, right in zip(names, found, must_be, strict=True):
        if value != right:
            raise VerificationError(f"{name} of the opening is {str(value)[:200]!r}, must be {right!r}")
    if clock != "system":
        yield f"the clock is {str(clock)[:80]!r}, not the system's: a simulation"


def _keys(
    entries: Mapping[int, Entry],
    events: Mapping[int, Mapping[str, Any]],
    signed_by: Verifier,
    given: Verifier | None,
) -> Succession:
    """The keys of the log, from the one that entry 0 names to the one that signed the checkpoint."""
    keys = Succession(signed_by.name)
    for index, event in events.items():
        kind = event.get("kind")
        if entries[index].header.contract != _OURS or not (kind in _HANDOVERS or index == 0):
            continue
        try:
            data = event["data"]
            if index == 0:
                keys.open(Verifier.parse(str(data["key"])))
            elif kind == _RECOVERED:
                keys.recover(str(data["note"]), index=index)
            else:
                keys.rotate(str(data["note"]), index=index)
        except (KeyError, TypeError, UnusableInput) as error:
            raise VerificationError(f"entry {index} names no key: {error}") from None
    index, last = keys.last or (0, signed_by)
    if last != signed_by:
        what = f"entry {index}" if index else "the opening"
        raise VerificationError(f"key of {what} is {last}, must be {signed_by}")
    if given is not None and given != signed_by and given not in keys:
        raise VerificationError(f"key is {signed_by}, must be the given {given}, or its successor")
    return keys


def _check_signatures(entries: Iterable[Entry]) -> Signatories:
    """What submitters have signed, by the keys that are registered in entries of the bundle."""
    signatories = Signatories()
    for entry in entries:
        event, decision, signatures = (entry.bodies.get(name) for name in BODIES)
        try:
            signatories.take(
                entry.header.index,
                entry.header.contract,
                b"" if event is None else event.value,
                b"" if decision is None else decision.value,
                None if entry.header.signatures is None else b"" if signatures is None else signatures.value,
            )
        except VerificationError as error:
            raise VerificationError(f"entry {entry.header.index}: {error}") from None
    return signatories


# --- what was asked for ---------------------------------------------------------------------------


def _erased(events: Mapping[int, Mapping[str, Any]]) -> set[int]:
    """Entries of which the log says behind them that their bodies are erased."""
    found = set()
    for at, event in events.items():
        try:
            said = (event["kind"], event["actor"]["party"]) == ("value.erased", _OURS)
            index = event["data"]["index"] if said else None
        except (LookupError, TypeError):
            continue
        if type(index) is int and index < at:
            found.add(index)
    return found


def _check_asked(
    asked: Asked,
    entries: Mapping[int, Entry],
    events: Mapping[int, Mapping[str, Any]],
    summary: Summary | None,
) -> Complete | None:
    """That the bundle has what was asked for, as far as it can be told."""
    match asked:
        case {"index": list(indexes), **more} if not more:
            for index in indexes:
                if type(index) is not int or index not in entries:
                    raise VerificationError(f"entry {str(index)[:40]} was asked for and is missing")
        case {"serial": str(), **more} if not more:
            pass
        case {"contract": str(contract), **more} if not more:
            return _check_contract(contract, entries, events, summary)
        case _:
            raise VerificationError(
                f"{MANIFEST} does not say which serial, contract or entries were asked for"
            )
    if summary is not None:
        raise VerificationError(f"{SUMMARY} proves a contract whole, and none was asked for")
    return None


def _check_contract(
    contract: str,
    entries: Mapping[int, Entry],
    events: Mapping[int, Mapping[str, Any]],
    summary: Summary | None,
) -> Complete | None:
    chain = [entry for entry in entries.values() if entry.header.contract == contract]
    for count, entry in enumerate(chain):
        if entry.header.contract_index != count:
            raise VerificationError(
                f"entry {count} of contract {contract} is missing before entry {entry.header.index}"
            )
    if not chain:
        raise VerificationError(f"no entry of contract {contract} is here, which was asked for")
    if summary is None:
        return None
    tail = summary.proof.tail
    if tail.contract != contract:
        raise VerificationError(f"{SUMMARY} is of contract {tail.contract[:80]}, must be of {contract}")
    said, event = entries.get(summary.index), events.get(summary.index)
    if said is None or event is None:
        raise VerificationError(f"entry {summary.index}, which {SUMMARY} rests on, is missing or withheld")
    if (event.get("kind"), said.header.contract) != ("contracts.summarised", _OURS):
        raise VerificationError(f"entry {summary.index}, which {SUMMARY} rests on, summarises no chains")
    try:
        root, contracts = bytes.fromhex(event["data"]["root"]), event["data"]["contracts"]
    except (KeyError, TypeError, ValueError):
        raise VerificationError(f"entry {summary.index} has no root") from None
    if contracts != summary.proof.contracts:
        raise VerificationError(
            f"{SUMMARY} counts {summary.proof.contracts} chains, entry {summary.index} {contracts}"
        )
    summary.proof.check(root)
    known = [entry for entry in chain if entry.header.index < summary.index]
    if not known or len(known) != tail.entries or known[-1].leaf.hex() != tail.head:
        raise VerificationError(
            f"contract {contract} had {tail.entries} entries before entry {summary.index}, "
            f"{len(known)} are here, or others: it is not whole"
        )
    return Complete(contract, summary.index, len(chain) - len(known))
