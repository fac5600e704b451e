"""The detector's input: many series on one run of days."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array


class Scale(IntEnum):
    """The scale on which changes of a series are additive."""

    COUNT = 0  # log(numerator + 1/2)
    PROPORTION = 1  # log((numerator + 1/2) / (denominator - numerator + 1/2))
    MEAN = 2  # log(1 + numerator / denominator)
    RATE = 3  # log((numerator + 1/2) / denominator)


@dataclass(frozen=True)
class Panel:
    """Series x days.

    Attributes:
        series: N names.
        days: T consecutive days, ``datetime64[D]``.
        scale: N values of :class:`Scale`.
        numerator: (N, T); NaN where the day is missing, incomplete, or before the series' first event.
        denominator: (N, T); what the numerator is out of; ignored for counts.
        lag: N days; column t of a series holds its value of day t less its lag, because younger ones are not mature.
        size: (N, T); how much of the metric's own unit one of the numerator is (and of the denominator): a ratio is
            counted in effective events, whose variance is Poisson's.
        supported: (N, T); whether the series is large enough to be judged that day.
        sampling: (N, T); variance of the day's value on the additive scale that its sample itself tells: of rows that
            depend on each other within a creator, of unequal weights, of a quantile. 0 where nothing is told.
        pool: N; series of one pool are alike in how noisy they are, and lend each other what their own days do not
            tell.
        cohort: N; series of one cohort have days in common, such as those of a campaign: what all of them do on a day
            is no series' own shift. -1 where a series is judged by itself, as totals are. Of one lag.
        special: (N, T); days known to be out of the ordinary, such as a declared campaign's: they teach and tell
            nothing.
    """

    series: tuple[str, ...]
    days: NDArray[np.datetime64]
    scale: NDArray[np.int8]
    numerator: Array
    denominator: Array
    lag: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    size: Array = field(default_factory=lambda: np.zeros((0, 0)))
    supported: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.bool_))
    sampling: Array = field(default_factory=lambda: np.zeros((0, 0)))
    pool: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    cohort: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    special: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.bool_))

    def __post_init__(self) -> None:
        neutral = {
            "lag": np.zeros(len(self.series), dtype=np.int64),
            "size": np.ones(self.numerator.shape),
            "supported": np.ones(self.numerator.shape, dtype=np.bool_),
            "sampling": np.zeros(self.numerator.shape),
            "pool": self.scale.astype(np.int64),
            "cohort": np.full(len(self.series), -1, dtype=np.int64),
            "special": np.zeros(self.numerator.shape, dtype=np.bool_),
        }
        for name, values in neutral.items():
            if not getattr(self, name).size:
                object.__setattr__(self, name, values)
        shape = (len(self.series), len(self.days))
        if self.numerator.shape != shape or self.denominator.shape != shape or self.scale.shape != shape[:1]:
            raise ValueError(f"numerator, denominator and scale must fit {shape[0]} series x {shape[1]} days")

    def only(self, *rows: int) -> Panel:
        """The panel of some of the series."""
        at = list(rows)
        return Panel(
            tuple(self.series[i] for i in at), self.days, self.scale[at], self.numerator[at], self.denominator[at],
            self.lag[at], self.size[at], self.supported[at], self.sampling[at], self.pool[at], self.cohort[at],
            self.special[at],
        )  # fmt: skip

    def day(self, row: int, column: int) -> dt.date:
        """The day whose value a place of the panel holds; columns before its first are negative."""
        day: dt.date = (self.days[0] + column - self.lag[row]).item()
        return day

    def transformed(self) -> Array:
        """(N, T) on each series' own additive scale; the halves keep zero counts finite."""
        k, n = self.numerator, self.denominator
        out = np.log(k + 0.5)
        rows = self.scale == Scale.PROPORTION
        out[rows] -= np.log(np.maximum(n[rows] - k[rows], 0.0) + 0.5)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = self.scale == Scale.RATE
            out[rows] -= np.log(n[rows])
            rows = self.scale == Scale.MEAN
            out[rows] = np.log1p(k[rows] / n[rows])
        out[~np.isfinite(out)] = np.nan
        return out

    def natural(self, transformed: Array) -> Array:
        """From the additive scale of a fit (rows are series) to expected counts, shares, rates and means."""
        scale = self.scale.reshape(-1, *[1] * (transformed.ndim - 1))
        power = np.exp(np.minimum(transformed, 700.0))
        proportion = 1.0 / (1.0 + np.exp(-np.clip(transformed, -700.0, 700.0)))
        out: Array = np.where(
            scale == Scale.PROPORTION,
            proportion,
            np.where(scale == Scale.MEAN, np.maximum(power - 1.0, 0.0), power),
        )
        return out
