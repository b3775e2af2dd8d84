"""ledger.note against the notes that Go's sumdb/note publishes, and against tampering."""

import copy
import pickle
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger import note
from ledger.errors import UnusableInput, VerificationError
from ledger.note import Signature, Signer, Verifier, open_note, parse_note, sign

# The example of golang.org/x/mod/sumdb/note, its key pair and a second signer of its tests.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpR"
    "Zb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33"
    "WWd1RvMc+QQ=\n"
)
NOTE = TEXT + "\n" + PETER_LINE
BOTH = NOTE + ENOCH_LINE

# The example of a C2SP implementation in Elixir, yaglo/signed_note.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# The example of c2sp.org/signed-note, whose text has a blank line of its own.
QUASIMODO = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU"
    "0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)

peter = Verifier.parse(PETER)
enoch = Verifier.parse(ENOCH)
signer = Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(PETER_SEED))


def names(signatures: tuple[Signature, ...]) -> list[str]:
    return [signature.name for signature in signatures]


# --- published notes ------------------------------------------------------------------------------


def test_we_sign_the_bytes_that_go_signs() -> None:
    assert sign(TEXT, signer) == NOTE
    assert signer.verifier == peter


def test_published_notes_open() -> None:
    assert open_note(NOTE, [peter]) == open_note(NOTE.encode(), [peter])
    assert open_note(NOTE, [peter])[0] == TEXT
    assert open_note(FOO_NOTE, [Verifier.parse(FOO)])[0] == "This is an example message.\n"
    text, (signature,) = parse_note(QUASIMODO)
    assert text.endswith("\n\ned è subito sera.\n")
    assert (signature.name, len(signature.signature)) == ("quasimodo.example/salvatore", 64)
    assert text + "\n" + str(signature) == QUASIMODO


@pytest.mark.parametrize(
    "key",
    [PETER, ENOCH, FOO, "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"],
)
def test_published_verifier_keys_parse_and_print_the_same(key: str) -> None:
    assert str(Verifier.parse(key)) == key


# --- who signed -----------------------------------------------------------------------------------


def test_signatures_of_unknown_keys_are_ignored() -> None:
    assert names(open_note(BOTH, [peter])[1]) == ["PeterNeumann"]
    assert names(open_note(BOTH, [enoch])[1]) == ["EnochRoot"]
    assert names(open_note(BOTH, [enoch, peter])[1]) == ["PeterNeumann", "EnochRoot"]
    assert names(open_note(BOTH, iter([peter, peter]))[1]) == ["PeterNeumann"]


def test_a_key_of_the_same_name_and_another_id_is_unknown() -> None:
    namesake = Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    assert names(open_note(sign(TEXT, namesake, signer), [peter])[1]) == ["PeterNeumann"]
    with pytest.raises(VerificationError, match=r"no known key signed the note; known: PeterNeum"):
        open_note(sign(TEXT, namesake), [peter])


def test_a_note_without_a_known_signature_is_refused() -> None:
    with pytest.raises(VerificationError, match=r"no known key signed the note; known: EnochRoot\+"):
        open_note(NOTE, [enoch])
    with pytest.raises(VerificationError, match="no known key signed the note; known: none"):
        open_note(NOTE, [])


def test_one_failed_signature_of_a_known_key_refuses_the_whole() -> None:
    forged = str(Signature("EnochRoot", enoch.key_id, bytes(64)))
    with pytest.raises(VerificationError, match=r"by EnochRoot\+af0cfe78 does not hold"):
        open_note(NOTE + forged, [peter, enoch])
    assert names(open_note(NOTE + forged, [peter])[1]) == ["PeterNeumann"]
    # Even beside a signature by the same key that does hold, in either order.
    for lines in (ENOCH_LINE + forged, forged + ENOCH_LINE):
        with pytest.raises(VerificationError, match="does not hold"):
            open_note(TEXT + "\n" + lines, [enoch])


def test_a_signature_of_the_wrong_length_does_not_hold() -> None:
    blob = open_note(NOTE, [peter])[1][0].signature
    for wrong in (blob[:-1], blob + b"\0", blob[:1]):
        with pytest.raises(VerificationError, match="does not hold"):
            open_note(f"{TEXT}\n{Signature('PeterNeumann', peter.key_id, wrong)}", [peter])


def test_two_different_keys_of_one_name_and_id_are_ambiguous() -> None:
    twin = copy.copy(peter)
    object.__setattr__(twin, "public_key", enoch.public_key)
    with pytest.raises(UnusableInput, match=r"two keys are named PeterNeumann\+c74f20a3"):
        open_note(NOTE, [peter, twin])


def test_sixteen_signatures_are_accepted_and_a_hundred_and_one_are_not() -> None:
    signers = [
        Signer(f"witness.example/{n}", Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)))
        for n in range(101)
    ]
    for count in (16, 100):
        known = [one.verifier for one in signers[:count]]
        assert len(open_note(sign(TEXT, *signers[:count]), known)[1]) == count
    with pytest.raises(VerificationError, match="has 101 signatures, must have at most 100"):
        open_note(sign(TEXT, *signers), [signers[0].verifier])


# --- tampering ------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_note_refuses_it() -> None:
    raw = NOTE.encode()
    for bit in range(len(raw) * 8):
        mutated = bytearray(raw)
        mutated[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError):
            open_note(bytes(mutated), [peter])


