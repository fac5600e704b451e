"""The detector and the methods it is compared with, all made to answer the same question.

What another library does is set up as its documentation shows, at 99 % or three sigmas, and told nothing about the
panel. Libraries are those of benchmarks/requirements.txt; a method whose library is not installed is left out, and the
study says so. Days in a row on which a method raises an alarm in the same direction count as one report.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import stats

from health_pipeline.stats.detect import Detection, Settings, detect
from health_pipeline.stats.discovery import Memory
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.shift import Shift

Array = NDArray[np.float64]
LATER = 14  # days after the report at which its size is looked at again
DETECTOR = "this detector, FDR 5 %"


@dataclass(frozen=True)
class Reports:
    """What a method reports, one element per report; NaN where it says nothing.

    Attributes:
        row, column: series and day of the report.
        sign: 1 up, -1 down.
        onset, onset_low, onset_high: columns.
        change, low, high: relative change with its 95 % interval, at the report; and ``later``, (3, reports).
        alarmed: (series, judged days); whether the method calls the series shifted on that day.
        tested: series-days judged.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    sign: NDArray[np.int64]
    onset: Array
    onset_low: Array
    onset_high: Array
    change: Array
    low: Array
    high: Array
    later: Array
    alarmed: NDArray[np.bool_]
    tested: int

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Method:
    """A way to find shifts.

    Attributes:
        causal: whether a day is judged with the days up to it only.
        most: series that one panel is judged on at most, because more would take too long.
        needs: modules that are no dependency of the project.
    """

    name: str
    judge: Callable[[Panel, int], Reports]
    causal: bool = True
    most: int | None = None
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Why it cannot run here, as a sentence; or None."""
        absent = [m for m in self.needs if importlib.util.find_spec(m) is None]
        if not absent:
            return None
        return f"{self.name} was left out: {', '.join(absent)} is not installed (benchmarks/requirements.txt)."

    def part(self, panel: Panel) -> Panel:
        """As many of the series as it is judged on: the first ones, which are as random as any."""
        count = len(panel.series)
        return panel if self.most is None or count <= self.most else panel.only(*range(self.most))


# The detector.


def detector(panel: Panel, first: int) -> Reports:
    """The project's detector at its defaults."""
    return reports_of(detect(panel, first, Settings()), len(panel.series), first)


def reports_of(found: Detection, series: int, first: int) -> Reports:
    """The reports among the rows of a detection."""
    rows = [s for s in found.shifts if s.reported == s.column]
    later = {(s.row, s.reported): s for s in found.shifts if s.column == s.reported + LATER and s.ended is None}

    def column(name: str) -> Array:
        return np.array([getattr(s, name) for s in rows], dtype=np.float64)

    def size(shift: Shift | None) -> tuple[float, float, float]:
        return (np.nan, np.nan, np.nan) if shift is None else (shift.change, shift.low, shift.high)

    alarmed = np.zeros((series, len(found.tested)), dtype=np.bool_)
    for s in found.shifts:
        if s.state != "recovered":
            alarmed[s.row, s.column - first] = True
    return Reports(
        row=column("row").astype(np.int64),
        column=column("column").astype(np.int64),
        sign=np.where(column("change") < 0, -1, 1),
        onset=column("onset"), onset_low=column("onset_low"), onset_high=column("onset_high"),
        change=column("change"), low=column("low"), high=column("high"),
        later=np.array([size(later.get((s.row, s.reported))) for s in rows]).reshape(-1, 3).T,
        alarmed=alarmed, tested=int(found.tested.sum()),
    )  # fmt: skip


@contextlib.contextmanager
def recorded() -> Iterator[list[Array]]:
    """The p-values (series; NaN: not judged) of every day that the detector judges meanwhile, before the FDR control."""
    days: list[Array] = []
    judge = Memory.judge

    def listening(memory: Memory, p: Array, further: NDArray[np.bool_] | None = None) -> Array:
        days.append(p.copy())
        return judge(memory, p, further)

    Memory.judge = listening  # type: ignore[method-assign]
    try:
        yield days
    finally:
        Memory.judge = judge  # type: ignore[method-assign]


