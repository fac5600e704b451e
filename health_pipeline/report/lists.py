"""The review lists on the page: what to review first in each queue and why, what emerges, and how much violates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from health_pipeline.catalog.model import Catalog, Queue
from health_pipeline.charts_risk import Spent
from health_pipeline.incidents import wording
from health_pipeline.report.text import unbroken

CASES_SHOWN = 5
"""Of each queue; the others on the list can be unfolded."""
TRENDS_SHOWN = 5
EXAMPLES_SHOWN = 3

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ReviewTables:
    """The lists of a day, already loaded.

    Attributes:
        day: the day they are of.
        cases: rows of ``risks.schema.REVIEWS``.
        reasons: code of a reason -> what it says.
        kept_below: so many cases below the line are kept at most of each queue.
        bursts: rows of ``risks.schema.TRENDS``.
        prevalence: rows of ``risks.schema.PREVALENCE``.
        precision: rows of ``risks.schema.PRECISION``.
    """

    day: dt.date
    cases: Sequence[Row]
    reasons: Mapping[str, str]
    kept_below: int
    bursts: Sequence[Row]
    prevalence: Sequence[Row]
    precision: Sequence[Row] = ()


@dataclass(frozen=True)
class CaseView:
    """Attributes: ``look_at`` names contents as evidence, "" where the case is one itself or has none."""

    rank: int
    sentence: str
    reasons: str
    look_at: str
    explored: bool
    score: str
    interval: str
    minutes: str


@dataclass(frozen=True)
class QueueView:
    """One queue.

    Attributes:
        name, title: as declared, and as a heading.
        spent: its minutes.
        listed, explored: cases on the list, and how many of them to learn from.
        below: cases below the line, in words.
        cases: those on the list, by rank.
    """

    name: str
    title: str
    spent: Spent
    minutes: str
    listed: int
    explored: int
    below: str
    cases: Sequence[CaseView]


@dataclass(frozen=True)
class TrendView:
    what: str
    where: str
    creators: str
    expected: str
    since: str
    contents: str
    views: str
    violating: str
    clustered: str
    behind: str


@dataclass(frozen=True)
class PrevalenceView:
    where: str
    estimate: str
    interval: str
    draws: str
    effective: str


@dataclass(frozen=True)
class RightView:
    """How often something that raises cases was right.

    Attributes:
        known: labels, or verdicts, that it is known from.
    """

    name: str
    precision: str
    interval: str
    known: str


@dataclass(frozen=True)
class ReviewView:
    """Attributes: ``prevalence`` is of everything, then by market and by kind; ``policies`` by policy."""

    day: str
    queues: Sequence[QueueView]
    trends: Sequence[TrendView]
    more_trends: int
    total: str
    prevalence: Sequence[PrevalenceView]
    policies: Sequence[PrevalenceView]


def review_view(catalog: Catalog, tables: ReviewTables) -> ReviewView:
    """What the page says about the lists of a day.

    Raises:
        ValueError: the catalog declares no review.
    """
    if catalog.review is None:
        raise ValueError(f"the ecosystem {catalog.name!r} has no review.yaml")
    bursts = clearest(tables.bursts)
    split = {"all": list[PrevalenceView](), "policy": list[PrevalenceView]()}
    for row in tables.prevalence:
        cut = [name for name in ("market", "kind", "policy") if row[name]]
        if len(cut) <= 1:
            split["policy" if cut == ["policy"] else "all"].append(_prevalence(catalog, row))
    return ReviewView(
        day=wording.day(tables.day),
        queues=[_queue(queue, tables) for queue in catalog.review.queues],
        trends=[_trend(catalog, b) for b in bursts[:TRENDS_SHOWN]],
        more_trends=max(0, len(bursts) - TRENDS_SHOWN),
        total=unbroken(_total(tables.prevalence)),
        prevalence=split["all"],
        policies=split["policy"],
    )


def clearest(bursts: Iterable[Row]) -> list[Row]:
    """The clearest burst of each trend, by which it is named; the clearest trend first.

    Words of one caption burst together.
    """
    found: dict[str, Row] = {}
    for burst in sorted(bursts, key=lambda b: (b["p_value"], f"{b['kind']}: {b['value']}" != b["trend"])):
        found.setdefault(burst["trend"], burst)
    return list(found.values())


def _queue(queue: Queue, tables: ReviewTables) -> QueueView:
    own = sorted((r for r in tables.cases if r["queue"] == queue.name), key=lambda r: int(r["rank"]))
    listed = [r for r in own if r["selected"]]
    explored = sum(r["minutes"] for r in listed if r["explored"])
    minutes = sum(r["minutes"] for r in listed)
    below = len(own) - len(listed)
    return QueueView(
        name=queue.name,
        title=queue.name.capitalize(),
        spent=Spent(queue.name, minutes - explored, explored, queue.minutes_per_day),
        minutes=f"{minutes:,.0f} of {queue.minutes_per_day:,.0f}",
        listed=len(listed),
        explored=sum(bool(r["explored"]) for r in listed),
        below=f"{below:,} or more" if below >= tables.kept_below else f"{below:,}",
        cases=[_case(r, tables.reasons) for r in listed],
    )


def _case(row: Row, reasons: Mapping[str, str]) -> CaseView:
    said = "; ".join(reasons.get(code, code.replace("_", " ")) for code in row["reasons"])
    return CaseView(
        rank=row["rank"],
        sentence=unbroken(row["sentence"]),
        reasons=f"{said[:1].upper()}{said[1:]}." if said else "",
        look_at=", ".join(c for c in row["examples"] if c != row["subject"]),
        explored=bool(row["explored"]),
        score=_score(row["score"]),
        interval=f"{_score(row['score_low'])} to {_score(row['score_high'])}",
        minutes=f"{row['minutes']:,.0f}" if row["minutes"] == int(row["minutes"]) else f"{row['minutes']:,.1f}",
    )


def _score(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _trend(catalog: Catalog, burst: Row) -> TrendView:
    return TrendView(
        what=f"{burst['kind']} “{burst['value']}”",
        where=wording.unit(catalog, burst["market"]) if burst["market"] else "All markets",
        creators=f"{burst['count']:,}",
        expected=f"{burst['expected']:.1f}",
        since=f"{burst['burst_since'].day} {burst['burst_since']:%b %Y}",
        contents=f"{burst['contents']:,}",
        views=wording.number(burst["views"]),
        violating=wording.share(burst["violation_share"]),
        clustered=wording.share(burst["cluster_share"]),
        behind=behind(burst),
    )


def behind(burst: Row) -> str:
    """Contents that show a burst, and creators who made most of it: ``look at v1, v2; most by c1, c2``."""
    said = (("look at", burst["examples"]), ("most by", burst["creators"]))
    return "; ".join(f"{what} {', '.join(list(ids)[:EXAMPLES_SHOWN])}" for what, ids in said if ids)


def _prevalence(catalog: Catalog, row: Row) -> PrevalenceView:
    labels = {d.name: d for d in catalog.dimensions}
    cut = next((name for name in ("market", "kind", "policy") if row[name]), "")
    named = labels[cut].label(row[cut]) if cut in labels else str(row[cut] if cut else "All")
    return PrevalenceView(
        where=f"{named[:1].upper()}{named[1:]}",
        estimate=f"{100 * row['estimate']:.2f} %",
        interval=f"{100 * row['low']:.2f} to {100 * row['high']:.2f} %",
        draws=f"{row['draws']:,}",
        effective=f"{row['effective']:,.0f}",
    )


ACTORS = {"rule": "Rules", "model": "Models", "human": "People"}


def right_view(catalog: Catalog, precision: Sequence[Row], records: Sequence[Row]) -> dict[str, list[RightView]]:
    """Heading -> how often each was right, the least right first: who acted, rules and models, metrics.

    Args:
        precision: rows of ``risks.schema.PRECISION``, known from labels.
        records: rows of ``risks.schema.TRACK_RECORDS``, known from verdicts on incidents.
    """
    titles = {m.name: m.title for m in catalog.metrics}
    found = {
        "Who acted": [
            _right(ACTORS.get(str(r["name"]), str(r["name"])), r, r["labelled"]) for r in _least(precision, "actor")
        ],
        "Rules and models": [
            _right(f"{r['name']} ({r['subject']})", r, r["labelled"]) for r in _least(precision, "rule", "model")
        ],
        "Metrics": [
            _right(titles.get(str(r["metric"]), str(r["metric"])), r, r["judged"])
            for r in sorted(records, key=lambda r: float(r["precision"]))
        ],
    }  # fmt: skip
    return {heading: rows for heading, rows in found.items() if rows}


def _least(rows: Sequence[Row], *subjects: str) -> list[Row]:
    return sorted((r for r in rows if r["subject"] in subjects), key=lambda r: float(r["precision"]))


def _right(name: str, row: Row, known: int) -> RightView:
    interval = f"{100 * row['low']:.0f} to {100 * row['high']:.0f} %"
    return RightView(name, f"{100 * row['precision']:.0f} %", interval, f"{known:,}")


def _total(prevalence: Sequence[Row]) -> str:
    """The share over everything in a sentence, with what the uniform arm alone says; "" when it is not known."""
    row = next((r for r in prevalence if not (r["market"] or r["kind"] or r["policy"])), None)
    if row is None:
        return ""
    # Labels take days: the newest days are mostly not among the 28.
    said = (
        f"{100 * row['estimate']:.2f} % of views of the 28 days to {wording.day(row['until'] or row['day'])} were of "
        f"content that violates a policy (95 % CI {100 * row['low']:.2f} to {100 * row['high']:.2f} %), from "
        f"{row['draws']:,} labelled views, as telling as {row['effective']:,.0f} drawn with equal chances."
    )
    if row["uniform_estimate"] is None or not row["uniform_draws"]:
        return said
    alone = (
        f"{100 * row['uniform_estimate']:.2f} % ({100 * row['uniform_low']:.2f} to {100 * row['uniform_high']:.2f} %)"
    )
    verdict = "the two agree" if row["agrees"] else "the two disagree: look at the chances of the draws"
    return f"{said} The {row['uniform_draws']:,} views drawn uniformly say {alone} by themselves; {verdict}."
