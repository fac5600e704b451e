"""What a window of days says, as one HTML file without scripts, fonts or pictures from elsewhere.

The page takes tables that are already loaded and asks nothing of the lake, so that it can be built from a test,
a notebook or the pipeline alike. Numbers and sentences are those of :mod:`health_pipeline.incidents.wording`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from health_pipeline import charts
from health_pipeline.catalog.model import EVERY_UNIT, Catalog
from health_pipeline.charts_incident import incident_chart, marked_days
from health_pipeline.charts_risk import capacity_chart
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, Member, State
from health_pipeline.incidents.series import Course, Point
from health_pipeline.report.lists import CASES_SHOWN, ReviewTables, ReviewView, review_view, right_view
from health_pipeline.report.text import unbroken
from health_pipeline.risks.score import score
from health_pipeline.storage.lake import write_durably

WIDE, NARROW = 880, 350
"""Widths in px in which every picture is drawn: a page scales a picture down, but its labels must stay legible."""

DAYS_AFTER = 28
"""Days drawn after the last report of a headline."""

LARGEST_FACTOR = 10_000
"""A larger factor only says that next to nothing was expected."""

MEMBERS_SHOWN = 6
RISKS_SHOWN = 25
FINDINGS_SHOWN = 20

STATES = {
    "new": "new",
    "worsening": "worsening",
    "ongoing": "ongoing",
    "recovered": "recovered",
    "settled": "new level",
    "retracted": "withdrawn",
    "over": "over",
    "elsewhere": "ongoing with other shifts",
}
OPEN_STATES = ("new", "worsening", "ongoing")


FINDINGS = {
    "missing": "nothing delivered",
    "empty": "next to nothing delivered",
    "partial": "only part delivered",
    "backlog": "a backlog delivered",
    "settling": "a backlog delivered",
}


@dataclass(frozen=True)
class Headline:
    """An incident told in full.

    Attributes:
        incident: what its weightiest shift was, and how long that was significant.
        state: of the whole incident, on the last day; ``over`` when it ended with another shift as its headline,
            ``elsewhere`` when it goes on with others while this one is over.
        peak_score: the highest score it had on any day.
    """

    incident: Incident
    state: str
    peak_score: float


@dataclass(frozen=True)
class ReportTables:
    """Everything the page shows, already loaded.

    Attributes:
        first_day, last_day: the days judged.
        incidents: rows of all days of the window, in any order.
        risks: rows of the risks table of ``last_day``.
        courses: incident's id -> its series, for the headlines; one without is told without a picture.
        headlines: the incidents to tell in full, the first first; see :func:`headlines`.
        shifts_per_day: day -> number of significant shifts.
        series_judged: on ``last_day``: those of the followed that were large enough, with enough of a past.
        series_followed: series with a band on ``last_day``.
        provenance: sentences on where the data come from and under what licence.
        review: the review lists of ``last_day``; ``None`` where there are none.
        track_records: rows of the track records of ``last_day``.
    """

    first_day: dt.date
    last_day: dt.date
    incidents: Sequence[Incident]
    risks: Sequence[Mapping[str, Any]]
    courses: Mapping[str, Course]
    headlines: Sequence[Headline]
    shifts_per_day: Mapping[dt.date, int]
    series_judged: int
    series_followed: int
    provenance: Sequence[str] = ()
    review: ReviewTables | None = None
    track_records: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Picture:
    """A chart in two widths, as inline SVG."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True)
class MemberRow:
    what: str
    before: str
    since: str
    change: str
    interval: str
    excess: str
    tone: charts.Tone


@dataclass(frozen=True)
class BandRow:
    day: str
    observed: str
    expected: str
    band: str
    inside: bool


