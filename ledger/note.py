"""C2SP signed-note v1.0.0: a text, a blank line, and a line for each signature over the text.

    — <name> base64(key id ‖ signature)

The key id is SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4], and a verifier key is written
`name+hex8(key id)+base64(type ‖ public key)`. We sign and verify type 0x01, Ed25519 over the text.
Signatures of other keys, witnesses' cosignatures of type 0x04 among them, are kept and ignored.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import UnusableInput, VerificationError

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
"""Type of a witness's key (C2SP tlog-cosignature); its signature is not over the text alone."""
SIGNATURES_MAX: Final = 100
"""The spec asks for 16 at least; Go refuses more than 100."""

_KINDS: Final = {ED25519: "Ed25519", COSIGNATURE: "a witness cosignature key"}
_PREFIX: Final = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VERIFIER_KEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


def decode_base64(text: str) -> bytes:
    """Standard, padded base64 (RFC 4648 §4) in its one spelling, or ValueError."""
    try:
        raw = b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError(f"{text[:80]!r} is not standard base64") from None
    # Python drops the unused bits of the last character, and so would read two texts as one.
    if b64encode(raw).decode("ascii") != text:
        raise ValueError(f"{text[:80]!r} is not canonical base64")
    return raw


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """The 4 bytes that a signature line names its key by; no protection against collision."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:4]


def spell_key(name: str, kind: int, public_key: bytes) -> str:
    """A verifier key as it is handed on: `name+hex8(key id)+base64(type ‖ public key)`."""
    encoded = b64encode(bytes([kind]) + public_key).decode("ascii")
    return f"{name}+{key_id(name, kind, public_key).hex()}+{encoded}"


def parse_key(text: str, kind: int) -> tuple[str, bytes]:
    """The name and the 32 bytes of a verifier key of type `kind`; UnusableInput where it is no such key."""
    match = _VERIFIER_KEY.fullmatch(text)
    if match is None:
        raise UnusableInput(f"{text[:200]!r} is no verifier key, must be name+hex8(key id)+base64(key)")
    name, stated, encoded = match.groups()
    try:
        raw = decode_base64(encoded)
    except ValueError as error:
        raise UnusableInput(f"the key of {name!r}: {error}") from None
    if raw[0] != kind:
        named = f" ({_KINDS[raw[0]]})" if raw[0] in _KINDS else ""
        raise UnusableInput(
            f"the key of {name!r} is of type 0x{raw[0]:02x}{named}, must be 0x{kind:02x} ({_KINDS[kind]})"
        )
    if not _is_name(name):
        raise UnusableInput(f"key name is {name[:80]!r}, must be non-empty without space or plus")
    if len(raw) != 33:
        raise UnusableInput(f"an Ed25519 key is 32 bytes, this is {len(raw) - 1}")
    if (right := key_id(name, kind, raw[1:]).hex()) != stated:
        raise UnusableInput(f"key id of {name!r} is {stated}, must be {right} for this key")
    return name, raw[1:]


@dataclass(frozen=True, slots=True)
class Verifier:
    """An Ed25519 key that is known beforehand, with the name it signs under."""

    name: str
    public_key: bytes
    """32 bytes, RFC 8032."""
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise UnusableInput(f"key name is {self.name[:80]!r}, must be non-empty without space or plus")
        if len(self.public_key) != 32:
            raise UnusableInput(f"an Ed25519 key is 32 bytes, this is {len(self.public_key)}")
        object.__setattr__(self, "key_id", key_id(self.name, ED25519, self.public_key))

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The verifier key written `name+hex8+base64`; UnusableInput where it is no such key."""
        return cls(*parse_key(text, ED25519))

    def __str__(self) -> str:
        return spell_key(self.name, ED25519, self.public_key)

    def check(self, text: str, signature: bytes) -> None:
        """Raise VerificationError unless `signature` (64 bytes) is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
        except InvalidSignature:
            raise VerificationError(
                f"the signature by {self.name}+{self.key_id.hex()} does not hold over this text"
            ) from None


class Signer:
    """A private Ed25519 key and the name it signs under."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    @property
    def name(self) -> str:
        return self.verifier.name

    def sign(self, text: str) -> bytes:
        """The 64-byte signature over `text`."""
        return self._key.sign(text.encode())

    def __repr__(self) -> str:
        return f"Signer({self.name}+{self.verifier.key_id.hex()})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Signer is not copied or pickled: it holds a private key")


