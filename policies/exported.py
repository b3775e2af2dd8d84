"""An export (`ledger/FORMAT.md`) as a replay reads it: its entries in order, and any of them again."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from ledger.decision import Judge
from ledger.entry import FORMAT, Entry
from ledger.erasure import Kept, kept_in
from ledger.errors import UnusableInput
from ledger.export_file import EXPORT, LINE_BYTES_MAX
from ledger.kinds.records import ValueErased
from ledger.merkle import leaf_hash
from policies.replay import Line, Outcome, Replay
from policies.unchecked import member, parsed

Progress = Callable[[int, int], object]


def replay_export(file: BinaryIO, judge: Judge, *, progress: Progress | None = None) -> Outcome:
    """Replay an export (`ledger/FORMAT.md`), which must be a file that can be read at any place.

    Raises UnusableInput if it is no export. Of the entries only where each begins is kept.
    """
    export = Export(file)
    replay = Replay(judge, origin=export.origin, erased=export.erased())
    for entry in export.entries():
        while wanted := replay.wanted(entry):
            for index in wanted:
                replay.recall(index, export.entry(index))
        if replay.take(entry) is not None:
            break
        if progress is not None and (entry.index % 1024 == 0 or entry.index + 1 == export.size):
            progress(entry.index + 1, export.size)
    return replay.finish()


class Export:
    """The entries of an export, in order, and any of those again that were read before."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        title = _title(file.readline(1 << 20))
        self.origin: str = title["origin"]
        self.size: int = title["size"]
        self._first = file.tell()
        self._starts = array("Q")
        self._ahead: dict[int, int] = {}
        """Where entries begin that are wanted before their turn."""
        self._erased: dict[int, list[int]] | None = None

    def entries(self) -> Iterator[Line]:
        """From 0. Raises UnusableInput at a line that is none of an export, and unless all are there."""
        self._starts = array("Q")
        place = self._file.seek(self._first)
        for number in range(self.size):
            line = self._file.readline(LINE_BYTES_MAX)
            if not line.endswith(b"\n"):
                raise UnusableInput(
                    f"the file ends within entry {number} of {self.size}, or its line is too long"
                )
            self._starts.append(place)
            place += len(line)
            yield line_of(line, number)
        if self._file.read(1):
            raise UnusableInput(f"the file goes on after entry {self.size - 1}, the last one")

    def erased(self) -> dict[int, list[int]]:
        """Which entries are erased, each with the later ones that say so, in order: the file is read once."""
        found: dict[int, list[int]] = {}
        before = self._file.tell()
        place = self._file.seek(self._first)
        for number in range(self.size):
            line = self._file.readline(LINE_BYTES_MAX)
            if _ERASED in line:
                event = parsed(line.removesuffix(b"\n").split(b"\t")[2])
                index = member(member(event, "data"), "index")
                if member(event, "kind") == ValueErased.kind_name and type(index) is int:
                    found.setdefault(index, []).append(number)
                    self._ahead[number] = place
            place += len(line)
        self._file.seek(before)
        return found

    def kept(self, index: int) -> Kept | None:
        """What is kept of an entry that is erased; None: it is not, or is withheld."""
        if self._erased is None:
            self._erased = self.erased()
        said = self._erased.get(index)
        return None if said is None else kept_in((by, self.entry(by).event) for by in said)

    def entry(self, index: int) -> Line:
        """Entry `index`, which was read before, or says that another is erased."""
        place = self._file.tell()
        self._file.seek(self._starts[index] if index < len(self._starts) else self._ahead[index])
        line = self._file.readline()
        self._file.seek(place)
        return line_of(line, index)


def line_of(line: bytes, index: int) -> Line:
    """Entry `index` out of its line of an export, with or without its newline.

    Raises UnusableInput, if it is none; whether every byte of it is right is not looked at.
    """
    fields = line.removesuffix(b"\n").split(b"\t")
    raw = fields[0]
    # The beginning is of fixed length, and the end too: whatever is between is the verifier's.
    if len(fields) not in (5, 7) or not raw.startswith(_BEGIN) or not raw.endswith(b'"}'):
        raise UnusableInput(f"line {index + 2} is not that of an entry of format {FORMAT}")
    contract, _, rest = raw[raw.index(_CONTRACT) + len(_CONTRACT) :].partition(b'"')
    if b'"index":%d,' % index not in rest:
        raise UnusableInput(f"line {index + 2} is not entry {index} of the log")
    signatures = fields[6] if len(fields) == 7 else None
    return _line(
        index, contract.decode(), raw[-29:-2].decode(), leaf_hash(raw), fields[2], fields[4], signatures
    )


def line_from(entry: Entry) -> Line:
    """The same of an entry that was read from a database."""
    header, bodies = entry.header, entry.bodies
    event, decision, signatures = (
        body.value if (body := bodies.get(name)) is not None else b""
        for name in ("event", "decision", "signatures")
    )
    return _line(
        header.index, header.contract, header.recorded_at, entry.leaf, event, decision,
        signatures if header.signatures is not None else None,
    )  # fmt: skip


def _line(
    index: int, contract: str, at: str, leaf: bytes, event: bytes, decision: bytes, signatures: bytes | None
) -> Line:
    """b"": withheld. Whether an event was signed as it must be is not known without its signatures."""
    shown = None if signatures == b"" else event or None
    return Line(index, contract, at, leaf, shown, decision or None, signatures)


_BEGIN: Final = b'{"bodies":{'
_CONTRACT: Final = b'"contract":"'
_ERASED: Final = b'"kind":"%s"' % ValueErased.kind_name.encode()


def _title(line: bytes) -> dict[str, Any]:
    value = parsed(line)
    origin, size = member(value, "origin"), member(value, "size")
    if member(value, "export") != EXPORT or not isinstance(origin, str) or type(size) is not int:
        raise UnusableInput(f"this is not an export of a ledger, of format {EXPORT}")
    return {"origin": origin, "size": size}
