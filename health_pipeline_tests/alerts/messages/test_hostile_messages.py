"""No name, caption or word from the data can break a message, or ping anybody.

Messages are built from hostile text in every place that text from the data, from a click or from a terminal can reach.
What comes out is read by a parser of Slack's control sequences that knows nothing of how they were made safe.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import html
import json
import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from health_pipeline.alerts.delivery.blocks import Content, Message, as_plain_text, violations
from health_pipeline.alerts.messages.digest import DigestLine, digest_content, rollup_content
from health_pipeline.alerts.messages.failure import failure_message
from health_pipeline.alerts.messages.incident import (
    About,
    change_content,
    incident_content,
    withdrawn_content,
)
from health_pipeline.alerts.people.standing import By, Snooze, Standing, TrackRecord
from health_pipeline.alerts.people.told import CHANGES
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Contribution, Explanation, Incident, Reach, Suspect
from health_pipeline.stats.attribution import Estimate
from health_pipeline_tests.alerts.by_hand import incident, member
from health_pipeline_tests.alerts.situations import ECOSYSTEMS, catalog_of
from health_pipeline_tests.slack_limits import invalid_blocks, too_long

PEOPLE = ("U012AB3CD", "W0LEAD0001", "S0OWNERS01")
HOSTILE = [
    "<!channel>", "<!here|here>", "<!everyone>", "<@U1>", "<@U666EVIL1>", "<!subteam^S666EVIL1>", "<#C1|general>",
    "<!date^1392734382^{date}|x>", "<https://evil.example|click>", "<mailto:a@evil.example>", "@here", "@channel",
    "@EVERYONE", "@\u200bchannel", "\ufe6bhere", "&lt;!here&gt;", "&amp;lt;@U1&amp;gt;", "&#60;!channel&#62;",
    "&", "<", ">", "`", "```", "*", "_", "~", "\n", "\r\n", "\u2028", "|", "=", "\t", "\0", "\x1b[31m", "\u202e",
    "\u2066", "\u200f", "\u200b", "\u2060", "\ufeff", "\u00ad", "\u3164", "\ud800", "😀", "👩‍👩‍👧", "é\u0301\u0301",
    "“", '"', "\\", "{category}", "%s", ":rotating_light:", " · ", "a",
]  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(HOSTILE), max_size=40).map("".join),
    st.builds(lambda part, times: (part * times)[:10_000], st.sampled_from(HOSTILE), st.just(10_000)),
)
USERS = st.one_of(st.sampled_from(PEOPLE), NAMES, NAMES.map("cli:{}".format), NAMES.map("U1{}".format))
NUMBERS = st.floats(-1e12, 1e12, allow_nan=False) | st.just(float("nan"))
STATES = st.sampled_from(["new", "worsening", "ongoing", "recovered", "settled", "retracted", "merged"])


def segments(catalog: Catalog, metric: str, name: str) -> str:
    """A segment of a metric, whose values are all the same name; the cube writes ``/`` for ``|`` in a value."""
    cut = max(catalog.cuts(catalog.metric(metric)), key=len)
    return "|".join(f"{dimension}={name.replace('|', '/')}" for dimension in cut)


@st.composite
def incidents(draw: st.DrawFn) -> tuple[Catalog, Incident, list[str]]:
    """An incident whose every text is hostile, of any metric of either ecosystem; and the texts."""
    catalog = catalog_of(draw(st.sampled_from(ECOSYSTEMS)))
    metric = draw(st.sampled_from([m.name for m in catalog.metrics]))
    names = draw(st.lists(NAMES, min_size=1, max_size=5))
    number, share, state = draw(NUMBERS), draw(st.floats(0, 1)), draw(STATES)
    is_hole = draw(st.booleans())
    where = segments(catalog, metric, names[0])
    cut = max(catalog.cuts(catalog.metric(metric)), key=len)
    parts = tuple(
        Contribution(segments(catalog, metric, name), Estimate(number, share, 2 * share), share) for name in names
    )
    told = incident(
        kind="data" if is_hole else "shift",
        shape=draw(st.sampled_from(sorted(wording.FINDINGS) if is_hole else ["spike", "level", "slope"])),
        table=catalog.tables[-1].name if is_hole else "",
        state=state,
        ended=dt.date(2025, 7, 9) if state in ("recovered", "settled", "retracted", "merged") else None,
        merged_into=names[-1],
        id=names[-1],
        unit=names[0],
        metric="" if is_hole else metric,
        segment="" if is_hole else where,
        direction=draw(st.sampled_from(["up", "down"])),
        expected=abs(number),
        observed=share,
        change=number,
        excess=draw(NUMBERS),
        members=() if is_hole else tuple(member(metric, segments(catalog, metric, n), change=share) for n in names * 3),
        events=tuple(names * 2),
        reach=Reach(9, 4, tuple(names), share, where),
        explanation=None
        if is_hole or not cut
        else Explanation(
            where, cut[0], Estimate(share, 0, 1), Estimate(share, 0, 1), Estimate(number, 0, 1), parts,
            dt.date(2025, 7, 1), dt.date(2025, 7, 3),
        ),
        suspects=tuple(Suspect("policy", f"“{name}” took effect.") for name in names * 2),
    )  # fmt: skip
    return catalog, told, names


@st.composite
def abouts(draw: st.DrawFn, names: list[str]) -> About:
    users = draw(st.lists(USERS, min_size=6, max_size=6))
    by = [By(user, dt.datetime(2025, 7, 3, 12, 42, tzinfo=dt.UTC)) for user in users]
    taken = draw(st.booleans())
    standing = Standing(
        acknowledged=by[0] if taken else None,
        assignee=users[1] if taken else "",
        assigned=by[2],
        verdict=draw(st.sampled_from([None, "real", "expected", "false_alarm", "new_normal"])),
        cause=names[-1],
        judged=by[3],
        snooze=Snooze("", None, dt.date(2025, 7, 9), by[4]) if draw(st.booleans()) else None,
    )
    return About(
        severity=draw(st.sampled_from(["P1", "P3"])),
        score=draw(st.none() | st.floats(0, 100)),
        rank=3,
        standing=standing,
        record=TrackRecord("any", 10**6, 2, 3, 4, 0.1, 0.9),
        told_at=draw(st.none() | st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2025, 7, 1))),
        overdue=draw(st.booleans()),
        mention=tuple(users * 3) if draw(st.booleans()) else (),
        trust=tuple(names),
        links={name: f"https://health.example/{name}?a=1&b={name}" for name in names},
        actions=draw(st.booleans()),
        notice=draw(st.sampled_from(["", "", "retracted"])),
        chart=True,
    )


# ── What Slack makes of it ───────────────────────────────────────────────────────────────────────────────────────────


def strings(part: Any) -> Iterator[tuple[str, str]]:
    """(type, text) of every text in blocks, however deep: what people see and what Slack parses."""
    if isinstance(part, dict):
        if part.get("type") in ("plain_text", "mrkdwn"):
            yield part["type"], part["text"]
        for inner in part.values():
            yield from strings(inner)
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from strings(inner)


def control_sequences(kind: str, text: str) -> list[str]:
    """What Slack would obey in a text: in mrkdwn all that stands between ``<`` and ``>``."""
    if kind == "plain_text":
        return re.findall(r"[<>]", text)
    assert text.count("<") == text.count(">") == len(re.findall(r"<[^<>]*>", text)), text
    return re.findall(r"<([^<>]*)>", text)


def is_ours(sequence: str, people: Collection[str]) -> bool:
    """Whether it is a link of ours, or pings one of those who were meant to be."""
    user = sequence.removeprefix("!subteam^") if sequence.startswith("!") else sequence.removeprefix("@")
    return user in people or bool(re.fullmatch(r"https://health\.example/[^\s|<>]*\|[^|<>]+", sequence))


def named(about: About) -> set[str]:
    """Who was meant to be pinged: those named by an ID of Slack's."""
    by = about.standing
    users = [*about.mention, by.assignee, *[b.user for b in (by.acknowledged, by.assigned, by.judged) if b]]
    users += [by.snooze.by.user] if by.snooze else []
    return {user for user in users if re.fullmatch(r"[UWS][A-Z0-9]{2,}", user)}


