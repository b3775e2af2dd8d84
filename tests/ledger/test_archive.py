"""A zip of one shape: others read it, and no byte of it can be anything else."""

from __future__ import annotations

import io
import struct
import zipfile
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import archive
from ledger.archive import pack, unpack
from ledger.errors import TooLarge, UnusableInput, VerificationError

FILES = {"b.txt": b"second\n", "a/first.json": b"{}", "empty": b""}
NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=8))
def test_what_is_packed_is_unpacked_and_read_by_others(files: dict[str, bytes]) -> None:
    raw = pack(files)
    assert unpack(raw) == files
    with zipfile.ZipFile(io.BytesIO(raw)) as zipped:
        assert zipped.testzip() is None
        assert {name: zipped.read(name) for name in zipped.namelist()} == files


def test_the_bytes_are_fixed() -> None:
    assert pack(FILES) == pack(dict(reversed(FILES.items())))
    local = b"PK\x03\x04\n\0\0\0\0\0\0\0!\0" + struct.pack("<3L2H", crc32(b"{}"), 2, 2, 12, 0)
    assert pack(FILES).startswith(local + b"a/first.json{}PK\x03\x04")


def test_every_flipped_bit_is_found() -> None:
    raw = pack(FILES)
    for at in range(8 * len(raw)):
        altered = bytearray(raw)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises((UnusableInput, VerificationError)):
            unpack(bytes(altered))


def test_a_file_that_is_altered_is_named() -> None:
    with pytest.raises(VerificationError, match=r"'b.txt' is cut short or altered"):
        unpack(pack(FILES).replace(b"second", b"Second"))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_zip_that_is_cut_short_or_goes_on_is_found(cut: int) -> None:
    raw = pack(FILES)
    for altered in (raw[:-cut], raw + bytes(cut), raw[:4] + raw[:cut] + raw[4:]):
        with pytest.raises((UnusableInput, VerificationError)):
            unpack(altered)


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive_:
        for name, content in files:
            archive_.writestr(name, content)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_of_another_shape_is_refused_in_words() -> None:
    with pytest.raises(VerificationError, match="is compressed: the zip was packed anew"):
        unpack(zipped(("a", bytes(10_000_000)), method=zipfile.ZIP_DEFLATED))
    with pytest.raises(VerificationError, match="names a twice"):
        unpack(zipped(("a", b"1"), ("a", b"2")))
    with pytest.raises(VerificationError, match="not laid out as it was written"):
        unpack(zipped(("a", b"1")))
    with pytest.raises(UnusableInput, match="is no zip"):
        unpack(b"{}")


def test_two_files_that_share_their_bytes_are_refused() -> None:
    """The quoted overlap of a zip bomb: one directory, every entry of it over the same content."""
    raw = pack({"a": pack({"b": b"1"})})
    inner = raw.index(b"PK\x03\x04", 4)
    directory = raw.index(b"PK\x01\x02", raw.index(b"PK\x05\x06"))
    entry = bytearray(raw[directory : directory + 47])
    entry[42:46] = struct.pack("<L", inner)
    with pytest.raises(VerificationError):
        unpack(raw[:directory] + entry + raw[directory:])


def test_more_than_the_limits_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    few, large = {str(n): b"" for n in range(4)}, {"a": bytes(201)}
    written = pack(few), pack(large)
    monkeypatch.setattr(archive, "FILES_MAX", 3)
    monkeypatch.setattr(archive, "BYTES_MAX", 200)
    for files, raw, words in zip((few, large), written, ("3 files", "200 at most"), strict=True):
        with pytest.raises(TooLarge):
            pack(files)
        with pytest.raises(UnusableInput, match=words):
            unpack(raw)
