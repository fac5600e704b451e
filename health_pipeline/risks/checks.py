"""Do the lists keep to the minutes there are, do they stay the same without reason to change, do probabilities hold?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Literal

import dagster as dg
import pyarrow as pa

from health_pipeline import charts, charts_risk
from health_pipeline.assets import Check
from health_pipeline.catalog.model import Catalog
from health_pipeline.risks.evidence import evidence_of
from health_pipeline.risks.lists import ListTables
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable

STABLE = 0.3
"""Share of yesterday's listed cases, not yet decided, that are expected on today's list at least."""
FEWEST = 5
FEWEST_VIOLATIONS = 10
FEWEST_IN_BIN = 20
"""Labels of a row of the reliability table, as far as there are enough for more rows than two."""
UNLIKELY = 0.001
"""A p-value of agreement below it is a drift."""


def capacity_check(catalog: Catalog, lists: LakeTable) -> Check:
    """What is listed takes no more minutes than there are."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool, dict[str, Any]]:
        review = catalog.review
        have = {q.name: q.minutes_per_day for q in review.queues} if review else {}
        rows = engine.query(
            "SELECT day, queue, sum(minutes) AS minutes FROM lists WHERE selected GROUP BY ALL ORDER BY ALL",
            lists=lists.read(days),
        ).to_pylist()
        over = [r for r in rows if r["minutes"] > have.get(r["queue"], 0.0) + 1e-6]
        found = [
            f"{r['day']}, {r['queue']}: {r['minutes']:.1f} of {have.get(r['queue'], 0.0):.1f} minutes" for r in over
        ]
        return not over, {"queues and days": len(rows), "over capacity": found}

    return Check("capacity", "The cases listed take no more minutes than their queue has.", evaluate)


def stability_check(lists: LakeTable) -> Check:
    """Of the cases listed on one day and still open, most are listed on the next: a list that jumps can't be worked."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool | Literal["warn"], dict[str, Any]]:
        last = max(days)
        rows = lists.read([last - dt.timedelta(days=1), last])
        kept = engine.query(
            f"""
            WITH yesterday AS (SELECT * FROM lists WHERE day = DATE '{last - dt.timedelta(days=1)}' AND selected
                               AND NOT explored),
                 today AS (SELECT queue, subject, bool_or(selected) AS selected FROM lists
                           WHERE day = DATE '{last}' GROUP BY ALL)
            SELECT queue, count(*) AS still_open, avg(t.selected::INT) AS kept
            FROM yesterday y JOIN today t USING (queue, subject) GROUP BY ALL ORDER BY ALL
            """,
            lists=rows,
        ).to_pylist()
        jumping = [r["queue"] for r in kept if r["still_open"] >= FEWEST and r["kept"] < STABLE]
        shown = {f"kept of {r['queue']}": f"{r['kept']:.0%} of {r['still_open']} still open" for r in kept}
        return "warn" if jumping else True, shown

    return Check(
        "stability",
        f"At least {STABLE:.0%} of yesterday's listed cases that are still open are listed today.",
        evaluate,
    )


def outcomes(catalog: Catalog, facts: Mapping[str, LakeTable], lists: LakeTable, day: dt.date) -> pa.Table:
    """Contents of a list that were drawn as prevalence samples on the next day, with the labels known by ``day``.

    Samples are drawn with known chances, whatever the list said, and whether or not somebody has acted meanwhile;
    decisions are not, and would flatter it. A content counts once, with all the views that its draws stand for.

    Returns:
        ``probability`` as it was stated, ``violation``, ``weight``.
    """
    listed = lists.read([d for d in lists.days() if d < day], ["day", "queue", "subject", "probability"])
    with closing(evidence_of(catalog, facts, [day], ["samples"])) as found:
        return next(found).query(
            """
        SELECT any_value(probability) AS probability, bool_or(violation) AS violation,
            sum(1.0 / draw_probability) AS weight
        FROM samples JOIN listed ON subject = content_id AND CAST(drawn_at AS DATE) = day + 1
        WHERE queue = 'contents' AND violation IS NOT NULL AND arm IN ('weighted', 'uniform')
            AND draw_probability > 0
        GROUP BY content_id, day
        """,
            listed=listed,
        )


def list_checks(catalog: Catalog, facts: Mapping[str, LakeTable], tables: ListTables) -> list[Check]:
    """Checks of ``review_lists``."""
    return [
        capacity_check(catalog, tables.review_lists),
        stability_check(tables.review_lists),
        calibration_check(catalog, facts, tables.review_lists),
        weights_check(catalog, facts),
    ]


def weights_check(catalog: Catalog, facts: Mapping[str, LakeTable]) -> Check:
    """Severities of labels that ``review.yaml`` weighs: any other has the mean weight."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool | Literal["warn"], dict[str, Any]]:
        with closing(evidence_of(catalog, facts, [max(days)], ["labels"])) as found:
            rows = next(found).query(
                "SELECT severity, count(*) AS labels FROM labels WHERE severity IS NOT NULL GROUP BY ALL ORDER BY ALL"
            )
        weights = catalog.review.severity if catalog.review else {}
        counted = dict(zip(rows["severity"].to_pylist(), rows["labels"].to_pylist(), strict=True))
        without = [f"{severity}: {labels:,} labels" for severity, labels in counted.items() if severity not in weights]
        said = {"without a weight": without, "weights of which there is no label": sorted({*weights} - {*counted})}
        return "warn" if without else True, said

    return Check("weights", "Every severity that labels have has a weight in review.yaml.", evaluate)


