"""What the simulator knows of a twin: who will violate how often, who will see it, and what then came."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

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
from health_pipeline.marketplace.scenario import Active, Scenario
from health_pipeline.marketplace.world import create
from health_pipeline.stats.arrays import Array

START = dt.date(2026, 7, 1)
AFTER = 14
"""Days simulated beyond a scenario's own end, so that what is published in the horizon after a morning is seen through."""
GROUPS = len(SEVERITIES)
SEVERITY_OF = np.array(POLICY_SEVERITY)
INSIDE = 0.02 + DEFAULT.repeaters
"""Share of creators who break rules again and again, with those who came back after a ban."""


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

    def posted(self, day: int, horizon: int) -> dict[str, Array]:
        """(N,) each: contents published within the horizon after a day, and those of them that violate."""
        rows = self.database.execute(
            f"SELECT creator, count(*), count(policy) FROM made WHERE d > {day} AND d <= {day + horizon} GROUP BY creator"
        ).fetchall()
        posts, violating = np.zeros(len(self.creators)), np.zeros(len(self.creators))
        for creator, count, bad in rows:
            posts[creator], violating[creator] = count, bad
        return {"posts later": posts, "violating posts": violating}

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
