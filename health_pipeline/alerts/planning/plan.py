"""What is to be told now: a pure function of the record, of what was told before, and of what people decided.

Every incident that is told has one full message, which is edited whenever it would be written differently:

- a post of its own, when its severity is told at once; what happens to it later is said in replies;
- else a reply in the thread of the morning digest that has a line of it; what happens to it later is a line of a later
  digest. The same when a channel has had ``per_hour`` posts within the hour: then in the thread of that hour's roll-up.

What people decide is no reason for a digest; it is said in one that there is anyway. An incident that ended before
anybody was told is not told: a message asks people to look, and there is nothing left to look after. It stays in the
list and in the report. While an incident is snoozed, its thread only says what people themselves decide.

What waits in the outbox is not told yet: what is past by then is taken back, and posts about many are written anew
until they leave. A post of its own is edited once it has left, and what happened meanwhile is said in its thread.

:mod:`.situation` is what is so, :mod:`.draft` the plan in the making. :mod:`.threads` goes on with what was told,
:mod:`.telling` tells what is new, :mod:`.rollups` and :mod:`.morning` write the posts about many.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.messages.digest import DigestLine
from health_pipeline.alerts.people.told import Told
from health_pipeline.alerts.planning.draft import Draft
from health_pipeline.alerts.planning.hours import begin_of
from health_pipeline.alerts.planning.known import Known
from health_pipeline.alerts.planning.morning import Morning
from health_pipeline.alerts.planning.rollups import Rollups
from health_pipeline.alerts.planning.situation import Situation
from health_pipeline.alerts.planning.telling import Telling, Withheld
from health_pipeline.alerts.planning.threads import Threads
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident


@dataclass(frozen=True)
class Plan:
    """What is to be done, and to be remembered, at once or not at all.

    Attributes:
        intents: for the outbox, in this order: urgent posts first, edits after all that is new.
        told: rows that are new or have changed.
        dropped: outbox key -> why what waits there must not go out any more.
        rewritten: outbox key -> what the post that waits there is to say instead.
        withheld: open incidents that are not told, the most important first.
        waiting: what the next digest will say, as far as it is known now.
        next_at: when there will be something to do though nothing new happens; ``None`` when there will not.
        undrawn: incidents that are to get a chart, and that have no picture in :class:`Known`.
        newest: the day by which it is told.
    """

    intents: tuple[Intent, ...] = ()
    told: tuple[Told, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    rewritten: Mapping[str, Content] = field(default_factory=dict)
    withheld: tuple[Withheld, ...] = ()
    waiting: tuple[DigestLine, ...] = ()
    next_at: dt.datetime | None = None
    undrawn: tuple[Incident, ...] = ()
    newest: dt.date | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing is to be done or remembered."""
        return not (self.intents or self.told or self.dropped or self.rewritten)

    def left_of(self, waiting: Iterable[Intent]) -> list[Intent]:
        """What waits in the outbox, in the order queued, as it is once the plan has been followed."""
        dropped, left = set(self.dropped), list[Intent]()
        for intent in waiting:
            if intent.key in dropped or intent.of in dropped:
                dropped.add(intent.key)
                continue
            content = self.rewritten.get(intent.key)
            left.append(replace(intent, text=content.text, blocks=content.blocks) if content else intent)
        return left


def plan(
    catalog: Catalog,
    known: Known,
    now: dt.datetime,
    *,
    actions: bool = False,
    url: str = "",
    digest_now: bool = False,
) -> Plan:
    """What is to be told.

    Following a plan and planning again at the same instant gives an empty plan.

    Args:
        actions: whether somebody answers clicks.
        url: where people reach the Dagster UI, for links; none without.
        digest_now: tell what waits for the digest as if its hour had come, for a preview.
    """
    at = Situation(catalog, known, now, actions, url)
    draft = Draft(at)
    threads = Threads(at, draft)
    telling = Telling(at, draft, threads)
    morning = Morning(at, draft, telling, digest_now)

    stories = [threads.reverted(at.story(told)) for told in at.told.values() if told.form != "none"]
    retold = [story for story in stories if telling.deserves_a_post(story)]
    kept = [story for story in stories if story not in retold]
    said_in = morning.rewrite(stories, kept)
    chosen, withheld = telling.choose()
    at_once = [incident for incident in chosen if at.severity(incident).at_once]
    waits = [story for story in kept if at.waits_in(story) or at.is_waiting(story.told.post)]
    digests, waiting = morning.due([i for i in chosen if i not in at_once], [s for s in kept if s not in waits])
    for channel, lines in digests.items():
        said_in |= {key: (draft.digest_key(channel), line.what) for line, key in lines}
    for story in kept:
        threads.go_on(threads.unasked(story), said_in.get(story.told.first_key))
    telling.at_once(at_once, retold)
    for channel, lines in digests.items():
        morning.tell(channel, lines)
    rollups = Rollups(at, draft).posts()
    morning.edit()
    times = [*draft.times, *_ahead(at, draft)]
    before = {told.first_key: told for told in known.told}
    return Plan(
        intents=(*draft.posts, *rollups, *draft.digests, *draft.changes),
        told=tuple(told for key, told in draft.rows.items() if told != before.get(key)),
        dropped=draft.dropped | draft.emptied,
        rewritten=draft.rewritten,
        withheld=tuple(sorted(withheld, key=lambda w: at.importance(w.incident))),
        waiting=waiting,
        next_at=min((time for time in times if time > now), default=None),
        undrawn=tuple(draft.undrawn.values()),
        newest=known.newest,
    )


def _ahead(at: Situation, draft: Draft) -> list[dt.datetime]:
    """When something is due that no new data and no click brings about."""
    threads = (intent for thread in draft.rollups.values() for intent in thread)
    intents = (*draft.posts, *draft.digests, *draft.changes, *threads)
    times = [intent.not_before for intent in intents if intent.not_before is not None]
    for told in draft.rows.values():
        if told.form == "none" or told.finished:
            continue
        times.append(told.due_at)
        story = at.story(told)
        if story.standing.snooze is not None:
            times.append(begin_of(at.alerts, story.standing.snooze.until))
        due = at.acknowledge_by(story)
        if due is not None:
            times.append(due)
    return times
