"""Content statistics: what each content did in each hour on each surface.

A content is shown in *bursts*, an hour on a surface: a recommender tries it, drops it, and takes it up again. Hours
without traffic have no row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from health_pipeline.marketplace.calendar import DAY, HOUR, MINUTE, DayFactors
from health_pipeline.marketplace.columns import Array, Records, instants, names
from health_pipeline.marketplace.contents import Contents, common_columns
from health_pipeline.marketplace.effects import Outage, Volume
from health_pipeline.marketplace.parameters import LIVE, SURFACES, Parameters
from health_pipeline.marketplace.scenario import Active

CELLS = len(SURFACES) * 24


@dataclass
class Traffic(Records):
    """Bursts of a day: one row of ``content_stats`` each."""

    content: Array
    """Position in the contents."""
    hour: Array
    """Of the day, 0 to 23."""
    surface: Array
    impressions: Array
    views: Array
    clicks: Array


def traffic(
    p: Parameters,
    contents: Contents,
    day: int,
    factors: DayFactors,
    hours: Array,
    more: Array,
    rng: np.random.Generator,
) -> Traffic:
    """The traffic of contents on a day, in the order of the contents, hours and surfaces.

    Args:
        hours: of :func:`.calendar.hour_tables`.
        more: (contents,) factor on views.
    """
    age = day - contents.day
    live = contents.kind == LIVE
    expected = contents.views * factors.views[contents.market] * more
    expected *= np.where(live, age == 0, np.array(p.views_by_age)[age])
    length = (contents.ended - contents.published) / HOUR
    bursts = np.array(p.bursts_by_age)[age] * np.clip((contents.views / 1000) ** 0.25, 0.5, 2.5)
    bursts = np.where(live, np.where(age == 0, 1 + 3 * length, 0), bursts)
    count = rng.poisson(bursts)
    row = np.repeat(np.arange(len(contents), dtype=np.int32), count)
    n = len(row)
    published = (contents.published // HOUR - day * 24)[row]
    usual = hours[contents.market[row], rng.integers(0, hours.shape[1], n)]
    since = published + ((24 - published) * rng.random(n) ** 1.5).astype(np.int64)
    last = np.minimum((contents.ended // HOUR - day * 24)[row], 23)
    during = published + (rng.random(n) * (last - published + 1)).astype(np.int64)
    hour = np.where(live[row], during, np.where(age[row] == 0, since, usual))
    surfaces = np.cumsum(np.array([p.video_surfaces, p.live_surfaces]), axis=1)
    surface = np.minimum((rng.random(n)[:, None] > surfaces[contents.kind[row]]).sum(axis=1), len(SURFACES) - 1)
    cell, together = np.unique(row.astype(np.int64) * CELLS + hour * len(SURFACES) + surface, return_counts=True)
    row, cell = (cell // CELLS).astype(np.int32), cell % CELLS
    hour, surface = (cell // len(SURFACES)).astype(np.int8), (cell % len(SURFACES)).astype(np.int8)
    n = len(row)
    begins = day * DAY + hour.astype(np.int64) * HOUR
    down = (begins >= contents.removed[row]) & (begins < contents.restored[row])
    rate = np.array(p.view_rate)[contents.kind]
    mean = (expected / np.maximum(bursts, 1e-9) / rate)[row] * np.where(begins >= contents.demoted[row], 0.25, 1.0)
    mean *= 2 * together * rng.standard_exponential(n) * rng.random(n)  # mean 1, many small and a few large
    impressions = rng.poisson(np.where(down, 0.0, mean))
    views = np.minimum(rng.poisson(impressions * rate[row]), impressions)
    buyable = (contents.clicks * (contents.products > 0))[row]
    clicks = np.minimum(rng.poisson(views * buyable), views)
    made = Traffic(row, hour, surface, impressions, views, clicks)
    return made.take(impressions > 0)


def more_views(active: Active, offset: int, contents: Contents) -> Array:
    """(contents,) a scenario's factor on views."""
    return active.factor(
        Volume, "views", offset, len(contents), market=contents.market, category=contents.category,
        kind=contents.kind, tier=contents.tier, language=contents.language,
    )  # fmt: skip


