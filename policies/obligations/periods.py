"""Duties that come again with the calendar: units due in a window, purchases at home, reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field

from ledger.decision import Verdict
from ledger.event import Event
from ledger.facts import Contract, Duty, Facts, Imports, Key, License, Releases, Report
from ledger.kinds.inspection import ReportFiled
from ledger.kinds.license import LicenseGranted
from ledger.values import Identifier
from policies.conditions.case import Case
from policies.conditions.deadlines import report_due
from policies.conditions.declared import LESS, MORE, RELEASED, Cap, Doubt, Use, WholeDays
from policies.conditions.parameters import Duration, Parameters, one_of
from policies.conditions.supply import DomesticCopurchase as Copurchase
from policies.conditions.supply import copurchase_in
from policies.conditions.trade import unmet_in
from policies.conditions.windows import LENGTHS, Length, Window, window_at, window_of
from policies.obligations.registry import Change, Meets, Obligation, Opens

P = TypeVar("P", bound=Parameters)


def _begins(name: str) -> date:
    """The first day of the window of that name (`Window.name`)."""
    return date.fromisoformat(f"{name[:7]}-01")


# --- 23 -------------------------------------------------------------------------------------------


class WindowDue(Parameters):
    window: Annotated[Length, Field(description="`month`, `quarter`, `half_year` or `year` of the calendar.")]
    due: Annotated[int, MORE, Field(ge=1, le=100_000_000, description="Units to be released in each.")]

    def doubts(self, use: Use) -> Iterator[Doubt]:
        """All that is due is due in a window, however few of its days lie in the document's time."""
        edges = (use.begins,) if use.until is None else (use.begins, use.until - timedelta(days=1))
        for window in dict.fromkeys(window_of(day, self.window) for day in edges):
            begins, ends = max(window.begins, use.begins), min(window.ends, use.until or window.ends)
            if (begins, ends) != (window.begins, window.ends):
                part, whole = (ends - begins).days, (window.ends - window.begins).days
                words = f"all {self.due} are due in {window.name}, of which the document is in force {part}"
                yield Doubt("remark", "window", f"{words} of {whole} days")

    def caps(self) -> Iterator[Cap]:
        yield Cap(RELEASED, self.due, LENGTHS[self.window], "due")


class BatchDue(Obligation[WindowDue], name="batch_due"):
    """In each window of the calendar a number of units must be released under the license.

    A window ends at 24:00 of its last day in the contract's zone; what was not released by then is
    unmet. The cap of the same window is the condition `window_cap`.
    """

    number = 23
    watches = ("policy.activated", "license.granted")
    comes_again = True
    parameters = WindowDue
    unit = "units"
    sentences: ClassVar[Mapping[str, str]] = {
        "late": "{observed} {unit} released of {limit} due: {shortfall} unmet",
        "met": "{observed} {unit} released of {limit} due",
    }

    def touches(self, event: Event, facts: Facts, parameters: WindowDue) -> Iterable[str]:
        # A license that is granted has no window yet, and an activation asks for nothing that stands.
        return ()

    def changes(self, case: Case, parameters: WindowDue) -> Iterable[Change]:
        window = window_at(case.at, case.zone, parameters.window)
        data = case.data
        granted = (data.license,) if isinstance(data, LicenseGranted) else case.own_licenses
        for license_ in granted:
            yield Opens((f"{license_}/{window.name}",), window.over(case.zone), license=license_)

    def due_reads(self, duty: Duty, parameters: WindowDue) -> Iterable[Key]:
        license_, _ = _split(duty)
        yield License.name, license_
        yield Releases.name, f"{duty.contract}/{license_}"

    def verdict(
        self, duty: Duty, facts: Facts, contract: Contract, parameters: WindowDue, *, at: datetime
    ) -> Verdict:
        license_, name = _split(duty)
        window = window_of(_begins(name), parameters.window)
        releases = facts.get(Releases, f"{duty.contract}/{license_}")
        unmet = unmet_in(releases, window, due=parameters.due)
        return Verdict(unmet == 0, parameters.due - unmet, parameters.due, unmet or None, self.unit)

    def again(self, duty: Duty, facts: Facts, contract: Contract, parameters: WindowDue) -> Opens | None:
        license_, name = _split(duty)
        standing = facts.get(License, license_)
        if standing is None or standing.state in ("revoked", "expired", "withdrawn"):
            return None
        window = _after(window_of(_begins(name), parameters.window), parameters.window)
        return Opens((f"{license_}/{window.name}",), window.over(contract.zone), license=duty.license)


