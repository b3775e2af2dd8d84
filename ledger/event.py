"""An event: one thing that somebody says happened, or asks to be allowed.

`parse_event` is the only door. What is hashed is the submitted JSON value itself, canonicalised
(`ledger.canonical`), never a dump of the model; the model exists so that fold and conditions read
typed fields. A new kind is one subclass of `Kind`, in `ledger/kinds/`: its name, its fields, who may
say it, the facts it reads and how it folds. Schemas, documentation and the door follow from that.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast

import orjson
from pydantic import Field, ValidationError, create_model

from ledger.canonical import encode, parse
from ledger.dsse import Envelope, is_envelope
from ledger.errors import Fault, MalformedEvent, MalformedInput
from ledger.values import (
    COMMITTED,
    SHAPES,
    Any_,
    ContractId,
    EventId,
    Identifier,
    PartyId,
    Role,
    Sha256,
    Timestamp,
    Value,
)

if TYPE_CHECKING:
    from ledger.facts import Facts, Key

LEDGER_CONTRACT = "_ledger"
LEDGER_PARTY = "_ledger"
EVENT_BYTES_MAX = 1 << 20
FAULTS_MAX = 20


class Actor(Value):
    """Who speaks, and as what."""

    party: PartyId | Literal["_ledger"]
    role: Role


class Document(Value):
    """What the event is in the submitter's own books. One accepted event for each revision."""

    system: Identifier
    number: Identifier
    item: Identifier = "0"
    revision: int = Field(default=0, ge=0, le=1_000_000)


class Evidence(Value):
    """A document kept elsewhere, named by its digest."""

    sha256: Sha256
    media_type: Annotated[str, Field(pattern=r"^[a-z]+/[A-Za-z0-9.+-]{1,100}$")]
    uri: Annotated[str, Field(min_length=1, max_length=2_000)]


Nature = Literal["request", "fact", "own"]
"""request: may be refused, for nothing has happened yet. fact: has happened, so it is accepted and
flagged where it should not have. own: the ledger says it, in the transaction of its cause."""


class Kind(Value):
    """The data of one kind of event, at one version."""

    kind_name: ClassVar[str]
    kind_version: ClassVar[int]
    nature: ClassVar[Nature]
    setup: ClassVar[bool] = False
    """Judged by the constitution alone; every other kind needs a policy in force."""
    said_by: ClassVar[frozenset[str]]
    """The roles that may say it."""
    looks_up: ClassVar[bool] = False
    """It reads what is no stored fact (`ledger.facts.LOOKED_UP`): an entry, what stands under a license."""
    example: ClassVar[dict[str, Any]]
    """Valid `data`, shown by the documentation and the API."""

    def __init_subclass__(cls, **_: Any) -> None:
        super().__init_subclass__()  # the keywords are for the hook below

    @classmethod
    def __pydantic_init_subclass__(cls, *, kind: str = "", version: int = 1, **_: Any) -> None:
        if kind:
            cls.kind_name, cls.kind_version = kind, version
            if (kind, version) in KINDS:
                raise TypeError(f"{kind} version {version} is declared twice")
            KINDS[kind, version] = cls

    def subject(self) -> str | None:
        """What of the contract it asks for, such as `order/PO-4711`: what a hold or an override names."""
        return None

    def rests_on(self) -> Iterable[str]:
        """The subjects that it follows from: while one of them is held, it must not happen."""
        return ()

    def speaks_of(self) -> Iterable[str]:
        """The serials it speaks of: the entry becomes a link of each device's custody chain."""
        return ()

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        """The facts that judging and folding may look at, beyond the contract's own.

        Asked again once these are loaded, until it names nothing new: a key may depend on a fact.
        """
        return ()

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        """Put into `facts` what is true after the accepted event `index`, recorded `at`."""
        raise NotImplementedError  # every kind says what it changes, even if it is nothing

    def upcast(self) -> Kind:
        """The same as the next version of the kind says it: the newest says of itself that it is."""
        return self

    def undo_reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        """As `reads`: the facts that `undo` may look at."""
        return self.reads(event, facts)

    def undo(self, event: Event, facts: Facts, *, index: int) -> str | None:
        """Take back what entry `index` folded; None, or why that cannot be done (a code)."""
        return "correction.not_reversible"


KINDS: dict[tuple[str, int], type[Kind]] = {}


class Event(Value):
    """The envelope, with typed `data`. Concrete classes differ in `data` alone."""

    id: EventId
    kind: str
    version: int
    contract: ContractId
    occurred_at: Timestamp
    """The submitter's claim."""
    actor: Actor
    data: Kind
    document: Document | None = None
    evidence: Any_[Evidence] = ()
    retries: EventId | None = None
    """The id of the refused attempt that this one tries again."""

    # No private attribute: pydantic would make a dictionary of these for every event.
    signed_by: ClassVar[tuple[str, ...]] = ()
    """Fingerprints of the keys whose signatures came with it, in their order; of an instance, by `signed`."""

    def signed(self, by: tuple[str, ...]) -> Self:
        """The same event, with signatures by these keys."""
        return self.model_copy(update={"signed_by": by})


class Submission(NamedTuple):
    """An event and the bytes that are committed for it."""

    event: Event
    body: bytes
    """Canonical JSON of the value as submitted."""
    signatures: bytes | None = None
    """Canonical JSON of its envelope without the payload (`ledger.dsse`); None: it is not signed."""


