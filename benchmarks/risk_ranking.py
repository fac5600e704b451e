"""Harm that the order of review averts, on twins with known truth: ``python -m benchmarks.risk_ranking`` (half an hour).

Every judged morning, creators are ranked with what was known by then, by the program, by the orders that people use, and
by oracles who know what the simulator knows. Each order spends the same minutes on the same cases. What a listed
creator's undecided contents, and those they publish within the horizon, do to viewers later is the harm averted.
``--quick``: one seed, printed only. ``--keep FOLDER``: finished twins are kept there and not done again, also when the
program has changed. Writes its parts of docs/risk-ranking.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import pickle
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from benchmarks.figures import DOCS, machine, table
from benchmarks.page import write_part
from benchmarks.speed import peak
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Queue
from health_pipeline.marketplace.calendar import DAY, day_factors, midnight
from health_pipeline.marketplace.contents import POOR, policy_rates
from health_pipeline.marketplace.effects import Ring, Violations, Volume, When
from health_pipeline.marketplace.parameters import (
    CATEGORIES,
    DEFAULT,
    KINDS,
    LIVE,
    MARKETS,
    POLICIES,
    POLICY_SEVERITY,
    SEVERITIES,
)
from health_pipeline.marketplace.scenario import Active, Scenario, load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.marketplace.world import create
from health_pipeline.risks import clusters, review
from health_pipeline.risks.columns import numbers
from health_pipeline.risks.evidence import Evidence, of_files
from health_pipeline.stats.arrays import Array

STUDY = "benchmarks.risk_ranking"
SCENARIOS = ("counterfeit_wave", "off_platform_ring", "everything")
SEEDS = tuple(range(1, 11))
LOOKED_AT = (1, 2)
"""Seeds that were looked at while the program was being improved."""
START, DAYS, CREATORS, LARGE = dt.date(2026, 7, 1), 90, 1_000, 20_000
AFTER = 14
"""Days simulated beyond a scenario's own end, so that what is published in the horizon after a morning is seen through."""
MORNINGS = (-16, -15, -13, -10, -7, -4)
"""Judged days, counted from the scenario's end: from the first day of the rings to their last but one."""
RATE_VIEWS, COUNT_VIEWS = "raw rate × views", "raw count × views"
RIVALS = ("raw count", "raw rate", "Wilson lower bound", "most reported", "most viewed", "newest first")
STRONGER = (COUNT_VIEWS, RATE_VIEWS, "Wilson lower bound × views")
MODEL, ORACLE, CLAIRVOYANT, FORECAST = "the program", "oracle", "clairvoyant", "perfect past"
AIM = 0.92
FIRST = 10
"""Cases of which the precision is told."""
GROUPS = len(SEVERITIES)
SEVERITY_OF = np.array(POLICY_SEVERITY)
INSIDE = 0.02 + DEFAULT.repeaters
"""Share of creators who break rules again and again, with those who came back after a ban."""


@dataclass
class Morning:
    """What is known, and what is true, at the end of a day; N creators by number.

    Attributes:
        columns: (N,) each: terms of the cases, what the rivals rank by, truth.
        later, alive: (N, severities) true expected violating views of posts to come, and of undecided contents.
        forecast: as ``later``, with propensities as perfect labels of the past would tell them.
        explored: (N,) whether the list as it is made, with exploration, has the creator.
        covered: (N,) whether listed clusters or creators have the creator.
        contents: columns of the undecided contents.
        seconds: CPU seconds for clusters, estimates and lists.
    """

    columns: dict[str, Array]
    later: Array
    alive: Array
    forecast: Array
    explored: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    contents: dict[str, Array]
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


def moved(scenario: Scenario, days: int = AFTER) -> Scenario:
    """The scenario, ended so many days before the end of the period; what lasts to the end still does."""

    def earlier(when: When) -> When:
        start, end = (d - days if d is not None and d < 0 else d for d in (when.start, when.end))
        return when.model_copy(update={"start": start, "end": end})

    effects = tuple(e.model_copy(update={"when": earlier(e.when)}) for e in scenario.effects)
    return scenario.model_copy(update={"effects": effects})


