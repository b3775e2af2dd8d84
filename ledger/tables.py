"""The tables, as SQLModel declares them and migrations make them. Dumb rows: types are checked before.

`entries` and `bodies` are the log; `tiles` and `device_links` follow from it and are append-only too;
`facts` and `head` are the only rows that the writer may update.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

BY_BYTES = Text(collation="C")
"""A language's order changes with the server's libraries, and would leave indexes wrong."""


class Head(SQLModel, table=True):
    """The one row that orders the log (decision 3)."""

    __tablename__ = "head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    root: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    frontier: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    last_leaf: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    recorded_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    format: int = Field(sa_column=Column(Integer, nullable=False))
    fold: int = Field(sa_column=Column(Integer, nullable=False))
    engine: int = Field(sa_column=Column(Integer, nullable=False))
    origin: str = Field(sa_column=Column(Text, nullable=False))
    verifier_key: str = Field(sa_column=Column(Text, nullable=False))
    clock: str = Field(sa_column=Column(Text, nullable=False))


class EntryRow(SQLModel, table=True):
    """A leaf, and beside its bytes what is queried."""

    __tablename__ = "entries"
    __table_args__ = (
        UniqueConstraint("contract", "contract_index", name="entries_contract_chain"),
        UniqueConstraint("party", "event_id", name="entries_party_event"),
        CheckConstraint("outcome IN ('accepted', 'flagged', 'held', 'denied')", name="entries_outcome"),
        # Time grows with the index: a block range index is all that a time filter needs.
        Index(
            "entries_recorded_at",
            "recorded_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": "on"},
        ),
        # Few are not accepted: what is asked for most costs the others nothing.
        Index("entries_not_accepted", "outcome", "index", postgresql_where=text("outcome <> 'accepted'")),
    )

    index: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    contract: str = Field(sa_column=Column(BY_BYTES, nullable=False))
    contract_index: int = Field(sa_column=Column(BigInteger, nullable=False))
    recorded_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    kind: str = Field(sa_column=Column(BY_BYTES, nullable=False))
    party: str = Field(sa_column=Column(BY_BYTES, nullable=False))
    event_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    outcome: str = Field(sa_column=Column(BY_BYTES, nullable=False))
    leaf: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    header: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class BodyRow(SQLModel, table=True):
    """The salted bodies of an entry; NULL where one was erased, or nobody signed."""

    __tablename__ = "bodies"

    index: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    event_salt: bytes | None = Field(sa_column=Column(LargeBinary))
    event: bytes | None = Field(sa_column=Column(LargeBinary))
    decision_salt: bytes | None = Field(sa_column=Column(LargeBinary))
    decision: bytes | None = Field(sa_column=Column(LargeBinary))
    signatures_salt: bytes | None = Field(sa_column=Column(LargeBinary))
    signatures: bytes | None = Field(sa_column=Column(LargeBinary))


class DeviceLink(SQLModel, table=True):
    """Entry `index` speaks of this device: the custody chain."""

    __tablename__ = "device_links"

    serial: str = Field(sa_column=Column(BY_BYTES, primary_key=True))
    index: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))


UNDER = (
    "CASE WHEN name IN ('order', 'shipment')"
    " AND (data ->> 'state') <> 'cancelled' THEN data ->> 'license' END"
)

DUE = "CASE WHEN name = 'duty' THEN data ->> 'next' END"


class FactRow(SQLModel, table=True):
    """One fact (`ledger.facts`), as the exact text that a rebuild gives again."""

    __tablename__ = "facts"
    __table_args__ = (
        # What is under a license: asked when it is revoked. An index on an expression of `data`
        # would make every change of every fact a change of this index.
        Index("facts_under", "under", postgresql_where=text("under IS NOT NULL")),
        Index("facts_due", "due", postgresql_where=text("due IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    name: str = Field(sa_column=Column(BY_BYTES, primary_key=True))
    key: str = Field(sa_column=Column(BY_BYTES, primary_key=True))
    data: str = Field(sa_column=Column(JSON, nullable=False))
    under: str | None = Field(sa_column=Column(BY_BYTES, Computed(UNDER, persisted=True)))
    """The license of an order or shipment that was not cancelled."""
    due: str | None = Field(sa_column=Column(BY_BYTES, Computed(DUE, persisted=True)))
    """When a duty falls due, or its next step does: UTC as the ledger writes it, which sorts as text."""


class Tile(SQLModel, table=True):
    """256 hashes of one tree level, complete and immutable (C2SP tlog-tiles)."""

    __tablename__ = "tiles"

    level: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    n: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hashes: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    root: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Its own hash, one hash of the tile above."""


