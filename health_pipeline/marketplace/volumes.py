"""One day of content statistics of any size, for measuring: made by the same code, a block of creators at a time."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa

from health_pipeline.errors import InputError
from health_pipeline.marketplace.audience import logged, traffic
from health_pipeline.marketplace.calendar import DAY, day_factors, hour_tables, midnight
from health_pipeline.marketplace.columns import Array
from health_pipeline.marketplace.contents import Contents, publish
from health_pipeline.marketplace.parameters import DEFAULT, Parameters
from health_pipeline.marketplace.scenario import Active, Scenario
from health_pipeline.marketplace.truth import date
from health_pipeline.marketplace.world import Products, World, make_creators, make_products, random
from health_pipeline.marketplace.writer import ParquetFile, schema

BLOCK = 20_000
"""Creators whose contents are made at once: about 140,000 rows."""


def content_stats_day(
    out: Path, rows: int, day: dt.date, seed: int = 1, rows_per_file: int = 5_000_000, parameters: Parameters = DEFAULT
) -> list[Path]:
    """Write exactly ``rows`` rows of ``content_stats`` of one day, with keys as varied as in life.

    Creators grow with the rows: about seven rows a day for each creator, 1.7 for each content. All rows are there,
    however late they arrive. Memory does not grow with ``rows``.

    Args:
        out: files go to ``out/content_stats/content_stats-<day>-<number>.parquet``.

    Returns:
        the files, in order.

    Raises:
        InputError: ``rows`` or ``rows_per_file`` is not positive.
    """
    if rows < 1 or rows_per_file < 1:
        raise InputError(f"{rows} rows in files of {rows_per_file} can't be written.", "Give numbers of at least 1.")
    hours = hour_tables(parameters)
    first = midnight(day) // DAY
    products = make_products(parameters, random(seed, 3), 10_000, first, 1)
    quiet = Active(Scenario(name="quiet", title="", description=""), 1)
    columns_of = schema("content_stats")
    files: list[Path] = []
    file: ParquetFile | None = None
    left, block, number = rows, 0, 0
    try:
        while left:
            contents = _block(parameters, quiet, products, hours, first, seed, block, number)
            number += len(contents)
            rng = random(seed, block, 60)
            made = traffic(parameters, contents, first, day_factors(day), hours, np.ones(len(contents)), rng)
            columns = logged(parameters, quiet, 0, contents, made, first, rng, until=(first + 30) * DAY, restate=False)
            table = pa.table([columns[f.name] for f in columns_of], schema=columns_of)[:left]
            left -= len(table)
            block += 1
            while len(table):
                if file is None:
                    name = f"content_stats-{day}-{len(files):04d}.parquet"
                    file = ParquetFile(out / "content_stats" / name, columns_of)
                part = table[: rows_per_file - file.rows]
                file.add(part)
                table = table[len(part) :]
                if file.rows == rows_per_file:
                    file.finish()
                    files.append(file.path)
                    file = None
        if file is not None:
            file.finish()
            files.append(file.path)
            file = None
    finally:
        if file is not None:
            file.abandon()
    return files


def _block(
    p: Parameters, quiet: Active, products: Products, hours: Array, day: int, seed: int, block: int, number: int
) -> Contents:  # fmt: skip
    """The contents alive on a day of one block of creators."""
    creators = make_creators(p, random(seed, block, 1), BLOCK, day, 1, 0)
    world = World(p, quiet, seed + 1_000_003 * (block + 1), day, day, BLOCK / 1000, creators, products)
    alive: Contents | None = None
    for back in range(p.life_days - 1, -1, -1):
        recent = alive.hash if alive is not None else np.zeros(0, np.uint64)
        born = day - back
        fresh = publish(world, born, day_factors(date(born)), hours, number, recent)
        number += len(fresh)
        alive = fresh if alive is None else alive.followed_by(fresh)
    assert alive is not None
    alive.creator += block * len(creators)
    return alive
