"""kill -9 of services and of the database while they deliver: every entry arrives, under one id."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import httpx2 as httpx
import psycopg
from standardwebhooks import Webhook

from api.webhooks.sending import RUNNING_AT_ENDPOINT_MAX
from tests.api.receiver import Request, receiving
from tests.faults.harness import Cluster, Postgres, cluster, trade, wait_for
from tests.workbench import EXPORTER

DELIVERIES = int(os.environ.get("CHIPLEDGER_WEBHOOK_DELIVERIES", "300"))
"""A release asks for 10,000."""
KILLS = 4
UNDER_WAY = 2 * RUNNING_AT_ENDPOINT_MAX
"""Of two processes."""
BATCH = 500


class Gate:
    """Holds requests up beyond a number of them."""

    def __init__(self, limit: int) -> None:
        self._changed = threading.Condition()
        self._limit = limit
        self._seen = 0
        self.waiting = 0

    def pass_(self, _: Request) -> None:
        with self._changed:
            self._seen += 1
            number = self._seen
            self.waiting += 1
            self._changed.wait_for(lambda: number <= self._limit, 60)
            self.waiting -= 1

    def raise_(self, by: int) -> None:
        with self._changed:
            self._limit += by
            self._changed.notify_all()


def test_kill_9_amid_deliveries_loses_none_and_each_has_one_id(postgres: Postgres, tmp_path: Path) -> None:
    seconds_max = 120 + DELIVERIES / 10
    step = DELIVERIES // (KILLS + 2)
    gate = Gate(step)
    with receiving(gate.pass_) as receiver, cluster(postgres, tmp_path, start=False) as ours:
        for process in ours.processes:
            process.environment["CHIPLEDGER_WEBHOOK_HOSTS"] = "127.0.0.1"
        ours.start()
        traded = trade(10_000_000)
        ours.say(*traded.opening())
        secret = subscribe(ours, receiver.url)
        orders = [traded.order(f"PO-{number}", 1) for number in range(DELIVERIES)]
        for first in range(0, len(orders), BATCH):
            bodies = b",".join(one.body for one in orders[first : first + BATCH])
            answer = httpx.post(
                f"{ours.processes[0].url}/v1/events:batch", content=b"[" + bodies + b"]", timeout=60,
                headers={
                    "authorization": f"Bearer {ours.tokens[orders[0].party]}",
                    "content-type": "application/json",
                },
            )  # fmt: skip
            assert answer.status_code == 200, answer.text[:500]
        for point in range(KILLS):
            # Every attempt that a process may have under way has arrived, and is not answered.
            wait_for("all are under way", lambda: gate.waiting >= UNDER_WAY, seconds_max=seconds_max)
            if point == KILLS - 1:
                postgres.kill()
                gate.raise_(DELIVERIES * 10)
                postgres.start()
            else:
                victim = ours.processes[point % 2]
                victim.kill()
                victim.start()
                victim.wait_until_ready()
                gate.raise_(step)
        with psycopg.connect(ours.owner) as connection:
            due = {
                index
                for (index,) in connection.execute(
                    "SELECT index FROM entries WHERE contract = %s AND kind = 'order.placed'",
                    [traded.contract],
                )
            }
        assert len(due) == DELIVERIES
        ids: dict[int, set[str]] = {}

        def arrived() -> set[int]:
            for request in receiver.of_entries():
                ids.setdefault(request.event["data"]["index"], set()).add(request.id)
            return set(ids)

        wait_for("every entry has arrived", lambda: arrived() == due, seconds_max=seconds_max)
        # What a killed process had begun falls due again, and then is on record too.
        wait_for("every delivery is on record", lambda: waiting(ours) == 0, seconds_max=seconds_max)
        arrived()
        assert all(len(one) == 1 for one in ids.values())
        bodies_by_id = {(one.id, one.body) for one in receiver.of_entries()}
        assert len(bodies_by_id) == DELIVERIES, "an entry was told twice in other words"
        Webhook(secret).verify(receiver.requests[-1].body, receiver.requests[-1].headers)
        for process in ours.processes:
            assert not (bugs := process.bugs()), bugs


def subscribe(ours: Cluster, url: str) -> str:
    """The secret of an endpoint for the exporter's orders."""
    headers = {"authorization": f"Bearer {ours.tokens[EXPORTER]}"}
    with httpx.Client(base_url=ours.processes[0].url, headers=headers, timeout=30) as client:
        made = client.post("/v1/webhooks", json={"url": url, "kinds": ["order.placed"]}).json()
        verified = client.post(f"/v1/webhooks/{made['id']}:verify").json()
        assert verified["endpoint"]["state"] == "enabled", verified
    return str(made["secret"])


def waiting(ours: Cluster) -> int:
    with psycopg.connect(ours.owner) as connection:
        row = connection.execute("SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting'").fetchone()
    assert row is not None
    return int(row[0])
