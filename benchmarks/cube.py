"""Cost of a day's cube: against one bare scan, against polars, and with a long history in the lake.

Run ``python -m benchmarks.cube`` (needs ``pip install polars``, which is no dependency of the project; about an hour
and 30 GB of disk) or with ``--rows 2000000 --no-history`` for a quick look. Writes its part of docs/performance.md.

One day of ``content_stats`` of the given size, of the simulated marketplace, is published as facts, with orders and
user reports in proportion; then the cube of all metrics that use ``content_stats``, over all their segments. Each
timing is the best of several, in a fresh process each, in turns: ours, bare, polars, ours, ...

* ours: ``metrics.cube.compute``, from files to the finished rows of the cube.
* bare: one DuckDB scan with a single GROUP BY of the dimensions that any cut uses, with all the same sums.
* bare, by cluster: the same with the cluster as a further key, which ratios need for their variance.
* polars: the finest aggregation by cluster, and from it the sums and second moments of all cuts, with polars' streaming
  engine. ``content_stats`` alone: no orders, no reports, no rows of the cube.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks.page import PERFORMANCE, write_part
from health_pipeline.catalog import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics.checks import denominator_check, reconciliation_check
from health_pipeline.metrics.compiler import compile_cube
from health_pipeline.metrics.cube import compute, derivation
from health_pipeline.metrics.schema import CUBE, HISTOGRAMS
from health_pipeline.raw.schema import facts_schema
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine, scan
from health_pipeline.storage.lake import Lake, LakeTable
from health_pipeline.storage.sql import literal

DAY = dt.date(2026, 7, 1)
TABLE = "content_stats"
HISTORIES = (30, 365)
MODES = ("ours", "bare", "bare, by cluster", "polars")
TRIED = """\
Most of the time above the bare scan is the price of variances: with 64 clusters as a key, groups are some fifty times
as many and no longer fit the processor's cache. All that follows the scan takes about one second, whatever the rows.
What was tried, in CPU seconds of this scan for 20 M rows (3.8 as it is): dimensions cast to ENUM, several times slower;
one key of codes from CASE, or of the texts joined, slower; sums as DECIMAL(38, 12) instead of two whole numbers, 0.7
more, plain sums of doubles 0.6 less, but no longer the same whatever the order of rows; conditions on dimensions after
grouping instead of in every row, kept; small cuts from large ones, kept: two thirds of the time for the cuts. Facts
sorted by cluster would halve it (2.1), at the price of a second sort when they are loaded; not done.""".splitlines()

ORDERS = """
    SELECT 'o' || row_number() OVER () AS order_id, * EXCLUDE (hour), hour AS placed_at, 'p' AS product_id,
        20.0 + watch_seconds % 100 AS gmv, 'paid' AS status, false AS violative
    FROM stats WHERE hash(content_id, hour, surface) % 100 = 0"""
REPORTS = """
    SELECT 'r' || row_number() OVER () AS report_id, * EXCLUDE (hour), hour AS filed_at, 'fraud' AS policy,
        'b' AS reporter_id, false AS trusted_flagger, false AS actioned
    FROM stats WHERE hash(content_id, hour, surface) % 1000 = 1"""


def catalog_of_day() -> Catalog:
    """The marketplace with the metrics that use ``content_stats``."""
    catalog = load_catalog("marketplace")
    return catalog.model_copy(update={"metrics": tuple(m for m in catalog.metrics if TABLE in catalog.tables_of(m))})


def tables(folder: Path, catalog: Catalog) -> dict[str, LakeTable]:
    lake = Lake(folder, "marketplace")
    return {t.name: lake.table("raw", t.name, facts_schema(t)) for t in catalog.tables}


def publish(folder: Path, catalog: Catalog, rows: int) -> dict[str, LakeTable]:
    """Facts of one day, sorted as loading sorts them."""
    import duckdb

    from health_pipeline.marketplace.volumes import content_stats_day

    facts = tables(folder, catalog)
    delivered = folder / "delivered"
    files = ", ".join(literal(f) for f in content_stats_day(delivered, rows, DAY))
    with duckdb.connect() as connection:
        connection.execute(f"SET temp_directory = {literal(folder / 'scratch')}")
        connection.execute("SET memory_limit = '4GB'; SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE VIEW stats AS SELECT *, CAST('0x' || substr(md5(creator_id), 1, 2) AS INTEGER) % 64 AS cluster, "
            f"DATE '{DAY}' AS day FROM read_parquet([{files}])"
        )
        for name, query, key in (
            (TABLE, "FROM stats", "content_id, hour, surface"), ("orders", ORDERS, "order_id"), ("reports", REPORTS, "report_id")
        ):  # fmt: skip
            schema = facts[name].schema
            held = {r[0] for r in connection.execute(f"DESCRIBE {query}").fetchall()}
            types = {"timestamp": "TIMESTAMP", "int64": "BIGINT", "int32": "INTEGER", "string": "VARCHAR",
                     "double": "DOUBLE", "bool": "BOOLEAN", "date32[day]": "DATE"}  # fmt: skip
            columns = ", ".join(
                f"CAST({f.name if f.name in held else 'NULL'} AS {types[str(f.type).split('[us')[0]]}) AS {f.name}"
                for f in schema
            )
            reader = connection.sql(f"SELECT {columns} FROM ({query}) ORDER BY {key}").to_arrow_reader(1 << 17)
            facts[name].publish_batches(DAY, reader)
    shutil.rmtree(delivered)
    return facts


# The competitors. Each runs in a process of its own.


def ours(catalog: Catalog, facts: dict[str, LakeTable]) -> Callable[[], int]:
    plan, engine = compile_cube(catalog), Engine()
    return lambda: sum(t.num_rows for t in compute(plan, engine, facts, [DAY]))


def dimensions(catalog: Catalog) -> list[str]:
    """Columns of ``content_stats`` by which any metric that uses it is cut."""
    return list(dict.fromkeys(d for m in catalog.metrics for cut in catalog.cuts(m) for d in cut))


def sums(catalog: Catalog) -> list[str]:
    """The different sums over ``content_stats``."""
    parts = [(m, p) for m in catalog.metrics for p in (m.numerator, m.denominator) if p is not None]
    return list(dict.fromkeys(p.sql() for m, p in parts if catalog.table_of(m, p).name == TABLE))


def bare(catalog: Catalog, facts: dict[str, LakeTable], more: str = "") -> Callable[[], int]:
    import duckdb

    keys = ", ".join(["day", *dimensions(catalog)]) + more
    columns = ", ".join(f"{sql} AS s{i}" for i, sql in enumerate(sums(catalog)))
    sql = f"CREATE TEMP TABLE fine AS SELECT {keys}, {columns} FROM {scan(facts[TABLE], [DAY])} GROUP BY {keys}"

    def run() -> int:
        with duckdb.connect() as connection:
            connection.execute(sql)
            [(rows,)] = connection.execute("SELECT count(*) FROM fine").fetchall()
            return int(rows)

    return run


def with_polars(catalog: Catalog, facts: dict[str, LakeTable]) -> Callable[[], int]:
    try:
        import polars as pl
    except ImportError:
        raise SystemExit("polars is not installed. For this benchmark alone: .venv/bin/pip install polars") from None
    keys = dimensions(catalog)
    live = pl.col("kind") == "live"
    # As the catalog has them; a difference would show in the number of sums.
    made = {
        "views": pl.col("views"), "clicks": pl.col("product_clicks"), "not_interested": pl.col("not_interested"),
        "impressions": pl.col("impressions"), "good_views": pl.col("views") - pl.col("low_quality_views"),
        "seconds": pl.col("watch_seconds"), "live_views": pl.when(live).then(pl.col("views")),
        "live_impressions": pl.when(live).then(pl.col("impressions")),
    }  # fmt: skip
    if len(made) != len(sums(catalog)):
        raise SystemExit("The catalog's sums over content_stats have changed: state them for polars as well.")
    pairs = [
        ("live_views", "live_impressions"), ("clicks", "views"), ("good_views", "views"), ("seconds", "views"),
        ("not_interested", "impressions"),
    ]  # fmt: skip
    cuts = list(dict.fromkeys(cut for m in catalog.metrics for cut in catalog.cuts(m)))
    files = facts[TABLE].files([DAY])

    def run() -> int:
        scanned = pl.scan_parquet(files).filter(pl.col("superseded_at").is_null())
        fine = (
            scanned.group_by("day", "cluster", *keys)
            .agg(**{name: value.sum() for name, value in made.items()})
            .collect(engine="streaming")
        )
        plain = fine.group_by("day", *keys).agg(pl.col(*made).sum())
        rows = 0
        for cut in cuts:
            totals = plain.group_by("day", *cut).agg(pl.col(*made).sum())
            clusters = (
                fine.group_by("day", *cut, "cluster").agg(pl.col(*made).sum()).cast(dict.fromkeys(made, pl.Float64))
            )
            moments = clusters.group_by("day", *cut).agg(
                pl.len().alias("n"),
                *(
                    (pl.col(a) * pl.col(b)).sum().alias(f"{y} {x} {a} {b}")
                    for y, x in pairs
                    for a, b in ((y, y), (x, x), (y, x))
                ),
            )
            rows += totals.join(moments, on=["day", *cut]).height
        return rows

    return run


def measure(mode: str, folder: Path) -> None:
    """Print seconds, peak memory in MiB before and in all, and rows that came out, as JSON."""
    catalog = catalog_of_day()
    facts = tables(folder, catalog)
    made: dict[str, Callable[[], Callable[[], int]]] = {
        "ours": lambda: ours(catalog, facts),
        "bare": lambda: bare(catalog, facts),
        "bare, by cluster": lambda: bare(catalog, facts, ", cluster"),
        "polars": lambda: with_polars(catalog, facts),
    }
    run = made[mode]()
    import duckdb  # noqa: F401  (imports are not timed)

    before = peak_memory()
    started, cpu = time.perf_counter(), time.process_time()
    rows = run()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "before": before, "memory": peak_memory(), "rows": rows}))


def peak_memory() -> float:
    """MiB this process has ever held. Linux counts what the parent held into ``getrusage``: its own count is asked."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    [held] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(held) / 1024


