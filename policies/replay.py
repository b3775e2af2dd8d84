"""The log judged again, from its first entry: what was committed must be what the same code decides now.

An entry that is a cause is judged on the facts before it. Its decision must be the committed one to the
byte, and the entries that follow must be those that the ledger must say because of it, to the byte too.
What the clock has brought about is asked again at its own `recorded_at`, and must be what is said; that
the clock was asked soon enough is not looked at.
What the ledger says of what was found outside the log (`ledger.kinds.integrity`) has no cause in it: its
decision is made again, its words are taken as said.
The first difference ends a replay: from there the facts are another log's. A withheld event cannot be
judged; it is counted, it folds into its chain alone, and what rests on it may differ. Neither can an erased
one; but what the log has kept of it stands for it, so everything else comes out as it did.

Time is `recorded_at` of each header. Hashes and signatures are not looked at: `ledger.verify` does that.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import orjson

from ledger.decision import OUTCOMES, Decision, Judge
from ledger.entry import FORMAT, Entry
from ledger.erasure import Kept, kept_in
from ledger.errors import LedgerError, UnusableInput
from ledger.event import LEDGER_PARTY, Event, Submission, committed_event
from ledger.export_file import EXPORT, LINE_BYTES_MAX
from ledger.facts import Duty, Erasure, Facts, erasure_key
from ledger.fold import extend_chain
from ledger.kinds.contract import DeclaredInError
from ledger.kinds.records import ValueErased
from ledger.merkle import leaf_hash
from ledger.values import parse_timestamp
from policies.conditions.cel.program import LIBRARY
from policies.explain import explain
from policies.history import History

SHOWN_MAX: Final = 20
"""Withheld entries that are named, and places at which two decisions differ."""
_NONE: Final[Mapping[int, Sequence[int]]] = {}
ABSENT: Final = object()
"""Where one of two values has nothing."""

Progress = Callable[[int, int], object]


# --- what is found --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """The first entry that is not what the log makes it."""

    index: int
    kind: str
    what: Literal["decision", "event", "missing", "uncalled", "unreadable"]
    committed: bytes | None = None
    recomputed: bytes | None = None
    why: str = ""

    def lines(self) -> list[str]:
        """In words: what, and both values side by side."""
        head = f"entry {self.index}, {self.kind}"
        if self.what == "unreadable":
            return [f"{head}: it cannot be judged again: {self.why}"]
        if self.what == "missing":
            return [f"{head}: it is missing; the ledger must say {_text(self.recomputed)}"]
        if self.what == "uncalled":
            return [f"{head}: nothing before it calls for it; it says {_text(self.committed)}"]
        title = "the decision" if self.what == "decision" else "what the ledger says because of its cause"
        places = list(_places(_json(self.committed), _json(self.recomputed)))
        lines = [f"{head}: {title} differs"]
        for where, committed, recomputed in places[:SHOWN_MAX]:
            lines.append(f"  {where}: committed {_shown(committed)}, recomputed {_shown(recomputed)}")
        if not places:
            lines.append("  the same values, in other bytes")
        if len(places) > SHOWN_MAX:
            lines.append(f"  and {len(places) - SHOWN_MAX} places more")
        if self.what == "decision":
            lines += [f"  {words}" for words in _engines(_json(self.committed), _json(self.recomputed))]
            lines += [f"  recomputed: {sentence}" for sentence in _reasons(_json(self.recomputed))]
        return lines


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a replay came, and what it found."""

    entries: int
    judged: int
    """Causes whose decision was recomputed and compared."""
    entailed: int
    """Entries of the ledger that were recomputed from their cause and compared."""
    withheld: int
    """Entries that cannot be replayed, for their event or decision is not there."""
    withheld_first: tuple[int, ...]
    difference: Difference | None


class Line(NamedTuple):
    """Of an entry, what a replay looks at."""

    index: int  # type: ignore[assignment] # ours, not tuple.index
    contract: str
    recorded_at: str
    leaf: bytes
    event: bytes | None
    """None: withheld or erased; likewise the decision."""
    decision: bytes | None
    signatures: bytes | None = None
    """None: nobody signed. Where they are withheld the event is too: it cannot be judged without them."""


