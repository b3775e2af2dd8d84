"""ledger.verify: every damage of an export is found, and said to be where it is."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger import export_file, note, verify
from ledger.canonical import canonical
from ledger.checkpoint import Checkpoint, sign
from ledger.entry import Body, Entry, line_of
from ledger.errors import UnusableInput
from ledger.merkle import root
from ledger.note import Signer, Verifier
from ledger.receipt import Receipt, TlogProof
from ledger.values import format_timestamp
from ledger.verified import Remark, Report, Tampered
from ledger.verify import verify_export
from tests.ledger.sample_log import (
    CONTRACTS,
    ORIGIN,
    SIGNER,
    START,
    SampleLog,
    export_of,
    opening,
    salt_of,
    signer_of,
)

SIZE = 12
SIGNED, WITHHELD = 7, 8
LAST = SIZE - 1
OTHER = signer_of(2)
"""Another key of the same name: what somebody who rewrites a log can make."""
UNKNOWN = "00000000-0000-4000-8000-000000000000"
GOLDEN = Path(__file__).parents[1] / "vectors" / "export-format-1.txt"


def sample() -> SampleLog:
    log = SampleLog.of(SIZE, signed={SIGNED})
    log.withhold(WITHHELD, "event")
    return log


LOG = sample()
EXPORT = LOG.export()
LINES = EXPORT.removesuffix(b"\n").split(b"\n")
Lines = list[bytes]


def check(
    export: bytes, *receipts: Receipt | TlogProof, verifier: Verifier | None = SIGNER.verifier, **given: Any
) -> Report:
    return verify_export(io.BytesIO(export), verifier=verifier, receipts=receipts, **given)


def refusal(
    export: bytes, *receipts: Receipt | TlogProof, verifier: Verifier | None = SIGNER.verifier
) -> Tampered:
    with pytest.raises(Tampered) as caught:
        check(export, *receipts, verifier=verifier)
    return caught.value


def joined(lines: Lines) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@pytest.fixture(params=["compared", "taken apart"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick comparison may only ever save time."""
    if request.param == "taken apart":
        monkeypatch.setattr(verify._Walk, "_is_next", lambda walk, line: False)


both_ways = pytest.mark.usefixtures("_both_ways")


# --- what holds -----------------------------------------------------------------------------------


@both_ways
def test_a_sound_export_holds() -> None:
    report = check(EXPORT, *(LOG.receipt(index) for index in range(SIZE)))
    assert report == Report(
        origin=ORIGIN,
        size=SIZE,
        root=root(LOG.leaves),
        key=SIGNER.verifier,
        rotations=0,
        key_given=True,
        contracts=len(CONTRACTS),
        withheld=1,
        withheld_first=(8,),
        erased=0,
        receipts=SIZE,
        kept=0,
        signatures=1,
        signing_keys=1,
        signatures_unchecked=0,
        recorded_until=LOG.entries[-1].header.recorded_at,
        warnings=(),
    )


@pytest.mark.parametrize("size", range(1, 40))
def test_logs_of_every_small_size_hold(size: int) -> None:
    assert check(SampleLog.of(size).export()).size == size


@pytest.mark.parametrize("size", [1, 2, 3, SIZE])
def test_receipts_of_every_size_are_honoured(size: int) -> None:
    for index in range(size):
        assert check(EXPORT, LOG.receipt(index, size), LOG.receipt(0)).receipts == 2


def test_without_a_key_the_report_says_whose_word_it_is() -> None:
    report = check(EXPORT, verifier=None)
    assert (report.key, report.key_given) == (SIGNER.verifier, False)


@both_ways
def test_withheld_bodies_hold_and_are_counted() -> None:
    log = SampleLog.of(9, signed={3})
    for index in range(1, 9):
        log.withhold(index, "event")
    log.withhold(3, "event", "decision", "signatures")
    log.withhold(5, "event", "decision")
    assert check(log.export()).withheld == 8 + 2 + 1


@both_ways
@pytest.mark.parametrize(
    ("party", "data", "erased"),
    [
        ("_ledger", {"index": 3}, 2),
        ("acme", {"index": 3}, 0),
        ("_ledger", {"index": 2}, 0),
        ("_ledger", {"index": 9}, 0),
        ("_ledger", {"index": 10**12}, 0),
        ("_ledger", {"index": "3"}, 0),
        ("acme", {"index": 1, "note": {"kind": "value.erased"}}, 0),
    ],
)
def test_what_the_ledger_says_is_erased_is_not_withheld(
    party: str, data: dict[str, Any], erased: int
) -> None:
    log = SampleLog.of(9)
    log.withhold(3, "event", "decision")
    log.withhold(4, "event")
    event = {"actor": {"party": party}, "data": data, "kind": "value.erased"}
    log.append(CONTRACTS[1], canonical(event))
    report = check(log.export())
    assert (report.erased, report.withheld) == (erased, 3 - erased)
    assert report.withheld_first == ((4,) if erased else (3, 4))


