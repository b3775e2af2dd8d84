"""One PostgreSQL of these tests' own: it will be killed, so never DATABASE_URL's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.harness import Postgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("faults"))
    server.start()
    yield server
    server.stop()
