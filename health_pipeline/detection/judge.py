"""Replay a long table day by day: each day is judged with what was known on it, and every report is a row."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from health_pipeline.detection.scales import TYPES, Absent, Scaled, Type, scaled
from health_pipeline.detection.table import Floats, LongTable
from health_pipeline.errors import UserError
from health_pipeline.stats.common import FEWEST
from health_pipeline.stats.detect import MINIMUM_HISTORY, Detection, Settings, detect
from health_pipeline.stats.shift import Shift

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 9
"""Significant digits of what is written."""

COLUMNS = (
    "series", "cohort", "type", "kind", "direction", "reported_on", "onset", "onset_low", "onset_high", "effect",
    "effect_low", "effect_high", "expected", "observed", "p_value", "q_value", "tested", "state", "ended",
    "latest_day", "latest_kind", "latest_onset", "latest_effect", "latest_effect_low", "latest_effect_high",
)  # fmt: skip
"""Columns of the table of reports; `docs/detect.md` says what each means."""
WORDS = ("series", "cohort", "type", "kind", "direction", "state", "latest_kind")
DAYS = ("reported_on", "onset", "onset_low", "onset_high", "ended", "latest_day", "latest_onset")


@dataclass(frozen=True)
class Options:
    """How a table is judged.

    Attributes:
        false_discovery_rate: the accepted share of false reports among all reports, in (0, 0.5).
        minimum_change: smallest change reported, relative: 0.1 is 10 % of the expected count, rate or odds.
        kind: the type of every series; by default it follows from the values.
        absent: what a day without a row is; of counts it can be ``zero``.
        first: first day to be judged; by default the first with enough history.
        together: whether series without a cohort share their common days, as if they were of one.
        special: days known to be out of the ordinary, with their cohort or ``None`` for all.
    """

    false_discovery_rate: float = 0.05
    minimum_change: float = 0.1
    kind: Type | None = None
    absent: Absent = "missing"
    first: dt.date | None = None
    together: bool = False
    special: Sequence[tuple[np.datetime64, str | None]] = ()

    def __post_init__(self) -> None:
        if not 0 < self.false_discovery_rate < 0.5:
            raise UserError("The accepted share of false reports is between 0 and 0.5.", "0.05 is usual.")
        if self.minimum_change < 0:
            raise UserError("The smallest change reported is 0 or more.", "0.1 is 10 %.")
        if self.kind is not None and self.kind not in TYPES:
            raise UserError(f"There is no type {self.kind!r}.", f"It is one of {', '.join(TYPES)}.")
        if self.absent not in ("missing", "zero"):
            raise UserError(f"A day without a row is missing or zero, not {self.absent!r}.")


@dataclass(frozen=True)
class Judgement:
    """A table as it was judged.

    Attributes:
        table: its good rows, and the rejected ones.
        scaled: what the detector saw.
        first: column of the first judged day.
        detection: what the detector said; columns are those of ``scaled.panel``.
        judged: series that were judged on at least one day.
        options: as asked.
    """

    table: LongTable
    scaled: Scaled
    first: int
    detection: Detection
    judged: int
    options: Options
    reports: tuple[Shift, ...] = field(default=())
    latest: tuple[Shift, ...] = field(default=())

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """First and last judged day."""
        days = self.scaled.panel.days
        return days[self.first].item(), days[-1].item()

    def day(self, column: int) -> dt.date:
        """The day of a column; columns before the first count on backwards."""
        day: dt.date = (self.scaled.panel.days[0] + np.timedelta64(column, "D")).item()
        return day

    def effect(self, shift: Shift) -> tuple[float, float, float]:
        """A shift's effect and its 95 % interval: relative, or of numbers of either sign the difference."""
        if self.scaled.types[shift.row] != "number":
            return shift.change, shift.low, shift.high
        per = shift.expected / self.scaled.factor[shift.row]
        return shift.change * per, shift.low * per, shift.high * per

    def frame(self) -> pd.DataFrame:
        """One row per report, by day of the report and series, with the columns :data:`COLUMNS`."""
        import pandas as pd

        rows = [self._row(report, last) for report, last in zip(self.reports, self.latest, strict=True)]
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        for name in COLUMNS:
            if name in DAYS:
                frame[name] = pd.to_datetime(frame[name]).astype("datetime64[s]")
            else:  # a table without any report has its types too
                frame[name] = frame[name].astype("str" if name in WORDS else "int64" if name == "tested" else "float64")
        return frame

    def _row(self, shift: Shift, last: Shift) -> dict[str, object]:
        types, table = self.scaled.types, self.table
        cohort = int(table.cohort[shift.row])
        expected, observed = self.scaled.own(shift.row, np.array([shift.expected, shift.observed]))
        effect, last_effect = self.effect(shift), self.effect(last)
        numbers = {
            "effect": effect[0], "effect_low": effect[1], "effect_high": effect[2], "expected": expected,
            "observed": observed, "p_value": shift.p, "q_value": shift.q, "latest_effect": last_effect[0],
            "latest_effect_low": last_effect[1], "latest_effect_high": last_effect[2],
        }  # fmt: skip
        return {
            "series": table.series[shift.row],
            "cohort": table.cohorts[cohort] if cohort >= 0 else None,
            "type": types[shift.row],
            "kind": shift.kind,
            "direction": "up" if shift.observed > shift.expected else "down",
            "reported_on": self.day(shift.reported),
            "onset": self.day(shift.onset),
            "onset_low": self.day(shift.onset_low),
            "onset_high": self.day(shift.onset_high),
            "tested": shift.tested,
            "state": last.state,
            "ended": None if last.ended is None else self.day(last.ended),
            "latest_day": self.day(last.column),
            "latest_kind": last.kind,
            "latest_onset": self.day(last.onset),
            **{name: float(f"{value:.{DIGITS}g}") for name, value in numbers.items()},
        }

    def band(self, row: int) -> tuple[Floats, Floats, Floats]:
        """Expected value and 95 % band of an ordinary day, in the table's unit, over the judged days."""
        band = self.detection.band
        expected, low, high = (self.scaled.own(row, part[row]) for part in (band.expected, band.low, band.high))
        return expected, low, high

    def observed(self, row: int) -> Floats:
        """Values of a series over all days of the panel, in the table's unit: counts, shares, rates, means."""
        panel = self.scaled.panel
        return self.scaled.own(row, panel.numerator[row] / panel.denominator[row])

    def assumptions(self) -> list[tuple[str, str]]:
        """What was assumed: (about, sentence)."""
        table, panel, options = self.table, self.scaled.panel, self.options
        first, last = self.days
        said = [("scale", _scale_sentence(self.scaled.types, options.kind))]
        days = "a day without a row is missing, not zero (--absent zero)"
        if options.absent == "zero":
            days = f"a day without a row is a zero for counts ({self.scaled.absent:,} filled), missing for the others"
        said.append(("days", f"{days}; {self.scaled.missing:,} series-days are missing"))
        said.append(("rhythm", "weekdays and a slow drift are learned for each series; changes of them are no shifts"))
        why = (
            f"the first with {MINIMUM_HISTORY} observed days before it"
            if options.first is None
            else "as asked (--first)"
        )
        if options.first is not None and options.first != first:
            why = f"the first with {MINIMUM_HISTORY} observed days before it; {options.first} is too early"
        short = len(table.series) - self.judged
        judged = f"{first} to {last}; {first} is {why}"
        judged += f". {self.judged:,} of {len(table.series):,} series are judged"
        judged += f", {short:,} {'is' if short == 1 else 'are'} too short, or all zero" if short else ""
        said.append(("judged", judged))
        said.append(("common", self._common()))
        marked = int(panel.special.any(axis=0).sum())
        if options.special:
            said.append(("calendar", f"{marked:,} of its days are in the table; they neither alarm nor teach"))
        said.append(
            ("reports", f"at most {100 * options.false_discovery_rate:g} % of them expected to be false (--fdr)")
        )
        if options.kind == "number":
            said.append(("effects", "differences in the table's own unit, of numbers of either sign"))
        else:
            smallest = (
                f"; at least {100 * options.minimum_change:g} % (--minimum-change)" if options.minimum_change else ""
            )
            said.append(("effects", f"relative: 0.5 is half as much again as expected{smallest}"))
        return said

    def _common(self) -> str:
        cohorts, alone = len(self.table.cohorts), int((self.scaled.panel.cohort < 0).sum())
        if not cohorts and alone:
            return (
                "none: without cohorts every series is judged by itself, and what many do on the same day is reported "
                "for each (--cohort, --together)"
            )
        if self.options.together and not cohorts:
            return f"what all series do on the same day is no shift of each (--together), if they are {FEWEST} or more"
        rest = f"; {alone:,} series are of none" if alone else ""
        of = "the cohort" if cohorts == 1 else f"one of {cohorts:,} cohorts"
        return f"what {FEWEST} or more series of {of} do on the same day is no shift of each{rest}"


