"""What happened to a told incident since people were last told of it. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from health_pipeline.alerts.people.decisions import Decision, Kind, counting, ends
from health_pipeline.alerts.people.standing import DELIVERY, By, Renewal, Snooze, Standing
from health_pipeline.alerts.people.told import Before, Change, Phase, Said, Told
from health_pipeline.catalog.alerts import Alerts
from health_pipeline.incidents.model import Incident

News = tuple[Change, By | None]
"""What happened, and who did it; ``None`` for what nobody did."""


@dataclass(frozen=True)
class Story:
    """A told incident as it is now.

    Attributes:
        said: what counts as said.
        before: how it was before what says so, if that can still be taken back; of what was told before.
        incident: as it is in the record, or was last; ``None`` where nothing is known but its message.
        is_whole: whether the incident is here with all its parts, so that its message can be written.
        is_gone: whether no day of the record holds it any more.
    """

    told: Told
    said: Said
    incident: Incident | None
    is_whole: bool
    is_gone: bool
    phase: Phase
    severity: str
    standing: Standing
    before: Before | None = None

    @property
    def is_open(self) -> bool:
        return self.phase == "open"

    @property
    def was_asked(self) -> bool:
        """Whether people were told that it was not acknowledged in the time that is running, or has run out."""
        return self.told.asked is not None and self.told.asked.since == self.said.since

    @property
    def is_snoozed(self) -> bool:
        return self.standing.snooze is not None


def phase_of(incident: Incident) -> Phase:
    """``open``, or how it ended."""
    ended: dict[str, Phase] = {"recovered": "recovered", "retracted": "retracted", "merged": "merged"}
    return "open" if incident.is_open else ended.get(incident.state, "settled")


def place(alerts: Alerts, severity: str) -> int:
    """0 is the most urgent; one that is not declared any more comes last."""
    names = [declared.name for declared in alerts.severities]
    return names.index(severity) if severity in names else len(names)


def is_raised(alerts: Alerts, story: Story) -> bool:
    """Whether it is more urgent than anybody was told."""
    return story.is_open and place(alerts, story.severity) < place(alerts, story.said.severity)


def has_worsened(story: Story, since: dt.date | None) -> bool:
    """Whether it has grown since the growth of a day, or at all."""
    grown = story.incident.worsened_on if story.incident else None
    return grown is not None and (since is None or grown > since)


def by_itself(alerts: Alerts, story: Story) -> Change | None:
    """What happened that people did not do, the most important of it; ``None`` also while it is snoozed.

    The end of a snooze is news while it is open: then the snooze is told as lifted.
    """
    said = story.said
    if story.is_snoozed:
        return None
    if story.phase != "open":
        # What ended while it was snoozed is past: nobody has to be told.
        return story.phase if story.phase != said.phase and said.snoozed is None else None
    if said.phase != "open":
        return "reopened"
    if is_raised(alerts, story):
        return "raised"
    if has_worsened(story, said.worsened_on):
        return "worsening"
    return "snoozed" if _is_lifted(story) else None


def renewal(alerts: Alerts, story: Story, now: dt.datetime) -> Renewal | None:
    """What makes it one to be acknowledged anew, of what people are told now; ``None`` for nothing."""
    news = by_itself(alerts, story)
    return Renewal(now, news) if news == "reopened" or news == "raised" else None


def is_told_anew(alerts: Alerts, story: Story) -> bool:
    """Whether its time to be acknowledged begins anew: it flared up again, became more urgent, or a snooze is over."""
    return story.is_open and (story.said.phase != "open" or is_raised(alerts, story) or _is_lifted(story))


def by_people(story: Story, decisions: Sequence[Decision]) -> list[News]:
    """What people decided, or took back.

    A snooze that was asked for of another incident and covers this one too is no news of this one.

    Args:
        decisions: every one of the ecosystem, the oldest first.
    """
    standing, said = story.standing, story.said
    now = _prints(standing)
    found: list[News] = []
    kinds: tuple[tuple[Change, Kind, By | None, str, str], ...] = (
        ("verdict", "verdict", standing.judged, said.judged, now[2]),
        ("assigned", "assign", standing.assigned, said.assigned, now[1]),
        ("acknowledged", "acknowledge", standing.acknowledged, said.acknowledged, now[0]),
    )
    for what, kind, by, before, after in kinds:
        if before != after:
            found.append((what, by if after else _who_took_back(story, decisions, kind)))
    snooze = standing.snooze
    if snooze is not None and story.is_open and snooze.until != said.snoozed:
        names = story.told.names
        if any(d.snooze == snooze and d.incident in names for d in counting(decisions)):
            found.append(("snoozed", snooze.by))
    return found


def who_lifted(story: Story, decisions: Sequence[Decision]) -> By | None:
    """Who ended the snooze that was told; ``None`` when nobody did.

    Args:
        decisions: as of :func:`by_people`.
    """
    told = [d for d in decisions if d.snooze and d.snooze.until == story.said.snoozed and _covers(d.snooze, story)]
    for decision in reversed(decisions):
        if decision.kind == "undo" and _undone(decision, decisions) in told:
            return decision.by
        if decision.kind == "unsnooze" and any(ends(decision, d.snooze) for d in told if d.snooze):
            return decision.by
    return None


def _covers(snooze: Snooze, story: Story) -> bool:
    """Whether a snooze silences an incident; of a hole in the data, whether it may."""
    incident = story.incident
    if incident is None or incident.kind != "shift":
        return snooze.metric in ("", DELIVERY)
    return snooze.covers(incident.metric, incident.segment, dt.date.min)


def _who_took_back(story: Story, decisions: Sequence[Decision], kind: Kind) -> By | None:
    """Who was the last to take back a decision of this incident of a kind."""
    names = story.told.names
    undos = (d for d in reversed(decisions) if d.kind == "undo" and d.incident in names)
    return next((undo.by for undo in undos if _undone(undo, decisions).kind == kind), None)


def _undone(undo: Decision, decisions: Sequence[Decision]) -> Decision:
    """The decision that an undo is about in the end: it may undo an undo."""
    known = {d.id: d for d in decisions}
    found = undo
    while found.undoes is not None:
        found = known[found.undoes]
    return found


def all_said(alerts: Alerts, story: Story, at: dt.datetime, key: str) -> Said:
    """As when everything that is so now has been said.

    Args:
        at: when it is said.
        key: of what says it in the outbox.
    """
    said = people_said(story)
    raised, told_anew = is_raised(alerts, story), is_told_anew(alerts, story)
    return replace(
        said,
        phase=story.phase,
        worsened_on=story.incident.worsened_on if has_worsened(story, said.worsened_on) and story.incident
        else said.worsened_on,
        severity=story.severity if raised else said.severity,
        since=at if told_anew else said.since,
        since_key=key if told_anew else said.since_key,
    )  # fmt: skip


def people_said(story: Story) -> Said:
    """As when everything that people decided has been said, and nothing else."""
    acknowledged, assigned, judged = _prints(story.standing)
    return replace(snooze_said(story), acknowledged=acknowledged, assigned=assigned, judged=judged)


def snooze_said(story: Story) -> Said:
    """As when it is known that it is snoozed, or is not."""
    return replace(story.said, snoozed=story.standing.snooze.until if story.standing.snooze else None)


def _is_lifted(story: Story) -> bool:
    return story.said.snoozed is not None and not story.is_snoozed


def is_judged_alike(story: Story) -> bool:
    """Whether people were told of all that people decided, snoozes aside."""
    return _prints(story.standing) == (story.said.acknowledged, story.said.assigned, story.said.judged)


def _prints(standing: Standing) -> tuple[str, str, str]:
    """Fingerprints of what people decided: acknowledged, assigned, judged."""
    ack, assigned, judged = standing.acknowledged, standing.assigned, standing.judged
    return (
        f"{ack.user} {ack.at.isoformat()}" if ack else "",
        f"{standing.assignee} {assigned.at.isoformat()}" if assigned else "",
        f"{standing.verdict} {standing.cause} {judged.at.isoformat()}" if judged else "",
    )
