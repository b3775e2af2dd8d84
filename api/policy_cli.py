"""`chipledger policy`: documents read, tested, compared, and tried on what was committed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from api.console import Home, console, errors, explained, fail, printable, progress, say, settings_of
from api.replay import committed_log
from ledger.canonical import parse
from ledger.decision import Decision
from ledger.errors import UnusableInput
from ledger.event import submission_of
from ledger.kinds.policy import PolicyProposed
from ledger.values import format_timestamp, parse_timestamp
from policies import analysis, casefile, checks, trial
from policies.document import PolicyDocument, parse_document
from policies.explain import clauses_of, explain
from policies.tree import PolicyDocumentError

FAILED = 1
"""Exit status of a test that does not hold, or a document that is wrong."""

policy_app = typer.Typer(no_args_is_help=True, help="Policy documents: check, test, compare, try out.")

Log = Annotated[
    Path | None, typer.Option("--log", help="An export to work on; by default the log of the database.")
]
Candidate = Annotated[Path, typer.Argument(help="The candidate document.")]


@policy_app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Policy documents.")]) -> None:
    """Read policy documents and name every fault, with line and column. Exit status 1: there are some.

    An error: the document cannot mean what it says, and cannot be proposed. A remark is worth a look.
    """
    sound = [_check(path) for path in files]
    if not all(sound):
        raise typer.Exit(FAILED)


def _check(path: Path) -> bool:
    """Whether the document can be proposed; what is wrong with it is told."""
    text = _text(path)
    try:
        document = parse_document(text)
    except PolicyDocumentError as error:
        for fault in error.faults:
            say(f"{path}: {fault.detail}")
        return False
    if not _sound(path, text, document):
        return False
    say(
        f"{path}: {document.policy} version {document.version},"
        f" {len(document.conditions)} conditions, sha256 {document.sha256}"
    )
    return True


def _sound(path: Path, text: str, document: PolicyDocument, *, to: Console = console) -> bool:
    """Whether the static checks find no error; what they find is told."""
    found = checks.check(text, document)
    for one in found:
        to.print(printable(f"{path}: {one.severity}: {one}"), soft_wrap=True)
    return all(one.severity != "error" for one in found)


@policy_app.command()
def test(files: Annotated[list[Path], typer.Argument(help="Case files.")]) -> None:
    """Run case files, and see that every condition has a passing and a failing case.

    Exit status 1: a case does not hold, or a condition is untested. 2: a file cannot be used.
    """
    holds = [_test(path)[0] for path in files]
    if not all(holds):
        raise typer.Exit(FAILED)


@policy_app.command()
def propose(
    cases: Annotated[Path, typer.Argument(help="The case file, which names its document.")],
    contract: Annotated[str, typer.Option(help="Id of the contract that it is proposed to.")],
    party: Annotated[str, typer.Option(help="Who proposes it.")],
    role: Annotated[str, typer.Option(help="As what.")],
) -> None:
    """Print the event that proposes a document, to be submitted to `/v1/events`.

    Exit status 1, and no event, unless every case holds, every condition has a passing and a failing
    one, and `check` finds no error.
    """
    holds, source, document = _test(cases, to=errors)
    sound = _sound(cases.parent / casefile.document_of(_text(cases)), source, document, to=errors)
    if not (holds and sound):
        raise typer.Exit(FAILED)
    event = {
        "id": str(uuid.uuid4()),
        "kind": PolicyProposed.kind_name,
        "version": PolicyProposed.kind_version,
        "contract": contract,
        "occurred_at": format_timestamp(datetime.now(UTC)),
        "actor": {"party": party, "role": role},
        "data": {
            "policy": document.policy,
            "version": document.version,
            "sha256": document.sha256,
            "text": source,
        },
    }
    with explained():
        typer.echo(submission_of(event).body)


def _test(path: Path, *, to: Console = console) -> tuple[bool, str, PolicyDocument]:
    """Whether the cases hold, and the document that they are of; `to`: where that is told."""

    def tell(words: str) -> None:
        to.print(printable(words), soft_wrap=True)

    text = _text(path)
    try:
        beside = path.parent / casefile.document_of(text)
        source = _text(beside)
        document = parse_document(source)
        cases = casefile.parse_cases(text, document, source)
    except PolicyDocumentError as error:
        fail("unusable", "\n".join(f"{path}: {fault.detail}" for fault in error.faults))
    report = trial.run(cases, document)
    for result in report.results:
        for problem in result.problems:
            tell(f"{path}:{result.case.line}: {result.case.name}: {problem}")
    for condition in report.never_passed:
        tell(f"{path}: {condition} has no passing case")
    for condition in report.never_failed:
        tell(f"{path}: {condition} has no failing case")
    held = sum(not result.problems for result in report.results)
    tell(f"{path}: {held} of {len(report.results)} cases hold, {len(document.conditions)} conditions")
    return report.holds, source, document


@policy_app.command()
def evaluate(
    event: Annotated[Path, typer.Argument(help="A file with one event, as it would be submitted.")],
    against: Annotated[
        Path | None,
        typer.Option(help="A document in place of its policy's version in force, or beside the others."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="When it would be recorded, RFC 3339; by default now.")
    ] = None,
    log: Log = None,
    home: Home = None,
) -> None:
    """Judge an event after all that was committed, and commit nothing. Exit status 1: it would be denied."""
    with explained():
        submission = submission_of(parse(event.read_bytes()))
        document = None if against is None else parse_document(_text(against))
        with progress("read") as advance, committed_log(log, settings_of(home), advance) as committed:
            when = _instant(at)
            decision = analysis.evaluate(committed, submission, at=when, document=document)
    for line in _decision(decision, [] if document is None else [document]):
        say(line)
    if decision.denied:
        raise typer.Exit(FAILED)


@policy_app.command()
def backtest(
    new: Candidate,
    old: Annotated[
        Path | None, typer.Option(help="Compare with this document, not with what was decided.")
    ] = None,
    log: Log = None,
    home: Home = None,
) -> None:
    """Judge the whole log again under a candidate, and list every decision that flips.

    Pointwise: each event on the facts as they were. Counterfactual: what the candidate refuses never
    was, and what it lets through is.
    """
    with explained():
        candidate, before = _document(new), None if old is None else _document(old)
        with progress("judged") as advance, committed_log(log, settings_of(home), advance) as committed:
            found = analysis.backtest(committed, candidate, old=before, progress=advance)
    for title, changes in (("pointwise", found.pointwise), ("counterfactual", found.counterfactual)):
        say(f"{title}: {len(changes):,} of {found.judged:,} decisions flip")
        _say_changes(changes)


@policy_app.command()
def affected(
    entries: Annotated[
        list[str], typer.Argument(metavar="INDEX...", help="Entries: 13, or 13-17 for those between too.")
    ],
    log: Log = None,
    home: Home = None,
) -> None:
    """List the decisions that would have been others, had none of the entries been accepted."""
    with (
        explained(),
        progress("judged") as advance,
        committed_log(log, settings_of(home), advance) as committed,
    ):
        indexes = sorted({index for named in entries for index in _indexes(named, committed.size)})
        found = list(analysis.affected(committed, *indexes, progress=advance))
    what = "entry" if len(indexes) == 1 else "entries"
    one = len(found) == 1
    words = f"decision{'' if one else 's'} would have been {'another' if one else 'others'}"
    say(f"without {what} {', '.join(entries)}, {len(found):,} {words}")
    _say_changes(found)


def _indexes(named: str, size: int) -> range:
    """The entries that `13` or `13-17` names, each of which must be there."""
    match = re.fullmatch(r"([0-9]{1,15})(?:-([0-9]{1,15}))?", named)
    if match is None:
        raise UnusableInput(f"{named[:40]} names no entries, must be an index such as 13, or 13-17")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise UnusableInput(f"{named} ends before it begins")
    if last >= size:
        raise UnusableInput(f"there is no entry {last}, the log has {size}")
    return range(first, last + 1)


@policy_app.command()
def coverage(log: Log = None, home: Home = None) -> None:
    """Tell how often each condition was asked, failed, and was all that failed."""
    with (
        explained(),
        progress("read") as advance,
        committed_log(log, settings_of(home), advance) as committed,
    ):
        found = analysis.coverage(committed, progress=advance)
    for tried in found:
        say(str(tried))


@policy_app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A document.")],
    new: Annotated[Path, typer.Argument(help="Another.")],
) -> None:
    """Say in words how two documents differ. Exit status 1: they do."""
    with explained():
        found = analysis.diff(_document(old), _document(new))
    for line in found:
        say(line)
    if found:
        raise typer.Exit(FAILED)


def _decision(decision: Decision, documents: list[PolicyDocument]) -> list[str]:
    value = orjson.loads(decision.body)
    asked = ", ".join(f"{p['policy']} {p['version']}" for p in value["policies"])
    clauses = {
        (number, id_): clause
        for number, cited in enumerate(value["policies"])
        for document in documents
        if document.sha256 == cited.get("sha256")
        for (_, id_), clause in clauses_of([document]).items()
    }
    return [f"{decision.outcome}, asked: {asked}", *explain(value, clauses)]


def _say_changes(changes: Iterable[analysis.Change]) -> None:
    for change in changes:
        say(f"  {change}")
        for why in change.why:
            say(f"    {why}")


def _document(path: Path) -> PolicyDocument:
    """Raises PolicyDocumentError, naming the file."""
    return parse_document(_text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail("unusable", str(error))


def _instant(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    try:
        return parse_timestamp(at)
    except ValueError as error:
        raise UnusableInput(f"--at {at} {error}") from None
