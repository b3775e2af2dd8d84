"""An evidence bundle: what is in it is proven, and whatever is done to it is found."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger import merkle
from ledger.archive import pack, unpack
from ledger.bundle import MANIFEST, Anchor, Summary, write
from ledger.canonical import canonical, parse
from ledger.errors import UnusableInput, VerificationError
from ledger.note import Signer
from ledger.summary import prove, root_of
from ledger.verify_bundle import open_bundle
from tests.ledger.sample_bundle import DIGEST, SIZE, content, rewritten, summarised, tails_of, whole
from tests.ledger.sample_log import CONTRACTS, SIGNER, SampleLog, signer_of
from tests.ledger.test_rotation import FIRST, SECOND, THIEF, THIRD, rotated

GOLDEN = Path(__file__).parents[1] / "vectors" / "bundle-format-1.zip"


def opened(raw: bytes) -> Any:
    return open_bundle(raw, verifier=SIGNER.verifier)


def refused(raw: bytes, words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        opened(raw)


# --- what it proves -------------------------------------------------------------------------------


def test_the_golden_bundle_is_written_to_the_byte() -> None:
    assert write(whole()) == GOLDEN.read_bytes()


def test_a_bundle_gives_its_entries_and_what_is_known_of_the_rest() -> None:
    made, bundle = whole(), opened(write(whole()))
    assert bundle.entries == tuple(made.entries)
    assert bundle.key_given
    assert (bundle.checkpoint.size, bundle.withheld, bundle.remarks) == (SIZE, 0, ())
    assert (bundle.complete.contract, bundle.complete.until, bundle.complete.since) == (CONTRACTS[0], 11, 1)
    assert bundle.documents.keys() == {DIGEST}
    assert bundle.anchors == made.anchors


def test_without_a_key_the_bundle_is_its_own_word() -> None:
    assert not open_bundle(write(whole())).key_given
    with pytest.raises(VerificationError, match="must be the given"):
        open_bundle(write(whole()), verifier=signer_of(2).verifier)


def test_a_body_that_is_withheld_leaves_everything_else_proven() -> None:
    log, _ = summarised()
    log.withhold(12, "event", "decision")
    bundle = opened(write(content(log, {"index": [12]}, {0, 12}, schemas={})))
    assert bundle.withheld == 2
    assert bundle.entries[1].bodies == {"event": None, "decision": None}


def test_what_the_log_says_is_erased_is_told_from_what_is_withheld() -> None:
    log, asked = SampleLog.of(6), {"index": [3, 4]}
    said = {"kind": "value.erased", "actor": {"party": "_ledger"}, "data": {"index": 3}}
    log.append(CONTRACTS[0], canonical(said))
    log.append(CONTRACTS[0], canonical({**said, "actor": {"party": "acme"}, "data": {"index": 4}}))
    for index in (3, 4):
        log.withhold(index, "event", "decision")
    bundle = opened(write(content(log, asked, {0, 3, 4, 6, 7}, schemas={})))
    assert (bundle.erased, bundle.withheld) == (2, 2)
    assert opened(write(content(log, asked, {0, 3, 4}, schemas={}))).withheld == 4


def test_what_cannot_be_proven_is_said() -> None:
    log, _ = summarised()
    chain = {e.header.index for e in log.entries if e.header.contract == CONTRACTS[0]}
    bundle = opened(write(content(log, {"contract": CONTRACTS[0]}, {0, *chain}, schemas={})))
    assert bundle.complete is None
    assert any("left out behind the last" in one for one in bundle.remarks)
    lacking = content(log, {"index": [12]}, {0, 12}, schemas={}, documents={})
    assert opened(write(lacking)).remarks == (f"entry 12: policy document {DIGEST} is not in the bundle",)
    simulated = SampleLog.of(3)
    assert opened(write(content(simulated, {"index": [1]}, {0, 1}, schemas={}))).remarks == ()


def test_a_signed_entry_keeps_its_third_body() -> None:
    log = SampleLog.of(8, signed={6})
    chain = {e.header.index for e in log.entries if e.header.contract == log.entries[6].header.contract}
    asked = {"index": [6]}
    bundle = opened(write(content(log, asked, {0, *chain}, schemas={})))
    [signed] = [entry for entry in bundle.entries if entry.header.index == 6]
    assert (bundle.signatures, bundle.signatures_unchecked) == (1, 0)
    assert signed == log.entries[6]
    with pytest.raises(VerificationError, match="had registered no such key"):
        opened(write(content(log, asked, {0, 6}, schemas={})))
    log.withhold(6, "signatures")
    assert opened(write(content(log, asked, {0, 6}, schemas={}))).signatures_unchecked == 1


def of_rotated(signer: Signer, indexes: set[int], **given: Any) -> bytes:
    """Entry 8 of a log whose key went over with entries 3 and 6."""
    log = rotated()
    signed = {"checkpoint": log.checkpoint(signer=signer), "verifier": signer.verifier}
    return write(content(log, {"index": [8]}, indexes, schemas={}, **signed, **given))


@pytest.mark.parametrize("given", [FIRST, SECOND, THIRD])
def test_whoever_has_any_key_of_the_log_follows_it_to_the_present_one(given: Signer) -> None:
    log = rotated()
    anchors = [
        Anchor(log.checkpoint(size, signer=key), merkle.prove_consistency(log.leaves, size))
        for size, key in ((3, FIRST), (4, SECOND), (9, THIRD))
    ]
    raw = of_rotated(THIRD, {0, 3, 6, 8}, anchors=anchors)
    assert open_bundle(raw, verifier=given.verifier).key == THIRD.verifier


def test_a_key_that_has_gone_or_came_from_nowhere_is_refused() -> None:
    log = rotated()
    for raw, given, words in (
        (of_rotated(FIRST, {0, 3, 6, 8}), FIRST, "key of entry 6 is"),
        (of_rotated(THIRD, {0, 3, 8}), FIRST, "key of entry 3 is"),
        (of_rotated(THIRD, {0, 8}), FIRST, "key of the opening is"),
        (of_rotated(THIRD, {0, 6, 8}), FIRST, "must be from"),
        (of_rotated(THIRD, {0, 3, 6, 8}), THIEF, "must be the given"),
    ):
        with pytest.raises(VerificationError, match=words):
            open_bundle(raw, verifier=given.verifier)
    late = Anchor(log.checkpoint(8, signer=FIRST), merkle.prove_consistency(log.leaves, 8))
    with pytest.raises(VerificationError, match="no known key signed"):
        open_bundle(of_rotated(THIRD, {0, 3, 6, 8}, anchors=[late]), verifier=FIRST.verifier)


# --- what is done to it ---------------------------------------------------------------------------


def test_every_altered_byte_is_found() -> None:
    raw = GOLDEN.read_bytes()
    for at in range(0, len(raw), 3):
        altered = bytearray(raw)
        altered[at] ^= 1 << at % 8
        with pytest.raises((UnusableInput, VerificationError)):
            opened(bytes(altered))


def test_every_altered_byte_of_the_evidence_is_found_under_a_manifest_that_fits() -> None:
    """Of a file that the log vouches for: the manifest is nobody's word."""
    raw, draw = GOLDEN.read_bytes(), random.Random(1)
    for name, body in unpack(raw).items():
        if name in (MANIFEST, "index.html") or name.endswith(".tsr"):
            continue
        for at in draw.sample(range(len(body)), min(len(body), 60)):
            altered = bytearray(body)
            altered[at] ^= 1 << draw.randrange(8)
            with pytest.raises((UnusableInput, VerificationError)):
                opened(rewritten(raw, {name: bytes(altered)}))


