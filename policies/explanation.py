"""All there is to say of one entry: its outcome, each finding with its clause, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from policies.document import PolicyDocument
from policies.explain import explain, explain_shadow, filled, shown_list, shown_value
from policies.words import Language

Json = Mapping[str, Any]
Version = tuple[str, int]
"""Name of a policy, and which version of it."""

_NUMBERS: Final = ("observed", "limit", "shortfall", "headroom", "unit")
_MET: Final = frozenset({"obligation.satisfied", "obligation.lapsed"})


@dataclass(frozen=True, slots=True)
class Sentence:
    """One thing that is said, in words and in the values that it was made from."""

    about: Literal["event", "finding", "hold", "duty", "shadow"]
    text: str
    condition: str | None = None
    """Id of the condition, rule or obligation."""
    policy: str | None = None
    version: int | None = None
    result: str | None = None
    action: str | None = None
    clause: str | None = None
    """In the words of the document, whatever the language."""
    numbers: Json = field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Explanation:
    outcome: str
    summary: str
    """The outcome in a sentence."""
    sentences: tuple[Sentence, ...]


class Cited(NamedTuple):
    """The documents whose clauses an entry speaks of: by digest, and those of its contract by version."""

    digests: frozenset[str]
    versions: frozenset[Version]


def cited(event: Json | None, decision: Json) -> Cited:
    spoken: list[Json] = [*decision.get("duties", ())]
    if event is not None and event["kind"].startswith("obligation."):
        spoken.append(event["data"])
    documents = (*decision["policies"], *decision.get("shadows", ()))
    return Cited(
        frozenset(document["sha256"] for document in documents if "sha256" in document),
        frozenset((one["policy"], one["version"]) for one in spoken),
    )


def explanation(
    event: Json | None, decision: Json, documents: Iterable[PolicyDocument], language: Language
) -> Explanation:
    """From the JSON that was committed. `event`: None where its body is withheld.

    `documents` are those of `cited`, those by version last: a shadow may bear the number of a version
    that is enforced. Of one that is not there no clause is told.
    """
    told = _Telling(decision, tuple(documents), language)
    sentences = (
        *(told.of_the_ledger(event) if event is not None else ()),
        *told.findings(),
        *told.holds(decision.get("awaited", ())),
        *told.duties(),
        *told.shadows(),
    )
    failed = (finding for finding in decision["conditions"] if finding["result"] in ("fail", "error"))
    count = sum(finding["action"] != "shadow" for finding in failed)
    return Explanation(decision["outcome"], language.say(decision["outcome"], count=count), sentences)


class _Telling:
    def __init__(self, decision: Json, documents: tuple[PolicyDocument, ...], language: Language) -> None:
        self._decision = decision
        self._language = language
        self._by_digest = {document.sha256: document for document in documents}
        self._by_version = {(document.policy, document.version): document for document in documents}

    # --- what was found ---------------------------------------------------------------------------

    def findings(self) -> Iterator[Sentence]:
        decision, policies = self._decision, self._decision["policies"]
        clauses = {
            (number, id_): clause
            for number, cited in enumerate(policies)
            for id_, clause in self._clauses(cited).items()
        }
        words = {key: self._cited(clause, policies[key[0]]) for key, clause in clauses.items()}
        for finding, text in zip(
            decision["conditions"], explain(decision, words, self._language), strict=True
        ):
            number = finding["policy"]
            yield self._finding(
                "finding", finding, text, policies[number], clauses.get((number, finding["id"]))
            )

    def shadows(self) -> Iterator[Sentence]:
        for shadow in self._decision.get("shadows", ()):
            outcome = self._language.phrases[f"outcome_{shadow['outcome']}"]
            named = {"policy": shadow["policy"], "version": shadow["version"]}
            text = self._language.say("shadow", outcome=outcome, **named)
            yield Sentence("shadow", text, result=shadow["outcome"], **named)
            clauses = self._clauses(shadow)
            words = {id_: self._cited(clause, shadow) for id_, clause in clauses.items()}
            told = explain_shadow(shadow["conditions"], words, self._language)
            for finding, text in zip(shadow["conditions"], told, strict=True):
                yield self._finding("shadow", finding, text, shadow, clauses.get(finding["id"]))

    def _finding(
        self, about: Literal["finding", "shadow"], finding: Json, text: str, cited: Json, clause: str | None
    ) -> Sentence:
        return Sentence(
            about,
            text,
            finding["id"],
            cited["policy"],
            cited["version"],
            finding["result"],
            finding["action"],
            clause,
            _numbers(finding),
        )

    def _clauses(self, cited: Json) -> dict[str, str]:
        document = self._by_digest.get(cited.get("sha256", ""))
        return {} if document is None else {bound.id: bound.clause for bound in document.conditions}

    def _cited(self, clause: str, named: Json) -> str:
        return self._language.say("cited", clause=clause, policy=named["policy"], version=named["version"])

    # --- what follows -----------------------------------------------------------------------------

    def holds(self, awaited: Iterable[Json]) -> Iterator[Sentence]:
        """Which condition holds it, and who may release it."""
        for one in awaited:
            roles = self._language.join(self._language.term(role) for role in one["released_by"])
            policy, condition = one["policy"], one["condition"]
            text = self._language.say("awaited", policy=policy, condition=condition, roles=roles)
            yield Sentence("hold", text, condition, policy)

    def duties(self) -> Iterator[Sentence]:
        for change in self._decision.get("duties", ()):
            subjects = shown_list(change["subjects"], self._language)
            said = {"obligation": change["obligation"], "subjects": subjects}
            if "due" in change:
                steps = "".join(self._step(step, change.get("license")) for step in change["steps"])
                yield self._duty(
                    change, "opened", self._language.say("opened", due=change["due"], steps=steps, **said)
                )
            else:
                result = "cured" if change.get("cures") else "discharged"
                yield self._duty(change, result, self._language.say(result, **said))

    def _step(self, step: Json, license_: str | None) -> str:
        return self._language.say("step", at=step["at"], action=self._action(step["action"], license_))

    def _action(self, action: str, license_: str | None) -> str:
        """What a step brings about."""
        propose = action.removeprefix("propose_")
        if propose == action or license_ is None:
            return self._language.phrases[propose]
        return self._language.say(f"{propose}_of", license=license_)

    def _duty(self, named: Json, result: str, text: str, numbers: Json | None = None) -> Sentence:
        document = self._by_version.get((named["policy"], named["version"]))
        bound = None if document is None else document.obligation(named["obligation"])
        if bound is not None:
            clause = self._language.say("clause", clause=self._cited(bound.clause, named))
            text = self._language.phrases["between"].join((text, clause))
        return Sentence(
            "duty",
            text,
            named["obligation"],
            named["policy"],
            named["version"],
            result,
            None,
            None if bound is None else bound.clause,
            numbers or {},
        )

    # --- what the ledger itself says --------------------------------------------------------------

    def of_the_ledger(self, event: Json) -> Iterator[Sentence]:
        """Nothing of an event that somebody else has submitted: that is told by its decision."""
        kind, data = event["kind"], event["data"]
        if event["actor"]["role"] != "ledger" or kind not in self._language.own:
            return
        if kind.startswith("obligation."):
            yield self._of_duty(kind, data)
            return
        yield Sentence("event", self._own(kind, {**data, **data.get("versions", {})}))
        if kind == "hold.placed":
            yield from self.holds(data["held_by"])
        if kind == "revocation.scoped":
            yield from self._scope(data)
        if kind == "shipment.expired" and data["serials"]:
            names = shown_list(data["serials"], self._language)
            yield Sentence("event", self._own("shipment.expired.serials", {"names": names}))

    def _own(self, kind: str, data: Json) -> str:
        template = self._language.own[kind]
        shown = {
            name: shown_value(value, "entry" if name in ("cause", "step") else "")
            for name, value in data.items()
            if isinstance(value, int | str)
        }
        return self._language.agreeing(template, data).format(**shown)

    def _scope(self, data: Json) -> Iterator[Sentence]:
        for name in ("orders", "released", "in_transit"):
            if data[f"{name}_count"]:
                named = [one if isinstance(one, str) else one["shipment"] for one in data[name]]
                names = shown_list(named, self._language, count=data[f"{name}_count"])
                yield Sentence("event", self._own(f"revocation.scoped.{name}", {"names": names}))

    def _of_duty(self, kind: str, data: Json) -> Sentence:
        language = self._language
        said = {"obligation": data["obligation"]}
        if kind in _MET:
            said["subjects"] = shown_list(data["subjects"], language, count=data["subjects_count"])
            if data.get("cause") is not None:
                kind, said = f"{kind}.late", {**said, "cause": str(data["cause"])}
            result = kind.removeprefix("obligation.")
        else:
            sentences = language.obligations.get(data["uses"], {})
            said |= {
                "about": shown_list(data["about"], language),
                "said": filled(sentences.get("late", language.phrases["late"]), data, language),
                "action": self._action(data["action"], data.get("license")),
                **{name: str(data[name]) for name in ("due", "step", "at")},
            }
            result = "breached"
        text = self._own(kind, said)
        if again := data.get("again"):
            following = language.say("again", subject=again["subject"], due=again["due"])
            text = language.phrases["between"].join((text, following))
        return self._duty(data, result, text, _numbers(data))


def _numbers(found: Json) -> dict[str, Any]:
    return {name: found[name] for name in _NUMBERS if found.get(name) is not None}
