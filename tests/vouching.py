"""Whoever vouches for a log from outside: two witnesses, and a time-stamping authority."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from api.anchors import read_roots
from ledger.beside import Vouchers
from ledger.note import Signer
from ledger.timestamping import Authority, Timestamping
from ledger.witnessing import Witnessing
from tests.ledger.live_log import LiveLog
from tests.ledger.sample_log import SIGNER
from tests.ledger.witness_server import AuthorityServer, WitnessServer, authority, policy_of, witnesses


@dataclass(frozen=True)
class Outside:
    """As they are known to whoever looks, and asked by the log."""

    servers: tuple[WitnessServer, WitnessServer]
    tsa: AuthorityServer

    @property
    def vouchers(self) -> Vouchers:
        return Vouchers(policy_of(*self.servers), tuple(read_roots(self.tsa.roots)))

    async def vouch(self, log: LiveLog, writer_url: str, signer: Signer = SIGNER) -> None:
        """Each says what it saw of the log as it now is."""
        witnessing = Witnessing(log.reader, writer_url, signer, policy_of(*self.servers))
        trusted = Authority(self.tsa.url, self.vouchers.roots)
        stamping = Timestamping(log.reader, writer_url, signer, trusted, every=timedelta(0))
        assert await witnessing.ask() is not None
        assert await stamping.stamp()
        await witnessing.close()
        await stamping.close()


@contextmanager
def vouching(folder: Path) -> Iterator[Outside]:
    one, two = (WitnessServer(f"witness.example/w{n}", SIGNER.verifier, seed=30 + n) for n in (1, 2))
    with authority(folder) as tsa, witnesses(one, two):
        yield Outside((one, two), tsa)
