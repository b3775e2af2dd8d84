"""A receiver at the data centre: the revocation arrives there, is verified, and is shown."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.demo.stage import Play, tell
from api.story.cast import DATA_CENTRE
from api.webhooks.listen import Listener, in_lines
from api.webhooks.message import VERIFICATION
from api.webhooks.signature import Receiving
from ledger.errors import Unavailable

HOST = "127.0.0.1"
ARRIVES_S_MAX = 30


@contextmanager
def listening(play: Play) -> Iterator[queue.Queue[dict[str, Any]]]:
    """Subscribed to revocations, with the data centre's key; gives what arrives and verifies."""
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    listener = Listener(
        (HOST, 0), None,
        told=lambda event: None if event["type"] == VERIFICATION else heard.put(event),
        refused=lambda _: None,
    )  # fmt: skip
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        wanted = {"url": f"http://{HOST}:{listener.server_port}/", "kinds": ["license.revoked"]}
        made = play.request(DATA_CENTRE, "POST", "/v1/webhooks", json=wanted).raise_for_status().json()
        listener.receiving = Receiving(made["secret"])
        play.request(DATA_CENTRE, "POST", f"/v1/webhooks/{made['id']}:verify").raise_for_status()
        yield heard
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def show(play: Play, heard: queue.Queue[dict[str, Any]]) -> None:
    """Raises Unavailable if the revocation did not arrive."""
    try:
        event = heard.get(timeout=ARRIVES_S_MAX)
    except queue.Empty:
        raise Unavailable(f"the revocation did not arrive at {DATA_CENTRE}") from None
    index = event["data"]["index"]
    page = play.request("auditor", "GET", f"/v1/entries/{index}/deliveries").json()
    tell(f"\n[bold]The webhook of {DATA_CENTRE}[/bold]")
    tell(f"  verified: {event['type']}")
    for line in in_lines(event):
        tell(f"  {line}")
    for one in page["deliveries"]:
        tell(f"  the record: {one['party']} was told of entry {one['index']}, attempt {one['attempts']}")
