"""ledger.folder, ledger.verify_tiles: a folder in step, whole at every instant, and found out if not."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import folder as folder_module
from ledger import merkle, tiles
from ledger.cosignature import Witness, cosign, cosignatures_in
from ledger.errors import Unavailable, UnusableInput, VerificationError
from ledger.folder import Folder
from ledger.receipt import TlogProof, parse_receipt
from ledger.static_log import update
from ledger.tiles import ENTRIES, Coordinates, tile_path
from ledger.verified import Report, Tampered
from ledger.verify_tiles import verify_folder
from tests.ledger.sample_log import CONTRACTS, SIGNER, SampleLog, signer_of
from tests.ledger.test_export import golden_log
from tests.ledger.tile_client import TileClient

SIZE = 600
HUGE = 65536 + 300
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
OLD, NEW = 250, 520
"""Of the updates that are broken off: every level-0 tile there is changes, and one of level 1 begins."""


@cache
def sample(size: int = SIZE) -> SampleLog:
    return SampleLog.of(size, signed={7, size // 2})


@cache
def forked() -> SampleLog:
    """The same log up to entry 199, signed by the same key, and another one from there."""
    log = SampleLog.of(200, signed={7, 300})
    for _ in range(200, SIZE):
        log.append(CONTRACTS[0], b'{"kind":"order.placed","forked":1}')
    return log


class Served:
    """A sample log as a source, up to `size`."""

    def __init__(self, log: SampleLog, size: int) -> None:
        self.log, self.size = log, size
        self.asked: list[Coordinates] = []

    async def checkpoint(self, least: int = 0) -> str:
        return self.log.checkpoint(self.size)

    async def tile(self, where: Coordinates) -> bytes:
        self.asked.append(where)
        first = where.n * 256
        if where.level == ENTRIES:
            return tiles.bundle(entry.raw for entry in self.log.entries[first : first + where.width])
        span = 256**where.level
        starts = range(first * span, (first + where.width) * span, span)
        assert starts[-1] + span <= self.size, "a tile that the checkpoint does not name"
        return b"".join(merkle.root(self.log.leaves[start : start + span]) for start in starts)


class Lying(Served):
    """As served, but for what `lie` makes of one tile."""

    def __init__(self, log: SampleLog, size: int, about: Coordinates, lie: Callable[[bytes], bytes]) -> None:
        super().__init__(log, size)
        self.about, self.lie = about, lie

    async def tile(self, where: Coordinates) -> bytes:
        raw = await super().tile(where)
        return self.lie(raw) if where == self.about else raw


def brought(path: Path, source: Served) -> Folder:
    """The folder, brought up to a source."""
    folder = Folder(path)
    with folder.locked():
        asyncio.run(update(folder, source, SIGNER.verifier))
    return folder


def check(path: Path, **given_: object) -> Report:
    return verify_folder(Folder(path), verifier=SIGNER.verifier, **given_)  # type: ignore[arg-type]


def contents(path: Path) -> dict[str, bytes]:
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def names_at(*sizes: int) -> set[str]:
    """What lies in a folder that has seen these sizes, the last one now."""
    found = {"checkpoint"}
    for size in sizes:
        widths = [
            *tiles.tiles_of(size),
            *(w._replace(level=ENTRIES) for w in tiles.tiles_of(size) if not w.level),
        ]
        found |= {
            tile_path(*where)
            for where in widths
            if where.width == 256 or tiles.width_at(where.level, where.n, sizes[-1]) < 256
        }
    return found


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SIZE entries. Not to be written to."""
    path = tmp_path_factory.mktemp("static")
    brought(path, Served(sample(), SIZE))
    return path


# --- what is written ------------------------------------------------------------------------------


