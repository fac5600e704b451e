"""The study's twins, several at a time in processes of their own, and kept between runs."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import health_pipeline
from benchmarks.risk_ranking.mornings import Trial, trial

SOURCES = ("catalog", "incidents", "marketplace", "risks", "stats", "storage")
"""Folders of the program that a twin's figures come from."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def version() -> str:
    """Changes whenever a twin's figures may: a digest of the sources that they come from."""
    own, program = Path(__file__).parent, Path(health_pipeline.__file__).parent
    files = [own / "truth.py", own / "mornings.py"]
    files += sorted(f for s in SOURCES for f in (program / s).rglob("*") if f.suffix in (".py", ".yaml"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(
            f"{file.relative_to(own.parent if own in file.parents else program)}\n".encode() + file.read_bytes()
        )
    return digest.hexdigest()[:12]


def twins(cases: Sequence[tuple[str, int]], folder: Path | None, processes: int) -> Iterator[Trial]:
    """The twins of scenarios and seeds, in that order; as many at once as there are processes.

    Args:
        folder: where finished ones are kept, those of each version of the program apart.
    """
    place = folder / version() if folder else None
    # Sums depend on the number of threads that share them. A process started anew reads this before it loads NumPy.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(_kept, place), cases)


def _kept(folder: Path | None, case: tuple[str, int]) -> Trial:
    """A twin's figures, from ``folder`` where they are there already."""
    file = folder / f"{case[0]}-{case[1]}.pickle" if folder else None
    if file is not None and file.exists():
        done: Trial = pickle.loads(file.read_bytes())
        return done
    with tempfile.TemporaryDirectory() as place:
        made = trial(Path(place) / "twin", *case)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(pickle.dumps(made))
        part.replace(file)
    return made