def test_a_withheld_opening_and_a_simulated_clock_are_remarked() -> None:
    log = SampleLog.of(3)
    log.withhold(0, "event")
    (remark,) = check(log.export()).warnings
    assert remark == Remark(0, "the event is withheld: origin, key and clock of the opening are unknown")
    simulated = SampleLog.of(3, genesis=opening(clock="simulated"))
    (remark,) = check(simulated.export()).warnings
    assert remark.index == 0
    assert "a simulation" in remark.what


def test_progress_grows_to_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_file, "CHUNK_BYTES", 2_000)
    seen: list[tuple[int, int]] = []
    check(EXPORT, progress=lambda done, size: seen.append((done, size)))
    assert seen == sorted(seen)
    assert seen[-1] == (SIZE, SIZE)
    assert len(seen) > 3


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 777, 5_000])
def test_where_a_read_ends_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = check(EXPORT, LOG.receipt(4, 6))
    damaged = EXPORT.replace(b'"outcome":"accepted"', b'"outcome":"denied!!"')
    monkeypatch.setattr(export_file, "CHUNK_BYTES", chunk)
    assert check(EXPORT, LOG.receipt(4, 6)) == whole
    assert refusal(damaged).index == 0
    for index in (0, 5, LAST - 1, LAST):
        lines = [*LINES]
        lines[index + 1] = lines[index + 1].replace(b".000000Z", b".000001Z", 1)
        assert refusal(joined(lines)).index == index


def test_entries_in_full_view_are_compared_and_not_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the verifier is right and slow, and no other test would tell."""
    apart: list[int] = []
    examine = verify._Walk._examine

    def counted(walk: verify._Walk, line: bytes) -> None:
        apart.append(walk.index)
        examine(walk, line)

    monkeypatch.setattr(verify._Walk, "_examine", counted)
    check(SampleLog.of(200).export())
    assert len(apart) == 1 + len(CONTRACTS)  # the first entry of each chain, and no other


def test_memory_does_not_grow_with_the_log() -> None:
    peaks = []
    for size in (1_500, 6_000):
        file = io.BytesIO(SampleLog.of(size).export())
        tracemalloc.start()
        verify_export(file, verifier=SIGNER.verifier)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 200_000


def test_the_verifier_loads_no_model_and_no_database() -> None:
    program = (
        "import sys, ledger.verify\n"
        "print([name for name in ('pydantic', 'psycopg', 'sqlalchemy', 'fastapi', 'rich')"
        " if name in sys.modules])"
    )
    repository = Path(verify.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# --- every flipped bit ----------------------------------------------------------------------------


def flips(export: bytes, bits: Callable[[int], Iterator[int]]) -> Iterator[tuple[bytes, int | None]]:
    """The export with one bit flipped, and the index of the entry in whose line it is."""
    index: int | None = None
    for at, byte in enumerate(export):
        for bit in bits(at):
            yield export[:at] + bytes([byte ^ 1 << bit]) + export[at + 1 :], index
        if byte == ord("\n"):  # the newline still belongs to its line
            index = 0 if index is None else index + 1


def find_every_flip(export: bytes, bits: Callable[[int], Iterator[int]]) -> int:
    count = 0
    for mutated, index in flips(export, bits):
        error = refusal(mutated)
        where = next(at for at, byte in enumerate(export) if byte != mutated[at])
        assert error.index == index, f"byte {where} of {export[where - 9 : where + 9]!r}: {error}"
        assert error.what
        assert index is not None or "header line" in error.what
        count += 1
    return count


def test_every_bit_of_the_golden_export_is_found_and_located() -> None:
    golden = GOLDEN.read_bytes()
    assert find_every_flip(golden, lambda at: iter(range(8))) == 8 * len(golden)


def some(seed: int, of: int) -> Callable[[int], Iterator[int]]:
    """One bit, in one byte of `of`."""
    chance = random.Random(seed)
    return lambda at: iter([chance.randrange(8)] if chance.randrange(of) == 0 else [])


@both_ways
def test_a_bit_of_every_byte_is_found_and_located() -> None:
    find_every_flip(EXPORT, some(1, of=1))


@both_ways
def test_a_flipped_bit_is_located_wherever_reads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_file, "CHUNK_BYTES", 300)
    find_every_flip(EXPORT, some(2, of=4))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_bit_of_every_byte_of_the_smallest_logs_is_found(size: int) -> None:
    find_every_flip(SampleLog.of(size).export(), some(3, of=1))


def test_a_flipped_bit_is_found_without_a_key_too() -> None:
    for mutated, index in flips(EXPORT, some(4, of=4)):
        assert refusal(mutated, verifier=None).index == index


# --- named mutations of the lines of entries ------------------------------------------------------

Mutation = Callable[[Lines], Lines]
"""Of the entries' lines; line 1 stays."""


