"""``health-pipeline risks``: what to review first, queue by queue, and why."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.incidents import wording

if TYPE_CHECKING:
    import pyarrow as pa

    from health_pipeline.pipeline import Pipeline
    from health_pipeline.risks.lists import ListTables

SEGMENTS = "segments"
FIRST = 3  # of each queue, where all are shown


def show_risks(
    ecosystem: str, queue: str | None, top: int, day: dt.date | None, subject: str | None, csv: bool, console: Console
) -> None:
    """Print one queue's list, the first of every queue, or all that is known of one subject.

    Raises:
        UserError: no list has been made, or the ecosystem has no such queue.
    """
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    lists = pipeline.tables.lists
    if queue not in (None, SEGMENTS) and lists is None:
        raise UserError(
            f"{pipeline.catalog.name} has no review.yaml, so only its segments are ranked.",
            "Show them with --queue segments; docs/risks.md says what a review needs.",
        )
    if queue == SEGMENTS or lists is None:
        days = pipeline.tables.risks.days()
        _segments(pipeline, _chosen(days, day), top, csv, console)
        return
    days = lists.review_lists.days()
    shown = _chosen(days, day)
    rows = lists.review_lists.read([shown])
    if subject is not None:
        _why(rows, subject, shown, console)
    elif queue is None:
        _overview(pipeline, lists, rows, shown, console)
    else:
        _queue(pipeline, rows, queue, top, shown, csv, console)


def _chosen(days: list[dt.date], day: dt.date | None) -> dt.date:
    if not days:
        raise UserError("No list has been made yet.", "Run `health-pipeline run` first.")
    if day is None:
        return days[-1]
    if day not in days:
        raise UserError(
            f"There is no list of {wording.day(day)}.",
            f"There are lists from {wording.day(days[0])} to {wording.day(days[-1])}.",
        )
    return day


def _ranked(rows: pa.Table, queue: str) -> list[dict[str, Any]]:
    return sorted((r for r in rows.to_pylist() if r["queue"] == queue), key=lambda r: r["rank"])


def _table(rows: list[dict[str, Any]], console: Console) -> None:
    if not rows:
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    table.add_column("what")
    for row in rows:
        said = Text(row["sentence"])
        if row["explored"]:
            said.append("  to explore", "dim italic")
        elif not row["selected"]:
            said.append("  below the line", "dim italic")
        table.add_row(str(row["rank"]), f"{row['score']:,.1f}", said)
    console.print(table)


def _queue(pipeline: Pipeline, rows: pa.Table, queue: str, top: int, day: dt.date, csv: bool, console: Console) -> None:
    found = _ranked(rows, queue)
    if csv:
        _print_csv(found[:top])
        return
    console.rule(f"[bold]{queue.capitalize()} to review, {wording.day(day)}[/]", align="left")
    console.print(f"[dim]{_used(pipeline, found, queue)}[/]", highlight=False)
    _table(found[:top], console)
    if len(found) > top:
        console.print(f"[dim]and {len(found) - top:,} more: --top {len(found)}[/]", highlight=False)


def _print_csv(rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    flat = [{k: " ".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    pa_csv.write_csv(pa.Table.from_pylist(flat), sys.stdout.buffer)


def _used(pipeline: Pipeline, rows: list[dict[str, Any]], queue: str) -> str:
    review = pipeline.catalog.review
    declared = next((q for q in (review.queues if review else ()) if q.name == queue), None)
    listed = [r for r in rows if r["selected"]]
    minutes, explored = sum(r["minutes"] for r in listed), sum(r["explored"] for r in listed)
    have = f" of {declared.minutes_per_day:,.0f}" if declared else ""
    return (
        f"{wording.count(len(listed), 'case')} in {minutes:,.0f}{have} minutes, {explored} of them to explore; "
        f"{len(rows) - len(listed):,} below the line."
    )


def _overview(pipeline: Pipeline, lists: ListTables, rows: pa.Table, day: dt.date, console: Console) -> None:
    from health_pipeline.report.lists import clearest

    review = pipeline.catalog.review
    for declared in review.queues if review else ():
        found = _ranked(rows, declared.name)
        console.rule(f"[bold]{declared.name.capitalize()} to review, {wording.day(day)}[/]", align="left")
        console.print(f"[dim]{_used(pipeline, found, declared.name)}[/]", highlight=False)
        _table(found[:FIRST], console)
        console.print()
    bursts = clearest(lists.trends.read([day]).to_pylist())
    console.rule(f"[bold]Emerging, {wording.day(day)}[/]", align="left")
    if not bursts:
        console.print("Nothing bursts.")
    for burst in bursts[:FIRST]:
        console.print(f"• {_burst(pipeline, burst)}", highlight=False)
    console.print()
    total = next(
        (r for r in lists.prevalence.read([day]).to_pylist() if not (r["market"] or r["kind"] or r["policy"])), None
    )
    if total is not None:
        console.rule("[bold]Prevalence[/]", align="left")
        console.print(
            f"{100 * total['estimate']:.2f} % of views were of content that violates a policy "
            f"(95 % CI {100 * total['low']:.2f} % to {100 * total['high']:.2f} %), from {total['draws']:,} labelled "
            f"views, as telling as {total['effective']:,.0f} drawn with equal chances.",
            highlight=False,
        )


def _burst(pipeline: Pipeline, burst: Mapping[str, Any]) -> str:
    """``The term “kw super” in Indonesia: 12 creators in three days, 0.1 expected, since …``"""
    where = f" in {wording.unit(pipeline.catalog, burst['market'])}" if burst["market"] else ""
    shares = [
        f"{wording.share(burst[name])} {said}"
        for name, said in (("violation_share", "confirmed violations"), ("cluster_share", "by members of a cluster"))
        if burst[name]
    ]
    said = (
        f"The {burst['kind']} “{burst['value']}”{where}: {wording.count(burst['count'], 'creator')} in three days, "
        f"{burst['expected']:.1f} expected, since {wording.day(burst['burst_since'])}"
    )
    return "; ".join([said, f"{wording.count(burst['contents'], 'content')}", *shares]) + "."


def _why(rows: pa.Table, subject: str, day: dt.date, console: Console) -> None:
    found = [r for r in rows.to_pylist() if subject in (r["subject"], r["case"])]
    if not found:
        raise UserError(f"{subject} is in no list of {wording.day(day)}.", "Is it decided already, or too long ago?")
    for row in found:
        console.rule(f"[bold]{row['queue']}: {row['subject']}[/]", align="left")
        console.print(row["sentence"], highlight=False)
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, value in row.items():
            if name not in ("day", "queue", "subject", "sentence") and value not in (None, [], ""):
                table.add_row(f"[dim]{name}[/]", _plain(value))
        console.print(table)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _segments(pipeline: Pipeline, day: dt.date, top: int, csv: bool, console: Console) -> None:
    rows = sorted(pipeline.tables.risks.read([day]).to_pylist(), key=lambda r: r["rank"])
    if csv:
        _print_csv(rows[:top])
        return
    console.rule(f"[bold]Segments to look at, {wording.day(day)}[/]", align="left")
    if not rows:
        console.print("Nothing is open.")
        return
    _table([r | {"explored": False, "selected": True} for r in rows[:top]], console)
    if len(rows) > top:
        console.print(f"[dim]and {len(rows) - top:,} more: --top {len(rows)}[/]", highlight=False)