# --- one entry after another ----------------------------------------------------------------------


class Replay:
    """Takes a log's entries in order, from 0. For each: `wanted` until it wants nothing, then `take`."""

    def __init__(self, judge: Judge, *, origin: str, erased: Mapping[int, Sequence[int]] = _NONE) -> None:
        """`erased`: which entries are erased, each with the later ones that say so, in order."""
        self.history = History(judge, origin=origin)
        self._erased = erased
        self._said: dict[int, bytes | None] = {}
        """Of an entry that is erased: the events that say so."""
        self._gone: list[int] = []
        """Entries that were taken whole, are cited now, and have been erased in between."""
        self.difference: Difference | None = None
        self._judged = self._entailed = self._withheld = 0
        self._withheld_first: list[int] = []
        self._course: Iterator[tuple[Submission, Decision, Facts]] | None = None
        """What follows from the last cause."""
        self._must: tuple[Submission, Decision, Facts] | None = None
        """What the next entry must be, where the last cause calls for more."""
        self._asked: Submission | None = None
        self._at: tuple[str, datetime] | None = None

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            self.history.size,
            self._judged,
            self._entailed,
            self._withheld,
            tuple(self._withheld_first),
            self.difference,
        )

    def wanted(self, entry: Line) -> list[int]:
        """Earlier entries that judging this one looks at: `recall` each, and ask again."""
        if self._must is not None or self.difference is not None:
            return []
        if self._asked is None:
            body = entry.event
            if body is None:
                return [by for by in self._erased.get(entry.index, ()) if by not in self._said]
            try:
                self._asked = Submission(committed_event(body, entry.signatures), body, entry.signatures)
            except (LedgerError, orjson.JSONDecodeError) as error:
                self._differs(entry, "unreadable", why=str(error))
                return []
            if self._cites_erased(self._asked.event, entry.index):
                self._asked = None
                return []
        event = self._asked.event
        while self._gone:
            if lacking := [by for by in self._erased[self._gone[-1]] if by not in self._said]:
                return lacking
            gone = self._gone.pop()
            self.history.erase(gone, kept_in((by, self._said.pop(by)) for by in self._erased[gone]))
            if self._cites_erased(event, entry.index):
                self._asked = None
                self.history.forget()
        return [] if self._asked is None else self.history.prepare(event)

    def recall(self, index: int, entry: Line | None) -> None:
        """Entry `index` as it was when `take` had it, or will have it; `wanted` asks for both."""
        body = entry.event if entry is not None else None
        if index >= self.history.size or (self._gone and index in self._erased[self._gone[-1]]):
            self._said[index] = body
        elif body is None and index in self._erased:
            self._gone.append(index)
        else:
            self.history.recall(index, None if body is None else committed_event(body))

    def take(self, entry: Line) -> Difference | None:
        """Judge the next entry again; the difference, if there is one."""
        if self.difference is None:
            if self._must is not None:
                self._take_entailed(entry, *self._must)
            elif self._asked is not None:
                self._take_cause(entry, self._asked)
            else:
                self._pass_by(entry)
        return self.difference

    def finish(self) -> Outcome:
        """The log has ended."""
        if self.difference is None and self._must is not None:
            submission, _, _ = self._must
            self.difference = Difference(
                self.history.size, submission.event.kind, "missing", recomputed=submission.body
            )
        return self.outcome

    # ----------------------------------------------------------------------------------------------

    def _take_cause(self, entry: Line, submission: Submission) -> None:
        event = submission.event
        self._asked = None
        if event.contract != entry.contract:
            self._differs(
                entry, "unreadable", why=f"it is of {event.contract}, and stands in {entry.contract}"
            )
            return
        # What followed from a cause that is not there is taken as it stands.
        if follows_a_cause(event) and not self.history.lost_cause:
            self.history.forget()
            self._differs(entry, "uncalled", event.kind, committed=submission.body)
            return
        duties, at = duties_in(event), self._instant(entry.recorded_at)
        if duties:
            self._course = self.history.take_due(duties, at=at)
        else:
            self._course = self.history.take(submission, at=at)
        first = self._next(entry, event)
        if self.difference is not None:
            return
        self.history.lost_cause = self.history.lost_cause and event.data.nature == "own"
        if first is None or self._unasked(event, entry.index):  # no step of these duties is due
            self._differs(entry, "uncalled", event.kind, committed=submission.body)
        elif duties:
            self._take_entailed(entry, *first)
        else:
            self._judged += self._enter(entry, event, *first[1:])

    def _unasked(self, event: Event, index: int) -> bool:
        """Whether the ledger says that an entry is erased, and no accepted request stands behind it."""
        data = event.data
        if not isinstance(data, ValueErased):
            return False
        erasure = self.history.fact(Erasure, erasure_key(event.contract, data.index))
        return erasure is None or erasure.request != data.request

    def _take_entailed(self, entry: Line, must: Submission, decision: Decision, facts: Facts) -> None:
        kind, body = must.event.kind, entry.event
        if body is not None and body != must.body and _said_by_ledger(body):
            self._differs(entry, "event", kind, committed=body, recomputed=must.body)
            return
        if entry.contract != must.event.contract or (body is not None and body != must.body):
            self._differs(entry, "missing", kind, recomputed=must.body)
            return
        self._entailed += self._enter(entry, must.event, decision, facts)

    def _enter(self, entry: Line, event: Event, decision: Decision, facts: Facts) -> bool:
        """The entry stands, if its decision is the recomputed one. True if both bodies were compared."""
        body = entry.decision
        if body is not None and body != decision.body:
            self._differs(entry, "decision", event.kind, committed=body, recomputed=decision.body)
            return False
        if body is None or entry.event is None:
            self._is_withheld()
        extend_chain(event.contract, facts, leaf=entry.leaf)
        self.history.note(decision.outcome)
        self._must = self._next(entry, event)
        return body is not None

    def _next(self, entry: Line, event: Event) -> tuple[Submission, Decision, Facts] | None:
        """What comes next of the last cause, and None at its end, or at a difference."""
        assert self._course is not None
        try:
            return next(self._course, None)
        except MemoryError:
            raise
        except Exception as error:
            # Then it could not have been committed either: the sequencer refuses what it cannot judge.
            self._differs(entry, "unreadable", event.kind, why=f"{type(error).__name__}: {error}")
            return None

    def _pass_by(self, entry: Line) -> None:
        self._is_withheld()
        kept = kept_in(sorted(self._said.items())) if self._said else None
        self._said.clear()
        outcome = None if entry.decision is None else _at(_json(entry.decision), "outcome")
        known = outcome if outcome in OUTCOMES else None
        self.history.pass_by(entry.contract, leaf=entry.leaf, kept=kept, outcome=known)

    def _cites_erased(self, event: Event, index: int) -> bool:
        """A correction that was judged by the words of an entry that has been erased since.

        It was refused: one that was accepted is erased before what it corrects.
        """
        if not isinstance(event.data, DeclaredInError):
            return False
        erasures = (self.history.erased_by(one.index) for one in event.data.mistakes)
        return any(by is not None and index < by for by in erasures)

    def _is_withheld(self) -> None:
        self._withheld += 1
        if len(self._withheld_first) < SHOWN_MAX:
            self._withheld_first.append(self.history.size)

    def _differs(
        self, entry: Line, what: Any, kind: str | None = None, *, why: str = "", **values: bytes
    ) -> None:
        self.difference = Difference(
            entry.index, kind or _kind_of(entry), what, values.get("committed"),
            values.get("recomputed"), why,
        )  # fmt: skip

    def _instant(self, recorded_at: str) -> datetime:
        """Mostly the one before: a batch is recorded at one instant."""
        if self._at is None or self._at[0] != recorded_at:
            try:
                self._at = recorded_at, parse_timestamp(recorded_at)
            except ValueError:
                raise UnusableInput(f"recorded_at is {recorded_at}, which is no time") from None
        return self._at[1]


