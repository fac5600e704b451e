"""The message about one incident, from its first line to its actions. Pure: no I/O, and no Slack library.

In this order: state, severity and what people decided; one sentence; numbers; evidence; where it comes from; what moved
with it; data trust; what happened nearby; links; actions; how often the metric was right before. What an incident does
not hold is left out. See :mod:`.blocks` for what keeps a message safe and within Slack's limits, and :mod:`.digest` for
messages about many.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.blocks import Block, Content, escape
from health_pipeline.alerts.people.standing import By, Standing, TrackRecord
from health_pipeline.alerts.people.told import Change
from health_pipeline.catalog.alerts import Verdict
from health_pipeline.catalog.model import Catalog, Metric
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

MEMBERS_SHOWN = 3
SUSPECTS_SHOWN = 3
EVENTS_SHOWN = 3
TRUST_SHOWN = 4
MENTIONED = 10

RETRACTED = "retracted"

ACKNOWLEDGE, ASSIGN, VERDICT, SNOOZE, LINK = "acknowledge", "assign", "verdict", "snooze", "open"
"""``action_id`` of what can be clicked."""
SNOOZE_DAYS = (1, 7, 30)
SNOOZE_SCOPES = {"segment": "This segment", "here": "This metric here", "metric": "This metric everywhere"}
"""What a snooze covers: first part of an option's value, and the group it is in; of a shift."""
HOLE_SCOPES = {"segment": "Everything of {}", "here": "Holes in the data of {}", "metric": "All holes in the data"}
"""The same of a hole in the data."""
MAX_ACTIONS = 5_000
"""Characters of all that can be clicked: menus with more causes than that lose the last of them."""

VERDICTS: dict[Verdict, str] = {
    "real": "Real", "expected": "Expected", "false_alarm": "False alarm", "new_normal": "New normal",
}  # fmt: skip

STATES = {
    "new": "New", "worsening": "Worsening", "ongoing": "Ongoing", "recovered": "Recovered", "settled": "Settled",
    "retracted": "Withdrawn", "merged": "Merged",
}  # fmt: skip

_NOT_SO: tuple[str, ...] = ("retracted", "merged")
"""States in which an incident's own figures do not tell what happened."""
_JUDGED_ANEW = (
    "Withdrawn: the days on which this was reported have been judged anew, with corrected or late data, and no longer "
    "show it."
)


@dataclass(frozen=True)
class About:
    """What is known of an incident beside itself when a message about it is written.

    Attributes:
        severity: name of one of the catalog's severities.
        score, rank: in the prioritised list of the incident's day; ``None`` when it has none.
        standing: what people decided.
        record: how its metric was judged before; ``None`` for not at all.
        told_at: when it was first told, UTC: its time to be acknowledged runs from then.
        overdue: whether that time is over.
        mention: Slack IDs to mention; leave it empty in what is not a message of its own.
        trust: sentences on how far its data can be trusted.
        links: label -> http(s) URL, the most useful first: that one is repeated in the text, and is the button.
        actions: whether somebody answers clicks.
        notice: ``retracted`` of one that vanished from the record, or "".
        chart: whether a chart is in the thread.
    """

    severity: str
    score: float | None = None
    rank: int | None = None
    standing: Standing = field(default_factory=Standing)
    record: TrackRecord | None = None
    told_at: dt.datetime | None = None
    overdue: bool = False
    mention: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    actions: bool = False
    notice: str = ""
    chart: bool = False


