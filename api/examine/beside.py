"""The part of a look that reads what lies beside the log: cosigned checkpoint, timestamps, API keys.

Of timestamps all by a look at everything, else those that no look has seen. The rest is small: each time all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ledger.beside import Beside, Claim, Vouchers, where_stamped
from ledger.findings import Depth, Findings
from ledger.rows import Rows
from ledger.succession import Lineage

STAMPS_PAGE = 100


async def look_beside(
    rows: Rows,
    depth: Depth,
    findings: Findings,
    lineage: Lineage,
    vouchers: Vouchers,
    remembered: Mapping[str, str],
    check: Callable[[Claim], Awaitable[None]],
) -> Beside:
    """`remembered`: what the last look that found nothing saw. `check` is given what checkpoints claim."""
    beside = Beside(findings, lineage, vouchers, remembered)
    sound = not findings.count
    beside.cosigned(await rows.cosigned())
    stamps = await rows.stamps()
    wanted = [
        (authority, size)
        for authority, size in stamps
        if depth == "all" or where_stamped(authority, size) not in remembered
    ]
    for start in range(0, len(wanted), STAMPS_PAGE):
        for row in await rows.stamped(wanted[start : start + STAMPS_PAGE]):
            beside.stamped(row)
    beside.stamps_left(where_stamped(authority, size) for authority, size in stamps)
    beside.api_keys(await rows.api_keys())
    for claim in beside.claims if sound else ():  # of a log that is damaged no root holds
        await check(claim)
    return beside
