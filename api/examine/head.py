"""The part of a look that every depth has: the head row, and what is known of the log from elsewhere."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from api.examine.look import Examined, Known
from ledger import tiles
from ledger.beside import Claim, owned_up
from ledger.checkpoint import Checkpoint
from ledger.errors import VerificationError
from ledger.findings import Findings
from ledger.head import Head
from ledger.integrity import Verified, check_versions
from ledger.merkle import Frontier, leaf_hash
from ledger.rows import Rows
from ledger.succession import Lineage

LAG_S_MAX = 60


class KnownRoot(NamedTuple):
    """A root hash that the log must have had at a size."""

    size: int
    root: bytes
    whose: str


class HeadCheck:
    """Of one look. Findings and what is read of the head row go to `found`."""

    def __init__(self, rows: Rows, lineage: Lineage, known: Known, engine: int, found: Examined) -> None:
        self._rows = rows
        self.verifier = lineage.present
        self._engine = engine
        self._found = found
        self._findings = found.findings
        self.verified = known.verified
        """From where a look may go on."""
        self.known: list[KnownRoot] = []
        for kept in known.kept:
            if _stands(kept, lineage, found.findings):
                self.known.append(KnownRoot(kept.size, kept.root, "kept checkpoint"))
        if known.verified.size:
            sound = known.verified
            if _stands(Checkpoint(sound.origin, sound.size, sound.root), lineage, found.findings):
                self.known.append(KnownRoot(sound.size, sound.root, "earlier run"))
            else:
                self.verified = Verified()  # of an end that is lost

    async def look(self) -> None:
        """At the head alone: what it says of itself, and by the tiles that the known roots are of it."""
        await self.caught_up()
        async with self._rows.snapshot():
            head = await self.read()
            if head is None or self.rolled_back(head):
                return
            self.check_versions(head)
            for known in (*self.known, KnownRoot(head.size, head.root, "head")):
                await self.check_root(known)
            try:
                frontier = Frontier.from_bytes(head.size, head.frontier).root()
            except VerificationError:
                frontier = b""
            if frontier != head.root:
                self._altered("frontier", is_=frontier, must_be=head.root)
            await self._check_last(head)
            self._found.first = max(head.size - 1, 0)

    async def caught_up(self) -> None:
        """A replica may be behind what is known from elsewhere: that is no rollback, if it comes after."""
        size = max((known.size for known in self.known), default=0)
        for _ in range(LAG_S_MAX if await self._rows.of_a_replica() else 0):
            head = await self._rows.head()
            if head is not None and head.size >= size:
                return
            await asyncio.sleep(1)

    async def read(self) -> Head | None:
        """The head row; None where there is no entry under it."""
        head = await self._rows.head()
        if head is None or not head.size:
            if self.known or head is not None:
                self._findings.add("head_missing", "head")
            return None
        self._found.size, self._found.root = head.size, head.root
        return head

    def rolled_back(self, head: Head) -> bool:
        """A log that was longer once has lost its tail: the chain cannot see that."""
        longest = max(self.known, default=KnownRoot(0, b"", ""))
        if head.size >= longest.size:
            return False
        self._rolled_back(head, longest)
        return True

    def check_versions(self, head: Head) -> None:
        check_versions(self._findings, head, self.verifier, engine=self._engine)
        if head.origin == self.verified.origin and head.epoch < self.verified.epoch:
            self._findings.add(
                "head_altered", "head, epoch", is_epoch=head.epoch, must_be_at_least=self.verified.epoch
            )  # fmt: skip

    async def check_root(self, known: KnownRoot, *, where: str = "") -> None:
        """By the tiles: only a walk reads what they are made of."""
        size, root, whose = known
        try:
            read = await self._rows.hashes(tiles.tiles_for_root(size))
            made = tiles.root(size, lambda *at: read[tiles.Coordinates(*at)])
        except VerificationError as error:
            self._findings.add("tile_altered", f"tiles below size {size}", because=str(error))
            return
        if made != root:
            damage = "rewritten" if whose != "head" else "head_altered"
            where = f"{where or f'first {size} entries'}, by their tiles"
            self._findings.add(damage, where, whose=whose, is_=made.hex(), must_be=root.hex())

    async def check_claim(self, claim: Claim) -> None:
        """A signed checkpoint beside the log against the log, by its tiles."""
        head = await self._rows.head()
        if head is None:
            return
        known = KnownRoot(claim.size, claim.root, claim.where)
        if claim.size > head.size:
            self._rolled_back(head, known)
        else:
            await self.check_root(known, where=claim.where)

    async def _check_last(self, head: Head) -> None:
        index = head.size - 1
        page = await self._rows.page(index, head.size)
        raw = page[0].header if page else None
        if raw is None:
            self._findings.add("entry_missing", f"entry {index}", index)
        elif (leaf := leaf_hash(raw)) != head.last_leaf:
            self._altered("last_leaf", is_=head.last_leaf, must_be=leaf)

    def _rolled_back(self, head: Head, known: KnownRoot) -> None:
        self._findings.add(
            "rolled_back", f"entries {head.size} to {known.size - 1}", head.size, is_size=head.size,
            must_be_size=known.size, whose=known.whose, root=known.root.hex(),
        )  # fmt: skip

    def _altered(self, column: str, *, is_: bytes, must_be: bytes) -> None:
        self._findings.add("head_altered", f"head, {column}", is_=is_.hex(), must_be=must_be.hex())


def _stands(told: Checkpoint, lineage: Lineage, findings: Findings) -> bool:
    """Whether a checkpoint must hold of the log as it is now; not one of an end that was lost and said so."""
    ended = lineage.ended(told.origin)
    if ended is None or told.size <= ended.index:
        return True
    if not owned_up(told, ended.lost):
        findings.add(
            "loss_not_said", f"entry {ended.index}", ended.index, must_be_size=told.size, root=told.root.hex()
        )
    return False