class Truth:
    """What the simulator knows of a twin. Days are counted from its first."""

    def __init__(self, folder: Path, scenario: Scenario, seed: int, creators: int, days: int) -> None:
        self.folder, self.days = folder, days
        self.active = Active(scenario, days)
        self.first = midnight(START) // DAY
        world = create(DEFAULT, self.active, seed, creators, self.first, days, DEFAULT.warm_up_days)
        self.creators = world.creators
        self.database = duckdb.connect(config={"threads": 1})
        self.database.execute(
            f"""
            CREATE TABLE made AS SELECT g.*, date_diff('day', DATE '{START}', day) AS d,
                CAST(substr(creator_id, 2) AS INT) AS creator, c.decided_at
            FROM '{folder}/ground_truth/contents.parquet' g LEFT JOIN (
                SELECT content_id, min(CAST(ingested_at AS TIMESTAMP)) AS decided_at FROM '{folder}/decisions/*.parquet'
                WHERE content_id IS NOT NULL GROUP BY content_id
            ) c USING (content_id);
            CREATE TABLE shown AS SELECT content_id, date_diff('day', DATE '{START}', CAST(hour AS DATE)) AS d,
                sum(views) AS views
            FROM (
                SELECT content_id, CAST(hour AS TIMESTAMP) AS hour, surface, arg_max(views, ingested_at) AS views
                FROM '{folder}/content_stats/*.parquet' GROUP BY ALL
            ) GROUP BY ALL
            """
        )

    def through(self) -> Array:
        """(severities, 2) real and expected views of violating contents whose life is over."""
        rows = self.database.execute(
            f"""
            SELECT policy, sum(views), sum(expected_views) FROM made JOIN (
                SELECT content_id, sum(views) AS views FROM shown GROUP BY content_id
            ) USING (content_id) WHERE policy IS NOT NULL AND d < {self.days - DEFAULT.life_days - 2} GROUP BY policy
            """
        ).fetchall()
        found = np.zeros((GROUPS, 2))
        for policy, real, expected in rows:
            found[POLICY_SEVERITY[POLICIES.index(policy)]] += (real, expected)
        return found

    def realised(self, day: int, horizon: int, weight: Array) -> dict[str, Array]:
        """(N,) each: harm that undecided contents, and those of the horizon, did later; and how many of them violated."""
        now = START + dt.timedelta(days=day + 1)
        rows = self.database.execute(
            f"""
            SELECT creator, policy, sum(coalesce(views, 0)) AS views, count(*) AS contents
            FROM made LEFT JOIN (SELECT content_id, sum(views) AS views FROM shown WHERE d > {day} GROUP BY content_id)
                USING (content_id)
            WHERE policy IS NOT NULL AND views > 0 AND d <= {day + horizon} AND (d > {day} OR (
                d > {day - DEFAULT.life_days} AND (decided_at IS NULL OR decided_at >= TIMESTAMP '{now}')))
            GROUP BY ALL
            """
        ).fetchall()
        harm, bad = np.zeros(len(self.creators)), np.zeros(len(self.creators))
        for creator, policy, views, contents in rows:
            harm[creator] += views * weight[POLICY_SEVERITY[POLICIES.index(policy)]]
            bad[creator] += contents
        return {"real": harm, "bad later": bad}

    def posting(self, day: int) -> tuple[Array, NDArray[np.bool_]]:
        """(N,) whether creators may still post at the end of a day; and which of them are restricted."""
        rows = self.database.execute(
            f"SELECT CAST(substr(creator_id, 2) AS INT), status FROM '{self.folder}/creators/*.parquet' "
            f"WHERE day = DATE '{START + dt.timedelta(days=day)}' AND status IN ('active', 'restricted')"
        ).fetchall()
        there, restricted = np.zeros(len(self.creators)), np.zeros(len(self.creators), bool)
        for creator, status in rows:
            there[creator], restricted[creator] = 1.0, status == "restricted"
        return there, restricted

    def later(self, day: int, horizon: int, propensity: Array) -> tuple[Array, Array]:
        """(N,) expected views of posts of the horizon, and (N, severities) of these, views of those that violate.

        From the simulator's own rates and audiences and what is planted on the day: nobody can know what begins or ends
        later. Left out: who will leave, be banned or take a course; a restriction holds for three more days.
        """
        p, c, n = DEFAULT, self.creators, len(self.creators)
        own = np.array(p.category_shares) / sum(p.category_shares) * (1 - p.own_category)
        usual_mix = np.tile(own, (n, 1))
        usual_mix[np.arange(n), c.category] += p.own_category
        there, restricted = self.posting(day)
        quality = 0.55 + 0.7 * np.where(
            np.isin(np.arange(len(POLICIES)), POOR), 0.175, (0.75 * c.quality + 0.15)[:, None]
        )
        base, live = policy_rates(p), np.array(p.live_share)[c.tier]
        views, bad = np.zeros(n), np.zeros((n, GROUPS))
        for then in range(day + 1, day + 1 + horizon):
            rate = c.posts * day_factors(_date(self.first + then)).posts[c.market] * there
            rate *= np.where(restricted & (then <= day + 3), 0.3, 1.0)
            rate *= self.active.factor(Volume, "posts", then, n, market=c.market, category=c.category, tier=c.tier)
            mix, rings = usual_mix, []
            for number, effect in self.active.on(Ring, day):
                member = c.cluster == number
                rate, mix = np.where(member, effect.posts * there, rate), mix.copy()
                mix[member] = np.eye(len(CATEGORIES))[c.category[member]]
                rings.append((member, POLICIES.index(effect.policy)))
            size = np.array(p.tier_views)[c.tier] * c.audience * self._shown(then)
            views += rate * size * (0.55 + 0.7 * (0.75 * c.quality + 0.15))
            for kind, share in enumerate((1 - live, live)):
                chance = base[c.market][:, :, kind, :] * propensity[:, None, None]
                for _, effect in self.active.on(Violations, day):
                    _spread(chance, effect, kind, c.market, rate * share, mix)
                chance *= np.minimum(1.0, 0.9 / np.maximum(chance.sum(axis=2, keepdims=True), 1e-12))
                by_policy = np.einsum("ncp,nc->np", chance, mix)
                for member, policy in rings:
                    by_policy[member] *= 0.05
                    by_policy[member, policy] += 0.95
                seen = (rate * share * size)[:, None] * by_policy * quality
                for group in range(GROUPS):
                    bad[:, group] += seen[:, group == SEVERITY_OF].sum(axis=1)
        return views, bad

    def _shown(self, day: int) -> Array:
        """(N,) factor on the views of a video published on a day, over its life; livestreams are treated alike."""
        c, total = self.creators, np.zeros(len(self.creators))
        for age, share in enumerate(DEFAULT.views_by_age):
            factor = day_factors(_date(self.first + day + age)).views[c.market]
            total += share * factor * self.active.factor(Volume, "views", day + age, len(c), market=c.market)
        return total

    def past(self, day: int, memory: int) -> Array:
        """(N,) mean of each propensity, given which contents of the memory violated, all true rates, and the true prior.

        Contents within planted waves and rings say nothing of a propensity and are left out.
        """
        p, c = DEFAULT, self.creators
        rows = self.database.execute(
            f"SELECT creator, d, market, category, kind, policy IS NOT NULL AS bad, cluster IS NOT NULL AS ring FROM made "
            f"WHERE d <= {day} AND d > {day - memory}"
        ).fetchnumpy()
        usual = policy_rates(p).sum(axis=-1)
        at = [np.searchsorted(names, rows[k], sorter=np.argsort(names)) for k, names in _NAMES.items()]
        code = {k: np.argsort(names)[a] for (k, names), a in zip(_NAMES.items(), at, strict=True)}
        use = ~np.asarray(rows["ring"], bool)
        for effect in self.active.scenario.effects:
            if isinstance(effect, Violations):
                first, last = effect.when.days(self.days)
                use &= ~(effect.where.mask(len(use), **code) & (rows["d"] >= first) & (rows["d"] <= last))
        bad = np.bincount(rows["creator"], use * rows["bad"], len(c))
        expected = np.bincount(rows["creator"], use * usual[code["market"], code["category"], code["kind"]], len(c))
        rng = np.random.default_rng(0)
        a, b = p.propensity
        drawn = rng.beta(a, b, 4_000) * (a + b) / a
        repeats = rng.random(len(drawn)) < INSIDE
        drawn[repeats] = np.maximum(drawn[repeats], p.repeater_factor * rng.uniform(0.6, 1.4, repeats.sum()))
        drawn /= 1 + p.repeaters * (p.repeater_factor - 1)
        found = np.zeros(len(c))
        for tier, factor in enumerate(p.tier_propensity):
            who = np.flatnonzero(c.tier == tier)
            log = np.multiply.outer(bad[who], np.log(factor * drawn + 1e-12)) - np.multiply.outer(
                expected[who], factor * drawn
            )
            weight = np.exp(log - log.max(axis=1, keepdims=True))
            found[who] = weight @ drawn * factor / weight.sum(axis=1)
        return found

    def undecided(self, day: int) -> dict[str, dict[str, tuple[int, float]]]:
        """Of undecided contents that violate: severity and true expected views to come; and real later views of all."""
        left = np.append(np.cumsum(DEFAULT.views_by_age[::-1])[::-1], 0.0)
        rows = self.database.execute(
            f"""
            SELECT content_id, policy, kind, {day} - d AS age, expected_views, coalesce(views, 0) AS views FROM made
            LEFT JOIN (SELECT content_id, sum(views) AS views FROM shown WHERE d > {day} GROUP BY content_id)
                USING (content_id)
            WHERE policy IS NOT NULL AND d <= {day} AND d > {day - DEFAULT.life_days}
            """
        ).fetchall()
        expected, real = {}, {}
        for content, policy, kind, age, views, came in rows:
            severity = POLICY_SEVERITY[POLICIES.index(policy)]
            expected[content] = (severity, 0.0 if kind == KINDS[LIVE] else views * float(left[age + 1]))
            real[content] = (severity, float(came))
        return {"expected": expected, "real": real}


