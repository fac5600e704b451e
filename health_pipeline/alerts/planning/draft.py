"""A plan in the making: what is to be put into the outbox, and what will have been told by then."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import replace

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.alerts.people.told import Said, Told, outline
from health_pipeline.alerts.planning.keys import DIGEST, chart_key, content_hash, follower_key, incident_key
from health_pipeline.alerts.planning.news import Story, has_worsened
from health_pipeline.alerts.planning.situation import Situation
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident


class Draft:
    """What is planned so far.

    Attributes:
        rows: what will have been told once all of it is in the outbox.
        posts, digests, changes: in the order in which they go into the outbox.
        rollups: key of a roll-up -> what is new in its thread.
        dropped: outbox key -> why what waits there must not leave.
        emptied: the same of posts about many that have nothing to tell any more.
        rewritten: outbox key -> what the post that waits there is to say instead.
        struck: key of a post about many that lost a line -> its channel.
        times: when there will be something to do.
        undrawn: id -> incident that is to get a chart, and has no picture.
    """

    def __init__(self, at: Situation) -> None:
        self._at = at
        self.rows = dict(at.told)
        self.posts: list[Intent] = []
        self.rollups: dict[str, list[Intent]] = defaultdict(list)
        self.digests: list[Intent] = []
        self.changes: list[Intent] = []
        self.dropped: dict[str, str] = {}
        self.emptied: dict[str, str] = {}
        self.rewritten: dict[str, Content] = {}
        self.struck: dict[str, str] = {}
        self.times: list[dt.datetime] = []
        self.undrawn: dict[str, Incident] = {}

    def remember(self, story: Story) -> None:
        """Its row will be as it is now."""
        told = replace(
            story.told,
            said=story.said,
            before=story.before,
            phase=story.phase,
            severity=story.severity,
            finished=not story.is_open,
        )
        if story.is_whole and story.incident is not None:
            last, day = outline(story.incident), max(told.day, story.incident.day)
            # As text, because what is not a number does not equal itself.
            told = replace(told, day=day, last=told.last if repr(told.last) == repr(last) else last)
        self.rows[told.first_key] = told

    def hold_back(self, incident: Incident) -> None:
        """Remember that it would have been told, to tell it when it is not snoozed any more."""
        severity = self._at.severity(incident).name
        told = replace(
            self.row_of(incident),
            channel=self._at.channel(incident, severity),
            severity=severity,
            last=outline(incident),
        )
        self.rows[told.first_key] = replace(told, said=Said("open", severity))

    def row_of(self, incident: Incident) -> Told:
        """The row of an incident that was not told before."""
        for row in self.rows.values():
            if row.incident == incident.id and row.form == "none" and not row.was_dropped:
                return row
        return Told(self.fresh_key(incident), incident.id, "", incident.day, self._at.now, self._at.now)

    def fresh_key(self, incident: Incident) -> str:
        """A key for its full message: one is never used twice."""
        used = {key for row in self.rows.values() for key in (row.first_key, *row.all_keys)}
        number, phase = 1, "open"
        while (key := incident_key(self._at.catalog.name, incident.id, phase)) in used:
            number += 1
            phase = f"open:{number}"
        return key

    def drop_message(self, told: Told, why: str) -> None:
        """Its message, which waits, never leaves, nor do its charts; the post about many loses the line."""
        self.dropped[told.key] = why
        if told.form == "own":  # its charts follow it
            return
        charts = [chart_key(self._at.catalog.name, told, number) for number in range(1, told.charts + 1)]
        self.dropped |= {chart: why for chart in charts if self._at.is_waiting(chart)}
        self.struck[told.post] = told.channel

    def says_now(self, post: str, channel: str, content: Content, lines: int) -> list[Intent]:
        """Let a post about many say something else: before it leaves, or by the edit that is returned.

        Args:
            lines: how many there are in it.
        """
        if self._at.is_waiting(post):
            before = self._at.known.contents.get(post)
            if before is None or content_hash(before) != content_hash(content):
                self.rewritten[post] = content
            return []
        # Lines are struck and added: each edit has another number of one or the other.
        struck = sum(row.was_dropped for row in self.rows.values())
        key = self.key(post, "edit", f"{struck}-{lines}-{content_hash(content)[:8]}")
        return [Intent(key, channel, "edit", post, content.text, content.blocks)]

    def digest_key(self, channel: str) -> str:
        """Key of the channel's digest of today."""
        return self.unused(kit.key(self._at.catalog.name, DIGEST, channel, self._at.today.isoformat()))

    def unused(self, key: str) -> str:
        """The key of a post about many, or another one where that post has been dropped."""
        number, found = 1, key
        while found in self.emptied or self._is_superseded(found):
            number += 1
            found = f"{key}:{number}"
        return found

    def _is_superseded(self, key: str) -> bool:
        where = self._at.known.delivered.get(key)
        return key in self._at.known.posts and where is not None and where.state == "superseded"

    def edit(self, told: Told, content: Content) -> Intent:
        """A new content for its message."""
        key = self.key(told.key, "edit", told.version + 1)
        return Intent(key, told.channel, "edit", told.key, content.text, content.blocks)

    def reply(self, story: Story, what: str, content: Content) -> Intent:
        """What happened, in its thread."""
        told, not_before = story.told, self._at.not_before(story.severity)
        key = self.key(told.key, what, told.version + 1)
        return Intent(key, told.channel, "reply", told.post, content.text, content.blocks, not_before=not_before)

    def upload(
        self,
        told: Told,
        incident: Incident,
        picture: Picture,
        severity: str,
        not_before: dt.datetime | None = None,
    ) -> Intent:
        """Its chart; in a thread about many it says of what."""
        return Intent(
            chart_key(self._at.catalog.name, told, told.charts + 1),
            told.channel,
            "upload",
            told.post,
            text="" if told.form == "own" else kit.escape(wording.title(self._at.catalog, incident), 300),
            file=picture.png,
            filename=picture.filename,
            alt=picture.alt,
            not_before=not_before or self._at.not_before(severity),
        )

    def picture(self, story: Story) -> Picture | None:
        """A chart is drawn when an incident is told, and again when it has worsened."""
        if not story.is_open or not story.is_whole or story.is_snoozed or story.incident is None:
            return None
        if story.incident.kind == "data":  # it has no series
            return None
        if story.told.charts and not has_worsened(story, story.told.charted):
            return None
        picture = self._at.known.pictures.get(story.incident.id)
        if picture is None:
            self.undrawn[story.incident.id] = story.incident
        return picture

    def key(self, key: str, what: str, version: int | str) -> str:
        """Key of what follows a message, see :func:`.keys.follower_key`."""
        return follower_key(self._at.catalog.name, key, what, version)
