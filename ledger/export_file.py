"""An export as a file: its lines, and the first of them, which says what the others are held against.

The bytes are in `ledger/FORMAT.md`. What the title says is checked here, the entries in `ledger.verify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from ledger.canonical import canonical, parse
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.entry import Header
from ledger.errors import LedgerError, NotJSON, UnusableInput, VerificationError
from ledger.note import Verifier, parse_note
from ledger.verified import Tampered

EXPORT: Final = 1
"""The format of the file; that of its entries is `ledger.entry.FORMAT`."""
LINE_BYTES_MAX: Final = 8 << 20
"""An event is at most 1 MiB; no line of ours comes near."""
CHUNK_BYTES = 256 << 10

_KEYS = {"export", "origin", "size", "key", "checkpoint"}


class Lines(Protocol):
    """Entries as lines of an export, some at a time."""

    tail: bytes
    """What follows the last whole line that was read."""

    def __iter__(self) -> Iterator[list[bytes]]: ...
    def __next__(self) -> list[bytes]: ...


class FileLines(Iterator[list[bytes]]):
    """The whole lines of a file, some at a time, without their newlines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tail = b""

    def __next__(self) -> list[bytes]:
        while len(self.tail) <= LINE_BYTES_MAX and (chunk := self._file.read(CHUNK_BYTES)):
            *lines, self.tail = (self.tail + chunk).split(b"\n")
            if lines:
                return lines
        raise StopIteration


class Title(NamedTuple):
    """What the entries are held against."""

    verifier: Verifier
    checkpoint: Checkpoint


def read_title(lines: FileLines, verifier: Verifier | None) -> tuple[Title, list[bytes]]:
    """Line 1, and the first lines after it; [] if there are none."""
    batch: list[bytes] = []
    while len(batch) < 4 and (more := next(lines, [])):  # a read may be short
        batch += more
    first, following = (batch[0], batch[1:]) if batch else (lines.tail, [])
    try:
        value = parse(first)
    except NotJSON:
        value = None
    # The number of the format is damaged as easily as anything: it is believed where no entry of
    # this format follows.
    entries = any(map(_holds_entry, [first, *following[:3]]))
    if not entries:
        if not isinstance(value, dict) or "export" not in value:
            raise UnusableInput("this is not an export of a ledger")
        if type(value["export"]) is int and value["export"] != EXPORT:
            raise UnusableInput(f"the export is of format {value['export']}, must be {EXPORT}")
    try:
        return _open_title(first, value, verifier), following
    except LedgerError as error:
        raise Tampered(f"header line: {error}") from None


def _holds_entry(line: bytes) -> bool:
    """Whether an entry stands in the line, though behind a newline that was damaged."""
    try:
        Header.parse(line[line.find(b'{"bodies":{') :].partition(b"\t")[0])
    except VerificationError:
        return False
    return True


def _open_title(raw: bytes, value: Any, verifier: Verifier | None) -> Title:
    if not isinstance(value, dict) or value.keys() != _KEYS or canonical(value) != raw:
        raise VerificationError(f"it must be a canonical JSON object of {', '.join(sorted(_KEYS))}")
    if type(value["export"]) is not int or value["export"] != EXPORT:
        raise VerificationError(f"export is {value['export']!r}, must be {EXPORT}")
    for name in ("origin", "key", "checkpoint"):
        if not isinstance(value[name], str):
            raise VerificationError(f"{name} is {value[name]!r}, must be a string")
    origin, key, note = value["origin"], value["key"], value["checkpoint"]
    known = Verifier.parse(key)
    if origin != known.name:
        raise VerificationError(f"origin is {origin!r}, must be {known.name!r} as in the key")
    checkpoint = open_checkpoint(note, known, origin)
    # Of another key's signature no byte could be checked, and this file has no such byte.
    if len(parse_note(note)[1]) != 1:
        raise VerificationError("the checkpoint must have one signature, that of the log")
    if type(value["size"]) is not int or value["size"] != checkpoint.size:
        raise VerificationError(f"size is {value['size']!r}, the checkpoint's is {checkpoint.size}")
    if not checkpoint.size:
        raise VerificationError("size is 0, must be 1 at least: a log begins with ledger.opened")
    return Title(known, checkpoint)
