"""How many people will still see a content, and how much a creator will still post, if nobody acts.

Views to come of a content follow from its age, from the views it has, and from its creator's usual audience:

* **Age curve**: the share of a content's views that comes in each hour of its life, from contents whose whole life is
  known; for each kind, hour of publication and market, shrunk in that order. The hour matters because audiences have a
  daily rhythm: after one hour, what was published at midnight is not where what was published at noon is.
* **Arrival**: statistics come late. The share that is known of the last hours is read off the number of rows against
  the same hours of other days, and a market of which a day is missing is not taken for one without an audience.
* **Size**: log-normal around the creator's usual audience, which itself is shrunk to market x tier x kind (Szabo and
  Huberman: Predicting the popularity of online content, *CACM* 53, 2010, found popularity log-normal around early
  popularity; here with the creator's other contents as prior). Traffic comes in bursts, so early views say less than
  their number: noise ``ln(1 + c / G + 1 / x)`` for x views and the known share G of the curve; c is learned.
* **Calibration**: the same prediction is replayed at each past midnight of the contents whose life is over; the factor
  on the mean and the width of the interval that this shows, by kind and age, are used for the contents of today.

Usual audiences are learned from all contents that a review remembers: of those older than the traffic is read hour by
hour, the role ``audiences`` has the sums. How they compare with their market's other contents of the same day is what
they tell, so that neither an outage nor a campaign of last month is taken for a creator's audience.

What is expected is what comes if nobody acts; moderation does, and :func:`passing` says how much of violations it lets
through. How much creators will post: :mod:`health_pipeline.risks.posting`.

Velocity compares the last hours with what was expected before them: 0 at the usual pace or below, 0.5 at double the
pace, towards 1 the faster, and shrunk to 0 as far as a few bursts say little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from health_pipeline.risks.columns import Codes, codes, numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.posting import posting
from health_pipeline.stats.arrays import Array

SPAN_DAYS = 28
"""So far back traffic is read hour by hour: contents so old or younger teach how a life goes."""
ARRIVAL_HOURS = 48
RECENT_HOURS = 12
ONE_CONTENT = 50.0
"""Views at which a content's own course weighs half as much in an age curve as any large content's."""
CURVE_PRIOR = 30.0
"""Contents that a coarser age curve counts for in a finer one."""
MEAN_PRIOR = 20.0
"""Contents that a coarser cohort's mean audience counts for in a finer one."""
ORDERS_PRIOR = 8.0
"""Orders that a coarser rate of sales counts for in a finer one."""
USUAL_BURST = 0.5
COMMON_ERROR = 0.2
"""Of the logarithm of any creator's expected audience, however much they posted: the calendar, the mix of kinds, and
what changes within weeks. On a simulated marketplace large creators' are so far off beyond what bursts explain."""
USUAL_VARIANCES = (0.5, 0.2)
"""Of log audiences of one creator's contents, and of creators of one cohort: while nothing is known."""
BURST_PRIOR = 100.0
"""Contents that the burstiness of all tiers counts for in one tier's."""
RATIO_PRIOR = 50.0
"""Contents that the calibration of all tiers counts for in one tier's."""
FEW = 10.0
"""Views of which fewer are not calibrated on."""
MISSING = 0.6
"""A market's day with fewer of its usual rows than this share is held to be incomplete."""

