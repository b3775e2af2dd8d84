"""`chipledger explain`: where the entry is found, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from api.console import console, printable, say
from api.explanation import Told, told_in_database, withheld
from ledger.errors import NotFound, UnusableInput
from ledger.reader import Reader
from policies.carried import Carried, documents_from
from policies.explanation import Explanation, Sentence, cited
from policies.exported import Export
from policies.words import Language

# --- where it is found ----------------------------------------------------------------------------


async def entry_in_database(reader_url: str, index: int) -> Told:
    """Raises NotFound."""
    reader = Reader(reader_url)
    await reader.open()
    try:
        size = (await reader.head()).size
        if index >= size:
            raise NotFound(_absent(index, size))
        return await told_in_database(reader, await reader.entry(index))
    finally:
        await reader.close()


def entry_in_file(path: Path, index: int) -> Told:
    """Of an export, whose hashes are not looked at. Raises UnusableInput or OSError."""
    with path.open("rb") as file, _readable(index):
        export = Export(file)
        if index >= export.size:
            raise UnusableInput(_absent(index, export.size))
        known = Carried()
        for line in export.entries():
            known.take(line.contract, line.event, line.decision)
            if line.index == index:
                break
        if line.decision is None:
            raise UnusableInput(withheld(index))
        event = None if line.event is None else orjson.loads(line.event)
        decision = orjson.loads(line.decision)
        return Told(
            index,
            None if event is None else event["kind"],
            None if event is None else event["actor"]["party"],
            line.recorded_at,
            line.contract,
            event,
            decision,
            documents_from(known.of(line.contract, cited(event, decision))),
        )


@contextmanager
def _readable(index: int) -> Iterator[None]:
    """UnusableInput where what a file holds is not what a ledger commits: an export may be anybody's."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        words = f"what stands at entry {index}, or before it, is not what a ledger commits"
        raise UnusableInput(words) from error


def _absent(index: int, size: int) -> str:
    return f"there is no entry {index}: the log has {size:,}, the first is 0"


# --- how it is shown ------------------------------------------------------------------------------


def say_explanation(told: Told, language: Language) -> None:
    """On a terminal in colours and folded to its width, else a line for each sentence.

    Raises UnusableInput.
    """
    with _readable(told.index):
        explained = told.explanation(language)
        head = _head(told, explained, language)
    if not console.is_terminal:
        for label, value in head:
            say(language.say("labelled", label=label, value=value))
        say(explained.summary)
        for sentence in explained.sentences:
            say(f"- {sentence.text}")
        return
    titles = Table.grid(padding=(0, 2))
    for label, value in head:
        titles.add_row(Text(label, "dim"), Text(printable(value)))
    sentences = Table.grid(padding=(0, 1))
    for sentence in explained.sentences:
        sentences.add_row(_mark(sentence), Text(printable(sentence.text), overflow="fold"))
    console.print(titles)
    console.print()
    console.print(Text(printable(explained.summary), _STYLES[explained.outcome]))
    console.print(sentences)


def _head(told: Told, explained: Explanation, language: Language) -> list[tuple[str, str]]:
    withheld = language.phrases["withheld"]
    named = [language.say("document", **_named(policy)) for policy in told.decision["policies"]]
    values = {
        "entry": str(told.index),
        "kind": told.kind or withheld,
        "party": told.party or withheld,
        "recorded_at": told.recorded_at,
        "contract": told.contract,
        "outcome": language.phrases[f"outcome_{explained.outcome}"],
        "policies": language.join(named),
    }
    return [(language.phrases[name], value) for name, value in values.items()]


def _named(policy: dict[str, Any]) -> dict[str, Any]:
    return {"policy": policy["policy"], "version": policy["version"]}


_STYLES = {"accepted": "green", "flagged": "yellow", "held": "yellow", "denied": "bold red"}


def _mark(sentence: Sentence) -> Text:
    if sentence.about == "shadow" or sentence.result == "not_applicable" or sentence.action == "shadow":
        return Text("·", "dim")
    if sentence.result in ("fail", "error", "breached"):
        return Text("✗", "red" if sentence.action == "deny" else "yellow")
    return Text("✓", "green") if sentence.result in ("pass", "satisfied") else Text("•")
