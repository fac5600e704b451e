"""A whole backtest: both replays, how they compare, what they cost, and how they score against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from health_pipeline.backtest.attention import Cost, Minutes, cost, minutes_of
from health_pipeline.backtest.compare import Comparison, compare
from health_pipeline.backtest.replay import WARM_UP_DAYS, Outcome, Report, Reported, replay
from health_pipeline.backtest.score import Score, Verdict, read_effects, score, truth_file
from health_pipeline.backtest.settings import Setting
from health_pipeline.catalog.model import Catalog
from health_pipeline.errors import UserError
from health_pipeline.pipeline import Pipeline
from health_pipeline.stats.detect import MINIMUM_HISTORY


@dataclass(frozen=True)
class Study:
    """What a backtest found.

    Attributes:
        minutes: the assumption on what reports cost.
        costs, scores: by the setting's name; ``scores`` is empty where no truth is known.
        warm_up: days lived through before those that count.
    """

    catalog: Catalog
    comparison: Comparison
    minutes: Minutes
    costs: Mapping[str, Cost]
    scores: Mapping[str, Score]
    warm_up: int

    @property
    def outcomes(self) -> tuple[Outcome, Outcome]:
        return self.comparison.a, self.comparison.b

    def verdict(self, setting: str, reported: Reported) -> Verdict | None:
        """Of an incident first reported in the days that count, where the truth is known."""
        own = self.scores.get(setting)
        return next((v for v in own.verdicts if v.reported.id == reported.id), None) if own else None

    def false_minutes(self, setting: str) -> float:
        """What incidents that fit nothing planted cost in all."""
        outcome = next(o for o in self.outcomes if o.setting.name == setting)
        return minutes_of(self.scores[setting].false, self.minutes, outcome.judged)


def backtest(
    pipeline: Pipeline,
    a: Setting,
    b: Setting,
    days: int,
    *,
    warm_up: int = WARM_UP_DAYS,
    minutes: Minutes | None = None,
    truth: Path | None = None,
    report: Report | None = None,
) -> Study:
    """Replay the last ``days`` loaded days under two settings.

    Args:
        pipeline: of the ecosystem, loaded. Only read.
        truth: ``ground_truth/incidents.parquet`` of simulated data; by default the file beside data that the pipeline
            simulated itself.
        report: where progress goes.

    Raises:
        UserError: nothing was loaded, or too few days to judge any.
        InputError: the truth can't be read.
    """
    path = truth or truth_file(pipeline)
    effects = read_effects(path) if path is not None else []
    outcomes = replay(pipeline, [a, b], days, warm_up, report)
    if not outcomes[0].judged:
        raise UserError(
            f"None of the last {len(outcomes[0].days)} days of {pipeline.catalog.name} can be judged: that takes "
            f"{MINIMUM_HISTORY} days before them, and {len(pipeline.tables.cube.days())} days are loaded in all.",
            "Load more days, then try again.",
        )
    catalog, assumed = pipeline.catalog, minutes or Minutes()
    return Study(
        catalog, compare(*outcomes), assumed,
        costs={o.setting.name: cost(o, assumed) for o in outcomes},
        scores={o.setting.name: score(catalog, o, effects) for o in outcomes} if path is not None else {},
        warm_up=warm_up,
    )  # fmt: skip