def test_every_altered_byte_of_the_manifest_is_found() -> None:
    """But for whom it was made for, which is told and not proven."""
    files = unpack(GOLDEN.read_bytes())
    raw = files[MANIFEST]
    told = range(raw.index(b'"reader"') + 9, raw.index(b',"size"'))
    for at in set(range(len(raw))) - set(told):
        altered = bytearray(raw)
        altered[at] ^= 1
        with pytest.raises((UnusableInput, VerificationError)):
            opened(pack({**files, MANIFEST: bytes(altered)}))


def lines(raw: bytes) -> list[bytes]:
    return unpack(raw)["entries.tsv"].splitlines(keepends=True)


def test_an_entry_that_is_removed_added_or_moved_is_found() -> None:
    raw = GOLDEN.read_bytes()
    rows = lines(raw)
    for at in range(len(rows)):
        with pytest.raises(VerificationError):
            opened(rewritten(raw, {"entries.tsv": b"".join(rows[:at] + rows[at + 1 :])}))
    refused(rewritten(raw, {"entries.tsv": b"".join([*rows, rows[-1]])}), "stands behind entry")
    refused(rewritten(raw, {"entries.tsv": b"".join(reversed(rows))}), "stands behind entry")
    other = lines(write(content(SampleLog.of(SIZE), {"index": [13]}, {0, 13}, schemas={})))
    refused(
        rewritten(raw, {"entries.tsv": b"".join([*rows[:-1], other[-1]])}), "lead to root|has [0-9]+ hashes"
    )


