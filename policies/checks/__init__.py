"""Static checks of a policy document that parses: what it can never do, and what it says for nothing.

They hold at the door, where a document is proposed: what was committed is read by `parse_document`
alone, so that a check which comes later changes no decision. Nothing here knows a condition by name;
each declares what its parameters mean (`policies.conditions.declared`).

Days are days of the document's own zone, also where a condition counts in that of the contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from ledger.errors import Fault
from policies.checks import alone, caps, together
from policies.checks.found import Found
from policies.conditions.declared import Severity
from policies.document import FAULTS_MAX, PolicyDocument, parse_document
from policies.tree import Place, PolicyDocumentError, pointer_of, read

__all__ = ["FINDINGS_MAX", "Finding", "check", "sound_document"]

FINDINGS_MAX = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or strange, and where it stands in the text."""

    severity: Severity
    pointer: str
    """RFC 6901 JSON pointer into the document."""
    place: Place
    concerns: tuple[str, ...]
    """Ids of the conditions and obligations concerned; none: the document itself."""
    words: str

    def __str__(self) -> str:
        """The words name whatever else is concerned."""
        return ": ".join((str(self.place), *self.concerns[:1], self.words))


def check(text: str, document: PolicyDocument) -> tuple[Finding, ...]:
    """What the checks find in a document and its text, errors first, else as it stands in the text.

    FINDINGS_MAX at most. The text is read again only where something is found.
    """
    kept: dict[Severity, list[Found]] = {"error": [], "remark": []}
    for found in chain(alone.check(document), together.check(document), caps.check(document)):
        if len(kept[found.severity]) < FINDINGS_MAX:
            kept[found.severity].append(found)
        elif found.severity == "error":
            break  # whatever else there is, it is refused
    findings = [*kept["error"], *kept["remark"]]
    return _placed(findings, text) if findings else ()


def sound_document(text: str, *, pointer: str | None = None) -> PolicyDocument:
    """`parse_document` of a text that is to be put in force: an error of the checks is a fault too."""
    document = parse_document(text, pointer=pointer)
    errors = [one for one in check(text, document) if one.severity == "error"]
    if errors:
        faults = (Fault(one.pointer if pointer is None else pointer, str(one)) for one in errors)
        raise PolicyDocumentError(*[*faults][:FAULTS_MAX])
    return document


def _placed(found: Iterable[Found], text: str) -> tuple[Finding, ...]:
    tree = read(text)
    findings = []
    for one in found:
        path = tree.written(one.path)
        findings.append(Finding(one.severity, pointer_of(path), tree.values[path], one.concerns, one.words))
    findings.sort(key=lambda f: (f.severity != "error", f.place.line, f.place.column))
    return tuple(findings[:FINDINGS_MAX])
