"""Quotas of keys: events and refusals, counted at the door; and when a key was last used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import keys
from api.auth import Caller, Keyring
from api.database import Logins
from api.key_uses import KeyUses
from api.quotas import QuotaExceeded, Quotas
from ledger.reader import Reader
from tests.conftest import copied
from tests.ledger.live_log import denied
from tests.service import Service, running, settings_for
from tests.workbench import EXPORTER, NOON

CALLER = Caller("a", "submitter", EXPORTER)


class Seconds:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def begun(quotas: Quotas, caller: Caller, most: int) -> int:
    """How many requests are let in, one after another."""
    for number in range(most):
        try:
            quotas.begin(caller)
        except QuotaExceeded:
            return number
    return most


# --- counting -------------------------------------------------------------------------------------


def test_a_minute_holds_so_many_events_and_fills_again_evenly() -> None:
    clock = Seconds()
    quotas = Quotas(events_per_minute=60, denials_per_hour=10, monotonic=clock)
    assert begun(quotas, CALLER, 100) == 60
    clock.now += 10
    assert begun(quotas, CALLER, 100) == 10
    clock.now += 3_600
    assert begun(quotas, CALLER, 100) == 60


def test_each_key_has_a_quota_and_may_have_one_of_its_own() -> None:
    quotas = Quotas(events_per_minute=5, denials_per_hour=10, monotonic=Seconds())
    rich = Caller("rich", "submitter", EXPORTER, events_per_minute=50)
    assert [begun(quotas, caller, 100) for caller in (CALLER, rich, Caller("b", "submitter", None))] == [
        5, 50, 5,
    ]  # fmt: skip


def test_a_batch_passes_whole_and_is_paid_off_before_the_next_request() -> None:
    clock = Seconds()
    quotas = Quotas(events_per_minute=60, denials_per_hour=10, monotonic=clock)
    quotas.begin(CALLER)
    quotas.more(CALLER, 119)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.begin(CALLER)
    assert (refused.value.quota, refused.value.retry_after_s) == ("events", 61)
    with pytest.raises(QuotaExceeded):
        quotas.more(CALLER, 1)  # of another batch, which had begun before
    clock.now += 60.9
    assert begun(quotas, CALLER, 1) == 0
    clock.now += 0.2
    assert begun(quotas, CALLER, 2) == 1


def test_refusals_are_counted_after_the_decision_and_stop_the_key() -> None:
    clock = Seconds()
    quotas = Quotas(events_per_minute=10_000, denials_per_hour=10, monotonic=clock)
    quotas.begin(CALLER)
    quotas.denied(CALLER, 9)
    quotas.begin(CALLER)
    quotas.denied(CALLER, 3)
    with pytest.raises(QuotaExceeded) as refused:
        quotas.begin(CALLER)
    assert (refused.value.quota, refused.value.retry_after_s) == ("denials", 3 * 360)
    clock.now += 3 * 360
    quotas.begin(CALLER)


def test_an_empty_batch_gives_nothing_back() -> None:
    quotas = Quotas(events_per_minute=1, denials_per_hour=1, monotonic=Seconds())
    quotas.begin(CALLER)
    quotas.more(CALLER, -1)
    assert begun(quotas, CALLER, 1) == 0


@given(
    limit=st.integers(1, 1_000),
    steps=st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 1_000)), max_size=40),
)
def test_whatever_the_order_no_more_passes_than_the_quota_and_one_batch(
    limit: int, steps: list[tuple[int, int]]
) -> None:
    clock = Seconds()
    began = clock.now
    quotas = Quotas(events_per_minute=limit, denials_per_hour=1, monotonic=clock)
    passed = last = 0
    for milliseconds, events in steps:
        clock.now += milliseconds / 1_000
        try:
            quotas.begin(CALLER)
            passed += 1
            quotas.more(CALLER, events - 1)
            passed, last = passed + events - 1, events
        except QuotaExceeded:
            pass
        assert passed <= limit + (clock.now - began) * limit / 60 + max(last, 1) + 1e-6


# --- at the door ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose keys may cause three refusals an hour."""
    home = tmp_path_factory.mktemp("home")
    with copied(server, template) as url:
        settings = settings_for(url, home, clock="simulated").model_copy(update={"denials_per_hour": 3})
        with running(settings, url) as service:
            service.set_clock(NOON)
            yield service
            service.audit()


def with_key(service: Service, **quotas: int) -> httpx.Client:
    token = keys.create(service.owner, "submitter", party=EXPORTER, **quotas).token
    return httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


def size(service: Service) -> int:
    found: int = httpx.get(f"{service.url}/readyz").json()["tree_size"]
    return found