def follows_a_cause(event: Event) -> bool:
    """True for what the ledger says because of another entry, and never of its own accord."""
    return event.data.nature == "own" and getattr(event.data, "cause", None) is not None


def duties_in(event: Event) -> tuple[str, ...]:
    """The duties of which the ledger says that the clock has asked; () of any other event."""
    data = event.data
    if data.nature != "own" or follows_a_cause(event):
        return ()
    return tuple(key for name, key in data.reads(event, Facts()) if name == Duty.name)


def _said_by_ledger(body: bytes) -> bool:
    value = _json(body)
    return isinstance(value, dict) and _at(_at(value, "actor"), "party") == LEDGER_PARTY


def _kind_of(entry: Line) -> str:
    kind = _at(_json(entry.event), "kind")
    return kind[:64] if isinstance(kind, str) else "of no known kind"


# --- an export, from first to last ----------------------------------------------------------------


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
                event = _json(line.removesuffix(b"\n").split(b"\t")[2])
                index = _at(_at(event, "data"), "index")
                if _at(event, "kind") == ValueErased.kind_name and type(index) is int:
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
    value = _json(line)
    origin, size = _at(value, "origin"), _at(value, "size")
    if _at(value, "export") != EXPORT or not isinstance(origin, str) or type(size) is not int:
        raise UnusableInput(f"this is not an export of a ledger, of format {EXPORT}")
    return {"origin": origin, "size": size}


