"""Pictures of reported shifts: the series, the band as it was on each day, onset with interval, and report day.

Each report is a picture of its own, an SVG that follows the reader's light or dark mode; a page lists all of them.
"""

from __future__ import annotations

import datetime as dt
import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from health_pipeline import charts
from health_pipeline.catalog.model import Event
from health_pipeline.charts import Format, Point, Spec
from health_pipeline.errors import InputError
from health_pipeline.storage.lake import write_durably

DAYS_BEFORE, DAYS_AFTER = 90, 60
"""Days shown before the onset, and after the report."""
WIDTH, HEIGHT = 900, 320
MARK = '<meta name="generator" content="health-pipeline detect">'
PICTURE = re.compile(r"\d{4,}-[a-z0-9-]*\.svg")


@dataclass(frozen=True)
class ReportedShift:
    """One report as it is drawn.

    Attributes:
        series: its name.
        points: days of the series, in its own unit.
        kind: of the shift, in words.
        direction: ``up`` or ``down``.
        onset, onset_low, onset_high: as they were reported.
        last: last day of the shift; the last day known while it goes on.
        effect: what changed, in words: ``+102 % (95 % CI +63 % to +149 %)``.
        size: in whatever unit; those of the largest come first.
        state: state at the end.
        format, unit: how values are written, and what they are.
    """

    series: str
    points: Sequence[Point]
    kind: str
    direction: str
    reported_on: dt.date
    onset: dt.date
    onset_low: dt.date
    onset_high: dt.date
    last: dt.date
    effect: str
    size: float
    state: str
    format: Format
    unit: str

    @property
    def sentence(self) -> str:
        """What was reported, without the series' name."""
        return f"{self.kind} {self.direction} since {_long(self.onset)}, {self.effect}"


def shift_chart(shift: ReportedShift, *, width: int = WIDTH, height: int = HEIGHT) -> Spec:
    """One report: its series from three months before the onset to two after the report.

    Raises:
        ValueError: none of its days is known.
    """
    from_ = shift.onset - dt.timedelta(days=DAYS_BEFORE)
    to = shift.reported_on + dt.timedelta(days=DAYS_AFTER)
    shown = [p for p in shift.points if from_ <= p.day <= to]
    per, said = _per(shown, shift.format)
    if per != 1.0:
        shown = [Point(p.day, *(None if v is None else v * per for v in _values(p))) for p in shown]
    return charts.series_chart(
        shown,
        format=shift.format,
        title=f"{shift.series}: {shift.sentence}",
        unit=f"{shift.unit}{said} · dots: reported {shift.reported_on.day} {shift.reported_on:%B}",
        onset=shift.onset,
        onset_low=shift.onset_low,
        onset_high=shift.onset_high,
        window=(shift.onset, shift.last),
        tone="up" if shift.direction == "up" else "down",
        events=[Event(day=shift.reported_on, title="reported")],
        width=width,
        height=height,
    )


