"""False discoveries controlled over series and days together: batch testing with a decaying memory.

Every day is a batch. Within a day Benjamini and Hochberg's procedure runs at a level that depends on what was spent and
found on past days: the estimated share of false reports among all reports, older ones counting less and less, stays
below the accepted rate (Zrnic, Jiang, Ramdas, Jordan: The power of batching in multiple hypothesis testing, *AISTATS*
2020; memory decay: Ramdas, Yang, Wainwright, Jordan: Online control of the false discovery rate with decaying memory,
*NeurIPS* 2017). So a quiet month cannot save up for a wild day, and a wild day does not starve the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from health_pipeline.stats.arrays import Array

DECAY = 0.97  # of what a day counts, per day
FORGOTTEN = 200  # days after which a day counts for nothing


@dataclass
class Memory:
    """Levels spent and reports made, oldest day first."""

    rate: float
    levels: list[float] = field(default_factory=list)
    reports: list[int] = field(default_factory=list)

    def level(self) -> float:
        """The level of the next day."""
        days = len(self.levels)
        ages = DECAY ** np.arange(days, 0, -1)
        reports, levels = np.array(self.reports, dtype=float), np.array(self.levels)
        # As if quiet days without number had gone before the first.
        before = self.rate * DECAY ** (days + 1)
        total = float(np.sum(ages * reports))
        others = total - ages * reports
        own = np.maximum(reports, 1.0)
        spent = float(np.sum(ages * levels * own / (own + others))) + before / (1.0 + total)
        return float(np.clip(self.rate - spent, self.rate * (1.0 - DECAY) * 0.1, self.rate))

    def judge(self, p: Array, further: NDArray[np.bool_] | None = None) -> Array:
        """q-values (N) of a day's p-values (NaN: not judged): what is at most ``rate`` is to be reported.

        Args:
            further: N; series with a shift already under way. What is reported of them earns nothing for later days:
                one truth must not pay for many errors.
        """
        level = self.level()
        q = np.full(len(p), np.nan)
        judged = ~np.isnan(p)
        if judged.any():
            adjusted = stats.false_discovery_control(p[judged], method="bh")
            q[judged] = np.minimum(adjusted * (self.rate / level), 1.0)
        self.levels = [*self.levels, level][-FORGOTTEN:]
        earned = q <= self.rate if further is None else (q <= self.rate) & ~further
        self.reports = [*self.reports, int(np.sum(earned))][-FORGOTTEN:]
        return q
