"""Write the CSV files that a small second-hand marketplace might export. See docs/worked-example.md.

    python examples/second_hand/make_data.py [FOLDER]

The marketplace is invented: three countries, six categories, about a thousand sales a day, 1 February to 30 June 2025.
Its files have what real exports have: local times without an offset, sales that change weeks later, a few bad rows,
nights on which one country's file is missing; and one thing that goes wrong (``TROUBLE``). The same seed, the same
files.

    history/   everything up to 20 June, a file for each country's sales
    nightly/   from 21 June on, what changed on each day
    late/      a correction that arrives on 1 July
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Row = list[str]
Texts = list[str]
Times = NDArray[np.datetime64]

SEED = 20250630
DAYS = np.arange("2025-02-01", "2025-07-01", dtype="datetime64[D]")
NIGHTLY = "2025-06-21"
MISSING = {("pl", "2025-06-24"), ("pl", "2025-06-25"), ("pl", "2025-06-26")}
TROUBLE = ("PL", "electronics", np.datetime64("2025-06-09"), 4.0)
"""Sales of this country and category from this day on are disputed so many times as often."""
SALES = {"PL": 720.0, "PT": 160.0, "LT": 100.0}
"""A usual day's sales."""
WEEK = np.array([0.95, 0.92, 0.93, 0.97, 1.0, 1.08, 1.20])
"""Monday to Sunday."""
CLOCKS_GO_FORWARD = {"PT": "2025-03-30T01", "PL": "2025-03-30T02", "LT": "2025-03-30T03"}
"""The local hour that is left out."""
CATEGORIES = np.array(["fashion", "electronics", "home", "toys", "books", "sports"])
SHARE = np.array([0.31, 0.21, 0.16, 0.13, 0.11, 0.08])
PRICE = np.array([18.0, 85.0, 30.0, 14.0, 8.0, 35.0])
DISPUTED = np.array([0.030, 0.045, 0.025, 0.020, 0.015, 0.030])
REASONS = np.array(["counterfeit", "not as described", "prohibited", "rude message"])
SALES_COLUMNS = ("sale_no", "country", "category", "seller_no", "price_eur", "sold_at", "state", "dispute_at",
                 "refunded_eur", "changed_at")  # fmt: skip
REPORT_COLUMNS = ("report_no", "country", "category", "reason", "reported_at", "handled_at", "changed_at")
LISTING_COLUMNS = ("stat_date", "country", "category", "new_listings", "views")


def busyness(random: np.random.Generator) -> NDArray[np.float64]:
    """How busy each day is: the week, slow growth, and chance."""
    monday = (DAYS - np.datetime64("1970-01-05")).astype(int) % 7
    growth = 1.0 + 0.0008 * np.arange(len(DAYS))
    busy: NDArray[np.float64] = WEEK[monday] * growth * random.gamma(400.0, 1 / 400.0, len(DAYS))
    return busy


def moments(random: np.random.Generator, usual: NDArray[np.float64]) -> Times:
    """Sorted instants, so many a day, most of them in the evening."""
    counts = random.poisson(usual)
    evening = random.random(counts.sum()) < 0.7
    hours = random.normal(np.where(evening, 19.5, 11.5), np.where(evening, 2.2, 3.0)) % 24
    times: Times = np.sort(np.repeat(DAYS, counts) + (hours * 3600).astype("timedelta64[s]"))
    return times


def after(random: np.random.Generator, times: Times, days: float) -> Times:
    """Instants so many days later on average, never in the same hour."""
    later: Times = times + (random.gamma(2.0, days / 2.0, len(times)) * 86_400 + 7_200).astype("timedelta64[s]")
    return later


def written(country: str, times: Times) -> Texts:
    """Local times as the export writes them; the hour that the clocks leave out is told as the next."""
    gap = np.datetime64(CLOCKS_GO_FORWARD[country], "s")
    left_out = (times >= gap) & (times < gap + np.timedelta64(1, "h"))
    texts: Texts = np.char.replace(np.datetime_as_string(times + left_out * np.timedelta64(1, "h")), "T", " ").tolist()
    return texts


def make_sales(random: np.random.Generator, country: str, busy: NDArray[np.float64]) -> list[Row]:
    """Every sale as it was made, and again whenever it changed: disputed, refunded. In the order of the changes."""
    sold = moments(random, SALES[country] * busy)
    category = random.choice(len(CATEGORIES), len(sold), p=SHARE)
    price = np.char.mod("%.2f", PRICE[category] * np.exp(random.normal(0, 0.6, len(sold)))).tolist()
    weight = 1.0 / np.arange(2, 902)
    seller = random.choice(len(weight), len(sold), p=weight / weight.sum())
    troubled = (CATEGORIES[category] == TROUBLE[1]) & (sold >= TROUBLE[2]) & (country == TROUBLE[0])
    disputed = random.random(len(sold)) < DISPUTED[category] * np.where(troubled, TROUBLE[3], 1.0)
    disputed_at = after(random, sold, 4.0)
    refunded = random.random(len(sold)) < np.where(disputed, 0.7, 0.015)
    refunded_at = after(random, np.where(disputed, disputed_at, sold), 5.0)
    at, dispute, refund = (written(country, times) for times in (sold, disputed_at, refunded_at))
    rows = []
    for i, name in enumerate(CATEGORIES[category].tolist()):
        sale = [f"{country}-{i + 1:06d}", country, name, f"{country}{seller[i]:04d}", price[i], at[i]]
        rows.append([*sale, "paid", "", "", at[i]])
        if disputed[i]:
            rows.append([*sale, "disputed", dispute[i], "", dispute[i]])
        if refunded[i]:
            rows.append([*sale, "refunded", dispute[i] if disputed[i] else "", price[i], refund[i]])
    return sorted(rows, key=lambda row: (row[-1], row[0]))


