"""Judged mornings of a twin: the program's cases as they were made then, what rivals rank by, and the truth beside them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.risk_ranking.truth import AFTER, GROUPS, START, Truth, moved
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.marketplace.effects import Ring
from health_pipeline.marketplace.parameters import SEVERITIES
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks import clusters, review
from health_pipeline.risks.columns import numbers
from health_pipeline.risks.evidence import Evidence, of_files
from health_pipeline.stats.arrays import Array

DAYS, CREATORS = 90, 1_000
MORNINGS = (-16, -15, -13, -10, -7, -4)
"""Judged days, counted from the scenario's end: from the first day of the rings to their last but one."""
KNOWN = """
WITH decided AS (
    SELECT creator_id, count(*) FILTER (violation) AS violations FROM (
        SELECT content_id, any_value(creator_id) AS creator_id, arg_max(violation, decided_at) AS violation FROM labels
        WHERE content_id IS NOT NULL GROUP BY content_id
    ) GROUP BY creator_id
), seen AS (
    SELECT creator_id, sum(views) AS views FROM traffic JOIN contents USING (content_id)
    WHERE hour >= {now} - INTERVAL 28 DAY GROUP BY creator_id
), lately AS (
    SELECT creator_id, sum(views) AS views FROM traffic JOIN contents USING (content_id)
    WHERE hour >= {now} - INTERVAL 7 DAY GROUP BY creator_id
), filed AS (
    SELECT creator_id, count(*) AS reports FROM reports WHERE filed_at >= {now} - INTERVAL 28 DAY GROUP BY creator_id
)
SELECT creator_id, count(*) AS posts, coalesce(any_value(violations), 0) AS violations,
    coalesce(any_value(seen.views), 0) AS views_28d, coalesce(any_value(lately.views), 0) AS views_7d,
    coalesce(any_value(reports), 0) AS reports, epoch(max(published_at)) AS newest
FROM contents LEFT JOIN decided USING (creator_id) LEFT JOIN seen USING (creator_id) LEFT JOIN lately USING (creator_id)
LEFT JOIN filed USING (creator_id) GROUP BY creator_id
"""
TERMS = (
    "probability", "exposure", "severity", "repeat", "velocity", "minutes", "harm", "score_low", "score_high",
    "probability_low", "probability_high",
)  # fmt: skip


@dataclass
class Morning:
    """What is known, and what is true, at the end of a day; N creators by number.

    Attributes:
        columns: (N,) each: terms of the cases, what the rivals rank by, truth; violations per post as they are
            expected, as they are usual for the like, and posts of the horizon with those of them that violate.
        later, alive: (N, severities) true expected violating views of posts to come, and of undecided contents.
        forecast: as ``later``, with propensities as perfect labels of the past would tell them.
        explored: (N,) whether the list as it is made, with exploration, has the creator.
        covered: (N,) whether listed clusters or creators have the creator.
        contents: columns of the undecided contents.
        clusters: (G,) each: terms of the clusters' cases.
        cluster: (N,) which of these a creator belongs to; -1 for none.
        seconds: CPU seconds for clusters, estimates and lists.
    """

    columns: dict[str, Array]
    later: Array
    alive: Array
    forecast: Array
    explored: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    contents: dict[str, Array]
    clusters: dict[str, Array]
    cluster: NDArray[np.int64]
    seconds: float


@dataclass
class Trial:
    """One twin.

    Attributes:
        through: (severities, 2) real and expected views of all violating contents: what moderation lets through.
        ring: (N,) members of a planted ring.
        since: days from the ring's first day to each morning.
    """

    scenario: str
    seed: int
    weight: Array
    dollars: float
    through: Array
    ring: NDArray[np.bool_]
    since: list[int]
    mornings: list[Morning] = field(default_factory=list)


def morning(e: Evidence, truth: Truth, weight: Array) -> Morning:
    """One morning's cases, orders and truth."""
    day, n, horizon = (e.day - START).days, len(truth.creators), e.review.horizon_days
    started = time.process_time()
    members = clusters.clusters(e)
    made = review.estimate(e, members)
    listed = review.lists(e, members, None, made)
    seconds = time.process_time() - started
    nobody, explore = members.slice(0, 0), e.review
    with_exploration = _of(review.lists(e, nobody, None, made), "creators")
    e.review = explore.model_copy(update={"explore": 0.0})
    cases = _of(review.lists(e, nobody, None, made), "creators")
    e.review = explore
    columns = {name: _by_creator(cases, "subject", name, n) for name in TERMS}
    columns["listed"] = _marked(cases.filter(cases["selected"])["subject"], n).astype(float)
    waves = cases.filter(["wave" in reasons for reasons in cases["reasons"].to_pylist()])
    columns["wave"] = _marked(waves["subject"], n).astype(float)
    known = e.query(KNOWN.format(now=f"TIMESTAMP '{e.now}'"))
    for name in known.schema.names[1:]:
        columns[name] = _by_creator(known, "creator_id", name, n)
    views, later = truth.later(day, horizon, truth.creators.propensity)
    columns |= {"true views": views} | truth.realised(day, horizon, weight) | truth.posted(day, horizon)
    per_post = e.query("SELECT creator_id, least(shape / rate, 1) AS rate, cohort_mean FROM c", c=made.creators)
    columns["rate"] = _by_creator(per_post, "creator_id", "rate", n)
    columns["usual rate"] = _by_creator(per_post, "creator_id", "cohort_mean", n)
    contents, alive = _contents(e, made, truth, day, weight)
    return Morning(
        columns, later, alive, truth.later(day, horizon, truth.past(day, e.review.memory_days))[1],
        _marked(with_exploration.filter(with_exploration["selected"])["subject"], n), _covered(listed, members, n),
        contents, *_clusters(e, _of(listed, "clusters"), members, made, n), seconds,
    )  # fmt: skip


