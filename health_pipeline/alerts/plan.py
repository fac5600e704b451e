"""What is to be told now: a pure function of the record, of what was told before, and of what people decided.

Every incident that is told has one full message, which is edited whenever it would be written differently:

- a post of its own, when its severity is told at once; what happens to it later is said in replies;
- else a reply in the thread of the morning digest that has a line of it; what happens to it later is a line of a later
  digest. The same when a channel has had ``per_hour`` posts within the hour: then in the thread of that hour's roll-up.

What people decide is no reason for a digest; it is said in one that there is anyway. An incident that ended before
anybody was told is not told: a message asks people to look, and there is nothing left to look after. It stays in the
list and in the report. While an incident is snoozed, its thread only says what people themselves decide.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from health_pipeline.alerts import blocks as kit
from health_pipeline.alerts.blocks import Content
from health_pipeline.alerts.decisions import Decision, records_of, snoozes_of, standings_of
from health_pipeline.alerts.digest import DigestLine, digest_content, rollup_content
from health_pipeline.alerts.hours import begin_of, digest_at, quiet_until, today
from health_pipeline.alerts.intent import Intent
from health_pipeline.alerts.message import (
    OPEN,
    RETRACTED,
    About,
    Change,
    change_content,
    incident_content,
    incident_key,
    withdrawn_content,
)
from health_pipeline.alerts.news import (
    News,
    Story,
    all_said,
    by_itself,
    by_people,
    has_worsened,
    is_judged_alike,
    is_raised,
    is_told_anew,
    people_said,
    phase_of,
    place,
    renewal,
    snooze_said,
    who_lifted,
)
from health_pipeline.alerts.picture import Picture
from health_pipeline.alerts.select import newsworthy, reason
from health_pipeline.alerts.standing import Renewal, Standing, silence, silenced_as
from health_pipeline.alerts.told import Delivered, Said, Told, outline
from health_pipeline.catalog.alerts import OWNER, Route, Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

DIGEST, ROLLUP, CHART = "digest", "rollup", "chart"

RENAMED = dt.timedelta(days=14)
"""An incident of the same unit and family whose onset is so near is the same, told by another onset."""
PROMPT = dt.timedelta(minutes=10)
"""Who got a message so soon after it was due, got it when it was due."""
HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Ranked:
    """Where an incident stands in the prioritised list."""

    score: float
    rank: int


@dataclass(frozen=True)
class Known:
    """All that a plan follows from.

    Attributes:
        newest: the newest day judged.
        incidents: of that day.
        ranked: incident id -> place in that day's list.
        told: what was told before, what was told before :mod:`.told` kept it included.
        past: id -> last row in the record, of told incidents that are not in ``incidents``, as far as needed.
        gone: ids of told incidents that are in no day of the record any more.
        ids: every id in the record; needed only where something is gone.
        decisions: every one of the ecosystem.
        delivered: outbox key -> how far the message of what was told has come.
        posts: keys of the digests and roll-ups that there are, of these days.
        contents: outbox key -> what it says, of what is gone.
        trust: looks up sentences on how far an incident's data can be trusted; asked of what is rendered.
        pictures: incident id -> its chart; of those that are to get one, as far as drawn.
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


@dataclass(frozen=True)
class Withheld:
    """An open incident that nobody has been told of, and why, in words."""

    incident: Incident
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be done, and to be remembered, at once or not at all.

    Attributes:
        intents: for the outbox, in this order: urgent posts first, edits after all that is new.
        told: rows that are new or have changed.
        dropped: outbox key -> why what waits there must not go out any more.
        withheld: open incidents that are not told, the most important first.
        waiting: what the next digest will say, as far as it is known now.
        next_at: when there will be something to do though nothing new happens; ``None`` when there will not.
        undrawn: incidents that are to get a chart, and that have no picture in :class:`Known`.
    """

    intents: tuple[Intent, ...] = ()
    told: tuple[Told, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[Withheld, ...] = ()
    waiting: tuple[DigestLine, ...] = ()
    next_at: dt.datetime | None = None
    undrawn: tuple[Incident, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing is to be done or remembered."""
        return not (self.intents or self.told or self.dropped)


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
    return _Planner(catalog, known, now, actions, url, digest_now).plan()