# Rules of thumb, vectorised.


def values(panel: Panel) -> Array:
    """What a dashboard would draw: counts, or numerator over denominator."""
    counts = (panel.scale == Scale.COUNT)[:, None]
    return np.where(counts, panel.numerator, panel.numerator / np.maximum(panel.denominator, 1e-9))


def reports_from(alarms: NDArray[np.integer[Any]], first: int) -> Reports:
    """Reports of a method that says up (1), down (-1) or nothing (0) of each series and day (series, days)."""
    judged = alarms[:, first:]
    before = np.concatenate([np.zeros((len(judged), 1), dtype=judged.dtype), judged[:, :-1]], axis=1)
    row, column = np.nonzero((judged != 0) & (judged != before))
    nothing = np.full(len(row), np.nan)
    return Reports(
        row=row, column=column + first, sign=judged[row, column].astype(np.int64),
        onset=(column + first).astype(np.float64), onset_low=nothing, onset_high=nothing,
        change=nothing, low=nothing, high=nothing, later=np.full((3, len(row)), np.nan),
        alarmed=judged != 0, tested=judged.size,
    )  # fmt: skip


def rolling_z(panel: Panel, first: int, days: int = 28, limit: float = 3.0) -> Reports:
    """More than three standard deviations from the mean of the 28 days before."""
    x = values(panel)
    past = sliding_window_view(x, days, axis=1)[:, :-1]
    z = np.zeros_like(x)
    z[:, days:] = (x[:, days:] - past.mean(axis=-1)) / np.maximum(past.std(axis=-1, ddof=1), 1e-12)
    return reports_from(np.sign(z).astype(np.int8) * (np.abs(z) > limit), first)


def weekday_mad(panel: Panel, first: int, weeks: int = 8, limit: float = 3.0) -> Reports:
    """More than three scaled MADs from the median of the same weekday in the eight weeks before."""
    x = values(panel)
    past = np.stack([x[:, 7 * (weeks - w) : x.shape[1] - 7 * w] for w in range(1, weeks + 1)])
    median = np.median(past, axis=0)
    mad = 1.4826 * np.median(np.abs(past - median), axis=0)
    z = np.zeros_like(x)
    z[:, 7 * weeks :] = (x[:, 7 * weeks :] - median) / np.maximum(mad, 1e-12)
    return reports_from(np.sign(z).astype(np.int8) * (np.abs(z) > limit), first)


# Published methods: all of them see the whole series.


def s_h_esd(panel: Panel, first: int, share: float = 0.1, alpha: float = 0.05) -> Reports:
    """Seasonal hybrid ESD: STL's season and the median taken off, then a generalised ESD test with median and MAD.

    Hochenbaum, Vallis, Kejariwal: Automatic anomaly detection in the cloud via statistical learning (2017), with its
    authors' defaults; the generalised ESD test is Rosner's (1983). No maintained package has it.
    """
    from statsmodels.tsa.seasonal import STL

    x = values(panel)
    days = x.shape[1]
    alarms = np.zeros(x.shape, dtype=np.int8)
    most = max(1, int(share * days))
    left = days - np.arange(most)
    t = stats.t.ppf(1.0 - alpha / (2.0 * left), left - 2)
    critical = t * (left - 1) / np.sqrt((left - 2 + t**2) * left)
    for row in range(len(x)):
        rest = x[row] - STL(x[row], period=7, robust=True).fit().seasonal
        rest = rest - np.median(rest)
        taken: list[int] = []
        found = 0
        for i in range(most):
            kept = np.delete(np.arange(days), taken)
            centre = np.median(rest[kept])
            spread = max(1.4826 * float(np.median(np.abs(rest[kept] - centre))), 1e-12)
            distance = np.abs(rest[kept] - centre) / spread
            taken.append(int(kept[distance.argmax()]))
            if distance.max() > critical[i]:
                found = i + 1
        at = taken[:found]
        alarms[row, at] = np.where(rest[at] < 0, -1, 1)
    return reports_from(alarms, first)