@cache
def model_of(kind: str, version: int) -> type[Event]:
    """The envelope model of one kind."""
    data = KINDS[kind, version]
    name = "".join(part.title() for part in kind.replace(".", "_").split("_"))
    return create_model(
        f"{name}V{version}",
        __base__=Event,
        __doc__=data.__doc__,
        kind=(cast(Any, Literal[kind]), ...),
        version=(cast(Any, Literal[version]), ...),
        data=(data, ...),
    )


@cache
def _versions() -> dict[str, tuple[int, ...]]:
    import ledger.kinds  # noqa: F401 - declares every kind; they import this module

    names = {name for name, _ in KINDS}
    return {name: tuple(sorted(v for n, v in KINDS if n == name)) for name in sorted(names)}


def versions_of(kind: str) -> tuple[int, ...]:
    """The known versions of a kind, lowest first; none for an unknown kind."""
    return _versions().get(kind, ())


def schema_of(kind: str, version: int) -> dict[str, Any]:
    """JSON Schema (2020-12) of the whole event."""
    schema = model_of(kind, version).model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def known_kind(kind: str) -> str:
    """The kind as it is. Raises ValueError, naming the nearest, if there is none of this name."""
    if versions_of(kind):
        return kind
    near = get_close_matches(kind[:80], _versions(), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"{kind[:80]} is not a known kind{hint}")


def parse_event(value: object) -> Event:
    """The typed event of a JSON value that `ledger.canonical.parse` gave.

    Raises MalformedEvent, naming each fault by a JSON pointer into the event.
    """
    return _event_of(value)


def _event_of(value: object, *, context: str | None = None) -> Event:
    if not isinstance(value, dict):
        raise MalformedEvent(Fault("", "an event is a JSON object"))
    kind, version = value.get("kind"), value.get("version")
    if not isinstance(kind, str):
        raise MalformedEvent(Fault("/kind", "kind is missing or no string, such as order.placed"))
    try:
        known = versions_of(known_kind(kind))
    except ValueError as error:
        raise MalformedEvent(Fault("/kind", str(error))) from None
    # `True == 1`, so the type is asked for, not the value alone.
    if type(version) is not int or version not in known:
        raise MalformedEvent(Fault("/version", f"version of {kind} must be {' or '.join(map(str, known))}"))
    try:
        return model_of(kind, version).model_validate(value, context=context)
    except ValidationError as error:
        raise MalformedEvent(*faults_of(error)) from None


def committed_event(body: bytes, signatures: bytes | None = None) -> Event:
    """The event of an entry, with the keys that signed it, in the newest version of its kind.

    It was judged fit when it came in: what a registry of countries, currencies, zones or check digits
    says today changes nothing in it, and its own version reads it for ever. Raises MalformedEvent for
    what nobody can have committed.
    """
    event = _event_of(orjson.loads(body), context=COMMITTED)
    if signatures is not None:
        event = event.signed(Envelope.committed(body, signatures).keyids)
    data = event.data
    while (following := data.upcast()) is not data:
        data = following
    if data is event.data:
        return event
    return event.model_copy(update={"version": data.kind_version, "data": data})


def submission_of(value: object) -> Submission:
    """Parse an event, or the envelope of one, and keep the canonical bytes of what was submitted.

    Raises MalformedInput. That signatures hold is not checked here.
    """
    return _opened(value) if is_envelope(value) else _submission(value)


def _opened(value: object) -> Submission:
    envelope = Envelope.parse(value)
    try:
        event, body, _ = _submission(parse(envelope.payload))
    except MalformedInput as error:
        # No pointer reaches into what is encoded.
        inner = (
            Fault("/payload", f"in its event, {f.pointer or 'the whole'}: {f.detail}") for f in error.faults
        )
        raise type(error)(*inner) from None
    if body != envelope.payload:
        raise MalformedEvent(Fault("/payload", "is not the canonical form of its event (RFC 8785)"))
    return Submission(event.signed(envelope.keyids), body, envelope.body)


def _submission(value: object) -> Submission:
    event = parse_event(value)
    body = encode(value)
    if len(body) > EVENT_BYTES_MAX:
        raise MalformedEvent(
            Fault("", f"an event is at most {EVENT_BYTES_MAX} canonical bytes, this is {len(body)}")
        )
    return Submission(event, body)


def faults_of(error: ValidationError) -> list[Fault]:
    """The places and words of a pydantic error, without the rejected input itself."""
    return faults_from(error.errors(include_url=False, include_input=False))


def faults_from(found: Iterable[Any]) -> list[Fault]:
    """The same, of pydantic's list of error details; the first FAULTS_MAX of them."""
    faults = []
    details = list(islice(found, FAULTS_MAX))
    for detail in details:
        # pydantic does not count an item that has a fault of its own, and then finds the list too short.
        if detail["type"] == "too_short" and any(_lies_in(one, detail) for one in details):
            continue
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in detail["loc"])
        if detail["type"] == "extra_forbidden":
            words = "is not a known field"
        elif detail["type"] == "string_pattern_mismatch":
            pattern = detail["ctx"]["pattern"]
            words = f"must be {SHAPES[pattern]}" if pattern in SHAPES else f"must match {pattern}"
        else:
            words = detail["msg"].removeprefix("Value error, ")
        faults.append(Fault(pointer, words))
    return faults


def _lies_in(inner: Any, outer: Any) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]
