"""The page of a bundle: it reads, it escapes whatever came from outside, and it loads nothing."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from ledger.archive import unpack
from ledger.bundle import read_entries, write
from ledger.canonical import canonical
from ledger.verify_bundle import Bundle, open_bundle
from policies.dossier import page
from tests.ledger.sample_bundle import content
from tests.ledger.sample_log import CONTRACTS, SampleLog
from tests.policies.test_replay import GOLDEN

VOID = {"meta", "br", "hr"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "thead", "tbody", "tr",
    "th", "td", "a", "time", "b", "i", "ul", "ol", "li", "div", "section", "details", "summary", "pre",
    "code",
}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "id", "class", "href"}


class Reading(HTMLParser):
    """Raises AssertionError for a page that is not well nested, runs anything or loads anything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attributes} <= ATTRIBUTES, attributes
        assert all(value and value.startswith("#") for name, value in attributes if name == "href")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._open[-1:] == ["style"]:
            assert "url(" not in data
            assert "@import" not in data

    @property
    def text(self) -> str:
        return "".join(self.words)


HOSTILE = [
    "<script>alert(1)</script>", "</pre><img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>",
    "' onclick='x",
    "</style><script>", "<!--", "]]>", "&lt;script&gt;", "{0} {observed}", "javascript:alert(1)",
    "<a href=//x>",
    "</title>", "<base href=//x>", "<meta http-equiv=refresh content=0>",
    "\u202egnihtyna\u202c", "\ufeff", "\u2028",
]  # fmt: skip


def begun() -> SampleLog:
    """A log whose first entry has a decision of the ledger's own form."""
    decision = {"outcome": "accepted", "engine": 1, "policies": [], "conditions": [], "proposals": []}
    return SampleLog(decision=canonical(decision))


def told(*bodies: tuple[dict[str, Any], dict[str, Any]]) -> Bundle:
    log = begun()
    for event, decision in bodies:
        log.append(CONTRACTS[0], canonical(event), canonical(decision))
    indexes = set(range(len(log.entries)))
    return open_bundle(write(content(log, {"index": sorted(indexes)}, indexes, schemas={})))


def hostile(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    event = {
        "kind": f"kind.{text}", "version": 1, "contract": text, "occurred_at": text, "id": text,
        "actor": {"party": text, "role": text}, "data": {text: [text, {text: text}]},
    }  # fmt: skip
    one = {
        "id": text, "uses": "party_item_match", "policy": 1, "result": "fail", "action": "flag",
        "clock": "none",
        "code": "party_item_match.item", "observed": text, "limit": text, "unit": text, "subjects": [text],
        "subjects_count": 1,
    }  # fmt: skip
    policies = [{"policy": "constitution", "version": 1}, {"policy": text, "version": 1}]
    proposal = {"propose": text, "condition": text, "license": text, "due": text}
    decision = {
        "outcome": "flagged", "engine": 1, "policies": policies, "conditions": [one], "proposals": [proposal],
        "awaited": [{"policy": text, "condition": text, "released_by": [text]}],
    }  # fmt: skip
    return event, decision


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_an_event_says_is_text(text: str) -> None:
    raw = page(told(hostile(text))).decode()
    read = Reading(raw).text
    if text.isprintable():
        assert text in read
    for hiding in ("\u202e", "\u202c", "\ufeff", "\u2028"):
        assert hiding not in raw
    if text[0] in "\u202e\ufeff\u2028":
        assert f"\\u{ord(text[0]):04x}" in read


def golden() -> Bundle:
    log = SampleLog()
    log.entries = list(read_entries(b"".join(GOLDEN.read_bytes().splitlines(keepends=True)[1:])))
    asked = {"contract": log.entries[1].header.contract}
    indexes = {e.header.index for e in log.entries if e.header.contract in ("_ledger", asked["contract"])}
    return open_bundle(write(content(log, asked, indexes, schemas={})))


def test_a_decision_is_told_in_both_languages_with_its_clause_and_document() -> None:
    read = Reading(page(golden()).decode()).text
    assert "levy: 0.00 USD of levy settled, 67,500.00 USD due: 67,500.00 USD short." in read
    assert "已缴关税0.00 USD，应缴67,500.00 USD" in read
    assert "Clause: " in read
    assert "Policy documents that were applied" in read
    assert '"policy": "golden"' in read
    assert "How to check this without us" in read


def test_a_page_depends_on_nothing_but_the_bundle() -> None:
    bundle = golden()
    assert page(bundle) == page(bundle)
    made = write(content(SampleLog(), {"index": [0]}, {0}, schemas={}))
    assert "index.html" in unpack(made)
    assert b"default-src 'none'" in page(bundle)
    assert b"<script" not in page(bundle)


def test_what_is_withheld_is_said_to_be() -> None:
    log = begun()
    log.append(CONTRACTS[0], b"{}", b"{}")
    log.withhold(1, "event", "decision")
    made = open_bundle(write(content(log, {"index": [1]}, {0, 1}, schemas={})))
    assert Reading(page(made).decode()).text.count("withheld") > 3
