"""A delivered file lands once, whole or not at all; of every day, each unit's newest delivery counts."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog, Derived
from health_pipeline.errors import InputError
from health_pipeline.eu_dsa.adapter import DSA_STATEMENTS
from health_pipeline.raw.landed.landing import QUARANTINED, SETTLED_SECONDS, Landing
from health_pipeline.raw.landed.ledger import Ledger, Receipt
from health_pipeline.raw.loading.facts import assemble
from health_pipeline.raw.schema import facts_schema
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import Lake

CATALOG = load_catalog("eu_dsa")
STATEMENTS = CATALOG.tables[0]
HEADER = "day,platform,attribute,value,statements,mean_seconds"
MONDAY, TUESDAY = dt.date(2025, 9, 1), dt.date(2025, 9, 2)
LONG_AGO = dt.datetime(2025, 9, 3, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ENGINE = Engine()

Volume = tuple[dt.date, str, int]


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return open_landing(tmp_path)


def open_landing(folder: Path, catalog: Catalog = CATALOG) -> Landing:
    return Landing(Lake(folder / "lake", "eu_dsa"), catalog, DSA_STATEMENTS)


def write(path: Path, *volumes: Volume | str) -> Path:
    rows = [v if isinstance(v, str) else f"{v[0]},{v[1]},rows,all,{v[2]}," for v in volumes]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def declared(**changes: object) -> Catalog:
    """The bundled catalog with another contract."""
    return CATALOG.model_copy(update={"tables": (STATEMENTS.model_copy(update=changes),)})


def volumes(landing: Landing, *days: dt.date) -> list[Volume]:
    return [
        (day, row["platform"], row["statements"])
        for day, rows in facts(landing, *(days or landing.days("statements")))
        for row in rows.to_pylist()
    ]


def facts(landing: Landing, *days: dt.date) -> list[tuple[dt.date, pa.Table]]:
    table = landing.catalog.tables[0]
    schema = facts_schema(table)
    return [(day, pa.Table.from_batches(rows, schema)) for day, rows in assemble(landing, ENGINE, table, days)]


def balanced(receipt: Receipt) -> bool:
    return receipt.accepted + receipt.duplicates + receipt.quarantined == receipt.delivered


def test_a_receipt_tells_what_became_of_the_file(landing: Landing, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", (TUESDAY, "TikTok", 5), (MONDAY, "TikTok", 4), (MONDAY, "Joom", 3), "short")
    os.utime(path, (LONG_AGO.timestamp(),) * 2)
    receipt = landing.receive(path)
    assert receipt == Receipt(
        key=receipt.key,
        table="statements",
        name="a.csv",
        format="CSV",
        delivered_at=LONG_AGO,
        delivered=4,
        accepted=3,
        duplicates=0,
        quarantined=1,
        ignored=(),
        drift=(),
        reasons={"1 field where the header names 6": 1},
        days={MONDAY: {"Joom": 1, "TikTok": 1}, TUESDAY: {"TikTok": 1}},
        contract=receipt.contract,
    )
    assert balanced(receipt)
    assert landing.receipts() == [receipt]
    assert open_landing(tmp_path).receipts() == [receipt], "and another process reads the same"


def test_the_bundled_sample_lands_whole_and_comes_back(landing: Landing) -> None:
    assert CATALOG.sample is not None
    receipt = landing.receive(CATALOG.sample)
    assert (receipt.delivered, receipt.accepted, receipt.quarantined) == (500_835, 500_835, 0)
    days = landing.days("statements")
    assert len(days) == 737
    assert sum(rows.num_rows for _, rows in facts(landing, *days)) == 500_835


def test_a_newer_file_replaces_all_a_unit_delivered_for_a_day_and_nothing_else(
    landing: Landing, tmp_path: Path
) -> None:
    old = write(
        tmp_path / "old.csv",
        (MONDAY, "Joom", 1), (MONDAY, "TikTok", 2), f"{MONDAY},TikTok,category,STATEMENT_CATEGORY_OTHER,2,",
        (TUESDAY, "TikTok", 3),
    )  # fmt: skip
    landing.receive(old, delivered_at=LONG_AGO)
    landing.receive(write(tmp_path / "new.csv", (MONDAY, "TikTok", 20)), delivered_at=LONG_AGO + HOUR)
    assert volumes(landing) == [(MONDAY, "Joom", 1), (MONDAY, "TikTok", 20), (TUESDAY, "TikTok", 3)]


def test_the_newest_delivery_wins_in_whatever_order_files_land(landing: Landing, tmp_path: Path) -> None:
    landing.receive(write(tmp_path / "new.csv", (MONDAY, "TikTok", 20)), delivered_at=LONG_AGO + HOUR)
    landing.receive(write(tmp_path / "old.csv", (MONDAY, "TikTok", 2)), delivered_at=LONG_AGO)
    assert volumes(landing) == [(MONDAY, "TikTok", 20)]


def test_dropping_the_older_file_again_undoes_a_mistaken_correction(landing: Landing, tmp_path: Path) -> None:
    right = write(tmp_path / "right.csv", (MONDAY, "TikTok", 2))
    landing.receive(right, delivered_at=LONG_AGO)
    first = landing.ledger("statements").version(MONDAY)
    landing.receive(write(tmp_path / "wrong.csv", (MONDAY, "TikTok", 20)), delivered_at=LONG_AGO + HOUR)
    assert landing.ledger("statements").version(MONDAY) != first
    again = landing.receive(right.rename(tmp_path / "right again.csv"), delivered_at=LONG_AGO + 2 * HOUR)
    assert (again.name, again.delivered_at) == ("right.csv", LONG_AGO + 2 * HOUR)
    assert volumes(landing) == [(MONDAY, "TikTok", 2)]
    assert landing.ledger("statements").version(MONDAY) == first
    assert len(landing.receipts()) == 2


def test_the_same_content_never_moves_back_in_time(landing: Landing, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", (MONDAY, "TikTok", 2))
    landing.receive(path, delivered_at=LONG_AGO)
    assert landing.receive(path, delivered_at=LONG_AGO - HOUR).delivered_at == LONG_AGO


def test_rows_that_were_too_early_land_when_their_file_comes_again(
    landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Early(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Early:
            return cls.combine(MONDAY - dt.timedelta(days=1), dt.time(12), tz)

    path = write(tmp_path / "a.csv", (MONDAY, "TikTok", 1), (TUESDAY, "TikTok", 2))
    with monkeypatch.context() as patched:
        patched.setattr("health_pipeline.raw.landed.landing.dt.datetime", Early)
        early = landing.receive(path)
        assert early.reasons == {"day: in the future": 1}
        assert landing.receive(path).quarantined == 1
    assert landing.receive(path, delivered_at=LONG_AGO).reasons == {}
    assert volumes(landing) == [(MONDAY, "TikTok", 1), (TUESDAY, "TikTok", 2)]


def test_rows_that_a_landing_has_got_since_change_their_day(landing: Landing, tmp_path: Path) -> None:
    receipt = landing.receive(write(tmp_path / "a.csv", (MONDAY, "TikTok", 1)))
    grown = replace(receipt, days={MONDAY: {"TikTok": 2}})
    assert Ledger.of([receipt], versioned=True).version(MONDAY) != Ledger.of([grown], versioned=True).version(MONDAY)


def test_a_file_from_the_future_counts_as_delivered_now(landing: Landing, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", (MONDAY, "TikTok", 2))
    os.utime(path, (time.time() + 86_400,) * 2)
    assert landing.new_files(tmp_path) == [], "somebody's clock is wrong, or it is being written"
    assert landing.new_files(tmp_path, settled_seconds=0) == [path]
    assert landing.receive(path).delivered_at <= dt.datetime.now(dt.UTC)


def test_a_days_version_changes_only_when_its_rows_may(landing: Landing, tmp_path: Path) -> None:
    landing.receive(write(tmp_path / "a.csv", (MONDAY, "TikTok", 1), (TUESDAY, "TikTok", 2)), delivered_at=LONG_AGO)
    before = [landing.ledger("statements").version(day) for day in (MONDAY, TUESDAY)]
    landing.receive(write(tmp_path / "b.csv", (TUESDAY, "Joom", 2)), delivered_at=LONG_AGO + HOUR)
    after = [landing.ledger("statements").version(day) for day in (MONDAY, TUESDAY)]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_days_come_in_order_and_a_day_without_delivery_is_empty(landing: Landing, tmp_path: Path) -> None:
    landing.receive(write(tmp_path / "a.csv", (MONDAY, "TikTok", 1), (TUESDAY, "TikTok", 2)))
    never = dt.date(2025, 9, 5)
    days = facts(landing, MONDAY, TUESDAY, never)
    assert [(day, rows.num_rows) for day, rows in days] == [(MONDAY, 1), (TUESDAY, 1), (never, 0)]
    assert facts(landing, TUESDAY) == days[1:2]


def test_every_rejected_row_is_kept_with_the_time_it_came(landing: Landing, tmp_path: Path) -> None:
    assert landing.quarantine() == QUARANTINED.empty_table()
    landing.receive(write(tmp_path / "a.csv", (MONDAY, "TikTok", -1)), delivered_at=LONG_AGO)
    landing.receive(write(tmp_path / "b.csv", "short", (MONDAY, "TikTok", 1)), delivered_at=LONG_AGO + HOUR)
    kept = landing.quarantine()
    assert kept.schema == QUARANTINED
    rows = kept.to_pylist()
    assert [(r["table"], r["file"], r["row"], r["column"], r["reason"], r["raw"]) for r in rows] == [
        ("statements", "a.csv", 1, "statements", "statements: below 0", "2025-09-01,TikTok,rows,all,-1,"),
        ("statements", "b.csv", 1, "", "1 field where the header names 6", "short"),
    ]
    assert all(dt.datetime.now(dt.UTC) - r["received_at"] < HOUR for r in rows)


def test_a_statement_dump_lands_as_the_table_of_the_contract(landing: Landing, tmp_path: Path) -> None:
    values = dict.fromkeys(DSA_STATEMENTS.needed, "") | {
        "platform_name": "TikTok",
        "created_at": "2025-09-01 08:00:00",
    }
    lines = [",".join(values | {"uuid": uuid}) for uuid in ("u1",)]
    lines += [",".join((values | {"uuid": uuid}).values()) for uuid in ("u1", "u2", "u1", "")]
    path = tmp_path / "sor-global-2025-09-01-full.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sor-global-2025-09-01-full-00000.csv", "\n".join(lines))
    said: list[str] = []
    receipt = landing.receive(path, progress=said.append)
    assert receipt.format == "statement-level dump of the DSA Transparency Database"
    assert (receipt.delivered, receipt.accepted, receipt.duplicates, receipt.quarantined) == (4, 2, 1, 1)
    assert receipt.reasons == {"uuid: empty": 1}
    assert volumes(landing) == [(MONDAY, "TikTok", 2)]
    assert said == [
        "Checking sor-global-2025-09-01-full.zip",
        "Reading sor-global-2025-09-01-full.zip/sor-global-2025-09-01-full-00000.csv",
        "Aggregating 4 statements",
        "Landing 2 of 4 rows",
    ]


def test_the_inbox_shows_files_that_are_new_and_settled(
    landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "inbox"
    assert landing.new_files(inbox) == []
    path = write(inbox / "a.csv", (MONDAY, "TikTok", 1))
    for name in (".hidden.csv", "b.csv.part", "b.csv.tmp", "b.csv.CRDOWNLOAD"):
        write(inbox / name, (MONDAY, "TikTok", 1))
    (inbox / "folder").mkdir()
    settled = path.stat().st_mtime + SETTLED_SECONDS
    for now, shown in ((settled - 0.1, []), (settled, [path])):  # before, it may still be growing
        monkeypatch.setattr("health_pipeline.raw.landed.landing.time", SimpleNamespace(time=lambda now=now: now))
        assert landing.new_files(inbox) == shown
        assert landing.new_files(inbox, settled_seconds=0) == [path]
    monkeypatch.undo()
    os.utime(path, (time.time() - 3,) * 2)
    assert landing.new_files(inbox) == [path]
    landing.receive(path)
    assert landing.new_files(inbox) == []
    write(path, (MONDAY, "TikTok", 2))
    os.utime(path, (time.time() - 3,) * 2)
    assert landing.new_files(inbox) == [path], "corrected in place"


def test_a_file_that_cannot_be_read_is_not_tried_again_until_it_changes(landing: Landing, tmp_path: Path) -> None:
    path = tmp_path / "inbox" / "a.csv"
    path.parent.mkdir()
    path.touch()
    with pytest.raises(InputError, match=r"a\.csv is empty"):
        landing.receive(path)
    assert landing.new_files(path.parent, settled_seconds=0) == []
    assert [(r.name, r.message, r.hint) for r in landing.rejections()] == [
        ("a.csv", "a.csv is empty.", "Export it again, with a header and rows.")
    ]
    write(path, (MONDAY, "TikTok", 1))
    assert landing.new_files(path.parent, settled_seconds=0) == [path]
    landing.receive(path)
    assert landing.rejections() == []
    assert volumes(landing) == [(MONDAY, "TikTok", 1)]


def test_folders_missing_files_and_other_formats_are_refused(landing: Landing, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not a file"):
        landing.receive(tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        landing.receive(tmp_path / "nowhere.csv")
    assert landing.rejections() == []
    (tmp_path / "notes.docx").touch()
    with pytest.raises(InputError, match=r"notes\.docx is neither Parquet, CSV nor"):
        landing.receive(tmp_path / "notes.docx")
    assert [r.name for r in landing.rejections()] == ["notes.docx"]


def test_a_file_that_grows_while_it_is_read_is_neither_landed_nor_rejected(landing: Landing, tmp_path: Path) -> None:
    path = write(tmp_path / "inbox" / "a.csv", (MONDAY, "TikTok", 1))

    def grow(said: str) -> None:
        with path.open("a") as file:
            file.write(f"{TUESDAY},TikTok,rows,all,2,\n")

    with pytest.raises(InputError, match="changed while it was read"):
        landing.receive(path, progress=grow)
    assert (landing.receipts(), landing.rejections()) == ([], [])
    assert landing.new_files(path.parent, settled_seconds=0) == [path]


def test_a_change_of_the_contract_makes_every_file_new(landing: Landing, tmp_path: Path) -> None:
    path = write(tmp_path / "inbox" / "a.csv", (MONDAY, "TikTok", 0), (TUESDAY, "TikTok", 2))
    landing.receive(path)
    columns = tuple(c.model_copy(update={"minimum": 1}) if c.name == "statements" else c for c in STATEMENTS.columns)
    changed = open_landing(tmp_path, declared(columns=columns))
    assert changed.new_files(path.parent, settled_seconds=0) == [path]
    assert changed.receive(path).quarantined == 1
    assert volumes(changed) == [(TUESDAY, "TikTok", 2)]


def test_what_is_said_about_a_table_for_people_and_later_stages_makes_no_file_new(
    landing: Landing, tmp_path: Path
) -> None:
    path = write(tmp_path / "inbox" / "a.csv", (MONDAY, "TikTok", 1))
    landing.receive(path)
    doubled = Derived(name="doubled", type="integer", sql="statements * 2", description="twice")
    other = open_landing(
        tmp_path, declared(title="Other", description="Other.", derived=(doubled,), cluster="value", sparse=True)
    )
    assert other.new_files(path.parent, settled_seconds=0) == []
    [(_, rows)] = facts(other, MONDAY)
    assert (rows["doubled"].to_pylist(), rows["cluster"].type) == ([2], pa.int32())


def test_rows_landed_before_a_column_was_added_have_none_in_it(landing: Landing, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", (MONDAY, "TikTok", 1))
    landing.receive(path)

    def grown(required: bool) -> Landing:
        column = STATEMENTS.columns[-1].model_copy(update={"name": "appeals", "required": required})
        return open_landing(tmp_path, declared(columns=(*STATEMENTS.columns, column)))

    [(_, rows)] = facts(grown(required=False), MONDAY)
    assert rows["appeals"].to_pylist() == [None]
    with pytest.raises(InputError) as caught:
        facts(grown(required=True), MONDAY)
    assert str(caught.value) == "a.csv was delivered before the contract had 'appeals'.\nDeliver it again."


KILLED = """
    import os, sys
    from pathlib import Path
    from health_pipeline.catalog.loader import load_catalog
    from health_pipeline.raw.landed import landing
    from health_pipeline.storage.lake import Lake

    steps = 0

    def or_die(real):
        def step(*arguments):
            global steps
            if steps == int(sys.argv[3]):
                os.kill(os.getpid(), 9)
            steps += 1
            real(*arguments)
        return step

    landing.replace_durably, landing.write_durably = or_die(landing.replace_durably), or_die(landing.write_durably)
    landing.Landing(Lake(Path(sys.argv[1]) / "lake", "eu_dsa"), load_catalog()).receive(Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("step", "before"), [(0, "its rows"), (2, "its receipt"), (3, "it is noted as seen")])
