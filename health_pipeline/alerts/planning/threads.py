"""What becomes of what was told: its message is kept true, what happened is said, what is past is taken back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.messages.incident import change_content, incident_content, withdrawn_content
from health_pipeline.alerts.people.told import Asked, BeforeAnew, BeforeLine, Change, Said
from health_pipeline.alerts.planning.draft import Draft
from health_pipeline.alerts.planning.hours import begin_of
from health_pipeline.alerts.planning.keys import content_hash
from health_pipeline.alerts.planning.news import (
    News,
    Story,
    all_said,
    by_itself,
    by_people,
    is_judged_alike,
    is_told_anew,
    people_said,
    renewal,
    snooze_said,
    who_lifted,
)
from health_pipeline.alerts.planning.situation import Situation


class Threads:
    """Goes on with what was told, each in its thread."""

    def __init__(self, at: Situation, draft: Draft) -> None:
        self._at, self._draft = at, draft

    def reverted(self, story: Story) -> Story:
        """A line that got a new message goes on as the line it was, when that must not leave."""
        told, before = story.told, story.before
        why = self._at.why_not_leave(story)
        if not isinstance(before, BeforeAnew) or not why or not self._at.is_waiting(told.key):
            return story
        self._draft.drop_message(told, why)
        told = replace(
            told, form="line", key=before.key, post=before.thread, shown=before.key, channel=before.channel,
            charts=before.charts, charted=before.charted, asked=before.asked, hash="", version=told.version + 1,
            said=before.said, before=None,
        )  # fmt: skip
        return replace(self._at.unsaid(story), told=told)

    def go_on(self, story: Story, line: tuple[str, Change] | None) -> None:
        """What becomes of what was told; ``line``: key of the digest that has a line of it, and what that says."""
        why = self._at.why_not_leave(story)
        if why and self._at.is_waiting(story.told.key):
            self._take_back(story, why)
            if story.incident is not None and not story.is_gone:
                self._draft.hold_back(story.incident)
            if story.is_open and story.standing.snooze is not None:
                self._draft.times.append(begin_of(self._at.alerts, story.standing.snooze.until))
        elif story.is_gone:
            self._withdraw(story, line)
        else:
            self._keep(story, line)

    def _keep(self, story: Story, line: tuple[str, Change] | None) -> None:
        """Keep its message true, and say in its thread what happened; of a line, the digest says it."""
        is_same = story.told.finished and story.phase == story.told.phase == story.said.phase and is_judged_alike(story)
        if story.incident is None or (is_same and story.told.said):
            self._draft.remember(story)
            return
        replies: list[News] = []
        if story.told.form == "own":
            story = self._renewed(story, self._at.now)
            news = by_itself(self._at.alerts, story)
            replies = self._replies(story, news)
            key = self._draft.key(story.told.key, news, story.told.version + 1) if news else ""
            at = self._at.not_before(story.severity) or self._at.now
            after = people_said(story) if story.is_snoozed else all_said(self._at.alerts, story, at, key)
        elif self._at.is_waiting(story.told.post):
            after = self._said_first(story)
        elif line is not None:
            story = self._said_in(story, *line)
            after = story.said
        elif by_itself(self._at.alerts, story) is None:
            after = snooze_said(story)
            if not story.is_snoozed:
                after = replace(after, phase=story.phase)
        else:
            after = story.said
        told = replace(story, said=after)
        if self._at.is_overdue(told) and not told.was_asked:
            replies.append(("overdue", None))
            asked = Asked(self._draft.key(told.told.key, "overdue", told.told.version + 1), after.since)
            told = replace(told, told=replace(told.told, asked=asked))
        self._show(told, replies)

    def _renewed(self, story: Story, at: dt.datetime) -> Story:
        """What is told now may make an acknowledgement count no more; nobody took it back, so nobody is told that."""
        renewed = renewal(self._at.alerts, story, at)
        if renewed is None or story.incident is None:
            return story
        standing = self._at.standing_since(story.incident, renewed)
        lapses = standing.acknowledged != story.standing.acknowledged
        acknowledged = "" if lapses else story.said.acknowledged
        return replace(story, said=replace(story.said, renewed=renewed, acknowledged=acknowledged), standing=standing)

    def _said_first(self, story: Story) -> Said:
        """A line whose post has not left tells of it as it is when that leaves."""
        first = Said("open", story.severity, renewed=story.said.renewed)
        return all_said(self._at.alerts, replace(story, said=first), self._at.now, story.told.key)

    def _said_in(self, story: Story, digest: str, what: Change) -> Story:
        """As when a digest has said it. One that waits has said it since it was queued."""
        said, before = story.said, story.told.before
        at, due = self._at.now, self._at.quiet or self._at.now
        if isinstance(before, BeforeLine) and before.post == digest:
            at, due = before.at, before.due
        story = self._renewed(story, at)
        return replace(
            story,
            said=all_said(self._at.alerts, story, due, digest),
            before=BeforeLine(said, digest, what, at, due),
        )

    def unasked(self, story: Story) -> Story:
        """Nobody is asked any more for what has been done, is over, or is told anew, before the question left."""
        asked = story.told.asked
        if asked is None or not self._at.is_waiting(asked.key):
            return story
        if self._at.is_overdue(story) and not story.is_gone and not is_told_anew(self._at.alerts, story):
            return story
        self._draft.dropped[asked.key] = "Nobody has to acknowledge it any more."
        return replace(story, told=replace(story.told, asked=None))

    def _replies(self, story: Story, news: Change | None) -> list[News]:
        found = by_people(story, self._at.known.decisions)
        if news is None:
            return found
        early = news == "snoozed" and story.said.snoozed is not None and story.said.snoozed > self._at.today
        return [(news, who_lifted(story, self._at.known.decisions) if early else None), *found]

    def _show(self, story: Story, replies: Sequence[News]) -> None:
        """Edit its message if it would be written differently now; reply; add a chart where one is due."""
        told, incident, intents = story.told, story.incident, list[Intent]()
        assert incident is not None
        picture = self._draft.picture(story)
        about = self._at.about(story, chart=bool(told.charts or picture))
        if story.is_whole or story.is_gone:
            content = incident_content(self._at.catalog, incident, about)
            if content_hash(content) != told.hash:
                intents.append(self._draft.edit(told, content))
                told = replace(told, shown=intents[0].key, hash=content_hash(content))
        for what, by in replies:
            mention = self._at.mention(incident, story.severity)
            content = change_content(self._at.catalog, incident, replace(about, mention=mention), what, by=by)
            intents.append(self._draft.reply(story, what, content))
        if picture is not None:
            intents.append(self._draft.upload(told, incident, picture, story.severity))
            told = replace(told, charts=told.charts + 1, charted=incident.worsened_on)
        self._draft.changes += intents
        self._draft.remember(replace(story, told=replace(told, version=told.version + bool(intents))))

    def _withdraw(self, story: Story, line: tuple[str, Change] | None) -> None:
        """The days on which it was reported were judged anew, and do not show it."""
        told = story.told
        if line is not None:
            story = self._said_in(story, *line)
        elif story.is_snoozed:  # what ends meanwhile is past: nobody has to be told
            story = replace(story, said=replace(snooze_said(story), phase="retracted"))
        if told.phase == "retracted" and told.finished:
            self._draft.remember(story)
            return
        is_silent = story.is_snoozed or told.form == "line"  # a line is said in the next digest
        if not is_silent:
            story = replace(story, said=replace(story.said, phase="retracted"))
        if story.incident is not None:
            self._show(story, [] if is_silent else [("retracted", None)])
            return
        before = self._at.known.contents.get(told.shown, Content("", ()))
        content = withdrawn_content(before)
        edit = self._draft.edit(told, content)
        self._draft.changes.append(edit)
        if not is_silent:
            self._draft.changes.append(self._draft.reply(story, "retracted", withdrawn_content(before, reply=True)))
        told = replace(told, shown=edit.key, hash=content_hash(content), version=told.version + 1)
        self._draft.remember(replace(story, told=told, said=replace(story.said, phase="retracted")))

    def _take_back(self, story: Story, why: str) -> None:
        """Its message never leaves, nor its line: nobody has been told. Its key is used up."""
        self._draft.drop_message(story.told, why)
        unsaid = replace(story.told, form="none", key="", post="", shown="")
        self._draft.remember(replace(story, told=unsaid, phase="retracted"))