CONTENTS = pa.schema(
    [
        ("content_id", pa.string()), ("views", pa.int64()), ("views_to_come", pa.float64()),
        ("views_log_error", pa.float64()), ("expected_log_error", pa.float64()), ("velocity", pa.float64()),
        ("gmv_rate", pa.float64()),
    ]
)  # fmt: skip
CREATORS = pa.schema(
    [
        ("creator_id", pa.string()), ("posts_to_come", pa.float64()), ("views_per_post", pa.float64()),
        ("views_log_error", pa.float64()), ("expected_log_error", pa.float64()), ("alive_views_to_come", pa.float64()),
        ("gmv_28d", pa.float64()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Course:
    """Known contents that are remembered and whose creator is, in the order of their ids; N contents, H hours of life.

    Attributes:
        old: (N,) published before the hours of traffic that are read: only the views of the whole life are known.
        age: (N,) hours begun since publication.
        views: (N,) known views in its life.
        recent: (N,) those of the last hours.
        by_midnight: (N, D) known views before the first, second, ... midnight (instant of a list) after publication.
        alive: (N,) not decided and not at its life's end.
        stopped: (N,) acted on, so that its views say nothing of its audience.
        first: (N,) hours from publication to the first midnight, 1 to 24.
    """

    ids: pa.Array
    creator: Codes
    creator_ids: pa.Array
    market: Codes
    tier: Codes
    kind: Codes
    category: Codes
    age: Codes
    views: Array
    recent: Array
    by_midnight: Array
    old: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    stopped: NDArray[np.bool_]
    kinds: int
    markets: int

    @property
    def first(self) -> Codes:
        first: Codes = (self.age - 1) % 24 + 1
        return first


@dataclass(frozen=True)
class Size:
    """Posterior of the log of a content's whole views: mean and variance, (N,) each."""

    mean: Array
    variance: Array

    def given(self, views: Array, share: Array, burst: Array) -> Size:
        """After ``views`` were seen where ``share`` of the whole could be known."""
        deviation, noise = _observed(self.mean, views, share, burst)
        gain = self.variance / (self.variance + noise)
        return Size(self.mean + gain * deviation, self.variance * (1 - gain))

    def expected(self) -> Array:
        expected: Array = np.exp(self.mean + self.variance / 2)
        return expected


@dataclass(frozen=True)
class Audience:
    """What the past teaches of audiences.

    Attributes:
        curve: (kinds, markets, 24, H + 1) share of the views that has come by an age, by first hours to midnight.
        known: (kinds, markets, 24, S + 1) share of the views that can be known now at that age, S the hours of four
            weeks: a day that is missing is missing from the lives of those who lived then; of it,
        recent: the part of the last hours.
        prior: size of each content by its creator's *other* contents.
        creator: (creators,) log audience of a creator against the cohort, and its variance.
        cohort: (N,) log mean audience of a content's market x tier x kind.
        content_variance: of log audiences of one creator's contents.
        burst: (tiers,) of :func:`_burst`.
        factor: (kinds, tiers, D) replayed views to come over predicted ones, by midnight.
        width: (kinds, tiers, D) replayed spread of their logs over the predicted one.
        whole: (kinds, tiers) the factor for whole lives of contents that are yet to be published.
    """

    course: Course
    curve: Array
    known: Array
    recent: Array
    prior: Size
    creator: Size
    cohort: Array
    content_variance: float
    burst: Array
    factor: Array
    width: Array
    whole: Array


def contents(e: Evidence, audience: Audience | None = None) -> pa.Table:
    """Contents that are alive and on which nothing was decided, with what is expected of them.

    Returns:
        :data:`CONTENTS`: ``views`` known; ``views_to_come`` until the end of its life, a mean; ``views_log_error``
        the standard deviation of its log, for what will really come; ``expected_log_error`` that for what is to be
        expected, whatever bursts it comes in; ``velocity`` 0 to 1; ``gmv_rate`` US dollars sold per view.
    """
    a = audience or learn(e)
    c, at = a.course, np.flatnonzero(a.course.alive)
    where = (c.kind[at], c.market[at], c.first[at] - 1, c.age[at])
    share, known, recent = a.curve[where], a.known[where], a.recent[where]
    burst, views, lately = a.burst[c.tier[at]], c.views[at], c.recent[at]
    prior = Size(a.prior.mean[at], a.prior.variance[at])
    night = (c.kind[at], c.tier[at], (c.age[at] - 1) // 24)
    size = prior.given(views, known, burst)
    mean, error = _to_come(size, 1 - share, burst)
    before = prior.given(views - lately, known - recent, burst)
    faster = before.given(lately, recent, burst).mean - before.mean
    return pa.table(
        [
            c.ids.take(pa.array(at)), views.astype(np.int64), mean * a.factor[night], error * a.width[night],
            np.sqrt(size.variance), 1 - np.exp(-np.maximum(faster, 0.0)), _sales(e, c)[at],
        ],
        schema=CONTENTS,
    )  # fmt: skip


def creators(
    e: Evidence, audience: Audience | None = None, alive: pa.Table | None = None, members: pa.Table | None = None
) -> pa.Table:
    """What is expected of every creator that is known or has posted.

    Args:
        alive: of :func:`contents`.
        members: of clusters, as for :func:`.posting.posting`.

    Returns:
        :data:`CREATORS`: ``posts_to_come`` in the horizon, a mean; ``views_per_post`` in a post's whole life, a mean;
        ``views_log_error`` the standard deviation of the log of their product, for what will really come;
        ``expected_log_error`` that for what is to be expected, could one know pace and audience;
        ``alive_views_to_come`` of the contents of :func:`contents`; ``gmv_28d`` US dollars.
    """
    a = audience or learn(e)
    alive = contents(e, a) if alive is None else alive
    rows = e.query(
        f"""
        WITH sold AS (
            SELECT creator_id, greatest(sum(gmv), 0) AS gmv FROM orders
            WHERE placed_at >= {_now(e)} - INTERVAL {SPAN_DAYS} DAY GROUP BY creator_id
        ), coming AS (
            SELECT creator_id, sum(views_to_come) AS views FROM alive JOIN contents USING (content_id)
            GROUP BY creator_id
        )
        SELECT p.*, coalesce(s.gmv, 0) AS gmv, coalesce(v.views, 0) AS views
        FROM paced p LEFT JOIN sold s USING (creator_id) LEFT JOIN coming v USING (creator_id) ORDER BY creator_id
        """,
        alive=alive, paced=posting(e, members),
    )  # fmt: skip
    ids, posts = rows["creator_id"].combine_chunks(), numbers(rows, "posts_a_day") * e.review.horizon_days
    spread = np.expm1(a.content_variance + float(np.average(a.burst)))  # squared coefficient of variation of one post
    views, variance = _views_per_post(a, ids, codes(rows, "tier"))
    return pa.table(
        [
            ids, posts, views,
            np.sqrt(np.log1p((1 + spread) / np.maximum(posts, 1e-6))),
            np.sqrt(np.log1p(numbers(rows, "doubt")) + variance + COMMON_ERROR**2),
            numbers(rows, "views"), numbers(rows, "gmv"),
        ],
        schema=CREATORS,
    )  # fmt: skip


def passing(e: Evidence, audience: Audience) -> dict[str, float]:
    """Share of the views of violations that moderation lets through, by severity of the policy.

    Of contents whose life is over and that were found to violate: the views they had over those that their creators'
    other contents say they would have had. What is never found passes wholly and is not among them.
    """
    c = audience.course
    labelled = e.query(
        """
        SELECT number, severity FROM rows JOIN (
            SELECT content_id, arg_max(severity, decided_at) AS severity FROM labels
            WHERE violation AND content_id IS NOT NULL AND severity IS NOT NULL AND decided_at IS NOT NULL
            GROUP BY content_id
        ) USING (content_id) ORDER BY number
        """,
        rows=pa.table({"content_id": c.ids, "number": np.arange(len(c.age))}),
    )
    names = sorted(set(labelled["severity"].to_pylist()))
    of = np.full(len(c.age), -1)
    of[labelled["number"].to_numpy()] = [names.index(s) for s in labelled["severity"].to_pylist()]
    over = (of >= 0) & (c.age > e.review.alive_days * 24 + ARRIVAL_HOURS)
    would = audience.prior.expected() * audience.whole[c.kind, c.tier]
    came = _ratios(c.views[over], would[over], of[over], len(names))
    return {name: float(share) for name, share in zip(names, np.clip(came, 0.05, 1.0), strict=True)}


def learn(e: Evidence) -> Audience:
    """Age curves, arrival, usual audiences, and how well they would have predicted."""
    course = _course(e)
    hours = e.review.alive_days * 24
    density = _curves(e, course, hours)
    arrived = _arrival(e, course)
    curve, known, recent = _shares(density, arrived)
    lived = _lived(course, hours)
    burst = _burst(course, curve, lived)
    observable = known[course.kind, course.market, course.first - 1, np.minimum(course.age, SPAN_DAYS * 24)]
    observable = np.where(course.old, 1.0, observable)
    # An old content without a view is one whose views were not delivered, or that was never shown.
    telling = ~course.stopped & (observable > 0) & (~course.old | (course.views > 0))
    whole = lived if lived.any() else telling & (observable > 0.3)
    observed = np.log((course.views + 0.5) / np.maximum(observable, 0.3)) + np.log1p(burst[course.tier]) / 2
    by_tier = course.kind * 1_000 + course.tier
    cohort = _shrunk(observed, whole.astype(float), (course.kind, by_tier, by_tier * 1_000 + course.market), MEAN_PRIOR)
    residual, noise = _observed(cohort, course.views, observable, burst[course.tier])
    then = np.where(course.old, _common(residual, course, telling & course.old), 0.0)
    residual = residual - then
    within, between = _variances(residual, noise, course.creator, telling & (observable > 0.3))
    weight = telling / (within + noise) * 0.5 ** (course.age / (24 * e.review.half_life_days))
    n = len(course.creator_ids)
    precision = np.bincount(course.creator, weight, n)
    total = np.bincount(course.creator, weight * residual, n)
    others = 1 / between + precision[course.creator] - weight
    prior = Size(cohort + then + (total[course.creator] - weight * residual) / others, within + 1 / others)
    creator = Size(total / (1 / between + precision), 1 / (1 / between + precision))
    factor, width, new = _replayed(course, curve, prior, burst, lived)
    return Audience(course, curve, known, recent, prior, creator, cohort, within, burst, factor, width, new)


def _common(residual: Array, course: Course, use: NDArray[np.bool_]) -> Array:
    """(N,) mean of the contents of the same market and day, shrunk to 0: what a day did to all."""
    group = np.unique(course.market * 100_000 + course.age // 24, return_inverse=True)[1]
    total, contents = np.bincount(group, use * residual), np.bincount(group, use)
    return np.asarray((total / (contents + MEAN_PRIOR))[group])


def _now(e: Evidence) -> str:
    return f"TIMESTAMP '{e.now}'"


def _course(e: Evidence) -> Course:
    days = e.review.alive_days
    rows = e.query(
        f"""
        WITH life AS (
            SELECT *, date_trunc('hour', published_at) AS born,
                date_diff('hour', date_trunc('hour', published_at), {_now(e)}) AS age
            FROM contents WHERE published_at >= {_now(e)} - INTERVAL {e.review.memory_days} DAY
                AND published_at < {_now(e)} AND creator_id IS NOT NULL
        ), decided AS (
            SELECT content_id, bool_or(violation) AS violation FROM labels WHERE content_id IS NOT NULL
            GROUP BY content_id
        ), shown AS (
            SELECT content_id, (date_diff('hour', born, hour) + 23 - (age - 1) % 24) // 24 AS night,
                CAST(sum(views) AS DOUBLE) AS views,
                CAST(sum(views) FILTER (hour >= {_now(e)} - INTERVAL {RECENT_HOURS} HOUR) AS DOUBLE) AS recent
            FROM traffic JOIN life USING (content_id)
            WHERE date_diff('hour', born, hour) BETWEEN 0 AND {24 * days - 1} GROUP BY ALL
        ), whole AS (
            SELECT content_id, greatest(sum(views), 0) AS views FROM audiences GROUP BY content_id
        ), nights AS (
            SELECT content_id, sum(views) AS views, sum(recent) AS recent,
                {", ".join(f"sum(views) FILTER (night <= {n}) AS night_{n}" for n in range(days))}
            FROM shown GROUP BY content_id
        )
        SELECT life.content_id, creator_id, market, tier, kind, category, age, n.* EXCLUDE (content_id, views),
            age > {24 * SPAN_DAYS} AS old, CASE WHEN old THEN a.views ELSE n.views END AS views,
            d.content_id IS NULL AND age <= {24 * days} AS alive, coalesce(d.violation, false) AS stopped
        FROM life LEFT JOIN nights n ON n.content_id = life.content_id
        LEFT JOIN whole a ON a.content_id = life.content_id
        LEFT JOIN decided d ON d.content_id = life.content_id ORDER BY life.content_id
        """
    )

    def counts(name: str) -> Array:  # what is taken back may be of hours that are not read
        return np.maximum(np.nan_to_num(numbers(rows, name)), 0.0)

    views = counts("views")
    creator_ids = rows["creator_id"].combine_chunks().dictionary_encode()
    kind, market = codes(rows, "kind"), codes(rows, "market")
    return Course(
        ids=rows["content_id"].combine_chunks(),
        creator=creator_ids.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        creator_ids=creator_ids.dictionary,
        market=market, tier=codes(rows, "tier"), kind=kind, category=codes(rows, "category"),
        age=rows["age"].to_numpy().astype(np.int64),
        views=views, recent=np.minimum(counts("recent"), views),
        by_midnight=np.stack([np.minimum(counts(f"night_{n}"), views) for n in range(days)], axis=1),
        old=rows["old"].to_numpy(zero_copy_only=False).astype(bool),
        alive=rows["alive"].to_numpy(zero_copy_only=False).astype(bool),
        stopped=rows["stopped"].to_numpy(zero_copy_only=False).astype(bool),
        kinds=int(kind.max(initial=0)) + 1, markets=int(market.max(initial=0)) + 1,
    )  # fmt: skip


def _lived(course: Course, hours: int) -> NDArray[np.bool_]:
    """Contents whose whole life is over, known, and was not cut short."""
    return (course.age > hours + ARRIVAL_HOURS) & ~course.stopped & ~course.old


def _curves(e: Evidence, course: Course, hours: int) -> Array:
    """(kinds, markets, 24, H) share of a content's views in each hour of its life."""
    shape = (course.kinds, course.markets, 24, hours)
    lived = _lived(course, hours)
    weight = np.where(lived, course.views / (course.views + ONE_CONTENT), 0.0)
    place = (course.kind * course.markets + course.market) * 24 + course.first - 1
    contents = np.bincount(place, weight, np.prod(shape[:3])).reshape(shape[:3])
    of = pa.table(
        {"content_id": course.ids, "place": place, "views": course.views, "born": course.age.astype(np.int64)}
    ).filter(pa.array(lived & (course.views > 0)))
    rows = e.query(
        f"""
        SELECT place * {hours} + j AS cell, sum(views / (whole + {ONE_CONTENT})) AS share FROM (
            SELECT place, o.views AS whole, t.views AS views, born - date_diff('hour', t.hour, {_now(e)}) AS j
            FROM traffic t JOIN lived o USING (content_id)
        ) WHERE j BETWEEN 0 AND {hours - 1} GROUP BY cell
        """,
        lived=of,
    )
    share = np.zeros(int(np.prod(shape)))
    share[rows["cell"].to_numpy().astype(np.int64)] = np.maximum(numbers(rows, "share"), 0.0)
    share = share.reshape(shape)
    nothing_known = np.exp(-np.arange(hours) / (hours / 4))
    overall = share.sum(axis=(1, 2)) + nothing_known / nothing_known.sum()
    overall = overall / overall.sum(axis=-1, keepdims=True)
    by_hour = share.sum(axis=1) + CURVE_PRIOR * overall[:, None]
    by_hour = by_hour / (contents.sum(axis=1) + CURVE_PRIOR)[..., None]
    found = (share + CURVE_PRIOR * by_hour[:, None]) / (contents + CURVE_PRIOR)[..., None]
    return np.asarray(found / found.sum(axis=-1, keepdims=True))


def _arrival(e: Evidence, course: Course) -> Array:
    """(markets, S) share that is known of the traffic of 1, 2, ... hours ago, back to where traffic is read."""
    rows = e.query(
        f"""
        SELECT date_diff('hour', t.hour, {_now(e)}) AS back, k.market, count(*) AS rows
        FROM traffic t JOIN keys k USING (content_id)
        WHERE t.hour >= {_now(e)} - INTERVAL {SPAN_DAYS} DAY AND t.hour < {_now(e)} GROUP BY ALL
        """,
        keys=pa.table({"content_id": course.ids, "market": course.market}),
    )  # fmt: skip
    counted = np.zeros((course.markets, SPAN_DAYS * 24))
    counted[rows["market"].to_numpy(), rows["back"].to_numpy() - 1] = numbers(rows, "rows")
    known = np.ones((course.markets, SPAN_DAYS * 24))
    by_day = counted.reshape(course.markets, SPAN_DAYS, 24)
    daily = by_day.sum(axis=2)
    habit = np.median(daily, axis=1, keepdims=True)
    common = np.median(np.divide(daily, habit, out=np.ones_like(daily), where=habit > 0), axis=0)
    there = np.divide(daily, habit * np.minimum(common, 1.0), out=np.ones_like(daily), where=habit * common > 20)
    there = np.where(there < MISSING, there, 1.0)
    # What a market's missing day lacks is not late elsewhere.
    days = ARRIVAL_HOURS // 24
    whole = (there[:, :days] == 1.0)[..., None]
    usual = by_day[:, days : days + 7].mean(axis=1)
    seen = (by_day[:, :days] * whole).sum(axis=0).ravel()
    expected = (usual[:, None] * whole).sum(axis=0).ravel()
    if (expected > 0).all():
        settled = slice(ARRIVAL_HOURS // 2, ARRIVAL_HOURS)
        level = max(seen[settled].sum() / expected[settled].sum(), 1e-3)
        share = isotonic_regression(seen / (expected * level), weights=expected).x
        known[:, :ARRIVAL_HOURS] = np.clip(share / max(share[-1], 1e-9), 0.0, 1.0)
    return np.asarray(known * np.repeat(there, 24, axis=1))


def _shares(density: Array, arrived: Array) -> tuple[Array, Array, Array]:
    """(kinds, markets, 24, H + 1) share come by hours of age; (..., S + 1) share known, and the recent part of it."""
    kinds, markets, firsts, hours = density.shape
    curve = np.zeros((kinds, markets, firsts, hours + 1))
    curve[..., 1:] = np.cumsum(density, axis=-1)
    span = arrived.shape[1]
    known, recent = np.zeros((2, kinds, markets, firsts, span + 1))
    for age in range(1, span + 1):
        # The hour of birth is `age` hours ago.
        late = density[..., :age] * arrived[None, :, None, max(age - hours, 0) : age][..., ::-1]
        known[..., age] = late.sum(axis=-1)
        recent[..., age] = late[..., max(age - RECENT_HOURS, 0) :].sum(axis=-1)
    return curve, known, recent


def _observed(log_mean: Array, views: Array, share: Array, burst: Array) -> tuple[Array, Array]:
    """How far views in a share of the curve put the log size from ``log_mean``, and the variance of that.

    Half a view is added to what was seen and to what was expected, so that nothing seen where nothing was to be seen
    says nothing.
    """
    share = np.maximum(share, 1e-9)
    expected = np.exp(log_mean) * share
    most = np.maximum(views, expected)
    slope = np.maximum(most / (most + 0.5), 1e-9)
    bursts = np.log1p(burst / share)
    deviation = np.log((views + 0.5) / (expected + 0.5)) / slope + bursts / 2
    return deviation, bursts + np.log1p(1 / (most + 0.5)) / slope**2


def _to_come(size: Size, rest: Array, burst: Array) -> tuple[Array, Array]:
    """Mean of the views in the rest of the curve, and the standard deviation of their log."""
    mean = size.expected() * np.maximum(rest, 0.0)
    some = np.maximum(rest, 1e-9)
    error = np.sqrt(size.variance + np.log1p(burst / some + 1 / np.maximum(mean, 1e-9)))
    return mean, np.where(rest > 1e-9, error, 0.0)


def _burst(course: Course, curve: Array, lived: NDArray[np.bool_]) -> Array:
    """(tiers,) what traffic in bursts adds to the squared coefficient of variation of a whole life's views.

    Views before and after a midnight share what the content is; what the earlier ones vary beyond it is noise, and that
    of the share G of a life is that of the whole over G. Large audiences come in more bursts than small ones.
    """
    tiers = int(course.tier.max(initial=0)) + 1
    found, contents = np.zeros((2, tiers)), np.zeros((2, tiers))
    for night in range(min(2, course.by_midnight.shape[1])):
        share = curve[course.kind, course.market, course.first - 1, course.first + 24 * night]
        views = course.by_midnight[:, night]
        at = np.flatnonzero(lived & (share > 0.15) & (share < 0.85) & (course.views >= 20))
        early = np.log((views[at] + 0.5) / share[at])
        late = np.log((course.views[at] - views[at] + 0.5) / (1 - share[at]))
        group = np.unique(course.kind[at] * 1_000 + course.tier[at], return_inverse=True)[1]
        size = np.bincount(group)
        early, late = (x - (np.bincount(group, x) / size)[group] for x in (early, late))
        count = np.bincount(course.tier[at], minlength=tiers)

        def mean(x: Array, at: Codes = at, count: Codes = count) -> Array:
            return np.asarray(np.bincount(course.tier[at], x, tiers) / np.maximum(count, 1))

        excess = np.expm1(mean(early * early - early * late)) - mean(1 / (views[at] + 0.5))
        found[night], contents[night] = mean(share[at]) * excess, count
    total = contents.sum(axis=0)
    own = (found * contents).sum(axis=0)
    overall = (own.sum() + BURST_PRIOR * USUAL_BURST) / (total.sum() + BURST_PRIOR)
    return np.asarray(np.clip((own + BURST_PRIOR * overall) / (total + BURST_PRIOR), 0.02, 2.0))


def _shrunk(values: Array, weight: Array, levels: Sequence[Codes], prior: float) -> Array:
    """(N,) weighted means by the last level, each shrunk to the mean of the level before it."""
    mean = np.full(len(values), np.average(values, weights=weight) if weight.sum() > 0 else 0.0)
    for level in levels:
        group = np.unique(level, return_inverse=True)[1]
        total, known = np.bincount(group, weight * values)[group], np.bincount(group, weight)[group]
        mean = (total + prior * mean) / (known + prior)
    return mean


def _variances(residual: Array, noise: Array, group: Codes, use: NDArray[np.bool_]) -> tuple[float, float]:
    """Variance within groups beyond noise, and between groups."""
    group, residual, noise = group[use], residual[use], noise[use]
    size = np.bincount(group)
    several = size[group] > 1
    if several.sum() < 20:
        return USUAL_VARIANCES
    total, squares = np.bincount(group, residual), np.bincount(group, residual**2)
    many = size > 1
    pairs = (total[many] ** 2 - squares[many]) / size[many]
    within = (squares[many] - total[many] ** 2 / size[many]).sum() / (size[many] - 1).sum()
    between = pairs.sum() / (size[many] - 1).sum()
    return max(float(within - noise[several].mean()), 0.05), max(float(between), 0.02)


def _replayed(
    course: Course, curve: Array, prior: Size, burst: Array, lived: NDArray[np.bool_]
) -> tuple[Array, Array, Array]:
    """Replay the prediction on contents whose life is over.

    Returns:
        factor and width by kind, tier and midnight; factor on whole lives by kind and tier.
    """
    nights, tiers = course.by_midnight.shape[1], len(burst)
    factor, width = np.ones((course.kinds, tiers, nights)), np.ones((course.kinds, tiers, nights))
    whole = np.ones((course.kinds, tiers))
    for kind in range(course.kinds):
        at = np.flatnonzero(lived & (course.kind == kind))
        tier = course.tier[at]
        place = (course.kind[at], course.market[at], course.first[at] - 1)
        before = Size(prior.mean[at], prior.variance[at])
        whole[kind] = _ratios(course.views[at], before.expected(), tier, tiers)
        for night in range(nights):
            share = curve[(*place, course.first[at] + 24 * night)]
            seen = course.by_midnight[at, night]
            came = course.views[at] - seen
            mean, error = _to_come(before.given(seen, share, burst[tier]), 1 - share, burst[tier])
            factor[kind, :, night] = _ratios(came, mean, tier, tiers)
            mean *= factor[kind, tier, night]
            large = mean >= FEW
            if large.sum() >= 50:
                score = (np.log((came + 0.5) / (mean + 0.5)) + error**2 / 2)[large] / error[large]
                width[kind, :, night] = np.clip(np.diff(np.quantile(score, [0.05, 0.95]))[0] / 3.29, 0.5, 2.0)
    return factor, width, whole


def _ratios(came: Array, expected: Array, tier: Codes, tiers: int) -> Array:
    """(tiers,) what came over what was expected, shrunk to that of all tiers.

    A content weighs by the square root of what was expected of it: plain sums would say what the largest few did.
    """
    weight = 1 / np.sqrt(np.maximum(expected, 1.0))
    total, contents = np.bincount(tier, expected * weight, tiers), np.bincount(tier, minlength=tiers)
    overall = ((came * weight).sum() + FEW) / ((expected * weight).sum() + FEW)
    prior = RATIO_PRIOR * np.maximum(total / np.maximum(contents, 1), 1e-9)
    return np.asarray((np.bincount(tier, came * weight, tiers) + prior * overall) / (total + prior))


def _sales(e: Evidence, course: Course) -> Array:
    """(N,) US dollars sold per view of each content: its own, shrunk to its creator's, then to kind x category."""
    rows = e.query(
        f"""
        SELECT k.place, count(*) AS orders, greatest(sum(gmv), 0) AS gmv FROM orders o JOIN keys k USING (content_id)
        WHERE placed_at >= {_now(e)} - INTERVAL {SPAN_DAYS} DAY GROUP BY k.place
        """,
        keys=pa.table({"content_id": course.ids, "place": np.arange(len(course.age))}),
    )
    orders, gmv = np.zeros(len(course.age)), np.zeros(len(course.age))
    orders[rows["place"].to_numpy()], gmv[rows["place"].to_numpy()] = numbers(rows, "orders"), numbers(rows, "gmv")
    views = np.where(course.old, 0.0, course.views)
    if not views.any():
        return views  # all that was sold over no views would be an immense rate
    # Views that bring so many orders; where nothing was seen there is no rate of its own to tell.
    enough = ORDERS_PRIOR * max(views.sum(), 1.0) / max(orders.sum(), 1.0)
    rate = np.full(len(views), gmv.sum() / max(views.sum(), 1.0))
    for group in (course.kind * 1_000 + course.category, course.creator, np.arange(len(views))):
        group = np.unique(group, return_inverse=True)[1]
        sold, seen = np.bincount(group, gmv)[group], np.bincount(group, views)[group]
        rate = (sold + enough * rate) / (seen + enough)
    return rate


def _views_per_post(a: Audience, ids: pa.Array, tier: Codes) -> tuple[Array, Array]:
    """Expected views in the life of a creator's next post, of the kinds they posted so far; else the tier's.

    With the variance of the log of what is to be expected.
    """
    c = a.course
    log_size = a.cohort + a.creator.mean[c.creator]
    expected = np.exp(log_size + (a.creator.variance[c.creator] + a.content_variance) / 2) * a.whole[c.kind, c.tier]
    posts = np.bincount(c.creator, minlength=len(c.creator_ids))
    own = np.bincount(c.creator, expected, len(c.creator_ids)) / np.maximum(posts, 1)
    where = pc.index_in(ids, c.creator_ids).to_numpy(zero_copy_only=False)
    known = ~np.isnan(where.astype(float))
    found = np.zeros(len(ids))
    found[known] = own[where[known].astype(np.int64)]
    count = np.bincount(tier[known], minlength=tier.max(initial=0) + 1)
    usual = np.bincount(tier[known], found[known], tier.max(initial=0) + 1) / np.maximum(count, 1)
    variance = np.full(len(ids), float(a.creator.variance.max(initial=USUAL_VARIANCES[1])))
    variance[known] = a.creator.variance[where[known].astype(np.int64)]
    return np.where(known, found, usual[tier]), variance
