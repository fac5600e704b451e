"""What is told for the first time, or anew as it became urgent: which, in what form, and with what message."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.messages.incident import incident_content
from health_pipeline.alerts.people.standing import Renewal
from health_pipeline.alerts.people.told import BeforeAnew, Said, Told
from health_pipeline.alerts.planning.draft import Draft
from health_pipeline.alerts.planning.hours import begin_of
from health_pipeline.alerts.planning.keys import ROLLUP, content_hash
from health_pipeline.alerts.planning.news import Story, all_said, is_raised
from health_pipeline.alerts.planning.select import newsworthy, reason
from health_pipeline.alerts.planning.situation import Situation
from health_pipeline.alerts.planning.threads import Threads
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

HOUR = dt.timedelta(hours=1)
UNLISTED = "a newer day is judged and not ranked yet"


@dataclass(frozen=True)
class Withheld:
    """An open incident that nobody has been told of, and why, in words."""

    incident: Incident
    reason: str


class Telling:
    """Chooses whom people are told of, and tells."""

    def __init__(self, at: Situation, draft: Draft, threads: Threads) -> None:
        self._at, self._draft, self._threads = at, draft, threads
        self._own_due: dict[str, list[dt.datetime]] = defaultdict(list)  # channel -> when its posts were due
        for told in at.known.told:
            if told.form == "own":
                self._own_due[told.channel].append(told.due_at)

    def choose(self) -> tuple[list[Incident], list[Withheld]]:
        """Incidents to tell of, the most important first, and open ones that are not told, with the reason."""
        told = {name for row in self._draft.rows.values() if row.form != "none" for name in row.names}
        held = {row.incident for row in self._draft.rows.values() if row.form == "none" and not row.was_dropped}
        new = [i for i in self._at.incidents.values() if i.is_open and i.id not in told]
        if not self._at.known.is_listed:
            return [], [Withheld(incident, UNLISTED) for incident in new]
        snoozes = {i.id: snooze for i in new if (snooze := self._at.standing(i).snooze) is not None}
        everything = tuple(self._at.incidents.values())
        for incident in self._newsworthy(everything, told):
            if incident.id in snoozes and incident.id not in held:
                self._draft.hold_back(incident)
        chosen = self._newsworthy([i for i in everything if i.id not in snoozes], told)
        ids = {i.id for i in chosen}
        over = [i for i in new if i.id in held - ids and i.id not in snoozes]  # their snooze is over
        chosen += [i for i in over if self._at.is_ranked(i)]  # else it is told once the list has it
        ids |= held
        withheld = []
        for incident in new:
            if incident.id in snoozes:
                until = snoozes[incident.id].until
                self._draft.times.append(begin_of(self._at.alerts, until))
                withheld.append(Withheld(incident, f"snoozed until {wording.day(until)}"))
            elif incident.id not in ids:
                why = reason(self._at.alerts, self._at.known.newest, incident, self._at.scores)
                withheld.append(Withheld(incident, why))
        return sorted(chosen, key=self._at.importance), withheld

    def _newsworthy(self, incidents: Sequence[Incident], told: set[str]) -> list[Incident]:
        return newsworthy(self._at.alerts, self._at.known.newest, incidents, self._at.scores, told)

    def deserves_a_post(self, story: Story) -> bool:
        """Whether it has been a line, and is so urgent now that it is told at once."""
        if story.told.form != "line" or not story.is_whole or story.is_snoozed:
            return False
        return is_raised(self._at.alerts, story) and self._at.alerts.severity(story.severity).at_once

    def at_once(self, new: Sequence[Incident], retold: Sequence[Story]) -> None:
        """Posts of their own, as many as a channel takes in an hour; for the rest a line of the hour's roll-up."""
        raised = {story.incident.id: story for story in retold if story.incident is not None}
        incidents = [*new, *(story.incident for story in retold if story.incident is not None)]
        for incident in sorted(incidents, key=self._at.importance):
            severity = self._at.severity(incident).name
            channel, due = self._at.channel(incident, severity), self._at.not_before(severity) or self._at.now
            story = raised.get(incident.id)
            row = story.told if story else self._draft.row_of(incident)
            key = self._draft.fresh_key(incident) if story else row.first_key
            before = self._retell(story, due) if story else None
            if not self._is_crowded(channel, due):
                self._own_due[channel].append(due)
                self._draft.posts += self.tell(row, incident, key, key, channel, due, before)
            else:
                post = self._draft.unused(kit.key(self._at.catalog.name, ROLLUP, channel, f"{due:%Y-%m-%dT%H}"))
                self._draft.rollups[post] += self.tell(row, incident, key, post, channel, due, before)

    def _retell(self, story: Story, due: dt.datetime) -> BeforeAnew | None:
        """Let the message of a line that is told anew point there, or take it back when it has not left itself.

        Returns:
            how the line was, if it had left.
        """
        story = self._threads.unasked(story)
        told, before = story.told, story.before
        if self._at.is_waiting(told.key):
            self._draft.drop_message(told, f"It is {story.severity} by now, and told by itself.")
            return before if isinstance(before, BeforeAnew) else None
        assert story.incident is not None
        moved = self._draft.edit(told, moved_content(self._at.catalog, story.incident, story.severity))
        self._draft.changes.append(replace(moved, not_before=due if due > self._at.now else None))
        return BeforeAnew(
            story.said, told.key, told.post, told.channel, told.charts, charted=told.charted, asked=told.asked
        )

    def _is_crowded(self, channel: str, due: dt.datetime) -> bool:
        """Whether the channel has had its posts of this hour: of the clock's, and of the sixty minutes before."""
        near = [at for at in self._own_due[channel] if _hour(at) == _hour(due) or due - HOUR < at <= due]
        return len(near) >= self._at.alerts.per_hour

    def tell(
        self,
        row: Told,
        incident: Incident,
        key: str,
        post: str,
        channel: str,
        due: dt.datetime,
        before: BeforeAnew | None = None,
    ) -> list[Intent]:
        """Its full message, a post or a reply in the thread of ``post``, and its chart.

        Args:
            before: how it was, of what was told before.
        """
        severity = self._at.severity(incident).name
        told = replace(
            row,
            form="own" if key == post else "line",
            incident=incident.id,
            channel=channel,
            key=key,
            post=post,
            shown=key,
            all_keys=(*row.all_keys, key),
            day=incident.day,
            told_at=self._at.now,
            due_at=due,
            charts=0,
            charted=None,
            asked=None,
        )
        renewed = Renewal(self._at.now, "raised") if before is not None else None
        standing = self._at.standing_since(incident, renewed)
        said = Said("open", severity, renewed=renewed)
        first = Story(told, said, incident, True, False, "open", severity, standing, before)
        story = replace(first, said=all_said(self._at.alerts, first, self._at.now, key))
        picture = self._draft.picture(story)
        content = incident_content(self._at.catalog, incident, self._at.about(story, chart=picture is not None))
        not_before = due if due > self._at.now else None
        intents = [
            Intent(key, channel, "post", "", content.text, content.blocks, not_before=not_before)
            if key == post
            else Intent(key, channel, "reply", post, content.text, content.blocks, not_before=not_before)
        ]
        if picture is not None:
            intents.append(self._draft.upload(told, incident, picture, severity, not_before))
            told = replace(told, charts=1, charted=incident.worsened_on)
        told = replace(told, hash=content_hash(content))
        self._draft.remember(replace(story, told=told))
        return intents


def moved_content(catalog: Catalog, incident: Incident, severity: str) -> Content:
    """What is left of a message in a thread about many when its incident is told anew."""
    title = wording.title(catalog, incident)
    words = f"Now {severity}, and told anew in the channel."
    return Content(kit.escape(f"{title}. {words}", 2_000), (kit.section(f"{title}\n{words}", 600),))


def _hour(at: dt.datetime) -> dt.datetime:
    return at.replace(minute=0, second=0, microsecond=0)