def test_an_entry_with_its_proof_out_of_another_bundle_of_the_log_is_no_part_of_this_one() -> None:
    """A contract from which an entry was taken out, proven well: the chain has a gap."""
    log, summary = summarised()
    chain = sorted(e.header.index for e in log.entries if e.header.contract == CONTRACTS[0])
    asked = {"contract": CONTRACTS[0]}
    for gone in chain:
        left = {0, summary.index, *chain} - {gone}
        made = content(log, asked, left, summary=summary, schemas={})
        if gone == chain[-1]:
            assert opened(write(made._replace(documents={}))).complete.since == 0
        else:
            refused(write(made), "is missing before|it is not whole")


def test_the_tail_of_a_contract_that_was_cut_off_before_the_summary_is_found() -> None:
    log, summary = summarised(after=0)
    chain = sorted(e.header.index for e in log.entries if e.header.contract == CONTRACTS[0])
    made = content(log, {"contract": CONTRACTS[0]}, {0, summary.index, *chain[:-1]}, summary=summary)
    refused(write(made._replace(schemas={})), "it is not whole")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"previous": bytes(32)}, "not chained to the entry before it"),
        ({"contract_previous": bytes(32)}, "does not continue the chain"),
        ({"contract_index": 0}, "does not continue the chain"),
        ({"recorded_at": "2027-03-01T09:30:00.000000Z"}, "is recorded before"),
    ],
)
def test_a_log_whose_operator_broke_a_chain_is_refused(header: dict[str, Any], words: str) -> None:
    """It is in the tree and signed for: only the entries before it contradict it."""
    log = SampleLog.of(3)
    for number in range(2):
        log.append(CONTRACTS[0], canonical({"id": number}), header=header if number else {})
    refused(write(content(log, {"index": [3, 4]}, {0, 2, 3, 4}, schemas={})), words)


@pytest.mark.parametrize("change", [{"entries": 1}, {"entries": 4}, {"head": "00" * 32}])
def test_a_summary_that_says_of_the_contract_what_is_not_so_is_refused(change: dict[str, Any]) -> None:
    """By an operator who signs it: then contract and summary contradict each other."""
    log = SampleLog.of(9)
    tails = [t._replace(**change) if t.contract == CONTRACTS[0] else t for t in tails_of(log)]
    data = {"contracts": len(tails), "root": root_of(tails).hex()}
    log.append("_ledger", canonical({"kind": "contracts.summarised", "version": 1, "data": data}))
    chain = {e.header.index for e in log.entries if e.header.contract == CONTRACTS[0]}
    summary = Summary(9, prove(tails, CONTRACTS[0]))
    made = content(log, {"contract": CONTRACTS[0]}, {0, 9, *chain}, summary=summary, schemas={})
    refused(write(made), "it is not whole")


def test_a_proof_of_another_contract_or_of_no_summary_is_refused() -> None:
    raw = GOLDEN.read_bytes()
    value: Any = parse(unpack(raw)["summary.json"])
    for change, words in (
        ({"contract": CONTRACTS[1]}, "must be of"),
        ({"entry": 0}, "summarises no chains"),
        ({"entry": 13}, "is missing or withheld"),
        ({"contracts": 9}, "counts 9 chains"),
        ({"count": 1}, "leads to root"),
        ({"extra": 1}, "not written as it must be"),
    ):
        refused(rewritten(raw, {"summary.json": canonical({**value, **change})}), words)
    refused(rewritten(raw, {}, asked={"serial": "SN000001"}), "none was asked for")


def test_another_logs_entries_are_no_part_of_this_one() -> None:
    other, _ = summarised()
    stranger = SampleLog.of(SIZE, signer=signer_of(2))
    raw = write(content(stranger, {"index": [3]}, {0, 3}, schemas={}))
    refused(raw, "must be the given")
    made = content(stranger, {"index": [3]}, {0, 3}, schemas={})
    mixed = made._replace(checkpoint=other.checkpoint(), verifier=SIGNER.verifier)
    refused(write(mixed), "must be")


def test_a_log_that_opens_under_another_key_is_refused() -> None:
    """The key signs the checkpoint, and is not the one that entry 0 names."""
    log = SampleLog.of(4, genesis=None)
    made = content(log, {"index": [3]}, {0, 3}, schemas={})
    thief = signer_of(3, log.signer.name)
    stolen = made._replace(checkpoint=log.checkpoint(signer=thief), verifier=thief.verifier)
    with pytest.raises(VerificationError, match="key of the opening is"):
        open_bundle(write(stolen), verifier=thief.verifier)


