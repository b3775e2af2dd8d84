"""A zip of one shape, so that the same files are the same bytes, and every byte is accounted for.

Files are stored, not compressed, in order of name, dated 1980-01-01, with nothing before, between or behind
them (APPNOTE 6.3.10 §4.3). What is read is packed again and compared: a zip that hides a file, names one
twice, overlaps two, or says one thing in its directory and another in front of a file is none of this shape.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from ledger.errors import TooLarge, UnusableInput, VerificationError

BYTES_MAX: Final = 64 << 20
FILES_MAX: Final = 1_000

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_FILE: Final = b"PK\x03\x04"
_VERSION: Final = 10
_MADE_BY: Final = 3 << 8 | _VERSION
"""Unix, so that the mode below is read."""
_DATE: Final = 1 << 5 | 1
"""1980-01-01; the time beside it is 0."""
_MODE: Final = 0o100644 << 16


def is_archive(start: bytes) -> bool:
    """Whether a file that starts so may be one."""
    return start.startswith(_FILE)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Raises TooLarge, where `unpack` would not read it."""
    if len(files) > FILES_MAX:
        raise TooLarge(f"the zip has {len(files):,} files, must have {FILES_MAX:,} at most")
    length = sum(map(len, files.values()))
    if length > BYTES_MAX:
        raise TooLarge(f"the files of the zip are {length:,} bytes, must be {BYTES_MAX:,} at most")
    parts, directory, at = [], [], 0
    for name in sorted(files):
        content, spelled = files[name], name.encode("ascii")
        shape = (_VERSION, 0, 0, 0, _DATE, crc32(content), len(content), len(content), len(spelled), 0)
        local = _LOCAL.pack(_FILE, *shape) + spelled
        parts += [local, content]
        central = _CENTRAL.pack(b"PK\x01\x02", _MADE_BY, *shape, 0, 0, 0, _MODE, at)
        directory.append(central + spelled)
        at += len(local) + len(content)
    index = b"".join(directory)
    end = _END.pack(b"PK\x05\x06", 0, 0, len(files), len(files), len(index), at, 0)
    return b"".join((*parts, index, end))


def unpack(raw: bytes) -> dict[str, bytes]:
    """The files of a zip that `pack` has made.

    Raises UnusableInput, or VerificationError if it is altered.
    """
    if not is_archive(raw):
        raise UnusableInput("this is no zip")
    if len(raw) > 2 * BYTES_MAX:
        raise UnusableInput(f"the zip is {len(raw):,} bytes, must be {2 * BYTES_MAX:,} at most")
    files: dict[str, bytes] = {}
    at = 0
    while raw.startswith(_FILE, at):
        if len(files) == FILES_MAX:
            raise UnusableInput(f"the zip has more than {FILES_MAX:,} files")
        name, content, at = _next(raw, at)
        if name in files:
            raise VerificationError(f"the zip names {name} twice")
        files[name] = content
    try:
        same = pack(files) == raw
    except TooLarge as error:
        raise UnusableInput(str(error)) from None
    if not same:
        raise VerificationError(
            "the zip has bytes that none of its files accounts for, or is not laid out as it was written"
        )
    return files


def _next(raw: bytes, at: int) -> tuple[str, bytes, int]:
    """The file whose header is at a place, and where the one behind it begins."""
    try:
        _, _, _, method, _, _, crc, _, length, spelled, extra = _LOCAL.unpack_from(raw, at)
        begins = at + _LOCAL.size
        name = raw[begins : begins + spelled].decode("ascii")
    except (struct.error, UnicodeDecodeError):
        raise VerificationError("a file of the zip has no name that can be read") from None
    begins += spelled + extra
    content = raw[begins : begins + length]
    if method:
        raise VerificationError(f"{name[:80]!r} is compressed: the zip was packed anew, give it as it came")
    if len(content) != length or crc32(content) != crc:
        raise VerificationError(f"{name[:80]!r} is cut short or altered: its CRC-32 does not fit")
    return name, content, begins + length
