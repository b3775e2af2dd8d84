"""The frozen bytes of what is awaited: holds, overrides, proposals, duties, documents before their time."""

from __future__ import annotations

from ledger.facts import (
    Draft,
    Duty,
    DutyStep,
    Exemption,
    Fact,
    HeldBy,
    Hold,
    OfficeApproval,
    Override,
    Proposed,
)

GOLDEN: dict[str, tuple[Fact, str]] = {
    "hold": (
        Hold(
            contract="c",
            subject="order/PO-1",
            placed=4,
            held_by=(HeldBy(policy="p", condition="screened", released_by=("authority",)),),
        ),
        '{"contract":"c","subject":"order/PO-1","placed":4,'
        '"held_by":[{"policy":"p","condition":"screened","released_by":["authority"]}]}',
    ),
    "override": (
        Override(
            contract="c",
            subject="shipment/SH-1",
            exemptions=(
                Exemption(
                    policy="p",
                    condition="lab",
                    role="authority",
                    until="2027-04-01T00:00:00.000000Z",
                    index=7,
                ),
            ),
        ),
        '{"contract":"c","subject":"shipment/SH-1","exemptions":[{"policy":"p","condition":"lab","role":"authority",'
        '"until":"2027-04-01T00:00:00.000000Z","index":7}]}',
    ),
    "proposed": (
        Proposed(index=9, contract="c", license="D-1", propose="revocation", state="dismissed", answered=12),
        '{"index":9,"contract":"c","license":"D-1","propose":"revocation","state":"dismissed","answered":12}',
    ),
    "duty": (
        Duty(
            contract="c",
            policy="p",
            version=2,
            obligation="heartbeat",
            uses="attestation_heartbeat",
            subject="SN1",
            opened=5,
            due="2027-03-02T00:00:00.000000Z",
            steps=(DutyStep(at="2027-03-04T00:00:00.000000Z", action="flag"),),
            license="D-1",
            next="2027-03-04T00:00:00.000000Z",
        ),
        '{"contract":"c","policy":"p","version":2,"obligation":"heartbeat","uses":"attestation_heartbeat",'
        '"subject":"SN1","opened":5,"due":"2027-03-02T00:00:00.000000Z",'
        '"steps":[{"at":"2027-03-04T00:00:00.000000Z","action":"flag"}],"items":[],"taken":0,"state":"open","met":null,'
        '"license":"D-1","next":"2027-03-04T00:00:00.000000Z"}',
    ),
    "draft": (
        Draft(
            contract="c",
            sha256="5e",
            policy="p",
            version=1,
            proposed=3,
            approvals=(OfficeApproval(office="exporter.counsel", party="acme", index=4),),
        ),
        '{"contract":"c","sha256":"5e","policy":"p","version":1,"proposed":3,'
        '"approvals":[{"office":"exporter.counsel","party":"acme","index":4}]}',
    ),
}
