"""What lies beside the log: cosigned checkpoints, timestamps, API keys. No entry says what they must be.

So each is held against whatever else speaks of it. A checkpoint is signed by a key of the log, and its root
is that of the log; a cosignature is a witness's, a timestamp an authority's, where it is told whose word
counts. And none of these rows ever changes, but in ways that are known: what an earlier look saw must be
there still. What was taken away or made up before anybody looked cannot be seen. Pure: rows are handed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson
from cryptography.x509 import Certificate

from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.cosignature import TrustPolicy, cosignatures_in
from ledger.errors import VerificationError
from ledger.findings import Findings
from ledger.note import parse_note
from ledger.succession import Lineage
from ledger.timestamp import check_timestamp, told_time
from ledger.values import format_timestamp

REMEMBERED_MAX: Final = 50_000
"""Rows that one look hands to the next: a timestamp a day for a lifetime, and more keys than parties."""
COSIGNED: Final = "cosigned checkpoint"


@dataclass(frozen=True, slots=True)
class Vouchers:
    """Whose word counts beside the log's own key, as far as a look is told."""

    witnesses: TrustPolicy | None = None
    """None: cosignatures are held against an earlier look alone."""
    roots: Sequence[Certificate] = ()
    """Certificates that timestamps must lead to; none: only what they speak of is checked."""


class Cosigned(NamedTuple):
    """The row of `witnessed`."""

    size: int
    note: str


class Stamped(NamedTuple):
    """A row of `timestamps`."""

    authority: str
    size: int
    note: str
    token: bytes
    stamped_at: datetime

    @property
    def where(self) -> str:
        return where_stamped(self.authority, self.size)


def where_stamped(authority: str, size: int) -> str:
    return f"timestamp of size {size} by {authority[:200]}"


class ApiKey(NamedTuple):
    """A row of `api_keys`: what a key may do is settled when it is made, and it is revoked for good."""

    id: str
    settled: tuple[Any, ...]
    revoked_at: datetime | None

    @property
    def where(self) -> str:
        return f"API key {self.id}"


class Claim(NamedTuple):
    """The log had this root at this size, as a signed checkpoint says."""

    where: str
    size: int
    root: bytes


