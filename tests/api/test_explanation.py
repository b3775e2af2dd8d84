"""An entry in plain words: by REST, in the language that is asked for, and on the command line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jsonschema_rs
import pytest

from api.explanation import told_in_database
from api.language import accepted_language
from ledger.canonical import canonical
from ledger.errors import NotFound
from ledger.reader import Reader
from tests.api.contract import LiveContract
from tests.api.test_cli import ROOT, run
from tests.service import Service
from tests.workbench import AUTHORITY, BUYER, EXPORTER, activation, condition, policy, usd

SHORT = {
    "en": "levy: 6,000,000.00 USD of levy settled, 6,750,000.00 USD due: 750,000.00 USD short.",
    "zh": "levy：已缴关税6,000,000.00 USD，应缴6,750,000.00 USD：尚欠750,000.00 USD。",
}


@dataclass(frozen=True)
class Story:
    """1,000 units whose levy is short by 750,000.00, and what stands in the log of it."""

    live: LiveContract
    event: dict[str, Any]
    """What was refused."""
    index: int

    @property
    def service(self) -> Service:
        return self.live.service

    @property
    def path(self) -> str:
        return f"/v1/entries/{self.index}/explanation"


@pytest.fixture(scope="module")
def story(service: Service) -> Story:
    live = LiveContract(service).open()
    serials = live.serials(1000)
    assert live.order(1000).status_code == 201
    live.accepted("levy.settled", order="PO-1", amount=usd("6000000.00"))
    live.tested(serials)
    event = live.event("shipment.requested", order="PO-1", shipment="SH-1", serials=serials)
    answer = service.submit(event)
    assert answer.status_code == 422, answer.text
    return Story(live, event, answer.json()["index"])


@pytest.fixture(scope="module")
def auditor(story: Story) -> Iterator[httpx.Client]:
    with story.service.client("auditor") as client:
        yield client


def levy_of(answer: httpx.Response) -> dict[str, Any]:
    [levy] = [one for one in answer.json()["sentences"] if one["condition"] == "levy"]
    return dict(levy)


# --- the route ------------------------------------------------------------------------------------


def test_a_refusal_is_told_with_its_numbers_and_its_clause(story: Story, auditor: httpx.Client) -> None:
    answer = auditor.get(story.path)
    assert answer.status_code == 200
    told = answer.json()
    entry = auditor.get(f"/v1/entries/{story.index}").json()
    for name in ("index", "kind", "party", "outcome", "recorded_at"):
        assert told[name] == entry[name]
    assert told["contract"] == story.live.contract
    assert told["policies"] == entry["decision"]["value"]["policies"]
    assert told["summary"] == "Denied: it is recorded and has no effect; 1 condition is not met."
    levy = levy_of(answer)
    clause = "tariff of 25 % ad valorem, HTS 8471.50, 8471.80 and 8473.30; contract, levy before release"
    assert levy["text"] == f"{SHORT['en']} Clause: {clause} (us-h200-china version 1)."
    assert (levy["policy"], levy["version"], levy["result"], levy["clause"]) == (
        "us-h200-china", 1, "fail", clause,
    )  # fmt: skip
    assert levy["numbers"] == {
        "observed": "6000000.00", "limit": "6750000.00", "shortfall": "750000.00", "unit": "USD",
    }  # fmt: skip
    assert len(told["sentences"]) == len(entry["decision"]["value"]["conditions"])


@pytest.mark.parametrize(
    ("query", "accepts", "tag"),
    [
        ("", None, "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "de,en;q=0.5", "en"),
        ("?lang=zh", "en", "zh"),
        ("?lang=en", "zh", "en"),
    ],
)
def test_the_language_is_the_one_that_was_asked_for(
    story: Story, auditor: httpx.Client, query: str, accepts: str | None, tag: str
) -> None:
    answer = auditor.get(story.path + query, headers={"accept-language": accepts} if accepts else {})
    assert answer.status_code == 200
    assert answer.json()["language"] == answer.headers["content-language"] == tag
    assert levy_of(answer)["text"].startswith(SHORT[tag])
    assert "accept-language" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("accepts", "tag"),
    [
        ("", "en"), ("zh", "zh"), ("ZH-Hant-TW", "zh"), ("en-GB;q=0.4, zh;q=0.6", "zh"), ("zh;q=0", "en"),
        ("zh;q=0.5,*", "en"), ("fr", "en"), ("*", "en"), ("zh;q=no", "en"), ("zh;q=7", "en"),
        ("zh;q=nan", "en"), (",,;;,zh ; q=1", "zh"), ("x" * 1_000 + ",zh", "en"), ("en,zh", "en"),
    ],
)  # fmt: skip
def test_of_what_is_accepted_the_best_that_is_known_is_taken(accepts: str, tag: str) -> None:
    assert accepted_language(accepts).tag == tag


@pytest.mark.parametrize(
    ("path", "pointer"), [("{}?lang=fr", "/query/lang"), ("{}?language=zh", "/query/language")]
)
def test_what_is_not_known_is_pointed_to(
    story: Story, auditor: httpx.Client, path: str, pointer: str
) -> None:
    answer = auditor.get(path.format(story.path))
    assert answer.status_code == 422
    assert pointer in [fault["pointer"] for fault in answer.json()["errors"]]


def test_whoever_may_read_the_entry_may_read_what_it_says(story: Story) -> None:
    for role, party, status in (
        ("auditor", None, 200),
        ("submitter", EXPORTER, 200),
        ("submitter", BUYER, 200),
        ("regulator", AUTHORITY, 200),
        ("submitter", "stranger", 404),
    ):
        with story.service.client(role, party) as client:
            answer, entry = client.get(story.path), client.get(f"/v1/entries/{story.index}")
        assert answer.status_code == entry.status_code == status, (role, party)
        if status == 404:
            # Word for word as for an entry that is not there.
            assert answer.json()["detail"] == entry.json()["detail"]
    assert httpx.get(story.service.url + story.path).status_code == 401


def test_an_entry_that_is_not_there_yet_is_not_found(story: Story, auditor: httpx.Client) -> None:
    assert auditor.get("/v1/entries/999999/explanation").status_code == 404
    assert auditor.get(f"{story.path}?min_index=999999").status_code == 412


def test_every_entry_can_be_told_in_each_language_as_described(story: Story, auditor: httpx.Client) -> None:
    document = auditor.get("/openapi.json").json()
    operation = document["paths"]["/v1/entries/{index}/explanation"]["get"]
    view = document["components"]["schemas"]["ExplanationView"]
    schema = {**view, "components": document["components"]}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/ExplanationView"
    )
    jsonschema_rs.validate(schema, view["example"])
    for index in range(story.index + 1):
        for tag in ("en", "zh"):
            told = auditor.get(f"/v1/entries/{index}/explanation?lang={tag}")
            assert told.status_code == 200
            jsonschema_rs.validate(schema, told.json())


def test_the_clause_of_a_duty_is_found_though_the_decision_does_not_cite_its_document(
    service: Service, auditor: httpx.Client, tmp_path: Path
) -> None:
    """An activation is judged by the constitution alone; what it opens is of the document it brings."""
    live = LiveContract(service).open()
    report = {"id": "use", "uses": "periodic_report", "clause": "site rules 3.2", "report": "use",
              "every": "half_year", "within": "P31D"}  # fmt: skip
    text = policy(condition("quantity_cap", limit=10), version=2, obligations=[report])
    index = live.accepted("policy.activated", **activation(text, version=2))["header"]["index"]
    told = auditor.get(f"/v1/entries/{index}/explanation").json()
    assert [one["policy"] for one in told["policies"]] == ["constitution"]
    [duty] = [one for one in told["sentences"] if one["about"] == "duty"]
    assert (duty["condition"], duty["result"], duty["clause"]) == ("use", "opened", "site rules 3.2")
    said = "use: a duty begins for 2027-06-30, due by 2027-08-01T04:00:00.000000Z"
    assert duty["text"].startswith(said)
    assert duty["text"].endswith("Clause: site rules 3.2 (us-h200-china version 2).")
    exported = run("explain", index, "--file", service.export(tmp_path / "log.export"))
    assert f"- {duty['text']}\n" in exported.out


@pytest.mark.anyio
async def test_what_is_erased_is_not_found_in_words_of_its_own(story: Story) -> None:
    reader = Reader(story.service.logins.reader)
    await reader.open()
    try:
        stored = await reader.entry(story.index)
        bodies = {**stored.entry.bodies, "decision": None}
        erased = replace(stored, entry=stored.entry._replace(bodies=bodies))
        with pytest.raises(NotFound, match=f"the decision of entry {story.index} is withheld or erased"):
            await told_in_database(reader, erased)
    finally:
        await reader.close()


# --- refusals and evaluations ---------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["en", "zh"])
def test_a_refusal_and_an_evaluation_are_told_in_the_language_that_is_accepted(
    story: Story, tag: str
) -> None:
    with story.service.client("submitter", story.event["actor"]["party"]) as client:
        client.headers["accept-language"] = f"{tag}-XX"
        refused = client.post("/v1/events", json=story.event)
        batch = client.post("/v1/events:batch", json=[story.event])
        asked = client.post("/v1/events:evaluate", json={"event": story.event})
    assert refused.status_code == 422
    assert refused.headers["content-language"] == asked.headers["content-language"] == tag
    # It is the answer to an event that was sent before, and says so.
    again = {
        "en": f" So it was decided before, as entry {story.index}:",
        "zh": f"此前已作为第{story.index}条作出该决定",
    }
    for detail in (refused.json()["detail"], batch.json()["results"][0]["problem"]["detail"]):
        assert detail.startswith(SHORT[tag] + again[tag])
    assert any(said.startswith(SHORT[tag]) for said in asked.json()["explained"])


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def export(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return story.service.export(tmp_path_factory.mktemp("explained") / "log.export")


@pytest.mark.parametrize("tag", ["en", "zh"])
def test_the_command_says_the_same_of_the_database_as_of_an_export(
    story: Story, export: Path, auditor: httpx.Client, tag: str
) -> None:
    told = run("explain", story.index, "--lang", tag, "--file", export)
    stored = run("explain", story.index, "--lang", tag, url=story.service.owner)
    assert (told.status, told.err) == (0, "")
    assert stored == told
    answer = auditor.get(f"{story.path}?lang={tag}").json()
    lines = told.out.splitlines()
    assert f"{answer['summary']}" in lines
    assert [line[2:] for line in lines if line.startswith("- ")] == [
        one["text"] for one in answer["sentences"]
    ]
    head = lines[: lines.index(answer["summary"])]
    values = " ".join(head)
    for name in ("index", "kind", "party", "recorded_at", "contract"):
        assert str(answer[name]) in values
    assert ("denied" in values) == (tag == "en")
    assert ("拒绝" in values) == (tag == "zh")


def test_piped_it_is_plain_and_on_a_terminal_it_has_colours(story: Story, export: Path) -> None:
    command = [sys.executable, "-m", "api.cli", "explain", str(story.index), "--file", str(export)]
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert (piped.returncode, piped.stderr) == (0, b"")
    assert b"\x1b" not in piped.stdout
    assert SHORT["en"].encode() in piped.stdout  # in one line, however long
    terminal, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=side):
        os.close(side)
        written = bytearray()
        try:
            while chunk := os.read(terminal, 65_536):
                written += chunk
        except OSError:  # the other side is closed
            pass
    os.close(terminal)
    assert b"\x1b[" in written
    assert "✗".encode() in written


def test_an_entry_beyond_the_log_is_2_and_says_how_long_the_log_is(story: Story, export: Path) -> None:
    size = json.loads(export.read_text().splitlines()[0])["size"]
    for told in (run("explain", size, "--file", export), run("explain", 999_999, url=story.service.owner)):
        assert (told.status, told.out) == (2, "")
        assert "there is no entry " in told.err
        assert len(told.err.splitlines()) == 1
    assert f"the log has {size:,}" in run("explain", size, "--file", export).err
    assert run("explain", -1, "--file", export).status == 2
    assert run("explain", 0, "--lang", "fr", "--file", export).status == 2


def without(export: Path, to: Path, index: int, *fields: int) -> Path:
    """The export with fields of one entry's line emptied: bodies withheld."""
    lines = export.read_bytes().split(b"\n")
    line = lines[index + 1].split(b"\t")
    for number in fields:
        line[number] = b""
    lines[index + 1] = b"\t".join(line)
    to.write_bytes(b"\n".join(lines))
    return to


