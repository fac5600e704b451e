"""Simulate a marketplace: day by day, from whom there is to files as its contracts ask for them, and the ground truth.

Memory holds the creators, the contents of the last week, open cases, and one chunk of a day's traffic.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ruamel.yaml import YAML

from health_pipeline.catalog.model import Ecosystem, Simulation
from health_pipeline.errors import InputError
from health_pipeline.marketplace.audience import Traffic, logged, more_views, traffic
from health_pipeline.marketplace.calendar import DAY, HOUR, DayFactors, day_factors, hour_tables, midnight
from health_pipeline.marketplace.columns import NOBODY, Array, Records
from health_pipeline.marketplace.commerce import Sales, order
from health_pipeline.marketplace.contents import Contents, publish
from health_pipeline.marketplace.decisions import record
from health_pipeline.marketplace.effects import Churn
from health_pipeline.marketplace.moderation import Cases, detect, open_reported, report, write_queue, write_reports
from health_pipeline.marketplace.parameters import DEFAULT, Parameters
from health_pipeline.marketplace.published import write
from health_pipeline.marketplace.registers import write_registers
from health_pipeline.marketplace.samples import write_samples, write_surveys
from health_pipeline.marketplace.scenario import Active, Scenario
from health_pipeline.marketplace.standing import Standing
from health_pipeline.marketplace.truth import Truth, date
from health_pipeline.marketplace.world import World, create, leave
from health_pipeline.marketplace.writer import Files, Writer

CHUNK = 100_000
"""Contents whose traffic is made at once: bounds memory. Part of what is drawn, so changing it changes the data."""
SALES_MEMORY = 7

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Simulated:
    """What was written.

    Attributes:
        rows: by table.
        incidents: rows of ``ground_truth/incidents.parquet``.
    """

    folder: Path
    start: dt.date
    days: int
    creators: int
    rows: dict[str, int]
    incidents: list[dict[str, Any]]
    seconds: float


def simulate(
    out: Path,
    scenario: Scenario,
    *,
    creators: int,
    days: int,
    start: dt.date,
    seed: int,
    files: Files = "whole",
    progress: Progress | None = None,
    parameters: Parameters = DEFAULT,
) -> Simulated:
    """Write every table of the marketplace below ``out``, and ground truth in ``out/ground_truth``.

    The same arguments give the same rows, whatever ``files`` is. Rows that would arrive after the last day are left
    out, as they would be missing on the day after.

    Args:
        out: a folder that is empty or does not exist.
        creators: at the start; as many join as leave.
        files: ``whole`` for one file a table, ``day`` for one a table and event day.
        progress: called with days done and days in all.

    Raises:
        InputError: the folder is not empty, or the scenario does not fit in the period.
    """
    began = time.perf_counter()
    scenario.check(start, days)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise InputError(f"{out} is not empty.", "Give a new folder: nothing there is overwritten.")
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out} is a file.", "Give a new folder.") from None
    except OSError as error:
        raise InputError(f"{out} can't be written: {error.strerror}.", "Give a folder that you may write to.") from None
    first = midnight(start) // DAY
    world = create(parameters, Active(scenario, days), seed, creators, first, days, parameters.warm_up_days)
    with Writer(out, files) as writer, Truth(out, world) as truth:
        run = _Run(world, writer, truth)
        for done, day in enumerate(range(first - parameters.warm_up_days, first + days), 1):
            run.day(day)
            if progress is not None:
                progress(done, days + parameters.warm_up_days)
        writer.finish()
        planted = truth.finish()
        rows = dict(writer.rows)
    return Simulated(out, start, days, creators, rows, planted, time.perf_counter() - began)


def demonstration(catalog_folder: Path) -> tuple[Simulation, dt.date]:
    """What ``ecosystem.yaml`` says to simulate where nothing else is said, and the first day.

    Raises:
        InputError: it says nothing.
    """
    text = (catalog_folder / "ecosystem.yaml").read_text(encoding="utf-8")
    ecosystem = Ecosystem.model_validate(YAML(typ="safe").load(text))
    if ecosystem.simulation is None:
        raise InputError(f"{catalog_folder / 'ecosystem.yaml'} has no `simulation`.", "Add one.")
    return ecosystem.simulation, ecosystem.start


@dataclass
class _Numbers:
    """The next identifier of each kind."""

    content: int = 0
    case: int = 0
    order: int = 0
    report: int = 0
    draw: int = 0
    survey: int = 0


@dataclass
class _Today:
    """What the chunks of a day add up to."""

    traffic: list[Traffic] = field(default_factory=lambda: [Traffic.none()])
    sales: list[Sales] = field(default_factory=lambda: [Sales.none()])
    cases: list[Cases] = field(default_factory=list)


class _Run:
    """The state between days, and one day's course."""

    def __init__(self, world: World, writer: Writer, truth: Truth) -> None:
        self.world, self.writer, self.truth = world, writer, truth
        self.hours = hour_tables(world.parameters)
        self.numbers = _Numbers()
        self.pool: Contents | None = None
        self.pending: Cases | None = None
        self.standing = Standing(world, world.first_day - world.parameters.warm_up_days)

    def day(self, day: int) -> None:
        world, c = self.world, self.world.creators
        factors = day_factors(date(day))
        self.writer.begin_day(day)
        if day == world.first_day:
            write_registers(world, self.writer)
        self.standing.begin(day)
        fresh = self._publish(day, factors)
        pool = self._pool(day, fresh)
        today = self._traffic(day, factors, pool)
        shown, sales = _together(today.traffic), _together(today.sales)
        decided = self._decide(day, pool, shown, sales, today.cases)
        c.posts_7d[:, day % 7] = np.bincount(fresh.creator, minlength=len(c))
        sold = np.bincount(pool.creator[sales.content], minlength=len(c))
        c.orders_7d[:, day % 7] = sold
        outcomes = record(world, self.writer, self.standing, decided, day, 0)
        self._reinstate(pool, decided, outcomes.reinstated)
        ladder = self.standing.settle(self.writer, day, sold, self.numbers.case)
        self.numbers.case += len(ladder)
        record(world, self.writer, self.standing, ladder, day, 1)
        lately = (c.last_violation != NOBODY) & (c.last_violation > day - 30)
        churn = world.active.factor(Churn, "multiplier", day - world.first_day, len(c), market=c.market, tier=c.tier)
        satisfaction = 2.0 * (c.quality - 0.67) - 0.5 * (lately & (c.last_violation > day - 14))
        self.numbers.survey += write_surveys(
            world, self.writer, decided, outcomes, satisfaction, day, self.numbers.survey
        )
        leave(world, day, churn, lately)
        if day >= world.first_day:
            assert self.pending is not None
            newest = pool.take(slice(len(pool) - len(fresh), None))
            write(world, self.writer, newest, day)
            self.truth.add(newest, day)
            write_queue(world, self.writer, self.pending, day)
            self.numbers.draw += write_samples(world, self.writer, pool, shown, decided, day, self.numbers.draw)
            self.standing.write_snapshot(self.writer, day)
        self.writer.end_day(day)

    def _publish(self, day: int, factors: DayFactors) -> Contents:
        recent = self.pool.hash if self.pool is not None else np.zeros(0, np.uint64)
        fresh = publish(self.world, day, factors, self.hours, self.numbers.content, recent)
        self.numbers.content += len(fresh)
        return fresh

    def _pool(self, day: int, fresh: Contents) -> Contents:
        """The contents that may still be seen, the day's last."""
        cases = detect(self.world, fresh, day, self.numbers.case)
        self.numbers.case += len(cases)
        self.pending = cases if self.pending is None else self.pending.followed_by(cases)
        if self.pool is None:
            self.pool = fresh
        else:
            alive = int(np.searchsorted(self.pool.day, day - self.world.parameters.life_days, side="right"))
            self.pool = self.pool.take(slice(alive, None)).followed_by(fresh)
        return self.pool

    def _traffic(self, day: int, factors: DayFactors, pool: Contents) -> _Today:
        """Traffic, orders and reports, a chunk of contents at a time."""
        world, p, today = self.world, self.world.parameters, _Today()
        offset = day - world.first_day
        for number, begin in enumerate(range(0, len(pool), CHUNK)):
            contents = pool.take(slice(begin, begin + CHUNK))  # views: what changes here changes in the pool
            rng = world.rng(day, 60, number)
            more = more_views(world.active, offset, contents)
            made = traffic(p, contents, day, factors, self.hours, more, rng)
            if offset >= 0:
                columns = logged(p, world.active, offset, contents, made, day, world.rng(day, 61, number), world.until)
                self.writer.add("content_stats", columns, day, day)
            if offset >= -SALES_MEMORY:
                columns, sales = order(
                    world, contents, made, day, factors, self.numbers.order, world.rng(day, 62, number)
                )
                self.numbers.order += len(sales)
                if offset >= 0:
                    self.writer.add("orders", columns, day, day)
                today.sales.append(replace(sales, content=sales.content + begin))
            rng = world.rng(day, 63, number)
            reports = report(world, contents, made, day, len(contents) / len(pool), rng)
            cases = open_reported(world, contents, reports, day, self.numbers.case, rng)
            self.numbers.case += len(cases)
            today.cases.append(cases)
            if offset >= 0:
                write_reports(world, self.writer, contents, reports, day, self.numbers.report, rng)
            self.numbers.report += len(reports)
            today.traffic.append(replace(made, content=made.content + begin))
        return today

    def _decide(self, day: int, pool: Contents, shown: Traffic, sales: Sales, opened: list[Cases]) -> Cases:
        """The cases decided on the day, with views and sales up to the decision; the others stay pending."""
        assert self.pending is not None
        pending = self.pending
        for cases in opened:
            pending = pending.followed_by(cases)
        at = pending.content - (pool.number[0] if len(pool) else 0)
        known = at >= 0
        due = pending.decided < (day + 1) * DAY
        hour = np.full(len(pool), -1, np.int16)
        hour[at[known & due]] = ((pending.decided[known & due] - day * DAY) // HOUR).astype(np.int16)
        early, before = shown.hour < hour[shown.content], sales.hour < hour[sales.content]
        views = np.bincount(shown.content[early], weights=shown.views[early], minlength=len(pool)).astype(np.int64)
        sold = np.bincount(sales.content[before], weights=sales.gmv[before], minlength=len(pool))
        so_far = known & due
        pending.views[so_far] = pool.seen[at[so_far]] + views[at[so_far]]
        pending.sold[so_far] = pool.sold[at[so_far]] + sold[at[so_far]]
        pool.seen += np.bincount(shown.content, weights=shown.views, minlength=len(pool)).astype(np.int64)
        pool.sold += np.bincount(sales.content, weights=sales.gmv, minlength=len(pool))
        still = known & ~due
        pending.views[still] = pool.seen[at[still]]
        pending.sold[still] = pool.sold[at[still]]
        self.pending = pending.take(~due)
        return pending.take(due)

    def _reinstate(self, pool: Contents, decided: Cases, reinstated: Array) -> None:
        at = decided.content - (pool.number[0] if len(pool) else 0)
        known = at >= 0
        pool.restored[at[known]] = reinstated[known]


Part = TypeVar("Part", bound=Records)


def _together(parts: list[Part]) -> Part:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.followed_by(part)
    return whole
