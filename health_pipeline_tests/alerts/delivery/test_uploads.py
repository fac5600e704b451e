"""A picture comes into its thread once, whichever of its three requests breaks."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.deliver import Delivery, deliver
from health_pipeline.alerts.delivery.slack import NotPostedError, Slack
from health_pipeline_tests.alerts.conftest import BRIEF
from health_pipeline_tests.alerts.delivery.test_followers import AT_ONCE, intent, run
from health_pipeline_tests.fake_slack import FakeSlack

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100
UPLOAD = intent(
    "upload", "chart", file=PICTURE, filename="series.png", alt="The series falls in July.", text="As seen."
)
STEPS = ("files.getUploadURLExternal", "upload", "files.completeUploadExternal")


@pytest.fixture
def queued(engine: sa.Engine, put: Callable[..., None], slack: Slack, server: FakeSlack) -> None:
    """A post that stands in Slack, and its picture in the outbox."""
    put("a")
    run(engine, slack)
    assert outbox.enqueue(engine, UPLOAD, ecosystem="eu_dsa")
    server.requests.clear()


@pytest.mark.usefixtures("queued")
def test_a_picture_arrives_in_the_thread_byte_for_byte_with_its_words(
    engine: sa.Engine, server: FakeSlack, slack: Slack
) -> None:
    assert run(engine, slack) == Delivery(sent=1)
    assert server.requests == list(STEPS)
    post, shared = server.messages
    assert (shared["thread_ts"], shared["text"]) == (post["ts"], "As seen.")
    ((file_id, file),) = server.files.items()
    assert file == {
        "name": UPLOAD.unique_filename,
        "length": len(PICTURE),
        "alt_txt": "The series falls in July.",
        "title": "series.png",
        "data": PICTURE,
        "shared": True,
    }
    (entry,) = backlog.entries(engine, kind="upload")
    assert (entry.state, entry.file_id) == ("sent", file_id)
    with engine.connect() as connection:
        bytes_kept = connection.execute(sa.select(outbox.OUTBOX.c.file)).scalars().all()
    assert bytes_kept == [None, None], "what Slack has is not kept twice"


def test_the_name_of_a_file_tells_its_key() -> None:
    other = dataclasses.replace(UPLOAD, key="another")
    assert UPLOAD.unique_filename.startswith("series-") and UPLOAD.unique_filename.endswith(".png")
    assert other.unique_filename != UPLOAD.unique_filename


@pytest.mark.usefixtures("queued")
@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "error_before", "error_after", "rate_limited:0"])
@pytest.mark.parametrize("step", STEPS)
def test_a_picture_comes_once_whatever_breaks_on_its_way(
    engine: sa.Engine, server: FakeSlack, slack: Slack, step: str, fault: str
) -> None:
    server.faults[step].append(fault)
    result = run(engine, slack)
    assert (result.sent, result.failed, result.doubtful) == (1, 1, 0)
    assert [m["files"][0]["name"] for m in server.messages[1:]] == [UPLOAD.unique_filename]
    assert sum(file["shared"] for file in server.files.values()) == 1
    shared_unheard = step == STEPS[2] and fault.endswith("after")
    assert result.found == shared_unheard
    (entry,) = backlog.entries(engine, kind="upload")
    assert server.files[entry.file_id or ""]["shared"]


@pytest.mark.usefixtures("queued")
def test_a_picture_that_shows_late_is_found_all_the_same(engine: sa.Engine, server: FakeSlack, slack: Slack) -> None:
    server.share_delay = 0.4
    server.faults[STEPS[2]].append("drop_after")
    assert run(engine, slack).found == 1
    assert len(server.messages) == 2


@pytest.mark.usefixtures("queued")
def test_a_slow_upload_does_not_share_a_picture_that_another_took_over(
    engine: sa.Engine, server: FakeSlack, slack: Slack
) -> None:
    claimed = outbox.claim(engine, patience=slack.patience, interval=AT_ONCE)
    assert claimed is not None
    assert outbox.begin(engine, claimed)
    slack.upload(claimed.intent)
    other = outbox.claim(engine, patience=dt.timedelta(seconds=-60), interval=AT_ONCE)
    assert other is not None and other.doubtful
    assert not outbox.renew(engine, claimed)
    assert outbox.renew(engine, other)


@pytest.mark.usefixtures("queued")
def test_bytes_that_take_longer_than_others_are_patient_are_not_shared(
    engine: sa.Engine, server: FakeSlack, slack: Slack, take_over: Callable[[str], list[outbox.Claim | None]]
) -> None:
    taken_over = take_over("upload")
    assert run(engine, slack, BRIEF) == Delivery(doubtful=1)
    assert taken_over[0] is not None and server.requests == list(STEPS[:2])
    assert run(engine, slack).sent == 1
    assert server.requests.count(STEPS[2]) == 1


@pytest.mark.usefixtures("queued")
def test_without_the_scope_for_files_the_picture_is_held_and_words_go_on(
    engine: sa.Engine, server: FakeSlack, slack: Slack
) -> None:
    server.scopes -= {"files:write"}
    assert outbox.enqueue(engine, intent("reply", "r"), ecosystem="eu_dsa")
    result = run(engine, slack)
    assert (result.sent, result.held) == (1, 1)
    assert "files:write" in result.problems[0]
    server.scopes |= {"files:write"}
    assert outbox.requeue(engine, "chart")
    assert run(engine, slack).sent == 1
    assert len(server.messages) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file": b""}, "bytes of the file: 0"),
        ({"alt": ""}, "alt text: 0"),
        ({"alt": "x" * 1_001}, "alt text: 1001"),
        ({"filename": "x" * 300 + ".png"}, "file name"),
        ({"text": "<!channel> look"}, "control character"),
    ],
)
def test_a_picture_that_breaks_the_limits_never_leaves(
    engine: sa.Engine,
    server: FakeSlack,
    slack: Slack,
    put: Callable[..., None],
    changes: dict[str, object],
    words: str,
) -> None:
    put("a")
    run(engine, slack)
    assert outbox.enqueue(engine, dataclasses.replace(UPLOAD, **changes), ecosystem="eu_dsa")  # type: ignore[arg-type]
    result = run(engine, slack)
    assert result.held == 1
    assert words in result.problems[0]
    assert server.requests == ["chat.postMessage"]


@pytest.mark.usefixtures("queued")
def test_an_upload_address_that_is_no_web_address_is_not_opened(
    engine: sa.Engine, slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack._client, "files_getUploadURLExternal", lambda **_: {"upload_url": "file:///etc/passwd"})
    with pytest.raises(NotPostedError, match="no web address"):
        slack.upload(UPLOAD)


@pytest.mark.usefixtures("queued")
def test_a_deliverer_may_wait_for_the_next_pass(engine: sa.Engine, server: FakeSlack, slack: Slack) -> None:
    server.faults["upload"].append("error_before")
    result = deliver(engine, slack, budget=dt.timedelta(seconds=0.5), interval=AT_ONCE)
    assert (result.pending, result.doubtful) == (1, 0), "nothing shows in Slack before the last step"
    assert backlog.channels(engine)[0].resting_until is not None
