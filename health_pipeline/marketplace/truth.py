"""Ground truth: what was planted and what is so, beside the data, for studies; the pipeline never reads it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from health_pipeline.marketplace.columns import NOBODY, dates, identifiers, names
from health_pipeline.marketplace.contents import Contents, common_columns
from health_pipeline.marketplace.effects import Expansion, Farm, Outage, Quality, Ring, Threshold, Violations, Volume
from health_pipeline.marketplace.parameters import MARKETS, POLICIES, TIERS
from health_pipeline.marketplace.scenario import Scenario
from health_pipeline.marketplace.world import World
from health_pipeline.marketplace.writer import ParquetFile

FOLDER = "ground_truth"
INCIDENTS = pa.schema([
    ("incident_id", pa.string()), ("scenario", pa.string()), ("effect", pa.string()), ("title", pa.string()),
    ("start", pa.date32()), ("end", pa.date32()), ("to_the_end", pa.bool_()), ("segment", pa.string()),
    ("policies", pa.string()), ("metrics", pa.string()), ("multiplier", pa.float64()), ("cause", pa.string()),
])  # fmt: skip
CONTENTS = pa.schema([
    ("content_id", pa.string()), ("day", pa.date32()), ("creator_id", pa.string()), ("market", pa.string()),
    ("kind", pa.string()), ("category", pa.string()), ("tier", pa.string()), ("language", pa.string()),
    ("violative", pa.bool_()), ("policy", pa.string()), ("policy_next", pa.string()), ("low_quality", pa.bool_()),
    ("model_score", pa.float64()), ("expected_views", pa.float64()), ("cluster", pa.int64()),
])  # fmt: skip
CREATORS = pa.schema([
    ("creator_id", pa.string()), ("market", pa.string()), ("tier", pa.string()), ("propensity", pa.float64()),
    ("evader", pa.bool_()), ("cluster", pa.int64()),
])  # fmt: skip
CLUSTERS = pa.schema([
    ("cluster", pa.int64()), ("effect", pa.string()), ("policy", pa.string()), ("creator_id", pa.string()),
    ("hashtags", pa.string()), ("start", pa.date32()), ("end", pa.date32()),
])  # fmt: skip
TERMS = pa.schema([
    ("term", pa.string()), ("policy", pa.string()), ("segment", pa.string()), ("start", pa.date32()),
    ("end", pa.date32()),
])  # fmt: skip
POLICY_EFFECTS = pa.schema([
    ("policy", pa.string()), ("effective_on", pa.date32()), ("markets", pa.string()), ("version", pa.string()),
    ("multiplier", pa.float64()), ("title", pa.string()),
])  # fmt: skip


def strength(effect: Any) -> float:
    """The factor by which an effect moves what it moves."""
    match effect:
        case Ring():
            return effect.posts
        case Farm():
            return effect.views
        case Volume():
            return max(effect.posts, effect.views, effect.orders, key=lambda factor: abs(np.log(factor)))
        case Threshold():
            return float(np.exp(effect.shift))
        case Outage():
            return 0.0
        case Quality():
            return 1 + effect.change
    return float(effect.multiplier)


def incidents(scenario: Scenario, first_day: int, days: int) -> list[dict[str, Any]]:
    """One row for each effect and segment."""
    rows = []
    for number, effect in enumerate(scenario.effects, 1):
        first, last = effect.when.days(days)
        policies = getattr(effect, "policies", None) or tuple(
            p for p in (getattr(effect, "policy", None),) if p is not None
        )
        for segment in effect.where.segments():
            rows.append({
                "incident_id": f"{scenario.name}-{number}",
                "scenario": scenario.name,
                "effect": effect.what,
                "title": effect.title or scenario.title,
                "start": date(first_day + first),
                "end": date(first_day + last),
                "to_the_end": last == days - 1,
                "segment": segment,
                "policies": ",".join(policies),
                "metrics": ",".join(effect.moved),
                "multiplier": strength(effect),
                "cause": effect.cause,
            })  # fmt: skip
    return rows


def placebos(world: World) -> list[tuple[int, str, str]]:
    """Policy events without any effect: day, policy, title. What is measured of them is noise."""
    days = world.active.days
    return [
        (world.first_day + days // 3, "unoriginal", "Unoriginal content: wording made clearer"),
        (world.first_day + 2 * days // 3, "false_giveaway", "False giveaways: reviewers' guide rearranged"),
    ]


class Truth:
    """Writes the tables of ground truth, contents day by day. Used as a context, like the writer."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder / FOLDER
        self.world = world
        self._contents = ParquetFile(self.folder / "contents.parquet", CONTENTS)
        self._finished = False

    def add(self, contents: Contents, day: int) -> None:
        """The true state of the contents of a day."""
        columns = common_columns(contents) | {
            "content_id": contents.ids,
            "day": dates(np.full(len(contents), day)),
            "violative": pa.array(contents.policy != NOBODY),
            "policy": names(POLICIES, contents.policy),
            "policy_next": names(POLICIES, contents.policy_next),
            "low_quality": pa.array(contents.low_quality),
            "model_score": pa.array(1 / (1 + np.exp(-contents.score.astype(float)))),
            "expected_views": pa.array(np.asarray(contents.views)),
            "cluster": pa.array(contents.cluster.astype(np.int64), mask=contents.cluster == NOBODY),
        }
        self._contents.add(pa.table([columns[f.name] for f in CONTENTS], schema=CONTENTS))

    def finish(self) -> list[dict[str, Any]]:
        """Write the other tables. Returns the rows of ``incidents``."""
        world, scenario = self.world, self.world.active.scenario
        days = world.active.days
        c = world.creators
        planted = incidents(scenario, world.first_day, days)
        self._write("incidents", pa.Table.from_pylist(planted, INCIDENTS))
        there = np.flatnonzero(c.joined <= world.last_day)
        cluster = c.cluster[there].astype(np.int64)
        self._write(
            "creators",
            pa.table(
                [
                    identifiers("c", there, 8), names(MARKETS, c.market[there]), names(TIERS, c.tier[there]),
                    pa.array(c.propensity[there]), pa.array(c.evader[there]), pa.array(cluster, mask=cluster == NOBODY),
                ],
                schema=CREATORS,
            ),
        )  # fmt: skip
        clusters, terms = [], []
        changes = [[p, date(d), ",".join(MARKETS), "1.0", 1.0, title] for d, p, title in placebos(world)]
        for number, effect in enumerate(scenario.effects):
            first, last = (date(world.first_day + d) for d in effect.when.days(days))
            if isinstance(effect, Ring | Farm):
                members = identifiers("c", np.flatnonzero(c.cluster == number), 8).to_pylist()
                policy = effect.policy if isinstance(effect, Ring) else "fake_engagement"
                tags = " ".join(effect.hashtags) if isinstance(effect, Ring) else None
                clusters += [[number, effect.what, policy, m, tags, first, last] for m in members]
            if isinstance(effect, Ring | Violations):
                policies = effect.policies if isinstance(effect, Violations) else (effect.policy,)
                segments = effect.where.segments()
                terms += [[t, p, s, first, last] for t in effect.terms for p in policies for s in segments]
            if isinstance(effect, Expansion):
                markets = ",".join(effect.where.market or MARKETS)
                changes.append([effect.policy, first, markets, effect.version, effect.multiplier, effect.title])
        for name, columns, rows in (
            ("clusters", CLUSTERS, clusters), ("terms", TERMS, terms), ("policy_effects", POLICY_EFFECTS, changes),
        ):  # fmt: skip
            self._write(name, pa.Table.from_pylist([dict(zip(columns.names, r, strict=True)) for r in rows], columns))
        self._contents.finish()
        self._finished = True
        return planted

    def _write(self, name: str, rows: pa.Table) -> None:
        file = ParquetFile(self.folder / f"{name}.parquet", rows.schema)
        file.add(rows)
        file.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._finished:
            self._contents.abandon()


def date(day: int) -> dt.date:
    """A day since 1970 as a date."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=day)
