"""An evidence bundle: some entries with all that it takes to check them without us (`ledger/FORMAT.md`).

One zip of one shape (`ledger.archive`): its files, written and read. What they say is checked by
`ledger.verify_bundle`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ledger.archive import pack
from ledger.canonical import canonical, parse
from ledger.checkpoint import open_checkpoint
from ledger.entry import SALT_BYTES, Body, Entry, Header, commitment, line_of
from ledger.errors import LedgerError, UnusableInput, VerificationError
from ledger.merkle import leaf_hash
from ledger.note import Verifier, decode_base64
from ledger.summary import Tail, TailProof

BUNDLE: Final = 1
ENTRIES_MAX: Final = 10_000

MANIFEST, CHECKPOINT, ENTRIES, PROOF, SUMMARY, PAGE = (
    "manifest.json", "checkpoint", "entries.tsv", "proof.txt", "summary.json", "index.html",
)  # fmt: skip
_NAMES: Final = re.compile(
    rf"{re.escape(MANIFEST)}|{CHECKPOINT}|{re.escape(ENTRIES)}|{re.escape(PROOF)}|{re.escape(SUMMARY)}"
    rf"|{re.escape(PAGE)}|anchors/(?:0|[1-9][0-9]{{0,2}})\.(?:checkpoint|proof\.txt|tsr)"
    r"|policies/[0-9a-f]{64}\.yaml|schemas/[a-z_.]{1,64}-[1-9][0-9]{0,6}\.json"
)
_REQUIRED: Final = (MANIFEST, CHECKPOINT, ENTRIES, PROOF, PAGE)
_KEYS: Final = {"asked", "bundle", "files", "key", "origin", "reader", "size"}
_SALT: Final = re.compile(rb"[0-9a-f]{%d}" % (2 * SALT_BYTES))
BODIES: Final = ("event", "decision", "signatures")

Asked = Mapping[str, Any]
"""`{"serial": ...}`, `{"contract": ...}` or `{"index": [...]}`."""


class Summary(NamedTuple):
    """That a contract's chain was so long, as an entry says that is in the bundle."""

    index: int  # type: ignore[assignment] # ours, not tuple.index
    """Of the entry that carries the root."""
    proof: TailProof

    def encode(self) -> bytes:
        tail = self.proof.tail
        return canonical(
            {
                "contract": tail.contract,
                "contracts": self.proof.contracts,
                "count": tail.entries,
                "entry": self.index,
                "hashes": [b64encode(one).decode() for one in self.proof.hashes],
                "head": tail.head,
                "position": self.proof.position,
            }
        )

    @classmethod
    def parse(cls, raw: bytes) -> Summary:
        """Raises VerificationError."""
        try:
            value: Any = parse(raw)
            tail = Tail(str(value["contract"]), _whole(value["count"]), str(value["head"]))
            hashes = [decode_base64(one) for one in value["hashes"]]
            proof = TailProof(tail, _whole(value["position"]), _whole(value["contracts"]), hashes)
            summary = cls(_whole(value["entry"]), proof)
        except (LedgerError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise VerificationError(f"{SUMMARY} is no proof of a chain's end: {error}") from None
        if summary.encode() != raw:
            raise VerificationError(f"{SUMMARY} is not written as it must be")
        return summary


class Anchor(NamedTuple):
    """A checkpoint that others have vouched for, and that the bundle's own one continues."""

    note: str
    """With the cosignatures of witnesses, if they have seen it."""
    hashes: Sequence[bytes]
    """The consistency proof from it to the bundle's checkpoint (RFC 9162 §2.1.4.1)."""
    token: bytes | None = None
    """A timestamp of the note (RFC 3161)."""


class Content(NamedTuple):
    """What goes into a bundle."""

    asked: Asked
    reader: Mapping[str, str | None]
    """`role` and `party` of whom it was made for: it holds the bodies that they may see."""
    checkpoint: str
    verifier: Verifier
    entries: Sequence[Entry]
    """Ascending; entry 0 first."""
    hashes: Sequence[bytes]
    """`prove_inclusion_of_all` of these entries."""
    summary: Summary | None
    anchors: Sequence[Anchor]
    documents: Mapping[str, str]
    """Text of each policy document that a decision cites, by digest."""
    schemas: Mapping[tuple[str, int], bytes]
    page: bytes


def write(content: Content) -> bytes:
    """Raises TooLarge."""
    files = {
        CHECKPOINT: content.checkpoint.encode(),
        ENTRIES: b"".join(map(line_of, content.entries)),
        PROOF: _spelled(content.hashes),
        PAGE: content.page,
        **{f"policies/{digest}.yaml": text.encode() for digest, text in content.documents.items()},
        **{f"schemas/{kind}-{version}.json": text for (kind, version), text in content.schemas.items()},
    }
    if content.summary is not None:
        files[SUMMARY] = content.summary.encode()
    for number, anchor in enumerate(content.anchors):
        files[f"anchors/{number}.checkpoint"] = anchor.note.encode()
        files[f"anchors/{number}.proof.txt"] = _spelled(anchor.hashes)
        if anchor.token is not None:
            files[f"anchors/{number}.tsr"] = anchor.token
    manifest = {
        "asked": dict(content.asked),
        "bundle": BUNDLE,
        "files": {
            name: {"bytes": len(raw), "sha256": sha256(raw).hexdigest()} for name, raw in files.items()
        },
        "key": str(content.verifier),
        "origin": content.verifier.name,
        "reader": dict(content.reader),
        "size": open_checkpoint(content.checkpoint, content.verifier, content.verifier.name).size,
    }
    return pack({MANIFEST: canonical(manifest), **files})


def _spelled(hashes: Iterable[bytes]) -> bytes:
    return b"".join(b64encode(one) + b"\n" for one in hashes)


# --- reading ------------------------------------------------------------------------------------


def read_manifest(files: Mapping[str, bytes]) -> dict[str, Any]:
    """That every file is in the manifest as it is, and no other.

    Raises UnusableInput, or VerificationError.
    """
    if MANIFEST not in files:
        raise UnusableInput(f"the zip has no {MANIFEST}: this is no bundle")
    for name in files:
        if not _NAMES.fullmatch(name):
            raise VerificationError(f"{name[:80]!r} is no file of a bundle")
    raw = files[MANIFEST]
    value: Any = parsed(MANIFEST, raw)
    if not isinstance(value, dict) or type(value.get("bundle")) is not int:
        raise UnusableInput(f"{MANIFEST} is not that of a bundle")
    if value["bundle"] != BUNDLE:
        raise UnusableInput(f"the bundle is of format {value['bundle']}, must be {BUNDLE}")
    if value.keys() != _KEYS or canonical(value) != raw:
        raise VerificationError(f"{MANIFEST} must be a canonical JSON object of {', '.join(sorted(_KEYS))}")
    for name, kind in (("key", str), ("origin", str), ("files", dict), ("asked", dict), ("reader", dict)):
        if not isinstance(value[name], kind):
            raise VerificationError(f"{name} of {MANIFEST} is not what it must be")
    listed = value["files"]
    for name in _REQUIRED[1:]:
        if name not in files:
            raise VerificationError(f"{name} is missing")
    for name in sorted(listed.keys() ^ (files.keys() - {MANIFEST})):
        where = "is missing" if name in listed else f"is not in {MANIFEST}"
        raise VerificationError(f"{name[:80]} {where}")
    for name, must_be in listed.items():
        found = {"bytes": len(files[name]), "sha256": sha256(files[name]).hexdigest()}
        if found != must_be:
            raise VerificationError(f"{name} is not the file that {MANIFEST} names: it is altered")
    return value


def read_entries(raw: bytes) -> Iterator[Entry]:
    """Entries out of the lines that `line_of` writes. Raises VerificationError for any other line."""
    *lines, rest = raw.split(b"\n")
    if rest or not lines:
        raise VerificationError(f"{ENTRIES} does not end in a line's end")
    if len(lines) > ENTRIES_MAX:
        raise VerificationError(f"{ENTRIES} has {len(lines):,} lines, must have {ENTRIES_MAX:,} at most")
    last = -1
    for line in lines:
        entry = _read_entry(line)
        if entry.header.index <= last:
            raise VerificationError(f"entry {entry.header.index} stands behind entry {last}")
        last = entry.header.index
        yield entry


def _read_entry(line: bytes) -> Entry:
    raw, *fields = line.split(b"\t")
    header = Header.parse(raw)
    names = BODIES if header.signatures is not None else BODIES[:2]
    if len(fields) != 2 * len(names):
        raise VerificationError(
            f"entry {header.index}: the line has {1 + len(fields)} fields, must have {1 + 2 * len(names)}"
        )
    bodies: dict[str, Body | None] = {}
    for name, salt, value in zip(names, fields[::2], fields[1::2], strict=True):
        bodies[name] = None
        if salt or value:
            bodies[name] = _read_body(header, name, salt, value)
    return Entry(header, raw, leaf_hash(raw), bodies)


def _read_body(header: Header, name: str, salt: bytes, value: bytes) -> Body:
    if not _SALT.fullmatch(salt) or not value:
        raise VerificationError(f"entry {header.index}: the {name} has no salt of 64 digits, or no bytes")
    body = Body(bytes.fromhex(salt.decode()), value)
    if commitment(*body) != getattr(header, name):
        raise VerificationError(f"entry {header.index}: the {name} is not the one that the header commits to")
    return body


def read_hashes(name: str, raw: bytes) -> list[bytes]:
    """Of a file that has one in base64 on each line. Raises VerificationError."""
    *lines, rest = raw.split(b"\n")
    try:
        hashes = [decode_base64(line.decode("ascii")) for line in lines]
    except ValueError as error:
        raise VerificationError(f"{name}: {error}") from None
    if rest:
        raise VerificationError(f"{name} does not end in a line's end")
    return hashes


def parsed(what: str, raw: bytes) -> Any:
    """Raises VerificationError, in words that say what is no JSON."""
    try:
        return parse(raw)
    except LedgerError as error:
        raise VerificationError(f"{what} is not JSON: {error}") from None


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:40]} is not a number of entries")
    return value
