"""The backtest as one HTML page without scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from health_pipeline import charts
from health_pipeline.backtest import table
from health_pipeline.backtest.compare import Comparison
from health_pipeline.backtest.replay import Reported
from health_pipeline.backtest.score import AFTER_DAYS, EARLY_DAYS
from health_pipeline.backtest.study import Study
from health_pipeline.charts_backtest import Row, attention_chart, reports_chart
from health_pipeline.incidents import wording
from health_pipeline.report.report import NARROW, WIDE, Picture

DRAWN = 45
"""So many incidents are drawn, those with the highest scores of each group first; the table lists all."""
NAME = 44


@dataclass(frozen=True)
class Told:
    """An incident as a row of the page; a day is "" where a setting has not reported it."""

    sentence: str
    tone: charts.Tone
    onset: str
    a: str
    b: str
    later: str
    message: str
    score: str
    state: str
    verdict: str
    effect: str


@dataclass(frozen=True)
class EffectRow:
    title: str
    cause: str
    start: str
    end: str
    segments: Sequence[str]
    a: str
    b: str


def build_report(study: Study, generated_at: dt.datetime) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("health_pipeline.backtest", "."), PackageLoader("health_pipeline.report", ".")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    c, (a, b) = study.comparison, study.outcomes
    first, last = a.judged[0], a.days[-1]
    told = [line for line in table.lines(study) if line.section != "setting"]
    settings = [line for line in table.lines(study) if line.section == "setting"]
    page = environment.get_template("backtest.html").render(
        ecosystem=study.catalog.ecosystem,
        generated_at=f"{wording.day(generated_at.date())}, {generated_at:%H:%M %Z}".rstrip(),
        first_day=wording.day(first),
        last_day=wording.day(last),
        judged=len(a.judged),
        asked=len(a.days),
        warm_up=study.warm_up,
        minutes=study.minutes,
        settings=settings,
        sections=[(name, list(rows)) for name, rows in groupby(told, key=lambda line: line.section)],
        groups=_groups(study),
        laters=[(table.later(days), n) for days, n in sorted(c.laters.items())],
        attention=_picture(
            lambda width: attention_chart(
                {o.setting.name: study.costs[o.setting.name].per_day for o in (a, b)}, width=width
            )
        ),
        reports=_reports(study, first, last),
        effects=_effects(study),
        effects_picture=_effects_picture(study, first, last),
        unjudged=[e.title for e in study.scores["A"].unjudged] if study.scores else [],
        scored=bool(study.scores),
        early_days=EARLY_DAYS,
        after_days=AFTER_DAYS,
        dark_css=Markup(charts.dark_css(".picture")),
        light=charts.LIGHT,
        dark=charts.DARK,
    )
    return page + "\n"


def grouped(comparison: Comparison) -> list[tuple[str, list[tuple[Reported | None, Reported | None]]]]:
    """``both``, ``only A``, ``only B``, each with its incidents, the highest scores first."""

    def weight(pair: tuple[Reported | None, Reported | None]) -> tuple[float, str]:
        held = [r for r in pair if r is not None]
        return -max(r.score for r in held), held[0].id

    c = comparison
    return [
        ("both", sorted(((s.a, s.b) for s in c.shared), key=weight)),
        ("only A", sorted(((r, None) for r in c.only_a), key=weight)),
        ("only B", sorted(((None, r) for r in c.only_b), key=weight)),
    ]


def _groups(study: Study) -> list[tuple[str, list[Told]]]:
    return [(name, [_told(study, *pair) for pair in pairs]) for name, pairs in grouped(study.comparison)]


def _told(study: Study, a: Reported | None, b: Reported | None) -> Told:
    shown, setting = (a, "A") if a is not None else (b, "B")
    assert shown is not None
    last = shown.last
    messages = [f"{name} {short(r.told)}" for name, r in (("A", a), ("B", b)) if r is not None and r.told]
    said, effect = table.verdict(study, setting, shown)
    if not said and a is not None and b is not None:
        said, effect = table.verdict(study, "B", b)
    return Told(
        sentence=wording.sentence(study.catalog, last),
        tone=charts.tone_of(last),
        onset=short(last.onset),
        a=short(a.first.first_reported) if a else "",
        b=short(b.first.first_reported) if b else "",
        later=table.later((b.first.first_reported - a.first.first_reported).days) if a and b else "",
        message=", ".join(messages) or "none",
        score=f"{max(r.score for r in (a, b) if r is not None):.1f}",
        state=last.state,
        verdict=said,
        effect=effect,
    )


def _reports(study: Study, first: dt.date, last: dt.date) -> Picture | None:
    rows = []
    for name, pairs in grouped(study.comparison):
        share = [p for p in pairs if any(r is not None and r.kind == "shift" for r in p)][: DRAWN // 3]
        share.sort(key=lambda p: min(r.first.first_reported for r in p if r is not None))
        for pair in share:
            held = {n: r for n, r in zip("AB", pair, strict=True) if r is not None}
            shown = next(iter(held.values())).last
            rows.append(
                Row(
                    _cut(wording.title(study.catalog, shown)), shown.onset, shown.last_reported,
                    {n: r.first.first_reported for n, r in held.items()}, name,
                )
            )  # fmt: skip
    return _picture(lambda width: reports_chart(rows, first=first, last=last, width=width)) if rows else None


def _effects(study: Study) -> list[EffectRow]:
    if not study.scores:
        return []
    return [
        EffectRow(
            title=f.effect.title, cause=f.effect.cause, start=short(f.effect.start), end=short(f.effect.end),
            segments=[_segment(study, s) for s in f.effect.segments], a=table.finding(f), b=table.finding(other),
        )
        for f, other in zip(study.scores["A"].findings, study.scores["B"].findings, strict=True)
    ]  # fmt: skip


def _effects_picture(study: Study, first: dt.date, last: dt.date) -> Picture | None:
    if not study.scores or not study.scores["A"].findings:
        return None
    rows = [
        Row(
            _cut(f.effect.title), f.effect.start, f.effect.end,
            {n: x.incident.day for n, x in (("A", f), ("B", other)) if x.incident is not None},
        )
        for f, other in zip(study.scores["A"].findings, study.scores["B"].findings, strict=True)
    ]  # fmt: skip
    return _picture(lambda width: reports_chart(rows, first=first, last=last, width=width))


def _segment(study: Study, segment: str) -> str:
    labels = wording.segment(study.catalog, segment)
    return ", ".join(labels.values()) or "everywhere"


def _picture(draw: Callable[[int], dict[str, Any]]) -> Picture:
    return Picture(*(Markup(charts.svg(draw(width))) for width in (WIDE, NARROW)))


def _cut(text: str) -> str:
    return text if len(text) <= NAME else text[: NAME - 1].rstrip(" ,:") + "…"


def short(day: dt.date) -> str:
    """``1 Jul 2025``, for tables."""
    return f"{day.day} {day:%b %Y}"
