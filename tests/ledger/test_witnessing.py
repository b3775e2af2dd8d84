"""Cosignatures: their bytes, whose are enough, and a log that has its checkpoints cosigned."""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.database import Logins
from ledger.checkpoint import Checkpoint, open_checkpoint, sign
from ledger.cosignature import (
    TrustPolicy,
    Witness,
    cosign,
    cosignatures_in,
    message,
    with_cosignatures,
)
from ledger.errors import UnusableInput, VerificationError
from ledger.note import Signature, parse_note
from ledger.publisher import cosigned_head
from ledger.witnessing import Witnessing, failing
from tests.ledger.live_log import LiveLog, denied, in_loop, live
from tests.ledger.sample_log import ORIGIN, SIGNER, signer_of
from tests.ledger.witness_server import TIME, WitnessServer, policy_of, served, witnesses

CHECKPOINT = Checkpoint(ORIGIN, 7, bytes([1]) * 32)
NOTE = sign(CHECKPOINT, SIGNER)


def key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))


def witness(name: str, seed: int) -> Witness:
    return Witness(name, key(seed).public_key().public_bytes_raw())


ONE, TWO, THREE = (witness(f"witness.example/w{n}", 10 + n) for n in (1, 2, 3))
KEYS = {ONE: key(11), TWO: key(12), THREE: key(13)}


def cosigned(note: str, *by: Witness) -> str:
    text, _ = parse_note(note)
    return note + "".join(cosign(text, one.name, KEYS[one], time=TIME) for one in by)


# --- one cosignature ------------------------------------------------------------------------------


def test_a_witness_signs_the_time_and_the_text() -> None:
    assert message(CHECKPOINT.text(), TIME) == (
        b"cosignature/v1\ntime 1800000000\n" + CHECKPOINT.text().encode()
    )


def test_a_cosignature_verifies_and_says_when() -> None:
    line = cosign(CHECKPOINT.text(), ONE.name, KEYS[ONE], time=TIME)
    [found] = cosignatures_in(NOTE + line, [ONE, TWO])
    assert (found.witness, found.time, found.line) == (ONE, TIME, line)


def test_lines_of_strangers_are_ignored() -> None:
    assert cosignatures_in(cosigned(NOTE, TWO), [ONE]) == ()
    assert cosignatures_in(NOTE, [ONE]) == ()


@pytest.mark.parametrize("place", [4, 11, 12, 75])
def test_a_known_witness_whose_line_was_altered_is_refused(place: int) -> None:
    line = cosign(CHECKPOINT.text(), ONE.name, KEYS[ONE], time=TIME)
    head, _, encoded = line.rstrip("\n").rpartition(" ")
    blob = bytearray(b64decode(encoded))
    blob[place] ^= 1
    with pytest.raises(VerificationError):
        cosignatures_in(f"{NOTE}{head} {b64encode(bytes(blob)).decode()}\n", [ONE])


def test_a_cosignature_of_another_checkpoint_is_refused() -> None:
    other = sign(Checkpoint(ORIGIN, 8, bytes([1]) * 32), SIGNER)
    line = cosigned(other, ONE).removeprefix(other)
    with pytest.raises(VerificationError, match="does not hold over this checkpoint"):
        cosignatures_in(NOTE + line, [ONE])


def test_a_cosignature_that_is_too_short_is_refused() -> None:
    with pytest.raises(VerificationError, match="is 71 bytes, must be 72"):
        cosignatures_in(NOTE + str(Signature(ONE.name, ONE.key_id, bytes(71))), [ONE])


def test_one_witness_counts_once_and_its_line_stands_once() -> None:
    twice = cosigned(NOTE, ONE, ONE)
    [found] = cosignatures_in(twice, [ONE])
    assert with_cosignatures(cosigned(NOTE, ONE), [found]) == cosigned(NOTE, ONE)


def test_the_log_still_verifies_beside_cosignatures() -> None:
    note = cosigned(NOTE, ONE, TWO)
    assert open_checkpoint(note, SIGNER.verifier, ORIGIN) == CHECKPOINT


def test_a_witness_key_is_of_its_own_type() -> None:
    assert Witness.parse(str(ONE)) == ONE
    with pytest.raises(UnusableInput, match=r"is of type 0x01 \(Ed25519\), must be 0x04"):
        Witness.parse(str(SIGNER.verifier))


# --- whose are enough -----------------------------------------------------------------------------

TWO_LEVELS = f"""
# as in C2SP tlog-policy
log {SIGNER.verifier} https://log.example/
witness X1 {ONE} https://w1.example/
witness X2 {TWO}
 witness\tY1 {THREE}
group X any X1 X2
group both all X Y1
quorum both
"""


@pytest.mark.parametrize(
    ("by", "met"),
    [([], False), ([ONE], False), ([ONE, TWO], False), ([THREE], False), ([TWO, THREE], True)],
)
def test_a_quorum_of_groups(by: list[Witness], met: bool) -> None:
    policy = TrustPolicy.parse(TWO_LEVELS)
    assert policy.is_met_by(by) is met
    assert policy.urls == {"X1": "https://w1.example/"}
    assert policy.logs == (str(SIGNER.verifier),)


