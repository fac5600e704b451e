"""Whatever happens to incidents, in whatever order: the channel is told once, in time, not too much, and the truth.

A random walk: incidents appear, worsen, end, flare up, are renamed and vanish; scores move; people decide and take
back; minutes, hours and days pass; Slack comes and goes. After every step the plan is followed, and all laws hold.
``WALKS=1000`` in the environment walks longer, and does not shrink what it finds.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.messages.incident import About, incident_content
from health_pipeline.alerts.people.decisions import counting, records_of, snoozes_of, standings_of
from health_pipeline.alerts.people.standing import Standing, TrackRecord, silence, silenced_as
from health_pipeline.alerts.people.told import BeforeLine
from health_pipeline.alerts.planning.hours import digest_at, quiet_until, today
from health_pipeline.alerts.planning.keys import content_hash
from health_pipeline.alerts.planning.plan import Plan
from health_pipeline.alerts.planning.select import newsworthy
from health_pipeline.alerts.planning.situation import route
from health_pipeline.catalog.alerts import Alerts, Digest, QuietHours, Route, Severity
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident
from health_pipeline_tests.alerts.follow import ONE_DAY, Desk, fall, hole

ALERTS = Alerts(
    minimum_score=0.5,
    per_day=4,
    per_hour=2,
    severities=(
        Severity(name="P1", minimum_score=10, at_once=True, acknowledge_within_minutes=90),
        Severity(name="P2", minimum_score=5, at_once=True),
        Severity(name="P3", minimum_score=2, acknowledge_within_minutes=600),
        Severity(name="P4"),
    ),
    holes={"missing": "P1", "empty": "P2", "partial": "P3", "settling": "P4", "backlog": "P4"},
    digest=Digest(at=dt.time(8, 30), time_zone="Europe/Berlin"),
    quiet_hours=QuietHours(start=dt.time(20), end=dt.time(7, 15), time_zone="Europe/Berlin"),
    routes=(
        Route(units=("Ada", "Bob"), channel="C0ONE", mention=("U0ONE",)),
        Route(severities=("P1",), mention=("owner",)),
    ),
    owners={"trust-and-safety-analytics": "U0OWNER"},
)
CATALOG = load_catalog("eu_dsa").model_copy(update={"alerts": ALERTS})
START = dt.datetime(2025, 3, 28, 6, 0, tzinfo=dt.UTC)
"""Two days before the clocks go forward in Berlin."""
NAMES = ("Ada", "Bob", "Cleo", "Dan", "Eve", "Fay", "Gil", "Hal")
SCORES = st.sampled_from([0.1, 1.0, 3.0, 6.0, 12.0, 30.0])
ANY = st.integers(0, 10_000)
PEOPLES = ("acknowledged", "assigned", "verdict", "snoozed")


class Walk(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.desk = Desk(CATALOG, now=START, newest=START.date() - ONE_DAY, actions=True)
        self.made: list[Intent] = []
        self.again = Plan()

    # ── What happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=st.sampled_from(NAMES), score=SCORES, back=st.integers(0, 2), is_hole=st.booleans())
    def appears(self, name: str, score: float, back: int, is_hole: bool) -> None:
        newest = self.desk.newest
        onset = newest - back * ONE_DAY
        if is_hole:
            self._add(hole(name, id=f"{name.lower()}-delivery-{onset}", onset=onset, first_reported=newest,
                           last_reported=newest, shape=("missing", "partial", "backlog")[back]), None)  # fmt: skip
        else:
            self._add(fall(name, onset=onset, first_reported=newest, last_reported=newest), score)

    def _add(self, new: Incident, score: float | None) -> None:
        if new.id not in self.desk.record:
            self.desk.happens(new, score=score)

    @precondition(lambda self: self._open())
    @rule(which=ANY, observed=st.floats(1e3, 1e6))
    def worsens(self, which: int, observed: float) -> None:
        self.desk.changes(self._pick(which), state="worsening", worsened_on=self.desk.newest, observed=observed)

    @precondition(lambda self: self._open())
    @rule(which=ANY, score=SCORES)
    def scores_differently(self, which: int, score: float) -> None:
        name = self._pick(which)
        if self.desk.record[name].kind == "shift":
            self.desk.scores[name] = score

    @precondition(lambda self: self._open())
    @rule(which=ANY, state=st.sampled_from(["recovered", "settled", "retracted", "merged"]))
    def ends(self, which: int, state: str) -> None:
        self.desk.ends(self._pick(which), state)

    @rule(which=ANY, score=SCORES)
    def flares_up(self, which: int, score: float) -> None:
        over = [i for i in self.desk.record.values() if not i.is_open and i.day == self.desk.newest]
        if over:
            again = over[which % len(over)]
            self.desk.changes(again.id, state="ongoing", ended=None)
            if again.kind == "shift":
                self.desk.scores[again.id] = score

    @precondition(lambda self: self.desk.record)
    @rule(which=ANY, days=st.integers(-20, 20))
    def is_called_by_another_onset(self, which: int, days: int) -> None:
        old = [*self.desk.record.values()][which % len(self.desk.record)]
        onset = old.onset + days * ONE_DAY
        new = replace(old, id=f"{old.id[:-10]}{onset}", onset=onset)
        if new.id not in self.desk.record:
            score = self.desk.scores.get(old.id)
            self.desk.vanishes(old.id)
            self.desk.record[new.id] = new
            if score is not None:
                self.desk.scores[new.id] = score

    @precondition(lambda self: self.desk.record)
    @rule(which=ANY)
    def vanishes(self, which: int) -> None:
        self.desk.vanishes([*self.desk.record][which % len(self.desk.record)])

    @precondition(lambda self: self.desk.record)
    @rule(which=ANY, what=st.sampled_from(["acknowledge", "assign", "verdict", "snooze", "unsnooze", "undo"]),
          days=st.integers(1, 4), scope=st.sampled_from(["segment", "here", "metric"]))  # fmt: skip
    def somebody_decides(self, which: int, what: str, days: int, scope: str) -> None:
        name = [*self.desk.record][which % len(self.desk.record)]
        values = {
            "assign": {"assignee": f"UBEN{which % 3}"},
            "verdict": {"verdict": ("real", "expected", "false_alarm")[which % 3]},
            "snooze": {"scope": scope, "until": today(ALERTS, self.desk.now) + days * ONE_DAY},
        }
        if what == "undo":
            before = [d for d in counting(self.desk.decisions) if d.incident == name]
            if before:
                self.desk.decides("undo", name, undoes=before[-1].id)
        else:
            self.desk.decides(what, name, **values.get(what, {}))

    @rule(minutes=st.integers(1, 90))
    def minutes_pass(self, minutes: int) -> None:
        self.desk.now += dt.timedelta(minutes=minutes)

    @rule(hours=st.integers(2, 20))
    def hours_pass(self, hours: int) -> None:
        self.desk.now += dt.timedelta(hours=hours)

    @rule()
    def the_next_day_is_judged(self) -> None:
        self.desk.now += ONE_DAY
        self.desk.next_day()

    @rule()
    def slack_goes_or_comes(self) -> None:
        self.desk.connected = not self.desk.connected

    @rule()
    def charts_fail_or_work(self) -> None:
        self.desk.draws = not self.desk.draws

    def _open(self) -> list[str]:
        return [i.id for i in self.desk.record.values() if i.is_open and i.day == self.desk.newest]

    def _pick(self, which: int) -> str:
        names = self._open()
        return names[which % len(names)]

    # ── What holds ───────────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def every_law_holds(self) -> None:
        if not hasattr(self, "desk"):
            return
        desk = self.desk
        self.made = desk.follow()  # no key twice, what follows follows what is there
        self._following_leaves_nothing_to_plan()
        self._nothing_is_due_before_its_time()
        self._every_incident_has_one_full_message()
        self._what_deserves_a_message_has_one()
        self._messages_are_true()
        self._there_is_not_too_much_within_an_hour()
        self._what_is_snoozed_is_silent()
        self._what_is_past_before_it_left_never_leaves()
        self._what_waits_about_many_tells_what_is_so()
        self._nobody_is_asked_for_what_is_done()
        self._whoever_acknowledged_has_seen_the_worst_of_it()
        self._nights_are_quiet()
        self._digests_tell_something_once_a_day()

    def _following_leaves_nothing_to_plan(self) -> None:
        self.again = again = self.desk.plan()
        assert again.is_empty, [i.key for i in again.intents] or again.told or again.dropped

    def _nothing_is_due_before_its_time(self) -> None:
        """Whoever plans again at ``next_at``, and when something new is known, misses nothing."""
        at = self.again.next_at
        assert at is None or at > self.desk.now
        for later in (dt.timedelta(seconds=1), dt.timedelta(hours=5), dt.timedelta(days=3)):
            moment = self.desk.now + later
            if at is None or moment < at:
                found = self.desk.plan(moment)
                assert not found.intents, (later, at, [i.key for i in found.intents])

    def _every_incident_has_one_full_message(self) -> None:
        desk = self.desk
        incidents = Counter(told.incident for told in desk.told.values() if told.form != "none")
        assert all(count == 1 for count in incidents.values()), incidents
        live = {told.key for told in desk.told.values() if told.form != "none"}
        for key, row in desk.rows.items():
            tells = ":incident:" in key and ":open" in key and row.intent.kind in ("post", "reply")
            if tells and key.rpartition(":open")[2].removeprefix(":") in ("", "2", "3", "4", "5"):
                points_on = desk.says(key).endswith("told anew in the channel.")
                assert (key in live) + row.dropped + points_on == 1, key

    def _what_deserves_a_message_has_one(self) -> None:
        desk = self.desk
        told = {name for row in desk.told.values() if row.form != "none" for name in row.names}
        known = desk.known()
        loud = [i for i in known.incidents if i.id in told or self._standing(i).snooze is None]
        scores = {id_: ranked.score for id_, ranked in known.ranked.items()}
        waiting = {line.incident.id for line in self.again.waiting}
        for incident in newsworthy(ALERTS, desk.newest, loud, scores, told):
            at_once = self._severity(incident).at_once
            assert not at_once, f"{incident.id} should have been told"
            channel = route(CATALOG, incident, self._severity(incident).name).channel
            had_digest = f"eu_dsa:digest:{channel}:{today(ALERTS, desk.now)}" in desk.rows
            assert incident.id in waiting and (had_digest or desk.now < digest_at(ALERTS, today(ALERTS, desk.now)))

    def _messages_are_true(self) -> None:
        """The last content told of every incident that is not over equals its rendering now."""
        desk = self.desk
        records = desk.known()
        for told in desk.told.values():
            if told.form == "none" or told.finished:
                continue
            incident = desk.record[told.incident]
            if incident.day != desk.newest:
                continue
            ranked = records.ranked.get(incident.id)
            assert told.said is not None
            sent = desk.rows[told.said.since_key or told.key].sent_at
            begins = told.said.since or told.due_at
            told_at = sent if sent is not None and sent - begins > dt.timedelta(minutes=10) else begins
            severity, standing = self._severity(incident), self._standing(incident)
            within = severity.acknowledge_within_minutes
            seen = standing.is_taken_care_of(told.said.renewed) or standing.snooze
            late = within is not None and told_at + dt.timedelta(minutes=within) <= desk.now
            owner = {"owner": "U0OWNER" if incident.kind == "shift" else None}
            named = [owner.get(who, who) for who in route(CATALOG, incident, severity.name).mention]
            about = About(
                severity.name,
                ranked.score if ranked else None,
                ranked.rank if ranked else None,
                standing,
                self._record(incident),
                told_at,
                overdue=late and not seen and sent is not None,
                mention=tuple(who for who in named if who) if told.form == "own" else (),
                links={"Open in Dagster": f"http://dagster/assets/eu_dsa/incidents?partition={incident.day}"},
                actions=True,
                chart=told.charts > 0,
            )
            content = incident_content(CATALOG, incident, about)
            assert desk.content(told.key) == content, told.key
            assert told.hash == content_hash(content)

    def _there_is_not_too_much_within_an_hour(self) -> None:
        posts: Counter[tuple[str, dt.datetime]] = Counter()
        rollups: Counter[tuple[str, dt.datetime]] = Counter()
        for key, row in self.desk.rows.items():
            hour = row.due.replace(minute=0, second=0, microsecond=0)
            if row.intent.kind == "post" and ":incident:" in key and not row.dropped:
                posts[row.intent.channel, hour] += 1
            elif ":rollup:" in key and row.intent.kind == "post" and not row.dropped:
                rollups[row.intent.channel, hour] += 1
        assert all(count <= ALERTS.per_hour for count in posts.values()), posts
        assert all(count == 1 for count in rollups.values()), rollups

    def _what_is_snoozed_is_silent(self) -> None:
        """No post, no reply, no line; but people's own decisions, and what the record took back, are said."""
        desk = self.desk
        for told in desk.told.values():
            incident = desk.record.get(told.incident) or told.last
            if incident is None or self._standing(incident).snooze is None:
                continue
            for intent in self.made:
                assert intent.key != told.key or intent.kind == "edit", f"{told.key} is snoozed"
                if intent.kind in ("reply", "upload") and intent.key.startswith(f"{told.key}:"):
                    assert told.form == "own"
                    assert intent.key.split(":")[-2] in PEOPLES, intent.key
                if ":digest:" in intent.key and intent.kind == "post":
                    assert wording.title(CATALOG, incident) not in intent.text + str(intent.blocks)

    def _what_is_past_before_it_left_never_leaves(self) -> None:
        """No message waits of what has ended, is gone, or is snoozed, and no line; nor a chart without its message."""
        desk = self.desk
        for told in desk.told.values():
            if told.form != "none" and desk.rows[told.key].sent_at is None:
                incident = desk.record.get(told.incident)
                assert incident is not None and incident.is_open, told.key
                assert incident.day != desk.newest or self._standing(incident).snooze is None, told.key
        for key, row in desk.rows.items():
            if row.intent.kind == "upload" and not row.sent_at and not row.dropped:
                assert not desk.rows[key.rpartition(":chart:")[0]].dropped, key

    def _what_waits_about_many_tells_what_is_so(self) -> None:
        """A digest or roll-up that has not left has a line of each message in its thread, none of what is silent."""
        desk = self.desk
        live = [told for told in desk.told.values() if told.form != "none"]
        silent = {wording.title(CATALOG, i) for i in desk.known().incidents if i.is_open and self._standing(i).snooze}
        for key, row in desk.rows.items():
            if ":incident:" in key or row.intent.kind != "post" or row.dropped or row.sent_at:
                continue
            says = as_plain_text(Content("", row.intent.blocks))
            here = {wording.title(CATALOG, desk.record[told.incident]) for told in live if told.post == key}
            assert all(title in says for title in here), key
            changed = [told for told in live if isinstance(told.before, BeforeLine) and told.before.post == key]
            assert here or changed, f"{key} tells nothing"
            assert not any(title in says for title in silent - here), key
            if ":rollup:" in key:
                assert says.startswith(f"{sum(told.post == key for told in live)} more incident"), says

    def _nobody_is_asked_for_what_is_done(self) -> None:
        """No reply waits that says overdue of what is acknowledged, assigned, judged, snoozed or over."""
        desk = self.desk
        for told in desk.told.values():
            asks = [k for k, row in desk.rows.items() if k.startswith(f"{told.key}:overdue:") and not row.sent_at]
            if told.form == "own" and any(not desk.rows[k].dropped for k in asks):
                incident = desk.record[told.incident]
                assert incident.is_open, told.key
                assert told.said is not None
                assert not self._standing(incident).is_taken_care_of(told.said.renewed), told.key

    def _whoever_acknowledged_has_seen_the_worst_of_it(self) -> None:
        """Of what was told to have flared up again or become more urgent, only a later acknowledgement is shown."""
        desk = self.desk
        for told in desk.told.values():
            incident = desk.record.get(told.incident)
            if told.form != "own" or incident is None or not incident.is_open or incident.day != desk.newest:
                continue
            anew = [row.queued_at for key, row in desk.rows.items() if re.match(f"{told.key}:(reopened|raised):", key)]
            if told.key != told.first_key:  # it was a line
                anew.append(desk.rows[told.key].queued_at)
            since = max(anew, default=START)
            seen = any(d.kind == "acknowledge" and d.incident in told.names and d.by.at >= since
                       for d in counting(desk.decisions))  # fmt: skip
            assert ("[Acknowledge]" in desk.says(told.key)) != seen, told.key

    def _nights_are_quiet(self) -> None:
        desk = self.desk
        severities = {told.key: told.severity for told in desk.told.values()}
        for intent in self.made:
            if intent.kind == "edit" or ":rollup:" in intent.key:
                continue
            severity = next((s for key, s in severities.items() if key and intent.key.startswith(key)), "")
            due = desk.rows[intent.key].due
            assert severity == "P1" or quiet_until(ALERTS, due) is None, intent.key

    def _digests_tell_something_once_a_day(self) -> None:
        posts = [(key, row.intent) for key, row in self.desk.rows.items() if ":digest:" in key]
        posts = [(key, intent) for key, intent in posts if intent.kind == "post"]
        days = Counter((row.intent.channel, re.sub(r":\d$", "", key)) for key, row in self.desk.rows.items()
                       if ":digest:" in key and row.intent.kind == "post" and not row.dropped)  # fmt: skip
        assert all(count == 1 for count in days.values()), days
        for key, intent in posts:
            assert "calm morning" not in str(intent.blocks)
            day = dt.date.fromisoformat(re.sub(r":\d$", "", key)[-10:])
            assert self.desk.rows[key].queued_at >= digest_at(ALERTS, day)
            assert today(ALERTS, self.desk.rows[key].queued_at) == day

    # ── The same facts, taken from the record once more ──────────────────────────────────────────────────────────────

    def _aliases(self) -> dict[str, str]:
        return {alias: told.incident for told in self.desk.told.values() for alias in told.aliases}

    def _standing(self, incident: Incident) -> Standing:
        desk = self.desk
        live = [told for told in desk.told.values() if told.form != "none"]
        renewals = {told.incident: told.said.renewed for told in live if told.said and told.said.renewed}
        standing = standings_of(desk.decisions, self._aliases(), renewals).get(incident.id, Standing())
        day = today(ALERTS, desk.now)
        return replace(standing, snooze=silence(snoozes_of(desk.decisions), *silenced_as(CATALOG, incident), day))

    def _severity(self, incident: Incident) -> Severity:
        if incident.kind == "data":
            return ALERTS.severity(ALERTS.holes[incident.shape])  # type: ignore[index]
        return ALERTS.by_score(self.desk.scores.get(incident.id))

    def _record(self, incident: Incident) -> TrackRecord | None:
        return records_of(self.desk.decisions, self._aliases()).get(silenced_as(CATALOG, incident)[0])


EXAMPLES = int(os.environ.get("WALKS", "25"))
TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=EXAMPLES,
    phases=(Phase.generate, Phase.shrink) if not os.environ.get("WALKS") else (Phase.generate,),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
