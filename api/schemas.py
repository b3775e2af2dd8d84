"""The shapes of answers, for the OpenAPI description. Facts are shown as they are stored."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class BodyView(BaseModel):
    salt: str
    """32 bytes, hex: commitment = SHA-256(salt ‖ canonical JSON of value)."""
    value: dict[str, Any]


class EntryView(BaseModel):
    index: int
    kind: str
    party: str
    outcome: str
    recorded_at: str
    leaf_hash: str
    header: dict[str, Any]
    event: BodyView | None
    decision: BodyView | None


class EntryPage(BaseModel):
    entries: list[EntryView]
    next: int | None


class ChainView(BaseModel):
    count: int
    head: str


class ContractView(BaseModel):
    model_config = ConfigDict(extra="allow")

    contract: str
    title: str
    chain: ChainView | None
    licenses: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    shipments: list[dict[str, Any]]


class LinkView(BaseModel):
    index: int
    kind: str
    party: str
    outcome: str
    contract: str
    recorded_at: str
    occurred_at: str | None
    leaf_hash: str


class DeviceView(BaseModel):
    serial: str
    device: dict[str, Any] | None
    custody: list[LinkView]


class KindView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    kind: str
    version: int
    nature: str
    said_by: list[str]
    description: str
    schema_url: str
    example: dict[str, Any]


class InclusionView(BaseModel):
    index: int
    tree_size: int
    leaf_hash: str
    hashes: list[str]
    """Standard base64, from leaf to root (RFC 9162 §2.1.3)."""


class ConsistencyView(BaseModel):
    old_size: int
    new_size: int
    hashes: list[str]


class ReadyView(BaseModel):
    ready: bool
    tree_size: int | None = None
    detail: str | None = None


class ProblemView(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[dict[str, str]] | None = None