def test_every_cut_of_a_note_refuses_it() -> None:
    for end in range(len(NOTE)):
        with pytest.raises(VerificationError):
            open_note(NOTE[:end], [peter])
        with pytest.raises(VerificationError):
            open_note(NOTE[end + 1 :], [peter])


@pytest.mark.parametrize(
    "malformed",
    [
        "", "\n", "\n\n", TEXT, TEXT + "\n", NOTE[:-1], NOTE[:-1] + "x", NOTE + "\n",
        NOTE + "Unexpected line.\n",
        "\x01" + NOTE, "\t" + NOTE, NOTE.replace("\n", "\r\n"), "\ud800" + NOTE, "\0" + NOTE,
        NOTE.replace("—", "--"), NOTE.replace("— ", "—"), NOTE.replace("— ", "—  "),
        NOTE.replace("PeterNeumann ", "Peter Neumann "), NOTE.replace("Neumann ", "+Neumann "),
        NOTE.replace("Neumann ", "Neumann\u00a0 "), NOTE.replace("Neumann ", "Neumann\u2028 "),
        NOTE.replace("PeterNeumann ", " "), NOTE.replace("=\n", "\n"), NOTE.replace("=\n", "==\n"),
        NOTE.replace("AM=\n", "AN=\n"),  # the same bytes to a lax decoder: unused bits set
        NOTE.replace("AM=\n", "AM= \n"), NOTE.replace("x08go/", "x08go_"), NOTE.replace("x0", "٠0"),
        f"{TEXT}\n— PeterNeumann \n", f"{TEXT}\n— PeterNeumann\n", f"{TEXT}{PETER_LINE}",
        f"{TEXT}\n— PeterNeumann x08gow==\n", f"\n{PETER_LINE}", PETER_LINE,
    ],
)  # fmt: skip
def test_malformed_notes_are_refused(malformed: str) -> None:
    # By their shape alone, before any signature is looked at.
    with pytest.raises(VerificationError):
        parse_note(malformed)


def test_a_blank_line_more_is_another_text() -> None:
    with pytest.raises(VerificationError, match="does not hold over this text"):
        open_note(f"{TEXT}\n\n{PETER_LINE}", [peter])


def test_bytes_that_are_no_utf8_are_refused() -> None:
    for raw in (b"\xff" + NOTE.encode(), NOTE.encode()[:-1] + b"\xc3\n"):
        with pytest.raises(VerificationError, match="the note is not UTF-8"):
            open_note(raw, [peter])


def test_text_that_is_no_note_text_is_not_signed() -> None:
    for text in ("", "abc", "a\tb\n", "a\r\n", "a\0\n", "\ud800\n"):
        with pytest.raises(VerificationError, match="the text of a note"):
            sign(text, signer)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n")))
def test_whatever_is_signed_opens(text: str) -> None:
    opened, signatures = open_note(sign(text + "\n", signer), [peter])
    assert opened == text + "\n"
    assert names(signatures) == ["PeterNeumann"]


# --- verifier keys --------------------------------------------------------------------------------


def test_no_part_of_a_verifier_key_is_one() -> None:
    for start in range(len(PETER)):
        for end in range(start, len(PETER) + 1):
            if (start, end) != (0, len(PETER)):
                with pytest.raises(UnusableInput):
                    Verifier.parse(PETER[start:end])


def test_every_changed_character_of_a_verifier_key_refuses_it() -> None:
    for at, character in enumerate(PETER):
        for other in (chr(ord(character) + 1), chr(ord(character) ^ 32), " ", "+", "\n"):
            if other != character:
                with pytest.raises(UnusableInput):
                    Verifier.parse(PETER[:at] + other + PETER[at + 1 :])


@pytest.mark.parametrize(
    ("key", "words"),
    [
        # Both with the key id that their bytes have.
        (
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "is not canonical base64|an Ed25519 key is 32 bytes",
        ),
        (
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            r"is of type 0x65, must be 0x01 \(Ed25519\)",
        ),
        (PETER.replace("c74f20a3", "c74f20a4"), "is c74f20a4, must be c74f20a3 for this key"),
        (PETER.replace("c74f20a3", "C74F20A3"), "is no verifier key, must be name"),
        (PETER + "\n", "is no verifier key, must be name"),
        ("Peter Neumann" + PETER[12:], "must be non-empty without space or plus"),
    ],
)
def test_the_words_on_a_refused_verifier_key(key: str, words: str) -> None:
    with pytest.raises(UnusableInput, match=words):
        Verifier.parse(key)


def test_a_witness_key_is_recognised_and_not_taken_for_a_log_key() -> None:
    raw = bytes([note.COSIGNATURE]) + peter.public_key
    identity = note.key_id("witness.example", note.COSIGNATURE, peter.public_key).hex()
    with pytest.raises(UnusableInput, match=r"0x04 \(a witness cosignature key\), must be 0x01"):
        Verifier.parse(f"witness.example+{identity}+{b64encode(raw).decode()}")


def test_bad_names_make_no_key() -> None:
    for name in ("", "a b", "a+b", "a\nb", "a\u3000b", "a\x85", "\ud800"):
        with pytest.raises(UnusableInput, match="must be non-empty without space or plus"):
            Signer(name, Ed25519PrivateKey.from_private_bytes(PETER_SEED))


def test_a_signer_never_shows_its_secret() -> None:
    assert repr(signer) == str(signer) == "Signer(PeterNeumann+c74f20a3)"
    assert not hasattr(signer, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="it holds a private key"):
            leak(signer)
