"""The frozen bytes of the facts of devices, operations and records."""

from __future__ import annotations

from datetime import UTC, date, datetime

from ledger.facts import (
    Acknowledged,
    Acknowledgements,
    Advances,
    Bearer,
    Device,
    Diversion,
    Enrolled,
    Enrolment,
    Erasure,
    Fact,
    Fleet,
    FleetHour,
    Identity,
    Incident,
    Inspection,
    Interruption,
    Interruptions,
    LegalHold,
    LegalHolds,
    Replaced,
    Report,
    Retention,
    Rma,
)

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
ONE = datetime(2027, 3, 1, 13, 0, 0, 120, tzinfo=UTC)

GOLDEN: dict[str, tuple[Fact, str]] = {
    "device": (
        Device(serial="A"),
        '{"serial":"A","sku":null,"state":"known","tests":[],"contract":null,"shipment":null,"sit'
        'e":null,"attested_at":null,"failures":0}',
    ),
    "interruptions": (
        Interruptions(
            serial="A",
            contract="c",
            interruptions=(Interruption(index=9, state="attesting", site="SHA-1"),),
        ),
        '{"serial":"A","contract":"c","interruptions":[{"index":9,"state":"attesting","site":"SHA-1"}]}',
    ),
    "enrolment": (
        Enrolment(
            serial="A", claims=(Enrolled(contract="c", gpu_uuid="GPU-1", certificate_sha256="c1", index=3),)
        ),
        '{"serial":"A","claims":[{"contract":"c","gpu_uuid":"GPU-1","certificate_sha256":"c1","index":3}]}',
    ),
    "identity": (
        Identity(gpu_uuid="GPU-1", bearers=(Bearer(contract="c", serial="A", index=3),)),
        '{"gpu_uuid":"GPU-1","bearers":[{"contract":"c","serial":"A","index":3}]}',
    ),
    "fleet": (
        Fleet(
            contract="c",
            operator="dc",
            site="SHA-1",
            hours=(FleetHour(begins=NOON, ends=ONE, index=4, devices=9, expected=10),),
        ),
        '{"contract":"c","operator":"dc","site":"SHA-1","hours":[{"begins":"2027-03-01T12:00:00Z"'
        ',"ends":"2027-03-01T13:00:00.000120Z","index":4,"devices":9,"expected":10}]}',
    ),
    "rma": (
        Rma(
            contract="c",
            rma="RMA-1",
            license="D-1",
            serials=("A", "B"),
            replacements=2,
            advance=1,
            requested=5,
            requested_at=NOON,
            replaced=(Replaced(defective="A", replacement="Z", index=6),),
            returned=("A",),
        ),
        '{"contract":"c","rma":"RMA-1","license":"D-1","serials":["A","B"],"replacements":2,"adva'
        'nce":1,"state":"requested","requested":5,"requested_at":"2027-03-01T12:00:00Z","opened_a'
        't":null,"replaced":[{"defective":"A","replacement":"Z","index":6}],"returned":["A"]}',
    ),
    "advances": (
        Advances(license="D-1", contract="c", outstanding=1),
        '{"license":"D-1","contract":"c","outstanding":1}',
    ),
    "inspection": (
        Inspection(contract="c", inspection="EUC-1", site="SHA-1", asked_by="bis", asked_at=NOON),
        '{"contract":"c","inspection":"EUC-1","site":"SHA-1","asked_by":"bis","asked_at":"2027-03'
        '-01T12:00:00Z","state":"asked","result":null,"completed_at":null,"completed":null}',
    ),
    "acknowledgements": (
        Acknowledgements(
            contract="c",
            license="D-1",
            by=(Acknowledged(party="dc", revocation=5, index=9, at=NOON),),
        ),
        '{"contract":"c","license":"D-1","by":[{"party":"dc","revocation":5,"index":9,"at":"2027-03-'
        '01T12:00:00Z"}]}',
    ),
    "incident": (
        Incident(contract="c", incident="INC-1", what="loss", index=7, reported_at=NOON),
        '{"contract":"c","incident":"INC-1","what":"loss","index":7,"reported_at":"2027-03-01T12:'
        '00:00Z","withdrawn":false}',
    ),
    "report": (
        Report(
            contract="c",
            report="use",
            ends=date(2027, 6, 30),
            begins=date(2027, 1, 1),
            index=8,
            filed_at=NOON,
        ),
        '{"contract":"c","report":"use","ends":"2027-06-30","begins":"2027-01-01","index":8,"file'
        'd_at":"2027-03-01T12:00:00Z","withdrawn":false}',
    ),
    "retention": (
        Retention(contract="c", exported_at=NOON, diversions=(Diversion(index=7, at=ONE),)),
        '{"contract":"c","exported_at":"2027-03-01T12:00:00Z","diversions":[{"index":7,"at":"2027'
        '-03-01T13:00:00.000120Z"}]}',
    ),
    "erasure": (
        Erasure(contract="c", index=17, request=90),
        '{"contract":"c","index":17,"request":90,"erased":null}',
    ),
    "legal_hold": (
        LegalHold(contract="c", hold="LH-1", placed_by="bis", placed=9),
        '{"contract":"c","hold":"LH-1","placed_by":"bis","placed":9,"released":null}',
    ),
    "legal_holds": (
        LegalHolds(contract="c", standing=1, named=("LH-1",)),
        '{"contract":"c","standing":1,"named":["LH-1"]}',
    ),
}
