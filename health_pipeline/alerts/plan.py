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
from health_pipeline.alerts.told import Before, Delivered, Said, Told, outline
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
LATE = dt.timedelta(hours=3)
"""A digest that leaves so long after its hour is not called one of the morning."""


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
        delivered: outbox key -> how far the message of what was told has come, and each of ``posts``.
        posts: keys of the digests and roll-ups that there are, of these days.
        contents: outbox key -> what it says, of what is gone, and of digests and roll-ups that wait.
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
        rewritten: outbox key -> what the post that waits there is to say instead.
        withheld: open incidents that are not told, the most important first.
        waiting: what the next digest will say, as far as it is known now.
        next_at: when there will be something to do though nothing new happens; ``None`` when there will not.
        undrawn: incidents that are to get a chart, and that have no picture in :class:`Known`.
    """

    intents: tuple[Intent, ...] = ()
    told: tuple[Told, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    rewritten: Mapping[str, Content] = field(default_factory=dict)
    withheld: tuple[Withheld, ...] = ()
    waiting: tuple[DigestLine, ...] = ()
    next_at: dt.datetime | None = None
    undrawn: tuple[Incident, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing is to be done or remembered."""
        return not (self.intents or self.told or self.dropped or self.rewritten)


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


def chart_key(ecosystem: str, told: Told, number: int) -> str:
    return follower_key(ecosystem, told.key, CHART, number)


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
        self.emptied: dict[str, str] = {}  # posts about many that have nothing to tell any more
        self.rewritten: dict[str, Content] = {}
        self.struck: dict[str, str] = {}  # key of a post about many that lost a line -> its channel
        self.times: list[dt.datetime] = []
        self.undrawn: dict[str, Incident] = {}

    def plan(self) -> Plan:
        stories = [self._reverted(self._story(told)) for told in self.rows.values() if told.form != "none"]
        retold = [story for story in stories if self._deserves_a_post(story)]
        kept = [story for story in stories if story not in retold]
        said_in = self._rewrite_digests(stories, kept)
        chosen, withheld = self._choose()
        at_once = [incident for incident in chosen if self._severity(incident).at_once]
        settled = [story for story in kept if self._waits_in(story) or self._is_waiting(story.told.post)]
        digests, waiting = self._digests([i for i in chosen if i not in at_once], [s for s in kept if s not in settled])
        for channel, lines in digests.items():
            said_in |= {key: (self._digest_key(channel), line.what) for line, key in lines}
        for story in kept:
            self._go_on(self._unasked(story), said_in.get(story.told.first_key))
        self._tell_at_once(at_once, retold)
        for channel, lines in digests.items():
            self._tell_digest(channel, lines)
        rollups = self._rollups()
        self._edit_digests()
        self._look_ahead()
        before = {told.first_key: told for told in self.known.told}
        return Plan(
            intents=(*self.posts, *rollups, *self.digests, *self.changes),
            told=tuple(told for key, told in self.rows.items() if told != before.get(key)),
            dropped=self.dropped | self.emptied,
            rewritten=self.rewritten,
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
        if told.said is None:
            return replace(story, said=all_said(self.alerts, story, self.now, told.key))
        return self._unsaid(story) if self._waits_in(story) else story

    def _waits_in(self, story: Story) -> str:
        """Key of a digest that has a line of what happened to it, and has not left; empty for none."""
        before = story.told.said.before if story.told.said else None
        return before.post if before is not None and not before.key and self._is_waiting(before.post) else ""

    def _unsaid(self, story: Story) -> Story:
        """As it was before what has not left."""
        before = story.told.said.before if story.told.said else None
        if before is None:
            return story
        standing = story.standing
        if story.incident is not None and before.said.renewed != (story.told.said or before.said).renewed:
            standing = self._standing_since(story.incident, before.said.renewed)
        return replace(story, said=before.said, standing=standing)

    def _reverted(self, story: Story) -> Story:
        """A line that got a new message goes on as the line it was, when that must not leave."""
        told, before = story.told, story.said.before
        why = self._why_not_leave(story)
        if before is None or not before.key or not why or not self._is_waiting(told.key):
            return story
        self._drop_message(told, why)
        told = replace(
            told, form="line", key=before.key, post=before.thread, shown=before.key, channel=before.channel,
            charts=before.charts, hash="", version=told.version + 1,
        )  # fmt: skip
        said = replace(before.said, spent=_spent(story))
        return replace(self._unsaid(story), told=replace(told, said=said), said=said)

    def _deserves_a_post(self, story: Story) -> bool:
        """Whether it has been a line, and is so urgent now that it is told at once."""
        urgent = story.told.form == "line" and story.is_whole and not story.is_snoozed and is_raised(self.alerts, story)
        return urgent and self.alerts.severity(story.severity).at_once

    def _go_on(self, story: Story, line: tuple[str, Change] | None) -> None:
        """What becomes of what was told; ``line``: key of the digest that has a line of it, and what that says."""
        why = self._why_not_leave(story)
        if why and self._is_waiting(story.told.key):
            self._take_back(story, why)
            snooze = story.standing.snooze
            if story.is_open and story.incident is not None and snooze is not None:
                self._hold_back(story.incident)
                self.times.append(begin_of(self.alerts, snooze.until))
        elif story.is_gone:
            self._withdraw(story, line)
        else:
            self._keep(story, line)

    def _keep(self, story: Story, line: tuple[str, Change] | None) -> None:
        """Keep its message true, and say in its thread what happened; of a line, the digest says it."""
        is_same = story.told.finished and story.phase == story.told.phase == story.said.phase and is_judged_alike(story)
        if story.incident is None or (is_same and story.told.said):
            self._remember(story)
            return
        replies: list[News] = []
        if story.told.form == "own":
            story = self._renewed(story, self.now)
            news = by_itself(self.alerts, story)
            replies = self._replies(story, news)
            key = self._key(story.told.key, news, story.told.version + 1) if news else ""
            at = self._not_before(story.severity) or self.now
            after = people_said(story) if story.is_snoozed else all_said(self.alerts, story, at, key)
        elif self._is_waiting(story.told.post):
            after = self._said_first(story)
        elif line is not None:
            story = self._said_in(story, *line)
            after = story.said
        elif by_itself(self.alerts, story) is None:
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

    def _renewed(self, story: Story, at: dt.datetime) -> Story:
        """What is told now may make an acknowledgement count no more; nobody took it back, so nobody is told that."""
        renewed = renewal(self.alerts, story, at)
        if renewed is None or story.incident is None:
            return story
        standing = self._standing_since(story.incident, renewed)
        lapses = standing.acknowledged != story.standing.acknowledged
        acknowledged = "" if lapses else story.said.acknowledged
        return replace(story, said=replace(story.said, renewed=renewed, acknowledged=acknowledged), standing=standing)

    def _said_first(self, story: Story) -> Said:
        """A line whose post has not left tells of it as it is when that leaves."""
        said = story.said
        first = replace(Said("open", story.severity), charted=said.charted, renewed=said.renewed, before=said.before,
                        spent=said.spent)  # fmt: skip
        return all_said(self.alerts, replace(story, said=first), self.now, story.told.key)

    def _said_in(self, story: Story, digest: str, what: Change) -> Story:
        """As when a digest has said it. One that waits has said it since it was queued."""
        said = replace(story.said, before=None)
        before = story.told.said.before if story.told.said else None
        at, due = (before.at, before.due) if before and before.post == digest else (self.now, self.quiet or self.now)
        story = self._renewed(story, at)
        return replace(
            story,
            said=replace(all_said(self.alerts, story, due, digest), before=Before(said, digest, what, at, due)),
        )

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

    def _withdraw(self, story: Story, line: tuple[str, Change] | None) -> None:
        """The days on which it was reported were judged anew, and do not show it."""
        told = story.told
        if line is not None:
            story = self._said_in(story, *line)
        elif story.is_snoozed:  # what ends meanwhile is past: nobody has to be told
            story = replace(story, said=replace(snooze_said(story), phase="retracted"))
        if told.phase == "retracted" and told.finished:
            self._remember(story)
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

    def _is_waiting(self, key: str) -> bool:
        """Whether Slack certainly does not have it, and it can be taken back."""
        where = self.known.delivered.get(key)
        return where is not None and where.is_waiting

    def _why_not_leave(self, story: Story) -> str:
        """Why what tells of it must not leave any more; empty when it may."""
        if story.is_gone:
            return "The days on which it was reported were judged anew, and do not show it."
        if not story.is_open:
            return "It was over before anybody was told."
        here = story.incident is not None and story.incident.id in self.incidents
        return "It was snoozed before anybody was told." if story.is_snoozed and here else ""

    def _take_back(self, story: Story, why: str) -> None:
        """Its message never leaves, nor its line: nobody has been told. Its key is used up."""
        self._drop_message(story.told, why)
        unsaid = replace(story.told, form="none", key="", post="", shown="")
        self._remember(replace(story, told=unsaid, phase="retracted", said=replace(story.said, spent=_spent(story))))

    def _drop_message(self, told: Told, why: str) -> None:
        self.dropped[told.key] = why
        if told.form == "own":  # its charts follow it
            return
        charts = [chart_key(self.catalog.name, told, number) for number in range(1, told.charts + 1)]
        self.dropped |= {chart: why for chart in charts if self._is_waiting(chart)}
        self.struck[told.post] = told.channel

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
        used |= {key for row in self.rows.values() if row.said for key in row.said.spent}
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
            before, spent = self._retell(story, key, due) if story else (None, ())
            if not self._is_crowded(channel, due):
                self.own_due[channel].append(due)
                self.posts += self._tell(row, incident, key, key, channel, due, before, spent)
            else:
                post = self._unused(kit.key(self.catalog.name, ROLLUP, channel, f"{due:%Y-%m-%dT%H}"))
                self.rollups[post] += self._tell(row, incident, key, post, channel, due, before, spent)

    def _retell(self, story: Story, key: str, due: dt.datetime) -> tuple[Before | None, tuple[str, ...]]:
        """Let the message of a line that is told anew point there, or take it back when it has not left itself.

        Returns:
            how the line was, if it had left, and the keys of messages that were taken back.
        """
        told, before = story.told, story.said.before
        self._unasked(story)
        if self._is_waiting(told.key):
            self._drop_message(told, f"It is {story.severity} by now, and told by itself.")
            return (replace(before, post=key) if before is not None and before.key else None), _spent(story)
        assert story.incident is not None
        moved = self._edit(told, moved_content(self.catalog, story.incident, story.severity))
        self.changes.append(replace(moved, not_before=due if due > self.now else None))
        said = replace(story.said, before=None)
        was = Before(said, key, "raised", self.now, due, told.key, told.post, told.channel, told.charts)
        return was, said.spent

    def _is_crowded(self, channel: str, due: dt.datetime) -> bool:
        """Whether the channel has had its posts of this hour: of the clock's, and of the sixty minutes before."""
        near = [at for at in self.own_due[channel] if _hour(at) == _hour(due) or due - HOUR < at <= due]
        return len(near) >= self.alerts.per_hour

    def _rollups(self) -> list[Intent]:
        """The roll-ups that are new, with their threads; what others say by now of which a line was added or struck."""
        made: list[Intent] = []
        there = {post for post in self.known.posts if post.startswith(f"{self.catalog.name}:{ROLLUP}:")}
        for post in (*self.rollups, *sorted(there - self.rollups.keys())):
            thread = self.rollups.get(post, [])
            if post not in there:
                made += [self._rollup(post, thread), *thread]
                continue
            lines = self._lines_of(post)
            if self._is_waiting(post) and not lines and post in self.struck:
                self.emptied[post] = "Nothing is left to tell."
            elif self._is_waiting(post) or thread or post in self.struck:
                channel = thread[0].channel if thread else self.struck.get(post, "")
                made += self._says_now(post, channel, self._rollup_content(lines), len(lines))
            made += thread
        return made

    def _lines_of(self, post: str) -> list[DigestLine]:
        stories = [self._story(row) for row in self.rows.values() if row.post == post]
        return [
            DigestLine(story.incident, self._about(story), "new") for story in stories if story.incident is not None
        ]

    def _rollup_content(self, lines: Sequence[DigestLine]) -> Content:
        return rollup_content(self.catalog, sorted(lines, key=self._urgency), links=self._links(self.known.newest))

    def _rollup(self, post: str, thread: Sequence[Intent]) -> Intent:
        held = [intent.not_before for intent in thread if intent.not_before is not None]
        not_before = min(held) if len(held) == len(thread) else None
        content = self._rollup_content(self._lines_of(post))
        return Intent(post, thread[0].channel, text=content.text, blocks=content.blocks, not_before=not_before)

    def _says_now(self, post: str, channel: str, content: Content, lines: int) -> list[Intent]:
        """Let a post about many say something else: before it leaves, or by an edit."""
        if self._is_waiting(post):
            before = self.known.contents.get(post)
            if before is None or content_hash(before) != content_hash(content):
                self.rewritten[post] = content
            return []
        # Lines are struck and added: each edit has another number of one or the other.
        struck = sum(row.was_dropped for row in self.rows.values())
        key = self._key(post, "edit", f"{struck}-{lines}-{content_hash(content)[:8]}")
        return [Intent(key, channel, "edit", post, content.text, content.blocks)]

    def _tell(
        self,
        row: Told,
        incident: Incident,
        key: str,
        post: str,
        channel: str,
        due: dt.datetime,
        before: Before | None = None,
        spent: tuple[str, ...] = (),
    ) -> list[Intent]:
        """Its full message, a post or a reply in the thread of ``post``, and its chart.

        Args:
            before: how it was, of what was told before.
            spent: keys of its messages that were taken back.
        """
        severity = self._severity(incident).name
        told = replace(
            row,
            form="own" if key == post else "line",
            incident=incident.id, channel=channel, key=key, post=post, shown=key, day=incident.day, told_at=self.now,
            due_at=due, charts=0,
        )  # fmt: skip
        renewed = Renewal(self.now, "raised") if before is not None else None
        standing = self._standing_since(incident, renewed)
        said = Said("open", severity, renewed=renewed, before=before, spent=spent)
        first = Story(told, said, incident, True, False, "open", severity, standing)
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
            line, is_reason = self._line(story)
            if line is not None:
                channels[story.told.channel].append((line, story.told.first_key))
            if is_reason:
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

    def _line(self, story: Story) -> tuple[DigestLine | None, bool]:
        """The line of a digest that says what happened to it, if anything did, and whether that is a reason for one."""
        if story.told.form != "line" or story.incident is None or story.is_snoozed:
            return None, False
        news, people = by_itself(self.alerts, story), by_people(story, self.known.decisions)
        if news is None and not people:
            return None, False
        return DigestLine(story.incident, self._about(story), news or people[0][0]), news is not None

    def _digest_key(self, channel: str) -> str:
        return self._unused(kit.key(self.catalog.name, DIGEST, channel, self.today.isoformat()))

    def _unused(self, key: str) -> str:
        """The key of a post about many, or another one where that post has been dropped."""
        number, found = 1, key
        while found in self.emptied or self._is_superseded(found):
            number += 1
            found = f"{key}:{number}"
        return found

    def _is_superseded(self, key: str) -> bool:
        where = self.known.delivered.get(key)
        return key in self.known.posts and where is not None and where.state == "superseded"

    def _rewrite_digests(self, stories: Sequence[Story], kept: Sequence[Story]) -> dict[str, tuple[str, Change]]:
        """Let digests that have not left say what is so by now, or nothing.

        Returns:
            ``first_key`` of what was told -> key of the digest that has a line of it, and what that says.
        """
        found: dict[str, tuple[str, Change]] = {}
        for post in sorted(self.known.posts):
            here = [s for s in stories if post in (s.told.post, self._waits_in(s))]
            if not here or not self._is_waiting(post) or not post.startswith(f"{self.catalog.name}:{DIGEST}:"):
                continue
            lines: list[DigestLine] = []
            is_wanted = False
            for story in kept:
                line, is_reason = None, False
                if story.told.post == post and story.incident is not None and not self._why_not_leave(story):
                    line, is_reason = DigestLine(story.incident, self._about(story), "new"), True
                elif self._waits_in(story) == post:
                    line, is_reason = self._line(story)
                if line is not None:
                    lines.append(line)
                    found[story.told.first_key] = (post, line.what)
                is_wanted |= is_reason
            if is_wanted:
                channel, day = here[0].told.channel, self._day_of(post, here)
                self.times.append(digest_at(self.alerts, day) + LATE)
                content = self._digest_content(day, channel, lines)
                self._says_now(post, channel, content, len(lines))
            else:
                self.emptied[post] = "Nothing is left to tell."
                found = {key: line for key, line in found.items() if line[0] != post}
        return found

    def _day_of(self, digest: str, stories: Iterable[Story]) -> dt.date:
        """The morning of a digest: when what it tells was queued."""
        begun = [
            story.told.told_at
            if story.told.post == digest or story.told.said is None or story.told.said.before is None
            else story.told.said.before.at
            for story in stories
        ]
        return today(self.alerts, min(begun))

    def _edit_digests(self) -> None:
        """Strike a line of today's digest that has left, when its message has not and must not."""
        for post, channel in self.struck.items():
            if post not in self.known.posts or post != self._digest_key(channel) or self._is_waiting(post):
                continue
            lines = []
            for row in self.rows.values():
                story, before = self._story(row), row.said.before if row.said else None
                if story.incident is not None and row.form != "none" and row.post == post:
                    lines.append(DigestLine(story.incident, self._about(story), "new"))
                elif story.incident is not None and before is not None and not before.key and before.post == post:
                    lines.append(DigestLine(story.incident, self._about(story), before.what))
            content = self._digest_content(self.today, channel, lines)
            self.changes += self._says_now(post, channel, content, len(lines))

    def _digest_content(self, day: dt.date, channel: str, lines: Sequence[DigestLine]) -> Content:
        open_ = [i for i in self.incidents.values() if i.is_open]
        here = [i for i in open_ if self._channel(i, self._severity(i).name) == channel]
        return digest_content(
            self.catalog,
            day,
            sorted(lines, key=self._urgency),
            snoozed=sum(self._standing(i).snooze is not None for i in here),
            open_count=len(here),
            is_late=max(self.now, self.quiet or self.now) >= digest_at(self.alerts, day) + LATE,
            links=self._links(self.known.newest),
        )

    def _tell_digest(self, channel: str, lines: Sequence[tuple[DigestLine, str]]) -> None:
        content = self._digest_content(self.today, channel, [line for line, _ in lines])
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
            chart_key(self.catalog.name, told, told.charts + 1),
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

    def _standing(self, incident: Incident) -> Standing:
        return self._with_snooze(incident, self.standings)

    def _standing_since(self, incident: Incident, renewed: Renewal | None) -> Standing:
        """Where it stands, when ``renewed`` made it one to be acknowledged anew, or nothing did."""
        own = [d for d in self.known.decisions if self.names.get(d.incident, d.incident) == incident.id]
        return self._with_snooze(incident, standings_of(own, self.names, {incident.id: renewed} if renewed else {}))

    def _with_snooze(self, incident: Incident, standings: Mapping[str, Standing]) -> Standing:
        snooze = silence(self.snoozes, *silenced_as(self.catalog, incident), self.today)
        return replace(standings.get(incident.id, Standing()), snooze=snooze)

    def _importance(self, incident: Incident) -> tuple[int, float, str]:
        """The most urgent first, then the highest score; what has none comes before."""
        score = float("inf") if incident.kind == "data" else self.scores.get(incident.id, 0.0)
        return place(self.alerts, self._severity(incident).name), -score, incident.id

    def _urgency(self, line: DigestLine) -> tuple[int, float, str]:
        """As it was last told, for what is over has no score."""
        return place(self.alerts, line.about.severity), *self._importance(line.incident)[1:]


def _spent(story: Story) -> tuple[str, ...]:
    """Keys of its messages that were taken back, with that of the present one."""
    return (*story.said.spent, story.told.key)


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