def incident_content(catalog: Catalog, incident: Incident, about: About) -> Content:
    """The full message about an incident, in whatever state it is: every part of it that there is."""
    state = STATES[_state(incident, about)]
    told = story(catalog, incident, about)
    links = kit.web_links(about.links)
    buttons = _actions(catalog, incident, about, links)
    others = dict(list(links.items())[1:]) if buttons else links
    is_so = _state(incident, about) not in _NOT_SO
    parts = [
        kit.Part(0, _head(catalog, incident, about)),
        kit.Part(0, (kit.section(told, 600),)),
        *(_findings(catalog, incident) if is_so else ()),
        kit.Part(2, (kit.context([_judged(incident), *(about.trust[:TRUST_SHOWN] if is_so else ())], 260),)),
        *(_nearby(incident.events) if is_so else ()),
        kit.Part(1, tuple(kit.link_line(others, *(["Chart in the thread"] if about.chart else [])))),
        kit.Part(0, tuple(buttons)),
        kit.Part(5, tuple(_record(incident, about.record)) if is_so else ()),
    ]
    note = kit.said(" ".join(["There is more than a message holds.", *[kit.link(*x) for x in list(links.items())[:1]]]))
    if about.notice == RETRACTED:  # else the sentence tells what it was about
        told = f"{wording.title(catalog, incident)}. {told}"
    text = escape(f"{state}, {about.severity}: {told.removeprefix(f'{state}: ')}", 2_000)
    return Content(kit.with_link(text, links), kit.fitted(parts, note))


def change_content(
    catalog: Catalog, incident: Incident, about: About, what: Change, *, by: By | None = None
) -> Content:
    """The reply in an incident's thread that tells what changed, in a sentence or two.

    Args:
        about: as it is after the change; its ``mention`` is rendered of what is overdue or raised.
        by: who changed it; by default whom the standing names.
    """
    text, blocks = (_by_people if what in _BY_PEOPLE else _by_itself)(catalog, incident, about, what, by)
    return Content(kit.with_link(escape(text, 2_000), kit.web_links(about.links)), blocks)


def withdrawn_content(told: Content, *, reply: bool = False) -> Content:
    """What is said of an incident that was told and is not in the record any more, because its days were judged anew.

    Args:
        told: the message that told it.
        reply: the line in its thread, instead of what the message becomes.
    """
    first = kit.texts(told.blocks[0])[0] if told.blocks else kit.plain("An incident", kit.MAX_HEADER)
    shown = kit.as_plain_text(Content("", ({"type": "header", "text": first},)))
    before = 2 if shown.partition(" · ")[0] in STATES.values() else 1  # state and severity; once the severity alone
    headline = shown.split(" · ", before)[-1]
    text = escape(f"{_JUDGED_ANEW} {headline}", 2_000)
    if reply:
        return Content(text, (kit.section(_JUDGED_ANEW, 1_000),))
    identity = [block for block in told.blocks[1:2] if block["type"] == "context"]
    return Content(text, (kit.header(f"Withdrawn · {headline}"), *identity, kit.section(_JUDGED_ANEW, 1_000)))


def story(catalog: Catalog, incident: Incident, about: About) -> str:
    """What happened, in one sentence, or two when it became part of something else."""
    if about.notice == RETRACTED:
        return _JUDGED_ANEW
    told = wording.sentence(catalog, incident)
    return f"{told} {_merged(incident)}" if incident.state == "merged" else told


def is_over(incident: Incident, about: About) -> bool:
    """Whether nothing is left to be done about it."""
    return not incident.is_open or about.notice == RETRACTED


def _state(incident: Incident, about: About) -> str:
    return RETRACTED if about.notice == RETRACTED else incident.state


def _merged(incident: Incident) -> str:
    return f"It turned out to be part of {incident.merged_into or 'another'}."


def _head(catalog: Catalog, incident: Incident, about: About) -> tuple[Block, ...]:
    """State, severity, what it is called, whom it concerns, and what people decided."""
    title = f"{STATES[_state(incident, about)]} · {about.severity} · {wording.title(catalog, incident)}"
    blocks = [kit.header(title), kit.context(_identity(catalog, incident, about))]
    if about.mention:
        blocks.append(kit.said(_mentions(about)))
    decided = _decided(catalog, incident, about)
    return (*blocks, kit.said("  ·  ".join(decided))) if decided else tuple(blocks)


def _identity(catalog: Catalog, incident: Incident, about: About) -> list[str]:
    parts = []
    if incident.kind == "shift":
        parts.append(f"owner {catalog.metric(incident.metric).owner}")
    if about.score is not None and _state(incident, about) not in _NOT_SO:
        placed = f", rank {about.rank} of {wording.day(incident.day)}" if about.rank else ""
        parts.append(f"score {about.score:.1f}{placed}")
    return [*parts, incident.id]


def _mentions(about: About) -> str:
    return " ".join(kit.mention(user) for user in about.mention[:MENTIONED])