def fields_of(line: bytes) -> list[bytes]:
    return line.split(b"\t")


def at_field(index: int, field: int, change: Callable[[bytes], bytes]) -> Mutation:
    def mutate(lines: Lines) -> Lines:
        fields = fields_of(lines[index])
        fields[field] = change(fields[field])
        return [*lines[:index], b"\t".join(fields), *lines[index + 1 :]]

    return mutate


def at_line(index: int, change: Callable[[bytes], bytes]) -> Mutation:
    return lambda lines: [*lines[:index], change(lines[index]), *lines[index + 1 :]]


def reorder(*order: int) -> Mutation:
    """The lines in this order; the rest as they were."""
    return lambda lines: [lines[order[at] if at < len(order) else at] for at in range(len(lines))]


def swap(one: int, other: int) -> Mutation:
    order = list(range(SIZE))
    order[one], order[other] = other, one
    return reorder(*order)


def swap_bodies(one: int, other: int) -> Mutation:
    def mutate(lines: Lines) -> Lines:
        lines = list(lines)
        a, b = fields_of(lines[one]), fields_of(lines[other])
        lines[one], lines[other] = b"\t".join([a[0], *b[1:]]), b"\t".join([b[0], *a[1:]])
        return lines

    return mutate


def rebuilt(index: int, *, event: bytes | None = None, hide: bool = False, **changes: Any) -> Mutation:
    """One entry forged with care: its header is right for its bodies, but others were chained to
    the true one. `hide`: and its event is withheld."""
    entry = LOG.entries[index]
    header, bodies = entry.header._replace(**changes), dict(entry.bodies)
    if event is not None:
        forged = Body(salt_of(index, "forged"), event)
        header = header._replace(event=forged.commitment)
        bodies["event"] = None if hide else forged
    return at_line(index, lambda line: text_of(Entry.build(header, bodies)))


def text_of(entry: Entry) -> bytes:
    return line_of(entry).removesuffix(b"\n")


def forged_after(index: int) -> bytes:
    """A line that may stand at `index`, chained to the entry before."""
    log = SampleLog.of(index, signed={SIGNED})
    return text_of(log.append(CONTRACTS[0], b'{"kind":"order.forged"}'))


def without_pair(line: bytes, pair: int) -> bytes:
    fields = fields_of(line)
    fields[1 + 2 * pair] = fields[2 + 2 * pair] = b""
    return b"\t".join(fields)


