"""What the ledger itself says, in the transaction of its cause."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from ledger.event import LEDGER_PARTY, Event, Kind, Nature
from ledger.facts import Duty, DutyStep, Facts, HeldBy, Hold, Key, Proposed, duty_key
from ledger.values import (
    SERIALS_PER_EVENT_MAX,
    Any_,
    Identifier,
    Serial,
    Sha256,
    Text,
    Timestamp,
    Value,
    format_timestamp,
    parse_timestamp,
)

OURS = frozenset({"ledger"})


class Own(Kind):
    """Changes no fact: it says aloud what its cause has brought about."""

    nature: ClassVar[Nature] = "own"
    setup: ClassVar[bool] = True
    said_by: ClassVar[frozenset[str]] = OURS

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        return


class Versions(Value):
    format: int
    """Entry format (`ledger/FORMAT.md`)."""
    fold: int
    """Fold of events into facts (`ledger.facts`)."""
    engine: int
    """Policy engine."""


class LedgerOpened(Own, kind="ledger.opened"):
    """Genesis, entry 0: what the log is written in, under which name and key, by which clock."""

    example: ClassVar[dict[str, Any]] = {
        "versions": {"format": 1, "fold": 1, "engine": 1},
        "origin": "chipledger.example/h200",
        "key": "chipledger.example/h200+00000000+AQ==",
        "clock": "system",
    }

    versions: Versions
    origin: Text
    """Name of the log in its checkpoints (C2SP tlog-checkpoint)."""
    key: Text
    """Verifier key of its checkpoints (C2SP signed-note)."""
    clock: Literal["system", "simulated"]
    summary_hours: Annotated[int, Field(ge=1)] | None = None
    """How often the ledger says how every contract's chain ends; None: never."""

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if self.summary_hours is not None:
            due = format_timestamp(at + timedelta(hours=self.summary_hours))
            facts.put(
                Duty(
                    contract=event.contract,
                    policy=LEDGER_PARTY,
                    version=1,
                    obligation=SUMMARY,
                    uses=SUMMARY,
                    subject=f"{self.summary_hours}h",
                    opened=index,
                    due=due,
                    steps=(DutyStep(at=due, action="flag"),),
                    next=due,
                )
            )


SUMMARY: Final = "contracts_summary"
"""The ledger's own duty to say how the chains end."""