def pelt(panel: Panel, first: int, compiled: bool = True) -> Reports:
    """PELT with the l2 cost and BIC's penalty on log values less their weekday's median (Killick 2012; ruptures).

    ``compiled``: by ``ruptures.KernelCPD`` with its linear kernel, which is the same cost in C, instead of ``Pelt``.
    """
    import ruptures

    y = panel.transformed()
    days = y.shape[1]
    for weekday in range(7):
        y[:, weekday::7] -= np.median(y[:, weekday::7], axis=1, keepdims=True)
    sd = 1.4826 * np.median(np.abs(np.diff(y, axis=1)), axis=1) / np.sqrt(2.0)
    y /= np.maximum(sd, 1e-9)[:, None]
    alarms = np.zeros(y.shape, dtype=np.int8)
    for row in range(len(y)):
        if compiled:
            search = ruptures.KernelCPD(kernel="linear", min_size=2)
        else:
            search = ruptures.Pelt(model="l2", min_size=2, jump=1)
        ends = search.fit(y[row]).predict(pen=2.0 * np.log(days))
        edges = [0, *ends]
        for start, change, stop in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            alarms[row, change] = 1 if y[row, change:stop].mean() > y[row, start:change].mean() else -1
    return reports_from(alarms, first)


def mstl(panel: Panel, first: int) -> Reports:
    """Days outside the 99 % in-sample interval of MSTL with an AutoETS trend (statsforecast)."""
    import pandas as pd
    from statsforecast import StatsForecast
    from statsforecast.models import MSTL

    x = values(panel)
    series, days = x.shape
    frame = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(series), days), "ds": np.tile(panel.days, series), "y": x.ravel()}
    )
    with _quiet():
        forecast = StatsForecast(models=[MSTL(season_length=7)], freq="D", n_jobs=1)
        forecast.forecast(df=frame, h=1, level=[99], fitted=True)
        fitted = forecast.forecast_fitted_values().sort_values(["unique_id", "ds"])
    low = fitted["MSTL-lo-99"].to_numpy(dtype=np.float64).reshape(series, days)
    high = fitted["MSTL-hi-99"].to_numpy(dtype=np.float64).reshape(series, days)
    return reports_from((x > high).astype(np.int8) - (x < low).astype(np.int8), first)


def prophet(panel: Panel, first: int) -> Reports:
    """Days outside Prophet's 99 % in-sample interval, with its weekly seasonality (Taylor and Letham 2018)."""
    import pandas as pd

    x = values(panel)
    alarms = np.zeros(x.shape, dtype=np.int8)
    with _quiet():
        from prophet import Prophet

        for row in range(len(x)):
            frame = pd.DataFrame({"ds": panel.days, "y": x[row]})
            model = Prophet(interval_width=0.99, yearly_seasonality=False, daily_seasonality=False)
            bounds = model.fit(frame, seed=1).predict(frame[["ds"]])
            alarms[row] = (x[row] > bounds["yhat_upper"]).astype(np.int8) - (x[row] < bounds["yhat_lower"]).astype(
                np.int8
            )
    return reports_from(alarms, first)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress that libraries print."""
    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
    logging.getLogger("prophet").setLevel(logging.ERROR)
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


SLOW = 100  # series on which slow methods are judged

OURS = Method(DETECTOR, detector)
RIVALS = (
    Method("rolling z(3), 28 days", rolling_z),
    Method("same weekday, median and MAD, z(3)", weekday_mad),
    Method("S-H-ESD", s_h_esd, causal=False, most=SLOW, needs=("statsmodels",)),
    Method("PELT, l2, BIC (ruptures)", pelt, causal=False, most=SLOW, needs=("ruptures",)),
    Method("MSTL, 99 % (statsforecast)", mstl, causal=False, most=SLOW, needs=("statsforecast", "pandas")),
    Method("Prophet, 99 %", prophet, causal=False, most=SLOW, needs=("prophet", "pandas")),
)


def present(methods: Sequence[Method]) -> tuple[list[Method], list[str]]:
    """The methods that can run here, and a sentence for each that cannot."""
    reasons = [reason for m in methods if (reason := m.missing()) is not None]
    return [m for m in methods if m.missing() is None], reasons
