"""Entries as a page that a person can read: self-contained HTML, without scripts, that loads nothing.

It says what the entries say, in words that may change; it proves nothing. Whatever comes from an event is
escaped, and characters that reorder or hide text are shown as escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from ledger.canonical import parse
from ledger.entry import Entry
from ledger.verify_bundle import Bundle
from policies.carried import Carried, documents_from
from policies.document import PolicyDocument
from policies.explanation import Explanation, Sentence, cited, explanation
from policies.words import ENGLISH, LANGUAGES, Language

EVENT_CHARACTERS_MAX: Final = 20_000
"""Of one event; all of it is beside the page."""
_SHOWN_MAX: Final = 20
"""Of the entries that were asked for, in words."""
_LANGUAGES: Final = tuple(LANGUAGES.values())
_HIDING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


def page(bundle: Bundle) -> bytes:
    """UTF-8. Raises KeyError, TypeError, ValueError or AttributeError for entries that no ledger commits."""
    carried, sections, rows = Carried(), [], []
    parsed: dict[str, tuple[PolicyDocument, ...]] = {}
    for entry in bundle.entries:
        told = _Told(entry, carried, parsed)
        rows.append(told.row())
        sections.append(told.section())
    documents = map(_document, _texts(parsed))
    body = "".join((_opening(bundle), _table(rows), *sections, *_library(documents), _CHECKING))
    return f"{_HEAD.format(title=_text(_title(bundle)))}<body>{body}</body></html>\n".encode()


# --- one entry ------------------------------------------------------------------------------------


class _Told:
    def __init__(self, entry: Entry, carried: Carried, parsed: dict[str, tuple[PolicyDocument, ...]]) -> None:
        event, decision = entry.bodies["event"], entry.bodies["decision"]
        self._entry = entry
        self._event: dict[str, Any] | None = None if event is None else _object(parse(event.value))
        self._decision = None if decision is None else _object(parse(decision.value))
        carried.take(
            entry.header.contract,
            None if event is None else event.value,
            None if decision is None else decision.value,
        )
        self._documents: list[PolicyDocument] = []
        if self._decision is not None:
            for text in carried.of(entry.header.contract, cited(self._event, self._decision)):
                if text not in parsed:
                    parsed[text] = documents_from([text])
                self._documents += parsed[text]

    def row(self) -> str:
        header = self._entry.header
        cells = (
            f'<a href="#entry-{header.index}">{header.index}</a>',
            f"<time>{_text(header.recorded_at)}</time>",
            self._kind(),
            self._party(),
            self._outcome(),
        )
        return f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"

    def section(self) -> str:
        header = self._entry.header
        said = (
            f"<p>Recorded at <time>{_text(header.recorded_at)}</time>, said by {self._party()}, "
            f"{self._outcome()}.</p>",
            *map(self._words, _LANGUAGES),
            self._data(),
            f"<p class=hash>Leaf hash {self._entry.leaf.hex()}, contract {_text(header.contract)}, "
            f"entry {header.contract_index} of it</p>",
        )
        title = f"<h3>Entry {header.index}: {self._kind()}</h3>"
        return f'<section id="entry-{header.index}">{title}{"".join(said)}</section>'

    def _kind(self) -> str:
        return _WITHHELD if self._event is None else _text(self._event["kind"])

    def _party(self) -> str:
        if self._event is None:
            return _WITHHELD
        actor = self._event["actor"]
        return f"{_text(actor['party'])} ({_text(actor['role'])})"

    def _outcome(self) -> str:
        if self._decision is None:
            return _WITHHELD
        outcome = str(self._decision["outcome"])
        return f'<b class="{_class(outcome)}">{_text(outcome)}</b>'

    def _words(self, language: Language) -> str:
        if self._decision is None:
            return ""
        told: Explanation = explanation(self._event, self._decision, self._documents, language)
        listed = "".join(f'<li class="{_mark(one)}">{_text(one.text)}</li>' for one in told.sentences)
        return f'<div lang="{_text(language.tag)}"><p>{_text(told.summary)}</p><ul>{listed}</ul></div>'

    def _data(self) -> str:
        if self._event is None:
            return "<p>What was said is withheld or erased; its commitment stands.</p>"
        text = json.dumps(self._event, ensure_ascii=False, indent=1, sort_keys=True)
        cut = ""
        if len(text) > EVENT_CHARACTERS_MAX:
            text, cut = text[:EVENT_CHARACTERS_MAX], "<p>Cut off here; entries.tsv has all of it.</p>"
        return f"<details><summary>The event as submitted</summary><pre>{_text(text)}</pre>{cut}</details>"


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("a body is an object")
    return value


def _mark(sentence: Sentence) -> str:
    if sentence.result in ("fail", "error", "breached"):
        return "shadow" if sentence.action == "shadow" else _class(str(sentence.action))
    return "pass" if sentence.result in ("pass", "satisfied") else "plain"


def _class(word: str) -> str:
    return word if word in _CLASSES else "plain"


# --- around them ----------------------------------------------------------------------------------


def _title(bundle: Bundle) -> str:
    return f"Evidence bundle: {asked_in_words(bundle.asked)}"


def asked_in_words(asked: Mapping[str, Any]) -> str:
    [(what, value)] = asked.items()
    if what != "index":
        return f"{'device' if what == 'serial' else what} {value}"
    more = f" and {len(value) - _SHOWN_MAX} more" if len(value) > _SHOWN_MAX else ""
    return f"entries {', '.join(map(str, value[:_SHOWN_MAX]))}{more}"


def shown_whole(bundle: Bundle) -> str:
    """What is known of entries that are not in the bundle."""
    complete = bundle.complete
    if complete is None:
        return "Nothing proves that no other entry speaks of this: only what is here is proven."
    return (
        f"Contract {complete.contract} is here whole up to entry {complete.until} of the log; of the "
        f"{complete.since} entries after it none is left out between, and more may follow."
    )


def _opening(bundle: Bundle) -> str:
    reader, checkpoint = bundle.reader, bundle.checkpoint
    rows = (
        ("Log", checkpoint.origin),
        ("Verifier key", bundle.key),
        ("Checkpoint", f"{checkpoint.size:,} entries, root {checkpoint.root.hex()}"),
        ("Made for", " ".join(value for value in (reader.get("role"), reader.get("party")) if value)),
        ("Withheld", f"{bundle.withheld:,} bodies; {bundle.erased:,} more are erased, as the log says"),
    )
    facts = "".join(f"<tr><th>{name}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    notes = "".join(f"<li>{_text(note)}</li>" for note in (shown_whole(bundle), *bundle.remarks))
    return f"<h1>{_text(_title(bundle))}</h1>{_PROVES}<table>{facts}</table><ul>{notes}</ul>"


def _table(rows: Sequence[str]) -> str:
    titles = "<tr><th>Entry</th><th>Recorded</th><th>What</th><th>Said by</th><th>Outcome</th></tr>"
    return f"<h2>Timeline</h2><table><thead>{titles}</thead><tbody>{''.join(rows)}</tbody></table>"


def _texts(parsed: Mapping[str, tuple[PolicyDocument, ...]]) -> Iterator[tuple[str, PolicyDocument]]:
    for text, documents in parsed.items():
        for document in documents:
            yield text, document


def _document(told: tuple[str, PolicyDocument]) -> str:
    text, document = told
    name = ENGLISH.say("document", policy=document.policy, version=document.version)
    return (
        f"<details><summary>{_text(name)}, SHA-256 {document.sha256}</summary>"
        f"<pre>{_text(text)}</pre></details>"
    )


def _library(documents: Iterable[str]) -> Iterator[str]:
    listed = "".join(documents)
    if listed:
        yield f"<h2>Policy documents that were applied</h2>{listed}"


def _text(value: object) -> str:
    return _HIDING.sub(lambda found: f"\\u{ord(found[0]):04x}", escape(str(value)))


_WITHHELD: Final = "<i>withheld</i>"
_CLASSES: Final = frozenset(
    {"accepted", "flagged", "held", "denied", "deny", "hold", "flag", "shadow", "pass", "plain"}
)
_HEAD: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; overflow-wrap: anywhere; }}
section {{ border-top: 1px solid #999; margin-top: 1.2rem; break-inside: avoid; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }}
.hash {{ font: 11px monospace; color: #555; overflow-wrap: anywhere; }}
.denied, .deny {{ color: #a00000; }} .held, .hold, .flagged, .flag {{ color: #7a4b00; }}
.accepted {{ color: #006020; }} .shadow {{ color: #555; }}
@media print {{ body {{ max-width: none; margin: 0; }} a {{ color: inherit; text-decoration: none; }} }}
</style></head>
"""
_PROVES: Final = (
    "<p>What was said, by whom, when it was recorded, in which order, and what was decided on it. "
    "That what was said is true is not proven: a lie that was logged is still a lie. This page was made from "
    "the evidence beside it in the zip, and is not evidence itself: check the zip, as is said below.</p>"
)
_CHECKING: Final = """<h2>How to check this without us</h2>
<p>Take the verifier key of the log from somebody you trust, not from this bundle, then</p>
<pre>chipledger verify bundle.zip --key KEY</pre>
<p>It needs no service, no database and no network. Without our program, by <code>ledger/FORMAT.md</code>,
which gives every byte:</p>
<ol>
<li><code>manifest.json</code> names each file with its SHA-256: <code>sha256sum</code> recomputes them.</li>
<li><code>checkpoint</code> is a signed note (C2SP): its Ed25519 signature is over the log's name, size and
root.</li>
<li>Each line of <code>entries.tsv</code> has a header and its bodies with their salts. SHA-256 of salt and
body is what the header commits to, and SHA-256 of a zero byte and the header is the leaf hash:
<pre>{ printf '\\0'; sed -n 1p entries.tsv | cut -f1 | tr -d '\\n'; } | sha256sum</pre></li>
<li>The leaf hashes lead, with those of <code>proof.txt</code>, to the root of the checkpoint (RFC 9162).</li>
<li>Each file in <code>policies</code> is named by its SHA-256, which the decisions cite; each decision has
what was observed and the limit, so its comparison can be made again by hand.</li>
</ol>
"""
