"""Power and false reports with planted shifts: ``python -m benchmarks.power`` (some minutes; ``--quick``: seconds).

Panels of 2,000 series x 180 days with rhythm, overdispersion, AR(1) noise and drift, in which 10 % of the series shift
once: levels, spikes and slopes, at means of 20, 100 and 1,000 events a day, counts and rates. Three panels of each, so that
a cell has some 85 shifts. Writes its part of docs/statistics.md.

A report is right when it is about a shifted series, from its first day on, in its direction, and of a spike within three
days of it. A shift is found within 7 days when its first right report comes on its first to seventh day.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import arguments, lines_chart, publish, table
from benchmarks.methods import LATER, OURS, RIVALS, Array, Method, Reports, present
from benchmarks.panels import DAYS, FIRST, PLANTED, Made, Recipe, Truth, planted
from health_pipeline.charts import Spec

MEANS = (20.0, 100.0, 1000.0)
REPLICATES = 3
STUDY = "benchmarks.power"
PICTURE = "power"
SPIKE_SPAN = 3  # days from a spike on that a report about it may come


@dataclass(frozen=True)
class Scored:
    """A method's reports on a planted panel against the truth.

    Attributes:
        delay: days from onset to the first right report of each planted shift; infinite if there was none.
        first: index of that report; -1 if there was none.
        right: per report.
        alone: per report, whether its series never shifts.
    """

    truth: Truth
    reports: Reports
    delay: Array
    first: NDArray[np.int64]
    right: NDArray[np.bool_]
    alone: NDArray[np.bool_]


def score(made: Made, found: Reports, series: int) -> Scored:
    """Match reports with planted shifts; of the truth, only the first ``series`` rows count."""
    t = made.truth
    kept = t.row < series
    truth = Truth(*(getattr(t, f.name)[kept] for f in dataclasses.fields(Truth)))
    of_row = np.full(series, -1)
    of_row[truth.row] = np.arange(len(truth.row))
    shift = of_row[found.row]
    spike = np.array([p.kind == "spike" for p in made.shifts])
    since = found.column - truth.onset[shift]
    right = (
        (shift >= 0) & (since >= 0) & (found.sign == np.sign(truth.effect[shift]))
        & (~spike[truth.planted[shift]] | (since < SPIKE_SPAN))
    )  # fmt: skip
    delay = np.full(len(truth.row), np.inf)
    first = np.full(len(truth.row), -1)
    for report in np.flatnonzero(right)[np.argsort(found.column[right], kind="stable")[::-1]]:
        delay[shift[report]] = since[report]
        first[shift[report]] = report
    return Scored(truth, found, delay, first, right, shift < 0)


@dataclass
class Cell:
    """All shifts of one kind and size at one mean, over the replicates."""

    delay: list[float] = dataclasses.field(default_factory=list)
    error: list[float] = dataclasses.field(default_factory=list)
    onset: list[bool] = dataclasses.field(default_factory=list)
    size: list[bool] = dataclasses.field(default_factory=list)
    size_later: list[bool] = dataclasses.field(default_factory=list)

    def add(self, s: Scored, planted_index: int, kind: str) -> None:
        for i in np.flatnonzero(s.truth.planted == planted_index):
            self.delay.append(float(s.delay[i]))
            r = s.first[i]
            if r < 0:
                continue
            found = s.reports
            self.error.append(abs(float(found.onset[r] - s.truth.onset[i])))
            if np.isfinite(found.onset_low[r]):
                self.onset.append(bool(found.onset_low[r] <= s.truth.onset[i] <= found.onset_high[r]))
            if kind != "slope" and np.isfinite(found.low[r]):  # what a slope's size is at a report changes every day
                self.size.append(bool(found.low[r] <= s.truth.change[i] <= found.high[r]))
                if np.isfinite(found.later[1, r]):
                    self.size_later.append(bool(found.later[1, r] <= s.truth.change[i] <= found.later[2, r]))

    def within(self, days: int) -> str:
        return f"{np.mean(np.array(self.delay) < days):.2f}"

    @property
    def ever(self) -> str:
        return f"{np.mean(np.isfinite(self.delay)):.2f}"

    @property
    def median(self) -> str:
        middle = float(np.median(self.delay))
        return f"{middle:.0f}" if np.isfinite(middle) else "–"


def mean(values: list[bool] | list[float], digits: int = 2) -> str:
    """The mean of at least ten values."""
    return f"{np.mean(values):.{digits}f}" if len(values) >= 10 else "–"


def judge(method: Method, made: Made) -> Scored:
    panel = method.part(made.panel)
    return score(made, method.judge(panel, FIRST), len(panel.series))


def proportion(false: int, reports: int) -> str:
    return f"{false / reports:.3f}" if reports else "–"


def picture_of(curves: dict[float, list[tuple[float, float]]]) -> Spec:
    """A line per size of the step: found within 14 days, by events a day."""
    return lines_chart(
        {f"{change:+.0%}".replace("-", "−").replace("%", " %"): points for change, points in curves.items()},
        title="Levels found within 14 days, by events a day",
        subtitle="share of planted steps · counts · a line per size of the step",
        x_ticks=[(18, ""), (20, "20"), (100, "100"), (1000, "1,000")],
        y_ticks=[(0, "0"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1, "100 %")],
        log=(True, False),
    )  # fmt: skip


def main() -> None:
    given = arguments(__doc__)
    series, replicates = (400, 1) if given.quick else (2000, REPLICATES)
    rivals, left_out = present(RIVALS if not given.only_detector else ())
    if given.quick:
        rivals = [m for m in rivals if m.most is None]
    # Every tenth series shifts: with the 100 series of the null study a slow method would have ten shifts to find.
    rivals = [dataclasses.replace(m, most=m.most and 2 * m.most) for m in rivals]
    own: list[list[str]] = []
    errors: list[list[str]] = []
    curves: dict[float, list[tuple[float, float]]] = {}
    others = {m.name: ([0, 0], Cell(), Cell(), Cell(), Cell()) for m in (OURS, *rivals)}
    all_false = all_reports = 0
    for rates in (False, True):
        for size in MEANS:
            cells = [Cell() for _ in PLANTED]
            false, reports, alone = 0, 0, 0
            for replicate in range(replicates):
                made = planted(Recipe(rates=rates, mean=size), series, seed=23 + replicate)
                scored = judge(OURS, made)
                for i, shift in enumerate(PLANTED):
                    cells[i].add(scored, i, shift.kind)
                reports += len(scored.reports)
                false += int((~scored.right).sum())
                alone += int(scored.alone.sum())
                if replicate == 0 and size == 100.0:
                    for method in (OURS, *rivals):
                        s = scored if method is OURS else judge(method, made)
                        entry = others[method.name]
                        entry[0][0] += int((~s.right).sum())
                        entry[0][1] += len(s.reports)
                        for cell, wanted in zip(
                            entry[1:], ("level +50%", "level −30%", "spike +100%", "slope +2% a day"), strict=True
                        ):
                            for i, shift in enumerate(PLANTED):
                                if str(shift) == wanted:
                                    cell.add(s, i, shift.kind)
                        print(f"  {method.name}: {len(s.reports)} reports, {int((~s.right).sum())} false", flush=True)
            name = f"{'rates' if rates else 'counts'}, {size:,.0f} a day"
            for shift, c in zip(PLANTED, cells, strict=True):
                if shift.kind == "level" and not rates:
                    curves.setdefault(shift.change, []).append((size, float(np.mean(np.array(c.delay) < 14))))
            for shift, c in zip(PLANTED, cells, strict=True):
                own.append([name, str(shift).replace("%", " %"), c.within(7), c.within(14), c.ever, c.median, mean(c.error, 1),
                            mean(c.onset), mean(c.size), mean(c.size_later)])  # fmt: skip
            errors.append([name, str(reports), str(false), str(alone), proportion(false, reports)])
            all_false, all_reports = all_false + false, all_reports + reports
            print(f"{name}: {reports} reports, {false} false; " +
                  ", ".join(f"{p} {c.within(14)}" for p, c in zip(PLANTED, cells, strict=True)), flush=True)  # fmt: skip
    lines = [
        "### Power, and the share of false reports", "",
        f"Written by `python -m {STUDY}`; seeds are fixed. {series:,} series × {DAYS} days, {replicates} panels of each kind and "
        "mean; noise with rhythm, overdispersion, AR(1) and drift. Of each panel 10 % of the series shift once, the seven kinds "
        f"in turn ({len(cells[0].delay)} shifts or so a row), from a day drawn in {FIRST + 14} to {DAYS - 31} on. Found within 7 and "
        "14 days, or ever: shares of the planted. Median delay in days over all planted shifts, 0 on the first day; – when "
        "more than half are not found. Onset error: mean distance in days at the report. Coverage of the onset's interval, and "
        f"of the 95 % interval of the size, at the report and {LATER} days later if it is under way then; – for fewer than ten.", "",
        *table(["series", "shift", "in 7 d", "in 14 d", "ever", "median delay", "onset error", "onset interval", "size interval",
                "and later"], own, words=2), "",
        "The share of false reports among all reports, at a nominal 5 %. False are reports of series that never shift, before "
        "the onset, in the wrong direction, and of a spike later than two days after it.", "",
        *table(["series", "reports", "false", "of which on unshifted series", "false share"], errors), "",
        f"In all {all_false} of {all_reports} reports are false: {proportion(all_false, all_reports)}.", "",
    ]  # fmt: skip
    if rivals:
        rows = [
            [name, proportion(*entry[0]), *(f"{c.within(14)}, {c.median}" for c in entry[1:])]
            for name, entry in others.items()
        ]
        lines += [
            "Beside other methods, counts and rates at 100 a day: share of false reports, and found within 14 days with the "
            "median delay. S-H-ESD, PELT, MSTL and Prophet see the whole series first, so their delays are hindsight; they "
            f"judge {min(200, series)} series, some 6 shifts a cell.", "",
            *table(["method", "false share", "level +50 %", "level −30 %", "spike +100 %", "slope +2 % a day"], rows), "",
            *(x for reason in left_out for x in (reason, "")),
        ]  # fmt: skip
    lines.append(f"![Share of levels found within 14 days, by events a day and size](img/{PICTURE}.png)")
    publish(STUDY, lines, {PICTURE: picture_of(curves)}, given.quick or given.only_detector)


if __name__ == "__main__":
    main()
