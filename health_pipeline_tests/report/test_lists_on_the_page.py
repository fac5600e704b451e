"""The review lists on the page: what to review first and why, what emerges, how much violates."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from health_pipeline.catalog import Catalog, load_catalog
from health_pipeline.home import Home
from health_pipeline.pipeline import Pipeline
from health_pipeline.report.lists import CASES_SHOWN, TRENDS_SHOWN, ReviewTables, clearest, review_view
from health_pipeline.report.load import load_review
from health_pipeline.report.report import ReportTables, build_report
from health_pipeline.risks.review import BELOW, REASONS
from health_pipeline.risks.schema import PREVALENCE, REVIEWS, TRENDS
from health_pipeline_tests.report.words import Words

DAY = dt.date(2026, 9, 28)
MADE = dt.datetime(2026, 9, 29, 6, 15, tzinfo=dt.UTC)
HOSTILE = "<script>alert(1)</script>\"'{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog("marketplace")


def case(queue: str, rank: int, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "day": DAY, "queue": queue, "rank": rank, "subject": f"s{rank}", "score": 5_000.0 / rank,
        "score_low": 4_000.0 / rank, "score_high": 6_500.0 / rank, "minutes": 4.0, "selected": True, "explored": False,
        "reasons": ["reported", "large_audience"], "sentence": f"A case of {queue}, number {rank}.",
        "examples": [f"v{rank}"],
    }  # fmt: skip
    return values | changes


def burst(value: str, trend: str, p_value: float, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "day": DAY, "kind": "term", "value": value, "market": "ID", "trend": trend, "count": 14, "expected": 1.49,
        "p_value": p_value, "burst_since": dt.date(2026, 9, 17), "contents": 15, "views": 5_496,
        "violation_share": 0.93, "cluster_share": 0.0, "examples": ["v1", "v2", "v3", "v4"], "creators": ["c1"],
    }  # fmt: skip
    return values | changes


def share(estimate: float, **cut: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "day": DAY, "until": dt.date(2026, 9, 26), "market": "", "kind": "", "policy": "", "estimate": estimate,
        "low": 0.9 * estimate,
        "high": 1.2 * estimate, "draws": 3_095, "effective": 9_661.9, "positives": 505, "uniform_draws": 1_035,
        "uniform_estimate": 0.0363, "uniform_low": 0.0262, "uniform_high": 0.0494, "agrees": True,
    }  # fmt: skip
    return values | cut


def tables(**changes: Any) -> ReviewTables:
    """Eight cases of creators on the list, two below it; a cluster; no contents; one product, to explore."""
    plain = ReviewTables(
        day=DAY,
        cases=[
            *(case("creators", n) for n in range(8, 0, -1)),
            *(case("creators", n, selected=False) for n in (9, 10)),
            case("clusters", 1, minutes=14.5),
            case("products", 1, explored=True, reasons=[]),
        ],
        reasons=REASONS,
        kept_below=BELOW,
        bursts=[
            burst("reject", "term: original reject", 1e-8),
            burst("original reject", "term: original reject", 1e-8),
            burst("p2", "product: p2", 1e-9, kind="product", market=None),
        ],
        prevalence=[
            share(0.0315), share(0.0417, market="ID"), share(0.044, kind="live"), share(0.0076, policy="counterfeit"),
            share(0.02, market="ID", policy="counterfeit"),
        ],
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def page(catalog: Catalog, review: ReviewTables | None) -> str:
    return build_report(catalog, ReportTables(DAY, DAY, [], [], {}, [], {}, 1, 1, review=review), MADE)


def part(html: str, from_: str, to: str) -> str:
    return html[html.index(f'id="{from_}"') : html.index(f'id="{to}"')]


def cells(html: str) -> list[list[str]]:
    """Rows of tables, as the words of their cells."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [[Words(c).text.strip() for c in re.findall(r"<td.*?</td>", row, re.DOTALL)] for row in rows if "<td" in row]


def test_a_queue_shows_its_first_cases_with_score_interval_and_reasons_and_folds_the_others(catalog: Catalog) -> None:
    creators = part(page(catalog, tables()), "review-creators", "review-contents")
    first, more = creators.split("<details>")
    assert [row[0] for row in cells(first)] == [str(n) for n in range(1, CASES_SHOWN + 1)]
    assert [row[0] for row in cells(more)] == ["6", "7", "8"]
    assert "3 more on the list" in more
    why = "Users reported it; many views to come."
    assert cells(first)[1] == ["2", f"A case of creators, number 2. {why} Look at: v2", "2,500", "2,000 to 3,250", "4"]


