"""Plays the story through the REST API, step by step, and prints what the ledger answered."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2 as httpx
import orjson
from rich.console import Console
from rich.markup import escape

from api.story import Step, Telling
from ledger.errors import Unavailable
from policies.explain import explain

WIDTH = 110
"""Columns, wherever it is printed."""
SUMMARY = "contracts.summarised"
"""Comes with the calendar, whatever is played."""
_MARGIN = 18
"""Columns before a reason."""
_COLOURS = {"accepted": "green", "flagged": "yellow", "held": "magenta", "denied": "red"}

_console = Console(highlight=False, soft_wrap=True)


def tell(words: str) -> None:
    """Print a line; words may hold rich's markup."""
    _console.print(words)


def introduce(url: str) -> None:
    tell("[bold]chipledger demo[/bold]: a year of one H200 contract.")
    tell(f"Clock and data are simulated, and entry 0 says so. The service is real: {url}\n")
    tell("index  recorded    by            event                    outcome   what happened")


@dataclass
class Play:
    """Sends each step as its party would. Raises Unavailable where what comes of it is not what is wanted."""

    url: str
    tokens: dict[str, str] = field(repr=False)
    telling: Telling = field(default_factory=Telling)
    receipts: list[bytes] = field(default_factory=list)
    size: int = 1
    """Of the log, as far as it has been shown; entry 0 is its opening."""
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60), repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def request(self, who: str, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[who]}"}
        return self._client.request(method, self.url + path, headers=headers, **arguments)

    def perform(self, step: Step) -> None:
        self.request("operator", "PUT", "/v1/clock", json={"now": step.at}).raise_for_status()
        self._show_own(step.before, f"before {step.kind} of {step.at}")
        if step.chapter:
            tell(f"\n[bold]{step.chapter}[/bold]")
        answer = self.request(step.party, "POST", "/v1/events", json=self.telling.event(step))
        index = self._show(step, answer)
        self._show_own(step.after, f"because of entry {index}, {step.kind}")

    def _show(self, step: Step, answer: httpx.Response) -> int:
        """Gives the index of its entry."""
        body = orjson.loads(answer.content)
        receipt = body["receipt"] if isinstance(body.get("receipt"), dict) else body
        if "decision" not in receipt:
            raise Unavailable(f"{step.kind} was answered with {answer.status_code}: {body.get('detail')}")
        self.receipts.append(orjson.dumps(receipt))
        decision = receipt["decision"]
        index: int = receipt["inclusion"]["index"]
        self.telling.enter(step, index)
        self.size = index + 1
        outcome = decision["outcome"]
        if outcome != step.expected:
            raise Unavailable(f"entry {index}, {step.kind}: {outcome}, the play wants {step.expected}")
        colour = _COLOURS[outcome]
        tell(
            f"{index:>4}  {step.at[:10]}  {step.party:<13} {step.kind:<24}"
            f" [{colour}]{outcome:<9}[/{colour}] {step.says}"
        )
        for reason in (*_reasons(decision), *_watched(decision)):
            _tell_reason(reason, colour)
        return index

    def _show_own(self, wanted: tuple[str, ...], when: str) -> None:
        """What the ledger itself has said since the last entry that was shown."""
        page = self.request("auditor", "GET", f"/v1/entries?after={self.size - 1}").json()
        for entry in page["entries"]:
            self.telling.hear(entry["kind"], entry["index"])
            self.size = entry["index"] + 1
            tell(
                f"{entry['index']:>4}  {entry['recorded_at'][:10]}  [cyan]{'the ledger':<13}[/cyan]"
                f" {entry['kind']:<24} {'':<9} {_headline(entry['kind'], entry['event']['value']['data'])}"
            )
            for words in _particulars(entry["event"]["value"]["data"]):
                _tell_reason(words, "cyan")
        said = tuple(entry["kind"] for entry in page["entries"] if entry["kind"] != SUMMARY)
        if said != wanted:
            heard, hoped = (", ".join(kinds) or "nothing" for kinds in (said, wanted))
            raise Unavailable(f"{when} the ledger said {heard}, the play wants {hoped}")


def _tell_reason(words: str, colour: str) -> None:
    for line in textwrap.wrap(words, WIDTH - _MARGIN - 2, break_on_hyphens=False):
        tell(f"{'':>{_MARGIN}}[{colour}]│[/{colour}] {escape(line)}")


def _reasons(decision: Mapping[str, Any]) -> list[str]:
    failed = [c for c in decision["conditions"] if c["result"] in ("fail", "error")]
    return explain({**decision, "conditions": failed})


def _watched(decision: Mapping[str, Any]) -> Iterable[str]:
    """What versions that are only watched would have decided otherwise."""
    for shadow in decision.get("shadows", ()):
        failed = ", ".join(finding["id"] for finding in shadow["conditions"])
        yield f"shadow: {shadow['policy']} {shadow['version']} would say {shadow['outcome']}, for {failed}"


# --- what the ledger says by itself ---------------------------------------------------------------


def _headline(kind: str, data: Mapping[str, Any]) -> str:
    """In a few words: what it is about, and why."""
    match kind:
        case "hold.placed":
            return f"nothing may follow from {data['target']}"
        case "obligation.breached":
            return f"{data['obligation']}: {_about(data['about'], len(data['about']))}, step {data['step']}"
        case "obligation.satisfied":
            met = f"late, by entry {data['cause']}" if "cause" in data else "as it fell due"
            return f"{data['obligation']}: {_about(data['subjects'], data['subjects_count'])}, {met}"
        case "suspension.proposed":
            return f"for {data['condition']}, entry {data['cause']}"
        case "contracts.summarised":
            return f"{data['contracts']} chains, under one root"
        case "revocation.scoped":
            return f"{data['devices_count']:,} chips of license {data['license']}"
        case _:
            return ""


def _about(subjects: list[str], count: int) -> str:
    """What duties are about: chips, the last day of a period, a delivery by its id, which tells nothing."""
    if count > 1:
        return f"{count:,} chips"
    return "a delivery" if subjects[0].startswith("delivery/") else f"to {subjects[0]}"


def _particulars(data: Mapping[str, Any]) -> Iterable[str]:
    """Sentences, where there is more to say."""
    for held in data.get("held_by", ()):
        roles = " or ".join(held["released_by"])
        yield f"{held['condition']} of {held['policy']} holds it, until it is released by: {roles}."
    if "due" in data:
        asked = f"{data['policy']} {data['version']}, {data['obligation']}"
        found = f": {data['observed']} of {data['limit']} {data['unit']}" if "observed" in data else ""
        yield f"{asked}: was due by {data['due'][:16]}Z{found}."
    if "devices_root" in data:
        for what, where in (("released", "released and not dispatched"), ("in_transit", "in transit")):
            for shipment in data[what]:
                yield f"shipment {shipment['shipment']}: {shipment['units']} units {where}."
        yield f"orders that still reserve units: {', '.join(data['orders']) or 'none'}."