def test_an_anchor_that_the_log_does_not_continue_is_refused() -> None:
    made, fork = whole(), SampleLog.of(9)
    fork.append(CONTRACTS[0], b"{}")
    forked = made.anchors[0]._replace(note=fork.checkpoint(10))
    refused(write(made._replace(anchors=(forked,))), "the proof has|leads to|must be")
    raw = GOLDEN.read_bytes()
    refused(rewritten(raw, {"anchors/0.proof.txt": None}), "belongs to no checkpoint")
    refused(rewritten(raw, {"anchors/7.tsr": b"token"}), "belongs to no checkpoint")


@pytest.mark.parametrize("name", ["proof.txt", "anchors/0.proof.txt", "entries.tsv"])
def test_nothing_stands_behind_the_last_line(name: str) -> None:
    raw = GOLDEN.read_bytes()
    refused(rewritten(raw, {name: unpack(raw)[name] + b"x"}), f"{name} does not end in a line's end")


def test_a_document_or_schema_that_nothing_speaks_of_is_refused() -> None:
    raw = GOLDEN.read_bytes()
    text = b"policy: other\n"
    refused(rewritten(raw, {f"policies/{sha256(text).hexdigest()}.yaml": text}), "cited by no decision")
    refused(rewritten(raw, {f"policies/{DIGEST}.yaml": text}), "not the document of that digest")
    refused(rewritten(raw, {"schemas/order.placed-1.json": b"{}"}), "describes no event")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "policies/../x.yaml", "entries.tsv/", "index.html\n", "extra.txt", "A"]
)
def test_a_file_of_another_name_is_refused(name: str) -> None:
    refused(rewritten(GOLDEN.read_bytes(), {name: b""}), "is no file of a bundle")


def test_a_file_that_is_missing_from_either_side_is_named() -> None:
    raw = GOLDEN.read_bytes()
    files = unpack(raw)
    for name in files.keys() - {MANIFEST}:
        refused(pack({k: v for k, v in files.items() if k != name}), "missing")
    refused(pack({**files, f"policies/{'0' * 64}.yaml": b""}), "is not in manifest.json")
    for name in ("checkpoint", "entries.tsv", "proof.txt", "index.html"):
        refused(rewritten(raw, {name: None}), f"{name} is missing")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"size": 13}, "size is 13"),
        ({"origin": "other.example"}, "origin is"),
        ({"asked": {"index": [7]}}, "entry 7 was asked for and is missing"),
        ({"asked": {"contract": CONTRACTS[1]}}, "is missing before|no entry of contract"),
        ({"asked": {"contract": CONTRACTS[0], "serial": "X"}}, "does not say"),
        ({"asked": {}}, "does not say"),
        ({"asked": []}, "asked of manifest.json"),
        ({"more": 1}, "must be a canonical JSON object"),
    ],
)
def test_a_manifest_that_says_otherwise_is_refused(said: dict[str, Any], words: str) -> None:
    refused(rewritten(GOLDEN.read_bytes(), {}, **said), words)


def test_what_is_no_bundle_is_unusable() -> None:
    for raw, words in (
        (b"", "no zip"),
        (pack({"a": b""}), "no manifest.json"),
        (pack({MANIFEST: b"{}"}), "not that of a bundle"),
        (rewritten(GOLDEN.read_bytes(), {}, bundle=2), "of format 2, must be 1"),
    ):
        with pytest.raises(UnusableInput, match=words):
            opened(raw)


@pytest.mark.parametrize("body", [b"[]", b"1", b'{"policies":7,"shadows":[1]}', b'{"data":{"root":1}}'])
def test_bodies_that_no_ledger_commits_are_refused_or_shown_and_never_a_crash(body: bytes) -> None:
    made: list[Callable[[SampleLog], Any]] = [
        lambda log: log.append(CONTRACTS[0], body),
        lambda log: log.append(CONTRACTS[0], b"{}", body),
    ]
    for append in made:
        log = SampleLog.of(3)
        append(log)
        raw = write(content(log, {"index": [3]}, {0, 3}, schemas={}))
        if body.startswith(b"{"):
            assert opened(raw).entries
        else:
            refused(raw, "is no object")


def test_a_schema_beside_an_event_without_a_kind_is_refused() -> None:
    log = SampleLog.of(1)
    log.append(CONTRACTS[0], canonical({"kind": {}, "version": []}))
    refused(write(content(log, {"index": [1]}, {0, 1})), "describes no event of the bundle")


def test_tails_are_those_of_the_summary() -> None:
    """The sample is honest: its summary is what `ledger.verify` recomputes."""
    log, summary = summarised(after=0)
    log.entries.pop()
    assert [tail for tail in tails_of(log) if tail.contract == CONTRACTS[0]] == [summary.proof.tail]


if __name__ == "__main__":
    GOLDEN.write_bytes(write(whole()))
