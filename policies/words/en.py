"""English. The sentences of conditions, rules and obligations stand where these are declared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from policies import constitution  # noqa: F401 - enters its own sentences
from policies.conditions import CONDITIONS
from policies.obligations import OBLIGATIONS
from policies.obligations.documents import REACKNOWLEDGEMENT
from policies.rules import SENTENCES
from policies.words.language import Language

PHRASES: Final[Mapping[str, str]] = {
    "list": ", ",
    "next": "; ",
    "between": " ",
    "hours": "{count} h",
    "minutes": "{count} min",
    "seconds": "{count} s",
    "located": "{party} at {place}",
    "more": "{shown} and {count} more",
    "finding": "{id}: {said}.",
    "decided_before": "So it was decided before, as entry {index}: another attempt needs a new {id}, and"
    " names this one's in {retries}.",
    "error": "it could not be judged, and so it is not met",
    "not_applicable": "it does not apply",
    "unknown": "{result} ({code})",
    "unknown_measured": "{result} ({code}): observed {observed}, limit {limit}",
    "pass": "pass",
    "fail": "fail",
    "is_shadow": "Shadow: it does not count.",
    "overridden": "Overridden by entry {entry}.",
    "clause": "Clause: {clause}.",
    "cited": "{clause} ({policy} version {version})",
    "suspension": "suspension of the license is proposed",
    "suspension_of": "suspension of license {license} is proposed",
    "revocation": "revocation of the license is proposed",
    "revocation_of": "revocation of license {license} is proposed",
    "incident_report": "an incident report is asked for",
    "incident_report_of": "an incident report is asked for",
    "proposed": "{propose} is proposed",
    "due_by": "{proposed}, due by {due}",
    # What became of the event as a whole.
    "accepted": "Accepted: it is recorded and takes effect.",
    "flagged": "Flagged: it is recorded and takes effect, though {count} conditions are not met.",
    "held": "Held: it is recorded, and nothing may follow from it before it is released; {count} conditions "
    "are not met.",
    "denied": "Denied: it is recorded and has no effect; {count} conditions are not met.",
    "outcome_accepted": "accepted",
    "outcome_flagged": "flagged",
    "outcome_held": "held",
    "outcome_denied": "denied",
    "shadow": "{policy} version {version}, which is only watched, would have decided otherwise: {outcome}.",
    "awaited": "{condition} of {policy} holds it until one of these releases it: {roles}.",
    "opened": "{obligation}: a duty begins for {subjects}, due by {due}{steps}.",
    "step": "; if it is not met by {at}, {action}",
    "flag": "the breach is recorded",
    "discharged": "{obligation}: the duty is discharged for {subjects}.",
    "cured": "{obligation}: the duty is discharged for {subjects}, after it was breached.",
    # What the clock has brought about.
    "late": "it was not met in time",
    "again": "The next one is {subject}, due by {due}.",
    # The head of an entry.
    "labelled": "{label}: {value}",
    "entry": "entry",
    "kind": "kind",
    "party": "said by",
    "recorded_at": "recorded at",
    "contract": "contract",
    "outcome": "outcome",
    "policies": "judged by",
    "withheld": "withheld",
    "document": "{policy} version {version}",
}

OWN: Final[Mapping[str, str]] = {
    "ledger.opened": "The log {origin} begins, in entry format {format}, fold {fold} and engine {engine}.",
    "ledger.recovered": "From here on the log is {origin}, signed by key {key}: entries that its "
    "predecessor had promised are lost. Reason: {reason}.",
    "checkpoint_key.rotated": "From here on checkpoints are signed by key {key}: the key before it and this "
    "one have signed that.",
    "contracts.summarised": "The ends of {contracts} chains are summarised under root {root}; the next "
    "summary is due {hours} hours later.",
    "integrity.failed": "A look at the log found damage: {damage}, at {where}.",
    "integrity.explained": "{failures_count} failures of integrity are explained: {words}",
    "integrity.summarised": "From {since} to {until} the log was looked at {runs} times: {damaged} found "
    "damage, {unexplained} none, while an earlier failure was unexplained. {verified} entries are sound, "
    "under root {root}.",
    "hold.placed": "{target} of entry {cause} is held: nothing may follow from it before it is released.",
    "suspension.proposed": "Suspension of license {license} is proposed because of {condition}, "
    "entry {cause}; a person with authority confirms or dismisses it.",
    "revocation.proposed": "Revocation of license {license} is proposed because of {condition}, "
    "entry {cause}; a person with authority confirms or dismisses it.",
    "value.erased": "The bodies of entry {index}, {kind} by {party}, are erased with their salts, as entry "
    "{request} asked for; its header stands.",
    "obligation.breached": "{obligation} is breached for {about}: {said}; it was due by {due}. "
    "Step {step}, at {at}: {action}.",
    "obligation.satisfied": "{obligation} is met for {subjects}, as was found when it fell due.",
    "obligation.satisfied.late": "{obligation} is met for {subjects}, late, by entry {cause}.",
    "obligation.lapsed": "{obligation} is asked for no longer, for {subjects}: the document in force "
    "does not ask for it.",
    "license.expiring": "License {license} ends at {ends_at}: reminder {step}.",
    "license.expired": "License {license} ended at {ended_at}: nothing more may be released under it.",
    "shipment.expired": "The release {shipment} ended at {expired_at}: what had not left is free, and its "
    "share of every cap is back.",
    "shipment.expired.serials": "Had not left: {names}.",
    "revocation.scoped": "The revocation of license {license}, entry {cause}, touches {orders_count} open "
    "orders, {released_count} shipments released and not dispatched, {in_transit_count} shipments in "
    "transit, {units_released} released units and {devices_count} devices.",
    "revocation.scoped.orders": "Open orders: {names}.",
    "revocation.scoped.released": "Released and not dispatched: {names}.",
    "revocation.scoped.in_transit": "In transit: {names}.",
}

# --- one of a thing -------------------------------------------------------------------------------

_SINGULAR: Final = {
    "acknowledgements": "acknowledgement", "approvals": "approval", "attestations": "attestation",
    "chains": "chain", "conditions": "condition", "days": "day", "devices": "device", "entries": "entry",
    "holds": "hold", "hours": "hour",
    "licenses": "license", "orders": "order", "parties": "party", "replacements": "replacement",
    "seconds": "second", "serials": "serial", "shipments": "shipment", "sites": "site",
    "statements": "statement", "tenants": "tenant", "units": "unit", "versions": "version",
    "witnesses": "witness",
}  # fmt: skip
_VERBS: Final = {
    "are": "is", "have": "has", "measure": "measures", "pass": "passes", "share": "shares",
    "stand": "stands", "were": "was", "work": "works",
}  # fmt: skip
_NOUNS: Final = "|".join((r"\{unit\}", *_SINGULAR))
_COUNTED: Final = re.compile(
    r"(?P<head>(?:\ball )?\{(?P<number>\w+)\})(?P<of> of (?:the )?\{(?P<whole>\w+)\})?"
    rf"(?:(?P<adjective>(?: [a-z]+)?) (?P<noun>{_NOUNS})(?!\w))?(?P<between> dispatched| arrived that)?"
    r"(?P<verb> [a-z]+\b)?"
)


def agreeing(template: str, values: Mapping[str, Any]) -> str:
    """`{observed} devices are` as `{observed} device is`, where the value is 1; likewise `{unit}`.

    A noun goes by the number that stands next to it, a verb by either: 1 of 3 devices is, 0 of 1 device is.
    """
    if not any(map(_is_one, values.values())):
        return template
    unit = str(values.get("unit", ""))

    def spelled(found: re.Match[str]) -> str:
        head, of, adjective, noun, between, verb = (
            found[name] or "" for name in ("head", "of", "adjective", "noun", "between", "verb")
        )
        one = _is_one(values.get(found["number"]))
        one_in_all = _is_one(values.get(found["whole"])) if of else one
        if one_in_all:
            noun = _SINGULAR.get(unit, noun) if noun == "{unit}" else _SINGULAR.get(noun, noun)
        if one and head.startswith("all "):
            head = "the one"
        if one or one_in_all:
            verb = f" {_VERBS.get(verb[1:], verb[1:])}" if verb else ""
        return f"{head}{of}{adjective}{' ' if noun else ''}{noun}{between}{verb}"

    agreed = _COUNTED.sub(spelled, template)
    return agreed.replace(" they ", " it ") if _is_one(values.get("observed")) else agreed


def _is_one(value: object) -> bool:
    return value in (1, "1")


ENGLISH: Final = Language(
    tag="en",
    conditions={name: used.sentences for name, used in CONDITIONS.items()},
    rules=SENTENCES,
    obligations={
        **{name: obligation.sentences for name, obligation in OBLIGATIONS.items()},
        REACKNOWLEDGEMENT.name: REACKNOWLEDGEMENT.sentences,
    },
    own=OWN,
    phrases=PHRASES,
    units={"tpp": "TPP"},
    terms={},
    agreeing=agreeing,
)
