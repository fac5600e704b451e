"""``health-pipeline simulate``: a marketplace into a folder, with progress, and what was planted in it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from health_pipeline.errors import InputError
from health_pipeline.marketplace.scenario import bundled, load_scenario
from health_pipeline.terminal.progress import progress_lines

ECOSYSTEM = "marketplace"


def list_scenarios(console: Console) -> None:
    """Print every bundled scenario and what it plants."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("scenario", "what happens"):
        table.add_column(heading)
    for name in bundled():
        table.add_row(name, load_scenario(name).title)
    console.print(table)
    console.print("[dim]Your own: write a file as docs/simulator.md says, and give its path.[/]", highlight=False)


def run_simulation(
    out: Path,
    scenario: str | None,
    creators: int | None,
    days: int | None,
    start: dt.date | None,
    seed: int | None,
    files: Literal["whole", "day"],
    console: Console,
) -> None:
    """Simulate, and say what was written. What is not given is as in the bundled demonstration.

    Raises:
        InputError: the folder is not empty, or the scenario is unknown or does not fit.
    """
    from health_pipeline.catalog.loader import find_catalog
    from health_pipeline.marketplace.simulate import demonstration, simulate

    demo, first = demonstration(find_catalog(ECOSYSTEM))
    chosen = load_scenario(scenario or demo.scenario)
    if days is None:
        days = demo.days
    with progress_lines(console, 12, "days") as progress:
        task = progress.add_task("simulating", total=days)
        made = simulate(
            out,
            chosen,
            creators=demo.creators if creators is None else creators,
            days=days,
            start=first if start is None else start,
            seed=demo.seed if seed is None else seed,
            files=files,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    last = made.start + dt.timedelta(days=made.days - 1)
    console.print(
        f"[green]✓[/] {made.creators:,} creators at the start, {made.start} to {last}: "
        f"{sum(made.rows.values()):,} rows in {made.seconds:.1f} s.",
        highlight=False,
    )
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("table")
    table.add_column("rows", justify="right")
    for name, rows in made.rows.items():
        table.add_row(name, f"{rows:,}")
    console.print(table)
    console.print(f"\n[bold]Planted: {chosen.title}[/]", highlight=False)
    for incident in made.incidents:
        end = "to the end" if incident["to_the_end"] else f"to {incident['end']}"
        where = incident["segment"].replace("|", ", ") or "everywhere"
        console.print(f"• {incident['title']}; {where}; {incident['start']} {end}.", highlight=False, markup=False)
    if not made.incidents:
        console.print("Nothing.")
    console.print(f"\nThe files are in {made.folder}, the truth in {made.folder / 'ground_truth'}.", highlight=False)


def parse_day(text: str) -> dt.date:
    """A date as ``2026-07-01``.

    Raises:
        InputError: it is none.
    """
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise InputError(f"{text!r} is not a day.", "Write it as 2026-07-01.") from None