_NAMES = {"market": np.array(MARKETS), "category": np.array(CATEGORIES), "kind": np.array(KINDS)}


def _date(day: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(day))


def _spread(chance: Array, wave: Violations, kind: int, market: Array, posts: Array, mix: Array) -> None:
    """Raise (N, categories, policies) chances by a wave: by the same for all within, as the simulator does."""
    if wave.where.kind and KINDS[kind] not in wave.where.kind:
        return
    inside = np.flatnonzero(wave.where.mask(len(market), market=market))
    for name in wave.policies:
        policy = POLICIES.index(name)
        for category in range(len(CATEGORIES)):
            weight = posts[inside] * mix[inside, category]
            if (not wave.where.category or CATEGORIES[category] in wave.where.category) and weight.sum() > 0:
                usual = float(np.average(chance[inside, category, policy], weights=weight))
                chance[inside, category, policy] += (wave.multiplier - 1) * usual


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
TERMS = ("probability", "exposure", "severity", "repeat", "velocity", "minutes", "harm")


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
    known = e.query(KNOWN.format(now=f"TIMESTAMP '{e.now}'"))
    for name in known.schema.names[1:]:
        columns[name] = _by_creator(known, "creator_id", name, n)
    views, later = truth.later(day, horizon, truth.creators.propensity)
    columns |= {"true views": views} | truth.realised(day, horizon, weight)
    contents, alive = _contents(e, made, truth, day, weight)
    return Morning(
        columns, later, alive, truth.later(day, horizon, truth.past(day, e.review.memory_days))[1],
        _marked(with_exploration.filter(with_exploration["selected"])["subject"], n), _covered(listed, members, n),
        contents, seconds,
    )  # fmt: skip


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
        SELECT p.content_id, p.creator_id, probability, p.severity, reports, model_score, epoch(published_at) AS newest,
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