def test_no_quorum_is_met_by_nobody() -> None:
    assert TrustPolicy.parse("quorum none\n").is_met_by([])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no quorum line"),
        ("quorum X\n", "line 1: X is no witness or group of a line before"),
        (f"witness A {ONE}\nquorum A\nquorum A\n", "line 3: a second quorum line"),
        (f"witness A {ONE}\nwitness A {TWO}\nquorum A\n", "line 2: the name A is taken"),
        (f"witness A {ONE}\nwitness B {ONE}\nquorum A\n", "another witness has this key already"),
        (f"witness A {ONE}\ngroup G 2 A\nquorum G\n", "line 2: '2' of 1: must be all, any"),
        (f"witness A {ONE}\ngroup G 0 A\nquorum G\n", "line 2: '0' of 1"),
        (f"witness A {ONE}\ngroup G any A\ngroup H any A G\nquorum H\n", "A is a member already"),
        (f"witness A {SIGNER.verifier}\nquorum A\n", "must be 0x04"),
        (f"witness none {ONE}\nquorum none\n", "the name none is taken"),
        ("trust everybody\nquorum none\n", "line 1: 'trust' is not known"),
        ("group G any\nquorum none\n", "group G has no members"),
        ("witness A\nquorum none\n", "1 words after witness"),
    ],
)
def test_a_policy_with_a_mistake_is_refused_by_its_line(text: str, words: str) -> None:
    with pytest.raises(UnusableInput, match=words):
        TrustPolicy.parse(text)


# --- a log and its witnesses ----------------------------------------------------------------------


def three() -> list[WitnessServer]:
    return [WitnessServer(f"witness.example/w{n}", SIGNER.verifier, seed=20 + n) for n in range(3)]


async def grown(log: LiveLog, entries: int) -> None:
    while (await log.reader.head()).size < entries:
        await log.append(*(denied() for _ in range(min(200, entries - (await log.reader.head()).size))))


@in_loop
async def test_a_log_has_its_growth_cosigned(ledger: Logins) -> None:
    servers = three()
    with witnesses(*servers):
        async with live(ledger) as log:
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers))
            for size in (1, 300, 301):  # more than a tile, and then one more
                await grown(log, size)
                note = await witnessing.ask()
                assert note is not None
                assert note == await log.reader.witnessed(ORIGIN)
                assert open_checkpoint(note, SIGNER.verifier, ORIGIN).size == size == witnessing.size
                found = cosignatures_in(note, [server.witness for server in servers])
                assert [one.time for one in found] == [TIME] * 3
            assert await witnessing.ask() is None, "what has not grown is not asked about"
            assert failing(witnessing.witnesses) == 0
            await witnessing.close()


@in_loop
async def test_two_of_three_are_enough_and_the_third_is_told_of(ledger: Logins) -> None:
    servers = three()
    servers[1].behave = lambda _: (500, "")
    with witnesses(*servers):
        async with live(ledger) as log:
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers, needed="2"))
            assert witnessing.needed == (2, 3)
            note = await witnessing.ask()
            assert note is not None
            assert len(cosignatures_in(note, [server.witness for server in servers])) == 2
            assert [one.error for one in witnessing.witnesses] == [None, "HTTP 500: unexpected", None]
            servers[1].behave = None
            await grown(log, 5)
            await witnessing.ask()
            assert failing(witnessing.witnesses) == 0
            await witnessing.close()


@in_loop
async def test_one_of_three_is_not_enough_and_nothing_is_said_to_be_witnessed(ledger: Logins) -> None:
    servers = three()
    for server in servers[1:]:
        server.behave = lambda _: (404, "")
    with witnesses(*servers):
        async with live(ledger) as log:
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers, needed="2"))
            assert await witnessing.ask() is None
            assert await log.reader.witnessed(ORIGIN) is None
            assert witnessing.size == 0
            assert {one.error for one in witnessing.witnesses[1:]} == {
                "HTTP 404: it does not know the origin of this log"
            }
            await witnessing.close()


@in_loop
async def test_a_witness_that_hangs_is_not_waited_for(ledger: Logins) -> None:
    servers, released = three(), threading.Event()
    servers[2].behave = lambda _: released.wait(30) and None
    try:
        with witnesses(*servers):
            async with live(ledger) as log:
                policy = policy_of(*servers, needed="2")
                witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy, timeout_s=60)
                for size in (1, 3, 5):
                    await grown(log, size)
                    assert await witnessing.ask() is not None
                assert len(servers[2].asked) == 1, "it has not answered the first"
                await witnessing.close()
                released.set()
    finally:
        released.set()


@in_loop
async def test_a_witness_that_drips_is_given_up(ledger: Logins) -> None:
    """Each byte comes in time, and the answer never would."""
    with served(lambda _, __: (200, "text/plain", bytes(1_000)), drips=True) as url:
        policy = TrustPolicy.parse(f"witness A {ONE} {url}\nquorum A\n")
        async with live(ledger) as log:
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy, interval_s=60, timeout_s=0.5)
            assert await witnessing.ask() is None
            assert [one.error for one in witnessing.witnesses] == ["it has not answered within 0.5 s"]
            await witnessing.close()