def assert_harmless(content: Content | Message, people: Collection[str] = ()) -> None:
    message = Message("key", "#channel", content.text, content.blocks)
    assert violations(message) == []
    assert invalid_blocks(list(content.blocks)) == []
    assert not too_long(list(content.blocks))
    json.dumps([content.text, content.blocks], ensure_ascii=False).encode()
    assert content.text.strip()
    ids = [block["block_id"] for block in content.blocks if "block_id" in block]
    actions = [e["action_id"] for b in content.blocks if b["type"] == "actions" for e in b["elements"]]
    assert len(ids) == len(set(ids))
    assert len(actions) == len(set(actions))
    for kind, text in [*strings(content.blocks), ("plain_text", content.text)]:
        assert all(is_ours(sequence, people) for sequence in control_sequences(kind, text)), (kind, text)
        for seen in (text, html.unescape(text)):
            assert not re.search(r"@(channel|here|everyone)", seen, re.IGNORECASE), text
        hidden = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs")} - {"\n", "\u2060"}
        assert not hidden, (hidden, text)
        assert html.unescape(text).strip(" \n\u2060"), (kind, text)
    assert "\x1b" not in as_plain_text(content)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_no_text_breaks_a_message_or_pings_anyone(data: st.DataObject) -> None:
    catalog, told, names = data.draw(incidents())
    about = data.draw(abouts(names))
    full = incident_content(catalog, told, about)
    assert_harmless(full, named(about))
    assert full == incident_content(catalog, told, about)
    assert_harmless(withdrawn_content(full))
    assert_harmless(withdrawn_content(full, reply=True))
    assert_harmless(change_content(catalog, told, about, data.draw(st.sampled_from(CHANGES))), named(about))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_no_text_breaks_a_digest_or_makes_it_ping(data: st.DataObject) -> None:
    catalog, told, names = data.draw(incidents())
    about = dataclasses.replace(data.draw(abouts(names)), mention=PEOPLE)
    changes = data.draw(st.lists(st.sampled_from(CHANGES), max_size=60))
    lines = [DigestLine(told, about, what) for what in changes]
    day = dt.date(2025, 7, 3)
    assert_harmless(digest_content(catalog, day, lines, snoozed=10**6, open_count=10**6, more=10**6, links=about.links))
    assert_harmless(rollup_content(catalog, lines, more=3, links=about.links))


