"""The bundled sample, judged day by day over its whole length, in a home of its own."""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from health_pipeline.home import Home
from health_pipeline.pipeline import Pipeline
from health_pipeline.raw.landed.receive import receive_all
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine

WARM_UP_DAYS = 120
"""Days at the start of the sample without judgement: most series have too little past."""


def judged_history(home: Path) -> tuple[Pipeline, list[dt.date], dict[str, float]]:
    """Everything derived without Dagster: the pipeline, the judged days, and seconds per table."""
    pipeline = Pipeline.of("eu_dsa", Home(home))
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    receive_all(pipeline.catalog, pipeline.landing, pipeline.inbox)
    seconds["landed_files"] = time.perf_counter() - started
    days = pipeline.delivered_days()
    for name, step in pipeline.load_steps(Engine()).items():
        started = time.perf_counter()
        derive(step, days)
        seconds[name] = time.perf_counter() - started
    judged = days[WARM_UP_DAYS:]
    for name, step in pipeline.judge_steps().items():
        started = time.perf_counter()
        derive(step, judged)
        seconds[name] = time.perf_counter() - started
    return pipeline, judged, seconds


@contextmanager
def history_from_arguments(description: str) -> Iterator[tuple[Pipeline, list[dt.date], dict[str, float]]]:
    """The judged history in ``--home``, kept between calls, or in a temporary folder."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--home", type=Path, help="keep the judged history here, to be quick the next time")
    home = parser.parse_args().home
    if home is not None:
        yield judged_history(home)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield judged_history(Path(folder))