MUTATIONS: dict[str, tuple[Mutation, int | None, str]] = {
    "event edited": (at_field(4, 2, lambda event: event.replace(b":4,", b":5,")), 4, "the event is"),
    "decision edited": (at_field(4, 4, lambda it: it.replace(b"acc", b"den")), 4, "the decision is"),
    "signatures edited": (at_field(SIGNED, 6, lambda it: it + b" "), SIGNED, "the signatures is"),
    "last event edited": (at_field(LAST, 2, lambda it: it + b" "), LAST, "the event is"),
    "salt edited": (at_field(4, 1, lambda salt: salt[::-1]), 4, "the event is not the one"),
    "salt in capitals": (at_field(4, 1, bytes.upper), 4, "not 64 digits of lower-case hex"),
    "salt cut": (at_field(4, 3, lambda salt: salt[:-2]), 4, "not 64 digits of lower-case hex"),
    "salt of an odd length": (at_field(4, 3, lambda salt: salt[:-1]), 4, "not 64 digits"),
    "salt not hex": (at_field(4, 3, lambda salt: b"g" + salt[1:]), 4, "not 64 digits"),
    "a byte moved from body to salt": (
        lambda lines: at_field(4, 1, lambda salt: salt + b"7b")(at_field(4, 2, lambda it: it[1:])(lines)),
        4, "the salt of the event is not 64 digits",
    ),
    "all of a body moved to the salt": (
        lambda lines: at_field(4, 3, lambda it: it + fields_of(lines[4])[4].hex().encode())(
            at_field(4, 4, lambda it: b"")(lines)
        ),
        4, "the decision has no body",
    ),
    "a salt without its body": (at_field(4, 2, lambda it: b""), 4, "the event has no body"),
    "a body without its salt": (at_field(4, 1, lambda it: b""), 4, "the event has no salt"),
    "bodies of an entry swapped": (
        at_line(4, lambda it: b"\t".join([fields_of(it)[n] for n in (0, 3, 4, 1, 2)])), 4, "the event is",
    ),
    "bodies of two entries swapped": (swap_bodies(3, 5), 3, "the event is not the one"),
    "two entries swapped": (swap(3, 6), 3, "index is 6, must be 3"),
    "two neighbours swapped": (swap(4, 5), 4, "index is 5, must be 4"),
    "the first two swapped": (swap(0, 1), 0, "index is 1, must be 0"),
    "deleted in the middle": (lambda lines: lines[:4] + lines[5:], 4, "entries are missing here"),
    "three deleted": (lambda lines: lines[:4] + lines[7:], 4, "index is 7, must be 4"),
    "first deleted": (lambda lines: lines[1:], 0, "index is 1, must be 0"),
    "repeated": (lambda lines: lines[:5] + lines[4:], 5, "entry 4 is repeated here"),
    "repeated later": (lambda lines: [*lines[:9], lines[4], *lines[9:]], 9, "an entry too many"),
    "last repeated": (lambda lines: [*lines, lines[-1]], None, "goes on after entry 11"),
    "inserted": (
        lambda lines: [*lines[:4], forged_after(4), *lines[4:]], 4, "another line says that it is this entry",
    ),
    "replaced by a forgery": (lambda lines: [*lines[:4], forged_after(4), *lines[5:]], 4, "is altered"),
    "tail of one cut": (lambda lines: lines[:-1], None, "the last 1 of 12 entries are missing"),
    "tail of five cut": (lambda lines: lines[:-5], None, "the last 5 of 12 entries are missing"),
    "all entries cut": (lambda lines: [], None, "the last 12 of 12 entries are missing"),
    "a blank line in the middle": (lambda lines: [*lines[:4], b"", *lines[4:]], 4, "1 tab-separated fields"),
    "a blank line at the end": (lambda lines: [*lines, b""], None, "the file goes on after entry 11"),
    "lines ended by CR LF": (lambda lines: [line + b"\r" for line in lines], 0, "the decision is not"),
    "a field too many": (at_line(4, lambda it: it + b"\t"), 4, "6 tab-separated fields"),
    "a field too few": (at_line(4, lambda it: it.rpartition(b"\t")[0]), 4, "4 tab-separated fields"),
    "two fields too many": (at_line(4, lambda it: it + b"\t\t"), 4, "commits to two bodies"),
    "signatures cut off": (
        at_line(SIGNED, lambda it: b"\t".join(fields_of(it)[:5])), SIGNED, "commits to three",
    ),
    "header with a space": (at_field(4, 0, lambda it: it.replace(b",", b", ", 1)), 4, "not canonical"),
    "header of format 2": (
        at_field(4, 0, lambda it: it.replace(b'"format":1', b'"format":2')), 4, "not of format 1",
    ),
    "header with a further key": (
        at_field(4, 0, lambda it: it.replace(b',"format"', b',"extra":1,"format"')), 4, "not canonical",
    ),
    "commitment of a withheld body changed": (
        rebuilt(WITHHELD, event=b"{}", hide=True), WITHHELD, "this header is altered",
    ),
    "edited and committed to": (rebuilt(4, event=b'{"kind":"order.forged"}'), 4, "this header is altered"),
    "last edited and committed to": (
        rebuilt(LAST, event=b'{"kind":"order.forged"}'), LAST, "this last entry is altered",
    ),
    "last but one edited and committed to": (
        rebuilt(LAST - 1, event=b'{"kind":"order.forged"}'), LAST - 1, "this header is altered",
    ),
    "moved to another contract": (rebuilt(4, contract=CONTRACTS[2]), 4, "contract_"),
    "moved to another contract, as its first": (
        rebuilt(4, contract=UNKNOWN, contract_index=0, contract_previous=bytes(32)),
        4, "this header is altered",
    ),
    "moved to the ledger's own contract": (rebuilt(5, contract="_ledger"), 5, "contract_previous is"),
    "first in its contract once more": (
        rebuilt(6, contract_index=0, contract_previous=bytes(32)), 6, "contract_index is 0, must be",
    ),
    "chained to another entry": (rebuilt(5, previous=LOG.leaves[2]), 5, "previous is"),
    "last chained to another entry": (rebuilt(LAST, previous=LOG.leaves[2]), LAST, "previous is"),
    "contract chained to another entry": (
        rebuilt(6, contract_previous=LOG.leaves[0]), 6, "contract_previous is",
    ),
    "recorded later": (
        rebuilt(4, recorded_at=LOG.entries[9].header.recorded_at), 4, "this header is altered",
    ),
    "recorded earlier": (
        rebuilt(4, recorded_at=LOG.entries[1].header.recorded_at), 4, "must not be before 2027",
    ),
    "recorded on a day that is none": (
        rebuilt(4, recorded_at="2028-02-30T00:00:00.000000Z"), 4, "which is no time",
    ),
}  # fmt: skip