# ── What people decided ──────────────────────────────────────────────────────────────────────────────────────────────


def _decided(catalog: Catalog, incident: Incident, about: About) -> list[str]:
    """The clock, and what people decided, as mrkdwn."""
    standing = about.standing
    parts = [_clock(catalog, about)] if standing.acknowledged or not is_over(incident, about) else []
    if standing.lapsed and standing.renewed and not standing.acknowledged:
        parts.append(f"Acknowledged{_by(standing.lapsed)} before {_RENEWED[standing.renewed.why]}")
    if standing.assignee:
        parts.append(f"Assigned to {kit.mention(standing.assignee)}")
    if standing.verdict:
        judge = f" ({_by(standing.judged).lstrip()})" if standing.judged else ""  # not: abuse by somebody
        parts.append(f"Verdict: {_verdict(standing)}{judge}")
    if standing.snooze and not is_over(incident, about):
        parts.append(f"Snoozed until {wording.day(standing.snooze.until)}{_by(standing.snooze.by)}")
    return [part for part in parts if part]


def _clock(catalog: Catalog, about: About) -> str:
    """The time to be acknowledged, as mrkdwn; "" when there is none."""
    told, seen = about.told_at, about.standing.acknowledged
    if seen is not None:
        return f"Acknowledged{_by(seen)}{_after(seen.at, told)}"
    within = _within(catalog, about)
    if within is None:
        return ""
    if told is None:
        return f"*To be acknowledged within {wording.duration(60 * within)}*"
    due = _clock_time(told + dt.timedelta(minutes=within), told)
    return f"*Overdue since {due}*" if about.overdue else f"*To be acknowledged by {due}*"


def _within(catalog: Catalog, about: About) -> int | None:
    """Minutes in which it should be acknowledged; ``None`` also when its severity is not declared any more."""
    known = {severity.name: severity.acknowledge_within_minutes for severity in catalog.alerts.severities}
    return known.get(about.severity)


def _clock_time(moment: dt.datetime, beside: dt.datetime) -> str:
    """``14:30 UTC``; with the day when it is another than that of ``beside``."""
    moment, beside = _utc(moment), _utc(beside)
    day = "" if moment.date() == beside.date() else f" on {_short_day(moment.date())}"
    return f"{moment:%H:%M} UTC{day}"


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _short_day(day: dt.date) -> str:
    return f"{day.day} {day:%B}"


def _after(moment: dt.datetime, told: dt.datetime | None) -> str:
    seconds = (_utc(moment) - _utc(told)).total_seconds() if told else -1.0
    return f" after {wording.duration(seconds)}" if seconds >= 0 else ""


def _by(by: By | None) -> str:
    return f" by {kit.mention(by.user)}" if by else ""


def _verdict(standing: Standing) -> str:
    """``real, abuse``, as mrkdwn."""
    said = VERDICTS[standing.verdict].lower() if standing.verdict else ""
    return f"{said}, {kit.inline(standing.cause, 120)}" if standing.cause else said


_RENEWED = {"reopened": "it flared up again", "raised": "its severity was raised"}
_URGENT: tuple[Change, ...] = ("overdue", "raised")
_BY_PEOPLE: tuple[Change, ...] = ("acknowledged", "assigned", "verdict", "snoozed")


def _by_itself(
    catalog: Catalog, incident: Incident, about: About, what: Change, by: By | None
) -> tuple[str, tuple[Block, ...]]:
    """Text and blocks of a change that nobody made, or that is told as anew."""
    mentions = _mentions(about) if what in _URGENT else ""
    title, told = wording.title(catalog, incident), story(catalog, incident, about)
    if what == "overdue":
        within = _within(catalog, about)
        renewed = about.standing.renewed
        words = f"Nobody has acknowledged this {f'since {_RENEWED[renewed.why]}' if renewed else 'yet'}."
        if about.told_at is not None and within is not None:
            due = _clock_time(about.told_at + dt.timedelta(minutes=within), about.told_at)
            words += f" It was due by {due}."
        return f"{words} {title}", (kit.said(f"{mentions} {words}".lstrip()),)
    if what == "snoozed":
        return f"Snooze lifted. {told}", (kit.said(f"Snooze lifted{_by(by)}."), kit.section(told, 800))
    start = {"reopened": "Flared up again", "raised": f"Now {about.severity}"}.get(what) or STATES[what]
    if what == "merged":
        words = f"{start}. {_merged(incident)}"
        return f"{words} {title}", (kit.section(words, 800),)
    words = told if told.startswith(start) else f"{start}. {told}"
    return words, (*([kit.said(mentions)] if mentions else []), kit.section(words, 800))


