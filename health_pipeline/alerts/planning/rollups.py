"""Roll-ups: one post instead of many that came within an hour, and what it says as lines come and go."""

from __future__ import annotations

from collections.abc import Sequence

from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.messages.digest import DigestLine, rollup_content
from health_pipeline.alerts.planning.draft import Draft
from health_pipeline.alerts.planning.keys import ROLLUP
from health_pipeline.alerts.planning.situation import Situation


class Rollups:
    """Writes the roll-ups, once all lines are known."""

    def __init__(self, at: Situation, draft: Draft) -> None:
        self._at, self._draft = at, draft

    def posts(self) -> list[Intent]:
        """The roll-ups that are new, with their threads; what others say by now of which a line was added or struck."""
        made: list[Intent] = []
        there = {post for post in self._at.known.posts if post.startswith(f"{self._at.catalog.name}:{ROLLUP}:")}
        for post in (*self._draft.rollups, *sorted(there - self._draft.rollups.keys())):
            thread = self._draft.rollups.get(post, [])
            if post not in there:
                made += [self._rollup(post, thread), *thread]
                continue
            lines = self._lines_of(post)
            if self._at.is_waiting(post) and not lines and post in self._draft.struck:
                self._draft.emptied[post] = "Nothing is left to tell."
            elif self._at.is_waiting(post) or thread or post in self._draft.struck:
                channel = thread[0].channel if thread else self._draft.struck.get(post, "")
                made += self._draft.says_now(post, channel, self._rollup_content(lines), len(lines))
            made += thread
        return made

    def _lines_of(self, post: str) -> list[DigestLine]:
        stories = [self._at.story(row) for row in self._draft.rows.values() if row.post == post]
        return [
            DigestLine(story.incident, self._at.about(story), "new") for story in stories if story.incident is not None
        ]

    def _rollup_content(self, lines: Sequence[DigestLine]) -> Content:
        return rollup_content(
            self._at.catalog, sorted(lines, key=self._at.urgency), links=self._at.links(self._at.known.newest)
        )

    def _rollup(self, post: str, thread: Sequence[Intent]) -> Intent:
        held = [intent.not_before for intent in thread if intent.not_before is not None]
        not_before = min(held) if len(held) == len(thread) else None
        content = self._rollup_content(self._lines_of(post))
        return Intent(post, thread[0].channel, text=content.text, blocks=content.blocks, not_before=not_before)