def write_pictures(
    folder: Path,
    shifts: Sequence[ReportedShift],
    title: str,
    notes: Sequence[tuple[str, str]],
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """An SVG for every report and ``index.html``, which lists them with the largest first.

    Args:
        folder: new, empty, or with pictures of an earlier call, which are replaced.
        notes: what was assumed: (about, sentence).
        progress: called with (pictures done, pictures).

    Raises:
        InputError: the folder holds something else.
    """
    stale = claim(folder)
    names: list[Path] = []
    for number, shift in enumerate(shifts, start=1):
        path = folder / f"{number:04d}-{_slug(shift.series)}.svg"
        drawn = _in_both_modes(charts.svg(shift_chart(shift)))
        write_durably(path, partial(_write_text, drawn))
        names.append(path)
        if progress:
            progress(number, len(shifts))
    page = _page(title, notes, list(zip(shifts, names, strict=True)))
    write_durably(folder / "index.html", partial(_write_text, page))
    for path in stale - set(names):
        path.unlink(missing_ok=True)
    return names


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _in_both_modes(drawn: str) -> str:
    """A picture with paper of its own, and the dark colours where the reader's mode is dark."""
    light, dark = (f"svg{{background:{roles['paper']}}}" for roles in (charts.LIGHT, charts.DARK))
    style = f"<style>{light}@media (prefers-color-scheme: dark){{{dark}{charts.dark_css('svg')}}}</style>"
    opened = drawn.index(">", drawn.index("<svg")) + 1
    return drawn[:opened] + style + drawn[opened:]


def claim(folder: Path) -> set[Path]:
    """Make the folder; the pictures of an earlier call that lie in it.

    Raises:
        InputError: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder.", "Give a new folder for the charts.")
    folder.mkdir(parents=True, exist_ok=True)
    inside = {path for path in folder.iterdir() if not path.name.startswith(".")}
    index = folder / "index.html"
    pictures = {path for path in inside if PICTURE.fullmatch(path.name)}
    ours = index.exists() and MARK in index.read_text(encoding="utf-8", errors="replace")[:2000]
    if inside and not (ours and inside == pictures | {index}):
        raise InputError(f"{folder} is not empty.", "Give a new folder, or one that this command filled before.")
    return pictures


def _page(title: str, notes: Sequence[tuple[str, str]], shifts: Sequence[tuple[ReportedShift, Path]]) -> str:
    listed = sorted(shifts, key=lambda pair: (-pair[0].size, pair[1].name))
    rows = "\n".join(
        f'<tr><td><a href="#{path.stem}">{html.escape(s.series)}</a></td><td class="{s.direction}">'
        f"{html.escape(s.effect)}</td><td>{s.kind}</td><td>{s.onset}</td><td>{s.reported_on}</td><td>{s.state}</td></tr>"
        for s, path in listed
    )
    pictures = "\n".join(
        f'<figure id="{path.stem}"><img loading="lazy" width="{WIDTH}" height="{HEIGHT}" src="{path.name}" '
        f'alt="{html.escape(f"{s.series}: {s.sentence}", quote=True)}"></figure>'
        for s, path in listed
    )
    said = "\n".join(f"<dt>{html.escape(about)}</dt><dd>{html.escape(text)}</dd>" for about, text in notes)
    number = f"{len(shifts):,} report{'s' if len(shifts) != 1 else ''}"
    light, dark = charts.LIGHT, charts.DARK
    head = "<th>series</th><th>effect</th><th>kind</th><th>onset</th><th>reported on</th><th>state at the end</th>"
    table = f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{MARK}
<title>{html.escape(title)}: {number}</title>
<style>
{_colours(light)}
@media (prefers-color-scheme: dark) {{ {_colours(dark)} }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; padding: 40px 24px; max-width: 948px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 {charts.FONT}; font-variant-numeric: tabular-nums; overflow-wrap: break-word }}
h1 {{ font-size: 28px; line-height: 1.2; margin: 0 0 4px }}
a {{ color: inherit; text-underline-offset: 3px }}
p, dl {{ color: var(--text) }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; font-size: 14px }}
dt {{ font-weight: 600 }} dd {{ margin: 0 }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-size: 14px; margin: 24px 0; min-width: 100% }}
th, td {{ text-align: left; padding: 4px 16px 4px 0; vertical-align: top; border-bottom: 1px solid var(--line) }}
th {{ color: var(--text); font-weight: 600 }}
td:nth-child(n+4) {{ white-space: nowrap }}
.up {{ color: var(--up) }} .down {{ color: var(--down) }}
figure {{ margin: 24px 0 0 }}
img {{ max-width: 100%; height: auto; display: block }}
</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{number}, the largest change first.</p>
<dl>
{said}
</dl>
{table if shifts else ""}
{pictures}
</body>
</html>
"""


def _colours(roles: Mapping[str, str]) -> str:
    names = {"paper": "paper", "ink": "ink", "text": "text", "line": "stripe", "up": "up", "down": "down"}
    return ":root { " + "; ".join(f"--{name}: {roles[role]}" for name, role in names.items()) + " }"


def _per(points: Sequence[Point], format: Format) -> tuple[float, str]:
    """A power of ten that makes small values readable, and how it is said."""
    if format != "count":
        return 1.0, ""
    largest = max((abs(p.observed) for p in points if p.observed is not None), default=0.0)
    if not 0 < largest < 0.5:
        return 1.0, ""
    per = 10.0 ** (3 * math.ceil(-math.log10(largest) / 3))
    return per, f" × {per:,.0f}"


def _values(point: Point) -> tuple[float | None, ...]:
    return point.observed, point.expected, point.low, point.high


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")


def _long(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"