def _by_people(
    catalog: Catalog, incident: Incident, about: About, what: Change, by: By | None
) -> tuple[str, tuple[Block, ...]]:
    """Text and blocks of what somebody decided, or took back. Who it was stands in the blocks alone: a text is read out
    as it is, and no screen reader makes a name of an ID.
    """
    standing = about.standing
    if what == "snoozed" and standing.snooze is None:
        return _by_itself(catalog, incident, about, what, by)
    words, who = _decision(about, what, by)
    return f"{words} {wording.title(catalog, incident)}", (kit.said(who),)


def _decision(about: About, what: Change, by: By | None) -> tuple[str, str]:
    """What was decided, without and with who decided it; the second as mrkdwn."""
    standing = about.standing
    if what == "acknowledged":
        seen = standing.acknowledged
        if seen is None:
            return "No longer acknowledged.", f"No longer acknowledged: taken back{_by(by)}."
        after = _after(seen.at, about.told_at)
        return f"Acknowledged{after}.", f"Acknowledged{_by(by or seen)}{after}."
    if what == "assigned":
        who = by or standing.assigned
        if not standing.assignee:
            return "Assigned to nobody.", f"Unassigned{_by(by)}."
        if who is not None and who.user == standing.assignee:
            return "Somebody takes care of it.", f"{kit.mention(standing.assignee)} takes care of it."
        return "Assigned to somebody.", f"Assigned to {kit.mention(standing.assignee)}{_by(who)}."
    if what == "verdict":
        if standing.verdict is None:
            return "The verdict was taken back.", f"The verdict was taken back{_by(by)}."
        judge = _by(by or standing.judged)
        return f"Verdict: {VERDICTS[standing.verdict].lower()}.", f"Verdict{judge}: {_verdict(standing)}."
    assert standing.snooze is not None
    until = f"Snoozed until {wording.day(standing.snooze.until)}"
    return f"{until}.", f"{until}{_by(by or standing.snooze.by)}."


# ── Numbers, evidence, causes ────────────────────────────────────────────────────────────────────────────────────────


def _findings(catalog: Catalog, incident: Incident) -> list[kit.Part]:
    """Numbers, evidence, causes, what moved with it, and what speaks for the data as the cause."""
    if incident.kind == "data":
        if not incident.expected > 0:
            return []
        delivered = f"{wording.number(incident.observed)} on {wording.day(incident.last_reported)}"
        usual = f"{wording.number(incident.expected)} a day"
        return [kit.Part(1, (kit.fields([("Usually delivered", usual), ("Delivered", delivered)]),))]
    return [
        kit.Part(0, (kit.fields(_numbers(catalog, incident)),)),
        kit.Part(1, (kit.context(_evidence(incident)),)),
        *_causes(catalog, incident),
        *_rolled_up(catalog, incident),
        *_doubts(incident),
    ]


def _numbers(catalog: Catalog, incident: Incident) -> list[tuple[str, str]]:
    """What the sentence does not say: label -> value. The change and its interval are in the sentence."""
    metric = catalog.metric(incident.metric)
    per_day = " a day" if metric.type == "count" else ""
    pairs = [
        ("Expected", wording.value(metric, incident.expected) + per_day),
        ("Observed", wording.value(metric, incident.observed) + per_day + counted(metric, incident)),
    ]
    if math.isfinite(incident.excess) and metric.type in ("count", "proportion", "rate"):  # else it counts no things
        things = metric.unit if metric.type == "count" else "cases"
        if metric.type == "proportion":  # not more sales, but more of those that are disputed
            things = f"such {metric.unit.removeprefix('share of ')}"
        sign = "more" if incident.excess >= 0 else "fewer"
        amount = wording.number(abs(incident.excess))
        pairs.append(("Beyond expectation", f"{amount} {sign} {things} a day"))
    exposure = wording.exposure(catalog, incident)
    return [*pairs, *([("Exposure", exposure)] if exposure else [])]