def test_a_decision_that_is_withheld_is_2_and_an_event_that_is_withheld_is_no_hindrance(
    story: Story, export: Path, tmp_path: Path
) -> None:
    secret = run("explain", story.index, "--file", without(export, tmp_path / "a", story.index, 3, 4))
    assert (secret.status, secret.out) == (2, "")
    assert f"the decision of entry {story.index} is withheld or erased" in secret.err
    told = run("explain", story.index, "--file", without(export, tmp_path / "b", story.index, 1, 2))
    assert (told.status, told.err) == (0, "")
    assert "said by: withheld\n" in told.out
    assert SHORT["en"] in told.out


NONSENSE = [b"[]", b"{}", b"1", b"\xff", b'{"outcome":"denied","policies":[{}],"conditions":[{}]}']


@pytest.mark.parametrize(
    ("field", "body"), [*((2, body) for body in NONSENSE), *((4, body) for body in (*NONSENSE, b"null"))]
)
def test_what_no_ledger_commits_is_2(
    story: Story, export: Path, tmp_path: Path, field: int, body: bytes
) -> None:
    lines = export.read_bytes().split(b"\n")
    line = lines[story.index + 1].split(b"\t")
    line[field] = body
    lines[story.index + 1] = b"\t".join(line)
    (tmp_path / "bad").write_bytes(b"\n".join(lines))
    told = run("explain", story.index, "--file", tmp_path / "bad")
    assert (told.status, told.out) == (2, "")
    assert len(told.err.splitlines()) == 1


def test_what_stands_in_a_file_cannot_write_on_the_terminal(
    story: Story, export: Path, tmp_path: Path
) -> None:
    lines = export.read_bytes().split(b"\n")
    line = lines[story.index + 1].split(b"\t")
    decision = json.loads(line[4])
    decision["conditions"][0]["id"] = "\x1b[2J[/red]"
    line[4] = canonical(decision)
    lines[story.index + 1] = b"\t".join(line)
    (tmp_path / "bad").write_bytes(b"\n".join(lines))
    told = run("explain", story.index, "--file", tmp_path / "bad")
    assert told.status == 0
    assert "\x1b" not in told.out
    assert "\\x1b[2J[/red]: the license is active." in told.out
