"""Which incidents that were told go on under another name. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from health_pipeline.alerts.people.told import Told
from health_pipeline.alerts.planning.known import Known
from health_pipeline.incidents.model import Incident

RENAMED = dt.timedelta(days=14)
"""An incident of the same unit and family whose onset is so near is the same, told by another onset."""


def renamed(known: Known, newest: Mapping[str, Incident]) -> list[Told]:
    """What was told, under the ids that the incidents have now.

    An incident that is in the record no more, while one of the same unit and family with a nearby onset is, has been
    judged anew and is called by its new onset.
    """
    missing = [told for told in known.told if told.incident in known.gone and told.phase != "retracted"]
    if not missing:
        return list(known.told)
    taken = {name for told in known.told for name in told.names}
    here = _by_subject({*newest, *known.ids} - taken)
    near = sorted(
        (abs(onset - own), other not in newest, other, told.first_key)
        for told in missing
        for subject, [(_, own)] in _by_subject([told.incident]).items()
        for other, onset in here.get(subject, ())
        if abs(onset - own) <= RENAMED
    )
    names: dict[str, str] = {}
    for _, _, other, first_key in near:
        if first_key not in names and other not in names.values():
            names[first_key] = other
    return [
        replace(told, incident=names[told.first_key], aliases=(told.incident, *told.aliases))
        if told.first_key in names
        else told
        for told in known.told
    ]


def _by_subject(ids: Iterable[str]) -> dict[str, list[tuple[str, dt.date]]]:
    """What ids are about, without the onset -> (id, onset) of each."""
    found: dict[str, list[tuple[str, dt.date]]] = defaultdict(list)
    for id_ in ids:
        parts = re.fullmatch(r"(.*)-(\d{4}-\d\d-\d\d)(-\d+)?", id_)
        if parts:
            found[parts[1]].append((id_, dt.date.fromisoformat(parts[2])))
    return found
