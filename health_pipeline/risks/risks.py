"""The prioritised list of a day: open incidents, with every term of the score, reasons, evidence and verdicts."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.incidents.weight import LARGEST_DOUBLINGS
from health_pipeline.risks.schema import RISKS
from health_pipeline.risks.score import Score, rank
from health_pipeline.risks.verdicts import ANSWERED, Judged, Said, TrackRecord, Verdicts, none_given, track_records
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import LakeTable

LARGE, MANY, WIDE = 2.0, 3.0, 5
"""A fourfold change, a thousand things a day, so many segments: what is given as a reason."""
SURE, UNSURE = 0.8, 0.5


def risk_rows(catalog: Catalog, day: dt.date, incidents: Sequence[Incident], said: Said | None = None) -> pa.Table:
    """One row per open incident of kind ``shift``, ranked; what people have answered comes last.

    Args:
        said: verdicts known; without, nobody has judged anything.
    """
    known = said or Said.of(catalog, ())
    found: list[dict[str, Any]] = []
    for incident, score in rank(catalog, incidents):
        told, verdict = known.track_record(incident.metric), known.verdict_on(incident)
        reasons = _reasons(catalog, incident, score, told, verdict)
        found.append(
            {
                "day": day, "incident": incident.id, "score": score.value * told.record, "size": score.size,
                "exposure": score.exposure, "confidence": score.confidence, "harm": score.harm,
                "record": told.record, "precision": told.precision, "judged": told.judged,
                "verdict": verdict.verdict if verdict else None,
                "answered": verdict is not None and verdict.verdict in ANSWERED,
                "title": wording.title(catalog, incident), "sentence": wording.sentence(catalog, incident),
                "reasons": list(reasons), "why": _sentence(reasons.values()), "evidence": _evidence(catalog, incident),
            }
        )  # fmt: skip
    found.sort(key=lambda row: (row["answered"], -row["score"], row["incident"]))
    return pa.Table.from_pylist([row | {"rank": place} for place, row in enumerate(found, start=1)], schema=RISKS)


def _reasons(
    catalog: Catalog, incident: Incident, score: Score, told: TrackRecord, verdict: Judged | None
) -> dict[str, str]:
    """Code -> words, of what makes the score what it is; what people said comes first."""
    said = {}
    if verdict is not None:
        what = verdict.verdict.replace("_", " ")
        said[f"judged_{verdict.verdict}"] = f"judged {what} on {wording.day(verdict.at.date())}"
    if incident.state == "worsening":
        said["worsening"] = "it has grown since it was first told"
    if score.size >= LARGE:
        factor = "32 or more" if score.size >= LARGEST_DOUBLINGS else f"{2**score.size:.1f}"
        said["large_change"] = f"a change by a factor of {factor}"
    if score.exposure >= MANY:
        said["many_things"] = f"{wording.number(10**score.exposure - 1)} things a day beyond expectation"
    if score.confidence >= SURE:
        said["sure"] = "nearly as large at the cautious end of its interval"
    elif score.confidence < UNSURE:
        said["unsure"] = "much smaller at the cautious end of its interval"
    if score.harm == 1.0 and catalog.metric(incident.metric).bad != "both":
        said["harmful"] = "in the harmful direction"
    if incident.reach.segments >= WIDE:
        said["wide"] = f"{wording.spread(catalog, incident)} moved with it"
    if incident.suspects:
        said["may_be_data"] = "it may be the data"
    if told.judged:
        false = wording.count(told.judged - told.right, "false alarm")
        said["track_record"] = f"{false} among {wording.count(told.judged, 'incident')} of this metric judged so far"
    return said


def _sentence(parts: Iterable[str]) -> str:
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _evidence(catalog: Catalog, incident: Incident) -> list[str]:
    """What the list's reader can check: where it comes from, how far it reaches, what speaks for the data as cause."""
    reach = wording.reach(catalog, incident)
    events = [f"Coincident, not causal: {event}." for event in incident.events]
    return [
        *wording.explanation(catalog, incident), *([f"{reach}."] if reach else []),
        *(suspect.sentence for suspect in incident.suspects), *events,
    ]  # fmt: skip


def derivation(
    catalog: Catalog,
    incidents: LakeTable,
    risks: LakeTable,
    records: LakeTable,
    verdicts: Verdicts = none_given,
) -> Derivation:
    """Each day's list follows from the day's incidents, and from the verdicts given by its end.

    The newest day's follows from all verdicts so far: it is what people work by, and what is answered is answered.
    """

    def known(day: dt.date) -> Sequence[Judged]:
        following = day + dt.timedelta(days=1)
        # Most days are followed by another: to list all of them for each would cost the square of a history.
        if incidents.partition(following) is None and day == max(incidents.days(), default=None):
            return verdicts(None)
        return verdicts(dt.datetime.combine(following, dt.time(), dt.UTC))

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for day in days:
            said = Said.of(catalog, known(day))
            yield day, [risk_rows(catalog, day, from_table(incidents.read([day])), said), track_records(said, day)]

    def extra(day: dt.date) -> str:
        judged = sorted((j.incident, j.metric, j.verdict, j.at.isoformat()) for j in known(day))
        return hashlib.sha256(repr(judged).encode()).hexdigest() if judged else ""

    rate = catalog.ecosystem.detection.false_discovery_rate
    version = f"risks-3-{rate}-{catalog.version(catalog.metrics, catalog.dimensions)}"
    return Derivation([risks, records], lambda day: [(incidents, [day])], version, compute, extra)