@settings(max_examples=40, deadline=None)
@given(job=NAMES, run_id=NAMES, step=st.none() | NAMES, error=NAMES, link=NAMES)
def test_no_text_breaks_the_message_of_a_failure(
    catalog: Catalog, job: str, run_id: str, step: str | None, error: str, link: str
) -> None:
    link = f"https://health.example/{link}"
    message = failure_message(catalog, job=job, run_id=run_id, step=step, error=error, link=link)
    assert violations(message) == []
    assert_harmless(message)


def test_a_message_in_which_everything_is_as_long_as_can_be_is_cut_and_says_so() -> None:
    catalog, name = catalog_of("marketplace"), "\\😀" * 5_000
    metric, where = "violative_live_rate", f"market={name}|category={name}"
    by = By(f"cli:{name}", dt.datetime(2025, 7, 3, 12, 42, tzinfo=dt.UTC))
    told = incident(
        id=name, unit=name, metric=metric, segment=where, expected=1e-9, observed=1.0, change=1e9, excess=1e15,
        members=tuple(member(metric, where) for _ in range(9)), events=(name,) * 9,
        reach=Reach(10**6, 10**6, (name,) * 9, 0.5, f"market={name}"),
        explanation=Explanation(
            where, "tier", Estimate(1e9, 1e9, 1e9), Estimate(1e9, 1e9, 1e9), Estimate(1e9, 1e9, 1e9),
            tuple(Contribution(f"tier={name}", Estimate(1e9, 1e9, 1e9), 0.5) for _ in range(9)),
            dt.date(2025, 7, 1), dt.date(2025, 7, 3),
        ),
        suspects=(Suspect("policy", name),) * 9,
    )  # fmt: skip
    about = About(
        "P1", 1e9, 10**9, Standing(None, by.user, by, "real", name, by, Snooze("", None, dt.date(2025, 7, 9), by)),
        TrackRecord(metric, 10**9, 10**9, 10**9, 10**9, 0.1, 0.9), by.at, True, ("U" + "A" * 30,) * 99, (name,) * 9,
        {f"{n}{name}": f"https://health.example/{n}{'&a' * 35}" for n in range(9)}, True, "", True,
    )  # fmt: skip
    content = incident_content(catalog, told, about)
    assert_harmless(content, named(about))
    shown = as_plain_text(content)
    for part in (
        "There is more than a message holds.",
        "Overdue since",
        "Expected",
        "[Acknowledge]",
        "https://health.example/1",
    ):
        assert part in shown
    assert "Coincident" not in shown
    assert_harmless(withdrawn_content(content))