def test_the_folder_of_the_golden_log_has_these_bytes(tmp_path: Path) -> None:
    log = golden_log()
    brought(tmp_path, Served(log, 4))
    found = contents(tmp_path)
    assert found["checkpoint"].decode() == log.checkpoint()
    assert found["tile/0/000.p/4"] == b"".join(log.leaves)
    lines = (Path(__file__).parents[1] / "vectors" / "export-format-1.txt").read_bytes().split(b"\n")[1:5]
    headers = [line.partition(b"\t")[0] for line in lines]
    assert found["tile/entries/000.p/4"] == b"".join(len(h).to_bytes(2, "big") + h for h in headers)
    assert {name: sha256(raw).hexdigest() for name, raw in found.items()} == {
        "checkpoint": "630bc0845b28a8fa66bbbd5205d9adf3226a1413e671edad78504603bbfab5c5",
        "tile/0/000.p/4": "1cc5048b6b6f96e8bddb02551a56e641617e54180253bc97d4efaa93fa581ed0",
        "tile/entries/000.p/4": "5941f78f34de232e1c6a98d51e129b0d511a95300ceb32da0dfa01a14e2602ed",
    }


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, SIZE])
def test_a_folder_made_at_once_has_the_tiles_of_its_size_and_holds(tmp_path: Path, size: int) -> None:
    brought(tmp_path, Served(sample(), size))
    assert contents(tmp_path).keys() == names_at(size)
    report = check(tmp_path)
    assert (report.size, report.root, report.key_given) == (size, merkle.root(sample().leaves[:size]), True)
    assert report.withheld == 2 * size + (size > 7) + (size > SIZE // 2)


def test_a_folder_that_grows_keeps_every_partial_tile_until_the_full_one_is_there(tmp_path: Path) -> None:
    sizes = [*range(1, 6), 100, *range(254, 259), 400, *range(511, 515)]
    for number, size in enumerate(sizes):
        brought(tmp_path, Served(sample(), size))
        assert contents(tmp_path).keys() == names_at(*sizes[: number + 1])
        assert check(tmp_path).size == size


class Cosigned(Served):
    """With a line of a witness."""

    async def checkpoint(self, least: int = 0) -> str:
        note = self.log.checkpoint(self.size)
        return note + cosign(note.partition("\n\n")[0] + "\n", "witness.example/w", WITNESS, time=1)


def test_what_witnesses_sign_of_a_checkpoint_that_lies_there_is_added_and_not_taken_away(
    tmp_path: Path,
) -> None:
    witness = Witness("witness.example/w", WITNESS.public_key().public_bytes_raw())
    for source, count in ((Served, 0), (Cosigned, 1), (Served, 1)):
        brought(tmp_path, source(sample(), OLD))
        assert len(cosignatures_in((tmp_path / "checkpoint").read_text(), [witness])) == count
    brought(tmp_path, Served(sample(), NEW))
    assert check(tmp_path).size == NEW


def test_an_update_reads_no_more_than_what_is_new(tmp_path: Path) -> None:
    brought(tmp_path, Served(sample(), 512))
    source = Served(sample(), 513)
    brought(tmp_path, source)
    assert {where for where in source.asked if where.level == ENTRIES} == {Coordinates(ENTRIES, 2, 1)}
    assert len(source.asked) <= 6
    again = Served(sample(), 513)
    brought(tmp_path, again)
    assert again.asked == []


def test_a_folder_with_tiles_of_three_levels_holds(tmp_path: Path) -> None:
    log = sample(HUGE)
    leaves: list[bytes] = log.leaves
    by_level = {0: leaves}
    for level in (1, 2):
        below = by_level[level - 1]
        by_level[level] = [merkle.root(below[at : at + 256]) for at in range(0, len(below) - 255, 256)]

    class Quick(Served):
        async def tile(self, where: Coordinates) -> bytes:
            if where.level == ENTRIES:
                return await super().tile(where)
            return b"".join(by_level[where.level][where.n * 256 :][: where.width])

    path = tmp_path / "made" / "for it"
    brought(path, Quick(log, HUGE))
    assert {"tile/2/000.p/1", "tile/1/000", "tile/1/001.p/1", "tile/0/256"} <= contents(path).keys()
    report = check(
        path, receipts=[TlogProof(70, 300, merkle.prove_inclusion(leaves[:300], 70), log.checkpoint(300))]
    )
    assert (report.size, report.receipts) == (HUGE, 1)
    for name, index in (("tile/1/000", 256), ("tile/2/000.p/1", 0)):
        raw = (path / name).read_bytes()
        (path / name).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]) if index == 0 else flipped(raw))
        with pytest.raises(Tampered, match=rf"hash [01] of {name} is") as caught:
            check(path)
        assert caught.value.index == index
        (path / name).write_bytes(raw)