def passing(trials: Sequence[Trial]) -> Array:
    """(severities,) share of violating contents' expected views that moderation lets through."""
    total = np.sum([t.through for t in trials], axis=0)
    return np.asarray(total[:, 0] / total[:, 1])


def orders(m: Morning, harm: Array) -> dict[str, Array]:
    """(N,) values by which each order ranks creators: the highest first.

    Args:
        harm: (severities,) harm of an expected violating view.
    """
    c = m.columns
    minutes = np.maximum(c["minutes"], 1.0)
    rate = c["violations"] / np.maximum(c["posts"], 1.0)
    plain = c["probability"] * c["exposure"] * c["severity"]
    true_chance = _over((m.later + m.alive).sum(axis=1), c["true views"])
    true_severity = _over((m.later + m.alive) @ harm, (m.later + m.alive).sum(axis=1))
    wilson = lower_bound(c["violations"], c["posts"])
    return {
        MODEL: c["harm"] / minutes,
        "without repeat and velocity": plain / minutes,
        "without repeat": plain * (1 + c["velocity"]) / minutes,
        "without velocity": plain * (1 + c["repeat"]) / minutes,
        "raw count": c["violations"],
        "raw rate": rate,
        "Wilson lower bound": wilson,
        "most reported": c["reports"],
        "most viewed": c["views_7d"],
        "newest first": c["newest"],
        COUNT_VIEWS: c["violations"] * c["views_7d"] / minutes,
        RATE_VIEWS: rate * c["views_28d"] / minutes,
        "Wilson lower bound × views": wilson * c["views_28d"] / minutes,
        "true probability": true_chance * c["exposure"] * c["severity"] / minutes,
        "true views": c["probability"] * c["true views"] * c["severity"] / minutes,
        "true severity": c["probability"] * c["exposure"] * true_severity / minutes,
        FORECAST: (m.forecast + m.alive) @ harm / minutes,
        ORACLE: (m.later + m.alive) @ harm / minutes,
        CLAIRVOYANT: c["real"] / minutes,
    }


def content_orders(m: Morning) -> dict[str, Array]:
    """The same for undecided contents."""
    c = m.contents
    plain = c["probability"] * c["views_to_come"] * c["severity"]
    return {
        MODEL: plain * (1 + np.minimum(c["violations"] / review.SIX_TIMES, 1.0) + c["velocity"]),
        "without repeat and velocity": plain,
        "model score": c["model_score"],
        "most reported": c["reports"],
        "most viewed": c["views"],
        "newest first": c["newest"],
        "model score × views": c["model_score"] * c["views"],
        "creator's raw count": c["violations"],
        ORACLE: c["expected"],
        CLAIRVOYANT: c["real"],
    }


def _over(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, where=whole > 0, out=np.zeros_like(whole))


