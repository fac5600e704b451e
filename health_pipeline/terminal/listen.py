"""``health-pipeline slack run`` and ``slack http``: answer clicks, and carry to Slack what waits."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from health_pipeline.alerts.app.desk import Desk, told_subjects
from health_pipeline.alerts.app.signed_http import serve_http
from health_pipeline.alerts.app.socket_mode import serve_socket
from health_pipeline.alerts.delivery.slack import NotPostedError, OutcomeUnknownError, Slack, TokenError
from health_pipeline.alerts.post import refresh
from health_pipeline.catalog.loader import bundled_ecosystems
from health_pipeline.charts_incident import incident_drawing
from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.pipeline import Pipeline
from health_pipeline.storage.state import opened_state
from health_pipeline.terminal.slack import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET

EVERY_SECONDS = 30.0


def run(ecosystems: Sequence[str], console: Console) -> None:
    """Listen in Socket Mode until Ctrl-C or SIGTERM.

    Raises:
        UserError: a token is missing or refused.
    """
    token, app_token = _needed(BOT_TOKEN), _needed(APP_TOKEN)
    with _desk(ecosystems, console) as (desk, base_url):
        serve_socket(
            desk, token=token, app_token=app_token, base_url=base_url,
            announce=_printed(console),
        )  # fmt: skip


def http(ecosystems: Sequence[str], host: str, port: int, console: Console) -> None:
    """Serve the endpoint for signed clicks until Ctrl-C or SIGTERM.

    Raises:
        UserError: a token or the signing secret is missing, the token is refused, or nothing can listen there.
    """
    token, secret = _needed(BOT_TOKEN), _needed(SIGNING_SECRET)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _desk(ecosystems, console) as (desk, base_url), contextlib.suppress(KeyboardInterrupt):
        serve_http(
            desk, token=token, signing_secret=secret, host=host, port=port, base_url=base_url,
            announce=_printed(console),
        )  # fmt: skip


@contextlib.contextmanager
def _desk(ecosystems: Sequence[str], console: Console) -> Iterator[tuple[Desk, str]]:
    """A desk for the bundled ecosystems and the given ones, whose messages are brought up to date every so often."""
    home = Home.from_environment()
    pipelines = {p.catalog.name: p for p in (Pipeline.of(name, home) for name in [*bundled_ecosystems(), *ecosystems])}
    catalogs = {name: pipeline.catalog for name, pipeline in pipelines.items()}
    called = {p.catalog.name: str(Path(p.catalog.folder).resolve()) for p in pipelines.values()
              if bundled_ecosystems().get(p.catalog.name) != p.catalog.folder}  # fmt: skip
    slack = Slack.from_environment()
    assert slack is not None
    _identify(slack, console)
    with opened_state(home.state_url) as engine, _logged():
        desk = Desk(
            engine,
            catalogs,
            known=told_subjects(engine, catalogs),
            refresh=_refresher(pipelines, console),
            client=slack.web_client,
            called=called,
        )
        stop = threading.Event()
        keeper = threading.Thread(target=_keep_up, args=(desk, stop), name="keep up", daemon=True)
        console.print(f"For {', '.join(catalogs)}. Ctrl-C stops.", highlight=False, soft_wrap=True)
        keeper.start()
        try:
            yield desk, slack.web_client.base_url
        finally:
            stop.set()
            desk.close()
    console.print("Stopped.", highlight=False)


def _identify(slack: Slack, console: Console) -> None:
    """Fail with a token that Slack refuses: nothing would be told, and no message edited. Warn without an answer."""
    try:
        slack.identify()
    except TokenError as error:
        raise UserError(
            f"{BOT_TOKEN}: {error}", "`health-pipeline slack setup` says where each token comes from."
        ) from None
    except (NotPostedError, OutcomeUnknownError) as error:
        console.print(f"[yellow]![/] {escape(str(error))}", highlight=False, soft_wrap=True)


def _printed(console: Console) -> Callable[[str], None]:
    return lambda words: console.print(words, markup=False, highlight=False, soft_wrap=True)


def _refresher(pipelines: dict[str, Pipeline], console: Console) -> Callable[[str], None]:
    """Brings the messages of an ecosystem up to date; says what Slack does not take, each time that this changes."""
    said: dict[str, tuple[str, ...]] = {}

    def bring_up_to_date(name: str) -> None:
        pipeline = pipelines[name]
        draw = incident_drawing(pipeline.catalog, pipeline.series_sources)
        posted = refresh(pipeline.catalog, pipeline.alert_sources, pipeline.home.state_url, draw=draw)
        problems = posted.delivery.problems
        if problems != said.get(name, ()):
            for problem in problems:
                console.print(f"[yellow]![/] {name}: {problem}", highlight=False, soft_wrap=True)
        said[name] = problems
        if posted.delivery.sent:
            console.print(f"{name}: {posted.delivery.sent} sent.", highlight=False)

    return bring_up_to_date


def _keep_up(desk: Desk, stop: threading.Event) -> None:
    while not stop.wait(EVERY_SECONDS):
        desk.catch_up()


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Warnings and what was refused, on standard error with the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("health_pipeline")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _needed(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(f"{name} is not set.", "`health-pipeline slack setup` says where each token comes from.")
    return value
