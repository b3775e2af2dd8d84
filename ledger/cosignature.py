"""C2SP tlog-cosignature v1.0.1 (Ed25519), and C2SP tlog-policy: whose cosignatures are enough.

A witness cosigns a checkpoint that continues every one it cosigned before, so two people who each hold a
checkpoint with enough cosignatures were shown one log. What it signs, and the line it leaves in the note:

    cosignature/v1\\ntime <unix seconds>\\n<text of the checkpoint>
    — <name> base64(key id ‖ time, 8 bytes big-endian ‖ Ed25519 signature)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import UnusableInput, VerificationError
from ledger.note import COSIGNATURE, ED25519, Signature, key_id, parse_key, parse_note, spell_key

TIME_MAX: Final = 2**63 - 1
POLICY_BYTES_MAX: Final = 256 << 10
WITNESSES_MAX: Final = 64
"""And as many groups and logs; tlog-policy asks for 32 of each at least."""

_TIMESTAMPED: Final = 8 + 64


@dataclass(frozen=True, slots=True)
class Witness:
    """A key that cosigns, with the name it does so under."""

    name: str
    public_key: bytes
    """32 bytes, RFC 8032."""

    @classmethod
    def parse(cls, text: str) -> Witness:
        """The key written `name+hex8+base64`, of type 0x04. Raises UnusableInput for any other."""
        return cls(*parse_key(text, COSIGNATURE))

    def __str__(self) -> str:
        return spell_key(self.name, COSIGNATURE, self.public_key)

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, COSIGNATURE, self.public_key)

    def check(self, text: str, signature: Signature) -> Cosignature:
        """Raise VerificationError unless the line is this witness's, over a checkpoint's text."""
        blob = signature.signature
        if len(blob) != _TIMESTAMPED:
            raise VerificationError(
                f"the cosignature of {self.name} is {len(blob)} bytes, must be {_TIMESTAMPED}"
            )
        time = int.from_bytes(blob[:8], "big")
        if time > TIME_MAX:
            raise VerificationError(f"the cosignature of {self.name} has time {time}, must be below 2^63")
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(blob[8:], message(text, time))
        except InvalidSignature:
            raise VerificationError(
                f"the cosignature of {self.name} does not hold over this checkpoint"
            ) from None
        return Cosignature(self, time, str(signature))


class Cosignature(NamedTuple):
    """One that holds."""

    witness: Witness
    time: int
    """When the witness says that it saw the checkpoint, in seconds since 1970."""
    line: str
    """As it stands in the note, with its newline."""


def message(text: str, time: int) -> bytes:
    """What a witness signs over the text of a checkpoint."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosign(text: str, name: str, key: Ed25519PrivateKey, *, time: int) -> str:
    """The signature line of a witness."""
    identity = key_id(name, COSIGNATURE, key.public_key().public_bytes_raw())
    return str(Signature(name, identity, time.to_bytes(8, "big") + key.sign(message(text, time))))


def cosignatures_in(note: str, witnesses: Iterable[Witness]) -> tuple[Cosignature, ...]:
    """What known witnesses have signed of a note, one for each; those of others are ignored.

    Raises VerificationError if it is no note, or a line in the name of a known key does not hold.
    """
    known = {(witness.name, witness.key_id): witness for witness in witnesses}
    text, signatures = parse_note(note)
    found: dict[Witness, Cosignature] = {}
    for signature in signatures:
        witness = known.get((signature.name, signature.key_id))
        if witness is not None:
            cosignature = witness.check(text, signature)
            found.setdefault(witness, cosignature)
    return tuple(found.values())


# --- whose are enough -----------------------------------------------------------------------------