def calibration_check(catalog: Catalog, facts: Mapping[str, LakeTable], lists: LakeTable) -> Check:
    """Probabilities stated in the lists of the last weeks, against labels drawn since."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool | Literal["warn"], dict[str, Any]]:
        from health_pipeline.stats.calibration import line, reliability

        rows = outcomes(catalog, facts, lists, max(days))
        if not rows.num_rows:
            return True, {"labels": 0, "said": "no content of a list was drawn and labelled yet"}
        truth = rows["violation"].to_numpy(zero_copy_only=False).astype(float)
        stated, weight = rows["probability"].to_numpy(), rows["weight"].to_numpy()
        table = reliability(stated, truth, weight, bins=min(10, max(2, len(truth) // FEWEST_IN_BIN)))
        bins = [
            charts_risk.Reliable(*map(float, values))  # a picture takes no numbers of NumPy's
            for values in zip(table.predicted, table.observed, table.low, table.high, table.labels, strict=True)
        ]
        said: dict[str, Any] = {
            "labels": rows.num_rows,
            "violations": int(truth.sum()),
            "expected calibration error": round(float(table.error), 4),
            "error by chance": round(float(table.error_by_chance), 4),
            "reliability": dg.MetadataValue.md(charts.markdown_image(charts_risk.reliability_chart(bins))),
            "reliability table": dg.MetadataValue.table([_bin(b) for b in bins]),
        }
        if truth.sum() < FEWEST_VIOLATIONS:
            return True, said | {"said": f"fewer than {FEWEST_VIOLATIONS} violations: too few to tell a drift"}
        cox = line(stated, truth, weight)
        said |= {
            "slope": round(float(cox.slope), 2),
            "intercept": round(float(cox.intercept), 2),
            "p-value": float(cox.p_value),
        }
        return True if cox.p_value > UNLIKELY else "warn", said

    return Check("calibration", "Probabilities stated in lists agree with the labels that came later.", evaluate)


def _bin(b: charts_risk.Reliable) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "stated": f"{100 * b.predicted:.2g} %", "violations": f"{100 * b.observed:.2g} %",
            "95 % interval": f"{100 * b.low:.2g} to {100 * b.high:.2g} %", "labels": int(b.count),
        }
    )  # fmt: skip