@both_ways
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_found_located_and_named(name: str) -> None:
    mutate, index, words = MUTATIONS[name]
    mutated = joined([LINES[0], *mutate(LINES[1:])])
    assert mutated != EXPORT
    error = refusal(mutated)
    assert error.index == index, error
    assert words in error.what
    assert str(error).startswith("entry" if index is not None else "the file")


@pytest.mark.parametrize("cut", [1, 2, 100, 600])
def test_a_file_that_ends_within_a_line_says_what_is_missing(cut: int) -> None:
    error = refusal(EXPORT[:-cut])
    assert error.index == LAST
    assert "0 of 12 entries are missing after it" in error.what
    error = refusal(joined(LINES[:4])[:-cut])
    assert error.index == 2
    assert "9 of 12 entries are missing after it" in error.what


def test_bytes_after_the_last_line_are_found() -> None:
    for extra in (b"\n", b"\n\n", b" ", b"\0", LINES[-1], LINES[-1] + b"\n", EXPORT):
        error = refusal(EXPORT + extra)
        assert error.index is None
        assert error.what == "the file goes on after entry 11, the last one of its checkpoint"


@pytest.mark.parametrize("length", [1_500, 100_000])
def test_a_line_without_end_is_not_read_to_its_end(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (export_file, verify):
        monkeypatch.setattr(module, "LINE_BYTES_MAX", length)
    monkeypatch.setattr(export_file, "CHUNK_BYTES", 1_000)

    class Endless(io.BytesIO):
        given = 0

        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            self.given += size
            return super().read(size) or b"x" * size

    file = Endless(joined(LINES[:4]))
    with pytest.raises(Tampered, match=f"its line is longer than {length} bytes") as caught:
        verify_export(file, verifier=SIGNER.verifier)
    assert caught.value.index == 3
    assert file.given < 20_000 + length


@both_ways
def test_a_line_that_is_too_long_is_refused_wherever_reads_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = SampleLog.of(5)
    log.append(CONTRACTS[0], canonical({"note": "." * 5_000}))
    export = log.export()
    assert check(export).size == 6
    for length in (5_000, max(map(len, export.split(b"\n"))) - 1):
        for module in (export_file, verify):
            monkeypatch.setattr(module, "LINE_BYTES_MAX", length)
        for chunk in (1_000, 1 << 20):
            monkeypatch.setattr(export_file, "CHUNK_BYTES", chunk)
            assert refusal(export).index == 5
    for module in (export_file, verify):
        monkeypatch.setattr(module, "LINE_BYTES_MAX", length + 1)
    assert check(export).size == 6


# --- line 1 ---------------------------------------------------------------------------------------


def with_title(**changes: Any) -> bytes:
    return joined([canonical(json.loads(LINES[0]) | changes), *LINES[1:]])


TITLE = json.loads(LINES[0])
TITLES: dict[str, bytes] = {
    "size lowered": with_title(size=SIZE - 1),
    "size a string": with_title(size=str(SIZE)),
    "size true": with_title(size=True),
    "origin changed": with_title(origin="ledger.example/h100"),
    "origin null": with_title(origin=None),
    "export 2": with_title(export=2),
    "export true": with_title(export=True),
    "key of another": with_title(key=str(OTHER.verifier)),
    "key spoiled": with_title(key=TITLE["key"][:-1]),
    "key of a witness": with_title(key="a+00000000+BAAA"),
    "checkpoint unsigned": with_title(checkpoint=TITLE["checkpoint"].partition("\n\n")[0]),
    "checkpoint of fewer": with_title(checkpoint=LOG.checkpoint(5)),
    "checkpoint by another key": with_title(checkpoint=LOG.checkpoint(signer=OTHER)),
    "checkpoint of another origin": with_title(checkpoint=LOG.checkpoint(signer=signer_of(1, "b"))),
    "checkpoint of another origin, by the log's key": with_title(
        origin="b", checkpoint=note.sign(Checkpoint("b", SIZE, root(LOG.leaves)).text(), SIGNER)
    ),
    "checkpoint with a signature nobody can check": with_title(
        checkpoint=note.sign(note.parse_note(TITLE["checkpoint"])[0], SIGNER, signer_of(3, "witness"))
    ),
    "checkpoint signed twice": with_title(
        checkpoint=note.sign(note.parse_note(TITLE["checkpoint"])[0], SIGNER, SIGNER)
    ),
    "a key more": with_title(comment=""),
    "a key fewer": joined([canonical({k: v for k, v in TITLE.items() if k != "origin"}), *LINES[1:]]),
    "spaces": joined([json.dumps(TITLE, ensure_ascii=False).encode(), *LINES[1:]]),
    "escapes": joined([LINES[0].replace("—".encode(), b"\\u2014"), *LINES[1:]]),
    "a byte order mark": b"\xef\xbb\xbf" + EXPORT,
    "a blank line before": b"\n" + EXPORT,
    "a line before": b"Dear auditor\n" + EXPORT,
    "not JSON": joined([b"{", *LINES[1:]]),
    "a list": joined([b"[]", *LINES[1:]]),
    "twice": joined([LINES[0], *LINES]),
    "gone": joined(LINES[1:]),
    "joined to the first entry": EXPORT.replace(b"\n", b" ", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", TITLES)
def test_a_changed_line_1_is_tampering(name: str) -> None:
    error = refusal(TITLES[name])
    if name == "twice":  # then the first of them is as it was
        assert error.index == 0
    else:
        assert error.index is None
        assert error.what.startswith("header line: ")


def test_the_origin_is_the_name_of_the_key() -> None:
    error = refusal(TITLES["checkpoint of another origin, by the log's key"])
    assert error.what == f"header line: origin is 'b', must be {ORIGIN!r} as in the key"


def test_size_0_is_no_log() -> None:
    empty = Checkpoint(ORIGIN, 0, sha256(b"").digest())
    title = TITLE | {"size": 0, "checkpoint": sign(empty, SIGNER)}
    assert "a log begins with ledger.opened" in refusal(canonical(title) + b"\n").what


def test_the_key_that_is_given_wins_over_the_key_in_the_file() -> None:
    error = refusal(EXPORT, verifier=OTHER.verifier)
    assert error.index is None
    assert error.what == (
        f"header line: key is {SIGNER.verifier}, must be the given {OTHER.verifier}, or its successor"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "is not an export"),
        (b"\n", "is not an export"),
        (b"\n\n\n", "is not an export"),
        (b"Dear auditor,\nenclosed please find", "is not an export"),
        (b"\x7fELF" + bytes(range(256)) * 100, "is not an export"),
        (b"{}\n", "is not an export"),
        (b"[1]\n", "is not an export"),
        (b'{"size":1}\n', "is not an export"),
        (EXPORT[:200], "is not an export"),
        (LOG.receipt(3).encode() + b"\n", "is not an export"),
        (LOG.checkpoint().encode(), "is not an export"),
        (b'{"export":2,"origin":"a"}\nwhatever\n', "the export is of format 2, must be 1"),
    ],
)
def test_what_is_no_export_is_unusable(given: bytes, words: str) -> None:
    with pytest.raises(UnusableInput, match=words):
        check(given)


# --- the opening ----------------------------------------------------------------------------------


def opened_with(**changes: Any) -> bytes:
    event = json.loads(opening())
    data = event["data"]
    if "format" in changes:
        data["versions"]["format"] = changes.pop("format")
    data |= {name: changes.pop(name) for name in ("origin", "key") if name in changes}
    return canonical(event | changes)


@pytest.mark.parametrize(
    ("genesis", "words"),
    [
        (opened_with(kind="ledger.closed"), "kind of the opening is 'ledger.closed'"),
        (opened_with(contract=CONTRACTS[0]), "contract of the opening is"),
        (opened_with(format=2), "format of the opening is 2, must be 1"),
        (opened_with(format=True), "format of the opening is True, must be 1"),
        (opened_with(origin="ledger.example/h100"), "origin of the opening is"),
        (opened_with(key=str(OTHER.verifier)), "key of the opening is"),
        (opened_with(data={}), "not ledger.opened"),
        (opened_with(data=[1]), "not ledger.opened"),
        (b"[]", "not ledger.opened"),
        (b"\xff", "not ledger.opened"),
    ],
)
def test_the_first_entry_opens_this_log(genesis: bytes, words: str) -> None:
    error = refusal(SampleLog.of(3, genesis=genesis).export())
    assert error.index == 0
    assert words in error.what


def test_the_first_entry_is_the_ledgers_own() -> None:
    error = refusal(SampleLog.of(3, of=CONTRACTS[0]).export())
    assert (error.index, error.what) == (0, "contract of the first entry is not _ledger")


# --- a log that is signed, and wrong all the same -------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"index": 6}, "index is 6, must be 5"),
        ({"index": 3}, "index is 3, must be 5"),
        ({"contract_index": 7}, "contract_index is 7, must be"),
        ({"contract_previous": bytes(32)}, "contract_previous is"),
        ({"recorded_at": format_timestamp(START)}, "must not be before"),
        ({"recorded_at": "2027-13-01T00:00:00.000000Z"}, "which is no time"),
        ({"recorded_at": "2027-04-31T00:00:00.000000Z"}, "which is no time"),
        ({"recorded_at": "2027-04-30T24:00:00.000000Z"}, "which is no time"),
        ({"recorded_at": "2027-04-30T23:59:60.000000Z"}, "which is no time"),
        ({"event": bytes(32)}, "the event is not the one"),
        ({"decision": bytes(32)}, "the decision is not the one"),
    ],
)
def test_the_signature_of_the_log_excuses_nothing(changes: dict[str, Any], words: str) -> None:
    log = SampleLog.of(5)
    log.append(CONTRACTS[1], b'{"kind":"order.placed"}', header=changes)
    for contract in CONTRACTS:
        late = {"recorded_at": "2029-01-01T00:00:00.000000Z"}
        log.append(contract, b'{"kind":"order.placed"}', header=late)
    title = canonical(TITLE | {"size": len(log.entries), "checkpoint": log.checkpoint()})
    error = refusal(joined([title, *map(text_of, log.entries)]))
    assert error.index == 5
    assert words in error.what


