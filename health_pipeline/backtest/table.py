"""What a backtest found as rows: a few lines that compare, and a file with every incident of a setting."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from health_pipeline.backtest.attention import Cost
from health_pipeline.backtest.compare import states
from health_pipeline.backtest.replay import Outcome, Reported
from health_pipeline.backtest.score import Finding
from health_pipeline.backtest.study import Study
from health_pipeline.incidents import wording

COLUMNS = (
    "incident", "kind", "title", "sentence", "unit", "metric", "segment", "first_reported", "message_on", "onset",
    "onset_low", "onset_high", "change", "change_low", "change_high", "shifts", "highest_score", "state",
    "last_reported", "other_incident", "other_first_reported", "verdict", "effect",
)  # fmt: skip
STATES = ("open", "recovered", "settled", "retracted", "merged")


@dataclass(frozen=True)
class Line:
    """One figure under both settings."""

    section: str
    what: str
    a: str
    b: str


def lines(study: Study) -> list[Line]:
    """The comparison in figures, section by section."""
    a, b = study.outcomes
    values = (a.setting.values, b.setting.values)
    found = [Line("setting", key, f"{values[0][key]:g}", f"{values[1][key]:g}") for key in values[0]]
    for section, rows in (
        ("reported", [_reported(study, o) for o in (a, b)]),
        ("attention", [_attention(study.costs[o.setting.name]) for o in (a, b)]),
        ("at the end", [_end(o) for o in (a, b)]),
        ("against the truth", [_truth(study, o) for o in (a, b)] if study.scores else []),
    ):
        if rows:
            found += [Line(section, what, rows[0][what], rows[1][what]) for what in rows[0]]
    return found


def _reported(study: Study, outcome: Outcome) -> dict[str, str]:
    cost = study.costs[outcome.setting.name]
    own = study.comparison.only_a if outcome is study.comparison.a else study.comparison.only_b
    shifts = sum(outcome.shifts.get(d, 0) for d in outcome.judged)
    return {
        "incidents": f"{cost.incidents:,}",
        "incidents a week": f"{cost.weekly(cost.incidents):.1f}",
        "of them holes in the data": f"{sum(r.kind == 'data' for r in outcome.incidents):,}",
        "reported by this setting only": f"{len(own):,}",
        "rows of shifts a day": f"{shifts / len(outcome.judged):,.1f}" if outcome.judged else "–",
    }


def _attention(cost: Cost) -> dict[str, str]:
    return {
        "messages": f"{cost.messages:,}",
        "messages a week": f"{cost.weekly(cost.messages):.1f}",
        "minutes a week": f"{cost.weekly(cost.minutes):,.1f}",
        "minutes of the median day": f"{cost.median:,.0f}",
        "minutes of the worst day": f"{cost.most:,.0f}",
    }


def _end(outcome: Outcome) -> dict[str, str]:
    counted = states(outcome)
    return {f"{state}": f"{counted[state]:,}" for state in STATES}


def _truth(study: Study, outcome: Outcome) -> dict[str, str]:
    score = study.scores[outcome.setting.name]
    cost = study.costs[outcome.setting.name]
    found = [f for f in score.findings if f.effect.wanted and f.incident is not None]
    return {
        "planted effects found": f"{score.found} of {score.planted}",
        "median delay, days": median([f.delay for f in found]),
        "median onset error, days": median([f.onset_error for f in found], sign=True),
        "precision": percent(score.precision),
        "precision, of a metric it should move": percent(score.metric_precision),
        "minutes a week on false ones": f"{cost.weekly(study.false_minutes(outcome.setting.name)):,.1f}",
    }


def median(values: Sequence[int | None], sign: bool = False) -> str:
    """The median of what is known, or a dash."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    middle = statistics.median(known)
    return f"{middle:+g}" if sign and middle else f"{middle:g}"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def later(days: int) -> str:
    """By how much B reports later than A: ``same day``, ``B 2 days later``."""
    if days == 0:
        return "same day"
    return f"{'B' if days > 0 else 'A'} {wording.count(abs(days), 'day')} later"


def finding(found: Finding) -> str:
    """What became of an effect: ``after 3 days, onset ±0``, ``missed``."""
    if found.incident is None:
        if found.inside is None:
            return "missed"
        return f"missed; among the shifts of another incident on {wording.day(found.inside)}"
    onset = f"{found.onset_error:+d}" if found.onset_error else "±0"
    return f"after {wording.count(found.delay or 0, 'day')}, onset {onset}"


def verdict(study: Study, setting: str, reported: Reported) -> tuple[str, str]:
    """``true``, ``harmless`` (of an effect with which nothing is wrong), ``false`` or ""; and the effect's title."""
    held = study.verdict(setting, reported)
    if held is None:
        return "", ""
    if held.effect is None:
        return "false", ""
    return ("true" if held.effect.wanted else "harmless"), held.effect.title


def incident_rows(study: Study, outcome: Outcome) -> list[dict[str, Any]]:
    """A row per incident first reported in the days that count; columns are :data:`COLUMNS`."""
    is_a = outcome is study.comparison.a
    pairs = {(s.a if is_a else s.b).id: (s.b if is_a else s.a) for s in study.comparison.shared}
    rows = []
    for reported in outcome.incidents:
        last, other = reported.last, pairs.get(reported.id)
        shift = last.kind == "shift"
        said, effect = verdict(study, outcome.setting.name, reported)
        rows.append({
            "incident": reported.id, "kind": last.kind, "title": wording.title(study.catalog, last),
            "sentence": wording.sentence(study.catalog, last), "unit": last.unit, "metric": last.metric,
            "segment": last.segment, "first_reported": reported.first.first_reported, "message_on": reported.told,
            "onset": last.onset, "onset_low": last.onset_low, "onset_high": last.onset_high,
            "change": round(last.change, 4) if shift else None,
            "change_low": round(last.change_low, 4) if shift else None,
            "change_high": round(last.change_high, 4) if shift else None,
            "shifts": max(len(r.members) for r in reported.rows), "highest_score": round(reported.score, 3),
            "state": last.state, "last_reported": last.last_reported, "other_incident": other.id if other else None,
            "other_first_reported": other.first.first_reported if other else None, "verdict": said, "effect": effect,
        })  # fmt: skip
    return rows


def write_incidents(study: Study, folder: Path) -> list[Path]:
    """``incidents-A.csv`` and ``incidents-B.csv``, a row per incident."""
    paths = []
    for outcome in study.outcomes:
        path = folder / f"incidents-{outcome.setting.name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(incident_rows(study, outcome))
        paths.append(path)
    return paths
