"""What the statistical studies share: their page, their tables, and pictures in the project's own chart style."""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.page import write_part
from health_pipeline.charts import LIGHT, Spec, axis, layer, picture, png

DOCS = Path(__file__).parent.parent / "docs"
STATISTICS = DOCS / "statistics.md"
COLOURS = ("up", "down", "ink", "expected", "data")


def arguments(description: str | None) -> argparse.Namespace:
    """``--quick``: a small version in seconds that is printed and not written to the page."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version, printed only")
    parser.add_argument("--only-detector", action="store_true", help="without the other methods; printed only")
    return parser.parse_args()


def publish(study: str, lines: Sequence[str], pictures: dict[str, Spec], printed_only: bool) -> None:
    """Print the study's part of the page and, unless it is a trial, write it and its pictures."""
    if printed_only:
        print("\n".join(lines))
        return
    for name, spec in pictures.items():
        (DOCS / "img" / f"{name}.png").write_bytes(png(spec))
    write_part(STATISTICS, study, lines)


def machine() -> str:
    return f"{os.cpu_count()} cores, CPython {platform.python_version()}, {platform.system()}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """A Markdown table; the first ``words`` columns are words, the others figures."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def lines_chart(
    series: dict[str, Sequence[tuple[float, float]]], *, title: str, subtitle: str,
    x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]],
    log: tuple[bool, bool] = (False, False), width: int = 800, height: int = 280,
) -> Spec:  # fmt: skip
    """One line with points per name; its name stands at its end. Ticks give the axes' ends as well."""
    ends = [max(points) for points in series.values() if points]
    spread = _apart([y for _, y in ends], y_ticks, log[1], height - 100)
    layers: list[Spec] = []
    names = [name for name, points in series.items() if points]
    for place, name in enumerate(names):
        colour = LIGHT[COLOURS[place % len(COLOURS)]]
        rows = [{"x": x, "y": y} for x, y in series[name]]
        xy = {"x": _scale("x", x_ticks, log[0], False), "y": _scale("y", y_ticks, log[1], True)}
        layers.append(layer(f"line {place}", rows, {"type": "line", "color": colour, "strokeWidth": 1.8}, xy))
        layers.append(layer(f"dots {place}", rows, {"type": "point", "filled": True, "color": colour, "size": 40}, xy))
        end = [{"x": ends[place][0], "y": spread[place]}]
        mark = {"type": "text", "text": name, "align": "left", "dx": 8, "color": colour, "fontSize": 11}
        layers.append(layer(f"name {place}", end, mark, xy))
    return _picture(layers, title, subtitle, width, height, left=56, right=210)


def dots_chart(
    rows: Sequence[tuple[str, str, float]], *, title: str, subtitle: str, ticks: Sequence[tuple[float, str]],
    row_height: int = 22, width: int = 800, log: bool = True,
) -> Spec:  # fmt: skip
    """A row of dots per name on a logarithmic axis: (name, group, value); groups differ in colour, and are at most two.

    The first tick stands for zero: values below it are drawn there. On a linear axis, if not ``log``.
    """
    names = list(dict.fromkeys(name for name, _, _ in rows))
    groups = list(dict.fromkeys(group for _, group, _ in rows))
    least = ticks[0][0]
    layers: list[Spec] = []
    y: Spec = {"field": "name", "type": "nominal", "sort": names, "title": None,
               "axis": {"grid": True, "labelLimit": 290, "labelColor": LIGHT["text"]}}  # fmt: skip
    for place, group in enumerate(groups):
        values = [{"name": n, "x": max(v, least)} for n, g, v in rows if g == group]
        layers.append(
            layer(f"group {place}", values,
                   {"type": "point", "filled": True, "opacity": 0.75, "size": 50, "color": LIGHT[COLOURS[place]]},
                   {"x": _scale("x", ticks, log, True), "y": y})
        )  # fmt: skip
    return _picture(layers, title, subtitle, width, 90 + row_height * len(names), left=300, right=24)


def _scale(field: str, ticks: Sequence[tuple[float, str]], log: bool, grid: bool) -> Spec:
    at = [t for t, _ in ticks]
    scale = {"type": "log" if log else "linear", "domain": [at[0], at[-1]], "nice": False}
    drawn = axis(at, [label for _, label in ticks], grid)
    return {"field": field, "type": "quantitative", "title": None, "scale": scale, "axis": drawn}


def _apart(values: Sequence[float], ticks: Sequence[tuple[float, str]], log: bool, pixels: int) -> list[float]:
    """Heights of the names at the lines' ends, moved so that none covers another."""
    there: Callable[[float], float] = math.log if log else float
    back: Callable[[float], float] = math.exp if log else float
    low, high = there(ticks[0][0]), there(ticks[-1][0])
    gap = 14 / pixels * (high - low)
    placed: dict[int, float] = {}
    floor = -math.inf
    for i in sorted(range(len(values)), key=lambda k: values[k]):
        floor = max(there(values[i]), floor + gap)
        placed[i] = floor
    over = max(0.0, max(placed.values(), default=high) - high)
    if over:  # from the top down again
        ceiling = math.inf
        for i in sorted(placed, key=lambda k: -placed[k]):
            ceiling = min(placed[i], high if ceiling == math.inf else ceiling - gap)
            placed[i] = ceiling
    return [back(placed[i]) for i in range(len(values))]


def _picture(layers: list[Spec], title: str, subtitle: str, width: int, height: int, left: int, right: int) -> Spec:
    top, bottom = 56, 30
    for name, text, role, line in (("title", title, "ink", 0), ("subtitle", subtitle, "text", 1)):
        mark = {"type": "text", "align": "left", "baseline": "top", "text": text, "color": LIGHT[role],
                "fontSize": 11 if line else 13, "fontWeight": "normal" if line else 600}  # fmt: skip
        layers.append(layer(name, [{}], mark, {"x": {"value": 4 - left}, "y": {"value": 8 - top + 18 * line}}))
    return picture(
        layers, width - left - right, height - top - bottom, (left, right, top, bottom), f"{title}. {subtitle}"
    )