@both_ways
def test_an_empty_body_is_no_body() -> None:
    """Committed to, and salted, all the same."""
    for event, decision, name in ((b"", b"{}", "event"), (b"{}", b"", "decision")):
        log = SampleLog.of(5)
        log.append(CONTRACTS[0], event, decision)
        error = refusal(log.export())
        assert (error.index, error.what) == (5, f"the {name} has no body, must have both or none")


def test_equal_times_are_in_order() -> None:
    log = SampleLog.of(4)
    for _ in range(3):
        log.append(CONTRACTS[0], b"{}", header={"recorded_at": "2027-03-01T10:00:00.000000Z"})
    assert check(log.export()).recorded_until == "2027-03-01T10:00:00.000000Z"


# --- a log that was rewritten ---------------------------------------------------------------------


def rewritten(index: int, signer: Signer = SIGNER) -> SampleLog:
    """The sample with another event at `index`, and everything after it hashed anew."""
    log = SampleLog(signer)
    for entry in LOG.entries[1:]:
        event, decision, signatures = (entry.bodies.get(name) for name in ("event", "decision", "signatures"))
        assert decision is not None
        log.append(
            entry.header.contract,
            b'{"kind":"forged"}' if entry.header.index == index or event is None else event.value,
            decision.value,
            signatures=signatures.value if signatures is not None else None,
        )
    return log


