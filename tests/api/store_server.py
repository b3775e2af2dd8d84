"""An object store for tests: S3, as `moto` speaks it over HTTP on a loopback port."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import from_url


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def url(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty bucket, for which the environment has credentials."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "log",
        "AWS_SECRET_ACCESS_KEY": "a secret of the test",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
    httpx.put(f"{endpoint}/logs").raise_for_status()
    rule(endpoint, "Allow", "s3:GetObject")  # to everybody
    return "s3://logs/h200"


def rule(endpoint: str, effect: str, action: str) -> None:
    """The bucket's only one."""
    statement = {"Effect": effect, "Principal": "*", "Action": action, "Resource": "arn:aws:s3:::logs/*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    httpx.put(f"{endpoint}/logs?policy", json=policy).raise_for_status()


def objects(url: str) -> dict[str, bytes]:
    """What lies below a URL."""
    store = from_url(url)
    return {one["path"]: bytes(store.get(one["path"]).bytes()) for page in store.list() for one in page}
