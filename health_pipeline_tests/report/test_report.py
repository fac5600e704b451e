"""The page people get: what it says, that it stands alone, and that nothing in the data can take it over."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from pathlib import Path

import pytest

from health_pipeline.catalog import Catalog, load_catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, Member
from health_pipeline.incidents.series import Course, Point
from health_pipeline.report.report import Headline, ReportTables, build_report, headlines, write_report
from health_pipeline.risks.risks import risk_rows
from health_pipeline.risks.score import score
from health_pipeline_tests.report.words import Words

FIRST, LAST = dt.date(2025, 6, 1), dt.date(2025, 8, 29)
MADE = dt.datetime(2025, 8, 30, 6, 15, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog("eu_dsa")


def shift(unit: str, day: dt.date, onset: dt.date, change: float, excess: float, **other: object) -> Incident:
    """An incident of statements filed, with a second series that moved with it."""
    expected = abs(excess / change)
    member = Member(
        f"statements|platform={unit}", "statements", f"platform={unit}", onset, expected, expected * (1 + change),
        change, change * 0.8, change * 1.2 if change > 0 else max(change * 1.2, -1.0), excess, 0.0001, onset, "ongoing",
    )  # fmt: skip
    segment = f"platform={unit}|category=STATEMENT_CATEGORY_SCAMS_AND_FRAUD"
    second = dataclasses.replace(
        member, series=f"statements_by_category|{segment}", metric="statements_by_category", segment=segment,
        excess=excess / 3,
    )  # fmt: skip
    plain = Incident(
        day=day, id=f"{unit.lower()}-statements-{onset}", kind="shift", family="statements", unit=unit, state="ongoing",
        first_reported=onset, last_reported=day, headline_reported=day, onset=onset, onset_low=onset,
        onset_high=onset + dt.timedelta(days=1), series=member.series, metric="statements", segment=member.segment,
        shape="level", direction="up" if change > 0 else "down", expected=expected, observed=member.observed,
        change=change, change_low=member.low, change_high=member.high, excess=excess, q_value=0.0001, tested=985,
        members=(member, second),
    )  # fmt: skip
    return dataclasses.replace(plain, **other)  # type: ignore[arg-type]


def hole(unit: str, onset: dt.date, shape: str = "missing", ended: dt.date | None = None) -> Incident:
    last = ended or LAST
    return dataclasses.replace(
        shift(unit, last, onset, -1.0, -1000.0),
        id=f"{unit.lower()}-delivery-{onset}", kind="data", family="delivery", series="", metric="", segment="",
        shape=shape, state="recovered" if ended else "ongoing", ended=ended, members=(),
    )  # fmt: skip


def course(onset: dt.date, change: float, level: float = 2_000_000.0) -> Course:
    points = []
    for n in range((LAST - FIRST).days + 1):
        day = FIRST + dt.timedelta(days=n)
        usual = level * (1 + 0.08 * math.sin(n * 2 * math.pi / 7))
        observed = usual * (1 + change) if day >= onset else usual
        points.append(Point(day, observed, level, 0.8 * level, 1.2 * level))
    return Course(tuple(points))


ONSET = dt.date(2025, 7, 1)
TIKTOK = shift(
    "TikTok", LAST, ONSET, -0.59, -1_700_000.0,
    events=("A new statement schema applies; new categories appear and others end",),
)  # fmt: skip
PINTEREST = shift("Pinterest", dt.date(2025, 8, 10), dt.date(2025, 8, 1), 2.4, 40_000.0, state="recovered",
                  ended=dt.date(2025, 8, 10), last_reported=dt.date(2025, 8, 8))  # fmt: skip


def tables(catalog: Catalog, incidents: list[Incident], **other: object) -> ReportTables:
    opened = [i for i in incidents if i.day == LAST]
    plain = ReportTables(
        first_day=FIRST,
        last_day=LAST,
        incidents=incidents,
        risks=risk_rows(catalog, LAST, opened).to_pylist(),
        courses={i.id: course(i.onset, i.change) for i in incidents if i.series},
        headlines=headlines(catalog, incidents),
        shifts_per_day={LAST: 4, ONSET: 2},
        series_judged=985,
        series_followed=1042,
    )
    return dataclasses.replace(plain, **other)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(catalog: Catalog) -> str:
    incidents = [TIKTOK, PINTEREST, hole("Amazon", dt.date(2025, 8, 20)), hole("Facebook", ONSET, "backlog", LAST)]
    return build_report(catalog, tables(catalog, incidents), MADE, {"raw": 3.21})


def test_the_page_tells_the_headlines_with_size_state_and_what_carries_them(page: str) -> None:
    text = Words(page).text
    assert "TikTok: statements filed fell from 2.9 M to 1.2 M a day" in text
    assert "−59 %" in text
    assert "Statements for Scams and fraud" in text
    assert "coincident and not known to be a cause: A new statement schema applies" in text
    assert "Pinterest: statements filed recovered" in text
    assert "×3.4" in text


def test_the_page_tells_series_judged_from_series_followed(page: str) -> None:
    assert "series judged that day of 1,042 followed, at a false-discovery rate of 5 % 985" in Words(page).text


def test_only_open_incidents_are_ranked_and_the_score_is_taken_apart(page: str, catalog: Catalog) -> None:
    ranked = page[page.index('id="open"') : page.index('id="when"')]
    assert "TikTok" in ranked
    assert "Pinterest" not in ranked
    parts = score(catalog, TIKTOK)
    assert f"{parts.value:.1f}" in ranked
    assert f'<span title="exposure">{parts.exposure:.2f}</span>' in ranked


def test_silence_is_not_good_news(page: str) -> None:
    text = Words(page).text
    assert "Not up to date: Amazon." in text
    quality = text[text.index("Data quality A day") :]
    assert "Amazon nothing delivered 20 Aug 2025 open 10" in quality
    assert "Facebook a backlog delivered" in quality


def test_the_page_states_its_error_rate_and_its_limits(page: str) -> None:
    text = Words(page).text
    assert "false-discovery rate of 5 %" in text
    assert "What it does not say" in text
    assert "own account" in text
    assert "raw 3.2 s" in text
    assert "3" in text
    assert "30 August 2025, 06:15 UTC" in text


def test_provenance_is_printed_when_there_is_one(catalog: Catalog) -> None:
    said = tables(catalog, [TIKTOK], provenance=["Public data of the Commission, reused under 2011/833/EU."])
    assert "reused under 2011/833/EU." in build_report(catalog, said, MADE)


def test_the_page_stands_alone(page: str) -> None:
    found = Words(page)
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in found.tags}
    links = [
        a for _, attributes in found.tags for name, a in attributes.items() if name in ("href", "src", "xlink:href")
    ]
    assert all(link and link.startswith("#") for link in links)
    outside = re.findall(r"(?:https?:)?//[\w.-]+", page)
    assert {u for u in outside if "w3.org" not in u} == set()
    assert "@import" not in page
    assert len(page.encode()) < 1_500_000


def test_every_picture_has_words_and_a_table_beside_it(page: str) -> None:
    found = Words(page)
    pictures = [attributes for tag, attributes in found.tags if tag == "svg"]
    assert len(pictures) == 8, "two headlines, the timeline and the days, each for wide and narrow screens"
    assert all(p.get("role") == "img" and p.get("aria-label") for p in pictures)
    assert sum(tag == "details" for tag, _ in found.tags) >= 4
    ids = [attributes["id"] for _, attributes in found.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_the_page_follows_the_reader_into_the_dark_and_onto_paper(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "max-width: 720px" in page


def test_what_is_wider_than_a_phone_scrolls_by_itself(page: str) -> None:
    """Else the whole page would: tables are stacked there, or stand in a region of their own."""
    before = [page[: found.start()].rstrip() for found in re.finditer(r"<table>", page)]
    assert len(before) >= 3
    assert all(re.search(r'<div class="scroll"[^>]*>$', told) for told in before)


def test_hostile_names_stay_text(catalog: Catalog) -> None:
    name = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7 * 7 }}"
    bad = dataclasses.replace(shift(name, LAST, ONSET, 0.5, 5000.0), id=f'x" onclick="{name}', events=(name,))
    html = build_report(
        catalog, tables(catalog, [bad, hole(name, ONSET)], provenance=[name]), MADE, {name: 1.0}
    )  # fmt: skip
    found = Words(html)
    assert not {"script", "img"} & {tag for tag, _ in found.tags}
    assert not any(a.startswith("on") for _, attributes in found.tags for a in attributes)
    assert "alert(1)" in found.text
    assert "49" not in re.findall(r"\d+", found.text)


def test_a_window_without_anything_still_makes_a_page_and_says_so(catalog: Catalog) -> None:
    nothing = ReportTables(FIRST, LAST, [], [], {}, [], {}, 985, 1042)
    text = Words(build_report(catalog, nothing, MADE)).text
    assert "Nothing shifted" in text
    assert "No incident is open on 29 August 2025." in text
    assert "No significant shift" in text
    assert "was complete and on time" in text


def test_a_headline_of_which_no_day_is_known_is_told_without_a_picture(catalog: Catalog) -> None:
    text = Words(build_report(catalog, tables(catalog, [TIKTOK], courses={}), MADE)).text
    assert "TikTok: statements filed fell" in text


def test_days_still_arriving_are_said_to_be_and_not_shown_as_part_of_the_change(catalog: Catalog) -> None:
    whole = course(ONSET, -0.59)
    young = dataclasses.replace(whole, immature_from=LAST - dt.timedelta(days=1))
    pages = [build_report(catalog, tables(catalog, [TIKTOK], courses={TIKTOK.id: c}), MADE) for c in (whole, young)]
    assert ["Tinted days are still arriving" in Words(page).text for page in pages] == [False, True]
    assert [len(re.findall(r"so far</td>", page)) for page in pages] == [0, 2]
    inside = [page.count('<tr class="inside">') for page in pages]
    assert inside[1] == inside[0] - 2


def test_headlines_are_the_highest_scores_one_of_each_unit(catalog: Catalog) -> None:
    small = shift("TikTok", LAST, dt.date(2025, 8, 1), 0.3, 100.0)
    chosen = headlines(catalog, [PINTEREST, small, TIKTOK, hole("Amazon", ONSET)])
    assert [h.incident.unit for h in chosen] == ["TikTok", "Pinterest"]
    assert [h.incident.id for h in chosen] == [TIKTOK.id, PINTEREST.id]
    assert len(headlines(catalog, [PINTEREST, TIKTOK], count=1)) == 1


def test_a_headline_is_told_by_its_own_onset_and_not_by_what_remained(catalog: Catalog) -> None:
    """After a new level has become the baseline, the last rows measure a remainder that began later."""
    until = dt.date(2025, 7, 20)
    early = dataclasses.replace(TIKTOK, day=until, last_reported=until, headline_reported=until)
    later = dt.date(2025, 8, 12)
    rest = shift("TikTok", LAST, later, -0.2, -300.0, id=TIKTOK.id, first_reported=ONSET, state="settled",
                 last_reported=dt.date(2025, 8, 20), headline_reported=dt.date(2025, 8, 20),
                 ended=dt.date(2025, 8, 20))  # fmt: skip
    (told,) = headlines(catalog, [rest, early])
    assert told == Headline(
        dataclasses.replace(early, day=LAST, state="settled", ended=until), "settled", score(catalog, early).value
    )
    assert "that is now the usual level" in wording.sentence(catalog, told.incident)


def test_a_headline_that_another_shift_took_over_is_over(catalog: Catalog) -> None:
    until = dt.date(2025, 7, 20)
    early = dataclasses.replace(TIKTOK, day=until, last_reported=until, headline_reported=until)
    other = dataclasses.replace(
        TIKTOK, day=LAST, series="other|platform=TikTok", last_reported=LAST, headline_reported=LAST, onset=until,
        members=(dataclasses.replace(TIKTOK.members[0], excess=1.0),), state="recovered", ended=LAST,
    )  # fmt: skip
    (told,) = headlines(catalog, [other, early])
    assert told.state == "over"
    assert "from 1 July 2025 to 20 July 2025" in wording.sentence(catalog, told.incident)


def test_a_rise_from_next_to_nothing_is_no_absurd_factor(catalog: Catalog) -> None:
    text = Words(build_report(catalog, tables(catalog, [shift("Joom", LAST, ONSET, 3e12, 3000.0)]), MADE)).text
    assert ">×10,000" in text
    assert "bn" not in text.split("Carried by")[1].split("The chart as a table")[0]


def test_the_file_appears_whole_and_makes_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.html"
    write_report(target, "one")
    write_report(target, "two – ✓")
    assert target.read_text(encoding="utf-8") == "two – ✓"
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def taken_over(catalog: Catalog, became: str) -> tuple[Headline, str]:
    """An incident whose first headline another shift took over, which goes on; and what became of the first's shift."""
    until = dt.date(2025, 7, 20)
    early = dataclasses.replace(TIKTOK, day=until, last_reported=until, headline_reported=until)
    now = shift("TikTok", LAST, until, 0.1, 100.0, id=TIKTOK.id, first_reported=ONSET, series="other|platform=TikTok")
    first = dataclasses.replace(TIKTOK.members[0], state=became)
    incidents = [early, dataclasses.replace(now, members=(*now.members, first))]
    (told,) = headlines(catalog, incidents)
    return told, Words(build_report(catalog, tables(catalog, incidents), MADE)).text