# --- read by somebody else ------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_client_that_knows_the_specification_alone_makes_our_proofs(
    static: Path, data: st.DataObject
) -> None:
    client = TileClient(lambda name: (static / name).read_bytes())
    size = data.draw(st.integers(1, SIZE))
    index = data.draw(st.integers(0, size - 1))
    leaves = sample().leaves[:size]
    assert client.mth(0, size) == merkle.root(leaves)
    assert client.inclusion(index, size) == merkle.prove_inclusion(leaves, index)
    assert client.consistency(index + 1, size) == merkle.prove_consistency(leaves, index + 1)
    assert client.entry(index) == sample().entries[index].raw


def test_the_client_finds_the_log_whole(static: Path) -> None:
    client = TileClient(lambda name: (static / name).read_bytes())
    assert (client.origin, client.size) == (SIGNER.name, SIZE)
    assert client.root == client.mth(0, SIZE)
    assert client.entries() == [entry.raw for entry in sample().entries]


def test_no_byte_of_a_body_or_a_salt_is_in_the_folder(static: Path) -> None:
    everything = b"".join(contents(static).values())
    for entry in sample().entries:
        for body in entry.bodies.values():
            assert body is not None
            for secret in (body.value, body.salt, body.salt.hex().encode()):
                assert secret not in everything
    assert b"order.placed" not in everything


# --- broken off -----------------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


STEPS: list[tuple[object, str]] = [(os, "fsync"), (Path, "replace"), (folder_module, "rmtree")]
"""All that an update does to the disk in more than memory."""


def crash_at(step: int, *, persists: bool, patch: pytest.MonkeyPatch) -> list[str]:
    """Let the process end at that step, before or after it was carried out; gives the steps taken."""
    taken: list[str] = []
    for owner, name in STEPS:
        real = getattr(owner, name)

        def stepping(
            *args: object, _real: Callable[..., object] = real, _name: str = name, **more: object
        ) -> object:
            taken.append(_name)
            last = len(taken) == step
            if last and not persists:
                raise Crash
            result = _real(*args, **more)
            if last:
                raise Crash
            return result

        patch.setattr(owner, name, stepping)
    return taken


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    path = tmp_path_factory.mktemp("counted")
    brought(path, Served(sample(), OLD))
    with pytest.MonkeyPatch.context() as patch:
        taken = crash_at(0, persists=True, patch=patch)
        brought(path, Served(sample(), NEW))
    return len(taken)


@pytest.mark.parametrize("persists", [True, False])
def test_wherever_an_update_ends_the_folder_holds_and_the_next_one_goes_on(
    tmp_path: Path, steps: int, persists: bool
) -> None:
    brought(tmp_path / "old", Served(sample(), OLD))
    assert steps > 25
    for step in range(1, steps + 1):
        path = tmp_path / str(step)
        shutil.copytree(tmp_path / "old", path)
        with pytest.MonkeyPatch.context() as patch:
            crash_at(step, persists=persists, patch=patch)
            with pytest.raises(Crash):
                brought(path, Served(sample(), NEW))
        assert check(path).size in (OLD, NEW)
        client = TileClient(lambda name, path=path: whole_or_full(path, name))  # type: ignore[misc]
        assert client.mth(0, client.size) == client.root
        brought(path, Served(sample(), NEW + 3))
        assert check(path).size == NEW + 3
        # What the crash left over may be left, and is true.
        assert names_at(OLD, NEW + 3) <= contents(path).keys() <= names_at(OLD, NEW, NEW + 3) | stale(path)
        shutil.rmtree(path)


def whole_or_full(path: Path, name: str) -> bytes:
    """As the specification lets a client fetch: the full tile, where the partial one is gone."""
    try:
        return (path / name).read_bytes()
    except FileNotFoundError:
        full, _, width = name.partition(".p/")
        return (path / full).read_bytes()[: 32 * int(width)]


def stale(path: Path) -> set[str]:
    """Partial tiles beside the full one, and the file that was being written."""
    partial = {
        name for name in contents(path) if ".p/" in name and (path / name.partition(".p/")[0]).exists()
    }
    return partial | {".new"}


