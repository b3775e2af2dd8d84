"""When a delivery is attempted again, and what its signature is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from api.webhooks.schedule import RETRIES_S, RETRY_AFTER_S_MAX, TRIES_MAX, delay_s, retry_after_s
from api.webhooks.signature import shown, sign
from api.webhooks.vault import Vault
from ledger.errors import UnusableInput

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def test_the_schedule_is_the_published_one() -> None:
    middle = [delay_s(tries, retry_after_s=None, random=lambda: 0.5) for tries in range(1, TRIES_MAX + 1)]
    assert middle == [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000, None]


@given(st.integers(1, TRIES_MAX - 1), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e9))
def test_a_delay_is_the_planned_one_or_what_is_asked_for_within_bounds(
    tries: int, drawn: float, asked: float | None
) -> None:
    delay = delay_s(tries, retry_after_s=asked, random=lambda: drawn)
    planned = RETRIES_S[tries - 1]
    assert delay is not None
    assert delay >= min(asked or 0, RETRY_AFTER_S_MAX)
    assert 0.9 * planned <= delay <= max(1.1 * planned, RETRY_AFTER_S_MAX)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("120", 120), (" 7 ", 7), ("9" * 5_000, 999_999_999_999), ("-1", None), ("soon", None),
        ("٣", None), ("", None), ("Mon, 01 Mar 2027 12:01:00 GMT", 60), ("Mon, 01 Mar 2027 11:00:00 GMT", 0),
        ("Mon, 99 Foo 2027", None), ("Mon, 01 Mar 2027 12:01:00 -0000", 60), ("\x00", None), ("1e9", None),
        ("Mon, 01 Mar 2027 12:01:00 +" + "9" * 30, None), (f"1 Jan {'9' * 20} 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=NOW) == seconds


@given(st.binary(min_size=32, max_size=32), st.text(st.characters(codec="utf-8")), st.integers(0, 10**10))
def test_a_signature_is_the_reference_librarys(secret: bytes, body: str, timestamp: int) -> None:
    signed = sign([secret], "v1", message_id="msg_1", timestamp=timestamp, body=body.encode())
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=timestamp)
    assert Webhook(shown(secret, "v1")).sign("msg_1", at, body) == signed


def test_a_sealed_secret_opens_for_its_endpoint_with_its_key_alone() -> None:
    vault = Vault(bytes(32))
    sealed = vault.seal(b"secret", "we_a")
    assert vault.open(sealed, "we_a") == b"secret"
    assert b"secret" not in sealed
    for opening, endpoint, data in (
        (vault, "we_b", sealed),
        (Vault(bytes([1] * 32)), "we_a", sealed),
        (vault, "we_a", sealed[:-1]),
        (vault, "we_a", b""),
    ):
        with pytest.raises(UnusableInput, match="does not open"):
            opening.open(data, endpoint)