# --- two values side by side ----------------------------------------------------------------------


def _places(committed: Any, recomputed: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ, in order, conditions by their name."""
    if isinstance(committed, dict) and isinstance(recomputed, dict):
        for name in dict.fromkeys((*committed, *recomputed)):
            below = f"{where}, {name}" if where else name
            one, other = committed.get(name, ABSENT), recomputed.get(name, ABSENT)
            if name == "conditions" and not where:
                one, other, below = _by_condition(one), _by_condition(other), ""
            yield from _places(one, other, below)
    elif isinstance(committed, list) and isinstance(recomputed, list):
        for number in range(max(len(committed), len(recomputed))):
            one, other = (
                values[number] if number < len(values) else ABSENT for values in (committed, recomputed)
            )
            yield from _places(one, other, f"{where} {number + 1}")
    elif type(committed) is not type(recomputed) or committed != recomputed:
        yield where or "all of it", committed, recomputed


def _by_condition(findings: Any) -> Any:
    """Findings by the name of their condition, as `_places` says it."""
    if not isinstance(findings, list):
        return findings
    named: dict[str, Any] = {}
    for finding in findings:
        id_, uses, policy = (_at(finding, name) for name in ("id", "uses", "policy"))
        name = f"condition {id_}" + (f" ({uses})" if uses != id_ else "") + f" of policy {policy}"
        named[name if name not in named else f"{name} again"] = finding
    return named


def _reasons(decision: Any) -> list[str]:
    """Why the recomputed decision is what it is: its failed conditions in words."""
    failed = [f for f in decision["conditions"] if f["result"] in ("fail", "error")]
    return explain({**decision, "conditions": failed})


def _engines(committed: Any, recomputed: Any) -> Iterator[str]:
    """Of documents whose expressions another version of the CEL library judged."""
    then = _at(committed, "policies")
    for cited, now in zip(then if isinstance(then, list) else (), recomputed["policies"], strict=False):
        if _at(cited, "sha256") == now.get("sha256") and _at(cited, "cel") != now.get("cel"):
            yield (
                f"policy {now['policy']} was judged with CEL {_at(cited, 'cel')}, and is here with "
                f"{now.get('cel')}: replay it where {LIBRARY} is of the version that judged it"
            )


def _json(raw: bytes | None) -> Any:
    try:
        return orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return None if raw is None else raw.decode(errors="replace")


def _at(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _shown(value: Any) -> str:
    return "nothing" if value is ABSENT else _text(orjson.dumps(value))


def _text(raw: bytes | None) -> str:
    text = (raw or b"").decode(errors="replace")
    return text if len(text) <= 200 else f"{text[:200]} ... ({len(text)} characters)"