class ContractsSummarised(Own, kind="contracts.summarised"):
    """How every chain ends, just before this entry: one root over all of them (`ledger.summary`).

    It proves to whoever may see one contract alone that nothing of it was left out.
    """

    example: ClassVar[dict[str, Any]] = {"contracts": 2, "root": "7a" * 32, "hours": 24}

    contracts: Annotated[int, Field(ge=1)]
    """How many chains there are, the ledger's own among them."""
    root: Sha256
    hours: Annotated[int, Field(ge=1)]
    """When the next is due, from the first due date that is still to come."""

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Duty.name, duty_key(event.contract, LEDGER_PARTY, SUMMARY, f"{self.hours}h")

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        duty = facts.get(Duty, duty_key(event.contract, LEDGER_PARTY, SUMMARY, f"{self.hours}h"))
        if duty is None:
            return
        # After an outage once, and not once for each that was missed.
        due, every = parse_timestamp(duty.due), timedelta(hours=self.hours)
        following = format_timestamp(due + ((at - due) // every + 1) * every)
        step = DutyStep(at=following, action="flag")
        facts.update(duty, due=following, steps=(step,), next=following, met=index)


class CheckpointKeyRotated(Own, kind="checkpoint_key.rotated"):
    """Another key signs the checkpoints of trees that hold this entry."""

    example: ClassVar[dict[str, Any]] = {
        "key": "chipledger.example/h200+00000000+AQ==",
        "note": "chipledger checkpoint key rotation\nchipledger.example/h200\n41\n...",
    }

    key: Text
    """The new verifier key."""
    note: Annotated[str, Field(min_length=1, max_length=8_000)]
    """What the old key and the new have signed (`ledger.checkpoint.sign_rotation`)."""


class LedgerRecovered(Own, kind="ledger.recovered"):
    """The log goes on under another name: entries that its predecessor had promised are lost.

    All before this entry are the predecessor's, and stand. Whoever holds a receipt for one that is lost
    holds the proof that it was there.
    """

    example: ClassVar[dict[str, Any]] = {
        "origin": "chipledger.example/h200/recovered-41",
        "key": "chipledger.example/h200/recovered-41+00000000+AQ==",
        "note": "chipledger log recovery\n41\n...",
        "kept": "chipledger.example/h200\n57\n...",
        "reason": "restored from the backup of 1 March",
    }

    origin: Text
    """The name of the log from here on."""
    key: Text
    """Its verifier key."""
    note: Annotated[str, Field(min_length=1, max_length=8_000)]
    """What the old key and the new have signed (`ledger.checkpoint.sign_recovery`)."""
    kept: Annotated[str, Field(min_length=1, max_length=64_000)]
    """The last checkpoint of the predecessor that is known, with every signature on it."""
    reason: Text


class SuspensionProposed(Own, kind="suspension.proposed"):
    """A condition or a duty asks for a suspension; a person with authority confirms or dismisses it."""

    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "cause": 41, "condition": "live"}

    license: Identifier
    cause: int
    """Index of the entry that proposes it: an event's decision, or a duty's breach."""
    condition: Text
    """Id of the condition or obligation in its policy document."""

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(Proposed(index=index, contract=event.contract, license=self.license, propose="suspension"))


class RevocationProposed(Own, kind="revocation.proposed"):
    """A condition or a duty asks for a revocation; a person with authority confirms or dismisses it."""

    example: ClassVar[dict[str, Any]] = {"license": "D-100200", "cause": 44, "condition": "inspection"}

    license: Identifier
    cause: int
    """Index of the entry that proposes it: an event's decision, or a duty's breach."""
    condition: Text
    """Id of the condition or obligation in its policy document."""

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        facts.put(Proposed(index=index, contract=event.contract, license=self.license, propose="revocation"))


class Held(Value):
    """A condition that holds, and the roles that may release it."""

    policy: Text
    condition: Text
    released_by: Any_[Text]


class HoldPlaced(Own, kind="hold.placed"):
    """What was asked for stands, and nothing may follow from it until every condition is released."""

    example: ClassVar[dict[str, Any]] = {
        "target": "order/PO-4711",
        "cause": 40,
        "held_by": [{"policy": "us-h200-china", "condition": "screened", "released_by": ["authority"]}],
    }

    target: Text
    cause: int
    """Index of the entry that is held."""
    held_by: Any_[Held]

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield Hold.name, f"{event.contract}/{self.target}"

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        before = facts.get(Hold, f"{event.contract}/{self.target}")
        held_by = tuple(
            HeldBy(policy=h.policy, condition=h.condition, released_by=h.released_by) for h in self.held_by
        )
        facts.put(
            Hold(
                contract=event.contract,
                subject=self.target,
                placed=index,
                held_by=tuple(dict.fromkeys((*(before.held_by if before else ()), *held_by))),
            )
        )


StepAction = Literal["flag", "propose_suspension", "propose_revocation"]


class DutyStepSaid(Value):
    at: Timestamp
    action: StepAction


class Again(Value):
    """The duty of the next period, where one comes again."""

    version: int
    """Of the document in force, which asks for it."""
    subject: Text
    due: Timestamp
    steps: Any_[DutyStepSaid]


class OfDuty(Own):
    """What the clock has brought about of one duty."""

    policy: Text
    version: int
    obligation: Text
    """Its id in the policy document."""
    uses: Text
    """Its permanent name in the catalogue."""
    observed: int | str | None = None
    limit: int | str | None = None
    shortfall: int | str | None = None
    unit: Text | None = None
    again: Again | None = None

    def key(self, contract: str, subject: str) -> str:
        return duty_key(contract, self.policy, self.obligation, subject)

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        if self.again is not None:
            yield Duty.name, self.key(event.contract, self.again.subject)

    def _open_again(self, event: Event, facts: Facts, *, index: int, license_: str | None) -> None:
        if self.again is None:
            return
        standing = facts.get(Duty, self.key(event.contract, self.again.subject))
        if standing is not None:
            return  # a newer version has opened it, as it came into force
        steps = tuple(DutyStep(at=format_timestamp(s.at), action=s.action) for s in self.again.steps)
        facts.put(
            Duty(
                contract=event.contract,
                policy=self.policy,
                version=self.again.version,
                obligation=self.obligation,
                uses=self.uses,
                subject=self.again.subject,
                opened=index,
                due=format_timestamp(self.again.due),
                steps=steps,
                license=license_,
                next=steps[0].at,
            )
        )


class ObligationBreached(OfDuty, kind="obligation.breached"):
    """Duties were not met in time. Committed once for each step of each due date."""

    example: ClassVar[dict[str, Any]] = {
        "policy": "us-h200-china",
        "version": 1,
        "obligation": "heartbeat",
        "uses": "attestation_heartbeat",
        "about": ["SN000001"],
        "opened": 61,
        "due": "2027-03-02T00:00:00.000000Z",
        "step": 1,
        "at": "2027-03-04T00:00:00.000000Z",
        "action": "flag",
        "license": "D-100200",
    }

    about: Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=SERIALS_PER_EVENT_MAX)]
    """What the duties are about that are late alike: serials, a delivery, a period."""
    opened: int
    """Index of the entry that opened the duty."""
    due: Timestamp
    step: Annotated[int, Field(ge=1)]
    """Which of its steps, counted from 1."""
    at: Timestamp
    """When the step fell due; the entry may be recorded later."""
    action: StepAction
    license: Identifier | None = None
    subjects: Any_[Text] = ()
    subjects_count: int = 0

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from super().reads(event, facts)
        for subject in self.about:
            yield Duty.name, self.key(event.contract, subject)

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        for subject in self.about:
            duty = facts.get(Duty, self.key(event.contract, subject))
            if duty is None:
                continue
            following = duty.steps[self.step :]
            facts.update(
                duty,
                taken=self.step,
                state="breached",
                next=following[0].at if following else None,
            )
        self._open_again(event, facts, index=index, license_=self.license)