class Signature(NamedTuple):
    """One signature line, verified or not."""

    name: str
    key_id: bytes
    signature: bytes
    """What follows the key id: for Ed25519 64 bytes."""

    def __str__(self) -> str:
        blob = b64encode(self.key_id + self.signature).decode("ascii")
        return f"{_PREFIX}{self.name} {blob}\n"


def sign(text: str, *signers: Signer) -> str:
    """The note of `text`, which ends in a newline, signed by each signer in turn."""
    _check_text(text)
    assert signers, "a note has a signature"
    lines = [Signature(one.name, one.verifier.key_id, one.sign(text)) for one in signers]
    return text + "\n" + "".join(map(str, lines))


def parse_note(note: str | bytes) -> tuple[str, tuple[Signature, ...]]:
    """The text and all signatures, none of them verified; VerificationError if it is no note.

    The text must not be believed: `open_note` is what checks it.
    """
    try:
        note = note.decode() if isinstance(note, bytes) else note
    except UnicodeDecodeError:
        raise VerificationError("the note is not UTF-8") from None
    # The text may have blank lines; the last one is where it ends.
    text, blank, tail = note.rpartition("\n\n")
    text += "\n"
    if not blank:
        raise VerificationError("a note is text, a blank line and signature lines; this is not")
    _check_text(note)
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise VerificationError(f"the note has {len(lines)} signatures, must have at most {SIGNATURES_MAX}")
    return text, tuple(map(_parse_line, lines))


def open_note(note: str | bytes, verifiers: Iterable[Verifier]) -> tuple[str, tuple[Signature, ...]]:
    """The text of a note that a known key signed, and the signatures of known keys, one for each.

    VerificationError if it is malformed, if no known key signed it, or if any signature in the
    name of a known key does not hold. Signatures of unknown keys are ignored.
    """
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise UnusableInput(f"two keys are named {verifier.name}+{verifier.key_id.hex()}")
    text, signatures = parse_note(note)
    verified: dict[tuple[str, bytes], Signature] = {}
    for signature in signatures:
        key = signature.name, signature.key_id
        if key in known:
            known[key].check(text, signature.signature)
            verified.setdefault(key, signature)
    if not verified:
        names = ", ".join(f"{name}+{identity.hex()}" for name, identity in known) or "none"
        raise VerificationError(f"no known key signed the note; known: {names}")
    return text, tuple(verified.values())


def _parse_line(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_PREFIX).partition(" ")
    if not line.startswith(_PREFIX) or not space or not _is_name(name):
        raise VerificationError(f"signature line is {line[:80]!r}, must be — name base64")
    try:
        blob = decode_base64(encoded)
    except ValueError as error:
        raise VerificationError(f"the signature of {name}: {error}") from None
    if len(blob) < 5:
        raise VerificationError(f"the signature of {name} is empty behind its key id")
    return Signature(name, blob[:4], blob[4:])


def _is_name(name: str) -> bool:
    if not name or "+" in name or not _is_utf8(name):
        return False
    return not any(character.isspace() for character in name)


def _is_utf8(text: str) -> bool:
    """No lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise VerificationError("the text of a note must end in a newline")
    if found := _CONTROL.search(text):
        raise VerificationError(f"the text of a note holds {found[0]!r}, must hold no controls")
    if not _is_utf8(text):
        raise VerificationError("the text of a note holds a lone surrogate, must be Unicode")
