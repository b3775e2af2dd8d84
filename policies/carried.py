"""The policy documents that entries carry: which text a decision cites."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from policies.document import PolicyDocument, parse_document
from policies.explanation import Cited, Version
from policies.tree import PolicyDocumentError


class Carried:
    """The documents that the entries taken so far carry, and which of them each contract has bound."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._bound: dict[tuple[str, Version], str] = {}

    def take(self, contract: str, event: bytes | None, decision: bytes | None) -> None:
        """An entry, as committed; None: a body that is withheld."""
        # Canonical JSON: hardly any entry is looked into.
        if event is None or b'"kind":"policy.' not in event:
            return
        said = orjson.loads(event)
        data = said["data"]
        if "text" in data:
            self._texts[data["sha256"]] = data["text"]
        denied = decision is None or orjson.loads(decision)["outcome"] == "denied"
        if said["kind"] == "policy.activated" and not denied and data.get("mode", "enforce") == "enforce":
            self._bound[contract, (data["policy"], data["version"])] = data["sha256"]

    def of(self, contract: str, wanted: Cited) -> list[str]:
        """The texts of what is cited in a contract; those that are cited by version last."""
        bound = {self._bound.get((contract, version), "") for version in wanted.versions}
        return [self._texts[d] for d in (*(wanted.digests - bound), *bound) if d in self._texts]

    def text(self, digest: str) -> str | None:
        return self._texts.get(digest)


def documents_from(texts: Iterable[str]) -> tuple[PolicyDocument, ...]:
    documents = []
    for text in texts:
        try:
            documents.append(parse_document(text))
        except PolicyDocumentError:
            continue  # in a language of policies that this reader does not know: its clauses are not told
    return tuple(documents)