class WitnessedRow(SQLModel, table=True):
    """The last checkpoint that enough witnesses have cosigned, with their lines."""

    __tablename__ = "witnessed"
    __table_args__ = (CheckConstraint("id = 1", name="witnessed_one_row"),)

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    note: str = Field(sa_column=Column(Text, nullable=False))


class TimestampRow(SQLModel, table=True):
    """A checkpoint, and the word of a time-stamping authority on when it existed (RFC 3161)."""

    __tablename__ = "timestamps"

    authority: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    size: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    note: str = Field(sa_column=Column(Text, nullable=False))
    token: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The whole response, DER."""
    stamped_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class IntegrityRun(SQLModel, table=True):
    """One look at the log, or an operator's explanation of what was found."""

    __tablename__ = "integrity_runs"
    __table_args__ = (
        CheckConstraint("what IN ('head', 'tail', 'all', 'explanation')", name="integrity_runs_what"),
        Index("integrity_runs_ended_at", "what", "ended_at"),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    what: str = Field(sa_column=Column(Text, nullable=False))
    """Its depth, or `explanation`."""
    started_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    ended_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    said_by: str = Field(sa_column=Column(Text, nullable=False))
    """Host and process, or the operator's key."""
    result: str = Field(sa_column=Column(Text, nullable=False))
    report: dict[str, object] = Field(sa_column=Column(JSONB, nullable=False))
    """What was looked at, and what was found; of an explanation its words."""


class ApiKey(SQLModel, table=True):
    """A key by its digest; the secret is shown once and never stored."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("role IN ('submitter', 'auditor', 'regulator', 'operator')", name="api_keys_role"),
        CheckConstraint("events_per_minute >= 1 AND denials_per_hour >= 1", name="api_keys_quotas"),
    )

    id: str = Field(sa_column=Column(BY_BYTES, primary_key=True))
    secret_sha256: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    role: str = Field(sa_column=Column(Text, nullable=False))
    party: str | None = Field(sa_column=Column(Text))
    label: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    expires_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    revoked_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    events_per_minute: int | None = Field(sa_column=Column(BigInteger))
    """NULL, here and below: as the service is set."""
    denials_per_hour: int | None = Field(sa_column=Column(BigInteger))
    withholds: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default="{}"))
    """What it is not shown (`ledger.withheld`)."""


class KeyUse(SQLModel, table=True):
    """When a key was last used, to the minute; the writer may write this, and not read a key."""

    __tablename__ = "key_uses"

    key_id: str = Field(sa_column=Column(BY_BYTES, ForeignKey("api_keys.id"), primary_key=True))
    used_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class WebhookEndpoint(SQLModel, table=True):
    """Who is told of which entries, and where (`api.webhooks`)."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        CheckConstraint(
            "state IN ('unverified', 'enabled', 'disabled', 'deleted')", name="webhook_endpoints_state"
        ),
        CheckConstraint("signs IN ('v1', 'v1a')", name="webhook_endpoints_signs"),
        CheckConstraint(
            "CASE WHEN deleted_at IS NULL THEN state <> 'deleted'"
            " ELSE state IN ('disabled', 'deleted') AND secret = '' AND previous IS NULL END",
            name="webhook_endpoints_deleted",
        ),
    )

    id: str = Field(sa_column=Column(BY_BYTES, primary_key=True))
    role: str = Field(sa_column=Column(Text, nullable=False))
    """Of the key that made it: it is told what a key of this role and party may read."""
    party: str | None = Field(sa_column=Column(BY_BYTES))
    withholds: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    """Of the key that made it: what is not shown to it is not told."""
    url: str = Field(sa_column=Column(Text, nullable=False))
    description: str = Field(sa_column=Column(Text, nullable=False))
    kinds: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    """Empty, here and below: all."""
    contracts: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    outcomes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    signs: str = Field(sa_column=Column(Text, nullable=False))
    secret: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Sealed with a key that is not in the database, as is `previous`."""
    previous: bytes | None = Field(sa_column=Column(LargeBinary))
    previous_until: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    escalates_to: str | None = Field(sa_column=Column(BY_BYTES, ForeignKey("webhook_endpoints.id")))
    state: str = Field(sa_column=Column(Text, nullable=False))
    reason: str | None = Field(sa_column=Column(Text))
    """Why it is disabled."""
    since: int | None = Field(sa_column=Column(BigInteger))
    """The first index that it is told of."""
    failures: int = Field(sa_column=Column(Integer, nullable=False))
    """Attempts in a row that failed."""
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    verified_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    deleted_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    """The row stays for the record, without secrets; until nothing waits it is disabled."""


class WebhookDelivery(SQLModel, table=True):
    """One entry for one endpoint, as the bytes that it is sent."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("endpoint", "index", name="webhook_deliveries_entry"),
        CheckConstraint("state IN ('waiting', 'delivered', 'dead')", name="webhook_deliveries_state"),
        CheckConstraint("lane IN ('revocations', 'everything')", name="webhook_deliveries_lane"),
        Index(
            "webhook_deliveries_waiting", "lane", "endpoint", "due_at",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("webhook_deliveries_dead", "lane", postgresql_where=text("state = 'dead'")),
        Index("webhook_deliveries_index", "index"),
        {"postgresql_with": {"fillfactor": "70"}},
    )  # fmt: skip

    id: str = Field(sa_column=Column(BY_BYTES, primary_key=True))
    """`webhook-id` of every attempt."""
    endpoint: str = Field(sa_column=Column(BY_BYTES, ForeignKey("webhook_endpoints.id"), nullable=False))
    index: int | None = Field(sa_column=Column(BigInteger))
    """Of the entry; NULL: a handshake or a test."""
    lane: str = Field(sa_column=Column(Text, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Empty once the entry's bodies are erased."""
    escalated_from: str | None = Field(sa_column=Column(BY_BYTES))
    """The delivery that did not arrive."""
    state: str = Field(sa_column=Column(Text, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    """Begun, of all time."""
    tries: int = Field(sa_column=Column(Integer, nullable=False))
    """Begun since it was last queued."""
    due_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    """Of the next attempt; while one runs, when it is taken to have been cut off."""
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    settled_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))


class WebhookAttempt(SQLModel, table=True):
    """What was asked of a receiver, and what came back."""

    __tablename__ = "webhook_attempts"

    delivery: str = Field(sa_column=Column(BY_BYTES, ForeignKey("webhook_deliveries.id"), primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    """One that is missing was begun by a process that then ended."""
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    url: str = Field(sa_column=Column(Text, nullable=False))
    timestamp: int = Field(sa_column=Column(BigInteger, nullable=False))
    """`webhook-timestamp`, with `signature` and the delivery's body all that was sent."""
    signature: str = Field(sa_column=Column(Text, nullable=False))
    latency_ms: int = Field(sa_column=Column(Integer, nullable=False))
    status: int | None = Field(sa_column=Column(Integer))
    error: str | None = Field(sa_column=Column(Text))
    """Why there is no status, or why this one is a failure."""
    response: bytes | None = Field(sa_column=Column(LargeBinary))
    """The first bytes of the answer's body."""


class WebhookCursor(SQLModel, table=True):
    """Entries below `index` have become deliveries, as far as they concern the lane."""

    __tablename__ = "webhook_cursors"

    lane: str = Field(sa_column=Column(BY_BYTES, primary_key=True))
    index: int = Field(sa_column=Column(BigInteger, nullable=False))