def statistics(
    p: Parameters, contents: Contents, made: Traffic, day: int, rng: np.random.Generator
) -> tuple[dict[str, pa.Array], Array]:
    """Columns of ``content_stats`` but for ``ingested_at``, and the instants of arrival."""
    at = made.content
    n = len(made)
    low = contents.low_quality[at]
    begins = day * DAY + made.hour.astype(np.int64) * HOUR
    watched = made.views * contents.watch[at] * np.exp(0.3 * rng.standard_normal(n) - 0.045)
    unwanted = rng.poisson(made.impressions * p.not_interested * np.where(low, 3.0, 1.0) * (1.6 - contents.quality[at]))
    delay = np.exp(0.45 * rng.standard_normal(n)) * (p.stats_hours - 1) + 1
    slow = rng.random(n) < p.stats_straggler
    delay = np.where(slow, rng.uniform(6, 47, n), np.minimum(delay, 47))
    columns = common_columns(contents, at) | {
        "content_id": contents.ids.take(pa.array(at)),
        "surface": names(SURFACES, made.surface),
        "hour": instants(begins),
        "impressions": pa.array(made.impressions),
        "views": pa.array(made.views),
        "watch_seconds": pa.array(np.round(watched, 1)),
        "not_interested": pa.array(np.minimum(unwanted, made.impressions)),
        "product_clicks": pa.array(made.clicks),
        "low_quality_views": pa.array(np.where(low, made.views, 0)),
    }
    return columns, begins + HOUR + (delay * HOUR).astype(np.int64) // MINUTE * MINUTE


def logged(
    p: Parameters,
    active: Active,
    offset: int,
    contents: Contents,
    made: Traffic,
    day: int,
    rng: np.random.Generator,
    until: int,
    restate: bool = True,
) -> dict[str, pa.Array]:
    """Rows of ``content_stats``: some are corrected within two days, some are lost or held up by an outage."""
    columns, arrived = statistics(p, contents, made, day, rng)
    arrived = outage(active, "content_stats", offset, day, contents.market[made.content], arrived)
    restated = np.flatnonzero(rng.random(len(made)) < (p.restated if restate else 0.0))
    restated = restated[arrived[restated] < (day + 5) * DAY]  # in time for the contract's lateness
    again = arrived[restated] + rng.integers(12, 48, len(restated)) * HOUR
    which = np.concatenate([np.arange(len(made)), restated])
    arrived = np.concatenate([arrived, again])
    kept = np.flatnonzero(arrived < until)
    rows = {k: v.take(pa.array(which[kept])) for k, v in columns.items()}
    if (kept >= len(made)).any():  # a correction counts what had been missed
        late = kept >= len(made)
        rows["impressions"] = pa.array(made.impressions[which[kept]] + late * (1 + made.impressions[which[kept]] // 20))
    rows["ingested_at"] = instants(arrived[kept])
    return rows


def outage(active: Active, table: str, offset: int, day: int, market: Array, arrived: Array) -> Array:
    """Instants of arrival as outages of a table leave them: as they are, later, or after all time."""
    for _, effect in active.on(Outage, offset):
        if table not in effect.tables:
            continue
        _, last = effect.when.days(active.days)
        hit = effect.where.mask(len(market), market=market)
        if offset > last - effect.recovered_days:
            back = (day + last - offset + effect.delay_days) * DAY + 9 * HOUR
            arrived = np.where(hit, np.maximum(arrived, back) + (arrived % HOUR), arrived)
        else:
            arrived = np.where(hit, np.iinfo(np.int64).max, arrived)
    return arrived
