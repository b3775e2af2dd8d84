"""Who must know of an entry is told: over real HTTP, verified by a library that knows nothing of us."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import WebhookVerificationError

from tests.api.contract import LiveContract
from tests.api.receiver import Receiver, Request, Subscribed, receiving, subscribed
from tests.faults.harness import wait_for
from tests.service import Service
from tests.workbench import AUTHORITY, BUYER, EXPORTER, PARTIES, usd


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def contract(service: Service) -> LiveContract:
    return LiveContract(service).open()


def revoked(contract: LiveContract) -> int:
    """Index of a revocation."""
    index: int = contract.accepted("license.revoked")["inclusion"]["index"]
    return index


def sql(service: Service, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(service.owner, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def state_of(service: Service, delivery: str) -> str:
    return str(sql(service, "SELECT state FROM webhook_deliveries WHERE id = %s", delivery)[0][0])


def fall_due(service: Service) -> None:
    """What would be attempted again some time is due now."""
    sql(service, "UPDATE webhook_deliveries SET due_at = now() WHERE state = 'waiting'")


# --- what arrives ---------------------------------------------------------------------------------


def test_a_revocation_arrives_and_the_reference_library_accepts_it(
    service: Service, receiver: Receiver, contract: LiveContract
) -> None:
    endpoint = subscribed(service, receiver.url, contracts=[contract.contract], kinds=["license.*"])
    index = revoked(contract)
    [request] = receiver.wait_for(1)
    event = endpoint.verify(request)
    assert (event["type"], event["subject"]) == ("chipledger.license.revoked", contract.contract)
    assert event["data"]["index"] == index
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    with pytest.raises(WebhookVerificationError):
        endpoint.verify(request._replace(body=request.body.replace(b"revoked", b"revokes")))