def test_a_headline_that_another_took_over_goes_on_as_long_as_its_shift_does(catalog: Catalog) -> None:
    told, page = taken_over(catalog, "ongoing")
    assert (told.state, told.incident.state, told.incident.ended) == ("ongoing", "ongoing", None)
    assert wording.sentence(catalog, told.incident).endswith("since 1 July 2025.")
    assert "to 20 July 2025" not in page


@pytest.mark.parametrize(
    ("became", "said"),
    [
        ("recovered", "from 1 July 2025 to 20 July 2025."),
        ("settled", "since 1 July 2025, and that is now the usual level."),
    ],
)
def test_a_headline_that_is_over_is_not_told_as_ongoing_while_others_go_on(
    catalog: Catalog, became: str, said: str
) -> None:
    told, page = taken_over(catalog, became)
    assert (told.state, told.incident.state) == ("elsewhere", became)
    assert said in page and "ongoing with other shifts" in page


@pytest.mark.parametrize(("became", "whole"), [("recovered", "elsewhere"), ("ongoing", "ongoing")])
def test_a_headline_is_over_with_its_shift_though_a_later_one_of_its_series_goes_on(
    catalog: Catalog, became: str, whole: str
) -> None:
    until = dt.date(2025, 7, 20)
    early = dataclasses.replace(TIKTOK, day=until, last_reported=until, headline_reported=until)
    now = shift("TikTok", LAST, dt.date(2025, 7, 25), 0.3, 100.0, id=TIKTOK.id, first_reported=ONSET)
    first = dataclasses.replace(TIKTOK.members[0], state=became)
    (told,) = headlines(catalog, [early, dataclasses.replace(now, members=(*now.members, first))])
    assert (told.state, told.incident.state, told.incident.onset) == (whole, became, ONSET)
    assert told.incident.headline_reported == (until if became == "recovered" else LAST)