def test_the_minutes_of_each_queue_are_drawn_and_told_with_what_is_below_the_line(catalog: Catalog) -> None:
    assert catalog.review is not None
    have = {q.name: f"{q.minutes_per_day:,.0f}" for q in catalog.review.queues}
    html = part(page(catalog, tables()), "review", "review-clusters")
    assert cells(html) == [
        ["Clusters", "1", "0", f"14 of {have['clusters']}", "0"],
        ["Creators", "8", "0", f"32 of {have['creators']}", "2"],
        ["Contents", "0", "0", f"0 of {have['contents']}", "0"],
        ["Products", "1", "1", f"4 of {have['products']}", "0"],
    ]
    assert f'aria-label="clusters: 14 of {have["clusters"]} minutes; creators: 32 of' in html
    cut = tables(cases=[case("creators", n + 1, selected=False) for n in range(BELOW)])
    assert "1,000 or more" in part(page(catalog, cut), "review", "review-clusters"), "no more of them are kept"


def test_a_case_to_learn_from_is_marked_and_an_empty_queue_says_so(catalog: Catalog) -> None:
    html = page(catalog, tables())
    assert "to explore" in part(html, "review-products", "emerging")
    assert "to explore" not in part(html, "review-creators", "review-contents")
    assert "Nothing to review." in part(html, "review-contents", "review-products")


def test_a_trend_is_told_once_by_what_it_is_named_after(catalog: Catalog) -> None:
    assert [b["value"] for b in clearest(tables().bursts)] == ["p2", "original reject"]
    html = part(page(catalog, tables()), "emerging", "prevalence")
    assert cells(html)[1] == [
        "term “original reject” Indonesia; look at v1, v2, v3; most by c1",
        "14", "1.5", "17 Sep 2026", "15", "5,496", "93.0 %", "0 %",
    ]  # fmt: skip
    assert cells(html)[0][0].startswith("product “p2” All markets")
    many = tables(bursts=[burst(f"w{n}", f"term: w{n}", 0.01 * n) for n in range(1, TRENDS_SHOWN + 3)])
    assert "and 2 more in" in Words(part(page(catalog, many), "emerging", "prevalence")).text
    assert "Nothing bursts" in part(page(catalog, tables(bursts=[])), "emerging", "prevalence")


def test_prevalence_is_told_with_interval_and_against_the_uniform_draws(catalog: Catalog) -> None:
    html = part(page(catalog, tables()), "prevalence", "when")
    text = Words(html).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "3.15 % of views of the 28 days to 26 September 2026 were of content that violates a policy" in text
    assert "(95 % CI 2.83 to 3.78 %), from 3,095 labelled views, as telling as 9,662 drawn with equal chances" in text
    assert "The 1,035 views drawn uniformly say 3.63 % (2.62 to 4.94 %) by themselves; the two agree." in text
    assert [row[:3] for row in cells(html)] == [
        ["All", "3.15 %", "2.83 to 3.78 %"],
        ["Indonesia", "4.17 %", "3.75 to 5.00 %"],
        ["Livestreams", "4.40 %", "3.96 to 5.28 %"],
        ["Counterfeit", "0.76 %", "0.68 to 0.91 %"],
    ]
    apart = tables(prevalence=[share(0.0315, agrees=False)])
    assert "the two disagree" in page(catalog, apart)
    alone = tables(prevalence=[share(0.0315, uniform_draws=0, uniform_estimate=None)])
    assert "drawn uniformly" not in page(catalog, alone)


def right(subject: str, name: str, precision: float) -> dict[str, Any]:
    return {
        "day": DAY, "subject": subject, "name": name, "labelled": 40, "precision": precision, "low": precision - 0.1,
        "high": precision + 0.05,
    }  # fmt: skip


