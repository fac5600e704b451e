"""How every incident stands at an instant: with people, in the record, in Slack. Only looks, and changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

from health_pipeline.alerts.delivery.backlog import Delivered
from health_pipeline.alerts.messages.digest import DigestLine
from health_pipeline.alerts.messages.incident import RETRACTED, About
from health_pipeline.alerts.people.decisions import records_of, snoozes_of, standings_of
from health_pipeline.alerts.people.standing import Renewal, Standing, silence, silenced_as
from health_pipeline.alerts.people.told import BeforeLine, Said, Told
from health_pipeline.alerts.planning.hours import quiet_until, today
from health_pipeline.alerts.planning.known import Known
from health_pipeline.alerts.planning.news import Story, all_said, phase_of, place
from health_pipeline.alerts.planning.renamed import renamed
from health_pipeline.catalog.alerts import OWNER, Route, Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident

PROMPT = dt.timedelta(minutes=10)
"""Who got a message so soon after it was due, got it when it was due."""


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


class Situation:
    """What is known, looked at from an instant.

    Attributes:
        told: ``first_key`` -> what was told, under the name that its incident has now.
        quiet: when the quiet hours under way end; ``None`` outside of them.
        incidents: of the newest day, those that can be named.
    """

    def __init__(self, catalog: Catalog, known: Known, now: dt.datetime, actions: bool, url: str) -> None:
        self.catalog, self.alerts, self.known, self.now = catalog, catalog.alerts, known, now
        self.actions, self.url = actions, url
        self.quiet = quiet_until(self.alerts, now)
        self.today = today(self.alerts, now)
        self.metrics = {metric.name for metric in catalog.metrics}
        self.incidents = {i.id: i for i in known.incidents if self.has_words(i)}
        self.scores = {id_: ranked.score for id_, ranked in known.ranked.items()}
        self.told = {told.first_key: told for told in renamed(known, self.incidents)}
        self.names = {alias: told.incident for told in self.told.values() for alias in told.aliases}
        live = [told for told in self.told.values() if told.form != "none"]
        renewals = {told.incident: told.said.renewed for told in live if told.said and told.said.renewed}
        self.standings = standings_of(known.decisions, self.names, renewals)
        self.records = records_of(known.decisions, self.names)
        self.snoozes = snoozes_of(known.decisions)

    def story(self, told: Told) -> Story:
        """What was told as it is now; what a digest says that has not left is not said yet."""
        row = self.incidents.get(told.incident) or self.known.past.get(told.incident)
        whole = row if row is not None and self.has_words(row) else None
        # Under the name that it has now: what people decided stands there.
        last = replace(told.last, id=told.incident) if told.last is not None and self.has_words(told.last) else None
        incident = whole or last
        is_gone = row is None and (told.incident in self.known.gone or told.phase == "retracted")
        phase = "retracted" if is_gone else phase_of(row) if row is not None else told.phase
        severity = told.severity
        if whole is not None and (self.is_ranked(whole) or not severity):
            severity = self.severity(whole).name
        standing = self.standing(incident) if incident else self.standings.get(told.incident, Standing())
        said = told.said or Said(phase, severity)
        story = Story(told, said, incident, whole is not None, is_gone, phase, severity, standing, told.before)
        if told.said is None:
            return replace(story, said=all_said(self.alerts, story, self.now, told.key))
        return self.unsaid(story) if self.waits_in(story) else story

    def unsaid(self, story: Story) -> Story:
        """As it was before what has not left."""
        before = story.told.before
        if before is None:
            return story
        standing = story.standing
        if story.incident is not None and before.said.renewed != (story.told.said or before.said).renewed:
            standing = self.standing_since(story.incident, before.said.renewed)
        return replace(story, said=before.said, before=None, standing=standing)

    def waits_in(self, story: Story) -> str:
        """Key of a digest that has a line of what happened to it, and has not left; empty for none."""
        before = story.told.before
        return before.post if isinstance(before, BeforeLine) and self.is_waiting(before.post) else ""

    def is_waiting(self, key: str) -> bool:
        """Whether Slack certainly does not have it, and it can be taken back."""
        where = self.known.delivered.get(key)
        return where is not None and where.is_waiting

    def why_not_leave(self, story: Story) -> str:
        """Why what tells of it must not leave any more; empty when it may."""
        if story.is_gone:
            return "The days on which it was reported were judged anew, and do not show it."
        if not story.is_open:
            return "It was over before anybody was told."
        here = story.incident is not None and story.incident.id in self.incidents
        return "It was snoozed before anybody was told." if story.is_snoozed and here else ""

    def _where(self, story: Story) -> Delivered | None:
        """How far what people have to acknowledge has come: its message, or what told of it anew."""
        return self.known.delivered.get(story.said.since_key or story.told.key)

    def _told_at(self, story: Story) -> dt.datetime:
        """When people could know: its time to be acknowledged begins."""
        where = self._where(story)
        begins = story.said.since or story.told.due_at
        late = where is not None and where.sent_at is not None and where.sent_at - begins > PROMPT
        return where.sent_at if where is not None and where.sent_at is not None and late else begins

    def acknowledge_by(self, story: Story) -> dt.datetime | None:
        """When its time to be acknowledged is over; ``None`` when nobody has to acknowledge it any more."""
        within = {s.name: s.acknowledge_within_minutes for s in self.alerts.severities}.get(story.severity)
        if not story.is_open or within is None or story.is_snoozed:
            return None
        if story.standing.is_taken_care_of(story.said.renewed):
            return None
        return self._told_at(story) + dt.timedelta(minutes=within)

    def is_overdue(self, story: Story) -> bool:
        """Nobody can have acknowledged in time what Slack did not have."""
        due, where = self.acknowledge_by(story), self._where(story)
        return due is not None and due <= self.now and where is not None and where.sent_at is not None

    def not_before(self, severity: str) -> dt.datetime | None:
        """When what people notice of such a severity may leave; ``None`` for at once."""
        return None if severity in self.alerts.critical else self.quiet

    def about(self, story: Story, *, chart: bool | None = None) -> About:
        """What a message about it is written from; ``chart``: whether there is one, when that is just changing."""
        assert story.incident is not None
        is_own = story.told.form == "own"
        return replace(
            self.about_of(story.incident, story.severity, story.standing),
            told_at=self._told_at(story),
            overdue=self.is_overdue(story),
            mention=self.mention(story.incident, story.severity) if is_own else (),
            notice=RETRACTED if story.is_gone else "",
            chart=bool(story.told.charts) if chart is None else chart,
        )

    def about_of(self, incident: Incident, severity: str, standing: Standing) -> About:
        """The same of an incident that nobody has been told of."""
        ranked = self.known.ranked.get(incident.id) if incident.day == self.known.newest else None
        return About(
            severity,
            ranked.score if ranked else None,
            ranked.rank if ranked else None,
            standing,
            self.records.get(silenced_as(self.catalog, incident)[0]),
            trust=self.known.trust(incident),
            links=self.links(incident.day),
            actions=self.actions,
        )

    def links(self, day: dt.date) -> dict[str, str]:
        """Label -> URL of a day's incidents."""
        if not self.url:
            return {}
        return {"Open in Dagster": f"{self.url}/assets/{self.catalog.name}/incidents?partition={day.isoformat()}"}

    def mention(self, incident: Incident, severity: str) -> tuple[str, ...]:
        """Slack IDs, each once."""
        owner = self.catalog.metric(incident.metric).owner if incident.kind == "shift" else ""
        named = [
            self.alerts.owners.get(owner) if whom == OWNER else whom
            for whom in route(self.catalog, incident, severity).mention
        ]
        return tuple(dict.fromkeys(person for person in named if person is not None))

    def has_words(self, incident: Incident) -> bool:
        """Whether its metric is declared, so that it can be named."""
        return incident.kind == "data" or incident.metric in self.metrics

    def severity(self, incident: Incident) -> Severity:
        """By its score; of a hole in the data, by its kind."""
        if incident.kind == "data":
            return self.alerts.severity({str(k): v for k, v in self.alerts.holes.items()}[incident.shape])
        return self.alerts.by_score(self.scores.get(incident.id))

    def is_ranked(self, incident: Incident) -> bool:
        """Whether it is open today, and in the day's list: one made before the day was judged anew may lack it."""
        here = incident.id in self.incidents and incident.is_open
        return here and (incident.kind == "data" or incident.id in self.scores)

    def channel(self, incident: Incident, severity: str) -> str:
        """Where it goes."""
        return route(self.catalog, incident, severity).channel or self.alerts.channel

    def standing(self, incident: Incident) -> Standing:
        """What people decided of it, with the snooze that silences it today."""
        return self._with_snooze(incident, self.standings)

    def standing_since(self, incident: Incident, renewed: Renewal | None) -> Standing:
        """Where it stands, when ``renewed`` made it one to be acknowledged anew, or nothing did."""
        own = [d for d in self.known.decisions if self.names.get(d.incident, d.incident) == incident.id]
        return self._with_snooze(incident, standings_of(own, self.names, {incident.id: renewed} if renewed else {}))

    def _with_snooze(self, incident: Incident, standings: Mapping[str, Standing]) -> Standing:
        snooze = silence(self.snoozes, *silenced_as(self.catalog, incident), self.today)
        return replace(standings.get(incident.id, Standing()), snooze=snooze)

    def importance(self, incident: Incident) -> tuple[int, float, str]:
        """The most urgent first, then the highest score; what has none comes before."""
        score = float("inf") if incident.kind == "data" else self.scores.get(incident.id, 0.0)
        return place(self.alerts, self.severity(incident).name), -score, incident.id

    def urgency(self, line: DigestLine) -> tuple[int, float, str]:
        """As it was last told, for what is over has no score."""
        return place(self.alerts, line.about.severity), *self.importance(line.incident)[1:]