class Group(NamedTuple):
    """So many of these members, each a witness or another group."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Known logs and witnesses, and which of these must have cosigned (C2SP tlog-policy).

    `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, `group <name> all|any|<k> <name>...`,
    `quorum <name>|none`; one to a line, `#` for comments.
    """

    logs: tuple[str, ...]
    """Verifier keys."""
    witnesses: Mapping[str, Witness]
    """By the name within the policy."""
    urls: Mapping[str, str]
    """Submission prefixes, of the witnesses that have one."""
    groups: Mapping[str, Group]
    quorum: str | None
    """A witness or a group; None: no cosignature is needed."""

    @classmethod
    def parse(cls, text: str) -> TrustPolicy:
        """Raises UnusableInput, naming the line."""
        if len(text) > POLICY_BYTES_MAX:
            raise UnusableInput(f"the witness policy has {len(text)} characters, must have fewer")
        reading = _Reading()
        for number, line in enumerate(text.split("\n"), 1):
            words = re.split(r"[ \t]+", line.strip(" \t"))
            if words == [""] or words[0].startswith("#"):
                continue
            try:
                reading.take(*words)
            except UnusableInput as error:
                raise UnusableInput(f"witness policy, line {number}: {error}") from None
        if not reading.decided:
            raise UnusableInput("the witness policy has no quorum line; `quorum none` asks for no witness")
        return cls(tuple(reading.logs), reading.witnesses, reading.urls, reading.groups, reading.quorum)

    def is_met_by(self, cosigned: Collection[Witness]) -> bool:
        """Whether these witnesses are enough."""
        return self.quorum is None or self._counts(self.quorum, cosigned)

    def needed(self) -> tuple[int, int]:
        """How many members the quorum asks for, and of how many: k of n, as far as one line can say it."""
        if self.quorum is None:
            return 0, len(self.witnesses)
        group = self.groups.get(self.quorum)
        return (1, 1) if group is None else (group.threshold, len(group.members))

    def _counts(self, name: str, cosigned: Collection[Witness]) -> bool:
        if (witness := self.witnesses.get(name)) is not None:
            return witness in cosigned
        group = self.groups[name]
        return sum(self._counts(member, cosigned) for member in group.members) >= group.threshold


class _Reading:
    """A policy as far as it has been read."""

    def __init__(self) -> None:
        self.logs: list[str] = []
        self.witnesses: dict[str, Witness] = {}
        self.urls: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self.decided = False
        self._grouped: set[str] = set()

    def take(self, what: str, *words: str) -> None:
        steps: dict[str, Callable[..., None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }
        if what not in steps:
            raise UnusableInput(f"{what[:40]!r} is not known, must be log, witness, group or quorum")
        if max(len(self.logs), len(self.witnesses), len(self.groups)) >= WITNESSES_MAX:
            raise UnusableInput(f"more than {WITNESSES_MAX} logs, witnesses or groups")
        try:
            steps[what](*words)
        except TypeError:
            raise UnusableInput(f"{len(words)} words after {what}") from None

    def _log(self, key: str, url: str = "") -> None:
        parse_key(key, ED25519)
        if key in self.logs:
            raise UnusableInput("this log stands there already")
        self.logs.append(key)

    def _witness(self, name: str, key: str, url: str = "") -> None:
        witness = Witness.parse(key)
        if any(witness.public_key == other.public_key for other in self.witnesses.values()):
            raise UnusableInput("another witness has this key already")
        self._name(name)
        self.witnesses[name] = witness
        if url:
            self.urls[name] = url

    def _group(self, name: str, threshold: str, *members: str) -> None:
        if not members:
            raise UnusableInput(f"group {name} has no members")
        for member in members:
            self._known(member)
            if member in self._grouped:
                raise UnusableInput(f"{member} is a member already; it may count once")
            self._grouped.add(member)
        self._name(name)
        spelled = {"all": len(members), "any": 1}
        needed = spelled.get(threshold) or (int(threshold) if re.fullmatch(r"[1-9]\d{0,3}", threshold) else 0)
        if not 1 <= needed <= len(members):
            raise UnusableInput(
                f"{threshold[:40]!r} of {len(members)}: must be all, any, or a number of them"
            )
        self.groups[name] = Group(needed, members)

    def _quorum(self, name: str) -> None:
        if self.decided:
            raise UnusableInput("a second quorum line")
        if name != "none":
            self._known(name)
            self.quorum = name
        self.decided = True

    def _name(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise UnusableInput(f"the name {name[:80]} is taken")

    def _known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise UnusableInput(f"{name[:80]} is no witness or group of a line before")


def with_cosignatures(note: str, cosignatures: Iterable[Cosignature]) -> str:
    """A checkpoint with the lines of witnesses behind those it has."""
    return note + "".join(_lines(note, cosignatures))


def _lines(note: str, cosignatures: Iterable[Cosignature]) -> Iterator[str]:
    return (one.line for one in cosignatures if f"\n{one.line}" not in note)