@dataclass(frozen=True)
class HeadlineView:
    id: str
    what: str
    change: str
    tone: charts.Tone
    sentence: str
    state: str
    state_text: str
    onset: str
    onset_interval: str
    first_reported: str
    peak_score: str
    explanation: Sequence[str]
    reach: str
    suspects: Sequence[str]
    members: Sequence[MemberRow]
    more_members: int
    events: Sequence[str]
    picture: Picture | None
    rows: Sequence[BandRow]


@dataclass(frozen=True)
class RiskView:
    rank: int
    title: str
    sentence: str
    why: str
    answered: bool
    suspects: Sequence[str]
    tone: charts.Tone
    score: str
    factors: Sequence[tuple[str, str]]
    state: str
    state_text: str
    onset: str
    first_reported: str
    events: Sequence[str]


@dataclass(frozen=True)
class FindingView:
    unit: str
    what: str
    since: str
    until: str
    days: int
    open: bool


@dataclass(frozen=True)
class MonthRow:
    month: str
    shifts: str
    incidents: str
    findings: str


def headlines(catalog: Catalog, incidents: Iterable[Incident], count: int = 5) -> tuple[Headline, ...]:
    """The incidents with the highest scores of the window, at most one of each unit.

    One unit that changes everything at once would otherwise take every place. Each is told by its headline of the day
    on which it scored highest, with the latest size measured from that onset. (Later another shift of the same incident
    may have taken over the headline.) What was withdrawn, or turned out to be part of another, is not told.
    """
    rows = sorted((i for i in incidents if i.kind == "shift" and i.members), key=lambda i: i.day)
    last = {i.id: i.state for i in sorted(incidents, key=lambda i: i.day)}
    rows = [i for i in rows if last[i.id] not in ("retracted", "merged")]
    peaks: dict[str, tuple[float, Incident]] = {}
    for incident in rows:
        value = score(catalog, incident).value
        if incident.id not in peaks or value > peaks[incident.id][0]:
            peaks[incident.id] = value, incident
    latest: dict[str, Incident] = {}
    sized: dict[str, Incident] = {}
    shifts: dict[str, Member] = {}
    open_until: dict[str, dt.date] = {}
    apart: dict[str, bool] = {}  # whether the headline was another one, beside it, when it was last seen
    for incident in rows:
        peak = peaks[incident.id][1]
        latest[incident.id] = incident
        for shift in incident.members:
            if _is_headline(shift, peak):
                shifts[incident.id] = shift
                apart[incident.id] = (shift.series, shift.onset) != (incident.series, incident.onset)
                if shift.is_open and incident.is_open:
                    open_until[incident.id] = incident.day
        current = incident.headline_reported == incident.day
        if current and incident.series == peak.series and peak.onset_low <= incident.onset <= peak.onset_high:
            sized[incident.id] = incident
    told = []
    for id_, now in latest.items():
        own = sized.get(id_, peaks[id_][1])
        state: State = now.state
        whole: str = now.state
        # The state of an incident is that of a headline only as long as it has this one.
        if now.series != own.series or apart.get(id_):
            until = max(own.headline_reported, open_until.get(id_, own.headline_reported))
            own = replace(own, headline_reported=until)
            if not now.is_open or until < now.day:
                state = "settled" if id_ in shifts and shifts[id_].state == "settled" else "recovered"
                whole = "elsewhere" if now.is_open else "over"
        over = None if state in OPEN_STATES else own.headline_reported
        told.append(Headline(replace(own, day=now.day, state=state, ended=over), whole, peaks[id_][0]))
    first_of_unit: dict[str, Headline] = {}
    for headline in sorted(told, key=lambda h: (-h.peak_score, h.incident.id)):
        first_of_unit.setdefault(headline.incident.unit, headline)
    return tuple(first_of_unit.values())[:count]


def _is_headline(shift: Member, incident: Incident) -> bool:
    """Whether an incident was told by this shift: of its series there may be others, before and after."""
    known = {m.reported_on for m in incident.members if (m.series, m.onset) == (incident.series, incident.onset)}
    near = incident.onset_low <= shift.onset <= incident.onset_high
    return shift.series == incident.series and (near or shift.reported_on in known)


