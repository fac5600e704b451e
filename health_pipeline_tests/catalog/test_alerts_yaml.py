"""alerts.yaml is checked like the rest of a catalog: types, times, people, and names that refer to one another."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

from health_pipeline.catalog.alerts import Alerts, QuietHours, Severity
from health_pipeline.catalog.loader import bundled_ecosystems, load_catalog
from health_pipeline.errors import CatalogError
from health_pipeline_tests.conftest import PACKAGE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog without an ``alerts.yaml``; the owner of its metrics is trust-and-safety-analytics."""
    shutil.copytree(PACKAGE / "eu_dsa" / "catalog", tmp_path / "eu" / "catalog")
    shutil.copytree(PACKAGE / "eu_dsa" / "sample", tmp_path / "eu" / "sample")
    (tmp_path / "eu" / "catalog" / "alerts.yaml").unlink()
    return tmp_path / "eu" / "catalog"


def findings(folder: Path, text: str) -> list[str]:
    """What is found wrong with a text as alerts.yaml, without the path before the line."""
    (folder / "alerts.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError) as error:
        load_catalog(str(folder))
    found = [line.strip() for line in error.value.message.splitlines()[1:]]
    assert all(line.startswith(f"{folder / 'alerts.yaml'}:") for line in found)
    return [line.removeprefix(f"{folder / 'alerts.yaml'}:") for line in found]


@pytest.mark.parametrize("name", bundled_ecosystems())
def test_the_bundled_files_are_right_and_say_when_a_human_is_disturbed(name: str) -> None:
    catalog = load_catalog(name)
    assert (catalog.folder / "alerts.yaml").exists()
    assert [s.at_once for s in catalog.alerts.severities] == [True, True, False]
    assert catalog.alerts.severities[0].acknowledge_within_minutes is not None


def test_the_file_is_optional_and_so_is_every_key(folder: Path) -> None:
    assert load_catalog(str(folder)).alerts == Alerts()
    (folder / "alerts.yaml").write_text("per_day: 3\n", encoding="utf-8")
    assert load_catalog(str(folder)).alerts == Alerts(per_day=3)


def test_without_a_word_the_first_severity_is_told_at_once_and_the_others_in_the_morning() -> None:
    alerts = Alerts()
    assert [(s.name, s.at_once) for s in alerts.severities] == [("P1", True), ("P2", False), ("P3", False)]
    assert [alerts.by_score(score).name for score in (10.0, 9.99, 5.0, 4.99, 0.0, None)] == [
        "P1", "P2", "P2", "P3", "P3", "P3",
    ]  # fmt: skip
    assert alerts.critical == ("P1",)
    assert (alerts.digest.at, alerts.digest.time_zone, alerts.quiet_hours) == (dt.time(8, 30), "UTC", None)
    assert alerts.roles == {"analyst": ("*",)}


def test_everything_can_be_said(folder: Path) -> None:
    (folder / "alerts.yaml").write_text(
        """
channel: C0123456789
severities:
  - {name: SEV1, minimum_score: 8, at_once: true, acknowledge_within_minutes: 30}
  - {name: SEV2}
holes: {missing: SEV1, empty: SEV1, partial: SEV2, settling: SEV2, backlog: SEV2}
digest: {at: 7:45, time_zone: Asia/Jakarta}
quiet_hours: {start: "22:00", end: "06:30", time_zone: Asia/Jakarta, critical: [SEV1]}
routes:
  - {severities: [SEV1], families: [statements, delivery], units: [TikTok], channel: "#urgent", mention: [owner, S0123]}
  - {metrics: [statements], channel: C0999}
owners: {trust-and-safety-analytics: S0456}
roles: {lead: [U0001], analyst: ["*"]}
causes: {real: [abuse]}
""",
        encoding="utf-8",
    )
    alerts = load_catalog(str(folder)).alerts
    assert alerts.severity("SEV1") == Severity(
        name="SEV1", minimum_score=8, at_once=True, acknowledge_within_minutes=30
    )
    assert alerts.quiet_hours == QuietHours(
        start=dt.time(22), end=dt.time(6, 30), time_zone="Asia/Jakarta", critical=("SEV1",)
    )
    assert alerts.digest.at == dt.time(7, 45)
    assert [r.channel for r in alerts.routes] == ["#urgent", "C0999"]


def test_kinds_of_holes_that_are_not_named_keep_their_severity(folder: Path) -> None:
    (folder / "alerts.yaml").write_text("holes: {partial: P1}\n", encoding="utf-8")
    assert load_catalog(str(folder)).alerts.holes == {
        "missing": "P2", "empty": "P2", "partial": "P1", "settling": "P3", "backlog": "P3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "digest:\n  at: 25:00\n",
            "2: digest.at is '25:00', which should be a time of day, such as 08:30.",
            id="no time of day",
        ),
        pytest.param(
            "digest: {at: 830}\n",
            "1: digest.at is 830, which should be a time of day in quotes, such as '08:30'.",
            id="a time that YAML reads as a number",
        ),
        pytest.param(
            "quiet_hours:\n  start: '22:00'\n",
            "1: the key 'end' is missing in quiet_hours. Add it.",
            id="quiet hours without an end",
        ),
        pytest.param(
            "quiet_hours:\n  start: '22:00'\n  end: '22:00'\n",
            "3: quiet_hours begin and end at the same time, which could mean never or always. "
            "Leave quiet_hours out for never.",
            id="quiet hours that end as they begin",
        ),
        pytest.param(
            "digest:\n  time_zone: Asia/Singapur\n",
            "2: digest.time_zone is 'Asia/Singapur', which is no time zone. Did you mean 'Asia/Singapore'?",
            id="misspelt zone",
        ),
        pytest.param(
            "quiet_hours: {start: '22:00', end: '06:00', time_zone: Jakarta}\n",
            "1: quiet_hours.time_zone is 'Jakarta', which is no time zone. Write it as in Asia/Jakarta.",
            id="a city is no zone",
        ),
        pytest.param(
            "severities:\n  - {name: P1, minimum_score: 5}\n  - {name: P2, minimum_score: 5}\n  - {name: P3}\n",
            "3: severities.P2: its minimum_score must be there, and smaller than the one before it. "
            "Severities go from the most urgent to the least; only the last needs no minimum_score.",
            id="scores that do not fall",
        ),
        pytest.param(
            "severities:\n  - {name: P1}\n  - {name: P2}\n  - {name: P3}\n",
            "2: severities.P1: its minimum_score must be there, and smaller than the one before it. "
            "Severities go from the most urgent to the least; only the last needs no minimum_score.",
            id="no score",
        ),
        pytest.param("severities: []\n", "1: no severity is declared. Declare at least one.", id="no severity"),
        pytest.param(
            "severities:\n  - {name: P1, minimum_score: 9}\n  - {name: P1, minimum_score: 8}\n  - {name: P2}\n"
            "  - {name: P3}\n",
            "3: the severity 'P1' is declared twice. It is first declared on line 2: rename one.",
            id="a severity twice",
        ),
        pytest.param(
            "severities:\n  - {name: P1, minimum_score: -1}\n  - {name: P2}\n  - {name: P3}\n",
            "2: P1.minimum_score is -1, which should be greater than or equal to 0.",
            id="a score below zero",
        ),
        pytest.param(
            "severities:\n  - {name: P1, acknowledge_in: 30}\n",
            "2: unknown key 'acknowledge_in' in P1. Did you mean 'acknowledge_within_minutes'?",
            id="unknown key of a severity",
        ),
        pytest.param(
            "holes:\n  missing: P2\n  partial: P4\n",
            "3: holes.partial names the severity 'P4', which is not declared. Known here: P1, P2, P3.",
            id="unknown severity of a hole",
        ),
        pytest.param(
            "severities: [{name: HIGH, minimum_score: 5}, {name: LOW}]\nper_day: 5\n",
            "1: holes.missing names the severity 'P2', which is not declared. Known here: HIGH, LOW.",
            id="severities of other names than holes have by default",
        ),
        pytest.param(
            "holes:\n  misssing: P2\n",
            "2: holes has the key 'misssing', which is not one of missing, empty, partial, settling or backlog. "
            "Did you mean 'missing'?",
            id="unknown kind of hole",
        ),
        pytest.param(
            "quiet_hours:\n  start: '22:00'\n  end: '06:00'\n  critical: [P0]\n",
            "4: quiet_hours.critical names the severity 'P0', which is not declared. Known here: P1, P2, P3.",
            id="unknown severity in quiet hours",
        ),
        pytest.param(
            "routes:\n  - severities: [P1]\n  - severities: [P1, P9]\n",
            "3: routes.severities names the severity 'P9', which is not declared. Known here: P1, P2, P3.",
            id="unknown severity in a route",
        ),
        pytest.param(
            "routes:\n  - families: [statments]\n",
            "2: routes.families names the family 'statments', which no metric has. Did you mean 'statements'?",
            id="unknown family",
        ),
        pytest.param(
            "routes:\n  - metrics:\n    - statements\n    - statments\n",
            "4: routes.metrics names the metric 'statments', which is not declared. Did you mean 'statements'?",
            id="unknown metric",
        ),
        pytest.param(
            "routes:\n  - channel: C012\n  - severities: [P1]\n",
            "2: route 1 has no condition, so that no route after it is ever taken. "
            "Move it to the end, or add a condition.",
            id="a route that hides the others",
        ),
        pytest.param(
            "owners:\n  trust-and-safty: U012\n",
            "2: owners names the owner 'trust-and-safty', which no metric has. "
            "Did you mean 'trust-and-safety-analytics'?",
            id="unknown owner",
        ),
        pytest.param(
            "owners:\n  trust-and-safety-analytics: '@ana'\n",
            "2: owners.trust-and-safety-analytics is '@ana', which should be the ID of a Slack user (U…) or user group "
            "(S…).",
            id="an owner by name",
        ),
        pytest.param(
            "channel: general\n",
            "1: channel is 'general', which should be a channel's ID, such as C0123456789, or #name.",
            id="a channel without #",
        ),
        pytest.param(
            "per_day: 5\nfailures_channel: '#a b'\n",
            "2: failures_channel is '#a b', which should be a channel's ID, such as C0123456789, or #name.",
            id="a channel with a space",
        ),
        pytest.param(
            "routes:\n  - {channel: '<!here>', severities: [P1]}\n",
            "2: routes.#1.channel is '<!here>', which should be a channel's ID, such as C0123456789, or #name.",
            id="a channel that would ping",
        ),
        pytest.param(
            "routes:\n  - mention: [owner, bob]\n",
            "2: routes.#1.mention.#2 is 'bob', which should be owner, or the ID of a Slack user (U…) or user group "
            "(S…).",
            id="a mention by name",
        ),
        pytest.param(
            "roles:\n  lead: [ana]\n",
            "2: roles.lead.#1 is 'ana', which should be the ID of a Slack user (U…), or * for everybody.",
            id="a role for a name",
        ),
        pytest.param(
            "roles:\n  boss: [U012]\n",
            "2: roles has the key 'boss', which is not one of viewer, analyst, lead or admin. "
            "Known here: viewer, analyst, lead, admin.",
            id="unknown role",
        ),
        pytest.param(
            "causes:\n  rael: [abuse]\n",
            "2: causes has the key 'rael', which is not one of real, expected, false_alarm or new_normal. "
            "Did you mean 'real'?",
            id="unknown verdict",
        ),
        pytest.param(
            f"causes:\n  real: [{'x' * 76}]\n",
            f"2: causes.real.#1 is '{'x' * 76}', which should have at most 75 characters.",
            id="a cause that Slack's menu can't show",
        ),
        pytest.param(
            "per_hour: 0\n", "1: per_hour is 0, which should be greater than or equal to 1.", id="no message an hour"
        ),
        pytest.param("per_hours: 6\n", "1: unknown key 'per_hours' in the file. Did you mean 'per_hour'?", id="key"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_and_what_to_do(folder: Path, text: str, said: str) -> None:
    assert said in findings(folder, text)


def test_alerts_in_ecosystem_yaml_have_moved(folder: Path) -> None:
    path = folder / "ecosystem.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}alerts:\n  per_day: 5\n", encoding="utf-8")
    with pytest.raises(CatalogError) as error:
        load_catalog(str(folder))
    assert error.value.message.splitlines()[1:] == [
        f"  {path}:{text.count(chr(10)) + 1}: unknown key 'alerts' in the file. "
        "It has moved to alerts.yaml in the same folder: write its keys there, at the top of the file."
    ]