class ObligationSatisfied(OfDuty, kind="obligation.satisfied"):
    """Duties were met: late, by the entry `cause`; or in time, as was found when they fell due."""

    example: ClassVar[dict[str, Any]] = {
        "policy": "us-h200-china",
        "version": 1,
        "obligation": "heartbeat",
        "uses": "attestation_heartbeat",
        "subjects": ["SN000001"],
        "subjects_count": 1,
        "cause": 75,
    }

    subjects: Any_[Text]
    """The first of them."""
    subjects_count: int
    cause: int | None = None
    """Index of the entry that meets them late; None: found at the due date."""
    becomes: ClassVar[Literal["met", "lapsed"]] = "met"

    def reads(self, event: Event, facts: Facts) -> Iterable[Key]:
        yield from super().reads(event, facts)
        if self.cause is None:
            yield Duty.name, self.key(event.contract, self.subjects[0])

    def fold(self, event: Event, facts: Facts, *, index: int, at: datetime) -> None:
        if self.cause is not None:
            return  # the decision of its cause has changed them
        duty = facts.get(Duty, self.key(event.contract, self.subjects[0]))
        if duty is not None:
            facts.update(duty, state=self.becomes, next=None, met=index)
            self._open_again(event, facts, index=index, license_=duty.license)


class ObligationLapsed(ObligationSatisfied, kind="obligation.lapsed"):
    """A duty is asked for no longer: the version that did was replaced by one that does not."""

    becomes: ClassVar[Literal["met", "lapsed"]] = "lapsed"


class InTransit(Value):
    shipment: Identifier
    units: int


SCOPE_MAX = 1_000


class RevocationScoped(Own, kind="revocation.scoped"):
    """What a revocation touches at the instant it is recorded.

    Of each list the first SCOPE_MAX, and how many there are: a license with more open orders than
    one event can name must be revocable all the same.
    """

    example: ClassVar[dict[str, Any]] = {
        "license": "D-100200",
        "cause": 52,
        "orders": ["PO-4712"],
        "orders_count": 1,
        "released": [],
        "released_count": 0,
        "in_transit": [{"shipment": "SH-2", "units": 200}],
        "in_transit_count": 1,
        "units_released": 2,
        "devices": ["SN000001", "SN000002"],
        "devices_count": 2,
        "devices_root": "7a" * 32,
    }

    license: Identifier
    cause: int
    orders: Any_[Text]
    """Orders that still reserve units."""
    orders_count: int
    released: Any_[InTransit]
    """Shipments released and not dispatched."""
    released_count: int
    in_transit: Any_[InTransit]
    """Shipments dispatched and not received."""
    in_transit_count: int
    units_released: int
    devices: Any_[Serial]
    """Every device released under the license, wherever it is now: in order of serial."""
    devices_count: int
    devices_root: Sha256
    """RFC 6962 Merkle root over all of these serials, in that order."""