def lower_bound(hits: Array, trials: Array, z: float = 1.96) -> Array:
    """Lower end of Wilson's interval (*Journal of the American Statistical Association* 22, 1927)."""
    n = np.maximum(trials, 1.0)
    p = np.minimum(hits / n, 1.0)
    return np.asarray((p + z * z / (2 * n) - z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n))


def taken(value: Array, minutes: Array, capacity: float) -> NDArray[np.int64]:
    """Cases by value until the minutes are spent; those that no longer fit are passed over. Cases of 0 minutes are none."""
    chosen, shortest = [], minutes[minutes > 0].min(initial=np.inf)
    for i in np.argsort(-value, kind="stable"):
        if 0 < minutes[i] <= capacity:
            chosen.append(int(i))
            capacity -= minutes[i]
        if capacity < shortest:
            break
    return np.array(chosen, np.int64)


@dataclass
class Judged:
    """What an order did on one twin, summed over its mornings.

    Attributes:
        expected, real: harm averted: that was bound to come by the simulator's rates, and that came.
        precision, first: share of all listed, and of the first, who violate later.
        caught: days until most of a ring's members were listed; infinite if they were not.
    """

    expected: float = 0.0
    real: float = 0.0
    precision: float = 0.0
    first: float = 0.0
    caught: float = np.inf


@cache
def queue_of(name: str) -> Queue:
    declared = load_catalog("marketplace").review
    assert declared is not None
    return next(q for q in declared.queues if q.name == name)


def judge(t: Trial, through: Array) -> dict[str, Judged]:
    """Every order's figures for the creators of one twin."""
    harm = t.weight * through
    found: dict[str, Judged] = {}
    capacity, more = queue_of("creators").minutes_per_day, queue_of("clusters").minutes_per_day
    seen: dict[str, NDArray[np.bool_]] = {}
    for since, m in zip(t.since, t.mornings, strict=True):
        expected = (m.later + m.alive) @ harm
        minutes, real, bad = m.columns["minutes"], m.columns["real"], m.columns["bad later"] > 0
        lists = {name: taken(v, minutes, capacity) for name, v in orders(m, harm).items()}
        longer = {name: taken(v, minutes, capacity + more) for name, v in orders(m, harm).items()}
        lists["with exploration"] = np.flatnonzero(m.explored)
        longer[MODEL] = np.flatnonzero(m.covered)
        for name, chosen in lists.items():
            of = found.setdefault(name, Judged())
            of.expected += float(expected[chosen].sum())
            of.real += float(real[chosen].sum())
            of.precision += float(bad[chosen].mean()) / len(t.mornings)
            of.first += float(bad[chosen[:FIRST]].mean()) / len(t.mornings)
        for name, chosen in longer.items():
            covered = seen.setdefault(name, np.zeros(len(real), bool))
            covered[chosen] = True
            if t.ring.any() and since >= 0 and 2 * covered[t.ring].sum() > t.ring.sum():
                found[name].caught = min(found[name].caught, float(since))
    return found


def judge_contents(t: Trial) -> dict[str, Judged]:
    """The same for the undecided contents of one twin."""
    found: dict[str, Judged] = {}
    queue = queue_of("contents")
    for m in t.mornings:
        minutes = np.full(len(m.contents["bad"]), queue.minutes_per_case)
        for name, value in content_orders(m).items():
            chosen, of = taken(value, minutes, queue.minutes_per_day), found.setdefault(name, Judged())
            of.expected += float(m.contents["expected"][chosen].sum())
            of.real += float(m.contents["real"][chosen].sum())
            of.precision += float(m.contents["bad"][chosen].mean()) / len(t.mornings)
            of.first += float(m.contents["bad"][chosen[:FIRST]].mean()) / len(t.mornings)
    return found


def interval(values: Array) -> tuple[float, float, float]:
    """Mean and 95 % t interval over seeds; infinite for one seed."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


Found = Mapping[str, Sequence[Mapping[str, Judged]]]


def shares(found: Sequence[Mapping[str, Judged]], name: str, of: Callable[[Judged], float]) -> Array:
    """(seeds,) harm averted by an order, over the oracle's."""
    return np.array([of(one[name]) / of(one[ORACLE]) for one in found])


def expected(j: Judged) -> float:
    return j.expected


def real(j: Judged) -> float:
    return j.real


def percent(part: float, digits: int = 1) -> str:
    return f"{100 * part:.{digits}f} %"


def told(values: Array) -> str:
    mean, low, high = interval(values)
    return percent(mean) + (f" ({100 * low:.1f} to {100 * high:.1f})" if np.isfinite(low) else "")


def ahead(values: Array) -> str:
    """A difference of shares in points, with its interval; bold where the interval has no zero."""
    mean, low, high = interval(values)
    text = f"{100 * mean:+.1f}" + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if np.isfinite(low) else "")
    return f"**{text}**" if low > 0 and np.isfinite(low) else text


