"""The ``health-pipeline`` command. Light to import: what is heavy is imported by the command that needs it."""

from __future__ import annotations

import io
import sys

from rich.console import Console

from health_pipeline.cli import catalog, slack
from health_pipeline.cli.commands import app
from health_pipeline.errors import UserError

app.add_typer(catalog.app, name="catalog")
app.add_typer(slack.app, name="slack")


def main() -> None:
    """Entry point: a user's mistake ends in one clear sentence and an exit code, never in a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # data are in any script, and not every terminal is
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="health-pipeline")
    except UserError as error:
        console = Console(stderr=True)
        console.print("[bold red]✗[/] ", end="")
        console.print(error.message, highlight=False, markup=False, soft_wrap=True)
        if error.hint:
            console.print(f"  {error.hint}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
