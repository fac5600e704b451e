"""A setting: how shifts are judged and which incidents become messages, as somebody wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.model import Catalog, Detection
from health_pipeline.errors import InputError

DETECTION = tuple(Detection.model_fields)
ALERTS = ("minimum_score", "per_day", "newest_days")
STRICTER = 5
"""Without a setting B, B accepts so much smaller a share of false reports than A does."""


@dataclass(frozen=True)
class Setting:
    """One of the settings compared.

    Attributes:
        name: ``A`` or ``B``.
        changed: key -> value, where it differs from the catalog.
    """

    name: str
    detection: Detection
    alerts: Alerts
    changed: Mapping[str, float]

    def catalog(self, catalog: Catalog) -> Catalog:
        """The catalog as it would be with this setting."""
        ecosystem = catalog.ecosystem.model_copy(update={"detection": self.detection})
        return catalog.model_copy(update={"ecosystem": ecosystem, "alerts": self.alerts})

    @property
    def values(self) -> dict[str, float]:
        """Every key and its value."""
        return {k: getattr(self.detection, k) for k in DETECTION} | {k: getattr(self.alerts, k) for k in ALERTS}

    def __str__(self) -> str:
        return ", ".join(f"{k} {v:g}" for k, v in self.changed.items()) or "as in the catalog"


def read_setting(name: str, given: str, catalog: Catalog) -> Setting:
    """A setting from ``key=value,key=value`` or the path of a YAML file; what it leaves out is as in the catalog.

    The file holds the same keys, at its top or under ``detection`` and ``alerts``.

    Raises:
        InputError: a key is unknown, or a value is no number or out of its range.
    """
    text = given.strip()
    if text.endswith((".yaml", ".yml")):
        return make_setting(name, _from_file(name, Path(text)), catalog)
    values: dict[str, Any] = {}
    for part in text.replace(",", " ").split():
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(
                f"Setting {name}: {part!r} is not key=value.",
                'Write for instance "false_discovery_rate=0.01,minimum_change=0.2", or the path of a .yaml file.',
            )
        values[key] = value
    return make_setting(name, values, catalog)


def make_setting(name: str, values: Mapping[str, Any], catalog: Catalog) -> Setting:
    """The catalog's setting with some values replaced.

    Raises:
        InputError: a key is unknown, or a value is no number or out of its range.
    """
    known = (*DETECTION, *ALERTS)
    numbers: dict[str, float] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise InputError(f"Setting {name}: there is no {key!r}.", f"{hint}There are {', '.join(known)}.")
        try:
            numbers[key] = float(value)
        except (TypeError, ValueError):
            raise InputError(f"Setting {name}: {key} is {value!r}, which is no number.") from None
    before = catalog.ecosystem.detection, catalog.alerts
    try:
        detection = Detection.model_validate(
            before[0].model_dump() | {k: v for k, v in numbers.items() if k in DETECTION}
        )
        alerts = Alerts.model_validate(before[1].model_dump() | {k: v for k, v in numbers.items() if k in ALERTS})
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Input ")
        raise InputError(f"Setting {name}: {first['loc'][-1]} is {first['input']:g}, and {said}.") from None
    setting = Setting(name, detection, alerts, {})
    own = Setting("", *before, {}).values
    return Setting(name, detection, alerts, {k: v for k, v in setting.values.items() if v != own[k]})


def stricter(name: str, other: Setting, catalog: Catalog) -> Setting:
    """The same, accepting a :data:`STRICTER`-th of the share of false reports."""
    values = dict(other.values)
    values["false_discovery_rate"] /= STRICTER
    return make_setting(name, values, catalog)


def _from_file(name: str, path: Path) -> dict[str, Any]:
    try:
        held = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"Setting {name}: there is no file {path}.") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(f"Setting {name}: {path} can't be read as YAML: {error}") from None
    if not isinstance(held, dict):
        raise InputError(f"Setting {name}: {path} holds no keys.", "Write for instance `false_discovery_rate: 0.01`.")
    values: dict[str, Any] = {}
    for key, value in held.items():
        values |= value if key in ("detection", "alerts") and isinstance(value, dict) else {key: value}
    return {k: v for k, v in values.items() if k not in ("channel", "failures_channel")}
