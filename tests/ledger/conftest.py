from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from api.database import Logins
from tests.ledger.live_log import audit


@pytest.fixture
def ledger(logins: Logins) -> Iterator[Logins]:
    """A database of the test's own, whose log and facts are verified when the test has written."""
    yield logins
    asyncio.run(audit(logins))