def test_how_often_everything_was_right_is_told_the_least_right_first(catalog: Catalog) -> None:
    metric = catalog.metrics[0]
    record = {"metric": metric.name, "judged": 7, "precision": 0.62, "low": 0.4, "high": 0.8}
    own = [right("actor", "human", 0.8), right("rule", "r1", 0.9), right("model", "m1", 0.7), right("policy", "x", 0.1)]
    shown = ReportTables(
        DAY, DAY, [], [], {}, [], {}, 1, 1, review=tables(precision=own), track_records=[record]
    )  # fmt: skip
    assert cells(part(build_report(catalog, shown, MADE), "right", "when")) == [
        ["People", "80 %", "70 to 85 %", "40"],
        ["m1 (model)", "70 %", "60 to 75 %", "40"],
        ["r1 (rule)", "90 %", "80 to 95 %", "40"],
        [metric.title, "62 %", "40 to 80 %", "7"],
    ]
    only = ReportTables(DAY, DAY, [], [], {}, [], {}, 1, 1, track_records=[record])
    assert len(cells(part(build_report(catalog, only, MADE), "right", "when"))) == 1
    assert 'id="right"' not in page(catalog, tables())


def test_numbers_stand_right_and_pictures_and_tables_have_names(catalog: Catalog) -> None:
    html = page(catalog, tables())
    lists = part(html, "review", "when")
    for cell in re.findall(r"<td([^>]*)>\s*(?:<strong>)?[\d,.]+(?: %)?(?:</strong>)?</td>", lists):
        assert re.search(r'class="n[ "]', cell), cell
    found = Words(html)
    regions = [a for tag, a in found.tags if tag == "div" and a.get("class") == "scroll" and a.get("role") == "region"]
    assert regions and all(a.get("aria-label") and a.get("tabindex") == "0" for a in regions)
    assert all(a.get("aria-label") for tag, a in found.tags if tag == "svg")
    ids = [a["id"] for _, a in found.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    labels = [a.get("aria-labelledby") for tag, a in found.tags if tag == "section"]
    assert set(labels) <= set(ids)


def test_the_page_says_what_a_score_is_not_and_where_to_read_on(catalog: Catalog) -> None:
    text = Words(page(catalog, tables())).text
    assert "no label, no evidence and no measure of a person" in text
    assert "docs/risks.md" in text
    assert "health-pipeline risks -e marketplace" in text


def test_without_lists_the_page_has_nothing_of_them(catalog: Catalog) -> None:
    for html in (page(catalog, None), build_report(
        load_catalog("eu_dsa"), ReportTables(DAY, DAY, [], [], {}, [], {}, 1, 1), MADE
    )):  # fmt: skip
        assert not re.search(r'id="(review|emerging|prevalence)', html)
        assert "health-pipeline risks" not in html


def test_an_ecosystem_without_a_review_has_no_lists_to_show() -> None:
    with pytest.raises(ValueError, match=r"no review\.yaml"):
        review_view(load_catalog("eu_dsa"), tables())


def test_captions_and_names_stay_text(catalog: Catalog) -> None:
    bad = tables(
        cases=[case("creators", 1, sentence=HOSTILE, reasons=[HOSTILE], examples=[HOSTILE])],
        precision=[right("rule", HOSTILE, 0.5)],
        bursts=[burst(HOSTILE, HOSTILE, 0.1, market=HOSTILE, examples=[HOSTILE], creators=[HOSTILE])],
        prevalence=[share(0.03), share(0.04, market=HOSTILE)],
    )
    found = Words(page(catalog, bad))
    assert "script" not in {tag for tag, _ in found.tags}
    assert found.text.count("alert(1)") >= 6
    assert "49" not in re.findall(r"\d+", found.text)


def test_the_lists_of_the_last_day_are_loaded_where_there_are_any(catalog: Catalog, tmp_path: Path) -> None:
    pipeline = Pipeline(catalog, Home(tmp_path))
    assert load_review(pipeline, DAY) is None
    lists = pipeline.tables.lists
    assert lists is not None
    own = tables()
    rows = ((lists.review_lists, REVIEWS, own.cases), (lists.trends, TRENDS, own.bursts),
            (lists.prevalence, PREVALENCE, own.prevalence))  # fmt: skip
    for table, schema, given in rows:
        whole = [dict.fromkeys(schema.names) | dict(row) for row in given]
        table.publish(DAY, pa.Table.from_pylist(whole, schema=schema))
    loaded = load_review(pipeline, DAY)
    assert loaded is not None
    assert page(catalog, loaded) == page(catalog, own)
    assert load_review(pipeline, DAY - dt.timedelta(days=1)) is None
    assert load_review(Pipeline(load_catalog("eu_dsa"), Home(tmp_path)), DAY) is None
