"""From a derivation to a Dagster asset: the one adapter that every stage's ``assets.py`` uses.

An asset run is asked for one day or for a range of days in a single run. It computes what is stale among them, and
records how many days were computed and how many really changed.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg
import pyarrow as pa
from dagster_duckdb import DuckDBResource

from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.derive import Derivation, Derived, Progress, derive
from health_pipeline.storage.engine import Engine, date_range
from health_pipeline.storage.lake import LakeTable

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN

progress_of: ContextVar[Callable[[str], Progress] | None] = ContextVar("progress_of", default=None)
"""Set by a command that shows progress: asset name -> where to report (days done, days asked for)."""


@dataclass(frozen=True)
class Check:
    """An asset check evaluated right after its asset, in the same step.

    Attributes:
        evaluate: (engine, days asked for) -> (passed, metadata). ``"warn"`` instead of true or false: it failed, but
            not so that anything must stop.
        blocking: a failure stops everything downstream in the run: wrong data would alarm people.
    """

    name: str
    description: str
    evaluate: Callable[[Engine, Sequence[dt.date]], tuple[bool | Literal["warn"], dict[str, Any]]]
    blocking: bool = False


@dataclass(frozen=True)
class Output:
    """One table that an asset publishes.

    Attributes:
        previous_day: it also follows from its own day before.
        columns: descriptions, beside those of the schema.
        pictures: days asked for -> more metadata, for instance charts.
    """

    name: str
    table: LakeTable
    description: str
    deps: Sequence[str]
    previous_day: bool = False
    checks: Sequence[Check] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    pictures: Callable[[Sequence[dt.date]], dict[str, Any]] | None = None


def range_tags(first: dt.date, last: dt.date) -> dict[str, str]:
    """Tags that make a run cover all days from ``first`` to ``last`` at once."""
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}


def days_of(tags: Mapping[str, str]) -> list[dt.date] | None:
    """The days a run with these tags covers; ``None`` when it has none."""
    first, last = tags.get(RANGE_START, tags.get(PARTITION)), tags.get(RANGE_END, tags.get(PARTITION))
    return date_range(dt.date.fromisoformat(first), dt.date.fromisoformat(last)) if first and last else None


def asset_key(catalog: Catalog, name: str) -> dg.AssetKey:
    return dg.AssetKey([catalog.name, name])


def derived_asset(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    stage: str,
    outputs: Sequence[Output],
    derivation: Callable[[Engine], Derivation],
    pictures: Callable[[Sequence[dt.date]], dict[str, Any]] | None = None,
    every_day: Callable[[], Sequence[dt.date]] | None = None,
    beyond: bool = False,
) -> dg.AssetsDefinition:
    """One Dagster asset (or several computed together) for a derivation.

    It has no retry policy: Dagster would also retry a step that was interrupted, so that neither Ctrl-C nor
    "Terminate" in the UI could end it. What failed stays out of date, and the reconciling schedules run it again.

    Args:
        derivation: given the engine, how the tables follow.
        pictures: days asked for -> more metadata, for instance charts, of the first output.
        every_day: the days there are, for an asset without partitions. Dagster writes two events for each partition of
            a run, ten milliseconds each, and does not need those of tables that are brought up to date by their state.
        beyond: these days may lie outside a run's range, before the ecosystem's start or in the future, and every run
            brings all of them up to date. Otherwise a run that has a range is about the days in it.
    """
    own = {o.name for o in outputs}

    def deps(output: Output) -> list[dg.AssetDep | dg.AssetKey]:
        found: list[dg.AssetDep | dg.AssetKey] = [asset_key(catalog, name) for name in output.deps if name not in own]
        if output.previous_day:
            before = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
            found.append(dg.AssetDep(asset_key(catalog, output.name), partition_mapping=before))
        return found

    @dg.multi_asset(
        name=f"{catalog.name}_{outputs[0].name}",
        specs=[
            dg.AssetSpec(
                asset_key(catalog, o.name),
                deps=deps(o),
                description=o.description,
                group_name=stage,
                kinds={"duckdb", "parquet"},
                owners=["team:" + (catalog.metrics[0].owner if catalog.metrics else "analytics")],
                metadata={
                    "dagster/column_schema": _column_schema(o),
                    "dagster/uri": dg.MetadataValue.path(str(o.table.folder)),
                    "ecosystem": catalog.ecosystem.title,
                },
            )
            for o in outputs
        ],
        check_specs=[
            dg.AssetCheckSpec(c.name, asset=asset_key(catalog, o.name), description=c.description, blocking=c.blocking)
            for o in outputs
            for c in o.checks
        ],
        partitions_def=None if every_day else partitions,
        backfill_policy=None if every_day else dg.BackfillPolicy.single_run(),
        pool=catalog.name,
        can_subset=False,
    )
    def _materialize(
        context: dg.AssetExecutionContext, duckdb: DuckDBResource
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        if every_day:
            days = (None if beyond else days_of(context.run.tags)) or list(every_day())
        else:
            days = [dt.date.fromisoformat(key) for key in context.partition_keys]
        engine = Engine(duckdb.get_connection)
        report = progress_of.get()
        stopped: list[str] = []
        started = time.perf_counter()
        result = derive(derivation(engine), days, report(outputs[0].name) if report else None)
        seconds = time.perf_counter() - started
        for index, output in enumerate(outputs):
            metadata = _metadata(output, index, days, result, seconds)
            drawn = output.pictures or (pictures if index == 0 else None)
            if drawn is not None and (len(days) == 1 or result.computed):
                metadata |= drawn(days)
            yield dg.MaterializeResult(asset_key=asset_key(catalog, output.name), metadata=metadata)
            for check in output.checks:
                passed, about = check.evaluate(engine, days)
                blocks = check.blocking and passed is False
                if blocks:
                    stopped.append(check.name)
                    _leave_outstanding(output.table, result.computed)
                yield dg.AssetCheckResult(
                    asset_key=asset_key(catalog, output.name),
                    check_name=check.name,
                    passed=passed is True,
                    severity=WARN if passed == "warn" or not check.blocking else ERROR,
                    metadata=about,
                )
        if stopped:
            raise dg.Failure(
                f"Stopped by the check {' and '.join(map(repr, stopped))} of {outputs[0].name}: nothing that follows "
                "from it was changed."
            )

    return _materialize


def _leave_outstanding(table: LakeTable, days: Sequence[dt.date]) -> None:
    """Take back the claim that these days follow from their inputs.

    A blocking check ends its own run only. While the days are out of date, no later run judges by them either, and a
    correction computes them again.
    """
    for day in days:
        table.claim(day, inputs="stopped by a check")


def _metadata(output: Output, index: int, days: Sequence[dt.date], result: Derived, seconds: float) -> dict[str, Any]:
    rows = sum(result.rows[day][index] for day in days)
    count = {"dagster/partition_row_count": rows} if len(days) == 1 else {"rows": rows}
    return {
        **count,
        "days asked for": len(days),
        "days computed": len(result.computed),
        "days changed": len(result.changed),
        "seconds": round(seconds, 3),
    }


def _column_schema(output: Output) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(f.name, str(f.type), description=output.columns.get(f.name, _said(f)))
            for f in output.table.schema
        ]
    )


def _said(field_: pa.Field) -> str | None:
    said = (field_.metadata or {}).get(b"description")
    return said.decode() if said else None
