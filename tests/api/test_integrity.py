"""The service looks at its own log: what it reports, says in the log, and does not let pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.watch_memory import MemoryFile
from tests.api.receiver import receiving, subscribed
from tests.api.test_watch import damage
from tests.ledger.live_log import denied
from tests.ledger.witness_server import authority
from tests.service import Service, running, settings_for
from tests.workbench import wire


@pytest.fixture
def watched(owner: str, tmp_path: Path) -> Iterator[Service]:
    """A service that looks when it is asked, and not by itself."""
    settings = settings_for(owner, tmp_path, clock="simulated")
    with running(settings, owner) as service:
        service.set_clock("2027-03-02T12:00:00Z")
        with service.client("operator") as client:
            for _ in range(3):
                assert service.submit(denied()).json()["type"] == "/problems/denied"
            assert client.get("/integrityz").json() == {"intact": None, "looked_at": None}
        yield service


def look(service: Service, depth: str = "all") -> dict[str, Any]:
    """Ask for a look; its report, once there is one."""
    pause = threading.Event()
    with service.client("operator") as client:
        before = client.get("/v1/integrity").json()["looks"][depth]
        answer = client.post("/v1/integrity:verify", json={"depth": depth})
        assert (answer.status_code, answer.json()) == (202, {"depth": depth})
        for _ in range(600):
            report: dict[str, Any] | None = client.get("/v1/integrity").json()["looks"][depth]
            if report is not None and report != before:
                return report
            pause.wait(0.05)
    raise AssertionError("nobody looked")


def seen(service: Service) -> dict[str, Any]:
    with service.client("auditor") as client:
        answer = client.get("/v1/integrity")
        assert answer.status_code == 200
        return answer.json()  # type: ignore[no-any-return]


def of_kind(service: Service, kind: str, count: int) -> list[dict[str, Any]]:
    """The entries of a kind, once there are so many."""
    pause = threading.Event()
    with service.client("auditor") as client:
        for _ in range(600):
            found: list[dict[str, Any]] = client.get("/v1/entries", params={"kind": kind}).json()["entries"]
            if len(found) >= count:
                return found
            pause.wait(0.05)
    raise AssertionError(f"{len(found)} entries of {kind}")


def gauges(service: Service) -> dict[str, float]:
    with service.client("operator") as client:
        text = client.get("/metrics").text
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("chipledger_integrity") and not sample.labels
    }


def test_a_sound_log_is_said_to_be_sound_from_where_to_where(watched: Service) -> None:
    report = look(watched)
    assert (report["result"], report["first"], report["size"], report["decisions"]) == ("intact", 0, 5, 5)
    view = seen(watched)
    assert view["intact"] is True
    assert (view["verified"]["size"], view["verified"]["root"]) == (5, report["root"])
    assert (view["unexplained"], view["explanations"]) == ([], [])
    assert gauges(watched)["chipledger_integrity_intact"] == 1
    assert gauges(watched)["chipledger_integrity_verified_entries"] == 5
    watched.audit()


def test_a_deeper_look_does_what_the_others_would_and_a_tail_begins_where_it_ended(watched: Service) -> None:
    look(watched)
    watched.submit(denied())
    report = look(watched, "tail")
    assert (report["first"], report["size"], report["result"]) == (5, 6, "intact")


def test_damage_is_told_by_webhook(watched: Service, owner: str) -> None:
    look(watched)
    with receiving() as receiver:
        endpoint = subscribed(watched, receiver.url, kinds=["integrity.failed"])
        damage(owner, "UPDATE bodies SET event_salt = sha256(event_salt) WHERE index = 2")
        look(watched)
        [told] = receiver.wait_for(1)
    event = endpoint.verify(told)
    assert event["type"] == "chipledger.integrity.failed"
    data = event["data"]["event"]["data"]
    assert (data["damage"], data["at_index"], data["where"]) == ("event_altered", 2, "entry 2")


def test_who_takes_the_reports_away_silences_neither_metric_nor_entry(watched: Service, owner: str) -> None:
    look(watched)
    with psycopg.connect(owner) as connection:
        connection.execute("ALTER TABLE integrity_runs RENAME TO gone")
    damage(owner, "UPDATE bodies SET event_salt = sha256(event_salt) WHERE index = 2")
    with watched.client("operator") as client:
        assert client.post("/v1/integrity:verify", json={"depth": "all"}).status_code == 202
        [entry] = of_kind(watched, "integrity.failed", 1)
        assert entry["event"]["value"]["data"]["at_index"] == 2
        assert gauges(watched)["chipledger_integrity_intact"] == 0
        assert client.get("/integrityz").status_code == 503
        assert client.get("/v1/integrity").json()["type"] == "/problems/unavailable"


def test_damage_is_reported_said_in_the_log_and_not_passed_over(watched: Service, owner: str) -> None:
    look(watched)
    with psycopg.connect(owner) as connection:
        [salt] = connection.execute("SELECT event_salt FROM bodies WHERE index = 2").fetchone() or [b""]
    damage(owner, "UPDATE bodies SET event_salt = sha256(event_salt) WHERE index = 2")
    report = look(watched)
    [finding] = report["findings"]
    assert (finding["damage"], finding["where"], finding["index"]) == ("event_altered", "entry 2", 2)
    [entry] = of_kind(watched, "integrity.failed", 1)
    assert entry["event"]["value"]["data"]["at_index"] == 2
    assert gauges(watched)["chipledger_integrity_intact"] == 0
    with watched.client("auditor") as client:
        probe = client.get("/integrityz")
        assert (probe.status_code, probe.json()["intact"]) == (503, False)
        assert client.get("/readyz").status_code == 200
        assert client.get("/livez").status_code == 200

    damage(owner, f"UPDATE bodies SET event_salt = '\\x{bytes(salt).hex()}' WHERE index = 2")
    assert look(watched)["result"] == "unexplained"
    assert len(of_kind(watched, "integrity.failed", 1)) == 1  # known already
    [failure] = seen(watched)["unexplained"]
    assert failure["in_log"]

    with watched.client("operator") as client:
        told = client.post("/v1/integrity:explain", json={"words": "restored from the replica"})
        assert told.json() == {"explained": 1}
        assert client.post("/v1/integrity:explain", json={"words": "again"}).status_code == 404
    assert look(watched)["result"] == "intact"
    [entry] = of_kind(watched, "integrity.explained", 1)
    assert entry["event"]["value"]["data"]["words"] == "restored from the replica"
    assert seen(watched)["explanations"][0]["words"] == "restored from the replica"
    watched.audit()


def test_a_timestamp_that_was_exchanged_is_reported_like_any_damage(owner: str, tmp_path: Path) -> None:
    with authority(tmp_path) as tsa:
        settings = settings_for(owner, tmp_path / "home").model_copy(
            update={"timestamp_url": tsa.url, "timestamp_roots": tsa.roots}
        )
        with running(settings, owner) as service:
            with service.client("auditor") as auditor:
                pause = threading.Event()
                while not auditor.get("/v1/timestamps").json()["timestamps"]:
                    pause.wait(0.05)
            assert look(service)["result"] == "intact"
            damage(owner, "UPDATE timestamps SET stamped_at = stamped_at - interval '1 year'")
            [finding] = look(service)["findings"]
            assert (finding["damage"], finding["where"]) == (
                "timestamp_altered", f"timestamp of size 1 by {tsa.url}",
            )  # fmt: skip
            [entry] = of_kind(service, "integrity.failed", 1)
            assert entry["event"]["value"]["data"]["damage"] == "timestamp_altered"
            assert gauges(service)["chipledger_integrity_intact"] == 0


def test_what_was_reported_cannot_be_taken_back(watched: Service, owner: str) -> None:
    look(watched)
    for statement in ("UPDATE integrity_runs SET result = 'intact'", "DELETE FROM integrity_runs"):
        with psycopg.connect(owner) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
    for login, statement in (
        (watched.logins.reader, "INSERT INTO integrity_runs SELECT * FROM integrity_runs"),
        (watched.logins.writer, "UPDATE integrity_runs SET result = 'intact'"),
    ):
        with psycopg.connect(login) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_only_an_operator_asks_and_explains(watched: Service) -> None:
    for role, party, status in (("auditor", None, 403), ("submitter", "acme", 403)):
        with watched.client(role, party) as client:
            assert client.post("/v1/integrity:verify", json={"depth": "head"}).status_code == status
            assert client.post("/v1/integrity:explain", json={"words": "no"}).status_code == status
    with watched.client("submitter", "acme") as client:
        assert client.get("/v1/integrity").status_code == 403
    with watched.client("operator") as client:
        refused = client.post("/v1/integrity:verify", json={"depth": "deep"})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "/depth"


def test_it_looks_by_itself_and_summarises_once_a_day(
    owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from api import watchman

    monkeypatch.setattr(watchman, "SUMMARY_EVERY", timedelta(seconds=1))
    settings = settings_for(owner, tmp_path).model_copy(
        update={"integrity_head_seconds": 0.2, "integrity_tail_seconds": 0.5, "integrity_all_seconds": 0.5}
    )
    with running(settings, owner) as service:
        [first, *_] = of_kind(service, "integrity.summarised", 1)
        data = first["event"]["value"]["data"]
        assert (data["damaged"], data["unexplained"], data["result"]) == (0, 0, "intact")
        assert data["runs"] >= 1
        service.audit()


def test_a_summary_that_was_dated_ahead_does_not_end_the_summaries(watched: Service) -> None:
    look(watched)
    [kept] = watched.settings.store_path.glob("*.watch")
    memory, pause = MemoryFile(kept.parent, unquote(kept.stem)), threading.Event()

    def summarised() -> str:
        """After a look has ended, which it has not yet when it is reported."""
        for _ in range(600):
            if "" < (at := memory.read().summarised) < "2999":
                return at
            pause.wait(0.05)
        raise AssertionError("nothing was summarised")

    first = summarised()
    memory.keep(replace(memory.read(), summarised="2999-01-01T00:00:00.000000Z"))
    look(watched)
    assert summarised() > first
    with watched.client("auditor") as client:  # of nothing that it could have been said from
        assert client.get("/v1/entries", params={"kind": "integrity.summarised"}).json()["entries"] == []


def test_a_process_looks_at_everything_as_it_starts_and_then_knows_the_facts(
    owner: str, tmp_path: Path
) -> None:
    settings = settings_for(owner, tmp_path).model_copy(
        update={"integrity_head_seconds": 0.2, "integrity_all_seconds": 86_400}
    )
    pause, before = threading.Event(), None
    for _ in range(2):  # the second finds that the day is not over
        with running(settings, owner) as service:
            opened = wire("contract.opened", contract=str(uuid4()), occurred_at="2026-01-15T05:00:00Z")
            assert service.submit(opened).status_code == 201
            for _ in range(600):
                report = seen(service)["looks"]["all"]
                if report not in (None, before):
                    break
                pause.wait(0.05)
            assert report["result"] == "intact"
            assert report["facts"] > 0
            if before is not None:
                damage(owner, "UPDATE facts SET data = '{}' WHERE name = 'chain' AND key <> '_ledger'")
                entry = of_kind(service, "integrity.failed", 1)[0]
                assert entry["event"]["value"]["data"]["damage"] == "fact_altered"
                assert seen(service)["looks"]["all"] == report
            before = report
