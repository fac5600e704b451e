"""Morning digests: what is in them, when they are due, and what those that wait say by now."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.messages.digest import DigestLine, digest_content
from health_pipeline.alerts.people.told import BeforeLine, Change
from health_pipeline.alerts.planning.draft import Draft
from health_pipeline.alerts.planning.hours import digest_at, today
from health_pipeline.alerts.planning.keys import DIGEST
from health_pipeline.alerts.planning.news import Story, by_itself, by_people
from health_pipeline.alerts.planning.situation import Situation
from health_pipeline.alerts.planning.telling import Telling
from health_pipeline.incidents.model import Incident

LATE = dt.timedelta(hours=3)
"""A digest that leaves so long after its hour is not called one of the morning."""


class Morning:
    """Writes the digests.

    Args:
        digest_now: as if the hour of today's digests had come.
    """

    def __init__(self, at: Situation, draft: Draft, telling: Telling, digest_now: bool) -> None:
        self._at, self._draft, self._telling, self._digest_now = at, draft, telling, digest_now

    def due(
        self, new: Sequence[Incident], stories: Sequence[Story]
    ) -> tuple[dict[str, list[tuple[DigestLine, str]]], tuple[DigestLine, ...]]:
        """The lines of every channel whose digest is due, with ``first_key`` of those told before; and what waits."""
        channels: dict[str, list[tuple[DigestLine, str]]] = defaultdict(list)
        reasons = set()
        for incident in new:
            severity = self._at.severity(incident).name
            channel = self._at.channel(incident, severity)
            about = self._at.about_of(incident, severity, self._at.standing(incident))
            channels[channel].append((DigestLine(incident, about, "new"), ""))
            reasons.add(channel)
        for story in stories:
            line, is_reason = self._line(story)
            if line is not None:
                channels[story.told.channel].append((line, story.told.first_key))
            if is_reason:
                reasons.add(story.told.channel)
        due: dict[str, list[tuple[DigestLine, str]]] = {}
        waiting: list[DigestLine] = []
        for channel in sorted(reasons):
            lines = sorted(channels[channel], key=lambda found: self._at.urgency(found[0]))
            at = digest_at(self._at.alerts, self._at.today)
            if self._draft.digest_key(channel) in self._at.known.posts:
                at = digest_at(self._at.alerts, self._at.today + dt.timedelta(days=1))
            is_due = at <= self._at.now or (self._digest_now and at == digest_at(self._at.alerts, self._at.today))
            if is_due and self._at.known.is_listed:  # else it waits for what the list makes news
                due[channel] = lines
            else:
                self._draft.times.append(at)
                waiting += [line for line, _ in lines]
        return due, tuple(waiting)

    def _line(self, story: Story) -> tuple[DigestLine | None, bool]:
        """The line of a digest that says what happened to it, if anything did, and whether that is a reason for one."""
        if story.told.form != "line" or story.incident is None or story.is_snoozed:
            return None, False
        news, people = by_itself(self._at.alerts, story), by_people(story, self._at.known.decisions)
        if news is None and not people:
            return None, False
        return DigestLine(story.incident, self._at.about(story), news or people[0][0]), news is not None

    def rewrite(self, stories: Sequence[Story], kept: Sequence[Story]) -> dict[str, tuple[str, Change]]:
        """Let digests that have not left say what is so by now, or nothing.

        Returns:
            ``first_key`` of what was told -> key of the digest that has a line of it, and what that says.
        """
        found: dict[str, tuple[str, Change]] = {}
        for post in sorted(self._at.known.posts):
            here = [s for s in stories if post in (s.told.post, self._at.waits_in(s))]
            if not here or not self._at.is_waiting(post) or not self._is_digest(post):
                continue
            lines: list[DigestLine] = []
            is_wanted = False
            for story in kept:
                line, is_reason = None, False
                if story.told.post == post and story.incident is not None and not self._at.why_not_leave(story):
                    line, is_reason = DigestLine(story.incident, self._at.about(story), "new"), True
                elif self._at.waits_in(story) == post:
                    line, is_reason = self._line(story)
                if line is not None:
                    lines.append(line)
                    found[story.told.first_key] = (post, line.what)
                is_wanted |= is_reason
            if is_wanted:
                channel, day = here[0].told.channel, self._day_of(post)
                self._draft.times.append(digest_at(self._at.alerts, day) + LATE)
                content = self._digest_content(day, channel, lines)
                self._draft.says_now(post, channel, content, len(lines))
            else:
                self._draft.emptied[post] = "Nothing is left to tell."
                found = {key: line for key, line in found.items() if line[0] != post}
        return found

    def _is_digest(self, post: str) -> bool:
        return post.startswith(f"{self._at.catalog.name}:{DIGEST}:")

    def _day_of(self, digest: str) -> dt.date:
        """The morning of a digest that there is: when what it tells was queued."""
        begun = []
        for told in self._at.told.values():
            before = told.before
            if told.post == digest:
                begun.append(told.told_at)
            elif isinstance(before, BeforeLine) and before.post == digest:
                begun.append(before.at)
        return today(self._at.alerts, min(begun))

    def edit(self) -> None:
        """Strike a line of a digest that has left, when its message has not and must not."""
        for post, channel in self._draft.struck.items():
            if post not in self._at.known.posts or not self._is_digest(post) or self._at.is_waiting(post):
                continue
            lines = []
            for row in self._draft.rows.values():
                story, before = self._at.story(row), row.before
                if story.incident is not None and row.form != "none" and row.post == post:
                    lines.append(DigestLine(story.incident, self._at.about(story), "new"))
                elif story.incident is not None and isinstance(before, BeforeLine) and before.post == post:
                    lines.append(DigestLine(story.incident, self._at.about(story), before.what))
            sent_at = self._at.known.delivered[post].sent_at
            content = self._digest_content(self._day_of(post), channel, lines, sent_at)
            self._draft.changes += self._draft.says_now(post, channel, content, len(lines))

    def _digest_content(
        self, day: dt.date, channel: str, lines: Sequence[DigestLine], sent_at: dt.datetime | None = None
    ) -> Content:
        """``sent_at``: when it left; by default it leaves as soon as it may."""
        leaves = sent_at or self._at.quiet or self._at.now
        open_ = [i for i in self._at.incidents.values() if i.is_open]
        here = [i for i in open_ if self._at.channel(i, self._at.severity(i).name) == channel]
        return digest_content(
            self._at.catalog,
            day,
            sorted(lines, key=self._at.urgency),
            snoozed=sum(self._at.standing(i).snooze is not None for i in here),
            open_count=len(here),
            is_late=leaves >= digest_at(self._at.alerts, day) + LATE,
            links=self._at.links(self._at.known.newest),
        )

    def tell(self, channel: str, lines: Sequence[tuple[DigestLine, str]]) -> None:
        """The digest of a channel, with the full message of each new incident in its thread."""
        content = self._digest_content(self._at.today, channel, [line for line, _ in lines])
        key = self._draft.digest_key(channel)
        self._draft.digests.append(
            Intent(key, channel, text=content.text, blocks=content.blocks, not_before=self._at.quiet)
        )
        for line, first_key in lines:
            if not first_key:
                row = self._draft.row_of(line.incident)
                self._draft.digests += self._telling.tell(
                    row, line.incident, row.first_key, key, channel, self._at.quiet or self._at.now
                )
