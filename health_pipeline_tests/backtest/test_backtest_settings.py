"""Settings as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from health_pipeline.backtest.settings import read_setting, stricter
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.errors import InputError


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog("marketplace")


def test_nothing_given_is_the_catalogs_own_setting(catalog: Catalog) -> None:
    setting = read_setting("A", "", catalog)
    assert (setting.detection, setting.alerts) == (catalog.ecosystem.detection, catalog.alerts)
    assert setting.changed == {} and str(setting) == "as in the catalog"


@pytest.mark.parametrize(
    "given",
    ["false_discovery_rate=0.01,per_day=3", " false_discovery_rate=0.01  per_day=3 "],
)
def test_keys_and_values_of_detection_and_alerts_in_one_line(catalog: Catalog, given: str) -> None:
    setting = read_setting("B", given, catalog)
    assert setting.detection.false_discovery_rate == 0.01
    assert setting.alerts.per_day == 3
    assert setting.detection.minimum_change == catalog.ecosystem.detection.minimum_change
    assert setting.changed == {"false_discovery_rate": 0.01, "per_day": 3}
    assert setting.catalog(catalog).ecosystem.detection == setting.detection
    assert setting.catalog(catalog).metrics == catalog.metrics


@pytest.mark.parametrize(
    "text",
    [
        "false_discovery_rate: 0.01\nminimum_score: 2\n",
        "detection:\n  false_discovery_rate: 0.01\nalerts:\n  channel: '#else'\n  minimum_score: 2\n",
    ],
)
def test_a_file_with_the_keys_at_its_top_or_as_in_the_ecosystem(catalog: Catalog, tmp_path: Path, text: str) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(text)
    setting = read_setting("B", str(file), catalog)
    assert setting.changed == {"false_discovery_rate": 0.01, "minimum_score": 2}
    assert setting.alerts.channel == catalog.alerts.channel


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("minimum_chnge=0.1", "minimum_change"),
        ("false_discovery_rate=0.7", "less than 0.5"),
        ("per_day=2.5", "integer"),
        ("per_day=many", "no number"),
        ("0.01", "not key=value"),
        ("nowhere.yaml", "no file"),
    ],
)
def test_a_mistake_is_named(catalog: Catalog, given: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        read_setting("B", given, catalog)
    assert "Setting B" in error.value.message
    assert said in f"{error.value.message} {error.value.hint}"


def test_a_file_that_holds_no_keys_is_a_mistake(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="holds no keys"):
        read_setting("B", str(tmp_path / "b.yaml"), catalog)


def test_without_b_a_fifth_of_the_false_reports_is_accepted(catalog: Catalog) -> None:
    a = read_setting("A", "false_discovery_rate=0.1,minimum_change=0.3", catalog)
    assert stricter("B", a, catalog).values == a.values | {"false_discovery_rate": 0.02}
