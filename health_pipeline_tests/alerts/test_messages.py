"""What people read in Slack, and that no name in the data can break or abuse it."""

from __future__ import annotations

import datetime as dt
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.alerts.message import (
    Message,
    as_plain_text,
    escape,
    failure_message,
    incident_message,
    severity,
    violations,
    withdrawal_message,
)
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Contribution, Estimate, Explanation, Reach, Suspect
from health_pipeline_tests.alerts.by_hand import data_incident, incident, member
from health_pipeline_tests.fake_slack import _invalid

LINK = "https://health.example/incidents/TikTok-statements-2025-07-02?day=2025-07-03&view=all"


def test_a_level_shift_is_told_with_numbers_evidence_and_members(catalog: Catalog) -> None:
    members = [member("statements", "platform=TikTok")] + [
        member("statements_by_category", f"platform=TikTok|category=STATEMENT_CATEGORY_{name}")
        for name in ("SELF_HARM", "ANIMAL_WELFARE", "VIOLENCE", "NEGATIVE_EFFECTS", "SCAMS", "OTHER", "MORE")
    ]
    shift = incident(members=tuple(members), events=("A new statement schema applies",))
    message = incident_message(catalog, shift, score=5.7, rank=1, links={"Open incident": LINK})
    said = wording.sentence(catalog, shift)
    assert "−49 %" in said
    assert "1 July 2025" in said
    assert as_plain_text(message).splitlines() == [
        f"Ongoing · P2 · {wording.title(catalog, shift)}",
        "owner trust-and-safety-analytics · score 5.7, rank 1 of 3 July 2025 · TikTok-statements-2025-07-02",
        said,
        "Expected: 1.2 M a day",
        "Observed: 610 k a day",
        "Beyond expectation: 590 k fewer statements a day",
        "q-value below 0.0001 among 1,240 series tested · onset 1 July 2025 "
        "(between 30 June 2025 and 1 July 2025) · first reported 2 July 2025, seen for 3 days",
        "7 child alerts rolled up",
        *(f"• {wording.member(catalog, m)}" for m in members[1:4]),
        "… and 4 more",
        "Judged on data up to 3 July 2025; days with incomplete deliveries are left out.",
        "Coincident, not causal: A new statement schema applies",
        f"Open incident: {LINK}",
    ]
    assert message.text == f"Ongoing, P2: {said} {LINK.replace('&', '&amp;')}"
    assert (message.key, message.channel) == (
        "eu_dsa:incident:TikTok-statements-2025-07-02:open",
        "#ecosystem-health",
    )


def test_a_spike_in_a_share_counts_the_things_concerned(catalog: Catalog) -> None:
    spike = incident(
        state="new",
        shape="spike",
        direction="up",
        metric="automated_detection_rate",
        series="automated_detection_rate|platform=TikTok",
        expected=0.41,
        observed=0.62,
        change=0.512,
        change_low=0.48,
        change_high=0.55,
        excess=41_000.0,
        q_value=0.0042,
        onset=dt.date(2025, 7, 3),
        onset_low=dt.date(2025, 7, 3),
        onset_high=dt.date(2025, 7, 3),
    )
    text = as_plain_text(incident_message(catalog, spike))
    assert text.startswith("New · P3 · ")
    assert "Expected: 41 %\nObserved: 62 % (121 k of 195 k statements a day)\n" in text
    assert "Beyond expectation: 41.0 k more such statements a day" in text
    assert "q-value 0.0042 among 1,240 series tested · onset 3 July 2025 · first" in text
    assert "seen for 1 day" in text
    assert "rolled up" not in text


def test_a_hole_in_the_data_says_that_nothing_was_judged(catalog: Catalog) -> None:
    message = incident_message(catalog, data_incident(state="new"), links={"Open incident": LINK})
    assert as_plain_text(message).splitlines() == [
        "New · P2 · X has delivered nothing",
        "X-delivery-2025-07-01",
        wording.sentence(catalog, data_incident(state="new")),
        "Usually delivered: 700 k a day",
        "Delivered: 0 on 3 July 2025",
        "Judged on deliveries up to 3 July 2025.",
        f"Open incident: {LINK}",
    ]
    assert "not judged" in message.text


def test_an_incident_has_one_message_while_open_and_one_when_it_ends(catalog: Catalog) -> None:
    def key(state: str, ended: dt.date | None = None) -> str:
        return incident_message(catalog, incident(state=state, ended=ended)).key

    end = dt.date(2025, 7, 9)
    assert key("new") == key("ongoing")
    assert len({key("new"), key("recovered", end), key("settled", end)}) == 3


def test_severity_follows_the_stated_thresholds() -> None:
    shift = incident()
    assert [severity(shift, s) for s in (None, 4.9, 5.0, 9.9, 10.0)] == ["P3", "P3", "P2", "P2", "P1"]
    found = {shape: severity(data_incident(shape=shape), None) for shape in wording.FINDINGS}
    assert found == {"missing": "P2", "empty": "P2", "partial": "P3", "settling": "P3", "backlog": "P3"}


