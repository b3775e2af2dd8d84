"""What one reader is shown of an entry, and what is kept from it: a body or none, never a part of one.

A withheld body leaves its commitment, so every proof holds for whoever does not see it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from ledger.entry import Entry
from ledger.errors import UnusableInput
from ledger.event import LEDGER_CONTRACT, versions_of
from ledger.kinds.records import ValueErased

_ASKED: Final = re.compile(r"(event|decision)(?::([a-z_]+\.[a-z_]+))?")


class Withheld:
    """Bodies by name, and of one kind of event or of all: `decision`, `event:invoice.issued`.

    Signatures go with the event that they are over. What the ledger says of itself, in `_ledger`, is
    withheld from nobody. Raises UnusableInput for what names no body, or no kind.
    """

    def __init__(self, asked: Collection[str] = ()) -> None:
        self.asked = tuple(asked)
        self._of_all: set[str] = set()
        self._of_kind: set[tuple[str, str]] = set()
        for one in asked:
            match = _ASKED.fullmatch(one)
            if match is None:
                raise UnusableInput(
                    f"withheld is {one[:80]}, must be event or decision, or one of them of a kind, such as"
                    " event:invoice.issued"
                )
            name, kind = match.groups()
            if kind is None:
                self._of_all.add(name)
            elif versions_of(kind):
                self._of_kind.add((name, kind))
            else:
                raise UnusableInput(f"withheld is {one}, and {kind} is no known kind of event")
        if self.events:
            # It carries the facts that an event made.
            self._of_kind.add(("event", ValueErased.kind_name))

    @property
    def events(self) -> bool:
        """Whether it withholds what was said, and not only what was decided on it."""
        return "event" in self._of_all or any(name == "event" for name, _ in self._of_kind)

    def hides(self, name: str, kind: str) -> bool:
        what = "event" if name == "signatures" else name
        return what in self._of_all or (what, kind) in self._of_kind

    def of(self, entry: Entry, kind: str) -> tuple[str, ...]:
        """The names of the entry's bodies that are there and withheld."""
        if entry.header.contract == LEDGER_CONTRACT or not (self._of_all or self._of_kind):
            return ()
        return tuple(name for name, body in entry.bodies.items() if body and self.hides(name, kind))

    def shown(self, entry: Entry, kind: str) -> Entry:
        """The entry without what is withheld."""
        hidden = self.of(entry, kind)
        if not hidden:
            return entry
        bodies = {name: None if name in hidden else body for name, body in entry.bodies.items()}
        return entry._replace(bodies=bodies)