def test_everything_hashed_anew_does_not_fit_the_old_checkpoint() -> None:
    for index in (1, 5, LAST):
        error = refusal(joined([LINES[0], *rewritten(index).export().split(b"\n")[1:-1]]))
        assert error.index == LAST
        assert "the log was rewritten up to it" in error.what


def test_everything_hashed_anew_under_another_key_is_refused_where_the_key_is_given() -> None:
    forged = rewritten(5, OTHER).export()
    assert refusal(forged).what.startswith("header line: key is ")
    assert check(forged, verifier=None).key_given is False
    error = refusal(forged, LOG.receipt(2), verifier=None)
    assert error.index == 2
    assert "the receipt does not hold: no known key signed the note" in error.what


def test_only_receipts_find_a_log_that_its_own_key_signed_anew() -> None:
    forged = rewritten(5)
    export = forged.export()
    assert check(export).size == SIZE  # the insider with the key: nothing in the file can tell
    assert check(export, LOG.receipt(2, 4), LOG.receipt(3, 5)).receipts == 2
    error = refusal(export, LOG.receipt(2, 4), LOG.receipt(9))
    assert (error.index, error.what) == (9, "the receipt is for another header: the log was rewritten")
    error = refusal(export, LOG.receipt(2, 6))
    assert error.index == 2
    assert f"this log had {root(forged.leaves[:6]).hex()} at size 6: it was rewritten" in error.what


