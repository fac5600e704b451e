"""What the detector finds in two years of real data, and whether an analyst would have wanted it.

Run ``python -m benchmarks.real_data [--home FOLDER]`` (a minute or two); writes docs/real-data.md and its charts.
Verdicts on the random sample are a person's, kept in benchmarks/verdicts.yaml.
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

from benchmarks.history import history_from_arguments
from health_pipeline import charts
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.pipeline import Pipeline
from health_pipeline.risks.score import score
from health_pipeline.shifts.panel import build_panel
from health_pipeline.stats.panel import Scale

DOCS = Path(__file__).parent.parent / "docs"
VERDICTS = Path(__file__).parent / "verdicts.yaml"
MINORS = "platform=TikTok|category=STATEMENT_CATEGORY_PROTECTION_OF_MINORS"
SAMPLE = 20
SEED = 20251001


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


def first_report(shifts: pa.Table, known: Known, series: str) -> dict[str, Any] | None:
    """The first report of the shift: in the right direction, with an onset within ten days of what the eye sees."""
    rows = shifts.filter(pc.and_(pc.equal(shifts["series"], series), pc.equal(shifts["direction"], known.direction)))
    for row in rows.sort_by("day").to_pylist():
        if abs((row["onset"] - known.around).days) <= 10 and row["day"] >= row["onset"]:
            return row
    return None


def known_section(pipeline: Pipeline, shifts: pa.Table) -> list[str]:
    """A paragraph, a table and a chart for each shift that anyone can see."""
    lines = ["## What anyone can see", "",
             "One setting for all series; every judgement uses data up to its day only.", ""]  # fmt: skip
    for known in KNOWN:
        lines += [f"### {known.title}", "",
                  "| series | onset found (interval) | first reported | at the first report | two weeks later |",
                  "| --- | --- | --- | --- | --- |"]  # fmt: skip
        drawn = None
        for series in known.series:
            metric, segment = series.split("|", 1)
            name = wording.subject(pipeline.catalog, pipeline.catalog.metric(metric), segment)
            row = first_report(shifts, known, series)
            if row is None:
                lines.append(f"| {name} | not found | – | – | – |")
                continue
            drawn = drawn or (series, row)
            later = _later(shifts, series, row)
            lines.append(
                f"| {name} | {row['onset']} ({row['onset_low']} to {row['onset_high']}) | {row['day']} | {_effect(row)} | {_effect(later) if later else '–'} |"
            )
        lines.append("")
        if drawn is not None:
            series, row = drawn
            metric = pipeline.catalog.metric(series.split("|", 1)[0])
            first, last = (
                row["onset"] - dt.timedelta(days=60),
                min(row["onset"] + dt.timedelta(days=45), dt.date(2025, 9, 30)),
            )
            spec = charts.series_chart(
                observations(pipeline, series, first, last), format=charts.format_of(metric), title=known.title,
                unit=metric.unit, onset=row["onset"], onset_low=row["onset_low"], onset_high=row["onset_high"],
                tone="up" if known.direction == "up" else "down", width=800, height=260,
            )  # fmt: skip
            (DOCS / "img" / f"{known.picture}.png").write_bytes(charts.png(spec))
            lines += [f"![{known.title}](img/{known.picture}.png)", ""]
    return lines


def _later(shifts: pa.Table, series: str, row: dict[str, Any]) -> dict[str, Any] | None:
    rows = shifts.filter(pc.and_(pc.equal(shifts["series"], series), pc.equal(shifts["direction"], row["direction"])))
    near = [
        r
        for r in rows.to_pylist()
        if 10 <= (r["day"] - row["onset"]).days <= 21 and abs((r["onset"] - row["onset"]).days) <= 7
    ]
    return max(near, key=lambda r: r["day"]) if near else None


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
    hole = (dt.date(2024, 6, 4), dt.date(2024, 6, 19))
    inside = [
        r for r in shifts.filter(pc.equal(shifts["unit"], "TikTok")).to_pylist()
        if hole[0] <= r["day"] <= hole[1] and r["onset"] >= hole[0]
    ]  # fmt: skip
    later = shifts.filter(
        pc.and_(pc.equal(shifts["unit"], "TikTok"), pc.greater(shifts["day"], pa.scalar(dt.date(2025, 9, 4))))
    )
    judged = sorted({r["day"].isoformat() for r in inside})
    said = (
        f"{len(inside)} shifts, on the days that were delivered completely ({', '.join(judged)})"
        if inside
        else "no shift"
    )
    lines += ["", f"Reported about TikTok with an onset within 4-19 June 2024, on those days: {said}. "
              f"Reported after 4 September 2025, when its data end: {later.num_rows} shifts.", ""]  # fmt: skip
    return lines


def yield_section(shifts: pa.Table, last: dict[str, Incident], judged: list[dt.date]) -> list[str]:
    """Shifts and incidents per month."""
    months = sorted({d.strftime("%Y-%m") for d in judged})
    reports = Counter(d.strftime("%Y-%m") for d in shifts["day"].to_pylist())
    new = Counter(i.first_reported.strftime("%Y-%m") for i in last.values() if i.kind == "shift")
    data = Counter(i.first_reported.strftime("%Y-%m") for i in last.values() if i.kind == "data")
    total = sum(new.values())
    tested = int(np.median(shifts["tested"].to_numpy()))
    lines = [
        "## How much it reports", "",
        f"{len(judged)} judged days, about {tested:,} series a day: {shifts.num_rows:,} significant series-days, merged "
        f"into {total:,} incidents ({30.4 * total / len(judged):.0f} a month over 22 platforms) and {sum(data.values())} "
        "holes in the data.", "",
        "| month | significant series-days | new incidents | holes in the data |", "| --- | ---: | ---: | ---: |",
    ]  # fmt: skip
    return [*lines, *(f"| {m} | {reports[m]:,} | {new[m]} | {data[m]} |" for m in months), ""]


def sample_section(pipeline: Pipeline, every: list[Incident], last: dict[str, Incident]) -> list[str]:
    """A random twenty, each with its peak score and a person's verdict."""
    peak: dict[str, tuple[float, Incident]] = {}
    for incident in every:
        if incident.kind == "shift":
            value = score(pipeline.catalog, incident).value
            if incident.id not in peak or value > peak[incident.id][0]:
                peak[incident.id] = (value, incident)
    chosen = sorted(peak, key=lambda name: hashlib.sha256(f"{SEED} {name}".encode()).digest())[:SAMPLE]
    verdicts: dict[str, Any] = (YAML(typ="safe").load(VERDICTS) if VERDICTS.exists() else None) or {}
    rows, wanted, judged = [], 0, 0
    for name in sorted(chosen, key=lambda n: last[n].first_reported):
        value, incident = peak[name]
        verdict = verdicts.get(name, {})
        if verdict:
            judged += 1
            wanted += verdict["wanted"]
        answer = ("yes" if verdict["wanted"] else "no") + f": {verdict['why']}" if verdict else "not judged yet"
        rows.append(
            f"| {last[name].first_reported} | {wording.sentence(pipeline.catalog, incident)} | {value:.1f} | {answer} |"
        )
    above = [n for n in chosen if peak[n][0] >= pipeline.catalog.ecosystem.alerts.minimum_score]
    kept = sum(bool(verdicts.get(n, {}).get("wanted")) for n in above)
    summary = (
        f"Of a random twenty incidents, an analyst who looked at each series would have wanted {wanted} of {judged}. "
        f"{len(above)} of them score at least {pipeline.catalog.ecosystem.alerts.minimum_score:g}, the bar for a message; "
        f"{kept} of these were wanted."
    )
    return ["## Would an analyst have wanted it?", "", summary, "",
            "| first reported | what was said, at its peak | peak score | wanted? |", "| --- | --- | ---: | --- |", *rows, ""]  # fmt: skip


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
