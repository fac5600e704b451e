"""Pictures of series and incidents: Vega-Lite specifications as plain dictionaries, and their rendering.

A specification is drawn the same way for Slack, Dagster metadata, the report and a console: :func:`svg` and
:func:`png` render it. Layout is explicit (``autosize: none``): the ``width`` and ``height`` given to a chart are those
of the finished picture in CSS pixels, and labels are placed here, where their collisions can be seen.

Colours are roles of :data:`LIGHT`. A page that also has a dark mode embeds :func:`dark_css`, which swaps each role
for its colour in :data:`DARK`.
"""

from health_pipeline.charts.maturity import Maturity, maturity_strips
from health_pipeline.charts.point import Point, points_from_rows
from health_pipeline.charts.render import MARKDOWN_WIDTH, markdown_image, png, svg
from health_pipeline.charts.scales import DAY_MS, Format, date_ticks, milliseconds
from health_pipeline.charts.series import format_of, series_chart
from health_pipeline.charts.sparkline import sparkline
from health_pipeline.charts.spec import DARK, FONT, LIGHT, Spec, Tone, axis, dark_css, layer, picture
from health_pipeline.charts.timeline import DayCount, incident_timeline, latest, shifts_per_day, tone_of

__all__ = [
    "DARK", "DAY_MS", "FONT", "LIGHT", "MARKDOWN_WIDTH", "DayCount", "Format", "Maturity", "Point", "Spec", "Tone",
    "axis", "dark_css", "date_ticks", "format_of", "incident_timeline", "latest", "layer", "markdown_image",
    "maturity_strips", "milliseconds", "picture", "png", "points_from_rows", "series_chart", "shifts_per_day",
    "sparkline", "svg", "tone_of",
]  # fmt: skip