def _clusters(
    e: Evidence, cases: pa.Table, members: pa.Table, made: review.Estimates, n: int
) -> tuple[dict[str, Array], NDArray[np.int64]]:  # fmt: skip
    """Terms of the clusters' cases, and the case of each creator: of several the one they share most with."""
    columns = {name: numbers(cases, name) for name in TERMS} | {"listed": numbers(cases, "selected")}
    rows = e.query(
        """
        SELECT cluster, creator_id FROM m SEMI JOIN c USING (creator_id)
        QUALIFY row_number() OVER (PARTITION BY creator_id ORDER BY share DESC, score DESC, cluster) = 1
        """,
        m=members, c=made.creators,
    )  # fmt: skip
    place = {name: i for i, name in enumerate(cases["subject"].to_pylist())}
    found = np.full(n, -1, np.int64)
    found[_numbers(rows["creator_id"])] = [place.get(name, -1) for name in rows["cluster"].to_pylist()]
    return columns, found


def _of(listed: pa.Table, queue: str) -> pa.Table:
    return listed.filter(pc.equal(listed["queue"], queue))


def _numbers(ids: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.array([int(name[1:]) for name in ids.to_pylist()], np.int64)


def _by_creator(rows: pa.Table, key: str, name: str, n: int) -> Array:
    found = np.zeros(n)
    found[_numbers(rows[key])] = numbers(rows, name)
    return found


def _marked(ids: pa.ChunkedArray, n: int) -> NDArray[np.bool_]:
    found = np.zeros(n, bool)
    found[_numbers(ids)] = True
    return found


def _covered(listed: pa.Table, members: pa.Table, n: int) -> NDArray[np.bool_]:
    chosen = listed.filter(listed["selected"])
    inside = pc.is_in(members["cluster"], value_set=_of(chosen, "clusters")["subject"].combine_chunks())
    return _marked(_of(chosen, "creators")["subject"], n) | _marked(members.filter(inside)["creator_id"], n)


def _contents(
    e: Evidence, made: review.Estimates, truth: Truth, day: int, weight: Array
) -> tuple[dict[str, Array], Array]:  # fmt: skip
    """Undecided contents with the program's terms, what rivals rank by, and the truth; and the latter by creator."""
    rows = e.query(
        """
        SELECT p.content_id, p.creator_id, probability, prior_probability, p.severity, reports, model_score, epoch(published_at) AS newest,
            views, views_to_come, velocity, coalesce(c.violations_90d, 0) AS violations
        FROM p JOIN x USING (content_id) LEFT JOIN c USING (creator_id) ORDER BY p.content_id
        """,
        p=made.contents, x=made.content_exposure, c=made.creators,
    )  # fmt: skip
    columns = {name: np.nan_to_num(numbers(rows, name)) for name in rows.schema.names[2:]}
    state, ids = truth.undecided(day), rows["content_id"].to_pylist()
    for name, of in state.items():
        columns[name] = np.array([weight[of[i][0]] * of[i][1] if i in of else 0.0 for i in ids])
    columns["bad"] = np.array([float(i in state["real"]) for i in ids])
    alive = np.zeros((len(truth.creators), GROUPS))
    for i, creator in zip(ids, _numbers(rows["creator_id"]), strict=True):
        if i in state["expected"]:
            severity, views = state["expected"][i]
            alive[creator, severity] += views
    return columns, alive


def trial(
    folder: Path, scenario: str, seed: int, *, creators: int = CREATORS, days: int = DAYS,
    judged: Sequence[int] = MORNINGS,
) -> Trial:  # fmt: skip
    """Simulate a twin into ``folder`` and judge its mornings."""
    planted, catalog = moved(load_scenario(scenario)), load_catalog("marketplace")
    assert catalog.review is not None
    simulate(folder, planted, creators=creators, days=days, start=START, seed=seed)
    truth = Truth(folder, planted, seed, creators, days)
    weight = np.array([catalog.review.severity[s] for s in SEVERITIES])
    rings = [n for n, e in enumerate(planted.effects) if isinstance(e, Ring)]
    first = min((planted.effects[n].when.days(days)[0] for n in rings), default=0)
    at = [days - AFTER + offset for offset in judged]
    made = Trial(
        scenario, seed, weight, catalog.review.harm_per_dollar, truth.through(),
        np.isin(truth.creators.cluster, rings), [day - first for day in at],
    )  # fmt: skip
    for e in of_files(catalog, folder, [START + dt.timedelta(days=day) for day in at]):
        made.mornings.append(morning(e, truth, weight))
    return made
