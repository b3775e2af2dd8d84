"""ledger.checkpoint: golden bytes, the example of the specification, and tampering."""

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import SIZE_MAX, Checkpoint, open_checkpoint, sign
from ledger.errors import VerificationError
from ledger.merkle import EMPTY_ROOT
from ledger.note import Signer, parse_note
from ledger.note import sign as sign_note

ORIGIN = "ledger.example/h200"
ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(ORIGIN, 7, ROOT)
signer = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
other = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
witness = Signer("witness.example", Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))

# Made with hashlib, base64 and cryptography alone. Frozen: whoever changes these bytes breaks
# every checkpoint that is kept elsewhere.
GOLDEN_KEY = "ledger.example/h200+8e59e9eb+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
GOLDEN = (
    "ledger.example/h200\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n"
    "— ledger.example/h200 jlnp6zYsDsXUix1fPr/rFjE76SA97QCTRgge1weuxUjuYZOb3F"
    "IEuY26ZB77/mJ62dJjcVG3HaKXVDYCgmW13FtYLAQ=\n"
)

# The example of c2sp.org/tlog-checkpoint.
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q"
    "1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


def test_the_golden_checkpoint() -> None:
    assert str(signer.verifier) == GOLDEN_KEY
    assert sign(CHECKPOINT, signer) == GOLDEN
    assert open_checkpoint(GOLDEN, signer.verifier, ORIGIN) == CHECKPOINT
    assert open_checkpoint(GOLDEN.encode(), [other.verifier, signer.verifier], ORIGIN) == CHECKPOINT


def test_the_example_of_the_specification_parses() -> None:
    text, (signature,) = parse_note(SOFA)
    checkpoint = Checkpoint.parse(text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root == b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert signature.name == checkpoint.origin
    assert checkpoint.text() == text


def test_the_empty_tree_has_the_empty_root() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert empty.text() == f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert Checkpoint.parse(empty.text()) == empty
    with pytest.raises(VerificationError, match="root of the empty tree must be e3b0c442"):
        Checkpoint(ORIGIN, 0, ROOT)


lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(lines, st.integers(1, SIZE_MAX), st.binary(min_size=32, max_size=32))
def test_parse_is_the_inverse_of_text(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
    assert open_checkpoint(sign(checkpoint, signer), signer.verifier, origin) == checkpoint


B64 = b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", f"{ORIGIN}\n7\n{B64}", f"\n7\n{B64}\n", f"{ORIGIN}\n7\n{B64}\nextension\n",
        f"{ORIGIN}\n7\n{B64}\n\n", f"{ORIGIN}\n\n7\n{B64}\n", f"{ORIGIN}\n07\n{B64}\n",
        f"{ORIGIN}\n00\n{B64}\n", f"{ORIGIN}\n+7\n{B64}\n", f"{ORIGIN}\n-7\n{B64}\n",
        f"{ORIGIN}\n 7\n{B64}\n", f"{ORIGIN}\n7 \n{B64}\n", f"{ORIGIN}\n0x7\n{B64}\n",
        f"{ORIGIN}\n٧\n{B64}\n", f"{ORIGIN}\n7_0\n{B64}\n", f"{ORIGIN}\n7.0\n{B64}\n",
        f"{ORIGIN}\n\n{B64}\n", f"{ORIGIN}\n7\n\n", f"{ORIGIN}\n7\n{B64[:-1]}\n",
        f"{ORIGIN}\n7\n{B64}=\n", f"{ORIGIN}\n7\n {B64}\n", f"{ORIGIN}\n7\n{ROOT.hex()}\n",
        f"{ORIGIN}\n7\n{b64encode(ROOT[:31]).decode()}\n",
        f"{ORIGIN}\n7\n{b64encode(ROOT + b'0').decode()}\n", f"{ORIGIN}\n7\n{B64[:-2]}9=\n",
        f"{ORIGIN}\n9223372036854775808\n{B64}\n", f"{ORIGIN}\n10000000000000000000\n{B64}\n",
        f"{ORIGIN}\r\n7\r\n{B64}\r\n", f"{ORIGIN}\x01\n7\n{B64}\n", f"{ORIGIN}\n0\n{B64}\n",
    ],
)  # fmt: skip
def test_anything_but_the_three_lines_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        Checkpoint.parse(text)
    if text.endswith("\n") and "\r" not in text and "\x01" not in text:
        with pytest.raises(VerificationError):
            open_checkpoint(sign_note(text, signer), signer.verifier, ORIGIN)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (("", 7, ROOT), "origin is '', must be one line of text"),
        (("a\nb", 7, ROOT), "must be one line of text"),
        (("a\ud800", 7, ROOT), "must be one line of text"),
        ((ORIGIN, -1, ROOT), r"size is -1, must be within 0\.\.2\^63 - 1"),
        ((ORIGIN, SIZE_MAX + 1, ROOT), r"must be within 0\.\.2\^63 - 1"),
        ((ORIGIN, 7, ROOT[:-1]), "root is 31 bytes, must be 32"),
        ((ORIGIN, 7, ROOT + b"0"), "root is 33 bytes, must be 32"),
    ],
)
def test_the_constructor_is_the_last_check(fields: tuple[str, int, bytes], words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        Checkpoint(*fields)


def test_every_flipped_bit_of_a_checkpoint_refuses_it() -> None:
    raw = sign(CHECKPOINT, signer).encode()
    for bit in range(len(raw) * 8):
        mutated = bytearray(raw)
        mutated[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError):
            open_checkpoint(bytes(mutated), signer.verifier, ORIGIN)


def test_the_checkpoint_of_another_log_or_key_is_refused() -> None:
    note = sign(CHECKPOINT, signer)
    with pytest.raises(VerificationError, match=r"origin is 'ledger.example/h200', must be 'else'"):
        open_checkpoint(note, signer.verifier, "else")
    with pytest.raises(VerificationError, match="no known key signed the note"):
        open_checkpoint(note, other.verifier, ORIGIN)
    with pytest.raises(VerificationError, match="no known key signed the note"):
        open_checkpoint(sign(CHECKPOINT, witness), signer.verifier, ORIGIN)


def test_a_witness_beside_the_log_changes_nothing() -> None:
    note = sign_note(CHECKPOINT.text(), witness, signer)
    assert open_checkpoint(note, signer.verifier, ORIGIN) == CHECKPOINT