def compared(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Best of several rounds, each in a fresh process, in turns."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for mode in MODES:
            command = [sys.executable, "-m", "benchmarks.cube", "--measure", mode, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout)
            print(f"{mode:18} {found['seconds']:7.2f} s  {found['memory']:6.0f} MiB", flush=True)
            held = best.setdefault(mode, found)
            best[mode] = {
                "seconds": min(held["seconds"], found["seconds"]), "cpu": min(held["cpu"], found["cpu"]),
                "memory": max(held["memory"], found["memory"]), "before": found["before"], "rows": found["rows"],
            }  # fmt: skip
    return best


def history(folder: Path, rows: int, repeats: int) -> tuple[dict[int, float], dict[int, float]]:
    """Days in the lake -> seconds of the newest day's cube, and of its two checks; the median of several, in turns."""
    catalog, engine = catalog_of_day(), Engine()
    day_of = publish(folder / "one", catalog, rows)
    used = compile_cube(catalog).tables
    steps = {}
    for days in HISTORIES:
        facts = tables(folder / str(days), catalog)
        lake = Lake(folder / str(days), "marketplace")
        cube, histograms = lake.table("metrics", "cube", CUBE), lake.table("metrics", "histograms", HISTOGRAMS)
        every = [DAY + dt.timedelta(days=i) for i in range(days)]
        for name in used:
            table = day_of[name].read([DAY])
            at = table.schema.get_field_index("day")
            for day in every:
                column = pa.array([day], pa.date32()).take(pa.array([0] * table.num_rows, pa.int8()))
                facts[name].publish(day, table.set_column(at, table.schema.field("day"), column))
        step = derivation(catalog, engine, facts, cube, histograms)
        derive(step, every)
        steps[days] = (
            step,
            every[-1],
            denominator_check(catalog, cube),
            reconciliation_check(catalog, facts, cube, histograms),
        )
    spent: dict[int, list[float]] = {days: [] for days in HISTORIES}
    checks: dict[int, list[float]] = {days: [] for days in HISTORIES}
    for _ in range(repeats):
        for days, (step, day, *both) in steps.items():
            for output in step.outputs:
                output.claim(day, "stale")
            started = time.perf_counter()
            assert derive(step, [day]).computed == [day]
            spent[days].append(time.perf_counter() - started)
            started = time.perf_counter()
            assert all(check.evaluate(engine, [day])[0] for check in both)
            checks[days].append(time.perf_counter() - started)
    return (
        {d: sorted(s)[len(s) // 2] for d, s in spent.items()},
        {d: sorted(s)[len(s) // 2] for d, s in checks.items()},
    )


def checked(folder: Path) -> float:
    """Seconds of the two blocking checks of the large day."""
    catalog, engine = catalog_of_day(), Engine()
    facts, lake = tables(folder, catalog), Lake(folder, "marketplace")
    cube, histograms = lake.table("metrics", "cube", CUBE), lake.table("metrics", "histograms", HISTOGRAMS)
    derive(derivation(catalog, engine, facts, cube, histograms), [DAY])
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        for check in (denominator_check(catalog, cube), reconciliation_check(catalog, facts, cube, histograms)):
            passed, about = check.evaluate(engine, [DAY])
            if not passed:
                raise SystemExit(f"The cube does not reconcile: {about}")
        spent.append(time.perf_counter() - started)
    return min(spent)


def report(found: dict[int, tuple[dict[str, dict[str, float]], float]]) -> Iterator[str]:
    """The page's part on large days."""
    catalog = catalog_of_day()
    cuts = {cut for m in catalog.metrics for cut in catalog.cuts(m)}
    yield (
        f"One day of `content_stats`, with orders and reports in proportion: {len(catalog.metrics)} metrics over "
        f"{len(cuts)} cuts, with their variance by cluster."
    )
    yield ""
    yield "| rows | what | seconds | times bare | CPU seconds | times bare | peak memory, MiB | rows that come out |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for rows, (best, _) in found.items():
        for mode, b in best.items():
            wall, cpu = (f"{b[key]:.2f} | {b[key] / best['bare'][key]:.2f}" for key in ("seconds", "cpu"))
            yield f"| {rows / 1e6:.0f} M | {mode} | {wall} | {cpu} | {b['memory']:.0f} | {b['rows']:,} |"
    yield ""
    started = max(best["ours"]["before"] for best, _ in found.values())
    yield (
        "Each the best of several in a fresh process, in turns; CPU seconds hardly depend on what else the machine did "
        "meanwhile, seconds do. *bare* is one DuckDB scan with a single GROUP BY of the dimensions and all the same "
        "sums; *by cluster* has the cluster as a further key. *polars* does the finest aggregation and all cuts with "
        "their moments, of `content_stats` alone. Memory is that of the whole process, "
        f"{started:.0f} MiB before it starts to compute."
    )
    yield ""
    yield from TRIED
    yield ""
    took = ", ".join(f"{seconds:.2f} s for {rows / 1e6:.0f} M rows" for rows, (_, seconds) in found.items())
    yield f"The two blocking checks of the day (parts add up, totals equal a direct scan of the facts) take {took}."


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a day's cube.")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000_000, 100_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--history-rows", type=int, default=100_000, help="rows of content_stats in each day of the history"
    )
    parser.add_argument("--no-history", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the data go; kept, and used again when they are there")
    parser.add_argument("--measure", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        found = {}
        for rows in arguments.rows:
            here = folder / str(rows)
            if not here.exists():
                publish(here, catalog_of_day(), rows)
            found[rows] = (compared(here, arguments.rounds), checked(here))
            if arguments.folder is None:
                shutil.rmtree(here)
        lines = [
            "## The cube",
            "",
            f"Written by `python -m benchmarks.cube` on {dt.date.today()}: {os.cpu_count()} cores, "
            f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}.",
            "",
            *report(found),
        ]
        if not arguments.no_history:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
                spent, checks = history(Path(scratch), arguments.history_rows, 9)
            few, many = HISTORIES
            lines += [
                "",
                f"The newest day of {arguments.history_rows:,} rows, from finding it out of date to publishing its cube: "
                f"{spent[few]:.3f} s with {few} days in the lake, {spent[many]:.3f} s with {many} "
                f"({spent[many] / spent[few] - 1:+.1%}); its checks {checks[few]:.3f} s and {checks[many]:.3f} s.",
            ]
    write_part(PERFORMANCE, "benchmarks.cube", lines)


if __name__ == "__main__":
    main()
