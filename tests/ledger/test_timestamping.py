"""Third-party time, by OpenSSL's own authority: asked for, kept, and checked offline by both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography.x509 import load_pem_x509_certificates
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from api.database import Logins
from ledger.checkpoint import open_checkpoint
from ledger.errors import Unavailable, UnusableInput, VerificationError
from ledger.timestamp import check_timestamp, told_time
from ledger.timestamping import Authority, Timestamping
from tests.ledger.live_log import LiveLog, denied, in_loop, live
from tests.ledger.sample_log import ORIGIN, SIGNER, SampleLog
from tests.ledger.witness_server import AuthorityServer, authority, served


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorityServer]:
    with authority(tmp_path_factory.mktemp("tsa")) as server:
        yield server


def trusted(tsa: AuthorityServer) -> Authority:
    return Authority(tsa.url, load_pem_x509_certificates(tsa.roots.read_bytes()))


def test_a_checkpoint_is_stamped_kept_and_checked_by_others(ledger: Logins, tsa: AuthorityServer) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)

    @in_loop
    async def stamped() -> None:
        async with live(ledger) as log:
            await log.append(denied())
            stamping = Timestamping(log.reader, ledger.writer, SIGNER, trusted(tsa))
            assert await stamping.stamp()
            assert not await stamping.stamp(), "the log has not grown, and the day is not over"
            await log.append(denied())
            assert not await stamping.stamp(), "the day is not over"
            often = Timestamping(log.reader, ledger.writer, SIGNER, trusted(tsa), every=timedelta(0))
            assert await often.stamp()
            assert not await often.stamp(), "the log has not grown"
            first, second = await log.reader.timestamps()
            assert (first.size, second.size) == (2, 3)
            assert open_checkpoint(first.note, SIGNER.verifier, ORIGIN).size == 2
            at = check_timestamp(first.token, first.note, trusted(tsa).roots)
            assert began <= at <= datetime.now(UTC) + timedelta(seconds=2)
            assert at == first.stamped_at
            assert tsa.verifies(first.token, first.note)
            assert not tsa.verifies(first.token, second.note)
            await stamping.close()
            await often.close()

    stamped()


def test_a_clock_that_ran_ahead_does_not_end_the_timestamps(
    ledger: Logins, owner: str, tsa: AuthorityServer
) -> None:
    @in_loop
    async def stamped() -> None:
        async with live(ledger) as log:
            stamping = Timestamping(log.reader, ledger.writer, SIGNER, trusted(tsa))
            assert await stamping.stamp()
            with psycopg.connect(owner) as connection:
                connection.execute("ALTER TABLE timestamps DISABLE TRIGGER ALL")
                connection.execute("UPDATE timestamps SET stamped_at = stamped_at + interval '9 days'")
            await log.append(denied())
            assert await stamping.stamp()
            await stamping.close()

    stamped()


def test_a_timestamp_of_another_checkpoint_or_authority_does_not_hold(
    tsa: AuthorityServer, tmp_path: Path
) -> None:
    note, other = SampleLog.of(5).checkpoint(), SampleLog.of(6).checkpoint()
    request = TimestampRequestBuilder().data(note.encode()).hash_algorithm(HashAlgorithm.SHA256).build()
    token = tsa.reply(request.as_bytes())
    roots = trusted(tsa).roots
    assert check_timestamp(token, note, roots)
    with pytest.raises(VerificationError, match="does not hold"):
        check_timestamp(token, other, roots)
    stranger = AuthorityServer(tmp_path)
    stranger.prepare()
    with pytest.raises(VerificationError, match="does not hold"):
        check_timestamp(token, note, load_pem_x509_certificates(stranger.roots.read_bytes()))
    with pytest.raises(VerificationError, match="is no RFC 3161 response"):
        check_timestamp(b"nonsense", note, roots)
    refused = 0
    for place in range(0, len(token), 37):
        altered = bytearray(token)
        altered[place] ^= 0x01
        try:
            at = check_timestamp(bytes(altered), note, roots)
        except VerificationError:
            refused += 1
        else:
            # What the signature does not cover may change, and then nothing else may.
            assert at == check_timestamp(token, note, roots)
    assert refused > len(token) // 37 * 3 // 4


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [(500, b"", "answers HTTP 500"), (200, b"x" * 300_000, "is too long")],
)
def test_an_authority_that_fails_is_told_and_nothing_is_kept(
    ledger: Logins, tsa: AuthorityServer, status: int, content: bytes, words: str
) -> None:
    @in_loop
    async def asked(url: str) -> None:
        async with live(ledger) as log:
            stamping = Timestamping(log.reader, ledger.writer, SIGNER, Authority(url, trusted(tsa).roots))
            with pytest.raises(Unavailable, match=words):
                await stamping.stamp()
            assert await log.reader.timestamps() == []
            await stamping.close()

    with served(lambda _, __: (status, "application/timestamp-reply", content)) as url:
        asked(url)


def test_an_authority_that_drips_is_given_up(ledger: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.timestamping.TIMEOUT_S", 0.5)

    @in_loop
    async def asked() -> None:
        async with live(ledger) as log:
            timestamping = Timestamping(log.reader, ledger.writer, SIGNER, Authority(url, ()))
            with pytest.raises(Unavailable, match="does not answer: TimeoutError"):
                await timestamping.stamp()
            await timestamping.close()

    with served(lambda _, __: (200, "application/timestamp-reply", bytes(1_000)), drips=True) as url:
        asked()


@pytest.mark.parametrize("url", ["ftp://tsa.example/", "https://user:secret@tsa.example/"])
def test_an_authority_is_asked_over_http_and_its_url_holds_no_secret(url: str) -> None:
    with pytest.raises(UnusableInput) as refused:
        Timestamping(None, "", SIGNER, Authority(url, ()))  # type: ignore[arg-type]
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "lie", ["another request's", "an unknown authority's", "a refusal", "no response", "a broken token"]
)
def test_an_answer_that_does_not_hold_is_not_kept(
    ledger: Logins, tsa: AuthorityServer, tmp_path: Path, lie: str
) -> None:
    stranger, asked = AuthorityServer(tmp_path), list[bytes]()
    stranger.prepare()

    def answer(_: str, query: bytes) -> tuple[int, str, bytes]:
        asked.append(query)
        told = {
            "another request's": lambda: tsa.reply(asked[0]),  # of the same checkpoint: an old token again
            "an unknown authority's": lambda: stranger.reply(query),
            "a refusal": lambda: tsa.reply(b"what is this?"),
            "no response": lambda: b"\x30\x03\x02\x01",
            # What it holds is said to be of another type (id-ct-TSTInfo, RFC 3161 §2.4.2).
            "a broken token": lambda: tsa.reply(query).replace(b"\x09\x10\x01\x04", b"\x09\x10\x01\x05"),
        }
        return 200, "application/timestamp-reply", told[lie]()

    @in_loop
    async def stamped(url: str) -> None:
        async with live(ledger) as log:
            stamping = Timestamping(log.reader, ledger.writer, SIGNER, Authority(url, trusted(tsa).roots))
            if lie == "another request's":
                asked.append(_query(await checkpoint_of(log)))
            with pytest.raises(VerificationError):
                await stamping.stamp()
            assert await log.reader.timestamps() == []
            await stamping.close()

    with served(answer) as url:
        stamped(url)


async def checkpoint_of(log: LiveLog) -> str:
    return (await log.reader.head()).checkpoint(SIGNER)


def _query(note: str) -> bytes:
    builder = TimestampRequestBuilder().data(note.encode()).hash_algorithm(HashAlgorithm.SHA256)
    return builder.cert_request(cert_request=True).build().as_bytes()


def test_what_the_authority_refused_is_no_timestamp(tsa: AuthorityServer) -> None:
    refusal = tsa.reply(b"what is this?")
    for check in (
        lambda: check_timestamp(refusal, "note", trusted(tsa).roots),
        lambda: told_time(refusal, ""),
    ):
        with pytest.raises(VerificationError, match="did not grant"):
            check()


def test_without_roots_a_timestamp_tells_of_its_checkpoint_alone(tsa: AuthorityServer) -> None:
    note, other = SampleLog.of(5).checkpoint(), SampleLog.of(6).checkpoint()
    token = tsa.reply(_query(note))
    assert told_time(token, note) == check_timestamp(token, note, trusted(tsa).roots)
    with pytest.raises(VerificationError, match="of something else"):
        told_time(token, other)
    for place in range(len(token)):  # whatever is broken in it, it is told in words
        altered = token[:place] + bytes([token[place] ^ 1]) + token[place + 1 :]
        with contextlib.suppress(VerificationError):
            told_time(altered, note)


def test_a_timestamp_that_was_kept_cannot_be_changed(
    ledger: Logins, owner: str, tsa: AuthorityServer
) -> None:
    @in_loop
    async def stamped() -> None:
        async with live(ledger) as log:
            stamping = Timestamping(log.reader, ledger.writer, SIGNER, trusted(tsa))
            await stamping.stamp()
            await stamping.close()

    stamped()
    for act in ("UPDATE timestamps SET note = ''", "DELETE FROM timestamps", "TRUNCATE timestamps"):
        with psycopg.connect(owner) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(act)
