"""Scenarios: what is planted in a simulated marketplace, as YAML that people can write.

A scenario is a list of effects. Each says what happens, where (a segment; empty means everywhere), when (days counted
from the start of the period, or, negative, from its end: -1 is the last day), and how strongly.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from health_pipeline.errors import InputError
from health_pipeline.marketplace.columns import Array
from health_pipeline.marketplace.parameters import CATEGORIES, KINDS, LANGUAGES, MARKETS, TIERS

FOLDER = Path(__file__).parent / "scenarios"

Market = Literal["ID", "TH", "VN", "PH", "MY", "SG"]
Kind = Literal["video", "live"]
Category = Literal[
    "beauty", "fashion", "electronics", "home", "food", "health", "baby", "sports", "toys", "jewelry", "auto", "luxury"
]
Tier = Literal["nano", "micro", "mid", "macro", "mega"]
Language = Literal["id", "th", "vi", "tl", "ms", "en", "zh"]
Policy = Literal[
    "fraud", "fake_engagement", "counterfeit", "illegal_goods", "prohibited_goods", "intellectual_property",
    "misleading_promotion", "off_platform", "exaggerated_claims", "false_giveaway", "low_quality", "static_live",
    "unoriginal",
]  # fmt: skip
Cause = Literal["rate", "mix", "data", "none"]
Factor = Annotated[float, Field(gt=0, le=1000)]

CODES: Mapping[str, tuple[str, ...]] = {
    "market": MARKETS, "kind": KINDS, "category": CATEGORIES, "tier": TIERS, "language": LANGUAGES,
}  # fmt: skip


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Where(_Declared):
    """A segment: values of each dimension, any of which will do; without values, all."""

    market: tuple[Market, ...] = ()
    kind: tuple[Kind, ...] = ()
    category: tuple[Category, ...] = ()
    tier: tuple[Tier, ...] = ()
    language: tuple[Language, ...] = ()

    def mask(self, size: int, /, **codes: Array) -> Array:
        """(size,) which rows lie in the segment. Dimensions whose codes are not given are not asked."""
        inside = np.ones(size, dtype=bool)
        for dimension, values in self._given():
            if dimension in codes:
                inside &= np.isin(codes[dimension], [CODES[dimension].index(v) for v in values])
        return inside

    def segments(self) -> list[str]:
        """``market=ID|category=beauty`` for each combination of values; the empty string for everywhere."""
        found = [""]
        for dimension, values in self._given():
            found = [f"{s}|{dimension}={v}".lstrip("|") for s in found for v in values]
        return found

    def _given(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for dimension in CODES:
            values = getattr(self, dimension)
            if values:
                yield dimension, values


class When(_Declared):
    """From the day ``start`` to the day ``end``, both included; without ``end`` to the end of the period."""

    start: int = Field(description="0 is the first day, -1 the last")
    end: int | None = None

    def days(self, period: int) -> tuple[int, int]:
        """First and last day, counted from the start of a period of so many days."""
        last = period - 1 if self.end is None else self.end if self.end >= 0 else period + self.end
        return (self.start if self.start >= 0 else period + self.start), last


class _Effect(_Declared):
    where: Where = Where()
    when: When
    title: str = Field("", description="what people read in the ground truth")
    metrics: tuple[str, ...] | None = Field(None, description="metrics it moves, when not the usual ones of its kind")

    usual: ClassVar[tuple[str, ...]] = ()
    """Metrics of the catalog that an effect of this kind moves."""

    @property
    def moved(self) -> tuple[str, ...]:
        """The metrics it moves, by their names in the catalog."""
        return self.usual if self.metrics is None else self.metrics


class Violations(_Effect):
    """True violations become more frequent."""

    what: Literal["violations"]
    policies: tuple[Policy, ...]
    multiplier: Factor
    terms: tuple[str, ...] = Field((), description="words that appear in the captions of these violations")
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = (
        "violative_view_rate",
        "prevalence_by_policy",
        "confirmed_violations",
        "violations_per_1k_videos",
    )


class Ring(_Effect):
    """Creators who act together: the same product, hashtags, sound and violation."""

    what: Literal["ring"]
    policy: Policy
    members: int = Field(ge=2, description="per 1,000 creators")
    posts: Factor = Field(4.0, description="contents a day and member")
    hashtags: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = (
        "videos_published",
        "confirmed_violations",
        "violations_per_1k_videos",
        "near_duplicate_share",
    )


class Farm(_Effect):
    """Bought views: many, short, and without clicks."""

    what: Literal["farm"]
    members: int = Field(ge=2, description="per 1,000 creators")
    views: Factor
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = ("views", "violative_view_rate", "product_ctr", "watch_time_per_view", "gpm")


class Threshold(_Effect):
    """The model acts on lower scores than it should."""

    what: Literal["threshold"]
    policies: tuple[Policy, ...]
    shift: float = Field(gt=0, le=5, description="by how much the threshold falls, in logits of the score")
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = (
        "decisions_taken",
        "false_positive_rate",
        "appeals_filed",
        "appeal_rate",
        "overturn_rate",
    )


class Latency(_Effect):
    """Human decisions take longer."""

    what: Literal["latency"]
    multiplier: Factor
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = (
        "minutes_to_action_p90",
        "sla_breach_rate",
        "open_cases",
        "backlog_age_p90",
        "overdue_share",
    )


class Volume(_Effect):
    """More, or less, of everything, at the rates there were."""

    what: Literal["volume"]
    posts: Factor = 1.0
    views: Factor = 1.0
    orders: Factor = Field(1.0, description="on orders per click")
    event: str = Field("", description="name in the calendar, known ahead")
    cause: Cause = "none"
    usual: ClassVar[tuple[str, ...]] = ("videos_published", "live_sessions_held", "views", "orders_placed")


class Outage(_Effect):
    """Rows that were not logged, or came late."""

    what: Literal["outage"]
    tables: tuple[Literal["content_stats", "orders", "reports"], ...] = ("content_stats",)
    recovered_days: int = Field(0, ge=0, le=3, description="the last so many days arrive after all")
    delay_days: int = Field(2, ge=1, le=4, description="so many days after the outage")
    cause: Cause = "data"
    usual: ClassVar[tuple[str, ...]] = ("views",)


class Quality(_Effect):
    """Contents of lower quality, a little more every day."""

    what: Literal["quality"]
    change: float = Field(ge=-0.9, le=0.9, description="relative change of the quality score on the last day")
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = (
        "video_quality_score",
        "live_quality_score",
        "not_interested_per_1k_impressions",
        "quality_weighted_reach",
    )


class Expansion(_Effect):
    """A policy forbids more than before: a new version, known ahead."""

    what: Literal["expansion"]
    policy: Policy
    multiplier: Factor = Field(description="on the share of contents that violate, by definition")
    version: str = "2.0"
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = (
        "violative_view_rate",
        "prevalence_by_policy",
        "confirmed_violations",
        "violations_per_1k_videos",
    )


class Refunds(_Effect):
    """More refunds that are not the buyer's choice."""

    what: Literal["refunds"]
    multiplier: Factor
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = (
        "non_buyer_fault_refund_rate",
        "negative_review_rate",
        "complaints_per_1k_orders",
    )


