"""Conditions on attestations: that they come, that they are valid, that their place can be true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, NamedTuple

from pydantic import Field

from ledger.event import Event
from ledger.facts import AWAY, Facts, Key
from ledger.kinds.device import LocationBound, UsageAttested
from ledger.kinds.fleet import FleetAttested
from ledger.values import Identifier, Many, Value, unique_by
from policies.conditions.case import NOT_APPLICABLE, Case, Found
from policies.conditions.declared import LESS, MORE, Doubt, Names, Share, Use
from policies.conditions.devices import shipments_of, suspensions
from policies.conditions.geodesy import Place, distance_m
from policies.conditions.parameters import Parameters, Rate
from policies.conditions.percent import Percent, needed, percent_of, spelled
from policies.conditions.registry import condition

# --- 28 -------------------------------------------------------------------------------------------


class FleetCoverage(Parameters):
    percent: Annotated[
        Percent,
        MORE,
        Share(100),
        Field(description='Of the devices expected at the site, as a decimal: `"99.5"`.'),
    ]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if not self.percent:
            yield Doubt("error", "percent", "percent is 0, must be more: no batch could fall short of it")


@condition(
    number=28,
    parameters=FleetCoverage,
    facts=("fleet.attested",),
    unit="%",
    sentences={
        "pass": "{observed} % of the fleet have attested, {limit} % must",
        "short": "{observed} % of the fleet have attested, {limit} % must: {shortfall} devices short",
    },
)
def fleet_coverage(case: Case, parameters: FleetCoverage) -> Found:
    """Of the devices expected at a site so many must attest in each batch, whatever they attest to.

    Percentages are compared exactly and printed cut off after two digits; what is short is counted in
    devices. That a device, or a whole batch, stays away is for the clock to find: this judges the
    batches that come.
    """
    data = case.data
    if not isinstance(data, FleetAttested):
        return NOT_APPLICABLE
    expected, attested = data.expected_count, data.leaf_count
    observed, limit = percent_of(attested, expected), spelled(parameters.percent)
    short = needed(expected, parameters.percent) - attested
    if short > 0:
        return Found("fail", "short", observed, limit, short)
    return Found("pass", None, observed, limit)


# --- 29 -------------------------------------------------------------------------------------------


class AttestationValidity(Parameters):
    failures: Annotated[
        int,
        LESS,
        Field(ge=1, le=1_000, description="So many in a row, of one device, propose a suspension."),
    ] = 3

    def unread(self, kinds: tuple[str, ...]) -> Mapping[str, str]:
        return {} if "usage.attested" in kinds else {"failures": "batches of a fleet name no device"}


def _failing_reads(event: Event, facts: Facts, parameters: AttestationValidity) -> Iterator[Key]:
    if isinstance(event.data, UsageAttested):
        failed = (said.serial for said in event.data.devices if said.outcome == "fail")
        yield from shipments_of(event.contract, failed, facts)


@condition(
    number=29,
    parameters=AttestationValidity,
    facts=("usage.attested", "fleet.attested"),
    unit="devices",
    sentences={
        "pass": "{observed} of {limit} attestations are valid",
        "failed": "{observed} of {limit} attestations are valid, {shortfall} failed: {subjects}",
        "indeterminate": "{observed} of {limit} attestations are valid, {shortfall} measure something "
        "unknown: {subjects}",
        "in_a_row": "{observed} of {limit} attestations are valid, {shortfall} devices have failed time "
        "after time: {subjects}",
    },
    reads=_failing_reads,
)
def attestation_validity(case: Case, parameters: AttestationValidity) -> Found:
    """Evidence must be genuine, and what it measures must be known to be good.

    An unknown measurement, such as firmware without a published reference value, is indeterminate: it is
    flagged under a code of its own, and neither counts as a failure nor ends a row of failures. So many
    failures of one device in a row, with no pass between them, propose a suspension. Batches of a fleet
    are flagged by their counts; rows are counted where devices attest by name (RATS, RFC 9334).
    """
    data = case.data
    if isinstance(data, FleetAttested):
        return _fleet_validity(data)
    if not isinstance(data, UsageAttested):
        return NOT_APPLICABLE
    named = len(data.devices)
    failed = tuple(said.serial for said in data.devices if said.outcome == "fail")
    unknown = tuple(said.serial for said in data.devices if said.outcome == "indeterminate")
    valid = named - len(failed) - len(unknown)
    rows = tuple(
        device.serial
        for device in case.facts.devices_of(case.event.contract, failed)
        # This one is not folded yet; what is out of use is not counted.
        if device.state not in AWAY and device.failures + 1 >= parameters.failures
    )
    if rows:
        proposes = suspensions(case, rows)
        return Found("fail", "in_a_row", valid, named, len(rows), subjects=rows, proposes=proposes)
    if failed:
        return Found("fail", "failed", valid, named, len(failed), subjects=failed)
    if unknown:
        return Found("fail", "indeterminate", valid, named, len(unknown), subjects=unknown)
    return Found("pass", None, named, named)


def _fleet_validity(data: FleetAttested) -> Found:
    outcomes = data.outcomes
    for code, count in (("failed", outcomes.failed), ("indeterminate", outcomes.indeterminate)):
        if count:
            return Found("fail", code, outcomes.passed, data.leaf_count, count, subjects=(data.site,))
    return Found("pass", None, outcomes.passed, data.leaf_count)


# --- 30 -------------------------------------------------------------------------------------------


class SitePlace(Value):
    site: Identifier
    latitude_e6: Annotated[int, Field(ge=-90_000_000, le=90_000_000)]
    longitude_e6: Annotated[int, Field(ge=-180_000_000, le=180_000_000)]


_LIGHT_KM_PER_MS = 150
"""Half of what light covers in a vacuum, rounded up: a round trip goes there and back."""


class LocationConsistency(Parameters):
    sites: Annotated[
        Many[SitePlace],
        Field(
            description="Where each site is: `site`, `latitude_e6` and `longitude_e6`, in millionths of "
            "a degree north and east (WGS 84)."
        ),
        unique_by("site"),
        Names("site", by="site"),
    ]
    km_per_ms: Annotated[
        Rate,
        LESS,
        Field(description="How far away an observer can be for each millisecond of a round trip."),
    ]
    required: Annotated[
        bool, MORE, Field(description="Whether an attestation without any round trip is flagged.")
    ] = False

    def doubts(self, use: Use) -> Iterator[Doubt]:
        if self.km_per_ms > _LIGHT_KM_PER_MS:
            words = f"light goes {_LIGHT_KM_PER_MS} km there and back in a millisecond, and no signal farther"
            yield Doubt("remark", "km_per_ms", f"km_per_ms is {self.km_per_ms}: {words}")


class _Reach(NamedTuple):
    observer: str
    distance_km: int
    limit_km: int


@condition(
    number=30,
    parameters=LocationConsistency,
    facts=("usage.attested", "fleet.attested"),
    unit="km",
    sentences={
        "pass": "an observer {observed} {unit} away was answered within the time for {limit} {unit}",
        "site_unplaced": "the document does not say where {subjects} is",
        "no_round_trip": "the attestation holds no round trip to an observer",
        "too_far": "the claimed site is at least {observed} {unit} from an observer who was answered "
        "within the time for {limit} {unit}, {shortfall} {unit} too far: {subjects}",
    },
)
def location_consistency(case: Case, parameters: LocationConsistency) -> Found:
    """A site cannot be farther from an observer than a signal goes there and back in the time it took.

    In fibre light covers about 200 km in a millisecond, so 100 km for each of a round trip; 150 leaves
    room for straight lines through air and vacuum. The distance is the least there can be between the two
    places, in whole kilometres, the reach is rounded up: a finding errs for the operator. Of several
    observers the one that is farthest out of reach is reported. A bound is coarse on purpose, and says
    that a claim is false, never that it is true.
    """
    data = case.data
    if not isinstance(data, UsageAttested | FleetAttested):
        return NOT_APPLICABLE
    if not data.locations:
        return Found("fail", "no_round_trip") if parameters.required else NOT_APPLICABLE
    place = next(
        (Place(s.latitude_e6, s.longitude_e6) for s in parameters.sites if s.site == data.site), None
    )
    if place is None:
        return Found("fail", "site_unplaced", subjects=(data.site,))
    reaches = [_reach(place, bound, parameters) for bound in data.locations]
    worst = max(reaches, key=lambda reach: reach.distance_km - reach.limit_km)
    excess = worst.distance_km - worst.limit_km
    if excess <= 0:
        return Found("pass", None, worst.distance_km, worst.limit_km)
    beyond = tuple(reach.observer for reach in reaches if reach.distance_km > reach.limit_km)
    return Found("fail", "too_far", worst.distance_km, worst.limit_km, excess, subjects=beyond)


def _reach(site: Place, bound: LocationBound, parameters: LocationConsistency) -> _Reach:
    observer = Place(bound.latitude_e6, bound.longitude_e6)
    return _Reach(
        bound.observer,
        distance_m(site, observer) // 1000,
        reach_km(bound.rtt_us, parameters),
    )


def reach_km(rtt_us: int, parameters: LocationConsistency) -> int:
    """Whole kilometres that a round trip of so many microseconds leaves, rounded up."""
    numerator, denominator = parameters.km_per_ms.as_integer_ratio()
    return -(-rtt_us * numerator // (denominator * 1000))
