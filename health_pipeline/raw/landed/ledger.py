"""What was delivered of a table, and which of the deliveries supply a day's rows."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Receipt:
    """What became of a delivered file: ``accepted + duplicates + quarantined == delivered``.

    Attributes:
        key: first 16 hexadecimal digits of the SHA-256 of the file's bytes.
        table: whose contract it was checked against.
        name: the file's name when it first landed, with its folder when that names the table.
        format: ``Parquet``, ``CSV``, ``JSON lines``, or the title of the source's own format.
        delivered_at: when it was last delivered, UTC; where rows are a day's result, the newest delivery wins.
        delivered: rows in the file; statements, for a statement dump. So are the next three.
        accepted: those that count.
        duplicates: those that only repeat an accepted one.
        quarantined: those rejected, with a reason.
        ignored: columns that the contract does not know.
        drift: sentences about columns that are new, missing, or of another type than the contract's.
        reasons: number of rejected rows by reason.
        days: rows landed by day and unit, both sorted.
        contract: fingerprint of the contract the rows were checked against.
    """

    key: str
    table: str
    name: str
    format: str
    delivered_at: dt.datetime
    delivered: int
    accepted: int
    duplicates: int
    quarantined: int
    ignored: tuple[str, ...]
    drift: tuple[str, ...]
    reasons: Mapping[str, int]
    days: Mapping[dt.date, Mapping[str, int]]
    contract: str

    def to_json(self) -> bytes:
        days = {day.isoformat(): dict(units) for day, units in self.days.items()}
        fields = asdict(replace(self, days={}))
        return json.dumps(fields | {"delivered_at": self.delivered_at.isoformat(), "days": days}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Receipt:
        fields: dict[str, Any] = json.loads(text)
        return cls(
            **fields
            | {
                "delivered_at": dt.datetime.fromisoformat(fields["delivered_at"]),
                "ignored": tuple(fields["ignored"]),
                "drift": tuple(fields["drift"]),
                "days": {dt.date.fromisoformat(day): units for day, units in fields["days"].items()},
            }
        )


@dataclass(frozen=True)
class Supply:
    """What one delivery gives to a day.

    Attributes:
        rows: number of rows.
        units: the units it gives the rows of; ``None`` for all that it holds on the day.
    """

    receipt: Receipt
    rows: int
    units: frozenset[str] | None = None


@dataclass(frozen=True)
class Ledger:
    """A table's deliveries at one moment.

    Attributes:
        receipts: oldest delivery first.
        versioned: whether rows have versions, or are a day's result.
    """

    receipts: tuple[Receipt, ...]
    versioned: bool
    _supplies: Mapping[dt.date, tuple[Supply, ...]]

    @classmethod
    def of(cls, receipts: Iterable[Receipt], versioned: bool) -> Ledger:
        ordered = tuple(sorted(receipts, key=age))
        return cls(ordered, versioned, (_everything if versioned else _newest)(ordered))

    def days(self) -> list[dt.date]:
        """Every day on which anything was delivered, ascending."""
        return sorted(self._supplies)

    def supplies(self, day: dt.date) -> tuple[Supply, ...]:
        """Which deliveries give a day its rows.

        Where rows are a day's result, the newest delivery of each unit; where they have versions, every delivery that
        holds rows of the day.
        """
        return self._supplies.get(day, ())

    def version(self, day: dt.date) -> str:
        """Fingerprint of which delivery supplies what: while it holds, so do the day's rows."""
        digest = hashlib.sha256()
        for supply in sorted(self.supplies(day), key=lambda s: s.receipt.key):
            units = "\1".join(sorted(supply.units)) if supply.units is not None else "*"
            digest.update(f"{supply.receipt.key}\0{supply.receipt.contract}\0{units}\0{supply.rows}\0".encode())
        return digest.hexdigest()[:16]

    def unmended(self, days: Collection[dt.date]) -> list[Receipt]:
        """Deliveries that hold any of the days and were not delivered again since, oldest first.

        Where rows are a day's result, those that still supply one of the days. Where they have versions a delivery
        stays among the suppliers for ever, and late rows of its days are no correction of it: it is delivered again
        when newer ones hold at least as many rows of each of its days and units.
        """
        if not self.versioned:
            keys = {supply.receipt.key for day in days for supply in self.supplies(day)}
            return [r for r in self.receipts if r.key in keys]
        found, since = [], dict[tuple[dt.date, str], int]()
        for receipt in reversed(self.receipts):
            rows = {(day, unit): n for day, units in receipt.days.items() for unit, n in units.items()}
            if any(day in days for day in receipt.days) and any(since.get(at, 0) < n for at, n in rows.items()):
                found.append(receipt)
            since |= {at: max(n, since.get(at, 0)) for at, n in rows.items()}
        return found[::-1]


def age(receipt: Receipt) -> tuple[dt.datetime, str]:
    """What deliveries are ordered by."""
    return receipt.delivered_at, receipt.key


def _newest(receipts: tuple[Receipt, ...]) -> dict[dt.date, tuple[Supply, ...]]:
    """Of every day, each unit's newest delivery."""
    winners: dict[dt.date, dict[str, Receipt]] = {}
    for receipt in receipts:
        for day, units in receipt.days.items():
            winners.setdefault(day, {}).update(dict.fromkeys(units, receipt))
    return {day: _shares(day, won) for day, won in winners.items()}


def _shares(day: dt.date, winners: Mapping[str, Receipt]) -> tuple[Supply, ...]:
    units: dict[str, list[str]] = {}
    by_key = {receipt.key: receipt for receipt in winners.values()}
    for unit, receipt in winners.items():
        units.setdefault(receipt.key, []).append(unit)
    found = []
    for key, own in units.items():
        held = by_key[key].days[day]
        whole = len(own) == len(held)
        found.append(Supply(by_key[key], sum(held[u] for u in own), None if whole else frozenset(own)))
    return tuple(found)


def _everything(receipts: tuple[Receipt, ...]) -> dict[dt.date, tuple[Supply, ...]]:
    """Of every day, all deliveries that hold rows of it."""
    found: dict[dt.date, list[Supply]] = {}
    for receipt in receipts:
        for day, units in receipt.days.items():
            found.setdefault(day, []).append(Supply(receipt, sum(units.values())))
    return {day: tuple(supplies) for day, supplies in found.items()}
