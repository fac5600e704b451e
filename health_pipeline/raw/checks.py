"""Is what was delivered what the contract says, and is it all there?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dagster as dg
import pyarrow.compute as pc

from health_pipeline.assets import Check
from health_pipeline.catalog.model import Table
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.landed.ledger import Receipt
from health_pipeline.raw.loading.references import orphans
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable

QUARANTINE_BLOCKS = 0.05
"""With a larger share of any one file's rows in quarantine, nothing downstream should be believed."""
QUARANTINE_WARNS = 0.001
"""With a larger share, someone should look."""

Verdict = tuple[bool | Literal["warn"], dict[str, Any]]


def contract_check(landing: Landing, table: Table) -> Check:
    """Rows rejected by the contract, in each file that holds any of the days asked for, and in the newest of all.

    Each file counts by itself, or a long history would hide a day that is all wrong. A file whose every day has been
    delivered again since no longer counts: that is how a mistake is mended. The newest file may hold no day at all,
    for all of its rows were rejected; it is told of, and stops nothing.
    """

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> Verdict:
        counting = landing.ledger(table.name).unmended(set(days))
        blocks = any(_share(r) > QUARANTINE_BLOCKS for r in counting)
        receipts = list({r.key: r for r in [*counting, *landing.receipts(table.name)[-1:]]}.values())
        worst = max(receipts, key=_share, default=None)
        share = _share(worst) if worst else 0.0
        reasons: dict[str, int] = {}
        for receipt in receipts:
            for reason, count in receipt.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        rows = [dg.TableRecord({"reason": r, "rows": n}) for r, n in sorted(reasons.items(), key=lambda x: -x[1])]
        about: dict[str, Any] = {
            "files": len(receipts),
            "rows delivered": sum(r.delivered for r in receipts),
            "rows in quarantine": sum(r.quarantined for r in receipts),
            "largest share in quarantine": round(share, 4),
            "blocks above": QUARANTINE_BLOCKS,
        }
        if worst is not None and worst.quarantined:
            about["largest in"] = worst.name
            about["what to do"] = (
                'health-pipeline sql "FROM raw.quarantine" says why each row was rejected; drop a corrected file into '
                "the inbox."
            )
        if rows:
            about["reasons"] = dg.MetadataValue.table(rows[:50])
        return False if blocks else "warn" if share > QUARANTINE_WARNS else True, about

    return Check(
        "contract",
        f"Warns when more than {QUARANTINE_WARNS:.1%} of the rows of any delivered file fail the contract, and stops "
        f"what follows above {QUARANTINE_BLOCKS:.0%}; they are kept in quarantine.",
        evaluate,
        blocking=True,
    )


def drift_check(landing: Landing, table: Table) -> Check:
    """Columns that are new, missing or of another type in the files that supply the days asked for."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> Verdict:
        said: dict[str, list[str]] = {}
        for receipt in landing.ledger(table.name).unmended(set(days)):
            for sentence in receipt.drift:
                said.setdefault(sentence, []).append(receipt.name)
        about: dict[str, Any] = {"columns that differ": len(said)}
        if said:
            about["what differs"] = dg.MetadataValue.table(
                [
                    dg.TableRecord({"drift": sentence, "newest file": files[-1], "files": len(files)})
                    for sentence, files in list(said.items())[:50]
                ]
            )
            about["what to do"] = "Have the source put right, or change the contract in tables.yaml."
        return not said, about

    return Check("schema_drift", "Delivered files have the contract's columns, in the contract's types.", evaluate)


def _share(receipt: Receipt) -> float:
    return receipt.quarantined / receipt.delivered if receipt.delivered else 0.0


def freshness_check(landing: Landing, table: Table) -> Check:
    """Whether every day asked for was delivered by anyone."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> Verdict:
        delivered = set(landing.days(table.name))
        late = [d for d in days if d not in delivered]
        about: dict[str, Any] = {"newest day delivered": max(delivered).isoformat() if delivered else "none"}
        if late:
            shown = ", ".join(d.isoformat() for d in late[:10])
            about["days without any delivery"] = shown + (f" and {len(late) - 10} more" if len(late) > 10 else "")
            about["what to do"] = "Drop the file into the inbox folder; the inbox sensor picks it up."
        return not late, about

    return Check("freshness", "Something was delivered for every day asked for.", evaluate)


def reference_check(table: Table, facts: Mapping[str, LakeTable]) -> Check:
    """Rows that name a row of another table that is not there. They count all the same: it may arrive later."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> Verdict:
        found = orphans(engine, table, facts, days)
        about: dict[str, Any] = {"orphans": sum(o.rows for o in found)}
        if about["orphans"]:
            about["references"] = dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "column": o.reference.column,
                            "names": f"{o.reference.table}.{o.reference.to}",
                            "within days": o.reference.within_days,
                            "rows": o.of,
                            "orphans": o.rows,
                            "for example": ", ".join(o.examples),
                        }
                    )  # fmt: skip
                    for o in found
                ]
            )
        return not about["orphans"], about

    named = ", ".join(f"{r.column} in {r.table}" for r in table.references)
    return Check("references", f"What rows name exists: {named}. Rows without it are kept.", evaluate)


def volume_check(deliveries: LakeTable) -> Check:
    """Units whose delivery is missing, nearly empty, partial, or a backlog."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> Verdict:
        rows = deliveries.read(days, ["day", "table", "unit", "finding", "volume", "expected"])
        bad = rows.filter(pc.not_equal(rows["finding"], "complete"))
        last = bad.filter(pc.equal(bad["day"], days[-1])) if days else bad
        about: dict[str, Any] = {
            "deliveries": rows.num_rows,
            "incomplete": bad.num_rows,
            f"incomplete on {days[-1]}" if days else "incomplete": last.num_rows,
        }
        if bad.num_rows:
            newest = bad.sort_by([("day", "descending"), ("table", "ascending"), ("unit", "ascending")])
            about["newest findings"] = dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "day": str(r["day"]),
                            "table": r["table"],
                            "unit": r["unit"],
                            "finding": r["finding"],
                            "volume": r["volume"] or 0.0,
                            "expected": r["expected"] or 0.0,
                        }
                    )  # fmt: skip
                    for r in newest.slice(0, 100).to_pylist()
                ]
            )
        return last.num_rows == 0, about

    return Check(
        "volume",
        "On the last day asked for, every unit that delivers delivered completely. The others' metrics are not judged.",
        evaluate,
    )
