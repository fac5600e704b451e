"""``health-pipeline detect``: long tables in, reports out; what it says of its assumptions and of bad rows."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from health_pipeline.cli import main
from health_pipeline.detection import Columns, LongTable, Options, detect_table, judge, read_file, read_frame
from health_pipeline.detection.judge import COLUMNS
from health_pipeline.detection.scales import scaled
from health_pipeline.errors import InputError
from health_pipeline.terminal.detect import said_effect
from health_pipeline_tests.conftest import COMMAND, TERMINAL

ROOT = Path(__file__).parents[2]
FIRST, DAYS = dt.date(2025, 1, 6), 80
ONSET = dt.date(2025, 3, 20)
LATE = "2025-03-17"
"""Judging from here on keeps the tests quick."""
WEEK = np.array([0.9, 0.95, 0.95, 1.0, 1.05, 1.15, 1.0])

Detect = Callable[..., tuple[int, str, str]]


def orders(series: int = 8, mean: float = 200.0, factor: float = 2.0) -> pd.DataFrame:
    """Ordinary series with a weekly rhythm; the last one is ``factor`` times as large since the onset."""
    rng = np.random.default_rng(11)
    expected = np.tile(mean * WEEK[np.arange(DAYS) % 7], (series, 1))
    expected[-1, (ONSET - FIRST).days :] *= factor
    days = pd.date_range(FIRST, periods=DAYS)
    names = [f"shop {i}" for i in range(series)]
    return pd.DataFrame(
        {"series": np.repeat(names, DAYS), "day": np.tile(days, series), "value": rng.poisson(expected).ravel()}
    )


@pytest.fixture
def detect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Detect:
    """The command, in this process: exit code, what it printed, and its complaints."""
    monkeypatch.chdir(tmp_path)
    for name, value in TERMINAL.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["health-pipeline", "detect", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def text_of(table: pd.DataFrame) -> str:
    text: str = table.to_csv(index=False)
    return text


def test_a_planted_doubling_is_reported_with_onset_and_effect(tmp_path: Path) -> None:
    orders().to_csv(tmp_path / "orders.csv", index=False)
    command = [*COMMAND, "detect", "orders.csv", "--out", "shifts.csv"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **TERMINAL, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reports = pd.read_csv(tmp_path / "shifts.csv", parse_dates=["onset", "onset_low", "onset_high", "reported_on"])
    assert list(reports.columns) == list(COLUMNS)
    (report,) = reports.to_dict("records")
    assert (report["series"], report["type"], report["direction"]) == ("shop 7", "count", "up")
    assert report["onset"].date() == ONSET
    assert report["onset_low"] <= report["onset"] <= report["onset_high"]
    assert dt.timedelta(0) <= report["reported_on"].date() - ONSET <= dt.timedelta(2)
    assert report["effect_low"] < 1.0 < report["effect_high"]
    assert report["effect"] == pytest.approx(report["observed"] / report["expected"] - 1, rel=1e-6)
    assert report["q_value"] <= 0.05 and report["p_value"] <= report["q_value"]
    assert report["state"] == "ongoing" and report["latest_kind"] == "level"
    said = " ".join(done.stdout.split())
    assert "640 rows; 8 series, 2025-01-06 to 2025-03-26, 80 days" in said
    assert "all series are counts (whole numbers, no denominator)" in said
    assert "a day without a row is missing, not zero" in said
    assert "2025-02-24 is the first with 49 observed days before it. 8 of 8 series are judged" in said
    assert "at most 5 % of them expected to be false" in said
    assert "1 report in 31 days" in said


def test_parquet_gzip_standard_input_and_other_names_give_the_same_reports(
    detect: Detect, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = orders(4)
    table["series"] = table["series"].str.replace(" ", "|")
    renamed = table.rename(columns={"day": "date", "value": "orders"}).assign(
        kind="shop", number=table["series"].str[5:]
    )
    table.to_csv("a.csv", index=False)
    table.sample(frac=1.0, random_state=3).to_parquet("a.parquet")
    Path("a.csv.gz").write_bytes(gzip.compress(text_of(table).encode()))
    renamed.drop(columns="series").to_parquet("b.parquet")
    found = {}
    for name in ("a.csv", "a.parquet", "a.csv.gz", "-"):
        if name == "-":
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("a.parquet").read_bytes())))
        code, _, err = detect(name, "--out", "shifts.parquet", "--first", LATE)
        assert code == 0, err
        found[name] = pd.read_parquet("shifts.parquet")
    names = ("--series", "kind", "--series", "number", "--day", "date", "--value", "orders")
    code, _, err = detect("b.parquet", *names, "--out", "shifts.parquet", "--first", LATE)
    assert code == 0, err
    found["b.parquet"] = pd.read_parquet("shifts.parquet")
    assert list(found["a.csv"]["series"]) == ["shop|3"]
    for other in found.values():
        pd.testing.assert_frame_equal(found["a.csv"], other)


BAD = """\
shop 0,2025-03-26,,
shop 0,2025-02-30,5,
shop 0,27 March,5,
shop 0,2025-03-27,many,
shop 0,2025-03-28,-5,
,2025-03-28,5,
shop 0,2025-03-29,inf,
shop 1,2025-03-25,7,
shop 2,2025-03-25,SAME,
"""


def test_bad_rows_are_named_and_set_aside_and_the_others_count(detect: Detect) -> None:
    table = orders(4)
    whole = table[~((table["series"] == "shop 0") & (table["day"] == "2025-03-26"))]
    same = whole["value"][(whole["series"] == "shop 2") & (whole["day"] == "2025-03-25")].item()
    Path("a.csv").write_text(text_of(whole) + BAD.replace(",\n", "\n").replace("SAME", f"{same}"))
    code, out, err = detect("a.csv", "--out", "shifts.csv", "--first", LATE)
    assert code == 0, err
    rejected = pd.read_csv("shifts.rejected.csv").set_index("row")
    rows = len(whole)
    twin = 1 + int(np.flatnonzero((whole["series"] == "shop 1") & (whole["day"] == "2025-03-25"))[0])
    assert dict(zip(rejected.index, rejected["column"] + ": " + rejected["reason"], strict=True)) == {
        twin: f"day: series and day of row {rows + 8}, with another value",
        rows + 1: "value: empty",
        rows + 2: "day: not a day like 2025-09-30",
        rows + 3: "day: not a day like 2025-09-30",
        rows + 4: "value: not a number like 1234.5",
        rows + 5: "value: below 0",
        rows + 6: "series: empty",
        rows + 7: "value: not a finite number",
        rows + 8: f"day: series and day of row {twin}, with another value",
        rows + 9: f"day: repeats row {twin + DAYS}",
    }
    assert f"{rows + 9} rows: {rows - 1} used, 10 rejected" in out
    assert f"a.csv, row {rows + 4}, column value: shop 0, 2025-03-27, many" in out
    assert "shifts.rejected.csv" in out
    assert list(pd.read_csv("shifts.csv")["series"]) == ["shop 3"]

    table.to_csv("a.csv", index=False)
    assert detect("a.csv", "--out", "shifts.csv", "--first", LATE)[0] == 0
    assert not Path("shifts.rejected.csv").exists()


def test_a_record_that_is_not_csv_is_set_aside_with_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('series,day,value\na,2025-01-01,5\na,2025-01-02\na,"2025-01-03,6\na,2025-01-04,7\n')
    table = read_file(tmp_path / "a.csv", Columns())
    assert table.delivered == 4 and table.value.tolist() == [5.0, 7.0]
    assert table.rejected["row"].to_pylist() == [2, 3]
    assert table.rejected["raw"].to_pylist() == ["a,2025-01-02", 'a,"2025-01-03,6']


def table_of(text: str, **options: Any) -> LongTable:
    return read_frame(pd.read_csv(io.StringIO(text)), Columns(), **options)


def test_a_series_has_a_denominator_on_all_its_rows_or_on_none() -> None:
    table = table_of(
        "series,day,value,denominator\n"
        "share,2025-01-01,5,10\nshare,2025-01-02,5,\nshare,2025-01-03,5,0\n"
        "count,2025-01-01,5,\ncount,2025-01-02,6,\n"
    )
    rejected = table.rejected
    assert [*zip(rejected["row"].to_pylist(), rejected["reason"].to_pylist(), strict=True)] == [
        (2, "empty"),
        (3, "not above 0"),
    ]
    assert scaled(table).types == ("count", "proportion")


@pytest.mark.parametrize(
    ("values", "denominator", "kind"),
    [
        ((5, 0, 7), None, "count"),
        ((5, 0.5, 7), None, "mean"),
        ((5, 0, 7), (10, 10, 7), "proportion"),
        ((5, 0, 8), (10, 10, 7), "rate"),
        ((5, 0.5, 7), (10, 10, 7), "mean"),
        ((5, 0, 7), (10.5, 10, 7), "mean"),
    ],
)
def test_the_scale_follows_from_the_values(
    values: tuple[float, ...], denominator: tuple[float, ...] | None, kind: str
) -> None:
    frame = pd.DataFrame({"series": "a", "day": pd.date_range(FIRST, periods=3), "value": values})
    laid = scaled(read_frame(frame if denominator is None else frame.assign(denominator=denominator), Columns()))
    assert laid.types == (kind,)
    own = laid.own(0, laid.panel.numerator[0] / laid.panel.denominator[0])
    np.testing.assert_allclose(own, np.array(values) / (denominator or 1.0), rtol=1e-12)


def test_a_missing_day_is_no_zero_unless_it_is_said() -> None:
    table = table_of(
        "series,day,value\nborn late,2025-01-03,4\nborn late,2025-01-06,4\n"
        "a,2025-01-01,0\na,2025-01-02,3\na,2025-01-03,3\na,2025-01-06,3\n"
    )
    held = scaled(table).panel.numerator
    filled = scaled(table, absent="zero")
    assert table.series == ("a", "born late")
    assert np.isnan(held[0]).tolist() == [True, False, False, True, True, False]
    assert np.isnan(held[1]).tolist() == [True, True, False, True, True, False]
    assert filled.absent == 0, "on the 4th and 5th no series has a row: a hole, not a zero"
    more = table_of(
        "series,day,value\nborn late,2025-01-03,4\nborn late,2025-01-06,4\n"
        "a,2025-01-01,3\na,2025-01-04,3\na,2025-01-05,3\n"
    )
    again = scaled(more, absent="zero")
    assert again.panel.numerator[1, 2:].tolist() == [4.0, 0.0, 0.0, 4.0]
    assert np.isnan(again.panel.numerator[1, :2]).all()
    assert again.absent == 4


def test_shares_means_and_numbers_are_told_on_their_own_scale() -> None:
    """The same doubling as a share, as a mean of thousandths, and as a balance of either sign."""
    table = orders(4)
    first = dt.date.fromisoformat(LATE)
    share = detect_table(table.assign(denominator=1000), first=first)
    mean = detect_table(table.assign(value=table["value"] / 1e5 + 1e-7), first=first)
    number = detect_table(table.assign(value=table["value"] - 300.0), first=first, type="number", minimum_change=9.0)
    for reports, kind in ((share, "proportion"), (mean, "mean"), (number, "number")):
        assert list(reports["series"]) == ["shop 3"] and list(reports["type"]) == [kind]
        assert reports["onset"].dt.date.item() == ONSET
    assert share["expected"].item() == pytest.approx(0.2, rel=0.2)
    assert mean["observed"].item() == pytest.approx(0.004, rel=0.2)
    assert share["effect_low"].item() < 1.0 < share["effect_high"].item()
    assert mean["effect_low"].item() < 1.0 < mean["effect_high"].item()
    (balance,) = number.to_dict("records")
    assert balance["expected"] < 0 < balance["observed"]
    assert balance["effect"] == pytest.approx(balance["observed"] - balance["expected"], rel=1e-6)
    assert balance["effect_low"] < 200 < balance["effect_high"]


@pytest.mark.parametrize("value", [5, 0.25])
def test_series_that_never_vary_do_not_alarm(value: float) -> None:
    frame = orders(2, factor=1.0).assign(value=value)
    assert detect_table(frame, first=dt.date.fromisoformat(LATE)).empty


@pytest.mark.parametrize(
    ("kind", "effect", "said"),
    [
        ("count", (1.02, 0.63, 1.49), "×2.02 (95 % CI +63 % to ×2.49)"),
        ("rate", (-0.7, -1.0, 25000.0), "−70 % (95 % CI −100 % to ×3e4)"),
        ("proportion", (-0.0012, -0.02, 0.0), "−0.12 % (95 % CI −2 % to +0 %)"),
        ("number", (-41.3, -50.0, 1234.0), "−41.3 (95 % CI −50 to +1.23e+03)"),
        ("mean", (0.5, float("nan"), float("nan")), "+50 % (95 % CI unknown to unknown)"),
    ],
)
def test_an_effect_is_told_as_a_person_writes_it(kind: str, effect: tuple[float, float, float], said: str) -> None:
    assert said_effect(kind, effect) == said


def test_what_was_reported_does_not_change_when_days_are_added() -> None:
    table, first = orders(4), dt.date.fromisoformat(LATE)
    early = detect_table(table[table["day"] < "2025-03-24"], first=first)
    whole = detect_table(table, first=first)
    at_report = [c for c in COLUMNS if not c.startswith("latest") and c not in ("state", "ended")]
    assert len(early)
    pd.testing.assert_frame_equal(early[at_report], whole[whole["reported_on"] < "2025-03-24"][at_report])


def test_a_day_of_the_calendar_alarms_nobody(detect: Detect) -> None:
    table = orders(4, factor=1.0)
    table.loc[table["day"] == "2025-03-20", "value"] *= 3
    table.assign(cohort="DE").to_csv("a.csv", index=False)
    Path("days.csv").write_text("day,cohort,title\n2025-03-20,DE,sale\n")
    Path("elsewhere.csv").write_text("day,cohort\n2025-03-20,FR\n")
    table["value"].to_csv("other.csv")
    assert "4 reports in 10 days" in detect("a.csv", "--first", LATE, "--minimum-change", "0")[1]
    code, out, err = detect("a.csv", "--first", LATE, "--calendar", "days.csv")
    assert code == 0, err
    assert "No report in 10 days" in out
    assert "1 of its days are in the table" in out
    code, _, err = detect("a.csv", "--first", LATE, "--calendar", "elsewhere.csv")
    assert code == 4 and "a cohort 'FR' that a.csv does not have" in err


@pytest.mark.parametrize("cohort", [None, "DE"])
def test_what_a_whole_cohort_does_is_no_shift_of_each(cohort: str | None) -> None:
    """A campaign lifts all series on the day on which one of them doubles for good."""
    table, first = orders(10), dt.date.fromisoformat(LATE)
    sale = table["day"] == pd.Timestamp(ONSET)
    table.loc[sale, "value"] = (table.loc[sale, "value"] * 1.6).astype(int)
    assert detect_table(table, first=first)["series"].nunique() == 10
    named = table if cohort is None else table.assign(cohort=cohort)
    (report,) = detect_table(named, first=first, together=cohort is None).to_dict("records")
    assert (report["series"], report["onset"].date()) == ("shop 9", ONSET)
    assert report["effect_low"] < 1.0 < report["effect_high"]


def test_a_picture_for_each_report_and_a_page_of_all(detect: Detect) -> None:
    table = orders(4)
    table["series"] = table["series"].replace("shop 3", "<script>alert(1)</script> & shop")
    table.to_csv("a.csv", index=False)
    assert detect("a.csv", "--first", LATE, "--charts", "charts")[0] == 0
    (picture,) = Path("charts").glob("*.svg")
    drawn = ElementTree.parse(picture)
    words = [e.text for e in drawn.iter() if e.text]
    assert any("shop: " in w and "up since 20 March 2025" in w for w in words)
    assert any("onset 20 Mar" in w for w in words) and any("reported" in w for w in words)
    assert not any("script" in e.tag for e in drawn.iter())
    page = Path("charts/index.html").read_text(encoding="utf-8")
    assert re.findall(r'<img [^>]*src="([^"]+)"', page) == [picture.name]
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "a day without a row is missing" in page

    orders(4, factor=1.0).to_csv("a.csv", index=False)
    assert detect("a.csv", "--first", LATE, "--charts", "charts")[0] == 0
    assert [p.name for p in Path("charts").iterdir()] == ["index.html"], "pictures of an earlier call are replaced"
    Path("charts/mine.txt").write_text("mine")
    code, _, err = detect("a.csv", "--charts", "charts")
    assert code == 4 and "charts is not empty" in err


GOOD = "series,day,value\na,2025-01-01,5\na,2025-01-02,6\n"


@pytest.mark.parametrize(
    ("text", "arguments", "code", "says"),
    [
        (GOOD, ("none.csv",), 4, "There is no file none.csv."),
        (GOOD, (".",), 4, ". is a folder, not a file."),
        (GOOD, ("a.csv", "--type", "share"), 2, "'share' is not one of"),
        (GOOD, ("a.csv", "--first", "May"), 4, "Write it as 2026-07-01."),
        (GOOD, ("a.csv",), 1, "No series of a.csv has 49 observed days before the last; the most are 2."),
        (GOOD, ("a.csv", "--first", "2025-02-01"), 1, "a.csv ends on 2025-01-02: 2025-02-01 can't be judged."),
        (GOOD, ("a.csv", "--type", "rate"), 4, "a.csv: the series a has no denominator, which a rate needs."),
        (GOOD, ("a.csv", "--out", "a.csv"), 4, "a.csv is the file that is read."),
        (GOOD, ("a.csv", "--out", "a.xlsx"), 4, "a.xlsx is neither .csv nor .parquet."),
        (GOOD, ("a.csv", "--out", "none/b.csv"), 4, "there is no folder none"),
        (GOOD, ("a.csv", "--calendar", "a.csv", "--value", "values"), 4, "Did you mean 'value'?"),
        (GOOD, ("a.csv", "--denominator", "n"), 4, "a.csv has no column 'n'."),
        (GOOD.replace("value", "amount"), ("a.csv",), 4, "Say which one it is: --value NAME."),
        (GOOD.replace(",", ";"), ("a.csv",), 4, "separates its columns by semicolons"),
        (GOOD.replace("series", "day"), ("a.csv",), 4, "a.csv has 2 columns named 'day'."),
        ("series,day,value\n", ("a.csv",), 4, "a.csv has no rows."),
        (GOOD + "a,2025-01-01,7\na,2025-01-02,8\n", ("a.csv",), 4, "name all columns that tell series apart"),
        (GOOD + "a,2052-01-03,5\n", ("a.csv",), 4, "Is the year right in row 3 (2052-01-03)?"),
        ("series,day,value,cohort\na,2025-01-01,5,DE\na,2025-01-02,5,FR\n", ("a.csv",), 4, "two cohorts, DE in row 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_a_sentence_and_writes_nothing(
    detect: Detect, text: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    Path("a.csv").write_text(text)
    left, out, err = detect(*arguments, *(() if "--out" in arguments else ("--out", "shifts.csv")))
    assert left == code, out + err
    assert says in " ".join(err.split())
    assert "Traceback" not in err
    assert [p.name for p in Path().iterdir()] == ["a.csv"]
    assert Path("a.csv").read_text() == text


def test_the_python_function_refuses_bad_rows() -> None:
    frame = orders(1)
    frame.loc[3, "value"] = -1
    with pytest.raises(InputError, match=r"1 of 80 rows can't be used; the first is row 4, column value: below 0\."):
        detect_table(frame)
    assert len(judge(read_frame(frame, Columns()), Options(first=dt.date.fromisoformat(LATE))).frame()) == 1


def test_the_page_describes_every_column_and_its_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "detect.md").read_text(encoding="utf-8")
    described = page[page.index("## What comes out") : page.index("## From Python")]
    named = [name for row in re.findall(r"^\| (`.*?) \|", described, re.M) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(COLUMNS)
    scope: dict[str, Any] = {}
    for code, shown in re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", page, re.S):
        exec(code, scope)
        said = capsys.readouterr().out
        if shown:
            assert said == shown


def test_the_example_of_the_page_finds_what_anybody_sees() -> None:
    """TikTok's statements fell by more than half with the new schema, and Google Shopping's a month before."""
    table = pd.read_csv(ROOT / "examples" / "detect" / "platforms.csv", parse_dates=["day"])
    assert len(table) == 5576 and table["series"].nunique() == 21
    some = table[table["series"].isin(["TikTok", "Google Shopping", "Pinterest", "Facebook"])]
    reports = detect_table(some[some["day"] < "2025-07-06"], first=dt.date(2025, 5, 25))
    for platform, onset in (("TikTok", "2025-07-01"), ("Google Shopping", "2025-05-30")):
        near = reports[(reports["series"] == platform) & (reports["onset"] == onset)]
        assert len(near) == 1 and near["effect"].item() < -0.5, platform


def test_help_says_what_it_takes(detect: Detect) -> None:
    code, out, _ = detect("--help")
    assert code == 0
    for option in ("--out", "--charts", "--fdr", "--minimum-change", "--type", "--absent", "--first", "--calendar"):
        assert option in out
