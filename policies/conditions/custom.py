"""The condition that a document writes itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import Field, PrivateAttr

from ledger.canonical import INTEGER_MAX
from ledger.event import KINDS, Event
from ledger.facts import Facts, Key
from policies.conditions.case import Case, Found
from policies.conditions.cel import variables
from policies.conditions.cel.dialect import EXPRESSION_CHARS_MAX
from policies.conditions.cel.program import Program, Refusal, read
from policies.conditions.parameters import Parameters
from policies.conditions.registry import Misfit, condition


class Custom(Parameters):
    expression: Annotated[
        str,
        Field(
            min_length=1,
            max_length=EXPRESSION_CHARS_MAX,
            description="What must be true, in the dialect below.",
        ),
    ]
    _program: Program | None = PrivateAttr(None)

    @property
    def program(self) -> Program:
        assert self._program is not None, "a document's condition has been fitted to its kinds"
        return self._program


def _fit(parameters: Custom, kinds: tuple[str, ...]) -> Custom | Misfit:
    found = read(parameters.expression, kinds)
    if isinstance(found, Refusal):
        return Misfit("expression", found.words)
    fitted = Custom(expression=parameters.expression)
    fitted._program = found
    return fitted


def _reads(event: Event, facts: Facts, parameters: Custom) -> Iterable[Key]:
    return variables.reads(event, facts, parameters.program.facts)


_CODES: Final = {
    "_<=_": "above", "_<_": "not_below", "_>=_": "below", "_>_": "not_above", "_==_": "other", "_!=_": "same",
}  # fmt: skip


@condition(
    number=37,
    parameters=Custom,
    requests=tuple(k for k in variables.JUDGED if KINDS[k, 1].nature == "request"),
    facts=tuple(k for k in variables.JUDGED if KINDS[k, 1].nature == "fact"),
    clock="recorded_at",
    unit="number",
    sentences={
        "pass": "what it demands is true",
        "above": "{observed}, must be at most {limit} ({shortfall} too many)",
        "not_below": "{observed}, must be less than {limit} ({shortfall} too many)",
        "below": "{observed}, must be at least {limit} ({shortfall} too few)",
        "not_above": "{observed}, must be more than {limit} ({shortfall} too few)",
        "other": "{observed}, must be {limit}",
        "same": "{observed}, must be anything else",
        "false": "what it demands is not true",
    },
    reads=_reads,
    fit=_fit,
)
def custom(case: Case, parameters: Custom) -> Found:
    """What the document demands in an expression of its own must be true.

    The expression is type-checked when the document is parsed. It names fields of the event and facts
    that the event leads to; what comes to an error, or costs more than is allowed, is an error, which is
    never a pass. Where it compares two integers both are committed. The version of the CEL library that
    judged it is committed with the document's name (`cel`).
    """
    program = parameters.program
    found = program.evaluate(variables.subject_of(case, program.facts))
    if found is None:
        return Found("error", "error")
    if isinstance(found, bool):
        return Found("pass") if found else Found("fail", "false")
    assert program.comparison is not None, "only a comparison comes to both of its sides"
    return _compared(program.comparison, *found)


def _compared(operator: str, observed: int, limit: int) -> Found:
    over = {
        "_<=_": observed - limit,
        "_<_": observed - limit + 1,
        "_>=_": limit - observed,
        "_>_": limit - observed + 1,
    }.get(operator)
    true = (over <= 0) if over is not None else (observed == limit) is (operator == "_==_")
    if max(abs(observed), abs(limit), abs(over or 0)) > INTEGER_MAX:  # no committed document could hold it
        return Found("pass") if true else Found("fail", "false")
    if true:
        return Found("pass", None, observed, limit)
    return Found("fail", _CODES[operator], observed, limit, over)