def build_report(
    catalog: Catalog,
    tables: ReportTables,
    generated_at: dt.datetime,
    timings: Mapping[str, float] | None = None,
) -> str:
    """The page as HTML.

    Args:
        catalog: of the ecosystem the tables belong to.
        tables: what to show.
        generated_at: when the page was made, with its time zone.
        timings: step -> seconds, for the last line of the page.
    """
    environment = Environment(
        loader=PackageLoader("health_pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    incidents = [i for i in tables.incidents if i.state != "merged"]
    final = charts.latest(incidents)
    shifted = [i for i in final if i.kind == "shift"]
    findings = [i for i in final if i.kind == "data"]
    open_findings = [i for i in findings if i.is_open and i.day == tables.last_day]
    risks = _risks(tables, final)
    review = review_view(catalog, tables.review) if tables.review else None
    week = tables.last_day - dt.timedelta(days=6)
    page = environment.get_template("template.html").render(
        ecosystem=catalog.ecosystem,
        noun=catalog.dimension(catalog.unit).title.lower(),
        first_day=wording.day(tables.first_day),
        last_day=wording.day(tables.last_day),
        generated_at=f"{wording.day(generated_at.date())}, {generated_at:%H:%M %Z}".rstrip(),
        days=(tables.last_day - tables.first_day).days + 1,
        headlines=[_headline(catalog, tables, h) for h in tables.headlines],
        tinted=any(c.immature_from for c in tables.courses.values()),
        open_incidents=len(risks),
        new_this_week=sum(i.first_reported >= week for i in shifted),
        incidents_total=len(shifted),
        shifts_total=f"{sum(tables.shifts_per_day.values()):,}",
        series_judged=f"{tables.series_judged:,}",
        series_followed=f"{tables.series_followed:,}",
        open_findings=len(open_findings),
        silent=sorted({wording.supplier(catalog, i.unit, i.table) for i in open_findings}, key=str.casefold),
        risks=risks,
        risks_shown=RISKS_SHOWN,
        review=review,
        right=right_view(catalog, tables.review.precision if tables.review else (), tables.track_records),
        cases_shown=CASES_SHOWN,
        capacity=_capacity(review) if review else None,
        timeline=_picture(
            lambda width: charts.incident_timeline(
                incidents,
                first=tables.first_day,
                last=tables.last_day,
                name=lambda unit: wording.unit(catalog, unit),
                width=width,
            )
        )
        if final
        else None,
        timeline_rows=[_timeline_row(catalog, i) for i in reversed(final)],
        per_day=_per_day(tables, shifted),
        months=_months(tables, shifted, findings),
        findings=_findings(catalog, tables, findings),
        findings_shown=FINDINGS_SHOWN,
        false_discovery_rate=f"{100 * catalog.ecosystem.detection.false_discovery_rate:g} %",
        minimum_change=f"{100 * catalog.ecosystem.detection.minimum_change:g} %",
        metrics=catalog.metrics,
        provenance=[p for p in tables.provenance if p != catalog.ecosystem.description]
        or [t.description for t in catalog.tables[:1]],
        timings=[(name, f"{seconds:.1f} s") for name, seconds in (timings or {}).items()],
        dark_css=Markup(charts.dark_css(".picture")),
        light=charts.LIGHT,
        dark=charts.DARK,
    )
    return page + "\n"


def write_report(path: Path, html: str) -> None:
    """Write the page so that readers see the old one or the new one, never a part; makes missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))


def _picture(draw: Callable[[int], charts.Spec]) -> Picture:
    return Picture(*(Markup(charts.svg(draw(width))) for width in (WIDE, NARROW)))


def _capacity(review: ReviewView) -> Picture:
    return _picture(lambda width: capacity_chart([queue.spent for queue in review.queues], width=width))


def _headline(catalog: Catalog, tables: ReportTables, headline: Headline) -> HeadlineView:
    incident = headline.incident
    until = min(tables.last_day, incident.headline_reported + dt.timedelta(days=DAYS_AFTER))
    course = tables.courses.get(incident.id, Course(()))
    points = [p for p in course.points if p.day <= until]
    sentence = unbroken(wording.sentence(catalog, incident))

    def draw(width: int) -> charts.Spec:
        return incident_chart(
            catalog,
            incident,
            course,
            titled=False,
            until=until,
            key=None,
            width=width,
            height=300 if width == WIDE else 240,
            description=f"Chart of the daily series. {sentence} The table below holds its values.",
        )

    interval = ""
    if incident.onset_low != incident.onset_high:
        interval = f"between {wording.day(incident.onset_low)} and {wording.day(incident.onset_high)}"
    return HeadlineView(
        id=incident.id,
        what=wording.about(catalog, incident),
        change=_change(incident.change),
        tone=charts.tone_of(incident),
        sentence=sentence,
        state=headline.state,
        state_text=STATES[headline.state],
        onset=wording.day(incident.onset),
        onset_interval=interval,
        first_reported=wording.day(incident.first_reported),
        peak_score=f"{headline.peak_score:.1f}",
        explanation=[unbroken(said) for said in wording.explanation(catalog, incident)],
        reach=unbroken(wording.reach(catalog, incident)),
        suspects=[unbroken(s.sentence) for s in incident.suspects],
        members=[_member(catalog, m, incident) for m in incident.members[:MEMBERS_SHOWN]],
        more_members=max(0, len(incident.members) - MEMBERS_SHOWN),
        events=incident.events,
        picture=_picture(draw) if points else None,
        rows=[_band_row(catalog, incident, course, p) for p in points],
    )


def _band_row(catalog: Catalog, incident: Incident, course: Course, point: Point) -> BandRow:
    metric = catalog.metric(incident.metric)
    first, last = marked_days(catalog, incident)
    young = course.immature_from is not None and point.day >= course.immature_from
    observed = "no data" if point.observed is None else wording.value(metric, point.observed)
    return BandRow(
        day=_short(point.day),
        observed=f"{observed} so far" if young and point.observed is not None else observed,
        expected="–" if point.expected is None else wording.value(metric, point.expected),
        band="–"
        if point.low is None or point.high is None
        else f"{wording.value(metric, point.low)} to {wording.value(metric, point.high)}",
        inside=first <= point.day <= last and not young,
    )


def _member(catalog: Catalog, member: Member, incident: Incident) -> MemberRow:
    metric = catalog.metric(member.metric)
    excess = wording.number(abs(member.excess))
    own = dict(part.split("=", 1) for part in member.segment.split("|") if part).get(catalog.unit, EVERY_UNIT)
    what = wording.subject(catalog, metric, member.segment)
    if own == incident.unit:
        what = _capitalised(_without_unit(catalog, member.metric, member.segment))
    return MemberRow(
        what=f"{what}{wording.onset(member, incident.members)}",
        before=wording.value(metric, member.expected),
        since=wording.value(metric, member.observed),
        change=_change(member.change),
        interval=f"{_change(member.low)} to {_change(member.high)}" if member.low < LARGEST_FACTOR else "–",
        excess=excess if excess == "0" else f"{'+' if member.excess > 0 else '−'}{excess}",
        tone="up" if member.change > 0 else "down",
    )


def _without_unit(catalog: Catalog, metric: str, segment: str) -> str:
    """A series in words, where its unit has already been named: ``overturn rate``, ``beauty: overturn rate``."""
    found = catalog.metric(metric)
    unit = wording.segment(catalog, segment).get(catalog.unit) or wording.unit(catalog, EVERY_UNIT)
    where = wording.place(catalog, found, segment)
    inside = where[: -len(f" in {unit}")] if where.lower().endswith(f" in {unit}".lower()) else ""
    said = wording.measured(catalog, found, segment)
    return f"{inside[:1].lower()}{inside[1:]}: {said}" if inside else said


def _risks(tables: ReportTables, final: Sequence[Incident]) -> list[RiskView]:
    by_id = {i.id: i for i in final}
    return [
        RiskView(
            rank=row["rank"],
            title=unbroken(row["title"]),
            suspects=[unbroken(s.sentence) for s in incident.suspects],
            sentence=unbroken(row["sentence"]),
            why=unbroken(row["why"]),
            answered=bool(row["answered"]),
            tone=charts.tone_of(incident),
            score=f"{row['score']:.1f}",
            factors=[
                ("size", f"{row['size']:.2f}"),
                ("exposure", f"{row['exposure']:.2f}"),
                ("confidence", f"{row['confidence']:.2f}"),
                *([("harm", f"{row['harm']:g}")] if row["harm"] != 1 else []),
                *([("record", f"{row['record']:.2f}")] if abs(row["record"] - 1) >= 0.005 else []),
            ],
            state=incident.state,
            state_text=STATES[incident.state],
            onset=_short(incident.onset),
            first_reported=_short(incident.first_reported),
            events=incident.events,
        )
        for row in sorted(tables.risks, key=lambda r: int(r["rank"]))
        for incident in (by_id[row["incident"]],)
    ]


def _timeline_row(catalog: Catalog, incident: Incident) -> tuple[str, str, str, str]:
    until = "open" if incident.is_open else _short(incident.last_reported)
    return wording.title(catalog, incident), _short(incident.onset), until, STATES[incident.state]


def _per_day(tables: ReportTables, shifted: Sequence[Incident]) -> Picture | None:
    if not any(tables.shifts_per_day.values()):
        return None
    reported = Counter(i.first_reported for i in shifted)
    total = (tables.last_day - tables.first_day).days + 1
    days = [tables.first_day + dt.timedelta(days=n) for n in range(total)]
    counts = [charts.DayCount(d, tables.shifts_per_day.get(d, 0), reported[d]) for d in days]
    return _picture(lambda width: charts.shifts_per_day(counts, width=width, height=230))


def _months(tables: ReportTables, shifted: Sequence[Incident], findings: Sequence[Incident]) -> list[MonthRow]:
    def month(day: dt.date) -> dt.date:
        return day.replace(day=1)

    shifts: Counter[dt.date] = Counter()
    for day, count in tables.shifts_per_day.items():
        shifts[month(day)] += count
    incidents = Counter(month(i.first_reported) for i in shifted)
    data = Counter(month(i.first_reported) for i in findings)
    return [
        MonthRow(f"{m:%B %Y}", f"{shifts[m]:,}", f"{incidents[m]:,}", f"{data[m]:,}")
        for m in sorted({*shifts, *incidents, *data}, reverse=True)
    ]


def _findings(catalog: Catalog, tables: ReportTables, findings: Sequence[Incident]) -> list[FindingView]:
    """Open ones first, then the latest."""
    ordered = sorted(findings, key=lambda i: (i.is_open, i.last_reported, i.onset), reverse=True)
    return [
        FindingView(
            unit=wording.supplier(catalog, i.unit, i.table),
            what=FINDINGS[i.shape],
            since=_short(i.onset),
            until="open" if i.is_open else _short(i.last_reported),
            days=((tables.last_day if i.is_open else i.last_reported) - i.onset).days + 1,
            open=i.is_open,
        )
        for i in ordered
    ]


def _change(relative: float) -> str:
    return wording.change(relative) if relative < LARGEST_FACTOR else f">×{LARGEST_FACTOR:,}"


def _short(day: dt.date) -> str:
    """``1 Jul 2025``, for tables."""
    return f"{day.day} {day:%b %Y}"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
