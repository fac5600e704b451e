"""The means every picture is made of: colours as roles, layers, axes, headings, and the picture as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Spec = dict[str, Any]
Tone = Literal["up", "down", "data"]

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#2a2724",
    "text": "#5c5751",
    "observed": "#6d675f",
    "expected": "#968e83",
    "band": "#ebe6dc",
    "grid": "#efedea",
    "axis": "#c9c4bc",
    "gap": "#f6f5f3",
    "stripe": "#dedbd6",
    "young": "#fbf1d0",
    "up": "#bf3f0c",
    "down": "#1d5fa6",
    "data": "#667080",
}
DARK: Mapping[str, str] = {
    "paper": "#1b1a19",
    "ink": "#ece8e2",
    "text": "#aca59b",
    "observed": "#a39c92",
    "expected": "#7f786f",
    "band": "#37332d",
    "grid": "#2b2927",
    "axis": "#57524b",
    "gap": "#232120",
    "stripe": "#3d3a37",
    "young": "#383018",
    "up": "#ff9360",
    "down": "#7fb8f2",
    "data": "#a3abb8",
}

FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"

CHARACTER = 5.9
"""Mean advance in px of the label font at 11 px, on the safe side."""
TITLE_CHARACTER = 6.6
"""The same of a title."""


def picture(
    layers: list[Spec], width: float, height: float, margins: tuple[int, int, int, int], description: str
) -> Spec:
    """Layers as one specification: ``width`` x ``height`` px of plot within ``margins`` (left, right, top, bottom)."""
    left, right, top, bottom = margins
    seen: dict[str, int] = {}
    for layer in layers:  # Vega-Lite wants every name once
        name = layer["name"]
        seen[name] = seen.get(name, 0) + 1
        layer["name"] = name if seen[name] == 1 else f"{name} {seen[name]}"
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": width,
        "height": height,
        "autosize": "none",
        "padding": {"left": left, "right": right, "top": top, "bottom": bottom},
        "background": LIGHT["paper"],
        "layer": layers,
        "config": {
            "font": FONT,
            "aria": False,
            "view": {"stroke": None},
            "axis": {
                "domain": False,
                "ticks": False,
                "gridColor": LIGHT["grid"],
                "labelColor": LIGHT["text"],
                "labelFontSize": 11,
                "labelPadding": 6,
                "labelOverlap": False,
            },
            "axisX": {
                "domain": True,
                "domainColor": LIGHT["axis"],
                "ticks": True,
                "tickColor": LIGHT["axis"],
                "tickSize": 4,
                "labelPadding": 4,
            },
        },
    }


def layer(name: str, values: Sequence[Mapping[str, Any]], mark: Spec, encoding: Spec) -> Spec:
    """One kind of mark over its own rows."""
    return {"name": name, "data": {"values": list(values)}, "mark": mark, "encoding": encoding}


def axis(values: Sequence[float], labels: Sequence[str | list[str]], grid: bool) -> Spec:
    """An axis with exactly these ticks. ``labels`` are looked up by place, since tick labels are words here."""
    chosen = f"{json.dumps(list(labels))}[indexof({json.dumps(list(values))}, +datum.value)]"
    return {"values": list(values), "labelExpr": chosen, "grid": grid, "title": None}


def wrapped(parts: Sequence[str], width: float, character: float, separator: str) -> list[str]:
    """Parts in as many lines of so many px as they need, broken only between parts."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}{separator}{part}" if lines else part
        if lines and len(joined) * character <= width:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines


def balanced(text: str, width: float, character: float, most: int = 3) -> list[str]:
    """Words in as few lines of so many px as they need, of about the same length: no word stands alone.

    Beyond ``most`` lines they are cut: names come from data, and a picture has a plot too.
    """
    words = text.split()
    lines = wrapped(words, width, character, " ")
    if len(lines) > most:
        return [*lines[: most - 1], lines[most - 1].rstrip(" .,:") + " …"]
    while len(lines) > 1 and width > character:
        width -= character
        closer = wrapped(words, width, character, " ")
        if len(closer) > len(lines):
            break
        lines = closer
    return lines


def heading_layers(lines: Sequence[tuple[str, str]], left: int, top: int, width: int) -> list[Spec]:
    """Title lines above everything else, from the left edge of the picture."""
    return [
        layer(
            "title" if role == "ink" else "subtitle",
            [{"text": text}],
            {
                "type": "text",
                "align": "left",
                "baseline": "top",
                "color": LIGHT[role],
                "fontSize": 13 if role == "ink" else 11,
                "fontWeight": 600 if role == "ink" else "normal",
                "limit": width - 20,
            },
            {"x": {"value": 4 - left}, "y": {"value": 8 - top + 17 * n}, "text": {"field": "text"}},
        )
        for n, (text, role) in enumerate(lines)
    ]


def dark_css(scope: str) -> str:
    """CSS rules that turn the pictures inside ``scope`` (a selector) from light to dark.

    An author's rule outranks the colour attributes that Vega writes, so no picture is drawn twice.
    """
    return "\n".join(
        f'{scope} [{attribute}="{LIGHT[role]}"]{{{attribute}:{DARK[role]}}}'
        for role in LIGHT
        if role != "paper"
        for attribute in ("fill", "stroke")
    )