def test_a_receipt_from_beyond_the_end_finds_a_tail_that_was_cut_and_signed_again() -> None:
    short = export_of(LOG.entries[:9], LOG.checkpoint(9), SIGNER)
    assert check(short, LOG.receipt(8, 9)).size == 9
    for index in (3, 9, LAST):
        error = refusal(short, LOG.receipt(index))
        assert error.index == index
        assert error.what == (
            "the receipt is of a log of 12 entries, the export has 9: "
            "the log was truncated, or the export is older than the receipt"
        )


# --- forged receipts ------------------------------------------------------------------------------

TRUE = LOG.receipt(3)
SALTS = dict(TRUE.salts)
ELSEWHERE = rewritten(2)
FORGED: dict[str, tuple[Receipt, str]] = {
    "wrong index": (TRUE._replace(index=4), "receipt is for entry 4"),
    "index beyond": (TRUE._replace(index=10**15), "receipt is for entry"),
    "wrong size": (TRUE._replace(tree_size=SIZE - 1), "its checkpoint for a tree of 12"),
    "size 0": (TRUE._replace(tree_size=0), "its checkpoint for a tree of 12"),
    "other root": (TRUE._replace(checkpoint=ELSEWHERE.checkpoint()), "leads to root"),
    "proof padded": (TRUE._replace(hashes=[*TRUE.hashes, bytes(32)]), "must have 4"),
    "proof cut": (TRUE._replace(hashes=TRUE.hashes[:-1]), "must have 4"),
    "proof with a long hash": (TRUE._replace(hashes=[TRUE.hashes[0] + b"0", *TRUE.hashes[1:]]), "33 bytes"),
    "proof of another": (TRUE._replace(hashes=LOG.receipt(5).hashes), "leads to root"),
    "other key": (TRUE._replace(checkpoint=LOG.checkpoint(signer=OTHER)), "no known key signed"),
    "no checkpoint": (TRUE._replace(checkpoint="12\n"), "a note is text"),
    "header of another": (TRUE._replace(header=LOG.entries[4].raw), "its header for entry 4"),
    "header edited": (TRUE._replace(header=TRUE.header.replace(b"2027", b"2028")), "leads to root"),
    "header no header": (TRUE._replace(header=b"{}"), "not canonical"),
    "decision edited": (TRUE._replace(decision=b'{"outcome":"denied"}'), "the decision is not the one"),
    "decision's salt edited": (TRUE._replace(salts=SALTS | {"decision": bytes(32)}), "the decision"),
    "event's salt edited": (TRUE._replace(salts=SALTS | {"event": bytes(32)}), "another salt"),
    "another log of this key": (ELSEWHERE.receipt(3), "the receipt is for another header"),
    "another log, the same entry": (ELSEWHERE.receipt(1), "it was rewritten"),
}  # fmt: skip


IN_TEXT = [
    "wrong index", "index beyond", "wrong size", "size 0", "other root", "proof padded", "proof cut",
    "proof of another", "other key", "no checkpoint", "another log, the same entry",
]  # fmt: skip
"""What can be wrong with a tlog-proof: it shows no header, decision or salt."""
OTHER_WORDS = {"wrong index": "leads to root", "index beyond": "must be below tree size 12"}


@pytest.mark.parametrize("name", IN_TEXT)
def test_a_forged_receipt_is_refused_in_the_form_of_a_tlog_proof_too(name: str) -> None:
    forged, words = FORGED[name]
    error = refusal(EXPORT, LOG.receipt(1).proof, forged.proof)
    assert error.index == forged.index
    assert OTHER_WORDS.get(name, words) in error.what


def test_a_tlog_proof_is_honoured_and_finds_a_rewritten_log_and_a_cut_tail() -> None:
    for index in range(SIZE):
        assert check(EXPORT, LOG.receipt(index).proof, LOG.receipt(index, index + 1).proof).receipts == 2
    forged = rewritten(5).export()
    assert "leads to root" in refusal(forged, LOG.receipt(9).proof).what
    assert "at size 6: it was rewritten" in refusal(forged, LOG.receipt(2, 6).proof).what
    short = export_of(LOG.entries[:9], LOG.checkpoint(9), SIGNER)
    for index in (3, 9, LAST):
        assert "the log was truncated" in refusal(short, LOG.receipt(index).proof).what


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_receipt_is_refused_and_named(name: str) -> None:
    forged, words = FORGED[name]
    error = refusal(EXPORT, LOG.receipt(1), forged)
    assert error.index == forged.index
    assert "the receipt" in error.what
    assert words in error.what


def test_what_is_wrong_with_the_file_is_said_before_what_is_wrong_with_a_receipt() -> None:
    mutated = joined([LINES[0], *MUTATIONS["event edited"][0](LINES[1:])])
    assert refusal(mutated, TRUE._replace(index=5)).index == 4
