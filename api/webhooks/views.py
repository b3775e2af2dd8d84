"""The shapes of questions and answers on the routes of webhooks."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from api.schemas import After, ContractName, Index
from api.webhooks.endpoints import matches
from api.webhooks.network import URL_MAX
from ledger.kinds import KINDS

ENDPOINT = r"^we_[0-9a-f]{16}$"
DELIVERY = r"^msg_[0-9a-z_]{1,64}$"
KIND = r"^[a-z_]{1,40}\.([a-z_]{1,40}|\*)$"


def _names_a_kind(pattern: str) -> str:
    """Else a slip of the pen is an endpoint that is told nothing, and nobody knows."""
    known = {name for name, _ in KINDS}
    if not any(matches(pattern, name) for name in known):
        near = get_close_matches(pattern, known | {f"{name.partition('.')[0]}.*" for name in known}, 1)
        hint = f"the nearest is {near[0]}" if near else "/v1/kinds has them all"
        raise ValueError(f"{pattern} names no kind of event; {hint}")
    return pattern


class NewEndpoint(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, Field(min_length=1, max_length=URL_MAX, description="Where it is told; https.")]
    description: Annotated[str, Field(max_length=200)] = ""
    kinds: Annotated[
        list[Annotated[str, Field(pattern=KIND), AfterValidator(_names_a_kind)]],
        Field(max_length=100, description="Such as license.revoked or license.*; empty: all."),
    ] = []  # pydantic copies it
    contracts: Annotated[
        list[ContractName], Field(max_length=100, description="Empty: all that the key may read.")
    ] = []
    outcomes: Annotated[
        list[Literal["accepted", "flagged", "held", "denied"]],
        Field(max_length=4, description="Empty: all."),
    ] = []
    signs: Annotated[
        Literal["v1", "v1a"], Field(description="HMAC-SHA256 with a shared secret, or Ed25519.")
    ] = "v1"
    escalates_to: Annotated[
        str | None,
        Field(pattern=ENDPOINT, description="Who is told of a revocation that does not arrive here."),
    ] = None


class EndpointView(BaseModel):
    id: str
    role: Annotated[str, Field(description="Of the key that made it; with `party`, the owner.")]
    party: str | None
    url: str
    description: str
    kinds: list[str]
    contracts: list[str]
    outcomes: list[str]
    signs: Literal["v1", "v1a"]
    escalates_to: str | None
    state: Literal["unverified", "enabled", "disabled"]
    reason: Annotated[str | None, Field(description="Why it is disabled.")]
    since: Annotated[int | None, Field(description="The first index that it is told of.")]
    failures: Annotated[int, Field(description="Attempts in a row that failed.")]
    rotates_until: Annotated[datetime | None, Field(description="Until then two secrets sign.")]
    created_at: datetime
    verified_at: datetime | None


class EndpointWithSecret(EndpointView):
    secret: Annotated[str, Field(description="whsec_ or whpk_ and base64. It is shown once.")]


class EndpointQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        str | None, Field(pattern=ENDPOINT, description="Those whose id sorts after this one.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class EndpointPage(BaseModel):
    endpoints: list[EndpointView]
    next: Annotated[str | None, Field(description="`after` of the next page; null at the end.")]


class EndpointDeleted(EndpointView):
    deleted_at: datetime
    ended: Annotated[
        int,
        Field(description="Deliveries that waited and are dead now. Not among them: revocations, see above."),
    ]
    escalating: Annotated[
        list[str],
        Field(
            description="Endpoints that escalate to it: what does not arrive there goes on to whom it"
            " escalates to, or to nobody. Make others in their place."
        ),
    ]


class AttemptView(BaseModel):
    number: Annotated[
        int,
        Field(
            description="One that is missing was begun by a process that then ended, or it was not made:"
            " the endpoint was disabled."
        ),
    ]
    at: datetime
    url: str
    timestamp: Annotated[int, Field(description="`webhook-timestamp`.")]
    signature: Annotated[str, Field(description="`webhook-signature`.")]
    latency_ms: int
    status: int | None
    error: str | None
    response: Annotated[str | None, Field(description="The first 4 KiB of the answer's body.")]


class Tried(BaseModel):
    delivery: str
    arrived: bool
    attempt: AttemptView


class VerificationView(Tried):
    endpoint: EndpointView


class DeliveryView(BaseModel):
    id: Annotated[str, Field(description="`webhook-id` of every attempt.")]
    endpoint: str
    role: Annotated[str, Field(description="Of whom was told.")]
    party: Annotated[str | None, Field(description="Who was told.")]
    url: str
    description: Annotated[str, Field(description="Of the endpoint.")]
    deleted_at: Annotated[
        datetime | None, Field(description="When the endpoint was deleted, and its secrets with it.")
    ]
    index: int | None
    kind: str
    state: Literal["waiting", "delivered", "dead"]
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    settled_at: Annotated[datetime | None, Field(description="When it was delivered, or given up.")]
    arrived_at: Annotated[
        datetime | None,
        Field(description="When it first arrived; null: never. A resend that fails does not change it."),
    ]
    escalated_from: Annotated[str | None, Field(description="The delivery that did not arrive.")]


class DeliveryPage(BaseModel):
    deliveries: list[DeliveryView]
    next: Annotated[int | None, Field(description="`after` of the next page; null at the end.")]


class AcknowledgementView(BaseModel):
    party: str
    index: Annotated[int, Field(description="Of the entry in which it says so.")]
    at: datetime
    after_s: Annotated[float, Field(description="After the revocation was recorded.")]


class NoticeDutyView(BaseModel):
    party: str
    policy: str
    version: int
    obligation: str
    due: Annotated[str, Field(description="The first instant at which it is late.")]
    state: Annotated[
        Literal["open", "met", "breached", "lapsed"],
        Field(description="One that was breached and then met, late, is met: the log has the breach."),
    ]
    met: Annotated[int | None, Field(description="Index of the entry in which it says so.")]


class NoticePage(BaseModel):
    deliveries: list[DeliveryView]
    next: Annotated[str | None, Field(description="`after` of the next page; null at the end.")]
    acknowledged: Annotated[
        list[AcknowledgementView] | None, Field(description="Who has confirmed; None: it is no revocation.")
    ]
    outstanding: Annotated[list[str] | None, Field(description="Parties that have not.")]
    duties: Annotated[
        list[NoticeDutyView] | None,
        Field(description="By when each party must, under the contract's documents; empty: none asks it."),
    ]


class DeliveryWithAttempts(DeliveryView):
    body: Annotated[
        Any,
        Field(
            description="What was sent; null once it is erased, and to a key that is not shown everything."
        ),
    ]
    tried: list[AttemptView]


class Replay(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    from_index: Index
    to_index: Annotated[Index | None, Field(description="The last index; null: the end of the log.")] = None
    which: Annotated[
        Literal["failed", "all"],
        Field(description="failed: what died or was never queued. all: what arrived, too."),
    ] = "failed"

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to_index is not None and self.to_index < self.from_index:
            raise ValueError(f"to_index is {self.to_index}, must be {self.from_index} or more, as from_index")
        return self


class ReplayView(BaseModel):
    queued: int
    next: Annotated[int | None, Field(description="Ask on from this index; None: that was all.")]


class DeliveryQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: After = -1
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    state: Literal["waiting", "delivered", "dead"] | None = None


class NoticeQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: Annotated[str | None, Field(pattern=DELIVERY)] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
