"""``health-pipeline risks``: what to review first, queue by queue, and why."""

from __future__ import annotations

import datetime as dt
import difflib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.console import Console
from rich.table import Table

from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.incidents import wording
from health_pipeline.terminal.shown import harmless, shown
from health_pipeline.terminal.typed import as_typed

if TYPE_CHECKING:
    from health_pipeline.pipeline import Pipeline
    from health_pipeline.risks.lists import ListTables

Row: TypeAlias = Mapping[str, Any]

SEGMENTS = "segments"
FIRST = 3  # of each queue, where all are shown
GONE = "Is it decided already, or too long ago? Each list keeps the first 1,000 below its line."


def show_risks(
    ecosystem: str, queue: str | None, top: int, day: dt.date | None, subject: str | None, csv: bool, console: Console
) -> None:
    """Print one queue's list, the first of every queue, or all that is known of one subject.

    Args:
        queue: of a subject: where to look for it; everywhere without.
        csv: rows instead: of the queue, of every queue's list, or of the subject.

    Raises:
        UserError: no list has been made, the ecosystem has no such queue, or the subject is on no list.
    """
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    lists = pipeline.tables.lists
    if queue not in (None, SEGMENTS) and lists is None:
        raise UserError(
            f"{pipeline.catalog.name} has no review.yaml, so only its segments are ranked.",
            "Show them with --queue segments; docs/risks.md says what a review needs.",
        )
    if lists is not None and queue not in (None, SEGMENTS):
        own = [q.name for q in pipeline.catalog.review.queues] if pipeline.catalog.review else []
        if queue not in own:
            raise UserError(
                f"{pipeline.catalog.name} reviews no {queue}.",
                f"Its queues: {', '.join([*own, SEGMENTS])}. review.yaml says which there are.",
            )
    table = pipeline.tables.risks if queue == SEGMENTS or lists is None else lists.review_lists
    chosen = _chosen(pipeline, table.days(), day)
    segments = sorted(pipeline.tables.risks.read([chosen]).to_pylist(), key=lambda r: int(r["rank"]))
    cases = lists.review_lists.read([chosen]).to_pylist() if lists is not None and queue != SEGMENTS else []
    if subject is not None:
        _why(pipeline, cases, segments, queue, subject, chosen, csv, console)
    elif queue == SEGMENTS or lists is None:
        _segments(segments, top, chosen, csv, console)
        if not csv and pipeline.tables.track_records.read([chosen]).num_rows:
            console.print()
            _right(pipeline, [], chosen, console)
    elif queue is None and csv:
        _print_csv([r for r in sorted(cases, key=lambda r: (r["queue"], r["rank"])) if r["selected"]], cases)
    elif queue is None:
        _overview(pipeline, lists, cases, segments, chosen, console)
    else:
        _queue(pipeline, cases, queue, top, chosen, csv, console)


def _chosen(pipeline: Pipeline, days: list[dt.date], day: dt.date | None) -> dt.date:
    if not days:
        raise UserError(
            f"No list of {pipeline.catalog.name} has been made yet.",
            f"Make it: `{as_typed(pipeline.catalog, 'run')}`; another ecosystem is chosen with -e.",
        )
    if day is None:
        return days[-1]
    if day not in days:
        raise UserError(
            f"There is no list of {wording.day(day)}.",
            f"There are lists from {wording.day(days[0])} to {wording.day(days[-1])}.",
        )
    return day


def _ranked(rows: list[Row], queue: str) -> list[Row]:
    return sorted((r for r in rows if r["queue"] == queue), key=lambda r: int(r["rank"]))


def _table(rows: list[Row], console: Console) -> None:
    """Rows by rank, each with why it is there."""
    if not rows:
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("what, and why")
    for row in rows:
        said = shown(row["sentence"])
        if row.get("explored"):
            said.append("  to explore", "dim italic")
        elif row.get("answered"):
            said.append("  answered", "dim italic")
        elif not row.get("selected", True):
            said.append("  below the line", "dim italic")
        if why := _reasons(row):
            said.append(harmless(f"\n{why}"), "dim")
        table.add_row(str(row["rank"]), f"{row['score']:,.1f}", said)
    console.print(table)


