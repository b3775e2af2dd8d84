"""ledger.export: the shape of the file, its end, and golden bytes checked with hashlib alone."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from ledger import export, note
from ledger.canonical import canonical
from ledger.entry import Entry
from ledger.errors import VerificationError
from ledger.loading import StoredEntry
from ledger.receipt import Receipt
from ledger.verify import verify_export
from tests.ledger import rfc9162
from tests.ledger.sample_log import CONTRACTS, ORIGIN, SIGNER, SampleLog, export_of, signer_of, stored

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "vectors" / "export-format-1.txt"
GOLDEN_RECEIPT = REPOSITORY / "tests" / "vectors" / "receipt-format-1.json"
PAGE = (REPOSITORY / "ledger" / "FORMAT.md").read_text().partition("## Worked vector")[2]


def golden_log() -> SampleLog:
    """Four entries, and an event that is withheld. Frozen, as everything that it is made of."""
    log = SampleLog()
    for contract, event, decision in (
        (CONTRACTS[0], {"kind": "contract.opened"}, {"outcome": "accepted"}),
        (CONTRACTS[1], {"kind": "contract.opened", "name": "Søndre №2"}, {"outcome": "flagged"}),
        (CONTRACTS[0], {"kind": "order.placed", "units": 800}, {"outcome": "denied"}),
    ):
        log.append(contract, canonical(event), canonical(decision))
    log.withhold(2, "event")
    return log


# --- the shape ------------------------------------------------------------------------------------


def test_line_1_is_canonical_and_the_rest_are_header_salts_and_bodies() -> None:
    log = SampleLog.of(6, signed={4})
    log.withhold(3, "event", "decision")
    first, *lines = log.export().decode().removesuffix("\n").split("\n")
    assert first.encode() == canonical(json.loads(first))
    assert json.loads(first) == {
        "export": 1,
        "origin": ORIGIN,
        "size": 6,
        "key": str(SIGNER.verifier),
        "checkpoint": log.checkpoint(),
    }
    for entry, line in zip(log.entries, lines, strict=True):
        fields = [entry.raw.decode()]
        for body in entry.bodies.values():
            fields += ["", ""] if body is None else [body.salt.hex(), body.value.decode()]
        assert line.split("\t") == fields
    assert [line.count("\t") for line in lines] == [4, 4, 4, 4, 6, 4]
    assert lines[3].endswith("}\t\t\t\t")


def test_what_is_committed_after_the_checkpoint_is_left_out() -> None:
    log = SampleLog.of(9)
    asked: list[int] = []

    async def endless() -> AsyncIterator[StoredEntry]:
        async for each in stored(log.entries):
            asked.append(each.index)
            yield each

    file = io.BytesIO()
    asyncio.run(export.write(endless(), checkpoint=log.checkpoint(5), verifier=SIGNER.verifier, to=file))
    assert asked == [0, 1, 2, 3, 4]
    assert verify_export(io.BytesIO(file.getvalue())).size == 5


def test_a_log_with_fewer_entries_than_its_checkpoint_is_not_exported() -> None:
    log = SampleLog.of(6)
    with pytest.raises(VerificationError, match="ends after 5 entries, its head says 6"):
        export_of(log.entries[:5], log.checkpoint(), SIGNER)
    with pytest.raises(VerificationError, match="entry 2 is missing, the next one is 3"):
        export_of([*log.entries[:2], *log.entries[3:]], log.checkpoint(), SIGNER)


def test_a_checkpoint_that_readers_could_not_check_is_not_exported() -> None:
    log = SampleLog.of(3)
    with pytest.raises(VerificationError, match="no known key signed the note"):
        export_of(log.entries, log.checkpoint(signer=signer_of(2)), SIGNER)
    text = note.parse_note(log.checkpoint())[0]
    cosigned = note.sign(text, SIGNER, signer_of(3, "witness.example"))
    with pytest.raises(VerificationError, match="one signature, that of the log"):
        export_of(log.entries, cosigned, SIGNER)


def test_progress_grows_to_the_size_and_pieces_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK_BYTES", 2_000)
    log = SampleLog.of(40)
    seen: list[tuple[int, int]] = []
    whole = log.export(progress=lambda done, size: seen.append((done, size)))
    assert seen == sorted(seen)
    assert seen[-1] == (40, 40)
    assert len(seen) > 10

    async def pieces() -> list[bytes]:
        source = export.chunks(stored(log.entries), checkpoint=log.checkpoint(), verifier=SIGNER.verifier)
        return [piece async for _, _, piece in source]

    found = asyncio.run(pieces())
    assert b"".join(found) == whole
    assert max(map(len, found)) < 4_000


# --- golden bytes ---------------------------------------------------------------------------------


def test_the_golden_export_and_receipt() -> None:
    log = golden_log()
    assert log.export() == GOLDEN.read_bytes()
    assert log.receipt(1).encode() + b"\n" == GOLDEN_RECEIPT.read_bytes()


def test_the_golden_export_holds() -> None:
    receipt = Receipt.parse(GOLDEN_RECEIPT.read_bytes())
    with GOLDEN.open("rb") as file:
        report = verify_export(file, verifier=SIGNER.verifier, receipts=[receipt])
    assert (report.size, report.contracts, report.withheld, report.receipts) == (4, 2, 1, 1)


def test_the_golden_export_holds_for_a_reader_that_has_only_hashlib_and_json() -> None:
    first, *lines = GOLDEN.read_bytes().removesuffix(b"\n").split(b"\n")
    title = json.loads(first)
    leaves: list[bytes] = []
    chains: dict[str, str] = {}
    for index, line in enumerate(lines):
        raw, *fields = line.split(b"\t")
        header = json.loads(raw)
        assert header["index"] == index
        assert header["previous"] == (leaves[-1].hex() if leaves else "0" * 64)
        assert header["contract_previous"] == chains.get(header["contract"], "0" * 64)
        for name, salt, body in zip(("event", "decision"), fields[::2], fields[1::2], strict=True):
            if salt:
                digest = sha256(bytes.fromhex(salt.decode()) + body).hexdigest()
                assert digest == header["bodies"][name]
        leaves.append(sha256(b"\0" + raw).digest())
        chains[header["contract"]] = leaves[-1].hex()
    root = b64decode(title["checkpoint"].split("\n")[2])
    assert rfc9162.mth(tuple(leaves)) == root
    assert title["size"] == len(leaves)


def blocks() -> list[str]:
    """The indented blocks of the worked example."""
    found = re.findall(r"^    .*\n(?:^    .*\n|^\n(?=    ))*", PAGE, re.MULTILINE)
    return ["".join(line[4:] + "\n" for line in block.splitlines()) for block in found]


def test_the_page_shows_what_the_golden_export_holds() -> None:
    log: list[Entry] = golden_log().entries
    command, header, leaf, root, checkpoint = blocks()
    assert header == log[1].raw.decode() + "\n"
    assert leaf == sha256(b"\0" + header.removesuffix("\n").encode()).hexdigest() + "\n"
    assert root == rfc9162.mth(tuple(entry.leaf for entry in log)).hex() + "\n"
    assert checkpoint == golden_log().checkpoint()
    shell = subprocess.run(
        ["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert shell.stdout.split()[0] + "\n" == leaf
