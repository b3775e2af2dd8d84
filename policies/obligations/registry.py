"""What must be done by an instant, and only a clock can break. A class for each, by permanent name.

An event opens a duty or meets it: that follows from the event, the facts and the parameters, and is
committed with the event's decision. When a step of a duty falls due the ledger asks `verdict`, under
the lock, and says that it was breached or satisfied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from inspect import cleandoc
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ledger.decision import SUBJECTS_MAX, Verdict
from ledger.event import Event
from ledger.facts import Contract, Duty, Facts, Key
from policies.conditions.case import Case
from policies.conditions.parameters import Parameters

P = TypeVar("P", bound=Parameters)


class Opens(NamedTuple):
    """Duties that begin. What stands already, open or breached, is left as it is."""

    subjects: tuple[str, ...]
    due: datetime
    """The first instant at which they are late."""
    items: tuple[str, ...] = ()
    """What they cover, such as the devices of a delivery."""
    license: str | None = None
    """Whose suspension or revocation a step may propose."""
    renews: bool = False
    """What stands already has been done, and is due again."""


class Meets(NamedTuple):
    """Duties that are done, in time or late; those that do not stand are passed over."""

    subjects: tuple[str, ...]


Change = Opens | Meets

NOT_MET = Verdict(met=False)


def verdict_of_items(duty: Duty, left: tuple[str, ...], unit: str | None) -> Verdict:
    """Of a duty about so many items, of which it is still to be done for those that are `left`."""
    named, count = len(duty.items), len(left)
    return Verdict(not left, named - count, named, count or None, unit, left[:SUBJECTS_MAX], count)


class Obligation(Generic[P]):
    """One obligation of the catalogue. The subclass's docstring is its text."""

    name: ClassVar[str]
    """Permanent: it stands in committed decisions."""
    number: ClassVar[int]
    """In the catalogue of contract conditions."""
    watches: ClassVar[tuple[str, ...]]
    """Kinds of event that open or meet it. `policy.activated`: its own document's activation."""
    parameters: ClassVar[type[Parameters]]
    unit: ClassVar[str] = ""
    of_license: ClassVar[bool] = True
    """Its duties name a license, whose suspension or revocation a step may propose."""
    comes_again: ClassVar[bool] = False
    """With each period. Met in time, it is found so when it falls due, and the next one begins then."""
    sentences: ClassVar[Mapping[str, str]]
    """How a breach reads (`late`), and where it applies a duty met (`met`)."""

    def __init_subclass__(cls, *, name: str = "", **_: Any) -> None:
        super().__init_subclass__()
        if name:
            cls.name = name
            if name in OBLIGATIONS:
                raise TypeError(f"obligation {name} is declared twice")
            OBLIGATIONS[name] = cls()  # type: ignore[abstract,unused-ignore] # one with a name is whole

    @property
    def text(self) -> str:
        return cleandoc(self.__doc__ or "")

    def touches(self, event: Event, facts: Facts, parameters: P) -> Iterable[str]:
        """The subjects of the duties that the event may open or meet: `changes` names no others."""
        raise NotImplementedError

    def reads(self, event: Event, facts: Facts, parameters: P) -> Iterable[Key]:
        """The facts that `changes` looks at, beyond those that the kind of event names itself."""
        return ()

    def changes(self, case: Case, parameters: P) -> Iterable[Change]:
        """What an accepted event opens and meets, on the facts as they were before it."""
        raise NotImplementedError

    def due_reads(self, duty: Duty, parameters: P) -> Iterable[Key]:
        """The facts that `verdict` looks at."""
        return ()

    def verdict(
        self, duty: Duty, facts: Facts, contract: Contract, parameters: P, *, at: datetime
    ) -> Verdict:
        """Whether the duty is met after all. Most are met by events alone: then it never is here."""
        return NOT_MET

    def again(self, duty: Duty, facts: Facts, contract: Contract, parameters: P) -> Opens | None:
        """The duty of the next period, where one comes again once this one has fallen due."""
        return None


OBLIGATIONS: dict[str, Obligation[Any]] = {}