def make_reports(random: np.random.Generator, country: str, busy: NDArray[np.float64]) -> list[Row]:
    """Reports of listings by users: when they were filed, and when somebody had handled them."""
    filed = moments(random, SALES[country] * 0.1 * busy)
    category = random.choice(CATEGORIES, len(filed), p=SHARE).tolist()
    reason = random.choice(REASONS, len(filed), p=(0.2, 0.45, 0.15, 0.2)).tolist()
    handled = filed + (np.exp(random.normal(np.log(9.0), 0.8, len(filed))) * 3_600).astype("timedelta64[s]")
    filed_at, handled_at = written(country, filed), written(country, handled)
    rows = []
    for i in range(len(filed)):
        report = [f"{country}-R{i + 1:05d}", country, category[i], reason[i], filed_at[i]]
        rows += [[*report, "", filed_at[i]], [*report, handled_at[i], handled_at[i]]]
    return rows


def make_listings(random: np.random.Generator, busy: NDArray[np.float64]) -> list[Row]:
    """A day's new listings and views, by country and category."""
    rows = []
    for day, factor in zip(np.datetime_as_string(DAYS).tolist(), busy, strict=True):
        for country, sales in SALES.items():
            listed = random.poisson(sales * SHARE * factor * 2.2)
            views = random.poisson(sales * SHARE * factor * 45 * random.gamma(300, 1 / 300, len(SHARE)))
            rows += [[day, country, str(name), str(listed[i]), str(views[i])] for i, name in enumerate(CATEGORIES)]
    return rows


def spoil(rows: Sequence[Row]) -> list[Row]:
    """A history with what goes wrong in real files: a few bad rows, and some that are in it twice."""
    spoilt = [list(row) for row in rows]
    for place in (20_011, 20_460):
        spoilt[place][2] = "eletronics"
    for place in range(26_000, 26_005):  # a spreadsheet had its own idea of dates
        year, month, day = spoilt[place][5][:10].split("-")
        spoilt[place][5] = f"{day}.{month}.{year}{spoilt[place][5][10:16]}"
    spoilt[28_800][4] = f"-{spoilt[28_800][4]}"
    place = next(i for i, row in enumerate(spoilt) if row[9] > "2025-03-30 03" and row[6] == "paid")
    spoilt[place][5] = spoilt[place][9] = "2025-03-30 02:15:00"  # a clock that nobody had put forward
    spoilt[37_000][3] = ""
    spoilt[41_000] = spoilt[41_000][:6]
    contradicting = list(spoilt[44_000])
    contradicting[4] = f"{float(contradicting[4]) + 5:.2f}"
    return [*spoilt[:44_001], contradicting, *spoilt[44_001:], *spoilt[-40:]]


def make_correction(sales: Sequence[Row]) -> list[Row]:
    """Refunds that the payment provider paid out for sales of 18 May, and told on 1 July."""
    newest = {row[0]: row for row in sales if row[5].startswith("2025-05-18 1")}
    paid = [row for row in newest.values() if row[6] == "paid"][:30]
    return [[*row[:6], "refunded", "", row[4], f"2025-07-01 06:{i:02d}:00"] for i, row in enumerate(paid)]


def write(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def write_exports(folder: Path, name: str, columns: Sequence[str], rows: Sequence[Row], country: str = "") -> None:
    """The history in one file, then one for every night, with the rows of that local day."""
    told = 0 if name == "listings" else -1  # a column that tells when a row was exported
    stem = f"{name}_{country}" if country else name
    history = [row for row in rows if row[told] < NIGHTLY]
    write(folder / "history" / f"{stem}.csv", columns, spoil(history) if country == "pl" else history)
    nights: dict[str, list[Row]] = {night: [] for night in np.datetime_as_string(DAYS).tolist() if night >= NIGHTLY}
    for row in rows:
        if row[told][:10] in nights:
            nights[row[told][:10]].append(row)
    for night, changed in nights.items():
        if (country, night) not in MISSING:
            write(folder / "nightly" / f"{stem}_{night}.csv", columns, changed)


def main(folder: Path) -> None:
    """Write all files, in place of what an earlier run has left there."""
    for part in ("history", "nightly", "late"):
        shutil.rmtree(folder / part, ignore_errors=True)
    random = np.random.default_rng(SEED)
    busy = busyness(random)
    reports: list[Row] = []
    for country in SALES:
        sales = make_sales(random, country, busy)
        write_exports(folder, "sales", SALES_COLUMNS, sales, country.lower())
        reports += make_reports(random, country, busy)
        if country == "PL":
            write(folder / "late" / "sales_pl_2025-07-01.csv", SALES_COLUMNS, make_correction(sales))
    write_exports(folder, "reports", REPORT_COLUMNS, sorted(reports, key=lambda row: (row[-1], row[0])))
    write_exports(folder, "listings", LISTING_COLUMNS, make_listings(random, busy))
    files = list(folder.rglob("*.csv"))
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB, in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "exports")