def check_refusal(answer: httpx.Response, quota: str, limit: int, window_s: int) -> None:
    assert answer.status_code == 429
    problem = answer.json()
    assert problem["type"] == "/problems/quota-exceeded"
    assert (problem["quota"], problem["limit"], problem["window_s"]) == (quota, limit, window_s)
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait == problem["retry_after_s"]
    assert answer.headers["ratelimit-policy"] == f'"{quota}";q={limit};w={window_s}'
    assert answer.headers["ratelimit"] == f'"{quota}";r=0;t={wait}'


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events:batch", "/v1/events:evaluate"])
def test_a_key_that_sends_too_much_is_told_when_to_come_back(narrow: Service, path: str) -> None:
    """What is malformed counts: to find that out is work too."""
    with with_key(narrow, events_per_minute=2) as client:
        for _ in range(2):
            assert client.post(path, json=17).status_code == 422
        before = size(narrow)
        check_refusal(client.post(path, json=[]), "events", 2, 60)
        assert size(narrow) == before
    with with_key(narrow) as other:
        assert other.post(path, json=17).status_code == 422


def test_a_batch_counts_as_its_events(narrow: Service) -> None:
    with with_key(narrow, events_per_minute=10, denials_per_hour=1_000) as client:
        assert client.post("/v1/events:batch", json=[denied() for _ in range(12)]).status_code == 200
        check_refusal(client.post("/v1/events", json=denied()), "events", 10, 60)


def test_a_party_cannot_fill_the_log_with_refusals(narrow: Service) -> None:
    first = denied()
    with with_key(narrow) as client:
        assert client.post("/v1/events", json=first).status_code == 422
        for _ in range(5):  # the same attempt again is no further entry
            assert client.post("/v1/events", json=first).status_code == 422
        assert client.post("/v1/events:batch", json=[first, denied(), denied()]).status_code == 200
        before = size(narrow)
        check_refusal(client.post("/v1/events", json=denied()), "denials", 3, 3_600)
        check_refusal(client.post("/v1/events", json=first), "denials", 3, 3_600)
        assert size(narrow) == before
    with with_key(narrow, denials_per_hour=4) as other:
        for _ in range(4):
            assert other.post("/v1/events", json=denied()).status_code == 422
        check_refusal(other.post("/v1/events", json=denied()), "denials", 4, 3_600)


@pytest.fixture(scope="module")
def shy(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose keys may read five times a minute."""
    home = tmp_path_factory.mktemp("home")
    with copied(server, template) as url:
        settings = settings_for(url, home).model_copy(update={"reads_per_minute": 5})
        with running(settings, url) as service:
            yield service


@pytest.mark.parametrize(
    "path", ["/v1/entries", "/v1/entries/0", "/v1/proofs/inclusion?index=0", "/v1/webhooks"]
)
def test_a_key_does_not_read_without_end(shy: Service, path: str) -> None:
    """Nor by asking what is not there; another key reads on, and what is open stays so."""
    token = keys.create(shy.owner, "auditor").token
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=shy.url, headers=headers, timeout=30) as client:
        assert [client.get(path).status_code for _ in range(3)] == [200] * 3
        assert [client.get("/v1/entries/99").status_code for _ in range(2)] == [404] * 2
        check_refusal(client.get(path), "reads", 5, 60)
        assert client.get("/checkpoint").status_code == 200
    with shy.client("operator") as other:
        assert other.get("/v1/entries/0").status_code == 200


def test_what_is_written_is_not_counted_as_read(shy: Service) -> None:
    with with_key(shy) as client:
        for _ in range(8):
            assert client.post("/v1/events", json=17).status_code == 422


# --- last use -------------------------------------------------------------------------------------


class Telling(KeyUses):
    def __init__(self, *rest: Any, **options: Any) -> None:
        super().__init__(*rest, **options)
        self.told = asyncio.Event()

    async def tell(self) -> None:
        await super().tell()
        self.told.set()


def uses(owner: str) -> dict[str, Any]:
    return {key.id: key.used_at for key in keys.listed(owner)}


def test_a_service_tells_which_keys_were_used(server: str, template: str, tmp_path: Path) -> None:
    with copied(server, template) as url:
        idle = keys.create(url, "auditor")
        with running(settings_for(url, tmp_path), url) as service:
            token = keys.create(url, "auditor")
            headers = {"authorization": f"Bearer {token.token}"}
            assert httpx.get(f"{service.url}/v1/entries", headers=headers).status_code == 200
            wrong = {"authorization": f"Bearer {idle.token[:-1]}x"}
            assert httpx.get(f"{service.url}/v1/entries", headers=wrong).status_code == 401
        found = uses(url)
        assert found[token.id] is not None
        assert found[idle.id] is None


def test_a_use_that_cannot_be_written_down_is_kept_for_later(owner: str, logins: Logins) -> None:
    key = keys.create(owner, "auditor")

    async def play() -> None:
        reader = Reader(logins.reader)
        await reader.open()
        try:
            keyring = Keyring(reader)
            await keyring.caller(f"Bearer {key.token}")
            nowhere = logins.writer.replace("chipledger_test_", "chipledger_gone_")
            await KeyUses(nowhere, keyring).tell()
            assert uses(owner)[key.id] is None
            telling = Telling(logins.writer, keyring, interval_s=0.01)
            telling.open()
            await telling.told.wait()
            first = uses(owner)[key.id]
            assert first is not None
            await keyring.caller(f"Bearer {key.token}")
            await telling.close()
            assert uses(owner)[key.id] > first
        finally:
            await reader.close()

    asyncio.run(play())