def _reasons(row: Row) -> str:
    """Why a case is where it is, in words; "" when nothing raises its score much."""
    if "why" in row:
        return str(row["why"] or "")  # null of a day that an earlier version judged
    from health_pipeline.risks.review import REASONS  # it loads SciPy

    said = "; ".join(REASONS.get(code, code.replace("_", " ")) for code in row["reasons"])
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _queue(
    pipeline: Pipeline, rows: list[Row], queue: str, top: int, day: dt.date, csv: bool, console: Console
) -> None:
    found = _ranked(rows, queue)
    if csv:
        _print_csv(found[:top], rows)
        return
    console.rule(f"[bold]{queue.capitalize()} to review, {wording.day(day)}[/]", align="left")
    console.print(f"[dim]{_used(pipeline, found, queue)}[/]", highlight=False)
    _table(found[:top], console)
    if len(found) > top:
        console.print(f"[dim]and {len(found) - top:,} more: --top {len(found)}[/]", highlight=False)


def _print_csv(rows: list[Row], like: list[Row]) -> None:
    """Rows as CSV, lists joined by blanks; without any, the columns of ``like``."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    flat = [{k: " ".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    if not flat:
        print(",".join(f'"{name}"' for name in (like[0] if like else ())))
        return
    pa_csv.write_csv(pa.Table.from_pylist(flat), sys.stdout.buffer)


def _used(pipeline: Pipeline, rows: list[Row], queue: str) -> str:
    from health_pipeline.risks.review import BELOW  # it loads SciPy

    review = pipeline.catalog.review
    declared = next((q for q in (review.queues if review else ()) if q.name == queue), None)
    listed = [r for r in rows if r["selected"]]
    minutes, explored = sum(r["minutes"] for r in listed), sum(r["explored"] for r in listed)
    have = f" of {declared.minutes_per_day:,.0f}" if declared else ""
    below = len(rows) - len(listed)
    return (
        f"{wording.count(len(listed), 'case')} in {minutes:,.0f}{have} minutes, {explored} of them to explore; "
        f"{below:,}{' or more' if below >= BELOW else ''} below the line."
    )


def _overview(
    pipeline: Pipeline, lists: ListTables, rows: list[Row], segments: list[Row], day: dt.date, console: Console
) -> None:
    from health_pipeline.report.lists import clearest

    review = pipeline.catalog.review
    for declared in review.queues if review else ():
        found = _ranked(rows, declared.name)
        console.rule(f"[bold]{declared.name.capitalize()} to review, {wording.day(day)}[/]", align="left")
        console.print(f"[dim]{_used(pipeline, found, declared.name)}[/]", highlight=False)
        _table(found[:FIRST], console)
        console.print()
    _segments(segments, FIRST, day, False, console)
    console.print()
    bursts = clearest(lists.trends.read([day]).to_pylist())
    console.rule(f"[bold]Emerging, {wording.day(day)}[/]", align="left")
    if not bursts:
        console.print("Nothing bursts.")
    for burst in bursts[:FIRST]:
        console.print(shown(f"• {_burst(pipeline, burst)}"))
    console.print()
    total = next(
        (r for r in lists.prevalence.read([day]).to_pylist() if not (r["market"] or r["kind"] or r["policy"])), None
    )
    if total is not None:
        console.rule("[bold]Prevalence[/]", align="left")
        console.print(
            f"{100 * total['estimate']:.2f} % of views of the 28 days to {wording.day(total['until'] or total['day'])} "
            f"were of content that violates a policy "
            f"(95 % CI {100 * total['low']:.2f} % to {100 * total['high']:.2f} %), from {total['draws']:,} labelled "
            f"views, as telling as {total['effective']:,.0f} drawn with equal chances.",
            highlight=False,
        )
        console.print()
    _right(pipeline, lists.precision.read([day]).to_pylist(), day, console)
    again = as_typed(pipeline.catalog, "risks")
    console.print(f"\n[dim]One list: {again} --queue creators --top 20. Why: {again} --why ID[/]", highlight=False)


def _right(pipeline: Pipeline, precision: list[Row], day: dt.date, console: Console) -> None:
    """How often rules, models and people were right, by labels; and metrics, by verdicts."""
    metrics = pipeline.tables.track_records.read([day]).to_pylist()
    told = [(r["subject"], r["name"], r["labelled"], r) for r in precision if r["subject"] == "actor"]
    own = sorted((r for r in precision if r["subject"] in ("rule", "model")), key=lambda r: float(r["precision"]))
    told += [(r["subject"], r["name"], r["labelled"], r) for r in own[:FIRST]]
    told += [("metric", r["metric"], r["judged"], r) for r in metrics]
    if not told:
        return
    console.rule(f"[bold]How often right, {wording.day(day)}[/]", align="left")
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("of", "", "right", "95 % CI", "known of"):
        table.add_column(heading, justify="right" if heading in ("right", "known of") else "left")
    for subject, name, known, r in told:
        interval = f"{100 * r['low']:.0f} % to {100 * r['high']:.0f} %"
        table.add_row(subject, shown(name), f"{100 * r['precision']:.0f} %", interval, f"{known:,}")
    console.print(table)
    if len(own) > FIRST:
        every = f"{as_typed(pipeline.catalog, 'sql')} \"FROM risks.precision WHERE day = '{day}'\""
        console.print(shown(f"Of {len(own)} rules and models the least right; all: {every}", "dim"))
    if not metrics:
        console.print(shown("No incident has a verdict yet: a metric's precision begins with one.", "dim"))


def _burst(pipeline: Pipeline, burst: Mapping[str, Any]) -> str:
    """``The term “kw super” in Indonesia: 12 creators in three days, 0.1 expected, since …``"""
    from health_pipeline.report.lists import behind

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
    told = [said, f"{wording.count(burst['contents'], 'content')}", *shares, *filter(None, [behind(burst)])]
    return "; ".join(told) + "."


def _why(
    pipeline: Pipeline, cases: list[Row], segments: list[Row], queue: str | None, subject: str, day: dt.date, csv: bool,
    console: Console,
) -> None:  # fmt: skip
    found = [r for r in cases if subject in (r["subject"], r["case"]) and queue in (None, r["queue"])]
    ranked = [r for r in segments if subject == r["incident"] and queue in (None, SEGMENTS)]
    if not found and not ranked:
        raise UserError(*_not_there(cases, segments, queue, subject, day))
    if csv:
        _print_csv([*found, *ranked] if not (found and ranked) else found, cases)
        return
    for row in found:
        _told(f"{row['queue']}: {row['subject']}", row, ("day", "queue", "subject", "sentence", "case"), console)
    for row in ranked:
        _told(f"{SEGMENTS}: {row['incident']}", row, ("day", "incident", "sentence", "title", "why"), console)


def _not_there(cases: list[Row], segments: list[Row], queue: str | None, subject: str, day: dt.date) -> tuple[str, str]:
    if queue is None:
        told = f"{subject!r} is in no list of {wording.day(day)}."
        # Ids of cases are too much alike to guess at.
        close = difflib.get_close_matches(subject, [r["incident"] for r in segments], n=1, cutoff=0.8)
        return told, f"Did you mean {close[0]!r}?" if close else GONE
    told = f"{subject!r} is not in the list of {queue} of {wording.day(day)}."
    others = [r["queue"] for r in cases if subject in (r["subject"], r["case"])]
    return told, f"It is in the list of {others[0]}: leave --queue out." if others else GONE


def _told(heading: str, row: Row, hidden: tuple[str, ...], console: Console) -> None:
    """Every term of a row, and its reasons and evidence in words."""
    console.rule(shown(heading, "bold"), align="left")
    console.print(shown(row["sentence"]))
    if why := _reasons(row):
        console.print(shown(why, "italic"))
    for said in row.get("evidence") or ():
        console.print(shown(f"• {said}"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in row.items():
        if name not in (*hidden, "evidence") and value not in (None, [], ""):
            table.add_row(f"[dim]{name}[/]", shown(_plain(value)))
    console.print(table)


def _plain(value: Any) -> str:
    """A value for people: lists joined, numbers with four digits that are neither 8.3e+04 nor 7.5e-07."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else "0" if abs(value) < 5e-5 else f"{value:.4g}"
    return str(value)


def _segments(rows: list[Row], top: int, day: dt.date, csv: bool, console: Console) -> None:
    if csv:
        _print_csv(rows[:top], rows)
        return
    console.rule(f"[bold]Segments to look at, {wording.day(day)}[/]", align="left")
    if not rows:
        console.print("Nothing is open.")
        return
    _table(rows[:top], console)
    if len(rows) > top:
        console.print(f"[dim]and {len(rows) - top:,} more: --queue segments --top {len(rows)}[/]", highlight=False)