def table_of(found: Found, names: Sequence[str], of: Callable[[Judged], float]) -> list[str]:
    """By order and scenario: the share of the oracle's harm, and how far the program is ahead."""
    head = ["order", *(x for s in found for x in (f"`{s}`", "the program's lead, points"))]
    rows = []
    for name in names:
        cells = [name]
        for one in found.values():
            own = shares(one, name, of)
            cells += [told(own), "" if name == MODEL else ahead(shares(one, MODEL, of) - own)]
        rows.append(cells)
    return table(head, rows)


def days_until(values: Sequence[float]) -> str:
    middle, got = float(np.median(values)), int(np.isfinite(values).sum())
    return (
        f"{middle:.0f} ({got} of {len(values)} twins)" if np.isfinite(middle) else f"– ({got} of {len(values)} twins)"
    )


def came_of(trials: Sequence[Trial], through: Array) -> Array:
    """(trials,) harm of all creators by the views that came, over what was expected."""
    return np.array([
        sum(m.columns["real"].sum() for m in t.mornings)
        / sum(((m.later + m.alive) @ (t.weight * through)).sum() for m in t.mornings)
        for t in trials
    ])  # fmt: skip


def _unseen(found: Found, trials: Sequence[Trial], rivals: Sequence[str]) -> list[str]:
    """The same without the seeds that were looked at."""
    seeds = {s: [t.seed for t in trials if t.scenario == s] for s in found}
    kept = {s: [one for seed, one in zip(seeds[s], found[s], strict=True) if seed not in LOOKED_AT] for s in found}
    if not all(kept.values()):
        return []
    text = "; ".join(f"`{s}` {told(shares(one, MODEL, expected))}" for s, one in kept.items())
    return [
        f"Seeds {' and '.join(map(str, LOOKED_AT))} were looked at while the program was being improved; without them: {text}. "
        + _behind(kept, rivals, expected, "By expected harm"), "",
    ]  # fmt: skip


def _against_aim(scenario: str, found: Sequence[Mapping[str, Judged]]) -> str:
    own = shares(found, MODEL, expected)
    possible = percent(float(np.mean([one[MODEL].expected / one[FORECAST].expected for one in found])))
    verdict = "met" if own.mean() >= AIM else "missed"
    return f"`{scenario}`: {told(own)}, {verdict}; {possible} of what *{FORECAST}* averts"


def _behind(found: Found, rivals: Sequence[str], of: Callable[[Judged], float], words: str) -> str:
    behind = [
        f"{name} in `{s}`" for s, one in found.items() for name in rivals
        if not interval(shares(one, MODEL, of) - shares(one, name, of))[1] > 0
    ]  # fmt: skip
    return f"{words} " + (
        f"not clearly ahead of {', '.join(behind)}." if behind else "clearly ahead of every rival in every scenario."
    )