@dataclass(slots=True)
class Beside:
    """Takes the rows that a look reads; then `seen` is for the next look, and `claims` are to be checked."""

    findings: Findings
    lineage: Lineage
    vouchers: Vouchers
    remembered: Mapping[str, str]
    """`seen` of the last look that found nothing."""
    seen: dict[str, str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    new_keys: list[str] = field(default_factory=list)
    """Ids of API keys that no earlier look saw."""

    def cosigned(self, row: Cosigned | None) -> None:
        """The last checkpoint that enough witnesses have cosigned; it only ever gives way to a larger one."""
        before = self.remembered.get(COSIGNED)
        if row is None:
            if before is not None:
                self.findings.add("cosigned_missing", COSIGNED, must_be_size=before.split()[0])
            return
        mark = f"{row.size} {_digest(row.note)} {row.note.partition(chr(10))[0]}"
        if before is not None and mark != before and not self._follows(mark, before):
            self.findings.add(
                "cosigned_altered", COSIGNED, is_size=row.size, must_be_size=before.split()[0],
                is_=_digest(row.note), must_be=before.split()[1],
            )  # fmt: skip
            return
        try:
            claim = self._claim(COSIGNED, row.note, row.size)
            if self.vouchers.witnesses is not None:
                self._check_cosignatures(row.note, known=mark == before)
        except VerificationError as error:
            self.findings.add("cosigned_altered", COSIGNED, size=row.size, because=str(error)[:500])
            return
        self.claims += claim
        self.seen[COSIGNED] = mark

    def _follows(self, mark: str, before: str) -> bool:
        """Whether a cosigned checkpoint may stand where another one stood."""
        (size, _, origin), (old_size, _, old_origin) = mark.split(" ", 2), before.split(" ", 2)
        if origin != old_origin:
            return origin == self.lineage.present.name
        return int(size) > int(old_size)

    def _check_cosignatures(self, note: str, *, known: bool) -> None:
        assert self.vouchers.witnesses is not None
        found = cosignatures_in(note, self.vouchers.witnesses.witnesses.values())
        # One that was enough when it was kept stays so, whatever is asked for by now.
        if not known and not self.vouchers.witnesses.is_met_by({one.witness for one in found}):
            needed, of = self.vouchers.witnesses.needed()
            raise VerificationError(
                f"{len(found)} cosignatures of known witnesses, must have {needed} of {of}"
            )

    def stamped(self, row: Stamped) -> None:
        """A timestamp: an authority's word on a checkpoint of this log."""
        mark = _digest([row.authority, row.size, row.note, row.token.hex(), format_timestamp(row.stamped_at)])
        if self.remembered.get(row.where, mark) != mark:
            self.findings.add(
                "timestamp_altered", row.where, is_=mark, must_be=self.remembered[row.where]
            )  # fmt: skip
            return
        try:
            claim = self._claim(row.where, row.note, row.size)
            if self.vouchers.roots:
                at = check_timestamp(row.token, row.note, self.vouchers.roots)
            else:
                at = told_time(row.token, row.note)
        except VerificationError as error:
            self.findings.add("timestamp_altered", row.where, because=str(error)[:500])
            return
        if at != row.stamped_at:
            is_, must_be = format_timestamp(row.stamped_at), format_timestamp(at)
            self.findings.add("timestamp_altered", row.where, is_=is_, must_be=must_be)
            return
        self.claims += claim
        self.seen[row.where] = mark

    def stamps_left(self, names: Iterable[str]) -> None:
        """Which timestamps there are: what is not among them and was seen earlier is missing."""
        there = set(names)
        for where, mark in self.remembered.items():
            if where.startswith("timestamp of "):
                if where in there:
                    self.seen.setdefault(where, mark)
                else:
                    self.findings.add("timestamp_missing", where, must_be=mark)

    def api_keys(self, rows: Sequence[ApiKey]) -> None:
        """All API keys."""
        there = {row.where for row in rows}
        for where, mark in self.remembered.items():
            if where.startswith("API key ") and where not in there:
                self.findings.add("key_missing", where, must_be=mark.split()[0])
        for row in rows:
            settled, revoked = _digest(row.settled), _time(row.revoked_at)
            self.seen[row.where] = f"{settled} {revoked}"
            if (before := self.remembered.get(row.where)) is None:
                self.new_keys.append(row.id)
                continue
            must, was_revoked = before.split()
            if settled != must:
                self.findings.add("key_altered", row.where, is_=settled, must_be=must)
            if was_revoked not in ("no", revoked):
                self.findings.add("key_altered", row.where, is_revoked=revoked, must_be_revoked=was_revoked)

    def remember(self) -> dict[str, str]:
        """`seen`, as far as it is worth keeping."""
        return dict(list(self.seen.items())[-REMEMBERED_MAX:])

    def _claim(self, where: str, note: str, size: int) -> list[Claim]:
        """What a signed checkpoint claims of the log. Raises VerificationError unless a key of it signed."""
        told = Checkpoint.parse(parse_note(note)[0])
        if told.origin not in self.lineage.origins:
            raise VerificationError(f"it is of the log {told.origin[:200]}")
        told = open_checkpoint(note, self.lineage.keys_of(told.origin), told.origin)
        if told.size != size:
            raise VerificationError(f"its checkpoint is of {told.size} entries, the row says {size}")
        ended = self.lineage.ended(told.origin)
        if ended is None or told.size <= ended.index:
            return [Claim(where, told.size, told.root)]
        if not owned_up(told, ended.lost):
            raise VerificationError(
                f"the log was recovered at entry {ended.index} from less than these {told.size} entries"
            )
        return []  # of an end that is lost, as the log itself says: nobody can tell its root any more


def owned_up(told: Checkpoint, lost: Checkpoint | None) -> bool:
    """Whether a recovery says that at least as much is lost as a checkpoint had promised."""
    if lost is None:
        return False
    return told.size < lost.size or (told.size, told.root) == (lost.size, lost.root)


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value)).hexdigest()


def _time(at: datetime | None) -> str:
    return "no" if at is None else format_timestamp(at)
