"""`GET /v1/entries/{index}/explanation`: one entry in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Request, Response

from api.audit import readable_entry
from api.auth import KeyHolder
from api.language import accepted_language
from api.schemas import INDEX_MAX, ExplanationQuery, ExplanationView
from ledger.errors import NotFound
from ledger.facts import Contract, Policy
from ledger.loading import StoredEntry
from ledger.reader import Reader
from ledger.values import format_timestamp
from policies.carried import documents_from
from policies.document import PolicyDocument
from policies.explanation import Cited, Explanation, cited, explanation
from policies.words import LANGUAGES, Language

router = APIRouter(prefix="/v1")


@dataclass(frozen=True, slots=True)
class Told:
    """An entry, and the documents whose clauses its decision speaks of."""

    index: int
    kind: str | None
    """None: withheld; likewise who said it."""
    party: str | None
    recorded_at: str
    contract: str
    event: dict[str, Any] | None
    decision: dict[str, Any]
    documents: tuple[PolicyDocument, ...]

    def explanation(self, language: Language) -> Explanation:
        return explanation(self.event, self.decision, self.documents, language)


# --- where it is found ----------------------------------------------------------------------------


async def told_in_database(reader: Reader, stored: StoredEntry) -> Told:
    """Raises NotFound, if the decision is withheld or erased."""
    header, bodies = stored.entry.header, stored.entry.bodies
    event, decision = bodies["event"], bodies["decision"]
    if decision is None:
        raise NotFound(withheld(stored.index))
    said = None if event is None else orjson.loads(event.value)
    decided = orjson.loads(decision.value)
    return Told(
        stored.index,
        stored.kind,
        stored.party,
        format_timestamp(stored.recorded_at),
        header.contract,
        said,
        decided,
        await _documents_in_database(reader, header.contract, cited(said, decided)),
    )


async def _documents_in_database(reader: Reader, contract: str, wanted: Cited) -> tuple[PolicyDocument, ...]:
    found = await reader.fact(Contract, contract) if wanted.versions else None
    bound = {
        reference.sha256
        for reference in (found.policies if found is not None else ())
        if (reference.policy, reference.version) in wanted.versions and reference.mode == "enforce"
    }
    policies = [await reader.fact(Policy, digest) for digest in (*(wanted.digests - bound), *bound)]
    return documents_from(policy.text for policy in policies if policy is not None)


def withheld(index: int) -> str:
    return f"the decision of entry {index} is withheld or erased: there is nothing to explain"


# --- the read route -------------------------------------------------------------------------------


@router.get("/entries/{index}/explanation", response_model=ExplanationView, tags=["entries"])
async def explain_entry(
    request: Request,
    index: Annotated[int, Path(ge=0, le=INDEX_MAX, description="Position in the log, from 0.")],
    caller: KeyHolder,
    query: Annotated[ExplanationQuery, Query()],
    accept_language: Annotated[
        str, Header(description="Read where `lang` is not given; `en` where neither is known.")
    ] = "",
) -> Response:
    """The decision on one entry in plain words: what was found, by which clause, and what follows.

    What is committed are codes and numbers. The words are made from them, and may change.
    """
    reader, stored = await readable_entry(request, index, caller, query)
    told = await told_in_database(reader, stored)
    language = LANGUAGES[query.lang] if query.lang is not None else accepted_language(accept_language)
    explained = told.explanation(language)
    body = {
        "index": told.index,
        "kind": told.kind,
        "party": told.party,
        "recorded_at": told.recorded_at,
        "contract": told.contract,
        "outcome": explained.outcome,
        "language": language.tag,
        "policies": told.decision["policies"],
        "summary": explained.summary,
        "sentences": [sentence.view() for sentence in explained.sentences],
    }
    headers = {
        "content-language": language.tag,
        # Another version of this service may choose other words.
        "cache-control": "private, no-cache",
        "vary": "authorization, accept-language",
    }
    return Response(orjson.dumps(body), 200, headers, "application/json")
