"""What the pictures show, and that they stay small enough to travel."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import math
import re
import struct
from typing import Any
from xml.etree import ElementTree

import pytest

from health_pipeline import charts
from health_pipeline.catalog.model import Event
from health_pipeline.charts import DayCount, Point
from health_pipeline.charts.render import chunks
from health_pipeline.incidents.model import Incident, State

FIRST = dt.date(2025, 6, 1)


def day(n: int) -> dt.date:
    return FIRST + dt.timedelta(days=n)


def ordinary(count: int = 60, level: float = 1000.0) -> list[Point]:
    """A weekly rhythm in its band."""
    values = [level * (1 + 0.1 * math.sin(n * 2 * math.pi / 7)) for n in range(count)]
    return [Point(day(n), v, level, 0.8 * level, 1.2 * level) for n, v in enumerate(values)]


def incident(
    id_: str, unit: str, onset: int, last: int, *, direction: str = "up", state: State = "ongoing"
) -> Incident:
    over = state in ("recovered", "settled")
    return Incident(
        day=day(last), id=id_, kind="shift", family="statements", unit=unit, state=state, first_reported=day(onset),
        last_reported=day(last), headline_reported=day(last), onset=day(onset), onset_low=day(onset),
        onset_high=day(onset),
        series=f"statements|platform={unit}", metric="statements", segment=f"platform={unit}", shape="level",
        direction=direction, expected=1.0, observed=2.0, change=1.0, change_low=0.5, change_high=1.5, excess=1.0,
        q_value=0.001, tested=10, ended=day(last) if over else None,
    )  # fmt: skip


def layer(spec: charts.Spec, name: str) -> dict[str, Any]:
    return next(part for part in spec["layer"] if part["name"] == name)


def names(spec: charts.Spec) -> list[str]:
    return [part["name"] for part in spec["layer"]]


def y_scale(spec: charts.Spec) -> dict[str, Any]:
    scale: dict[str, Any] = layer(spec, "observed")["encoding"]["y"]["scale"]
    return scale


def y_labels(spec: charts.Spec) -> str:
    expression: str = layer(spec, "observed")["encoding"]["y"]["axis"]["labelExpr"]
    return expression


def milliseconds(date: dt.date) -> float:
    return dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC).timestamp() * 1000


def size_of(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_the_onset_is_a_rule_on_its_day_with_its_date_beside_it() -> None:
    spec = charts.series_chart(ordinary(), onset=day(30), window=(day(30), day(40)), tone="down")
    assert layer(spec, "onset")["data"]["values"] == [{"day": milliseconds(day(30))}]
    assert layer(spec, "onset label")["data"]["values"][0]["text"] == "onset 1 Jul"
    assert "onset 1 Jul" in charts.svg(spec)


def test_an_onset_before_the_picture_is_said_at_its_edge_and_marks_no_day() -> None:
    spec = charts.series_chart(ordinary(), onset=day(-5), onset_low=day(-9), onset_high=day(-2))
    assert layer(spec, "onset label")["data"]["values"][0]["text"] == "← onset 27 May"
    assert "onset" not in names(spec)
    assert "onset interval" not in names(spec)


def test_only_the_days_of_the_incident_are_coloured() -> None:
    spec = charts.series_chart(ordinary(), onset=day(30), window=(day(30), day(34)), tone="down")
    coloured = [row["day"] for row in layer(spec, "incident")["data"]["values"]]
    assert coloured == [milliseconds(day(n)) for n in range(30, 35)]
    assert layer(spec, "incident")["mark"]["color"] == charts.LIGHT["down"]


def test_the_line_is_not_drawn_across_days_without_data() -> None:
    whole = charts.series_chart(ordinary())
    holed = charts.series_chart([p for p in ordinary() if p.day not in {day(20), day(21)}])

    def strokes(spec: charts.Spec) -> int:
        drawn = charts.svg(spec)
        path = re.search(rf'<path[^>]* d="([^"]+)"[^>]* stroke="{charts.LIGHT["observed"]}"', drawn)
        path = path or re.search(rf'<path[^>]* stroke="{charts.LIGHT["observed"]}"[^>]* d="([^"]+)"', drawn)
        assert path is not None
        return path.group(1).count("M")

    assert strokes(whole) == 1
    assert strokes(holed) == 2
    assert [r["day"] for r in layer(holed, "no data stripes")["data"]["values"]] == [
        milliseconds(day(20)),
        milliseconds(day(21)),
    ]


def test_days_declared_missing_after_the_last_point_belong_to_the_picture() -> None:
    spec = charts.series_chart(ordinary(30), missing=[(day(30), day(50))])
    assert len(layer(spec, "no data stripes")["data"]["values"]) == 21
    assert "no data" in charts.svg(spec)


def test_a_null_and_a_nan_are_days_without_data() -> None:
    rows: list[dict[str, Any]] = [
        {"value_day": day(0), "observed": 1.0},
        {"value_day": day(1), "observed": math.nan},
        {"value_day": day(2), "observed": None},
    ]
    assert [p.observed for p in charts.points_from_rows(rows)] == [1.0, None, None]


def test_a_wide_range_gets_a_log_axis_and_says_so() -> None:
    wide = [Point(day(n), 10.0 if n < 20 else 10_000.0) for n in range(40)]
    spec = charts.series_chart(wide, unit="Statements")
    assert y_scale(spec)["type"] == "log"
    assert "log scale" in charts.svg(spec)
    assert y_scale(charts.series_chart(ordinary()))["type"] == "linear"


def test_zero_keeps_a_place_on_a_log_axis() -> None:
    spec = charts.series_chart([Point(day(n), 0.0 if n % 3 else 5000.0 - 4900 * (n % 2)) for n in range(40)])
    assert y_scale(spec)["type"] == "log"
    assert min(r["observed"] for r in layer(spec, "observed")["data"]["values"]) == y_scale(spec)["domain"][0] > 0
    assert '"0"' in y_labels(spec)


def test_a_tiny_expectation_does_not_stretch_the_axis() -> None:
    points = [Point(day(n), (100.0, 5000.0)[n % 2] if n < 30 else 0.0, 1000.0 if n < 30 else 1e-6) for n in range(60)]
    spec = charts.series_chart(points)
    assert y_scale(spec)["type"] == "log"
    assert y_scale(spec)["domain"][0] > 1


@pytest.mark.parametrize(
    ("level", "format", "wanted"),
    [
        (2_400_000.0, "count", " M"),
        (41_000.0, "count", " k"),
        (312.0, "count", '"300"'),
        (0.42, "share", '"45 %"'),
        (0.0042, "share", '"0.45 %"'),
        (20_000.0, "duration", " h"),
        (900_000.0, "duration", " d"),
    ],
)
def test_axis_labels_are_what_people_say(level: float, format: charts.Format, wanted: str) -> None:
    assert wanted in y_labels(charts.series_chart(ordinary(level=level), format=format))


def test_quarter_steps_are_not_rounded_away() -> None:
    spec = charts.series_chart([Point(day(n), 0.002 + 0.008 * n / 59) for n in range(60)], format="share", height=250)
    assert '"0.25 %"' in y_labels(spec)


def test_known_events_in_view_are_labelled_and_no_label_covers_another() -> None:
    events = [
        Event(day=day(n), title=f"Event {n} with a rather long name of its own") for n in (-3, 10, 12, 28, 30, 57)
    ]
    spec = charts.series_chart(ordinary(), onset=day(29), events=events, width=800)
    drawn = [
        part for part in spec["layer"] if " label" in part["name"] and "data" in part and "text" in part["encoding"]
    ]
    texts = [part["data"]["values"][0]["text"] for part in drawn]
    ticks = [name for name in names(spec) if name.startswith("event") and "label" not in name]
    assert len(ticks) == 5, "the one before the picture is left out"
    assert sum(t.startswith("Event") for t in texts) >= 4, "words may give way in a crowd, ticks never"
    boxes = []
    plot = spec["width"]
    for part, text in zip(drawn, texts, strict=True):
        offset = (part["data"]["values"][0]["day"] - milliseconds(FIRST)) / charts.DAY_MS + 0.5
        x, wide = offset / 60 * plot, 5.9 * len(text)
        left = x if part["mark"]["align"] == "left" else x - wide
        boxes.append((part["encoding"]["y"]["value"], left, left + wide))
    for one, other in itertools.combinations(boxes, 2):
        assert one[0] != other[0] or one[2] <= other[1] or other[2] <= one[1]
    assert all(-spec["padding"]["left"] <= left and right <= plot + 20 for _, left, right in boxes)


def test_a_chart_without_any_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        charts.series_chart([])


def test_the_timeline_shows_each_incident_once_in_its_latest_state() -> None:
    rows = [
        incident("a", "TikTok", 3, 5),
        incident("a", "TikTok", 3, 9, state="recovered"),
        incident("b", "TikTok", 4, 20, direction="down"),
        incident("c", "AliExpress", 15, 20),
    ]
    spec = charts.incident_timeline(rows, first=FIRST, last=day(20))
    bars = {b["id"]: b for b in layer(spec, "incidents")["data"]["values"]}
    assert set(bars) == {"a", "b", "c"}
    assert not bars["a"]["open"]
    assert bars["a"]["to"] == milliseconds(day(10))
    assert bars["b"]["top"] != bars["a"]["top"], "incidents at the same time have lanes of their own"
    assert [u["unit"] for u in layer(spec, "units")["data"]["values"]] == ["AliExpress", "TikTok"]


def test_the_timeline_of_nothing_says_so() -> None:
    assert "no incidents" in charts.svg(charts.incident_timeline([], first=FIRST, last=day(20)))


def test_long_windows_are_counted_by_week_and_nothing_is_lost() -> None:
    counts = [DayCount(day(n), 3, n % 2) for n in range(364)]
    spec = charts.shifts_per_day(counts)
    assert "per week" in charts.svg(spec)
    assert sum(r["n"] for r in layer(spec, "shifts")["data"]["values"]) == 3 * 364
    assert sum(r["n"] for r in layer(spec, "new incidents")["data"]["values"]) == 182
    assert "per day" in charts.svg(charts.shifts_per_day(counts[:30]))


@pytest.mark.parametrize(
    ("values", "options", "drawn"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], {}, "▁▂▃▄▅▆▇█"),
        ([1, math.nan, None, 8], {}, "▁  █"),
        ([5, 5, 5], {}, "▄▄▄"),
        ([], {}, ""),
        ([None, None], {}, "  "),
        ([1, 1, 8, 8], {"onset": 2}, "▁▁╎██"),
        ([1, 1, 1, 8, 8, 8], {"width": 2}, "▁█"),
        ([1] * 50 + [8] * 50, {"width": 10, "onset": 50}, "▁▁▁▁▁╎█████"),
    ],
)
def test_sparkline(values: list[float | None], options: dict[str, int], drawn: str) -> None:
    assert charts.sparkline(values, **options) == drawn


def test_a_png_is_small_and_a_markdown_image_fits_the_dialog() -> None:
    events = [Event(day=day(40), title="A known event")]
    spec = charts.series_chart(
        ordinary(120), title="TikTok: statements filed", unit="Statements", onset=day(60), window=(day(60), day(80)),
        events=events, width=900, height=300,
    )  # fmt: skip
    image = charts.png(spec)
    assert size_of(image) == (1350, 450)
    assert len(image) < 60_000
    text = charts.markdown_image(spec)
    within = re.fullmatch(r"!\[([^\]]*)\]\(data:image/png;base64,([^)]+)\)", text)
    assert within is not None
    embedded = base64.b64decode(within.group(2))
    assert size_of(embedded)[0] <= 900
    assert len(embedded) < 60_000


def test_a_small_chart_is_not_blown_up_in_markdown() -> None:
    spec = charts.series_chart(ordinary(), width=400)
    assert size_of(base64.b64decode(charts.markdown_image(spec).split("base64,")[1].rstrip(")")))[0] == 600


def test_the_palette_keeps_the_picture() -> None:
    """Decoded again by hand: paper stays white, and the accent of the incident is still there."""
    import zlib

    image = charts.png(charts.series_chart(ordinary(), window=(day(20), day(40)), tone="up"))
    parts = dict(chunks(image))
    palette = [parts[b"PLTE"][i : i + 3] for i in range(0, len(parts[b"PLTE"]), 3)]
    width, height = size_of(image)
    pixels = zlib.decompress(parts[b"IDAT"])
    assert len(pixels) == height * (width + 1)
    assert palette[pixels[1]] == b"\xff\xff\xff"
    assert bytes.fromhex(charts.LIGHT["up"][1:]) in palette
    assert len(palette) <= 64


def test_hostile_names_are_text_in_a_picture() -> None:
    hostile = '<script>alert(1)</script>" onload="x'
    for spec in (
        charts.incident_timeline([incident("a", hostile, 1, 5)], first=FIRST, last=day(9)),
        charts.series_chart(ordinary(), title=hostile, description=hostile),
    ):
        elements = list(ElementTree.fromstring(charts.svg(spec)).iter())
        assert any(hostile in (e.text or "") for e in elements)
        assert not any("script" in e.tag or "onload" in e.attrib for e in elements)
    assert "![" not in charts.markdown_image(charts.series_chart(ordinary(), description="a](b) ![c"))[2:]


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\ufffe", "\ud800"])
def test_a_name_with_characters_that_xml_does_not_know_is_drawn_without_them(character: str) -> None:
    """The renderer would not raise, but end the process."""
    name = f"A{character}B"
    for spec in (
        charts.incident_timeline([incident("a", name, 1, 5)], first=FIRST, last=day(9)),
        charts.series_chart(ordinary(), title=name, events=[Event(day=day(9), title=name)], description=name),
    ):
        assert charts.png(spec).startswith(b"\x89PNG")
        assert ">AB<" in charts.svg(spec)


def test_a_title_beyond_measure_leaves_room_for_the_plot() -> None:
    spec = charts.series_chart(ordinary(), title="long " * 2_000, unit="Things", width=350, height=120)
    assert names(spec).count("title") == 1 and "title 3" in names(spec) and "title 4" not in names(spec)
    assert spec["height"] >= 60
    assert charts.png(spec).startswith(b"\x89PNG")


def test_a_title_that_needs_two_lines_leaves_no_word_alone() -> None:
    title = "Fashion in all markets: average order value falling, 24 % so far this month"
    spec = charts.series_chart(ordinary(), title=title, width=450)
    lines = [part["data"]["values"][0]["text"] for part in spec["layer"] if part["name"].startswith("title")]
    assert " ".join(lines) == title
    assert len(lines) == 2
    assert min(map(len, lines)) > 0.6 * max(map(len, lines))


def test_days_still_arriving_are_tinted_dotted_hollow_and_no_part_of_the_incident() -> None:
    spec = charts.series_chart(
        ordinary(), onset=day(50), window=(day(50), day(59)), immature_from=day(57), unit="Things", key=True
    )
    half = charts.DAY_MS / 2
    assert layer(spec, "immature")["data"]["values"] == [
        {"from": milliseconds(day(57)) - half, "to": milliseconds(day(59)) + half}
    ]
    assert names(spec)[0] == "immature", "behind everything"
    assert [r["day"] for r in layer(spec, "immature line")["data"]["values"]] == [
        milliseconds(day(n)) for n in range(56, 60)
    ], "joined to the last day that is all in"
    assert layer(spec, "immature days")["mark"]["filled"] is False
    assert [r["day"] for r in layer(spec, "incident")["data"]["values"]] == [
        milliseconds(day(n)) for n in range(50, 57)
    ]
    solid = [r["day"] for r in layer(spec, "observed")["data"]["values"] if r["observed"] is not None]
    assert solid[-1] == milliseconds(day(56))
    assert "tinted: still arriving" in charts.svg(spec)


def test_an_event_whose_words_find_no_room_has_no_stem_through_those_of_others() -> None:
    crowd = [Event(day=day(n), title="An event with a name") for n in range(20, 40)]
    spec = charts.series_chart(ordinary(), events=crowd, width=350)
    labelled = {part["data"]["values"][0]["day"] for part in spec["layer"] if part["name"].startswith("event label")}
    stems = [p for p in spec["layer"] if p["name"].startswith("event") and "label" not in p["name"]]
    bare = [p for p in stems if p["data"]["values"][0]["day"] not in labelled]
    assert bare
    assert all(p["encoding"]["y"]["value"] == 0 for p in bare), "from the top of the plot only"


def test_a_picture_names_itself_and_fetches_nothing() -> None:
    drawn = charts.svg(charts.series_chart(ordinary(), description="Statements of TikTok"))
    assert 'role="img" aria-label="Statements of TikTok"' in drawn
    assert "http" not in drawn.replace("http://www.w3.org/", "")


def test_ids_of_two_pictures_on_a_page_differ() -> None:
    one, two = charts.svg(charts.series_chart(ordinary())), charts.svg(charts.series_chart(ordinary(50)))
    ids = [set(re.findall(r' id="([^"]+)"', drawn)) for drawn in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one)) <= ids[0]


@pytest.mark.parametrize("colours", [charts.LIGHT, charts.DARK], ids=["light", "dark"])
def test_words_and_accents_pass_wcag_aa(colours: dict[str, str]) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for role in ("ink", "text", "up", "down", "data"):
        assert contrast(colours[role], colours["paper"]) >= 4.5, role
    for role in ("observed", "expected"):
        assert contrast(colours[role], colours["paper"]) >= 3, role
    assert contrast(colours["observed"], colours["young"]) >= 3
    assert contrast(colours["text"], colours["gap"]) >= 4.5


def test_dark_rules_cover_every_colour_a_picture_uses() -> None:
    drawn = charts.svg(
        charts.series_chart(
            ordinary(), onset=day(20), window=(day(20), day(30)), missing=[(day(60), day(70))], immature_from=day(55)
        )
    )
    used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', drawn))
    assert used
    css = charts.dark_css(".picture")
    assert all(f'[fill="{colour}"]' in css and f'[stroke="{colour}"]' in css for colour in used)


def test_a_strip_of_maturity_is_darker_the_more_is_in() -> None:
    curves = [charts.Maturity("overturn_rate", [0.0, 0.5, 1.2], 2), charts.Maturity("views", [0.97], 1)]
    spec = charts.maturity_strips(curves)
    cells = next(layer for layer in spec["layer"] if layer["name"] == "shares")["data"]["values"]
    first = [c["colour"] for c in cells if c["top"] < 1]
    assert first[0] == charts.LIGHT["gap"] and first[2] == charts.LIGHT["down"]
    assert first[1] not in (first[0], first[2])
    assert len(first) == 4  # up to the day after the last horizon
    horizons = next(layer for layer in spec["layer"] if layer["name"] == "horizons")["data"]["values"]
    assert [h["age"] for h in horizons] == [2, 1]
    drawn = charts.svg(spec)
    assert "overturn_rate" in drawn and "judged from here on" in drawn
    with pytest.raises(ValueError, match="at least one metric"):
        charts.maturity_strips([])
