"""What is told of a shift on a judged day: its days, its size with an interval, how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from health_pipeline.stats.fits import Fits
from health_pipeline.stats.kernel import OLDEST
from health_pipeline.stats.life import REFINED_DAYS, Active, Kind, Phase
from health_pipeline.stats.links import moved, natural
from health_pipeline.stats.panel import Scale
from health_pipeline.stats.spans import WINDOW


@dataclass(frozen=True)
class Shift:
    """One shift of one series as of one judged day; the change on the natural scale.

    Attributes:
        row, column: place in the panel.
        reported: column of the first report; may be before the panel's first (negative).
        state: ``new`` on the day of the report; ``recovered`` (the series is back) and ``settled`` (so long under way
            that it is the new normal) are a shift's last row.
        onset, onset_low, onset_high: columns of the most likely first day, and its interval.
        ended: first column that is back; ``None`` while it goes on.
        days: observed days since onset.
        expected, observed: a typical day since onset, without and with the shift, natural scale.
        change, low, high: observed / expected - 1 with its 95 % interval, for the first days after the report adjusted
            for having been selected (false coverage rate: Benjamini and Yekutieli, *Journal of the American Statistical
            Association* 100, 2005).
        numerator, denominator: means per observed day since onset, in the metric's own unit.
        exposure: the same of the panel's denominator: for a ratio in effective events.
        score: estimate over standard error, today.
        p, q: as at the report; p over all lags.
        tested: series judged on the day of the report.
    """

    row: int
    column: int
    reported: int
    kind: Kind
    state: Phase
    onset: int
    onset_low: int
    onset_high: int
    ended: int | None
    days: int
    expected: float
    observed: float
    change: float
    low: float
    high: float
    numerator: float
    denominator: float
    exposure: float
    score: float
    p: float
    q: float
    tested: int


def tell(fits: Fits, i: int, s: Active, phase: Phase, column: int) -> Shift:
    """A shift as the newest fit of its series has it.

    Args:
        i: row of the series in the panel.
        column: the judged day; its series has been fitted on it.
    """
    panel, day = fits.panel, fits.zero + column
    onset = s.onset - fits.zero
    stop = column + 1 if s.open else min(s.end - fits.zero, column + 1)
    since = np.arange(max(onset, column - WINDOW + 1), stop)
    since = since[~np.isnan(fits.numerator[i, since])] if len(since) else since
    if not len(since):
        since = np.array([column])
    scale = Scale(int(panel.scale[i]))
    without = fits.fitted[i, since - (column - WINDOW + 1)].copy()
    for at, other in enumerate(fits.slots[i]):
        if other is s or np.isnan(fits.step_error[i, at]):  # what is not in the fit is in its level already
            continue
        # A later step the other way is part of what became of this one, and not of what was to be expected.
        if other.onset < s.onset or other.size * s.size > 0.0:
            during = (since + fits.zero >= other.onset) & (since + fits.zero < other.end)
            without[during] += other.size
    base = natural(scale, without)
    k, n = fits.numerator[i, since], fits.denominator[i, since]
    if scale == Scale.COUNT:
        expected, observed, exposure = float(np.mean(base)), float(np.mean(k)), 1.0
    else:
        expected = float(np.sum(base * n) / np.sum(n))
        observed = float(np.sum(k) / np.sum(n))
        exposure = float(np.mean(n))
    # Nothing at all has no logarithm: half a thing stands for it.
    floor = 0.5 / (exposure * len(since))
    age = min(max(column - onset, 0), OLDEST - 1)
    inflation = float(fits.inflate(i, age))
    level = 0.05 if day - s.reported > REFINED_DAYS else 0.05 * max(s.share, 1e-6)
    degrees = fits.degrees(np.array([i]), np.array([age])).item()
    half = float(special.stdtrit(degrees, 1.0 - level / 2.0)) * s.error * inflation
    reach = max(observed, floor)
    low, high = min(moved(scale, reach, -half), observed), max(moved(scale, reach, half), observed)
    base_value = max(expected, 1e-12)
    k_size = panel.size[i, since]
    return Shift(
        row=i, column=column, reported=s.reported - fits.zero, kind=s.kind, state=phase, onset=onset,
        onset_low=s.onset_low - fits.zero, onset_high=s.onset_high - fits.zero,
        ended=None if s.open else s.end - fits.zero, days=len(since), expected=expected, observed=observed,
        change=observed / base_value - 1.0, low=low / base_value - 1.0, high=high / base_value - 1.0,
        numerator=float(np.mean(k * k_size)), denominator=float(np.mean(n * k_size)), exposure=exposure,
        score=s.size / s.error / inflation if s.error > 0 else 0.0, p=s.p, q=s.q, tested=s.tested,
    )  # fmt: skip