def test_a_headline_whose_onset_is_estimated_anew_is_still_told_with_its_state(catalog: Catalog) -> None:
    until = dt.date(2025, 7, 20)
    early = dataclasses.replace(TIKTOK, day=until, last_reported=until, headline_reported=until)
    moved = dataclasses.replace(TIKTOK.members[0], onset=ONSET - dt.timedelta(days=3))
    now = dataclasses.replace(
        TIKTOK, onset=moved.onset, onset_low=moved.onset, onset_high=moved.onset, excess=-100.0, members=(moved,)
    )
    (told,) = headlines(catalog, [early, now])
    assert (told.state, told.incident.state) == ("ongoing", "ongoing")


def test_shifts_of_one_series_that_carry_an_incident_are_told_apart_by_their_onset(catalog: Catalog) -> None:
    before = dataclasses.replace(TIKTOK.members[0], onset=dt.date(2025, 6, 28), change=0.7)
    several = dataclasses.replace(TIKTOK, members=(*TIKTOK.members, before))
    carried = Words(build_report(catalog, tables(catalog, [several]), MADE)).text.partition("Carried by")[2]
    rows = carried.partition("The chart as a table")[0]
    assert "Statements filed, onset 1 July 2025" in rows and "Statements filed, onset 28 June 2025" in rows
    assert rows.count("onset") == 2