def creator_lines(found: Found, trials: Sequence[Trial]) -> list[str]:
    """Tables of the creators' queue."""
    rivals = (*RIVALS, *STRONGER)
    through = passing(trials)
    alive = [float(m.alive.sum() / (m.alive + m.later).sum()) for t in trials for m in t.mornings]
    came = {s: came_of([t for t in trials if t.scenario == s], through) for s in found}
    rings = [s for s in found if any(t.ring.any() for t in trials if t.scenario == s)]
    return [
        "### Creators", "",
        f"**Aim: at least {percent(AIM, 0)} of the oracle's harm averted, and clearly ahead of every rival.** "
        + "; ".join(_against_aim(s, one) for s, one in found.items()) + ". "
        + " ".join(_behind(found, rivals, of, words) for of, words in ((expected, "By expected harm"), (real, "By the views that came"))), "",
        *_unseen(found, trials, rivals),
        "Share of the oracle's harm averted, mean over seeds with 95 % t interval; and the program's lead in points, from "
        "paired differences (bold: the interval lies above zero).", "",
        *table_of(found, [MODEL, *rivals], expected), "",
        "The same from the views that really came. One large creator's luck weighs much here, so the intervals are wide. "
        f"Of the harm expected of all creators together came {'; '.join(f'`{s}` {told(x)}' for s, x in came.items())}.", "",
        *table_of(found, [MODEL, *STRONGER, "most viewed", "most reported", CLAIRVOYANT], real), "",
        f"**Precision.** Share of listed creators who violate within the horizon; of the first {FIRST}, and of all.", "",
        *table(["order", *(x for s in found for x in (f"`{s}` first {FIRST}", "all"))],
               [[name, *(percent(float(np.mean([getattr(o[name], what) for o in one])), 0) for one in found.values() for what in ("first", "precision"))]
                for name in (MODEL, *rivals, ORACLE)]), "",
        "Orders that don't weigh views find those who violate most often, who are mostly small; precision is not harm.", "",
        "**Planted clusters.** Days from a ring's first day to the list by which more than half of its members had been listed, median; "
        "by clusters' and creators' minutes together, which rivals spend on creators.", "",
        *table(["order", *(f"`{s}`" for s in rings)],
               [[name, *(days_until([o[name].caught for o in found[s]]) for s in rings)] for name in (MODEL, *rivals, ORACLE)]), "",
        "### What is lost where", "",
        "One term of the plain formula (probability × exposure × severity) at a time replaced by the truth. "
        f"*{FORECAST.capitalize()}*: the truth but for creators' propensities, which are estimated from faultless labels of all their "
        "contents with the true rates and the true prior: more than any program can know of them.", "",
        *table(["order", *(f"`{s}`" for s in found)],
               [[name, *(told(shares(one, name, expected)) for one in found.values())]
                for name in ("without repeat and velocity", "true probability", "true views", "true severity", FORECAST)]), "",
        "### Repeat, velocity, exploration", "",
        "What the terms add to the plain formula, and what exploration costs, in points of the oracle's harm:", "",
        *table(["", *(f"`{s}`" for s in found)],
               [[label, *(ahead(shares(one, a, expected) - shares(one, b, expected)) for one in found.values())]
                for label, a, b in (("repeat", "without velocity", "without repeat and velocity"), ("velocity", "without repeat", "without repeat and velocity"),
                                    ("both", MODEL, "without repeat and velocity"), ("exploration", "with exploration", MODEL))]), "",
        f"Moderation lets through, of the views that violating contents would have had: {', '.join(f'{name} {percent(x, 0)}' for name, x in zip(SEVERITIES, through, strict=True))}. "
        f"Undecided contents are {percent(float(np.mean(alive)))} of the expected harm, the rest is yet to be published. "
        f"A day's clusters, estimates and lists took {np.median([m.seconds for t in trials for m in t.mornings]):.1f} CPU seconds in the median.", "",
    ]  # fmt: skip


def content_lines(found: Found, trials: Sequence[Trial]) -> list[str]:
    names = [n for n in next(iter(found.values()))[0] if n not in (ORACLE, CLAIRVOYANT)]
    bad = [float(m.contents["bad"].sum()) for t in trials for m in t.mornings]
    alive = [len(m.contents["bad"]) for t in trials for m in t.mornings]
    return [
        "### Contents", "",
        f"Of {np.mean(alive):,.0f} undecided contents a morning {np.mean(bad):.0f} violate: moderation has caught nearly all others within hours. "
        "So this queue is thin on the twin, and its figures are about the few that moderation overlooked. The oracle knows which these are.", "",
        *table_of(found, names, expected), "",
        f"**Precision** of the first {FIRST}:", "",
        *table(["order", *(f"`{s}`" for s in found)],
               [[name, *(percent(float(np.mean([o[name].first for o in one])), 0) for one in found.values())] for name in (*names, ORACLE)]), "",
    ]  # fmt: skip


def lines(trials: Sequence[Trial]) -> list[str]:
    """The study's part of the page."""
    scenarios = list(dict.fromkeys(t.scenario for t in trials))
    of = {s: [t for t in trials if t.scenario == s] for s in scenarios}
    through = passing(trials)
    creators: Found = {s: [judge(t, through) for t in some] for s, some in of.items()}
    contents: Found = {s: [judge_contents(t) for t in some] for s, some in of.items()}
    seeds = len({t.seed for t in trials})
    return [
        "## Measured", "",
        f"Written by `python -m {STUDY}` on {machine()}, shared with other work. Twins of {CREATORS:,} creators and {DAYS} days, "
        f"n = {seeds} seeds of each scenario; {len(trials[0].mornings)} mornings of each twin, {queue_of('creators').minutes_per_day:.0f} minutes for creators.", "",
        *creator_lines(creators, trials), *content_lines(contents, trials),
    ]  # fmt: skip


