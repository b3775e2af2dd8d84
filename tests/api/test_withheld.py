"""Keys and exports that are not shown everything: nulls where bodies were, and every proof all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from api import keys
from api.export import export_to
from ledger.canonical import canonical
from ledger.errors import UnusableInput
from ledger.merkle import leaf_hash
from ledger.verify import verify_export
from tests.api.contract import LiveContract
from tests.service import Service
from tests.workbench import BUYER, EXPORTER


@pytest.fixture(scope="module")
def live(service: Service) -> LiveContract:
    contract = LiveContract(service).open()
    assert contract.order(2).status_code == 201
    assert contract.order(20_000, order="PO-2").status_code == 422
    return contract


@pytest.fixture
def client(service: Service, live: LiveContract) -> Iterator[Any]:
    """A client for a key that is not shown something."""
    opened: list[httpx.Client] = []

    def made(role: str, *withholds: str, party: str | None = None) -> httpx.Client:
        token = keys.create(service.owner, role, party=party, withholds=withholds).token
        headers = {"authorization": f"Bearer {token}"}
        opened.append(httpx.Client(base_url=service.url, headers=headers, timeout=30))
        return opened[-1]

    yield made
    for one in opened:
        one.close()


def entries(client: httpx.Client, live: LiveContract) -> list[dict[str, Any]]:
    found = client.get(f"/v1/entries?contract={live.contract}").json()["entries"]
    assert [client.get(f"/v1/entries/{one['index']}").json() for one in found] == found
    return list(found)


def test_one_auditor_is_shown_what_another_is_not(client: Any, live: LiveContract) -> None:
    whole = entries(client("auditor"), live)
    part = entries(client("auditor", "event:order.placed", "decision"), live)
    assert [one["decision"] for one in part] == [None] * len(part)
    for one, other in zip(whole, part, strict=True):
        assert (one["event"] is not None, one["header"]) == (True, other["header"])
        assert other["event"] == (None if one["kind"] == "order.placed" else one["event"])
        assert leaf_hash(canonical(other["header"])).hex() == other["leaf_hash"]
        assert "erased" not in other


def test_nobody_is_kept_from_its_own_words(client: Any, live: LiveContract) -> None:
    withheld = ("event", "decision")
    for party in (BUYER, EXPORTER):
        shown = entries(client("submitter", *withheld, party=party), live)
        assert {one["party"] for one in shown if one["event"] is not None} == {party}
        assert {one["party"] for one in shown if one["event"] is None} >= {BUYER, EXPORTER} - {party}


def test_a_decision_that_is_withheld_is_not_explained(client: Any, live: LiveContract) -> None:
    order = next(one["index"] for one in entries(client("auditor"), live) if one["kind"] == "order.placed")
    answer = client("auditor", "decision").get(f"/v1/entries/{order}/explanation")
    assert (answer.status_code, "withheld or erased" in answer.json()["detail"]) == (404, True)
    assert client("auditor", "event").get(f"/v1/entries/{order}/explanation").status_code == 200


@pytest.mark.parametrize("path", ["", "/orders", "/shipments", "/duties", "/holds"])
def test_facts_tell_what_events_do_and_so_are_withheld_with_them(
    client: Any, live: LiveContract, path: str
) -> None:
    name = f"/v1/contracts/{live.contract}{path}"
    refused = client("auditor", "event:order.placed").get(name)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
    assert client("auditor", "decision").get(name).status_code == 200


def test_an_export_without_them_holds(service: Service, live: LiveContract, tmp_path: Path) -> None:
    path = tmp_path / "part.export"
    asked = ["event:order.placed", "decision:order.placed"]
    asyncio.run(export_to(path, service.settings, service.logins, lambda done, size: None, asked))
    with path.open("rb") as file:
        report = verify_export(file)
    assert (report.withheld, report.erased) == (4, 0)
    assert b'"kind":"order.placed"' not in path.read_bytes()
    whole = service.export(tmp_path / "whole.export")
    with whole.open("rb") as file:
        assert verify_export(file).root == report.root


def test_a_key_that_withholds_nonsense_is_not_made(service: Service) -> None:
    with pytest.raises(UnusableInput, match="withheld is prices, must be event or decision"):
        keys.create(service.owner, "auditor", withholds=["prices"])
