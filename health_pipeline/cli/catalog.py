"""``health-pipeline catalog``: look at and check what an ecosystem declares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from health_pipeline.cli.options import Ecosystem, NamedEcosystem

app = typer.Typer(no_args_is_help=True, help="Look at and check what an ecosystem declares.")


@app.command()
def validate(
    ecosystem: NamedEcosystem = "eu_dsa",
) -> None:
    """Check every catalog file; mistakes are named with file, line and a suggestion."""
    from health_pipeline.catalog import load_catalog

    catalog = load_catalog(ecosystem)
    Console().print(
        f"[green]✓[/] {catalog.name}: {len(catalog.metrics)} metrics, {len(catalog.dimensions)} dimensions, "
        f"{len(catalog.tables)} table{'s' if len(catalog.tables) != 1 else ''}, {len(catalog.events)} known events. "
        "No mistakes.",
        highlight=False,
    )


@app.command()
def metrics(
    ecosystem: NamedEcosystem = "eu_dsa",
) -> None:
    """List the metrics of an ecosystem."""
    from rich.table import Table

    from health_pipeline.catalog import load_catalog

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("metric", "type", "by", "bad", "what it is"):
        table.add_column(heading)
    catalog = load_catalog(ecosystem)
    for m in catalog.metrics:
        cuts = "; ".join(" × ".join(cut) or "total" for cut in catalog.cuts(m))
        table.add_row(m.name, m.type, cuts, m.bad, m.description)
    Console().print(table)


@app.command()
def show(
    metric: Annotated[str, typer.Argument(help="The metric's name in the catalog.")],
    ecosystem: Ecosystem = "eu_dsa",
) -> None:
    """Show one metric: definition, formula, how certain it is, and where it is cut."""
    from rich.markdown import Markdown

    from health_pipeline.catalog import load_catalog
    from health_pipeline.catalog.reference import find_metric, page

    catalog = load_catalog(ecosystem)
    Console().print(Markdown(page(catalog, find_metric(catalog, metric)).split("\n", 1)[1]))


@app.command()
def reference(
    ecosystem: NamedEcosystem = "eu_dsa",
    out: Annotated[
        Path, typer.Option("--out", help="Folder; pages go to a folder below it, named like the ecosystem.")
    ] = Path("docs/metrics"),
) -> None:
    """Write a reference page for every metric, and an index, from the catalog."""
    from health_pipeline.catalog import load_catalog
    from health_pipeline.catalog.reference import write

    catalog = load_catalog(ecosystem)
    count, changed = write(catalog, out)
    Console().print(f"{count} pages in {out / catalog.name}, {len(changed)} changed.", highlight=False, soft_wrap=True)