@pytest.mark.parametrize("broken_off", [False, True])
def test_names_and_bytes_are_on_the_disk_before_the_checkpoint_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_off: bool
) -> None:
    brought(tmp_path, Served(sample(), OLD))
    before = contents(tmp_path).keys()
    if broken_off:

        def crash(*_: object) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "publish", crash)
            with pytest.raises(Crash):
                brought(tmp_path, Served(sample(), NEW))
    flushed: set[str] = set()
    torn: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        flushed.add(os.readlink(f"/proc/self/fd/{handle}"))
        real_fsync(handle)

    def replace(self: Path, target: Path) -> Path:
        if str(self) not in flushed:
            torn.append(f"{target} has no bytes yet")
        flushed.discard(str(self))
        if target.name == "checkpoint":
            new = contents(tmp_path).keys() - before - {".new"}
            assert len(new) >= 7
            above = {up for name in new for up in (tmp_path / name).parents if up.is_relative_to(tmp_path)}
            torn.extend(f"{up} is not flushed" for up in above if str(up) not in flushed)
        # A name that is given after its folder was flushed is not on the disk.
        flushed.difference_update(map(str, target.parents))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    brought(tmp_path, Served(sample(), NEW))
    assert torn == []
    assert str(tmp_path) in flushed  # the checkpoint's own name


def test_two_writers_do_not_meet_in_one_folder(tmp_path: Path) -> None:
    with Folder(tmp_path).locked(), pytest.raises(UnusableInput, match="another process is writing to"):
        brought(tmp_path, Served(sample(), 3))
    brought(tmp_path, Served(sample(), 3))


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (400, "it has forked"),
        (300, "it has forked.* there are two roots at size 300"),
        (256, "said to have 256 entries, the checkpoint in .* is of 300, and begins otherwise"),
    ],
)
def test_a_log_that_does_not_continue_the_folder_is_refused_and_nothing_is_written(
    tmp_path: Path, size: int, words: str
) -> None:
    brought(tmp_path, Served(sample(), 300))
    before = contents(tmp_path)
    with pytest.raises(VerificationError, match=words):
        brought(tmp_path, Served(forked(), size))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("size", [1, 199, 256, 257, 299, 511])
def test_a_checkpoint_of_before_is_no_fork_and_does_not_replace_a_later_one(
    tmp_path: Path, size: int
) -> None:
    """Out of a cache, or of a replica."""
    brought(tmp_path, Served(sample(), NEW))
    before = contents(tmp_path)
    with pytest.raises(Unavailable, match="continues it: what serves the log lags behind"):
        brought(tmp_path, Served(sample(), size))
    assert contents(tmp_path) == before


def test_a_fork_beside_a_lost_checkpoint_is_refused_by_its_tiles(tmp_path: Path) -> None:
    brought(tmp_path, Served(sample(), 300))
    (tmp_path / "checkpoint").unlink()
    before = contents(tmp_path)
    with pytest.raises(VerificationError, match=r"is not what the log has there now\. A tile never changes"):
        brought(tmp_path, Served(forked(), 300))
    assert contents(tmp_path).items() >= before.items()
    brought(tmp_path, Served(sample(), 300))
    assert check(tmp_path).size == 300


def test_the_checkpoint_of_another_log_or_key_is_refused(tmp_path: Path) -> None:
    brought(tmp_path, Served(sample(), 3))
    for other in (signer_of(2), signer_of(1, "other.example/log")):
        with pytest.raises(VerificationError, match="no known key signed the note"):
            asyncio.run(update(Folder(tmp_path), Served(SampleLog.of(9, signer=other), 9), SIGNER.verifier))
        with pytest.raises(VerificationError, match=f"checkpoint is not of {other.name}"):
            asyncio.run(update(Folder(tmp_path), Served(SampleLog.of(9, signer=other), 9), other.verifier))


def halved(raw: bytes) -> bytes:
    """The hashes one level up: half as many, and the same root."""
    hashes = merkle.split(raw)
    return b"".join(merkle.node_hash(a, b) for a, b in zip(hashes[::2], hashes[1::2], strict=True))


def flipped(raw: bytes) -> bytes:
    return raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]