def counted(metric: Metric, incident: Incident) -> str:
    """Numerator and denominator of a share or rate on a typical day since onset; "" when they are not known.

    Both follow from the excess, which is (observed - expected) x denominator: see :mod:`health_pipeline.shifts.shifts`.
    """
    moved = incident.observed - incident.expected
    noun = ""
    if metric.type == "proportion":
        noun = metric.unit.removeprefix("share of ")
    elif metric.type == "rate":
        named = re.fullmatch(r"per (?:[\d,.]+ ?[kM]? )?(.+)", metric.unit)
        noun = named[1] if named else ""
    if not noun or not abs(moved) > 1e-4 * abs(incident.observed) or not math.isfinite(incident.excess):
        return ""
    denominator = incident.excess / moved
    if not denominator > 0:
        return ""
    joined = "of" if metric.type == "proportion" else "on"
    return f" ({wording.number(incident.observed * denominator)} {joined} {wording.number(denominator)} {noun} a day)"


def _evidence(incident: Incident) -> list[str]:
    q = "below 0.0001" if incident.q_value < 0.0001 else f"{incident.q_value:.2g}"
    days = (incident.last_reported - incident.onset).days + 1
    between = ""
    if incident.onset_low != incident.onset_high:
        between = f" (between {wording.day(incident.onset_low)} and {wording.day(incident.onset_high)})"
    return [
        f"q-value {q} among {incident.tested:,} series tested",
        f"onset {wording.day(incident.onset)}{between}",
        f"first reported {wording.day(incident.first_reported)}, seen for {wording.count(days, 'day')}",
    ]


def _causes(catalog: Catalog, incident: Incident) -> list[kit.Part]:
    explained = wording.explanation(catalog, incident)
    if not explained:
        return []
    return [kit.Part(3, (kit.heading("Where it comes from"), kit.section("\n".join(explained), 800)))]


def _rolled_up(catalog: Catalog, incident: Incident) -> list[kit.Part]:
    """The other shifts of the incident, the largest first."""
    others = [m for m in incident.members[1:] if m.is_open or not incident.is_open]
    if not others:
        return []
    spread = wording.spread(catalog, incident)
    lines = [f"• {kit.shorten(wording.member(catalog, m, incident.members), 200)}" for m in others[:MEMBERS_SHOWN]]
    if len(others) > MEMBERS_SHOWN:
        lines.append(f"… and {len(others) - MEMBERS_SHOWN} more")
    head = f"{wording.count(len(others), 'child alert')} rolled up"
    if spread:
        head += f": {kit.inline(spread, 200)}"
    return [kit.Part(4, (kit.heading(head), kit.section("\n".join(lines), 700)))]


def _doubts(incident: Incident) -> list[kit.Part]:
    """What speaks for the data as the cause; nothing when nothing does."""
    if not incident.suspects:
        return []
    lines = [f"• {kit.shorten(s.sentence, 260)}" for s in incident.suspects[:SUSPECTS_SHOWN]]
    if len(incident.suspects) > SUSPECTS_SHOWN:
        lines.append(f"… and {len(incident.suspects) - SUSPECTS_SHOWN} more")
    return [kit.Part(2, (kit.heading("Could it be the data?"), kit.section("\n".join(lines), 900)))]


def _judged(incident: Incident) -> str:
    if incident.kind == "data":
        return f"Judged on deliveries up to {wording.day(incident.day)}."
    return f"Judged on data up to {wording.day(incident.day)}; days with incomplete deliveries are left out."


def _nearby(events: Sequence[str]) -> list[kit.Part]:
    """What happened near the onset, which need not be why."""
    if not events:
        return []
    shown = [kit.shorten(title, 150) for title in events[:EVENTS_SHOWN]]
    if len(events) > EVENTS_SHOWN:
        shown.append(f"… and {len(events) - EVENTS_SHOWN} more")
    return [kit.Part(6, (kit.context([f"Coincident, not causal: {shown[0]}", *shown[1:]]),))]