def summary(trials: Sequence[Trial]) -> list[str]:
    """The first thing on the page: what was reached, what not, and what is missing."""
    through = passing(trials)
    found: Found = {
        s: [judge(t, through) for t in trials if t.scenario == s] for s in dict.fromkeys(t.scenario for t in trials)
    }
    best = {
        s: max((*RIVALS, *STRONGER), key=lambda name: float(shares(one, name, expected).mean()))
        for s, one in found.items()
    }
    own = {s: shares(one, MODEL, expected) for s, one in found.items()}
    missed = [s for s in found if own[s].mean() < AIM]
    terms = (
        ("how often each creator will violate", "true probability"), ("their views", "true views"),
        ("which policies", "true severity"),
    )  # fmt: skip

    def mean(name: str) -> list[str]:
        return [percent(float(shares(one, name, expected).mean())) for one in found.values()]

    def row(label: str, of: Callable[[str], str]) -> list[str]:
        return [label, *(of(s) for s in found)]

    rows = [
        row("**the program**", lambda s: f"**{told(own[s])}**"),
        row(f"aim: {percent(AIM, 0)}", lambda s: "missed" if s in missed else "met"),
        row("ceiling: perfect past", lambda s: told(shares(found[s], FORECAST, expected))),
        row("best of the orders people use", lambda s: f"{told(shares(found[s], best[s], expected))}, {best[s]}"),
        row("the program's lead over it, points", lambda s: ahead(own[s] - shares(found[s], best[s], expected))),
    ]
    return [
        f"Harm averted by {queue_of('creators').minutes_per_day:.0f} minutes of review a day, in percent of what an oracle's "
        "order averts in the same minutes. The oracle knows how often each creator will break rules; the *ceiling* only how "
        "often each did so far, but without a mistake. "
        f"Mean over {len({t.seed for t in trials})} simulated marketplaces of each scenario, with 95 % interval.", "",
        *table(["", *(f"`{s}`" for s in found)], rows), "",
        "- **Reached?** " + _behind(found, (*RIVALS, *STRONGER), expected, "In harm that was to be expected,")
        + " " + _behind(found, (*RIVALS, *STRONGER), real, "In views that really came, which luck decides more,"),
        f"- **Not reached:** at least {percent(AIM, 0)} of the oracle's harm, in {len(missed)} of {len(found)} scenarios.",
        "- **Why:** the formula's terms have to be estimated. With one of them known, all else as it is, it averts: "
        + "; ".join(f"{label} {', '.join(mean(name))}" for label, name in terms) + ".", "",
    ]  # fmt: skip


def kept(folder: Path | None, scenario: str, seed: int) -> Trial:
    """A twin's figures, from ``folder`` where they are there already."""
    file = folder / f"{scenario}-{seed}.pickle" if folder else None
    if file is not None and file.exists():
        done: Trial = pickle.loads(file.read_bytes())
        return done
    with tempfile.TemporaryDirectory() as place:
        made = trial(Path(place) / "twin", scenario, seed)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(made))
    return made


def speed(creators: int, days: int = 30) -> list[str]:
    """What the lists of one day cost with so many creators, after a smaller twin that loads what is needed."""
    rows = []
    for count in (creators // 20, creators):
        with tempfile.TemporaryDirectory() as place:
            folder, catalog = Path(place) / "twin", load_catalog("marketplace")
            scenario = load_scenario("off_platform_ring")
            simulate(folder, scenario, creators=count, days=days, start=START, seed=1, files="day")
            for e in of_files(catalog, folder, [START + dt.timedelta(days=days - 4)]):
                rows.append([f"{count:,}", *_timed(e)])
    head = [
        "creators",
        "undecided contents",
        "clusters, seconds",
        "estimates",
        "lists",
        "cases kept",
        "peak memory, MB",
    ]
    return [
        f"**What a day costs**, in seconds of CPU; written by `python -m {STUDY} --speed` on {machine()}, shared with other work.", "",
        *table(head, rows),
    ]  # fmt: skip


def _timed(e: Evidence) -> list[str]:
    at = [time.process_time()]
    members = clusters.clusters(e)
    at.append(time.process_time())
    made = review.estimate(e, members)
    at.append(time.process_time())
    listed = review.lists(e, members, None, made)
    at.append(time.process_time())
    return [
        f"{made.contents.num_rows:,}", *(f"{b - a:.1f}" for a, b in itertools.pairwise(at)), f"{listed.num_rows:,}",
        f"{peak():,.0f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    parser.add_argument("--keep", type=Path, help="folder of finished twins; of one version of the program only")
    parser.add_argument("--speed", action="store_true", help="only what a day costs with many creators")
    given = parser.parse_args()
    if given.speed:
        write_part(DOCS / "risk-ranking.md", f"{STUDY}.speed", speed(LARGE))
        return
    trials = []
    for seed in SEEDS[:1] if given.quick else SEEDS:
        for scenario in SCENARIOS:
            trials.append(kept(given.keep, scenario, seed))
            t = trials[-1]
            one = judge(t, passing([t]))
            print(scenario, seed, {n: round(j.expected / one[ORACLE].expected, 3) for n, j in one.items()}, flush=True)
    part = lines(trials)
    if given.quick:
        print("\n".join(part))
    else:
        write_part(DOCS / "risk-ranking.md", f"{STUDY}.summary", summary(trials))
        write_part(DOCS / "risk-ranking.md", STUDY, part)


if __name__ == "__main__":
    main()