LIES: list[tuple[Coordinates, Callable[[bytes], bytes], str]] = [
    (Coordinates(0, 2, 8), flipped, "the tiles lead to root"),
    (Coordinates(0, 2, 8), lambda raw: raw + raw, "must be 256"),
    (Coordinates(1, 0, 2), flipped, "the tiles lead to root"),
    (
        Coordinates(0, 0, 256),
        flipped,
        "does not continue what is there: it has forked, or serves tiles not its",
    ),
    (Coordinates(0, 1, 256), flipped, "tile/0/001 does not hash to its place in tile/1/000.p/2"),
    (Coordinates(0, 1, 256), halved, "tile/0/001 does not hash to its place in tile/1/000.p/2"),
    (Coordinates(0, 1, 256), lambda raw: raw[:-1], "tile/0/001 does not hash to its place"),
    (Coordinates(ENTRIES, 1, 256), flipped, "tile/entries/001 does not hash to its tile of level 0"),
    (Coordinates(ENTRIES, 2, 8), lambda raw: raw + b"\0\0", "must be 8 whole entries"),
    (Coordinates(ENTRIES, 2, 8), lambda raw: raw[:-1], "must be 8 whole entries"),
]


@pytest.mark.parametrize("number", range(len(LIES)))
def test_a_source_that_lies_is_refused_and_what_is_written_is_true(tmp_path: Path, number: int) -> None:
    about, lie, words = LIES[number]
    brought(tmp_path, Served(sample(), OLD))
    with pytest.raises(VerificationError, match=words):
        brought(tmp_path, Lying(sample(), NEW, about, lie))
    assert check(tmp_path).size == OLD
    brought(tmp_path, Served(sample(), NEW))
    assert check(tmp_path).size == NEW


# --- a folder that was altered --------------------------------------------------------------------


def damages(raw: bytes) -> Iterator[tuple[str, bytes | None]]:
    yield "gone", None
    yield "empty", b""
    yield "a byte short", raw[:-1]
    yield "a byte long", raw + b"\0"
    yield "doubled", raw + raw
    for at in {0, 1, len(raw) // 3, len(raw) // 2, len(raw) - 1}:
        yield f"byte {at} flipped", raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def test_every_damage_of_every_file_is_found_and_said_to_be_where_it_is(static: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    shutil.copytree(static, path)
    for name, raw in contents(static).items():
        for what, damage in damages(raw):
            if damage is None:
                (path / name).unlink()
            else:
                (path / name).write_bytes(damage)
            with pytest.raises((VerificationError, UnusableInput)) as caught:
                check(path)
            (path / name).write_bytes(raw)
            if name == "checkpoint":
                continue
            assert isinstance(caught.value, Tampered), (name, what)
            if caught.value.index is None:
                assert name in str(caught.value), (name, what)
            elif name.startswith(("tile/0/", "tile/entries/")):
                n = int(name.split("/")[2].removesuffix(".p"))
                assert caught.value.index // 256 == n, (name, what, str(caught.value))
    assert check(path).size == SIZE


def test_a_header_and_its_tile_rewritten_together_are_found_by_what_comes_after(
    static: Path, tmp_path: Path
) -> None:
    path = tmp_path / "rewritten"
    shutil.copytree(static, path)
    headers = [entry.raw for entry in sample().entries[:256]]
    headers[77] = headers[77].replace(b"2027-03-01", b"2027-03-02")
    (path / "tile/entries/000").write_bytes(tiles.bundle(headers))
    (path / "tile/0/000").write_bytes(b"".join(map(merkle.leaf_hash, headers)))
    with pytest.raises(Tampered, match=r"entry 77 \(tile/entries/000\): its leaf hash is"):
        check(path)


def test_a_folder_without_a_checkpoint_or_key_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="there is no checkpoint in"):
        check(tmp_path)


# --- receipts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "size"), [(0, 1), (3, 4), (255, 256), (7, 600), (599, 600), (300, 301)])
def test_receipts_in_both_forms_are_honoured_by_the_folder(static: Path, index: int, size: int) -> None:
    receipt = sample().receipt(index, size)
    for raw in (receipt.encode(), receipt.tlog_proof().encode()):
        assert check(static, receipts=[parse_receipt(raw)]).receipts == 1


def test_a_receipt_of_the_fork_is_refused_in_both_forms(static: Path) -> None:
    receipt = forked().receipt(450)
    for held, words in ((receipt, "another header"), (receipt.proof, "leads to root")):
        with pytest.raises(Tampered, match=words) as caught:
            check(static, receipts=[held])
        assert caught.value.index == 450
    elder = forked().receipt(100, 300)
    for held in (elder, elder.proof):
        with pytest.raises(Tampered, match=r"this log had .* at size 300: it was rewritten"):
            check(static, receipts=[held])