@in_loop
async def test_a_process_that_forgot_learns_from_the_witness_how_far_it_is(ledger: Logins) -> None:
    servers = three()[:1]
    with witnesses(*servers):
        async with live(ledger) as log:
            for size in (4, 9):
                await grown(log, size)
                anew = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers))
                assert await anew.ask() is not None
                await anew.close()
            assert servers[0].size == 9
            assert servers[0].asked[-1].startswith(b"old 4\n")


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (lambda _: (409, "999\n"), "has seen '999', this log has 1 entries"),
        (lambda _: (409, "nonsense"), "has seen 'nonsense'"),
        (lambda _: (409, "0\n"), "has seen '0'"),
        (lambda _: (422, ""), "it does not believe the proof"),
        (lambda _: (403, ""), "it does not know the key"),
        (lambda _: (200, ""), "no cosignature of the key"),
        (lambda _: (200, "not a signature line\n"), "signature line is"),
        (lambda _: (200, "x" * 100_000), "its answer is longer than 65536 bytes"),
        (lambda _: (302, ""), "HTTP 302"),
    ],
)
def test_whatever_a_witness_answers_it_is_told_and_nothing_is_kept(
    ledger: Logins, behave: Any, words: str
) -> None:
    servers = three()[:1]
    servers[0].behave = behave

    @in_loop
    async def asked() -> None:
        async with live(ledger) as log:
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers))
            assert await witnessing.ask() is None
            error = witnessing.witnesses[0].error
            assert error is not None
            assert words in error
            assert await log.reader.witnessed(ORIGIN) is None
            await witnessing.close()

    with witnesses(*servers):
        asked()


@in_loop
async def test_a_fork_is_refused_by_the_witness(ledger: Logins) -> None:
    """Whoever holds the log's key can sign another history; a witness has seen the one before it."""
    servers = three()[:1]
    with witnesses(*servers):
        async with live(ledger) as log:
            await grown(log, 6)
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers))
            assert await witnessing.ask() is not None
            servers[0].root = bytes(32)  # as if it had seen another tree of this size
            await grown(log, 8)
            assert await witnessing.ask() is None
            assert (
                witnessing.witnesses[0].error
                == "HTTP 422: it does not believe the proof that the log has only grown"
            )
            await witnessing.close()


@in_loop
async def test_what_witnesses_have_seen_is_shown_under_the_present_key_and_goes_not_back(
    ledger: Logins,
) -> None:
    servers = three()[:1]
    with witnesses(*servers):
        async with live(ledger) as log:
            assert await cosigned_head(log.reader, SIGNER.verifier) is None
            await grown(log, 6)
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers))
            note = await witnessing.ask()
            await witnessing.close()
            assert note is not None
            assert await cosigned_head(log.reader, SIGNER.verifier) == note
            assert await cosigned_head(log.reader, SIGNER.verifier, least=6) == note
            assert await cosigned_head(log.reader, SIGNER.verifier, least=7) is None
            assert await cosigned_head(log.reader, signer_of(2).verifier) is None


@in_loop
async def test_an_earlier_checkpoint_does_not_replace_a_later_one(ledger: Logins) -> None:
    servers = three()[:1]
    with witnesses(*servers):
        async with live(ledger) as log:
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers))
            await grown(log, 3)
            note = await witnessing.ask()
            assert note is not None
            await witnessing._keep(2, f"{ORIGIN}\nof another process that was slow")
            assert await log.reader.witnessed(ORIGIN) == note
            await witnessing.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://witness.example/",
        "ftp://127.0.0.1/",
        "https:/x",
        "file:///etc/passwd",
        "https://user:secret@witness.example/",
    ],
)
def test_a_witness_is_asked_over_https_or_on_this_machine(url: str) -> None:
    policy = TrustPolicy.parse(f"witness A {ONE} {url}\nquorum A\n")
    with pytest.raises(UnusableInput, match="must be https"):
        Witnessing(None, "", signer_of(1), policy)  # type: ignore[arg-type]


@in_loop
async def test_what_was_cosigned_under_another_name_gives_way_whatever_its_size(
    ledger: Logins, owner: str
) -> None:
    """The log was recovered: what its witnesses had seen before is of another log."""
    old = sign(Checkpoint("ledger.example/before", 99, bytes([1]) * 32), SIGNER)
    with psycopg.connect(owner) as connection:
        connection.execute("INSERT INTO witnessed (id, size, note) VALUES (1, 99, %s)", [old])
    servers = three()
    with witnesses(*servers):
        async with live(ledger) as log:
            assert await log.reader.witnessed(ORIGIN) is None
            witnessing = Witnessing(log.reader, ledger.writer, SIGNER, policy_of(*servers))
            note = await witnessing.ask()
            await witnessing.close()
            assert note is not None
            assert await log.reader.witnessed(ORIGIN) == note
