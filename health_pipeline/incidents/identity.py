"""What an incident is called: made once, and kept."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable


def identity(unit: str, family: str, onset: dt.date, taken: Iterable[str]) -> str:
    """Readable, stable, and unique among the incidents around it."""
    slug = re.sub(r"[^a-z0-9]+", "-", unit.lower()).strip("-") or "unit"
    base = f"{slug}-{family.replace('_', '-')}-{onset.isoformat()}"
    names, name, number = set(taken), base, 1
    while name in names:
        number += 1
        name = f"{base}-{number}"
    return name
