"""ledger.receipt: its text form, C2SP tlog-proof, says what the JSON says, in one spelling."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.errors import UnusableInput, VerificationError
from ledger.note import parse_note, sign
from ledger.receipt import Receipt, TlogProof, parse_receipt
from tests.ledger.sample_log import ORIGIN, SIGNER, SampleLog, signer_of

VECTORS = Path(__file__).parents[1] / "vectors"
GOLDEN = (VECTORS / "receipt-format-1.tlog-proof").read_bytes()
LOG = SampleLog.of(12)
TEXT = LOG.receipt(3).tlog_proof()


def test_the_golden_receipt_in_its_other_form() -> None:
    receipt = Receipt.parse((VECTORS / "receipt-format-1.json").read_bytes())
    assert receipt.tlog_proof().encode() == GOLDEN
    assert parse_receipt(GOLDEN) == receipt.proof
    assert parse_receipt(receipt.encode()) == receipt


@given(st.integers(1, 12), st.data())
def test_a_receipt_in_text_parses_to_itself_and_proves_its_entry_alone(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    text = LOG.receipt(index, size).tlog_proof()
    proof = TlogProof.parse(text.encode())
    assert proof.encode() == text
    assert (proof.index, proof.tree_size) == (index, size)
    assert proof.check(SIGNER.verifier, leaf=LOG.leaves[index]).size == size
    for other, leaf in enumerate(LOG.leaves):
        if other != index:
            with pytest.raises(VerificationError, match="leads to root"):
                proof.check(SIGNER.verifier, leaf=leaf)


def test_the_lines_are_those_of_the_specification() -> None:
    lines = TEXT.split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 3"]
    assert lines[2:6] == [b64encode(one).decode() for one in LOG.receipt(3).hashes]
    assert "\n".join(lines[6:]) == "\n" + LOG.checkpoint()


def test_extra_data_is_read_over_and_cosignatures_are_no_hindrance() -> None:
    extra = TEXT.replace("\nindex", "\nextra aGVsbG8=\nindex", 1)
    assert TlogProof.parse(extra.encode()).encode() == TEXT
    note = sign(parse_note(LOG.checkpoint())[0], SIGNER, signer_of(3, "witness.example"))
    cosigned = TEXT.replace(LOG.checkpoint(), note)
    assert TlogProof.parse(cosigned.encode()).encode() == cosigned
    assert TlogProof.parse(cosigned.encode()).check(SIGNER.verifier, leaf=LOG.leaves[3]).size == 12


MALFORMED: dict[str, Callable[[str], str]] = {
    "other version": lambda text: text.replace("@v1", "@v2", 1),
    "nothing but its name": lambda text: text[: text.index("\n") + 1],
    "no index": lambda text: text.replace("index 3\n", "", 1),
    "index with a leading zero": lambda text: text.replace("index 3", "index 03", 1),
    "negative index": lambda text: text.replace("index 3", "index -3", 1),
    "index in other digits": lambda text: text.replace("index 3", "index ٣", 1),
    "extra behind the index": lambda text: text.replace("index 3\n", "index 3\nextra aGk=\n", 1),
    "extra that is not base64": lambda text: text.replace("index", "extra a b\nindex", 1),
    "a short hash": lambda text: text.replace("=\n", "\n", 1),
    "a hash in another spelling": lambda text: text.replace(
        text.split("\n")[2], respelled(text.split("\n")[2])
    ),
    "a hash with CR": lambda text: text.replace("=\n", "=\r\n", 1),
    "sixty-four hashes": lambda text: text.replace("index 3\n", "index 3\n" + 64 * f"{'A' * 43}=\n", 1),
    "no empty line": lambda text: text.replace("=\n\n", "=\n", 1),
    "no checkpoint": lambda text: text[: text.index("\n\n") + 2],
    "a checkpoint without signature": lambda text: text[: text.index("\n\n—")],
    "a checkpoint that is none": lambda text: text.replace(f"{ORIGIN}\n12\n", f"{ORIGIN}\n012\n"),
}


def respelled(hash_: str) -> str:
    """Other unused bits in the last character: Python alone would read the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return f"{hash_[:42]}{alphabet[alphabet.index(hash_[42]) + 1]}="


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_tlog_proof_is_unusable(name: str) -> None:
    malformed = MALFORMED[name](TEXT)
    assert malformed != TEXT
    with pytest.raises(UnusableInput, match=r"this is not a (tlog-proof|receipt)"):
        parse_receipt(malformed.encode())


def test_bytes_that_are_no_text_are_unusable() -> None:
    with pytest.raises(UnusableInput, match="this is not a tlog-proof"):
        parse_receipt(TEXT.encode() + b"\xff")


def test_a_proof_for_another_tree_key_or_place_is_refused() -> None:
    proof, leaf = LOG.receipt(3).proof, LOG.leaves[3]
    other = Checkpoint(ORIGIN, 12, bytes(32))
    for forged, words in (
        (proof._replace(index=4), "leads to root"),
        (proof._replace(index=12), "index is 12, must be below tree size 12"),
        (proof._replace(tree_size=11), "is for a tree of 11, its checkpoint for a tree of 12"),
        (proof._replace(hashes=proof.hashes[1:]), "the proof has 3 hashes, must have 4"),
        (proof._replace(checkpoint=LOG.checkpoint(signer=signer_of(2))), "no known key signed"),
        (proof._replace(checkpoint=sign(other.text(), SIGNER)), "leads to root"),
    ):
        with pytest.raises(VerificationError, match=words):
            forged.check(SIGNER.verifier, leaf=leaf)


@pytest.mark.parametrize("form", ["json", "tlog-proof"])
def test_every_byte_of_a_receipt_matters(form: str) -> None:
    receipt = LOG.receipt(3)
    raw = receipt.encode() if form == "json" else TEXT.encode()
    random = Random(7)
    for at in range(len(raw)):
        altered = raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :]
        with pytest.raises((UnusableInput, VerificationError)):
            _check(parse_receipt(altered), receipt)


def _check(told: Receipt | TlogProof, receipt: Receipt) -> None:
    if isinstance(told, TlogProof):
        told.check(SIGNER.verifier, leaf=LOG.leaves[3])
        return
    told.check(SIGNER.verifier)
    if told.salts != receipt.salts:  # an export holds them against its own
        raise VerificationError("another salt")