def test_a_pipeline_failure_names_job_step_run_and_the_first_line_of_the_error(catalog: Catalog) -> None:
    message = failure_message(
        catalog,
        job="daily",
        run_id="4f1c",
        step="raw__facts",
        error="\nInputError: <file> can't be read\nTraceback …",
        link="http://127.0.0.1:3000/runs/4f1c",
    )
    assert as_plain_text(message).splitlines() == [
        "Pipeline failure · daily",
        "eu_dsa · run 4f1c",
        "Job daily failed at step raw__facts.",
        "InputError: <file> can't be read",
        "Open run: http://127.0.0.1:3000/runs/4f1c",
    ]
    assert message.channel == "#ecosystem-health-pipeline"
    assert "&lt;file&gt;" in message.text
    assert not violations(message)


def test_only_web_links_that_fit_are_shown(catalog: Catalog) -> None:
    links = {
        "Bad": "javascript:alert(1)",
        "Long": "https://x/" + "a" * 5_000,
        "Odd|<b>": "https://x/a b<c>|d",
    }
    message = incident_message(catalog, incident(), links=links)
    assert message.blocks[-1]["text"]["text"] == "<https://x/a%20b%3Cc%3E%7Cd|Odd/&lt;b&gt;>"
    assert not violations(message)


def test_what_is_too_long_is_cut_between_characters() -> None:
    assert escape("a" * 10, 10) == "a" * 10
    assert escape("a" * 11, 10) == "a" * 9 + "…"
    assert escape("&" * 11, 12) == "&amp;&amp;…"
    assert escape("\x00 \u202e", 10) == "–"


def test_the_check_finds_what_slack_would_refuse() -> None:
    bad = Message(
        "k" * 300,
        "#c",
        "",
        (
            {"type": "header", "text": {"type": "plain_text", "text": "h" * 151}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "<!channel>"}},
            {"type": "section", "fields": [{"type": "plain_text", "text": "f"}] * 11},
            {"type": "context", "elements": [{"type": "plain_text", "text": ""}]},
            {"type": "video"},
        ),
    )
    found = "\n".join(violations(bad))
    for part in ("key: 300", "text: 0", "block 0 (header): 151", "'<!channel>'", "fields: 11", "video"):
        assert part in found


HOSTILE = [
    "<!channel>",
    "<@U012AB3CD>",
    "<https://evil.example|click>",
    "@here",
    "@everyone",
    "@\u200bchannel",
]
HOSTILE += ["&lt;!here&gt;", "```", "\u202e", "\x1b[31m", "\0", "\n", "🛒", *'*_`&<>"\\{} ']
NAMES = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(HOSTILE), max_size=400).map("".join)).map(
    lambda name: name.replace("|", "/")
)  # separates the parts of a segment's id
NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=9),
    number=NUMBERS,
    share=st.floats(0, 1),
    score=st.none() | st.floats(0, 100),
    kind=st.sampled_from(["shift", "data"]),
    metric=st.sampled_from(["statements", "category_share", "moderation_delay"]),
)
def test_no_name_breaks_a_message_or_pings_anyone(
    catalog: Catalog,
    names: list[str],
    number: float,
    share: float,
    score: float | None,
    kind: str,
    metric: str,
) -> None:
    name = names[0]
    shift = incident(
        kind=kind,
        shape="level" if kind == "shift" else "partial",
        id=f"{name}-x",
        unit=name,
        metric=metric,
        segment=f"platform={name}|category={name}",
        expected=abs(number),
        observed=share,
        excess=number,
        members=tuple(
            member("category_share", f"platform={other}|category={other}", expected=share) for other in names
        ),
        events=tuple(names),
        reach=Reach(9, 4, tuple(names), share, f"platform={name}"),
        explanation=Explanation(
            f"platform={name}|category={name}", "category", Estimate(number, number, number), Estimate(share, 0, 1),
            Estimate(number, 0, 1), tuple(Contribution(f"category={n}", Estimate(number, 0, 1), 0.1) for n in names),
            dt.date(2025, 7, 1), dt.date(2025, 7, 3),
        ),
        suspects=tuple(Suspect("policy", f"“{n}” took effect.") for n in names),
    )  # fmt: skip
    links = {other: f"https://health.example/{other}?a=1&b={other}" for other in names}
    for message in (
        told := incident_message(catalog, shift, score=score, rank=3, links=links, trust=names),
        withdrawal_message(catalog, told),
        failure_message(catalog, job=name, run_id=name, step=name, error="\n".join(names), link=f"http://{name}"),
    ):
        assert not violations(message)
        assert not _invalid(list(message.blocks))
        json.dumps([message.key, message.text, message.blocks], ensure_ascii=False).encode()
        parts = [message.text]
        for block in message.blocks:
            texts = [block["text"]] if "text" in block else block.get("fields") or block["elements"]
            parts += [t["text"] for t in texts]
        for part in parts:
            without_links = re.sub(r"<https?://[^<>|\s]*\|[^<>|]*>", "", part)
            assert not re.search(r"[<>]|@(channel|here|everyone)", without_links, re.IGNORECASE)
        assert "\x1b" not in as_plain_text(message)