def judge(
    table: LongTable, options: Options | None = None, progress: Callable[[int, int], None] | None = None
) -> Judgement:
    """Judge every day of a table from the first with enough history, each with the days up to it.

    Args:
        progress: called with (days done, days).

    Raises:
        UserError: no series has enough history before the table's last day.
        InputError: an option does not fit the table.
    """
    options = options or Options()
    asked = None if options.first is None else np.datetime64(options.first, "D")
    if asked is not None and asked > table.last:
        raise UserError(f"{table.name} ends on {table.last}: {asked} can't be judged.", "Choose an earlier --first.")
    laid = scaled(
        table, kind=options.kind, absent=options.absent, first=asked, together=options.together, special=options.special
    )
    panel = laid.panel
    before = np.cumsum(~np.isnan(panel.numerator), axis=1, dtype=np.int32)
    enough = (before[:, :-1] >= MINIMUM_HISTORY).any(axis=0)
    longest = int(before[:, -1].max())
    if not enough.any():
        raise UserError(
            f"No series of {table.name} has {MINIMUM_HISTORY} observed days before the last; the most are {longest}.",
            "What is judged is compared with seven weeks of past: give it more days. Zeros before the first value "
            "above zero don't count.",
        )
    first = int(enough.argmax()) + 1
    if asked is not None:
        first = max(first, int((asked - panel.days[0]) / np.timedelta64(1, "D")))
    smallest = 0.0 if options.kind == "number" else options.minimum_change
    found = detect(panel, first, Settings(options.false_discovery_rate, smallest), progress=progress)
    judged = int((~np.isnan(found.band.expected)).any(axis=1).sum())
    reports = sorted(
        (s for s in found.shifts if s.column == s.reported), key=lambda s: (s.reported, panel.series[s.row], s.onset)
    )
    latest = _latest(found.shifts)
    return Judgement(
        table, laid, first, found, judged, options, tuple(reports), tuple(latest[s.row, s.reported] for s in reports)
    )


def _latest(shifts: Sequence[Shift]) -> dict[tuple[int, int], Shift]:
    """The last row of every shift: a series reports at most one a day."""
    latest: dict[tuple[int, int], Shift] = {}
    for shift in sorted(shifts, key=lambda s: s.column):
        latest[shift.row, shift.reported] = shift
    return latest


def _scale_sentence(types: Sequence[Type], asked: Type | None) -> str:
    if asked is not None:
        return f"every series is a {asked}, as asked (--type)"
    words: dict[Type, str] = {
        "count": "counts (whole numbers, no denominator)",
        "proportion": "proportions (whole numbers, never above their denominator)",
        "rate": "rates (whole numbers, sometimes above their denominator)",
        "mean": "means (not whole numbers)",
    }
    counted = Counter(types)
    said = [f"{counted[t]:,} series are {w}" for t, w in words.items() if counted[t]]
    if len(said) == 1:
        said = [f"all series are {w}" for t, w in words.items() if counted[t]]
    return ", ".join(said) + " (--type)"
