"""What a look at the log has found not to be as it was committed, and how deep the look was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

FINDINGS_MAX: Final = 100
"""Findings of one run that are told; the others are counted."""

Depth = Literal["head", "tail", "all"]
DEPTHS: Final[tuple[Depth, ...]] = ("head", "tail", "all")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was committed."""

    damage: str
    """What kind: `header_altered`, `fact_missing`, ... (deploy/OPERATING.md)."""
    where: str
    """In words: `entry 17`, `tile 0/3`, `fact order ...`, `head`, `checkpoint store`."""
    index: int | None = None
    """Of the entry, where it can be told."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Digests in hex, sizes, names of columns: never what a body says."""

    @property
    def digest(self) -> str:
        """The same damage at the same place, whatever it looks like today."""
        return hashlib.sha256(f"{self.damage}\n{self.where}".encode()).hexdigest()

    def value(self) -> dict[str, Any]:
        at = {} if self.index is None else {"index": self.index}
        return {"damage": self.damage, "where": self.where, **at, "evidence": dict(self.evidence)}

    def __str__(self) -> str:
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.evidence.items())
        return f"{self.where}: {self.damage.replace('_', ' ')}" + (f" ({told})" if told else "")


class Findings:
    """The first FINDINGS_MAX of them, and how many there are."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.count = 0

    def add(self, damage: str, where: str, index: int | None = None, /, **evidence: str | int) -> None:
        """`is_` is told as `is`."""
        self.count += 1
        if len(self.found) < FINDINGS_MAX:
            told = {name.rstrip("_"): str(value) for name, value in evidence.items()}
            self.found.append(Finding(damage, where, index, told))
