"""The shapes of questions and answers on the read routes. Facts are shown as they are stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from ledger.event import known_kind
from ledger.values import CONTRACT_PATTERN, SERIAL_PATTERN, Identifier, Timestamp
from policies.conditions.parameters import Duration
from policies.words import Tag

INDEX_MAX = 2**53 - 1
"""The largest integer that every JSON reader takes exactly."""

SERIAL: Final = SERIAL_PATTERN
Index = Annotated[int, Field(ge=0, le=INDEX_MAX)]
ContractName = Annotated[str, Field(pattern=CONTRACT_PATTERN)]
KindName = Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z_]+$"), AfterValidator(known_kind)]
After = Annotated[int, Field(ge=-1, le=INDEX_MAX, description="Entries after this index.")]


# --- questions: a parameter that is not known is refused, for a filter with a slip shows too much --


class Reading(BaseModel):
    """What every read of the log or its facts may be asked."""

    model_config = ConfigDict(extra="forbid")

    min_index: Annotated[
        Index | None,
        Field(description="An index out of a receipt: the answer knows that entry, or is 412."),
    ] = None


class EntryQuery(Reading):
    after: After = -1
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    contract: ContractName | None = None
    kind: Annotated[KindName | None, Field(max_length=64)] = None
    party: Annotated[str | None, Field(pattern=r"^[a-z0-9_][a-z0-9.-]{0,62}$")] = None
    outcome: Literal["accepted", "flagged", "held", "denied"] | None = None
    since: Annotated[Timestamp | None, Field(description="Recorded at or after.")] = None
    until: Annotated[Timestamp | None, Field(description="Recorded before.")] = None
    backdated: Annotated[
        Duration | None,
        Field(description="Recorded more than this after it occurred, such as PT24H."),
        WithJsonSchema({"type": "string", "examples": ["PT24H"]}),
    ] = None


class ExplanationQuery(Reading):
    lang: Annotated[Tag | None, Field(description="English or Chinese; else by `Accept-Language`.")] = None


class BundleQuery(Reading):
    """One of these."""

    serial: Annotated[str | None, Field(pattern=SERIAL, description="The custody chain of a device.")] = None
    contract: Annotated[ContractName | None, Field(description="A contract, whole.")] = None
    index: Annotated[
        list[Index], Field(max_length=1000, description="These entries; repeat it for several.")
    ] = []

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.asked) != 1:
            raise ValueError(f"give one of serial, contract or index; {len(self.asked)} are given")
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """What is given of these."""
        given = {"serial": self.serial, "contract": self.contract, "index": sorted(set(self.index)) or None}
        return {name: value for name, value in given.items() if value is not None}


class LinkQuery(Reading):
    after: After = -1
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class FactQuery(Reading):
    after: Annotated[Identifier | None, Field(description="Those whose number sorts after this one.")] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


AFTER = r"^[A-Za-z0-9_][A-Za-z0-9._:#+/-]{0,255}$"


class DutyQuery(FactQuery):
    after: Annotated[
        str | None, Field(pattern=AFTER, description="Those whose key sorts after this one.")
    ] = None


class ReceiptQuery(Reading):
    format: Annotated[
        Literal["json", "tlog-proof"] | None, Field(description="By default as `Accept` says, or json.")
    ] = None


class InclusionQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    index: Index
    tree_size: Annotated[Index | None, Field(description="By default the present size.")] = None


class ConsistencyQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old_size: Index
    new_size: Annotated[Index | None, Field(description="By default the present size.")] = None


# --- answers --------------------------------------------------------------------------------------

EXPLANATION_EXAMPLE: Final[dict[str, Any]] = {
    "index": 17,
    "kind": "shipment.requested",
    "party": "acme",
    "recorded_at": "2027-02-27T12:00:00.000000Z",
    "contract": "11111111-2222-4333-8444-555555555555",
    "outcome": "denied",
    "language": "zh",
    "policies": [{"policy": "constitution", "version": 1}, {"policy": "us-h200-china", "version": 1}],
    "summary": "已拒绝：事件已入账，但不产生效力；有1项条件未满足。",
    "sentences": [
        {
            "about": "finding",
            "text": "levy：已缴关税6,000,000.00 USD，应缴6,750,000.00 USD：尚欠750,000.00 USD。"
            "条款：tariff of 25 % ad valorem（us-h200-china第1版）。",
            "condition": "levy",
            "policy": "us-h200-china",
            "version": 1,
            "result": "fail",
            "action": "deny",
            "clause": "tariff of 25 % ad valorem",
            "numbers": {
                "observed": "6000000.00",
                "limit": "6750000.00",
                "shortfall": "750000.00",
                "unit": "USD",
            },
        }
    ],
}


class BodyView(BaseModel):
    salt: Annotated[
        str, Field(description="32 bytes, hex: commitment = SHA-256(salt ‖ canonical JSON of value).")
    ]
    value: dict[str, Any]


class ErasedView(BaseModel):
    by: Annotated[int, Field(description="The `value.erased` that says so, with the facts that stay.")]
    request: Annotated[int, Field(description="The `purge.requested`: who asked for it, and why.")]


class EntryView(BaseModel):
    index: int
    kind: str
    party: str
    outcome: str
    recorded_at: str
    leaf_hash: Annotated[str, Field(description="SHA-256(0x00 ‖ canonical JSON of header), hex.")]
    header: dict[str, Any]
    event: Annotated[BodyView | None, Field(description="null: erased, or withheld from the key.")]
    decision: BodyView | None
    signatures: Annotated[
        BodyView | None, Field(description="Of a signed event: its DSSE envelope, without the payload.")
    ] = None
    erased: Annotated[ErasedView | None, Field(description="Only where its bodies were erased.")] = None


class EntryPage(BaseModel):
    entries: list[EntryView]
    next: Annotated[int | None, Field(description="`after` of the next page; null at the end.")]


class CitedView(BaseModel):
    policy: str
    version: int
    sha256: str | None = None


class SentenceView(BaseModel):
    about: Annotated[
        Literal["event", "finding", "hold", "duty", "shadow"],
        Field(description="What the ledger itself says; a condition; who may release; a duty; a shadow."),
    ]
    text: str
    condition: Annotated[str | None, Field(description="Id of the condition, rule or obligation.")]
    policy: str | None
    version: int | None
    result: Annotated[
        str | None,
        Field(description="pass, fail, error, not_applicable; of a duty opened, discharged, breached, ..."),
    ]
    action: str | None
    clause: Annotated[str | None, Field(description="In the document's own language.")]
    numbers: Annotated[
        dict[str, int | str], Field(description="observed, limit, shortfall, headroom, unit: as committed.")
    ]


class ExplanationView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": EXPLANATION_EXAMPLE})

    index: int
    kind: str
    party: str
    recorded_at: str
    contract: str
    outcome: str
    language: Tag
    policies: Annotated[list[CitedView], Field(description="By which it was judged.")]
    summary: Annotated[str, Field(description="The outcome in a sentence.")]
    sentences: list[SentenceView]


class ChainView(BaseModel):
    count: int
    head: str


class OrderPage(BaseModel):
    orders: list[dict[str, Any]]
    next: Annotated[str | None, Field(description="`after` of the next page; null at the end.")]


class ShipmentPage(BaseModel):
    shipments: list[dict[str, Any]]
    next: Annotated[str | None, Field(description="`after` of the next page; null at the end.")]


class DutyPage(BaseModel):
    duties: list[dict[str, Any]]
    next: Annotated[str | None, Field(description="`after` of the next page; null at the end.")]


class HoldPage(BaseModel):
    holds: list[dict[str, Any]]
    next: Annotated[str | None, Field(description="`after` of the next page; null at the end.")]


class ContractView(BaseModel):
    model_config = ConfigDict(extra="allow")

    contract: str
    title: str
    chain: ChainView | None
    licenses: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    orders_next: Annotated[
        str | None, Field(description="`after` for `/v1/contracts/{contract}/orders`; null: these are all.")
    ]
    shipments: list[dict[str, Any]]
    shipments_next: Annotated[
        str | None, Field(description="Likewise for `/v1/contracts/{contract}/shipments`.")
    ]


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
    device: Annotated[
        dict[str, Any] | None,
        Field(description="null: the log does not tell, or tells it to the parties of another contract."),
    ]
    custody: list[LinkView]
    next: Annotated[int | None, Field(description="`after` of the next page; null at the end.")]


class ErasureView(BaseModel):
    contract: str
    index: Annotated[int, Field(description="The entry whose bodies are to be erased.")]
    request: Annotated[int, Field(description="The `purge.requested` that asks for it.")]
    erased: Annotated[
        int | None, Field(description="The `value.erased` that says it is done; null: not yet.")
    ]


class ErasurePage(BaseModel):
    erasures: list[ErasureView]
    next: Annotated[str | None, Field(description="`after` of the next page; null at the end.")]


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
    hashes: Annotated[list[str], Field(description="Standard base64, from leaf to root (RFC 9162 §2.1.3).")]


class CompletenessView(BaseModel):
    entry: Annotated[
        EntryView, Field(description="The last `contracts.summarised`: its `root` is over every tail.")
    ]
    contract: str
    count: Annotated[int, Field(description="Entries of the contract, just before that entry.")]
    head: Annotated[str, Field(description="Leaf hash of the last of them, hex.")]
    position: Annotated[int, Field(description="Of its tail among `contracts`, in order of id.")]
    contracts: int
    hashes: Annotated[list[str], Field(description="Standard base64, from leaf to root (RFC 9162 §2.1.3).")]


class WitnessView(BaseModel):
    name: str
    key: Annotated[str, Field(description="Its key as C2SP tlog-cosignature writes it.")]
    size: Annotated[int, Field(description="Of the last checkpoint that it is known to have cosigned.")]
    time: Annotated[int | None, Field(description="When it says it did, in seconds since 1970.")]
    error: Annotated[str | None, Field(description="Why it did not cosign the last one it was asked for.")]
    failing_since: datetime | None


class WitnessesView(BaseModel):
    committed: Annotated[int, Field(description="Entries of the log.")]
    witnessed: Annotated[
        int | None,
        Field(description="Of the last checkpoint that enough have cosigned."),
    ]
    needed: Annotated[int, Field(description="Members of the quorum that must cosign; 0: the log has none.")]
    of: int
    witnesses: list[WitnessView]


class TimestampQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=-1, le=INDEX_MAX, description="Tree size after which to begin.")] = -1
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class TimestampView(BaseModel):
    authority: str
    tree_size: int
    stamped_at: str
    checkpoint: Annotated[str, Field(description="The signed note that was stamped, byte for byte.")]
    token: Annotated[str, Field(description="The TimeStampResp, DER, in standard base64.")]


class TimestampPage(BaseModel):
    timestamps: list[TimestampView]
    next: int | None


class ConsistencyView(BaseModel):
    old_size: int
    new_size: int
    hashes: Annotated[list[str], Field(description="Standard base64 (RFC 9162 §2.1.4).")]


class ReadyView(BaseModel):
    ready: bool
    tree_size: int | None = None
    detail: str | None = None


class ClockView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    now: Annotated[Timestamp, Field(lt=datetime(9999, 1, 1, tzinfo=UTC))]
    """Time is added to it: it must not be the last there is."""


class IntegrityProbe(BaseModel):
    intact: bool | None = Field(default=None, description="null: nobody has looked yet.")
    looked_at: str | None = None
    detail: str | None = None


class FindingView(BaseModel):
    damage: str
    where: str
    index: int | None = None
    evidence: dict[str, str]


class FailureView(FindingView):
    found_at: str
    in_log: Annotated[bool, Field(description="An `integrity.failed` entry says so.")]


class LookedView(BaseModel):
    """One look at the log: every byte of the entries from `first`, and what follows from them."""

    started_at: str
    ended_at: str
    by: str
    result: Literal["intact", "damaged", "unexplained"]
    first: int
    size: int
    root: str
    decisions: Annotated[int, Field(description="How many were made again.")]
    facts: Annotated[int, Field(description="How many were compared with what the log makes them.")]
    findings: list[FindingView]
    findings_count: int
    unexplained: int


class ExplainedView(BaseModel):
    at: str
    words: str
    failures: list[FindingView]


class VerifiedView(BaseModel):
    first: int
    size: int
    root: str
    recorded_until: str | None


class IntegrityView(BaseModel):
    intact: bool | None
    verified: Annotated[VerifiedView, Field(description="What is known to be sound, byte by byte.")]
    looks: dict[Literal["head", "tail", "all"], LookedView | None]
    unexplained: list[FailureView]
    explanations: list[ExplainedView]


class LookView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depth: Literal["head", "tail", "all"]


class WordsView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    words: Annotated[str, Field(min_length=1, max_length=2_000)]


class ProblemView(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[dict[str, str]] | None = None
