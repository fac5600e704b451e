"""Draw the documentation's pictures anew: ``make pictures``, or ``python -m benchmarks.pictures [NAME ...]``.

Charts are drawn in this process from bundled data. Pictures of pages are taken with a Chromium or Chrome, if there is
one (``CHROMIUM`` names it). Figures of studies are drawn by the studies. CONTRIBUTING.md lists which is which.

It shows what ``health-pipeline run`` and ``health-pipeline run -e marketplace`` left in the home, so run these first.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from health_pipeline import charts
from health_pipeline.charts_risk import Known, estimates_chart
from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.pipeline import Pipeline
from health_pipeline.report.lists import ACTORS

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "img"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 120
LISTS_SHOWN = 2
"""Rows of each queue in the picture of the lists: more would not be read."""


def detect(target: Path) -> None:
    """The report that docs/detect.md shows, by the command that it names."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "health_pipeline.cli", "detect", "examples/detect/platforms.csv"]
        out = ["--out", f"{folder}/shifts.csv", "--charts", f"{folder}/charts"]
        subprocess.run([*command, *out], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (drawn,) = Path(folder, "charts").glob("*-google-shopping.svg")
        shutil.copyfile(drawn, target)


def precision(target: Path) -> None:
    """How often models and rules of the simulated marketplace were right."""
    pipeline = _pipeline("marketplace")
    lists = pipeline.tables.lists
    days = lists.precision.days() if lists else []
    if lists is None or not days:
        raise _nothing("marketplace")
    rows = [r for r in lists.precision.read([days[-1]]).to_pylist() if r["subject"] in ("actor", "model", "rule")]
    rows.sort(key=lambda r: (r["subject"], r["precision"]))
    known = [Known(ACTORS.get(r["name"], r["name"]), r["precision"], r["low"], r["high"]) for r in rows]
    spec = estimates_chart(known, title=f"actions that were right, {days[-1]}", most=1.0, width=800)
    target.write_bytes(charts.png(spec))


def report(target: Path) -> None:
    """The upper part of the bundled data's report."""
    _photograph(_page("eu_dsa"), target, 1120, 1350)


def lists(target: Path) -> None:
    """The simulated marketplace's review lists in its report, the first rows of each."""
    hidden = (
        "section, article, header.page, footer, details { display: none } section[aria-labelledby=review] { display: "
        f"block; margin-top: 24px }} #review-clusters, #review-clusters + * {{ display: none }} table.cases tbody tr:nth-child(n+{LISTS_SHOWN + 1}) {{ display: none }}"
    )
    page = _page("marketplace").replace("</head>", f"<style>{hidden}</style></head>")
    _photograph(page, target, 1000, 1290)


DRAWN: dict[str, Callable[[Path], None]] = {"detect.svg": detect, "precision.png": precision}
PHOTOGRAPHED: dict[str, Callable[[Path], None]] = {"report.png": report, "lists.png": lists}


def _pipeline(ecosystem: str) -> Pipeline:
    return Pipeline.of(ecosystem, Home.from_environment())


def _nothing(ecosystem: str) -> UserError:
    return UserError(f"{ecosystem} was not run in this home.", f'Run `make run ARGS="-e {ecosystem}"` first.')


def _page(ecosystem: str) -> str:
    path = Home.from_environment().report(ecosystem)
    if not path.exists():
        raise _nothing(ecosystem)
    return path.read_text(encoding="utf-8")


def browser() -> str | None:
    """The command of a Chromium or Chrome."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)


def _photograph(page: str, target: Path, width: int, height: int) -> None:
    command = browser()
    if command is None:
        raise UserError(
            f"{target.name} is a picture of a page, and there is no browser to take it.",
            "Install Chromium, or name one in CHROMIUM.",
        )
    with tempfile.TemporaryDirectory() as folder:
        source, taken = Path(folder, "page.html"), Path(folder, "page.png")
        # Always light, wherever it is taken.
        light = re.sub(r"@media screen and \(prefers-color-scheme: dark\)", "@media not all", page)
        source.write_text(light, encoding="utf-8")
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
            f"--screenshot={taken}", f"--window-size={width},{height}",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                [command, *flags, source.as_uri()], timeout=SECONDS, capture_output=True, text=True, check=False
            )
            said = done.stderr.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
        if not taken.exists():
            raise UserError(f"{command} took no picture. {said}".strip(), "Another browser can be named in CHROMIUM.")
        shutil.copyfile(taken, target)


def draw(names: Sequence[str], folder: Path = IMAGES) -> list[UserError]:
    """Draw pictures, and say which could not be.

    Args:
        names: of files; every picture by default.
    """
    failed = []
    for name, make in {**DRAWN, **PHOTOGRAPHED}.items():
        if names and name not in names:
            continue
        try:
            make(folder / name)
        except UserError as error:
            print(f"{name}: {error.message} {error.hint}", file=sys.stderr)
            failed.append(error)
        else:
            print(f"Drew {folder / name}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*DRAWN, *PHOTOGRAPHED]))
    names = parser.parse_args().names
    unknown = set(names) - {*DRAWN, *PHOTOGRAPHED}
    if unknown:
        parser.error(f"no picture is called {', '.join(sorted(unknown))}")
    sys.exit(1 if draw(names) else 0)


if __name__ == "__main__":
    main()
