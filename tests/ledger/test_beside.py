"""Rows beside the log, held against its keys: before, at and behind the place where it was recovered."""

from __future__ import annotations

import pytest

from ledger.beside import COSIGNED, Beside, Cosigned, Vouchers
from ledger.checkpoint import Checkpoint, sign, sign_recovery
from ledger.findings import Findings
from ledger.note import Signer
from ledger.succession import Lineage
from tests.ledger.sample_log import ORIGIN, SIGNER, signer_of

NEW = signer_of(4, "ledger.example/h200/b")
LOST = Checkpoint(ORIGIN, 9, bytes([9]) * 32)
LINEAGE = Lineage(NEW.verifier, [(5, sign_recovery(5, LOST, SIGNER, NEW))])


def row(size: int, signer: Signer = SIGNER, root: bytes = bytes([7]) * 32) -> Cosigned:
    return Cosigned(size, sign(Checkpoint(signer.name, size, root), signer))


def seen(one: Cosigned | None, remembered: dict[str, str] | None = None) -> tuple[Beside, list[str]]:
    findings = Findings()
    beside = Beside(findings, LINEAGE, Vouchers(), remembered or {})
    beside.cosigned(one)
    return beside, [finding.damage for finding in findings.found]


@pytest.mark.parametrize(
    ("one", "claims"),
    [
        (row(5), 1),  # the tree that both names have
        (row(6), 0),  # of what is lost: nobody can tell
        (row(9, root=LOST.root), 0),
        (row(6, NEW), 1),
    ],
)
def test_what_each_name_has_signed_is_believed(one: Cosigned, claims: int) -> None:
    beside, damages = seen(one)
    assert damages == []
    assert len(beside.claims) == claims


@pytest.mark.parametrize(
    "one",
    [
        row(9),  # another end than the one that the recovery owns up to
        row(10),  # more than it owns up to
        row(6, signer_of(9)),
        row(6, signer_of(5, "ledger.example/elsewhere")),
        Cosigned(5, row(6).note),
        Cosigned(5, "nothing"),
    ],
)
def test_what_no_name_of_the_log_has_signed_so_is_found(one: Cosigned) -> None:
    beside, damages = seen(one)
    assert damages == ["cosigned_altered"]
    assert (beside.claims, beside.seen) == ([], {})


def test_under_a_new_name_a_smaller_one_may_follow_and_the_old_name_never_comes_back() -> None:
    old, new = row(9, root=LOST.root), row(6, NEW)
    before, _ = seen(old)
    after, damages = seen(new, before.seen)
    assert damages == []
    assert seen(old, after.seen)[1] == ["cosigned_altered"]
    assert seen(row(4), after.seen)[1] == ["cosigned_altered"]
    assert seen(None, after.seen)[1] == ["cosigned_missing"]
    assert after.seen.keys() == {COSIGNED}
