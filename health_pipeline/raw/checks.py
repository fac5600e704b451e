"""Is what was delivered what the contract says, and is it all there?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from health_pipeline.assets import Check
from health_pipeline.catalog.model import Catalog
from health_pipeline.raw.landing import Landing, Receipt
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable

QUARANTINE_BLOCKS = 0.05
"""With a larger share of any one file's rows in quarantine, nothing downstream should be believed."""


def contract_check(landing: Landing) -> Check:
    """Rows rejected by the contract, in each file that supplies any of the days asked for.

    Each file counts by itself, or a long history would hide a day that is all wrong. A file whose every day has been
    delivered again since no longer counts: that is how a mistake is mended.
    """

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool, dict[str, Any]]:
        receipts = _supplying(landing, days)
        delivered, rejected = sum(r.delivered for r in receipts), sum(r.quarantined for r in receipts)
        worst = max(receipts, key=_share, default=None)
        share = _share(worst) if worst else 0.0
        reasons: dict[str, int] = {}
        for receipt in receipts:
            for reason, count in receipt.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        table = [dg.TableRecord({"reason": r, "rows": n}) for r, n in sorted(reasons.items(), key=lambda x: -x[1])]
        about: dict[str, Any] = {
            "files": len(receipts),
            "rows delivered": delivered,
            "rows in quarantine": rejected,
            "largest share in quarantine": round(share, 4),
            "blocks above": QUARANTINE_BLOCKS,
        }
        if worst is not None and worst.quarantined:
            about["largest in"] = worst.name
            about["what to do"] = (
                'health-pipeline sql "FROM raw.quarantine" says why each row was rejected; drop a corrected file into '
                "the inbox."
            )
        if table:
            about["reasons"] = dg.MetadataValue.table(table[:50])
        return share <= QUARANTINE_BLOCKS, about

    return Check(
        "contract",
        f"At most {QUARANTINE_BLOCKS:.0%} of the rows of any delivered file fail the contract; they are kept in "
        "quarantine.",
        evaluate,
        blocking=True,
    )


def _supplying(landing: Landing, days: Sequence[dt.date]) -> list[Receipt]:
    """The deliveries whose rows count on any of the days, oldest first."""
    receipts = landing.receipts()  # oldest first: the newest delivery of a unit wins
    winners: dict[tuple[dt.date, str], str] = {}
    for receipt in receipts:
        for day in receipt.days.keys() & set(days):
            winners.update({(day, unit): receipt.key for unit in receipt.days[day]})
    keys = set(winners.values())
    return [r for r in receipts if r.key in keys]


def _share(receipt: Receipt) -> float:
    return receipt.quarantined / receipt.delivered if receipt.delivered else 0.0


def freshness_check(landing: Landing) -> Check:
    """Whether every day asked for was delivered by anyone."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool, dict[str, Any]]:
        delivered = set(landing.days())
        late = [d for d in days if d not in delivered]
        about: dict[str, Any] = {"newest day delivered": max(delivered).isoformat() if delivered else "none"}
        if late:
            shown = ", ".join(d.isoformat() for d in late[:10])
            about["days without any delivery"] = shown + (f" and {len(late) - 10} more" if len(late) > 10 else "")
            about["what to do"] = "Drop the file into the inbox folder; the inbox sensor picks it up."
        return not late, about

    return Check("freshness", "Something was delivered for every day asked for.", evaluate)


def volume_check(catalog: Catalog, deliveries: LakeTable) -> Check:
    """Units whose delivery is missing, nearly empty, partial, or a backlog."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool, dict[str, Any]]:
        rows = deliveries.read(days, ["day", "unit", "finding", "volume", "expected"])
        bad = rows.filter(pc.not_equal(rows["finding"], "complete"))
        last = bad.filter(pc.equal(bad["day"], days[-1])) if days else bad
        about: dict[str, Any] = {
            "deliveries": rows.num_rows,
            "incomplete": bad.num_rows,
            f"incomplete on {days[-1]}" if days else "incomplete": last.num_rows,
        }
        if bad.num_rows:
            newest = bad.sort_by([("day", "descending"), ("unit", "ascending")]).slice(0, 100).to_pylist()
            about["newest findings"] = dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "day": str(r["day"]),
                            catalog.table.delivered_by: r["unit"],
                            "finding": r["finding"],
                            "volume": r["volume"] or 0.0,
                            "expected": r["expected"] or 0.0,
                        }
                    )  # fmt: skip
                    for r in newest
                ]
            )
        return last.num_rows == 0, about

    return Check(
        "volume",
        "On the last day asked for, every unit that delivers delivered completely. The others' metrics are not judged.",
        evaluate,
    )