def route(catalog: Catalog, incident: Incident, severity: str) -> Route:
    """Where an incident goes: the first route that fits, with its channel filled in."""
    for wanted in catalog.alerts.routes:
        asked = (
            (wanted.severities, severity),
            (wanted.units, incident.unit),
            (wanted.families, incident.family),
            (wanted.metrics, incident.metric),
        )
        if all(not values or value in values for values, value in asked):
            return wanted.model_copy(update={"channel": wanted.channel or catalog.alerts.channel})
    return Route(channel=catalog.alerts.channel)


def follower_key(ecosystem: str, key: str, what: str, version: int | str) -> str:
    """Key of the edit, reply or chart that follows a message: its key, what it is, and which one."""
    whole = f"{key}:{what}:{version}"
    return whole if len(whole) <= kit.MAX_KEY else kit.key(ecosystem, what, whole)


def content_hash(content: Content) -> str:
    text = json.dumps([content.text, content.blocks], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class _Planner:
    """One plan in the making: ``rows`` are what will be told once all intents are in the outbox."""

    def __init__(
        self, catalog: Catalog, known: Known, now: dt.datetime, actions: bool, url: str, digest_now: bool
    ) -> None:
        self.catalog, self.alerts, self.known, self.now = catalog, catalog.alerts, known, now
        self.actions, self.url, self.digest_now = actions, url, digest_now
        self.quiet = quiet_until(self.alerts, now)
        self.today = today(self.alerts, now)
        self.metrics = {metric.name for metric in catalog.metrics}
        self.incidents = {i.id: i for i in known.incidents if self._has_words(i)}
        self.scores = {id_: ranked.score for id_, ranked in known.ranked.items()}
        self.rows = {told.first_key: told for told in _renamed(known, self.incidents)}
        self.names = {alias: told.incident for told in self.rows.values() for alias in told.aliases}
        live = [told for told in self.rows.values() if told.form != "none"]
        renewals = {told.incident: told.said.renewed for told in live if told.said and told.said.renewed}
        self.standings = standings_of(known.decisions, self.names, renewals)
        self.records = records_of(known.decisions, self.names)
        self.snoozes = snoozes_of(known.decisions)
        self.own_due: dict[str, list[dt.datetime]] = defaultdict(list)
        for told in known.told:
            if told.form == "own":
                self.own_due[told.channel].append(told.due_at)
        self.posts: list[Intent] = []
        self.rollups: dict[str, list[Intent]] = defaultdict(list)  # key of the post -> what is new in its thread
        self.digests: list[Intent] = []
        self.changes: list[Intent] = []
        self.dropped: dict[str, str] = {}
        self.times: list[dt.datetime] = []
        self.undrawn: dict[str, Incident] = {}

    def plan(self) -> Plan:
        stories = [self._story(told) for told in self.rows.values() if told.form != "none"]
        retold = [story for story in stories if self._deserves_a_post(story)]
        kept = [story for story in stories if story not in retold]
        chosen, withheld = self._choose()
        at_once = [incident for incident in chosen if self._severity(incident).at_once]
        digests, waiting = self._digests([i for i in chosen if i not in at_once], kept)
        in_digest = {first_key for lines in digests.values() for _, first_key in lines}
        for story in kept:
            is_told = story.told.first_key in in_digest
            if is_told or story.told.form == "own":
                story = self._renewed(story)
            story = self._unasked(story)
            if story.is_gone:
                self._withdraw(story, is_told)
            else:
                self._keep(story, is_told)
        self._tell_at_once(at_once, retold)
        for channel, lines in digests.items():
            self._tell_digest(channel, lines)
        self._look_ahead()
        before = {told.first_key: told for told in self.known.told}
        rollups = [intent for post, thread in self.rollups.items() for intent in (self._rollup(post, thread), *thread)]
        return Plan(
            intents=(*self.posts, *rollups, *self.digests, *self.changes),
            told=tuple(told for key, told in self.rows.items() if told != before.get(key)),
            dropped=self.dropped,
            withheld=tuple(sorted(withheld, key=lambda w: self._importance(w.incident))),
            waiting=waiting,
            next_at=min((at for at in self.times if at > self.now), default=None),
            undrawn=tuple(self.undrawn.values()),
        )

    # ── What was told ────────────────────────────────────────────────────────────────────────────────────────────────

    def _story(self, told: Told) -> Story:
        row = self.incidents.get(told.incident) or self.known.past.get(told.incident)
        whole = row if row is not None and self._has_words(row) else None
        last = told.last if told.last is not None and self._has_words(told.last) else None
        incident = whole or last
        is_gone = row is None and (told.incident in self.known.gone or told.phase == "retracted")
        phase = "retracted" if is_gone else phase_of(row) if row is not None else told.phase
        severity = told.severity
        if whole is not None and ((whole.id in self.incidents and whole.is_open) or not severity):
            severity = self._severity(whole).name
        standing = self._standing(incident) if incident else self.standings.get(told.incident, Standing())
        said = told.said or Said(phase, severity)
        story = Story(told, said, incident, whole is not None, is_gone, phase, severity, standing)
        return story if told.said else replace(story, said=all_said(self.alerts, story, self.now, told.key))

    def _deserves_a_post(self, story: Story) -> bool:
        """Whether it has been a line, and is so urgent now that it is told at once."""
        urgent = story.told.form == "line" and story.is_whole and not story.is_snoozed and is_raised(self.alerts, story)
        return urgent and self.alerts.severity(story.severity).at_once

    def _keep(self, story: Story, in_digest: bool) -> None:
        """Keep its message true, and say in its thread what happened; of a line, the digest says it."""
        if self._can_be_taken_back(story.told):
            if not story.is_open:
                self._take_back(story, "It was over before anybody was told.")
                return
            snooze = story.standing.snooze
            if snooze is not None and story.incident is not None and story.incident.id in self.incidents:
                self._take_back(story, "It was snoozed before anybody was told.")
                self._hold_back(story.incident)
                self.times.append(begin_of(self.alerts, snooze.until))
                return
        is_same = story.told.finished and story.phase == story.told.phase == story.said.phase and is_judged_alike(story)
        if story.incident is None or (is_same and story.told.said):
            self._remember(story)
            return
        replies: list[News] = []
        news = by_itself(self.alerts, story)
        if story.told.form == "own":
            replies = self._replies(story, news)
            key = self._key(story.told.key, news, story.told.version + 1) if news else ""
            at = self._not_before(story.severity) or self.now
            after = people_said(story) if story.is_snoozed else all_said(self.alerts, story, at, key)
        elif in_digest:
            after = self._said_in_digest(story)
        elif news is None:
            after = snooze_said(story)
            if not story.is_snoozed:
                after = replace(after, phase=story.phase)
        else:
            after = story.said
        told = replace(story, said=after)
        if self._is_overdue(told) and not after.overdue:
            replies.append(("overdue", None))
            asked = self._key(told.told.key, "overdue", told.told.version + 1)
            told = replace(told, said=replace(after, overdue=True, asked=asked))
        self._show(told, replies)

    def _renewed(self, story: Story) -> Story:
        """What is told now may make an acknowledgement count no more; nobody took it back, so nobody is told that."""
        renewed = renewal(self.alerts, story, self.now)
        if renewed is None or story.incident is None:
            return story
        standing = self._standing(story.incident, renewed)
        lapses = standing.acknowledged != story.standing.acknowledged
        acknowledged = "" if lapses else story.said.acknowledged
        return replace(story, said=replace(story.said, renewed=renewed, acknowledged=acknowledged), standing=standing)

    def _said_in_digest(self, story: Story) -> Said:
        return all_said(self.alerts, story, self.quiet or self.now, self._digest_key(story.told.channel))

    def _unasked(self, story: Story) -> Story:
        """Nobody is asked any more for what has been done, is over, or is told anew, before the question left."""
        where = self.known.delivered.get(story.said.asked)
        if where is None or not where.is_waiting:
            return story
        if self._is_overdue(story) and not story.is_gone and not is_told_anew(self.alerts, story):
            return story
        self.dropped[story.said.asked] = "Nobody has to acknowledge it any more."
        return replace(story, said=replace(story.said, overdue=False, asked=""))

    def _replies(self, story: Story, news: Change | None) -> list[News]:
        found = by_people(story, self.known.decisions)
        if news is None:
            return found
        early = news == "snoozed" and story.said.snoozed is not None and story.said.snoozed > self.today
        return [(news, who_lifted(story, self.known.decisions) if early else None), *found]

    def _show(self, story: Story, replies: Sequence[News]) -> None:
        """Edit its message if it would be written differently now; reply; add a chart where one is due."""
        told, incident, said, intents = story.told, story.incident, story.said, list[Intent]()
        assert incident is not None
        picture = self._picture(story)
        about = self._about(story, chart=bool(told.charts or picture))
        if story.is_whole or story.is_gone:
            content = incident_content(self.catalog, incident, about)
            if content_hash(content) != told.hash:
                intents.append(self._edit(told, content))
                told = replace(told, shown=intents[0].key, hash=content_hash(content))
        for what, by in replies:
            mention = self._mention(incident, story.severity)
            content = change_content(self.catalog, incident, replace(about, mention=mention), what, by=by)
            intents.append(self._reply(story, what, content))
        if picture is not None:
            intents.append(self._upload(told, incident, picture, story.severity))
            told = replace(told, charts=told.charts + 1)
            said = replace(said, charted=incident.worsened_on)
        self.changes += intents
        self._remember(replace(story, told=replace(told, version=told.version + bool(intents)), said=said))

    def _remember(self, story: Story) -> None:
        told = replace(
            story.told, said=story.said, phase=story.phase, severity=story.severity, finished=not story.is_open
        )
        if story.is_whole and story.incident is not None:
            last, day = outline(story.incident), max(told.day, story.incident.day)
            # As text, because what is not a number does not equal itself.
            told = replace(told, day=day, last=told.last if repr(told.last) == repr(last) else last)
        self.rows[told.first_key] = told

    def _withdraw(self, story: Story, in_digest: bool) -> None:
        """The days on which it was reported were judged anew, and do not show it."""
        told = story.told
        if in_digest:
            story = replace(story, said=self._said_in_digest(story))
        elif story.is_snoozed:  # what ends meanwhile is past: nobody has to be told
            story = replace(story, said=replace(snooze_said(story), phase="retracted"))
        if told.phase == "retracted" and told.finished:
            self._remember(story)
            return
        if self._can_be_taken_back(told):
            self._take_back(story, "The days on which it was reported were judged anew, and do not show it.")
            return
        is_silent = story.is_snoozed or told.form == "line"  # a line is said in the next digest
        if not is_silent:
            story = replace(story, said=replace(story.said, phase="retracted"))
        if story.incident is not None:
            self._show(story, [] if is_silent else [("retracted", None)])
            return
        before = self.known.contents.get(told.shown, Content("", ()))
        content = withdrawn_content(before)
        edit = self._edit(told, content)
        self.changes.append(edit)
        if not is_silent:
            self.changes.append(self._reply(story, "retracted", withdrawn_content(before, reply=True)))
        told = replace(told, shown=edit.key, hash=content_hash(content), version=told.version + 1)
        self._remember(replace(story, told=told, said=replace(story.said, phase="retracted")))

    def _can_be_taken_back(self, told: Told) -> bool:
        """Whether it has a post of its own, the first that told of it, that has not left."""
        where = self.known.delivered.get(told.key)
        return told.form == "own" and told.key == told.first_key and where is not None and where.is_waiting

    def _take_back(self, story: Story, why: str) -> None:
        """Its post never leaves: nobody has been told. Its key is used up."""
        self.dropped[story.told.key] = why
        unsaid = replace(story.told, form="none", key="", post="", shown="")
        self._remember(replace(story, told=unsaid, phase="retracted"))

    # ── What is new ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _choose(self) -> tuple[list[Incident], list[Withheld]]:
        """Incidents to tell of, the most important first, and open ones that are not told, with the reason."""
        told = {name for row in self.rows.values() if row.form != "none" for name in row.names}
        held = {row.incident for row in self.rows.values() if row.form == "none" and not row.was_dropped}
        new = [i for i in self.incidents.values() if i.is_open and i.id not in told]
        snoozes = {i.id: snooze for i in new if (snooze := self._standing(i).snooze) is not None}
        everything = tuple(self.incidents.values())
        for incident in self._newsworthy(everything, told):
            if incident.id in snoozes and incident.id not in held:
                self._hold_back(incident)
        chosen = self._newsworthy([i for i in everything if i.id not in snoozes], told)
        ids = {i.id for i in chosen}
        chosen += [i for i in new if i.id in held - ids and i.id not in snoozes]  # their snooze is over
        ids |= held
        withheld = []
        for incident in new:
            if incident.id in snoozes:
                until = snoozes[incident.id].until
                self.times.append(begin_of(self.alerts, until))
                withheld.append(Withheld(incident, f"snoozed until {wording.day(until)}"))
            elif incident.id not in ids:
                why = reason(self.alerts, self.known.newest, incident, self.scores)
                withheld.append(Withheld(incident, why))
        return sorted(chosen, key=self._importance), withheld

    def _newsworthy(self, incidents: Sequence[Incident], told: set[str]) -> list[Incident]:
        return newsworthy(self.alerts, self.known.newest, incidents, self.scores, told)

    def _hold_back(self, incident: Incident) -> None:
        """Remember that it would have been told, to tell it when it is not snoozed any more."""
        severity = self._severity(incident).name
        told = replace(
            self._row_of(incident), channel=self._channel(incident, severity), severity=severity, last=outline(incident)
        )
        self.rows[told.first_key] = replace(told, said=Said("open", severity))

    def _row_of(self, incident: Incident) -> Told:
        """The row of an incident that was not told before."""
        for row in self.rows.values():
            if row.incident == incident.id and row.form == "none" and not row.was_dropped:
                return row
        return Told(self._fresh_key(incident), incident.id, "", incident.day, self.now, self.now)

    def _fresh_key(self, incident: Incident) -> str:
        """A key for its full message: one is never used twice."""
        used = {key for row in self.rows.values() for key in (row.first_key, row.key)}
        number, phase = 1, OPEN[1:]
        while (key := incident_key(self.catalog.name, incident.id, phase)) in used:
            number += 1
            phase = f"{OPEN[1:]}:{number}"
        return key

    def _tell_at_once(self, new: Sequence[Incident], retold: Sequence[Story]) -> None:
        """Posts of their own, as many as a channel takes in an hour; for the rest a line of the hour's roll-up."""
        raised = {story.incident.id: story for story in retold if story.incident is not None}
        incidents = [*new, *(story.incident for story in retold if story.incident is not None)]
        for incident in sorted(incidents, key=self._importance):
            severity = self._severity(incident).name
            channel, due = self._channel(incident, severity), self._not_before(severity) or self.now
            story = raised.get(incident.id)
            row = story.told if story else self._row_of(incident)
            key = self._fresh_key(incident) if story else row.first_key
            if not self._is_crowded(channel, due):
                self.own_due[channel].append(due)
                self.posts += self._tell(row, incident, key, key, channel, due)
            else:
                post = kit.key(self.catalog.name, ROLLUP, channel, f"{due:%Y-%m-%dT%H}")
                self.rollups[post] += self._tell(row, incident, key, post, channel, due)
            if story is not None:
                self._unasked(story)
                self.changes.append(self._edit(story.told, moved_content(self.catalog, incident, severity)))

    def _is_crowded(self, channel: str, due: dt.datetime) -> bool:
        """Whether the channel has had its posts of this hour: of the clock's, and of the sixty minutes before."""
        near = [at for at in self.own_due[channel] if _hour(at) == _hour(due) or due - HOUR < at <= due]
        return len(near) >= self.alerts.per_hour

    def _rollup(self, post: str, thread: Sequence[Intent]) -> Intent:
        """The roll-up of an hour, or what is made of it when more is added."""
        lines = []
        for row in self.rows.values():
            story = self._story(row)
            if row.post == post and story.incident is not None:
                lines.append(DigestLine(story.incident, self._about(story), "new"))
        content = rollup_content(self.catalog, sorted(lines, key=self._urgency), links=self._links(self.known.newest))
        channel = thread[0].channel
        if post in self.known.posts:
            key = self._key(post, "edit", f"{len(lines)}-{content_hash(content)[:8]}")
            return Intent(key, channel, "edit", post, content.text, content.blocks)
        held = [intent.not_before for intent in thread if intent.not_before is not None]
        not_before = min(held) if len(held) == len(thread) else None
        return Intent(post, channel, text=content.text, blocks=content.blocks, not_before=not_before)

    def _tell(self, row: Told, incident: Incident, key: str, post: str, channel: str, due: dt.datetime) -> list[Intent]:
        """Its full message, a post or a reply in the thread of ``post``, and its chart."""
        severity = self._severity(incident).name
        told = replace(
            row,
            form="own" if key == post else "line",
            incident=incident.id, channel=channel, key=key, post=post, shown=key, day=incident.day, told_at=self.now,
            due_at=due, charts=0,
        )  # fmt: skip
        renewed = Renewal(self.now, "raised") if row.form == "line" else None
        standing = self._standing(incident, renewed)
        first = Story(told, Said("open", severity, renewed=renewed), incident, True, False, "open", severity, standing)
        story = replace(first, said=all_said(self.alerts, first, self.now, key))
        picture = self._picture(story)
        content = incident_content(self.catalog, incident, self._about(story, chart=picture is not None))
        not_before = due if due > self.now else None
        intents = [
            Intent(key, channel, "post", "", content.text, content.blocks, not_before=not_before)
            if key == post
            else Intent(key, channel, "reply", post, content.text, content.blocks, not_before=not_before)
        ]
        if picture is not None:
            intents.append(self._upload(told, incident, picture, severity, not_before))
            story = replace(story, said=replace(story.said, charted=incident.worsened_on))
        told = replace(told, hash=content_hash(content), charts=len(intents) - 1)
        self._remember(replace(story, told=told))
        return intents

    # ── The digest ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _digests(
        self, new: Sequence[Incident], stories: Sequence[Story]
    ) -> tuple[dict[str, list[tuple[DigestLine, str]]], tuple[DigestLine, ...]]:
        """The lines of every channel whose digest is due, with ``first_key`` of those told before; and what waits."""
        channels: dict[str, list[tuple[DigestLine, str]]] = defaultdict(list)
        reasons = set()
        for incident in new:
            severity = self._severity(incident).name
            channel = self._channel(incident, severity)
            about = self._about_of(incident, severity, self._standing(incident))
            channels[channel].append((DigestLine(incident, about, "new"), ""))
            reasons.add(channel)
        for story in stories:
            if story.told.form != "line" or story.incident is None or story.is_snoozed:
                continue
            news, people = by_itself(self.alerts, story), by_people(story, self.known.decisions)
            if news is not None or people:
                line = DigestLine(story.incident, self._about(story), news or people[0][0])
                channels[story.told.channel].append((line, story.told.first_key))
            if news is not None:
                reasons.add(story.told.channel)
        due: dict[str, list[tuple[DigestLine, str]]] = {}
        waiting: list[DigestLine] = []
        for channel in sorted(reasons):
            lines = sorted(channels[channel], key=lambda found: self._urgency(found[0]))
            at = digest_at(self.alerts, self.today)
            if self._digest_key(channel) in self.known.posts:
                at = digest_at(self.alerts, self.today + dt.timedelta(days=1))
            if at <= self.now or (self.digest_now and at == digest_at(self.alerts, self.today)):
                due[channel] = lines
            else:
                self.times.append(at)
                waiting += [line for line, _ in lines]
        return due, tuple(waiting)

    def _digest_key(self, channel: str) -> str:
        return kit.key(self.catalog.name, DIGEST, channel, self.today.isoformat())

    def _tell_digest(self, channel: str, lines: Sequence[tuple[DigestLine, str]]) -> None:
        open_ = [i for i in self.incidents.values() if i.is_open]
        here = [i for i in open_ if self._channel(i, self._severity(i).name) == channel]
        content = digest_content(
            self.catalog,
            self.today,
            [line for line, _ in lines],
            snoozed=sum(self._standing(i).snooze is not None for i in here),
            open_count=len(here),
            links=self._links(self.known.newest),
        )
        key = self._digest_key(channel)
        self.digests.append(Intent(key, channel, text=content.text, blocks=content.blocks, not_before=self.quiet))
        for line, first_key in lines:
            if not first_key:
                row = self._row_of(line.incident)
                self.digests += self._tell(row, line.incident, row.first_key, key, channel, self.quiet or self.now)

    # ── What is due when ─────────────────────────────────────────────────────────────────────────────────────────────

    def _look_ahead(self) -> None:
        intents = (*self.posts, *self.digests, *self.changes, *(i for thread in self.rollups.values() for i in thread))
        self.times += [intent.not_before for intent in intents if intent.not_before is not None]
        for told in self.rows.values():
            if told.form == "none" or told.finished:
                continue
            self.times.append(told.due_at)
            story = self._story(told)
            if story.standing.snooze is not None:
                self.times.append(begin_of(self.alerts, story.standing.snooze.until))
            due = self._acknowledge_by(story)
            if due is not None:
                self.times.append(due)

    def _where(self, story: Story) -> Delivered | None:
        """How far what people have to acknowledge has come: its message, or what told of it anew."""
        return self.known.delivered.get(story.said.since_key or story.told.key)

    def _told_at(self, story: Story) -> dt.datetime:
        """When people could know: its time to be acknowledged begins."""
        where = self._where(story)
        begins = story.said.since or story.told.due_at
        late = where is not None and where.sent_at is not None and where.sent_at - begins > PROMPT
        return where.sent_at if where is not None and where.sent_at is not None and late else begins

    def _acknowledge_by(self, story: Story) -> dt.datetime | None:
        """When its time to be acknowledged is over; ``None`` when nobody has to acknowledge it any more."""
        within = {s.name: s.acknowledge_within_minutes for s in self.alerts.severities}.get(story.severity)
        if not story.is_open or within is None or story.is_snoozed:
            return None
        if story.standing.is_taken_care_of(story.said.renewed):
            return None
        return self._told_at(story) + dt.timedelta(minutes=within)

    def _is_overdue(self, story: Story) -> bool:
        """Nobody can have acknowledged in time what Slack did not have."""
        due, where = self._acknowledge_by(story), self._where(story)
        return due is not None and due <= self.now and where is not None and where.sent_at is not None

    def _not_before(self, severity: str) -> dt.datetime | None:
        return None if severity in self.alerts.critical else self.quiet

    # ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _about(self, story: Story, *, chart: bool | None = None) -> About:
        assert story.incident is not None
        is_own = story.told.form == "own"
        return replace(
            self._about_of(story.incident, story.severity, story.standing),
            told_at=self._told_at(story),
            overdue=self._is_overdue(story),
            mention=self._mention(story.incident, story.severity) if is_own else (),
            notice=RETRACTED if story.is_gone else "",
            chart=bool(story.told.charts) if chart is None else chart,
        )

    def _about_of(self, incident: Incident, severity: str, standing: Standing) -> About:
        ranked = self.known.ranked.get(incident.id) if incident.day == self.known.newest else None
        return About(
            severity,
            ranked.score if ranked else None,
            ranked.rank if ranked else None,
            standing,
            self.records.get(silenced_as(self.catalog, incident)[0]),
            trust=self.known.trust(incident),
            links=self._links(incident.day),
            actions=self.actions,
        )

    def _links(self, day: dt.date) -> dict[str, str]:
        if not self.url:
            return {}
        return {"Open in Dagster": f"{self.url}/assets/{self.catalog.name}/incidents?partition={day.isoformat()}"}

    def _mention(self, incident: Incident, severity: str) -> tuple[str, ...]:
        """Slack IDs, each once."""
        owner = self.catalog.metric(incident.metric).owner if incident.kind == "shift" else ""
        named = [
            self.alerts.owners.get(owner) if whom == OWNER else whom
            for whom in route(self.catalog, incident, severity).mention
        ]
        return tuple(dict.fromkeys(person for person in named if person is not None))

    def _edit(self, told: Told, content: Content) -> Intent:
        key = self._key(told.key, "edit", told.version + 1)
        return Intent(key, told.channel, "edit", told.key, content.text, content.blocks)

    def _reply(self, story: Story, what: str, content: Content) -> Intent:
        told, not_before = story.told, self._not_before(story.severity)
        key = self._key(told.key, what, told.version + 1)
        return Intent(key, told.channel, "reply", told.post, content.text, content.blocks, not_before=not_before)

    def _upload(
        self,
        told: Told,
        incident: Incident,
        picture: Picture,
        severity: str,
        not_before: dt.datetime | None = None,
    ) -> Intent:
        """Its chart; in a thread about many it says of what."""
        return Intent(
            self._key(told.key, CHART, told.charts + 1),
            told.channel,
            "upload",
            told.post,
            text="" if told.form == "own" else kit.escape(wording.title(self.catalog, incident), 300),
            file=picture.png,
            filename=picture.filename,
            alt=picture.alt,
            not_before=not_before or self._not_before(severity),
        )

    def _picture(self, story: Story) -> Picture | None:
        """A chart is drawn when an incident is told, and again when it has worsened."""
        if not story.is_open or not story.is_whole or story.is_snoozed or story.incident is None:
            return None
        if story.incident.kind == "data":  # it has no series
            return None
        if story.told.charts and not has_worsened(story, story.said.charted):
            return None
        picture = self.known.pictures.get(story.incident.id)
        if picture is None:
            self.undrawn[story.incident.id] = story.incident
        return picture

    def _key(self, key: str, what: str, version: int | str) -> str:
        return follower_key(self.catalog.name, key, what, version)

    # ── Facts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _has_words(self, incident: Incident) -> bool:
        """Whether its metric is declared, so that it can be named."""
        return incident.kind == "data" or incident.metric in self.metrics

    def _severity(self, incident: Incident) -> Severity:
        if incident.kind == "data":
            return self.alerts.severity({str(k): v for k, v in self.alerts.holes.items()}[incident.shape])
        return self.alerts.by_score(self.scores.get(incident.id))

    def _channel(self, incident: Incident, severity: str) -> str:
        return route(self.catalog, incident, severity).channel or self.alerts.channel

    def _standing(self, incident: Incident, renewed: Renewal | None = None) -> Standing:
        """Where it stands; ``renewed`` makes it one to be acknowledged anew."""
        snooze = silence(self.snoozes, *silenced_as(self.catalog, incident), self.today)
        standings = self.standings
        if renewed is not None:
            own = [d for d in self.known.decisions if self.names.get(d.incident, d.incident) == incident.id]
            standings = standings_of(own, self.names, {incident.id: renewed})
        return replace(standings.get(incident.id, Standing()), snooze=snooze)

    def _importance(self, incident: Incident) -> tuple[int, float, str]:
        """The most urgent first, then the highest score; what has none comes before."""
        score = float("inf") if incident.kind == "data" else self.scores.get(incident.id, 0.0)
        return place(self.alerts, self._severity(incident).name), -score, incident.id

    def _urgency(self, line: DigestLine) -> tuple[int, float, str]:
        """As it was last told, for what is over has no score."""
        return place(self.alerts, line.about.severity), *self._importance(line.incident)[1:]


def moved_content(catalog: Catalog, incident: Incident, severity: str) -> Content:
    """What is left of a message in a thread about many when its incident is told anew."""
    title = wording.title(catalog, incident)
    words = f"Now {severity}, and told anew in the channel."
    return Content(kit.escape(f"{title}. {words}", 2_000), (kit.section(f"{title}\n{words}", 600),))


def _renamed(known: Known, newest: Mapping[str, Incident]) -> list[Told]:
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


def _hour(at: dt.datetime) -> dt.datetime:
    return at.replace(minute=0, second=0, microsecond=0)
