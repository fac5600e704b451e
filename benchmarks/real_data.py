"""What the detector finds in two years of real data, and whether an analyst would have wanted it.

Run ``python -m benchmarks.real_data [--home FOLDER]`` (some minutes); writes docs/real-data.md and its charts: the shifts
that anyone can see, holes in the data, reports per month, and a random sample of incidents. Verdicts on the sample are
given by eye, and kept in benchmarks/verdicts.yaml with the sentence they are about: those on other sentences do not count.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ruamel.yaml import YAML
from scipy.stats import binomtest

from benchmarks.history import history_from_arguments
from health_pipeline import charts
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.pipeline import Pipeline
from health_pipeline.risks.score import score
from health_pipeline.shifts.panel import build_panel
from health_pipeline.stats.panel import Scale

DOCS = Path(__file__).parent.parent / "docs"
IMAGES = DOCS / "img"
VERDICTS = Path(__file__).parent / "verdicts.yaml"
MINORS = "platform=TikTok|category=STATEMENT_CATEGORY_PROTECTION_OF_MINORS"
SAMPLE = 20
SEED = 20251001
ON_TIME = 3  # days after the beginning within which a shift that anyone can see is found on time
AFTER_HOLE = 3  # days after an incomplete day on which a shift may be its echo


@dataclass(frozen=True)
class Known:
    """A shift that anyone can see in the series."""

    title: str
    series: tuple[str, ...]
    direction: str
    around: dt.date
    picture: str


KNOWN = (
    Known("TikTok's volume rises in January 2025", ("statements|platform=TikTok",), "up", dt.date(2025, 1, 23), "tiktok-2025-01"),
    Known("TikTok's volume falls at the beginning of May 2025", ("statements|platform=TikTok",), "down", dt.date(2025, 5, 2), "tiktok-2025-05"),
    Known("TikTok's volume falls with the new statement schema", ("statements|platform=TikTok",), "down", dt.date(2025, 7, 1), "tiktok-2025-07"),
    Known("TikTok's protection-of-minors statements rise in March 2024", (f"category_share|{MINORS}", f"statements_by_category|{MINORS}"), "up", dt.date(2024, 3, 3), "minors-2024-03"),
    Known("TikTok's protection-of-minors statements fall in May 2024", (f"category_share|{MINORS}", f"statements_by_category|{MINORS}"), "down", dt.date(2024, 5, 6), "minors-2024-05"),
    Known("Google Shopping's volume falls at the end of May 2025", ("statements|platform=Google Shopping",), "down", dt.date(2025, 5, 30), "google-shopping-2025-05"),
)  # fmt: skip


def observations(pipeline: Pipeline, series: str, first: dt.date, last: dt.date) -> list[charts.Point]:
    """A series as the detector sees it, with the band of each day as it was on that day."""
    t = pipeline.tables
    days = [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]
    panel, _ = build_panel(pipeline.catalog, t.cube.read(days), t.histograms.read(days), t.deliveries.read(days), days)
    row = panel.series.index(series)
    values = panel.numerator[row] if panel.scale[row] == Scale.COUNT else panel.numerator[row] / panel.denominator[row]
    bands = t.bands.read(days)
    held = {b["day"]: b for b in bands.filter(pc.equal(bands["series"], series)).to_pylist()}
    return [
        charts.Point(
            day,
            None if np.isnan(value) else float(value),
            *(held[day][k] for k in ("expected", "low", "high")) if day in held else (None, None, None),
        )
        for day, value in zip(days, values, strict=True)
    ]


def follow(shifts: pa.Table, known: Known, series: str) -> list[dict[str, Any]]:
    """All rows, oldest first, of the first reported shift that is this one; empty when there is none.

    It goes in the right direction, and its onset, as told on some day, is within ten days of what the eye sees.
    """
    rows = shifts.filter(pc.and_(pc.equal(shifts["series"], series), pc.equal(shifts["direction"], known.direction)))
    lives: dict[dt.date, list[dict[str, Any]]] = {}
    for row in rows.sort_by("day").to_pylist():
        lives.setdefault(row["reported_on"], []).append(row)  # a day reports one shift of a series at most
    for _, life in sorted(lives.items()):
        first = life[0]
        if any(abs((r["onset"] - known.around).days) <= 10 for r in life) and first["reported_on"] >= first["onset"]:
            return life
    return []


def known_section(pipeline: Pipeline, shifts: pa.Table) -> list[str]:
    """When each shift that anyone can see was found, and a chart of each."""
    last = max(pipeline.delivered_days())
    table, pictures, delays = [], [], []
    for known in KNOWN:
        drawn = False
        for series in known.series:
            metric, segment = series.split("|", 1)
            declared = pipeline.catalog.metric(metric)
            name = wording.subject(pipeline.catalog, declared, segment)
            life = follow(shifts, known, series)
            if not life:
                table.append(f"| {name} | {known.direction}, about {known.around} | not found | – | – | – | – |")
                continue
            first, end = life[0], life[-1]
            delay = (first["reported_on"] - known.around).days
            delays.append(delay)
            fortnight = [r for r in life if 10 <= (r["day"] - r["onset"]).days <= 21]
            state = end["state"] if end["state"] in ("recovered", "settled") else "under way"
            table.append(
                f"| {name} | {known.direction}, about {known.around} | {first['reported_on']} | {delay} | "
                f"{_effect(first)} from {first['onset']} | {_effect(fortnight[-1]) if fortnight else '–'} | {state} |"
            )
            if drawn:
                continue
            drawn = True
            onset = fortnight[-1] if fortnight else first
            spec = charts.series_chart(
                observations(
                    pipeline, series, onset["onset"] - dt.timedelta(days=60),
                    min(onset["onset"] + dt.timedelta(days=45), last),
                ),
                format=charts.format_of(declared), title=known.title, unit=declared.unit, onset=onset["onset"],
                onset_low=onset["onset_low"], onset_high=onset["onset_high"],
                tone="up" if known.direction == "up" else "down", width=800, height=260,
            )  # fmt: skip
            (IMAGES / f"{known.picture}.png").write_bytes(charts.png(spec))
            pictures += [f"![{known.title}](img/{known.picture}.png)", ""]
    early = sum(d <= ON_TIME for d in delays)
    return [
        "## What anyone can see", "",
        f"Chosen by eye for an earlier detector, and kept. {len(delays)} of {len(table)} series were reported, {early} of "
        f"them within {ON_TIME} days. One setting for all series; every judgement uses data up to its day only. *Days* count "
        "from where the eye sees the beginning.", "",
        "| series | seen | reported | days | as reported | two to three weeks after onset | became |",
        "| --- | --- | --- | ---: | --- | --- | --- |", *table, "", *pictures,
    ]  # fmt: skip


def _effect(row: dict[str, Any]) -> str:
    return f"{wording.change(row['change'])} ({wording.change(row['change_low'])} to {wording.change(row['change_high'])}), q {row['q_value']:.2g}"


def holes_section(pipeline: Pipeline, last: dict[str, Incident], shifts: pa.Table) -> list[str]:
    """The days without data and the backlog, and what was reported about them."""
    lines = ["## Holes in the data are not shifts", ""]
    lines += [
        f"- {wording.sentence(pipeline.catalog, i)}" for i in last.values() if i.kind == "data" and i.unit == "TikTok"
    ]
    t = pipeline.tables
    days = [dt.date(2024, 6, 1) + dt.timedelta(days=i) for i in range(21)]
    held = t.deliveries.read(days, ["day", "unit", "finding", "volume", "expected"])
    rows = held.filter(pc.equal(held["unit"], "TikTok")).to_pylist()
    lines += ["", "TikTok in June 2024, each day judged with the volumes up to it:", "",
              "| day | statements | expected | finding |", "| --- | ---: | ---: | --- |"]  # fmt: skip
    for r in rows:
        volume = "–" if r["volume"] is None else f"{r['volume']:,.0f}"
        lines.append(f"| {r['day']} | {volume} | {r['expected']:,.0f} | {r['finding']} |")
    reports = shifts.filter(pc.equal(shifts["state"], "new")).to_pylist()
    hole = (dt.date(2024, 6, 4), dt.date(2024, 6, 21))
    inside = [r for r in reports if r["unit"] == "TikTok" and r["onset"] >= hole[0] and hole[0] <= r["day"] <= hole[1]]
    ended = [r for r in reports if r["unit"] == "TikTok" and r["day"] > dt.date(2025, 9, 4)]
    days = sorted(set(shifts["day"].to_pylist()))
    verdicts = t.deliveries.read(days, ["day", "unit", "finding"]).to_pylist()
    incomplete = {(v["unit"], v["day"]) for v in verdicts if v["finding"] not in ("complete", "retired")}
    on, after = 0, 0
    for r in reports:
        before = [r["onset"] - dt.timedelta(days=i) for i in range(AFTER_HOLE + 1)]
        on += (r["unit"], before[0]) in incomplete
        after += any((r["unit"], d) in incomplete for d in before[1:]) and (r["unit"], before[0]) not in incomplete
    lines += [
        "",
        f"Reported about TikTok on 4 to 21 June 2024, with an onset on these days: {wording.count(len(inside), 'shift')}. Reported "
        f"after 4 September 2025, when its data end: {wording.count(len(ended), 'shift')}.", "",
        f"Over all units and days: {len(incomplete):,} days of a unit were not delivered completely. Of {len(reports):,} "
        f"reports {on} have their onset on such a day (the level after the hole is another, and began somewhere in it), and "
        f"{after} within {AFTER_HOLE} days after one, where a backlog that was not recognised would show.", "",
    ]  # fmt: skip
    return lines


def yield_section(shifts: pa.Table, last: dict[str, Incident], judged: list[dt.date]) -> list[str]:
    """Reported shifts and incidents per month, and a chart by week."""
    reports = shifts.filter(pc.equal(shifts["state"], "new"))
    months = sorted({d.strftime("%Y-%m") for d in judged})
    kinds = ("level", "spike", "slope")
    by_month = Counter((r["day"].strftime("%Y-%m"), r["kind"]) for r in reports.select(["day", "kind"]).to_pylist())
    by_day = Counter(reports["day"].to_pylist())
    began = [i for i in last.values() if i.first_reported in set(judged)]
    new = Counter(i.first_reported.strftime("%Y-%m") for i in began if i.kind == "shift")
    data = Counter(i.first_reported.strftime("%Y-%m") for i in began if i.kind == "data")
    first_days = Counter(i.first_reported for i in began if i.kind == "shift")
    picture = charts.shifts_per_day(
        [charts.DayCount(d, by_day[d], first_days[d]) for d in judged], width=800, height=260
    )
    (IMAGES / "real-data-shifts.png").write_bytes(charts.png(picture))
    total = sum(new.values())
    tested = int(np.median(reports["tested"].to_numpy())) if reports.num_rows else 0
    lines = [
        "## How much it reports", "",
        f"{len(judged)} judged days, about {tested:,} series a day: {reports.num_rows:,} reported shifts, merged into {total:,} "
        f"incidents ({30.4 * total / len(judged):.0f} a month over 22 platforms), and {sum(data.values())} holes in the data.",
        "", "![Reported shifts, and incidents first reported, per week](img/real-data-shifts.png)", "",
        "| month | reported shifts | levels | spikes | slopes | new incidents | holes in the data |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for m in months:
        of_kind = [by_month[m, kind] for kind in kinds]
        lines.append(f"| {m} | {sum(of_kind)} | {' | '.join(map(str, of_kind))} | {new[m]} | {data[m]} |")
    return [*lines, "", "Kinds are those of the report: on its first days a new level can't be told from a spike.", ""]


def sample_section(pipeline: Pipeline, every: list[Incident], last: dict[str, Incident]) -> list[str]:
    """A random twenty, each with its peak score and, where one was given, the verdict on what is said here."""
    peak: dict[str, tuple[float, Incident]] = {}
    for incident in every:
        if incident.kind == "shift" and incident.members:  # a withdrawn one has none
            value = score(pipeline.catalog, incident).value
            if incident.id not in peak or value > peak[incident.id][0]:
                peak[incident.id] = (value, incident)
    chosen = sorted(peak, key=lambda name: hashlib.sha256(f"{SEED} {name}".encode()).digest())[:SAMPLE]
    held: dict[str, Any] = (YAML(typ="safe").load(VERDICTS) if VERDICTS.exists() else None) or {}
    rows, verdicts = [], {}
    for name in sorted(chosen, key=lambda n: last[n].first_reported):
        value, incident = peak[name]
        said = wording.sentence(pipeline.catalog, incident)
        verdict = held.get(name)
        if verdict and verdict["said"] == said:  # a verdict is on what was said, not on a name
            verdicts[name] = verdict
            answer = f"{verdict['real']} | {'yes' if verdict['wanted'] else 'no'} | {verdict['why']}"
        else:
            answer = "not judged | | "
        rows.append(f"| {last[name].first_reported} | `{name}` | {said} | {value:.1f} | {answer} |")
    bar = pipeline.catalog.alerts.minimum_score
    wanted = [n for n, v in verdicts.items() if v["wanted"]]
    above = [n for n in verdicts if peak[n][0] >= bar]
    real = Counter(v["real"] for v in verdicts.values())
    if verdicts:
        sure = real["yes"] + real["no"]
        between = binomtest(real["no"], sure).proportion_ci()  # Clopper and Pearson
        rate = pipeline.catalog.ecosystem.detection.false_discovery_rate
        summary = (
            f"Of a random twenty incidents {len(verdicts)} were judged from the chart of each series, knowing nothing else of "
            f"the platform: {real['yes']} are real, {real['no']} are not, of {real['unclear']} the eye can't tell. "
            f"Not real are {real['no'] / sure:.0%} (95 % interval {between.low:.0%} to {between.high:.0%}) of these incidents, "
            f"each judged by what was said when it weighed most; of reported shifts at most {rate:.0%} should be false. "
            f"{len(wanted)} would have been wanted. {len(above)} score at least {bar:g}, the bar for a message; "
            f"{len([n for n in above if n in wanted])} of them would have been wanted, and "
            f"{len([n for n in wanted if n not in above])} below it."
        )
    else:
        summary = (
            "A random twenty incidents. Nobody has looked at these series yet and said whether an analyst would have wanted "
            "to be told; verdicts belong into `benchmarks/verdicts.yaml`, and count only for what was said when they were "
            "given."
        )
    return ["## Would an analyst have wanted it?", "", summary, "",
            "| first reported | incident | what was said, at its peak | peak score | real? | wanted? | why |",
            "| --- | --- | --- | ---: | --- | --- | --- |", *rows, ""]  # fmt: skip


def main() -> None:
    with history_from_arguments(__doc__ or "") as (pipeline, judged, _):
        t = pipeline.tables
        shifts = t.shifts.read(judged)
        every = from_table(t.incidents.read(judged))
        last: dict[str, Incident] = {}
        for incident in every:
            last[incident.id] = incident
        rate = pipeline.catalog.ecosystem.detection.false_discovery_rate
        lines = [
            "# Two years of real data", "",
            f"Written by `python -m benchmarks.real_data` on the bundled sample, {judged[0]} to {judged[-1]}, at a false "
            f"discovery rate of {rate:.0%}. Charts show the observations, the expected value and the 95 % band of each day "
            "as they were on that day, and the onset.", "",
            *known_section(pipeline, shifts),
            *holes_section(pipeline, last, shifts),
            *yield_section(shifts, last, judged),
            *sample_section(pipeline, every, last),
        ]  # fmt: skip
        (DOCS / "real-data.md").write_text("\n".join(lines), encoding="utf-8")
        print(f"Wrote {DOCS / 'real-data.md'}.")


if __name__ == "__main__":
    main()
