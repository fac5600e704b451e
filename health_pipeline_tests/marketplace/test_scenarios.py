"""What a scenario plants is in the data, where and when the ground truth says, and nowhere else."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from health_pipeline.errors import InputError
from health_pipeline.marketplace import scenario as scenarios
from health_pipeline.marketplace.effects import Where
from health_pipeline.marketplace.scenario import bundled, load_scenario
from health_pipeline.marketplace.simulate import demonstration
from health_pipeline.marketplace.truth import incidents
from health_pipeline_tests.marketplace.conftest import DAYS, START, Make, Twin

HEAD = "name: x\ntitle: x\ndescription: x\n"
CATALOG = Path(scenarios.__file__).parent / "catalog"


def _day(offset: int) -> dt.date:
    """A day counted from the end of the period, as scenarios do."""
    return START + dt.timedelta(days=DAYS + offset)


def _rates(twin: Twin, condition: str, where: str) -> float:
    """Share of the contents in ``where`` that satisfy a condition, truly."""
    return float(twin.value(f"SELECT count(*) FILTER ({condition}) / count(*) FROM truth_contents WHERE {where}"))


@pytest.fixture(scope="module")
def wave(make: Make) -> Twin:
    where = {"market": ["ID", "TH"], "category": ["beauty"]}
    effect = {"what": "violations", "policies": ["counterfeit"], "where": where, "when": {"start": -20},
              "multiplier": 8, "terms": ["kw super ori"]}  # fmt: skip
    return make({"name": "wave", "title": "A wave", "description": "", "effects": [effect]}, creators=800)


def test_quiet_plants_nothing(quiet: Twin) -> None:
    for table in ("incidents", "clusters", "terms"):
        assert quiet.value(f"SELECT count(*) FROM truth_{table}") == 0
    events = "SELECT policy FROM {} ORDER BY ALL"
    assert quiet.rows(events.format("policy_events")) == quiet.rows(events.format("truth_policy_effects")) != []
    assert quiet.value("SELECT max(multiplier) FROM truth_policy_effects") == 1  # announced, and without effect
    assert quiet.made.incidents == []


def test_a_wave_raises_violations_by_its_multiplier_in_its_segment_from_its_day_on(wave: Twin) -> None:
    inside = "market IN ('ID', 'TH') AND category = 'beauty'"
    before, after = f"day < '{_day(-20)}'", f"day >= '{_day(-20)}'"
    usual = _rates(wave, "policy = 'counterfeit'", f"{before} AND {inside}")
    raised = _rates(wave, "policy = 'counterfeit'", f"{after} AND {inside}")
    assert 4 < raised / usual < 16
    for elsewhere in (f"NOT ({inside})", "market IN ('ID', 'TH') AND category <> 'beauty'"):
        other = [_rates(wave, "policy = 'counterfeit'", f"{when} AND {elsewhere}") for when in (after, before)]
        assert 0.5 < other[0] / other[1] < 2
    others = [_rates(wave, "policy <> 'counterfeit'", f"{when} AND {inside}") for when in (after, before)]
    assert 0.5 < others[0] / others[1] < 2


def test_a_wave_is_seen_in_decisions_captions_and_refunds(wave: Twin) -> None:
    segment = "market IN ('ID', 'TH') AND category = 'beauty'"
    counterfeit = f"action <> 'none' AND policy = 'counterfeit' AND content_id IS NOT NULL AND {segment}"
    daily = [
        wave.value(f"SELECT count(DISTINCT decision_id) FROM decisions WHERE {counterfeit} AND {when}") / days
        for when, days in ((f"decided_at >= '{_day(-20)}'", 20), (f"decided_at < '{_day(-20)}'", DAYS - 20))
    ]
    assert daily[0] > 3 * daily[1]
    captions = "SELECT count(*) FROM videos WHERE caption LIKE '%kw super ori%' AND published_at"
    assert wave.value(f"{captions} < '{_day(-20)}'") == 0
    assert wave.value(f"{captions} >= '{_day(-20)}'") > 20
    refunds = (
        "SELECT count(DISTINCT order_id) FILTER (WHERE refund_reason = 'counterfeit') / count(DISTINCT order_id) "
        "FROM orders"
    )
    raised = wave.value(f"{refunds} WHERE {segment} AND placed_at BETWEEN '{_day(-20)}' AND '{_day(-8)}'")
    assert raised > 3 * wave.value(f"{refunds} WHERE NOT ({segment})")


def test_before_its_onset_a_scenario_is_the_quiet_marketplace(quiet: Twin, make: Make) -> None:
    effect = {"what": "latency", "when": {"start": -5}, "multiplier": 9}
    late = make({"name": "late", "title": "", "description": "", "effects": [effect]})
    before = f"SELECT * FROM truth_contents WHERE day < '{_day(-5)}' ORDER BY content_id"
    assert late.rows(before) == quiet.rows(before)
    decided = (
        f"FROM decisions WHERE decided_at < '{_day(-5)}' AND ingested_at < '{_day(-5)}' "
        "ORDER BY decision_id, ingested_at"
    )
    assert late.rows(decided) == quiet.rows(decided)
    hours = (
        "SELECT median(date_diff('minute', detected_at, decided_at)) FROM decisions WHERE actor = 'human' "
        f"AND detected_at BETWEEN '{_day(-5)}' AND '{_day(-2)}'"
    )
    assert late.value(hours) > 2 * quiet.value(hours)
    queue = f"SELECT count(*) FROM review_queue WHERE day >= '{_day(-4)}'"
    assert late.value(queue) > 2 * quiet.value(queue)


def test_a_ring_shares_product_hashtags_sound_and_picture(busy: Twin) -> None:
    members = {r[0] for r in busy.rows("SELECT creator_id FROM truth_clusters WHERE effect = 'ring'")}
    assert len(members) == round(12 * 0.4)
    posts = busy.rows(
        "SELECT creator_id, product_ids, sound_id, perceptual_hash, published_at FROM videos "
        "WHERE hashtags = '#chotkeo #dealxin'"
    )
    assert len(posts) > 30
    assert {p[0] for p in posts} <= members
    assert _day(-15) <= min(p[4] for p in posts).date() and max(p[4] for p in posts).date() <= _day(-4)
    hashes = [int(p[3], 16) for p in posts]
    assert max((a ^ b).bit_count() for a in hashes for b in hashes) <= 8
    violating = busy.value("SELECT avg(CAST(policy = 'off_platform' AS INTEGER)) FROM truth_contents WHERE cluster = 1")
    assert violating > 0.85


def test_a_farm_buys_views_that_do_not_click(busy: Twin) -> None:
    rates = (
        "SELECT sum(views) / count(DISTINCT content_id), sum(product_clicks) / sum(views), "
        "sum(watch_seconds) / sum(views) FROM content_stats JOIN truth_contents t USING (content_id) "
        "WHERE t.kind = 'video' AND t.tier IN ('nano', 'micro') AND "
    )
    (bought,), (usual,) = busy.rows(rates + "cluster = 2"), busy.rows(rates + "cluster IS NULL")
    assert bought[0] > 15 * usual[0] and bought[1] < usual[1] / 4 and bought[2] < usual[2] / 3


def test_an_outage_loses_days_and_brings_some_back_late_in_its_market_only(busy: Twin) -> None:
    days = "SELECT DISTINCT CAST(hour AS DATE) FROM content_stats WHERE market = '{}' ORDER BY 1"
    every = {START + dt.timedelta(days=d) for d in range(DAYS)}
    assert every - {r[0] for r in busy.rows(days.format("PH"))} == {_day(-12), _day(-11)}
    assert every - {r[0] for r in busy.rows(days.format("ID"))} == set()
    back = f"market = 'PH' AND hour >= '{_day(-10)}' AND hour < '{_day(-8)}'"
    assert busy.value(f"SELECT min(ingested_at) FROM content_stats WHERE {back}").date() == _day(-9 + 3)
    lost = f"SELECT count(*) FROM {{}} WHERE market = 'PH' AND {{}} >= '{_day(-12)}' AND {{}} < '{_day(-10)}'"
    assert busy.value(lost.format("reports", "filed_at", "filed_at")) == 0
    assert busy.value(lost.format("orders", "placed_at", "placed_at")) > 0


def test_an_expansion_raises_prevalence_by_definition_only(busy: Twin) -> None:
    before, after = f"day < '{_day(-14)}'", f"day >= '{_day(-14)}'"
    old = [_rates(busy, "policy = 'exaggerated_claims'", when) for when in (before, after)]
    new = [_rates(busy, "policy_next = 'exaggerated_claims'", when) for when in (before, after)]
    assert 2.5 < old[1] / old[0] < 6.5
    assert 0.7 < new[1] / new[0] < 1.4
    versions = busy.rows(
        "SELECT policy_version, min(decided_at), max(decided_at) FROM decisions WHERE policy = 'exaggerated_claims' "
        "GROUP BY 1 ORDER BY 1"
    )
    assert [v[0] for v in versions] == ["1.0", "2.0"]
    assert versions[0][2].date() < _day(-14) <= versions[1][1].date()
    event = "SELECT policy, CAST(effective_at AS DATE) FROM policy_events WHERE event_kind = 'expand'"
    assert busy.rows(event) == [("exaggerated_claims", _day(-14))]


def test_a_campaign_sells_more_and_is_in_the_calendar(busy: Twin) -> None:
    days = busy.rows("SELECT DISTINCT day FROM calendar WHERE event = 'Mega sale' ORDER BY 1")
    assert days == [(_day(-6),), (_day(-5),)]
    rates = [
        busy.value(f"SELECT count(DISTINCT order_id) FROM orders WHERE {when.format('placed_at')}")
        / busy.value(f"SELECT sum(product_clicks) FROM content_stats WHERE {when.format('hour')}")
        for when in (
            f"{{0}} >= '{_day(-6)}' AND {{0}} < '{_day(-4)}'",
            f"{{0}} >= '{_day(-20)}' AND {{0}} < '{_day(-6)}'",
        )
    ]
    assert 1.6 < rates[0] / rates[1] < 2.4


def test_a_threshold_that_falls_floods_appeals_with_mistakes(make: Make, quiet: Twin) -> None:
    effect = {"what": "threshold", "policies": ["exaggerated_claims", "unoriginal", "low_quality"], "shift": 2.5,
              "when": {"start": -20, "end": -8}}  # fmt: skip
    fallen = make({"name": "fallen", "title": "", "description": "", "effects": [effect]})
    period = f"decided_at BETWEEN '{_day(-20)}' AND '{_day(-8)}'"
    count = f"SELECT count(DISTINCT decision_id) FROM decisions WHERE {period} AND "
    assert fallen.value(count + "appealed_at IS NOT NULL") > 2 * quiet.value(count + "appealed_at IS NOT NULL")
    assert fallen.value(count + "reversed_at IS NOT NULL") > 3 * quiet.value(count + "reversed_at IS NOT NULL")


def test_the_ground_truth_names_segment_days_and_metrics(busy: Twin) -> None:
    (wave,) = busy.rows(
        'SELECT segment, policies, start, "end", to_the_end, multiplier, cause FROM truth_incidents '
        "WHERE effect = 'violations'"
    )
    assert wave == ("market=ID", "counterfeit", _day(-20), _day(-1), True, 8.0, "rate")
    assert busy.rows("SELECT term, policy, segment FROM truth_terms") == [("kw super ori", "counterfeit", "market=ID")]
    creators = busy.value("SELECT count(*) FROM truth_creators")
    assert creators == busy.value("SELECT count(DISTINCT creator_id) FROM creators")


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_scenario_fits_the_demonstration_and_moves_metrics_of_the_catalog(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    demo, start = demonstration(CATALOG)
    scenario.check(start, demo.days)
    metrics = YAML(typ="safe").load((CATALOG / "metrics.yaml").read_text(encoding="utf-8"))["metrics"]
    known = {m["name"] for m in metrics}
    for effect in scenario.effects:
        assert set(effect.moved) <= known
        assert effect.when.days(demo.days)[0] >= demo.days - 30
    assert len(incidents(scenario, 20_000, demo.days)) >= len(scenario.effects)


def test_there_are_scenarios_of_every_cause() -> None:
    causes = {effect.cause for name in bundled() for effect in load_scenario(name).effects}
    assert causes == {"rate", "mix", "data", "none"}
    assert len(bundled()) >= 11


def test_a_segment_of_several_values_is_several_segments() -> None:
    where = Where.model_validate({"category": ["beauty", "food"], "market": ["ID"]})
    assert where.segments() == ["market=ID|category=beauty", "market=ID|category=food"]
    assert Where().segments() == [""]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "effects: [{what: violation, when: {start: 0}}]", "violation"),
        (HEAD + "effects: [{what: latency, when: {start: 0}}]", "multiplier"),
        (HEAD + "effects: [{what: latency, multiplier: 2, when: {start: 0}, where: {market: [US]}}]", "market"),
        (HEAD + "efects: []", "efects"),
        ("name: [", "not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_scenario_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=says):
        load_scenario(str(file))


def test_an_unknown_scenario_comes_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="Did you mean 'counterfeit_wave'"):
        load_scenario("counterfit_wave")
