"""``health-pipeline up``: the Dagster UI and the daemon, started together and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console

from health_pipeline.errors import RunError, UserError
from health_pipeline.home import Home
from health_pipeline.terminal.instance import end_lost_runs, prepare, settings_file
from health_pipeline.terminal.typed import as_typed

START_SECONDS = 120.0
STOP_SECONDS = 20.0
LOST_RUNS_SECONDS = 60.0


def up(ecosystem: str, host: str, port: int, console: Console) -> None:
    """Start, print where to look, wait, and stop everything on Ctrl-C or SIGTERM.

    Raises:
        CatalogError: the catalog is wrong; nothing is started.
        UserError: the port is taken.
        RunError: a process ended by itself; says where its log is.
    """
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    _free(host, port)
    os.environ["HEALTH_PIPELINE_ECOSYSTEMS"] = str(pipeline.catalog.folder) if Path(ecosystem).is_dir() else ecosystem
    url = f"http://{host if host != '0.0.0.0' else '127.0.0.1'}:{port}"
    os.environ.setdefault("HEALTH_PIPELINE_URL", url)
    console.print("Preparing storage …", highlight=False)
    instance = prepare(pipeline.home)
    logs = pipeline.home.root / "logs"
    logs.mkdir(exist_ok=True)
    workspace = str(settings_file("workspace.yaml"))
    here = Path(sys.executable).parent
    commands = {
        "daemon": [str(here / "dagster-daemon"), "run", "-w", workspace],
        "webserver": [str(here / "dagster-webserver"), "-w", workspace, "-h", host, "-p", str(port)],
    }
    running: dict[str, subprocess.Popen[bytes]] = {}
    for sign in (signal.SIGINT, signal.SIGTERM):  # a shell that starts us in the background has SIGINT ignored
        signal.signal(sign, signal.default_int_handler)
    try:
        for name, command in commands.items():
            with (logs / f"{name}.log").open("ab") as log:
                # A session of its own: Ctrl-C reaches us alone, and we stop both in good order.
                running[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        console.print("Starting the web server and the daemon …", highlight=False)
        _wait_until_ready(url, running, logs)
        console.print(f"[green]✓[/] Dagster UI       {url}", highlight=False)
        console.print(f"[green]✓[/] Incidents        {url}/assets/{pipeline.catalog.name}/incidents", highlight=False)
        console.print(f"[green]✓[/] Schedules etc.   {url}/automation", highlight=False)
        console.print(f"[green]✓[/] Inbox            {pipeline.inbox}", highlight=False, soft_wrap=True)
        if os.environ.get("SLACK_BOT_TOKEN") and (how := _listener()):
            typed = as_typed(pipeline.catalog, how)
            console.print(
                f"[yellow]![/] Clicks in Slack  {typed}  in another terminal", highlight=False, soft_wrap=True
            )
        console.print(f"[dim]Logs are in {logs}. Ctrl-C stops everything.[/]", highlight=False, soft_wrap=True)
        looked = time.monotonic()
        while True:
            _all_alive(running, logs)
            if time.monotonic() - looked > LOST_RUNS_SECONDS:
                end_lost_runs(instance)
                looked = time.monotonic()
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("\nStopping …", highlight=False)
    finally:
        _stop(running)
        instance.dispose()
    console.print("Stopped.", highlight=False)


def _listener() -> str:
    """The command that answers clicks with what is set; "" when nothing is."""
    if os.environ.get("SLACK_APP_TOKEN"):
        return "slack run"
    return "slack http" if os.environ.get("SLACK_SIGNING_SECRET") else ""


def _free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"Can't listen on {host}:{port}: {error.strerror}.",
                f"Perhaps it is already running; else choose another port: health-pipeline up --port {port + 1}",
            ) from None


def _wait_until_ready(url: str, running: dict[str, subprocess.Popen[bytes]], logs: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        _all_alive(running, logs)
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{url}/server_info", timeout=2),
        ):
            return
        time.sleep(0.3)
    raise RunError(
        f"The web server did not answer within {START_SECONDS:.0f} seconds.", f"Look into {logs / 'webserver.log'}."
    )


def _all_alive(running: dict[str, subprocess.Popen[bytes]], logs: Path) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            raise RunError(
                f"The {name} ended by itself (exit code {process.returncode}).", f"Look into {logs / f'{name}.log'}."
            )


def _stop(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Interrupt every process, give it time to end its children, then end what is left of its session."""
    for process in running.values():
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for process in running.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