# ── Actions and track record ─────────────────────────────────────────────────────────────────────────────────────────


def _actions(catalog: Catalog, incident: Incident, about: About, links: Mapping[str, str]) -> list[Block]:
    """Buttons and menus, when somebody answers clicks: Slack shows a warning beside the button of an app that does not.

    Of an incident that is over the verdict is left: a spike is often over before anyone has looked at it, and would be
    missing in its metric's track record. Of one that was none, or is part of another, only the link.
    """
    if not about.actions:
        return []
    standing = about.standing
    elements: list[kit.Element] = []
    if not is_over(incident, about):
        if standing.acknowledged is None:
            elements.append(kit.button(ACKNOWLEDGE, "Acknowledge", style="primary"))
        elements.append(kit.users_select(ASSIGN, "Assign", standing.assignee))
    if _state(incident, about) not in _NOT_SO:
        elements.append(_verdict_menu(catalog, standing))
    if not is_over(incident, about):
        elements.append(kit.static_select(SNOOZE, "Snooze", _snoozes(catalog, incident)))
    elements += [kit.link_button(LINK, label, url) for label, url in list(links.items())[:1]]
    # With the standing: the menu of snoozes is the same afterwards, and would go on to show a choice taken back.
    shown = replace(standing, snooze=None) if is_over(incident, about) else standing
    block_id = kit.edition(kit.reference(catalog.name, incident.id), elements, asdict(shown))
    return [kit.actions(block_id, elements)] if elements else []


def _verdict_menu(catalog: Catalog, standing: Standing) -> kit.Element:
    """Verdicts with their causes, of which those that fit are shown; the one that was chosen is selected."""
    shown = max((len(causes) for causes in catalog.alerts.causes.values()), default=0)
    while True:
        menu, chosen = _verdicts(catalog, standing, shown)
        made = kit.static_select(VERDICT, "Verdict", menu, chosen)
        if kit.size([made]) <= MAX_ACTIONS - 1_500 or not shown:
            return made
        shown -= 1


def _verdicts(catalog: Catalog, standing: Standing, shown: int) -> tuple[dict[str, list[tuple[str, str]]], str]:
    """(the menu of verdicts with ``shown`` causes each, the value of the one that was chosen)."""
    menu: dict[str, list[tuple[str, str]]] = {}
    chosen = ""
    for verdict, title in VERDICTS.items():
        causes = catalog.alerts.causes.get(verdict, ())
        options = [(f"{title}: {cause}", f"{verdict}|{at}") for at, cause in enumerate(causes[:shown])]
        menu[title] = options or [(title, f"{verdict}|")]
        if verdict == standing.verdict:
            chosen = f"{verdict}|{causes.index(standing.cause) if standing.cause in causes else ''}"
    return menu, chosen


def _snoozes(catalog: Catalog, incident: Incident) -> dict[str, list[tuple[str, str]]]:
    scopes = SNOOZE_SCOPES
    if incident.kind == "data":
        who = kit.shorten(kit.clean(wording.unit(catalog, incident.unit)), 40) or kit.NOTHING
        scopes = {scope: title.format(who) for scope, title in HOLE_SCOPES.items()}
    return {
        title: [(f"{title}, {wording.count(days, 'day')}", f"{scope}|{days}") for days in SNOOZE_DAYS]
        for scope, title in scopes.items()
    }


def _record(incident: Incident, record: TrackRecord | None) -> list[Block]:
    """How often incidents of this metric were what they seemed to be; nothing when none was judged."""
    if record is None or not record.judged:
        return []
    of = "incident" if incident.kind == "shift" else "hole"
    where = "of this metric" if incident.kind == "shift" else "in the data"
    were, real = ("was" if number == 1 else "were" for number in (record.judged, record.real))
    low, high = (f"{100 * end:.0f}" for end in (record.low, record.high))
    told = (
        f"Of {wording.count(record.judged, of)} {where} that {were} judged, {record.real:,} {real} real "
        f"(precision {100 * record.precision:.0f} %, 95 % CI {low} to {high} %)"
    )
    return [kit.context([told])]
