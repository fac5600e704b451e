"""What a plan follows from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from health_pipeline.alerts.delivery.backlog import Delivered
from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.told import Told
from health_pipeline.incidents.model import Incident


@dataclass(frozen=True)
class Ranked:
    """Where an incident stands in the prioritised list."""

    score: float
    rank: int


@dataclass(frozen=True)
class Known:
    """All that a plan follows from.

    Attributes:
        newest: the newest day judged, or the newest with a list.
        incidents: of that day.
        ranked: incident id -> place in that day's list.
        told: what was told before.
        past: id -> last row in the record, of told incidents that are not in ``incidents``, as far as needed.
        gone: ids of told incidents that are in no day of the record any more.
        ids: every id in the record; needed only where something is gone.
        decisions: every one of the ecosystem.
        delivered: outbox key -> how far the message of what was told has come, and each of ``posts``.
        posts: keys of the digests and roll-ups that there are, of these days.
        contents: outbox key -> what it says, of what is gone, and of digests and roll-ups that wait.
        trust: looks up sentences on how far an incident's data can be trusted; asked of what is rendered.
        pictures: incident id -> its chart; of those that are to get one, as far as drawn.
        is_listed: whether the newest day judged has its list; until then nothing is told that was not told before.
    """

    newest: dt.date
    incidents: tuple[Incident, ...] = ()
    ranked: Mapping[str, Ranked] = field(default_factory=dict)
    told: tuple[Told, ...] = ()
    past: Mapping[str, Incident] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    decisions: tuple[Decision, ...] = ()
    delivered: Mapping[str, Delivered] = field(default_factory=dict)
    posts: frozenset[str] = frozenset()
    contents: Mapping[str, Content] = field(default_factory=dict)
    trust: Callable[[Incident], tuple[str, ...]] = lambda incident: ()
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    is_listed: bool = True