def _split(duty: Duty) -> tuple[str, str]:
    """License and window: a license has no slash in its number, a window of several months has one."""
    license_, _, name = duty.subject.partition("/")
    return license_, name


def _after(window: Window, length: str) -> Window:
    return window_of(window.ends, length)


# --- 21 -------------------------------------------------------------------------------------------


class DomesticCopurchase(Obligation[Copurchase], name="domestic_copurchase"):
    """For what is imported in a window, so much must be bought at home in it.

    Imports are what customs cleared, purchases what was told as bought in the window. A rule of the
    buyer's side; it gates nothing, and is short when the window has ended.
    """

    number = 21
    of_license = False
    watches = ("policy.activated",)
    comes_again = True
    parameters = Copurchase
    unit = "units"
    sentences: ClassVar[Mapping[str, str]] = {
        "late": "{observed} {unit} bought at home of {limit} due: {shortfall} short",
        "met": "{observed} {unit} bought at home of {limit} due",
    }

    def touches(self, event: Event, facts: Facts, parameters: Copurchase) -> Iterable[str]:
        return ()

    def changes(self, case: Case, parameters: Copurchase) -> Iterable[Change]:
        window = window_at(case.at, case.zone, parameters.window)
        yield Opens((window.name,), window.over(case.zone))

    def due_reads(self, duty: Duty, parameters: Copurchase) -> Iterable[Key]:
        yield Imports.name, duty.contract

    def verdict(
        self, duty: Duty, facts: Facts, contract: Contract, parameters: Copurchase, *, at: datetime
    ) -> Verdict:
        window = window_of(_begins(duty.subject), parameters.window)
        found = copurchase_in(facts.get(Imports, duty.contract), window, parameters)
        unit = "units" if parameters.measure == "units" else "TPP"
        return Verdict(found.short == 0, found.bought, found.due, found.short or None, unit)

    def again(self, duty: Duty, facts: Facts, contract: Contract, parameters: Copurchase) -> Opens:
        window = _after(window_of(_begins(duty.subject), parameters.window), parameters.window)
        return Opens((window.name,), window.over(contract.zone))


# --- 34 -------------------------------------------------------------------------------------------


class PeriodicReport(Parameters):
    report: Annotated[Identifier, Field(description="What it reports on, as `report.filed` names it.")]
    every: Annotated[
        Literal["month", "quarter", "half_year", "year"],
        one_of("a period", tuple(LENGTHS)),
        Field(description="The period that it is for: `month`, `quarter`, `half_year` or `year`."),
    ]
    within: Annotated[
        Duration,
        WholeDays(),
        LESS,
        Field(description="Whole days after the period's last day: `P31D`."),
    ]


class ReportDue(Obligation[PeriodicReport], name="periodic_report"):
    """For each period of the calendar a report must be filed, so many days after it has ended.

    The last of these days ends at 24:00 in the contract's zone. A report counts for the period whose
    last day it names.
    """

    number = 34
    of_license = False
    watches = ("policy.activated", "report.filed")
    comes_again = True
    parameters = PeriodicReport
    sentences: ClassVar[Mapping[str, str]] = {"late": "no report was filed in time", "met": "it was filed"}

    def touches(self, event: Event, facts: Facts, parameters: PeriodicReport) -> Iterable[str]:
        data = event.data
        if isinstance(data, ReportFiled) and data.report == parameters.report:
            yield data.until.isoformat()

    def changes(self, case: Case, parameters: PeriodicReport) -> Iterable[Change]:
        data = case.data
        if not isinstance(data, ReportFiled):
            yield self._for(window_at(case.at, case.zone, parameters.every), case.zone, parameters)
        elif data.report == parameters.report:
            yield Meets((data.until.isoformat(),))

    def again(self, duty: Duty, facts: Facts, contract: Contract, parameters: PeriodicReport) -> Opens:
        following = date.fromisoformat(duty.subject) + timedelta(days=1)
        return self._for(window_of(following, parameters.every), contract.zone, parameters)

    def _for(self, window: Window, zone: str, parameters: PeriodicReport) -> Opens:
        last = window.ends - timedelta(days=1)
        return Opens((last.isoformat(),), report_due(last, parameters.within.days, zone))

    def due_reads(self, duty: Duty, parameters: PeriodicReport) -> Iterable[Key]:
        yield Report.name, f"{duty.contract}/{parameters.report}/{duty.subject}"

    def verdict(
        self, duty: Duty, facts: Facts, contract: Contract, parameters: PeriodicReport, *, at: datetime
    ) -> Verdict:
        report = facts.get(Report, f"{duty.contract}/{parameters.report}/{duty.subject}")
        return Verdict(report is not None and not report.withdrawn)
