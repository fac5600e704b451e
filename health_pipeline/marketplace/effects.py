"""Effects: what can be planted in a simulated marketplace. Each class is one kind, and its docstring says what it does.

An effect says what happens, where (a segment; empty means everywhere), when (days counted from the start of the period,
or, negative, from its end: -1 is the last day), and how strongly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from health_pipeline.marketplace.columns import Array
from health_pipeline.marketplace.parameters import CATEGORIES, KINDS, LANGUAGES, MARKETS, POLICIES, TIERS


def _among(known: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"{value!r} is not one of {', '.join(known)}")
        return value

    return AfterValidator(check)


Market = Annotated[str, _among(MARKETS)]
Kind = Annotated[str, _among(KINDS)]
Category = Annotated[str, _among(CATEGORIES)]
Tier = Annotated[str, _among(TIERS)]
Language = Annotated[str, _among(LANGUAGES)]
Policy = Annotated[str, _among(POLICIES)]
Cause = Literal["rate", "mix", "data", "none"]
Factor = Annotated[float, Field(gt=0, le=1000)]
OF_VIOLATIONS = ("violative_view_rate", "prevalence_by_policy", "confirmed_violations", "violations_per_1k_videos")
"""Metrics that more true violations move."""

CODES: Mapping[str, tuple[str, ...]] = {
    "market": MARKETS, "kind": KINDS, "category": CATEGORIES, "tier": TIERS, "language": LANGUAGES,
}  # fmt: skip


class Declared(BaseModel):
    """Base of everything declared in a scenario: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Where(Declared):
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


class When(Declared):
    """From the day ``start`` to the day ``end``, both included; without ``end`` to the end of the period."""

    start: int = Field(description="0 is the first day, -1 the last")
    end: int | None = None

    def days(self, period: int) -> tuple[int, int]:
        """First and last day, counted from the start of a period of so many days."""
        last = period - 1 if self.end is None else self.end if self.end >= 0 else period + self.end
        return (self.start if self.start >= 0 else period + self.start), last


class Planted(Declared):
    """What every effect has."""

    where: Where = Where()
    when: When
    title: str = Field("", description="what people read in the ground truth")
    cause: Cause = "rate"
    metrics: tuple[str, ...] | None = Field(None, description="metrics it moves, when not the usual ones of its kind")

    usual: ClassVar[tuple[str, ...]] = ()
    """Metrics of the catalog that an effect of this kind moves."""

    @property
    def moved(self) -> tuple[str, ...]:
        """The metrics it moves, by their names in the catalog."""
        return self.usual if self.metrics is None else self.metrics


class Violations(Planted):
    """True violations become more frequent."""

    what: Literal["violations"]
    policies: tuple[Policy, ...]
    multiplier: Factor
    terms: tuple[str, ...] = Field((), description="words that appear in the captions of these violations")
    usual: ClassVar[tuple[str, ...]] = OF_VIOLATIONS


class Ring(Planted):
    """Creators who act together: the same product, hashtags, sound and violation."""

    what: Literal["ring"]
    policy: Policy
    members: int = Field(ge=2, description="per 1,000 creators")
    posts: Factor = Field(4.0, description="contents a day and member")
    hashtags: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    usual: ClassVar[tuple[str, ...]] = (
        "videos_published",
        "confirmed_violations",
        "violations_per_1k_videos",
        "near_duplicate_share",
    )


class Farm(Planted):
    """Bought views: many, short, and without clicks."""

    what: Literal["farm"]
    members: int = Field(ge=2, description="per 1,000 creators")
    views: Factor
    usual: ClassVar[tuple[str, ...]] = ("views", "violative_view_rate", "product_ctr", "watch_time_per_view", "gpm")


class Threshold(Planted):
    """The model acts on lower scores than it should."""

    what: Literal["threshold"]
    policies: tuple[Policy, ...]
    shift: float = Field(gt=0, le=5, description="by how much the threshold falls, in logits of the score")
    usual: ClassVar[tuple[str, ...]] = (
        "decisions_taken",
        "false_positive_rate",
        "appeals_filed",
        "appeal_rate",
        "overturn_rate",
    )


class Latency(Planted):
    """Human decisions take longer."""

    what: Literal["latency"]
    multiplier: Factor
    usual: ClassVar[tuple[str, ...]] = (
        "minutes_to_action_p90",
        "sla_breach_rate",
        "open_cases",
        "backlog_age_p90",
        "overdue_share",
    )


class Volume(Planted):
    """More, or less, of everything, at the rates there were."""

    what: Literal["volume"]
    posts: Factor = 1.0
    views: Factor = 1.0
    orders: Factor = Field(1.0, description="on orders per click")
    event: str = Field("", description="name in the calendar, known ahead")
    cause: Cause = "none"
    usual: ClassVar[tuple[str, ...]] = ("videos_published", "live_sessions_held", "views", "orders_placed")


class Outage(Planted):
    """Rows that were not logged, or came late."""

    what: Literal["outage"]
    tables: tuple[Literal["content_stats", "orders", "reports"], ...] = ("content_stats",)
    recovered_days: int = Field(0, ge=0, le=3, description="the last so many days arrive after all")
    delay_days: int = Field(2, ge=1, le=4, description="so many days after the outage")
    cause: Cause = "data"
    usual: ClassVar[tuple[str, ...]] = ("views",)


class Quality(Planted):
    """Contents of lower quality, a little more every day."""

    what: Literal["quality"]
    change: float = Field(ge=-0.9, le=0.9, description="relative change of the quality score on the last day")
    usual: ClassVar[tuple[str, ...]] = (
        "video_quality_score",
        "live_quality_score",
        "not_interested_per_1k_impressions",
        "quality_weighted_reach",
    )


class Expansion(Planted):
    """A policy forbids more than before: a new version, known ahead."""

    what: Literal["expansion"]
    policy: Policy
    multiplier: Factor = Field(description="on the share of contents that violate, by definition")
    version: str = "2.0"
    usual: ClassVar[tuple[str, ...]] = OF_VIOLATIONS


class Refunds(Planted):
    """More refunds that are not the buyer's choice."""

    what: Literal["refunds"]
    multiplier: Factor
    usual: ClassVar[tuple[str, ...]] = (
        "non_buyer_fault_refund_rate",
        "negative_review_rate",
        "complaints_per_1k_orders",
    )


class Reporting(Planted):
    """More user reports of the same contents."""

    what: Literal["reporting"]
    multiplier: Factor
    usual: ClassVar[tuple[str, ...]] = ("reports_per_1m_views", "report_action_rate")


class Churn(Planted):
    """Creators leave more often."""

    what: Literal["churn"]
    multiplier: Factor
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