def test_a_kill_at_any_time_leaves_a_whole_landing_or_one_that_is_done_again(
    landing: Landing, tmp_path: Path, step: int, before: str
) -> None:
    path = write(tmp_path / "inbox" / "a.csv", (MONDAY, "TikTok", 1))
    script = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(path), str(step)]
    assert subprocess.run(script, check=False).returncode == -9
    assert volumes(landing) == ([(MONDAY, "TikTok", 1)] if before == "it is noted as seen" else [])
    assert landing.new_files(path.parent, settled_seconds=0) == [path]
    scratch = list(tmp_path.rglob(".reading-*"))
    assert bool(scratch) == (before == "its rows")
    for left in scratch:
        os.utime(left, (LONG_AGO.timestamp(),) * 2)
    landing.receive(path)
    assert volumes(landing) == [(MONDAY, "TikTok", 1)]
    assert landing.new_files(path.parent, settled_seconds=0) == []
    assert list(tmp_path.rglob(".reading-*")) == [], "what a killed process left is swept"


def test_ten_deliveries_over_each_other_are_read_in_one_pass_each(landing: Landing, tmp_path: Path) -> None:
    days = [MONDAY - dt.timedelta(days=n) for n in range(50)]
    for n in range(10):
        rows = [(day, f"unit {u}", n) for day in days[n * 5 :] for u in range(n, 10)]
        landing.receive(write(tmp_path / f"{n}.csv", *rows), delivered_at=LONG_AGO + n * HOUR)
    found = {(day, unit): count for day, unit, count in volumes(landing)}
    newest = {(day, f"unit {u}"): n for n in range(10) for day in days[n * 5 :] for u in range(n, 10)}
    assert found == newest
    rows = pa.concat_tables(rows for _, rows in facts(landing, *landing.days("statements")))
    assert rows.sort_by([("day", "ascending"), ("platform", "ascending")]) == rows