class Reporting(_Effect):
    """More user reports of the same contents."""

    what: Literal["reporting"]
    multiplier: Factor
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = ("reports_per_1m_views", "report_action_rate")


class Churn(_Effect):
    """Creators leave more often."""

    what: Literal["churn"]
    multiplier: Factor
    cause: Cause = "rate"
    usual: ClassVar[tuple[str, ...]] = ("weekly_active_selling_creators", "creator_d30_retention")


Effect = Annotated[
    Violations
    | Ring
    | Farm
    | Threshold
    | Latency
    | Volume
    | Outage
    | Quality
    | Expansion
    | Refunds
    | Reporting
    | Churn,
    Field(discriminator="what"),
]


class Scenario(_Declared):
    """A named set of effects."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str
    effects: tuple[Effect, ...] = ()

    def check(self, start: dt.date, days: int) -> None:
        """Raise unless every effect lies within a period.

        Raises:
            InputError: names the effect, and the number of days it needs.
        """
        for number, effect in enumerate(self.effects, 1):
            first, last = effect.when.days(days)
            if not 0 <= first <= last < days:
                raise InputError(
                    f"Effect {number} ({effect.what}) of the scenario {self.name} lies on days {first} to {last} of a "
                    f"period of {days} days from {start}.",
                    "Simulate more days, or change its `when`: 0 is the first day, -1 the last.",
                )


class Active:
    """The effects of a scenario in a period: which of a kind hold on a day."""

    def __init__(self, scenario: Scenario, days: int) -> None:
        self.scenario = scenario
        self.days = days

    def on(self, kind: type[_Effect], day: int) -> list[tuple[int, Any]]:
        """Effects of a kind on a day of the period, each with its number in the scenario."""
        return [
            (n, e)
            for n, e in enumerate(self.scenario.effects)
            if isinstance(e, kind) and e.when.days(self.days)[0] <= day <= e.when.days(self.days)[1]
        ]

    def of(self, kind: type[_Effect]) -> list[tuple[int, Any]]:
        """All effects of a kind, each with its number in the scenario."""
        return [(n, e) for n, e in enumerate(self.scenario.effects) if isinstance(e, kind)]

    def factor(self, kind: type[_Effect], field: str, day: int, size: int, /, **codes: Array) -> Array:
        """(size,) product of a factor over the effects of a kind that hold, 1 where none does."""
        product = np.ones(size)
        for _, effect in self.on(kind, day):
            product[effect.where.mask(size, **codes)] *= getattr(effect, field)
        return product


def bundled() -> dict[str, Path]:
    """Files of the bundled scenarios, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def load_scenario(name_or_file: str) -> Scenario:
    """A bundled scenario by name, or one of your own by the path of its file.

    Raises:
        InputError: there is none, or the file is wrong; says where and what to do.
    """
    path = bundled().get(name_or_file) or Path(name_or_file)
    if not path.is_file():
        near = difflib.get_close_matches(name_or_file, bundled(), n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"There is no scenario {name_or_file!r}, nor a file of that name.",
            f"{hint}`health-pipeline simulate --list` shows what there is.",
        )
    try:
        return Scenario.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}", "Start from a copy of a bundled scenario.") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'the file'}: {e['msg'].lower()}" for e in error.errors()[:5]
        )
        raise InputError(
            f"{path} is not a scenario: {problems}.", "docs/simulator.md lists the effects and their keys."
        ) from None
