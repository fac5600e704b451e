"""What is there to land: the sample or a simulation where nobody has delivered yet, and the files of the inbox."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from health_pipeline.catalog.model import Catalog
from health_pipeline.errors import InputError
from health_pipeline.raw.landed.landing import Landing

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)  # the sample and the simulation are older than what a user delivers


@dataclass(frozen=True)
class Simulation:
    """Files that are made up where nobody delivers.

    Attributes:
        folder: where they are, once and for all, when they are complete.
        write: writes them all into a new folder.
    """

    folder: Path
    write: Callable[[Path, Callable[[int, int], None]], object]

    def prepare(self, progress: Callable[[int, int], None]) -> None:
        """Write the files, all or none: a folder that is there is complete."""
        unfinished = self.folder.with_name(f".{self.folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        self.write(unfinished, progress)
        unfinished.rename(self.folder)


def receive_all(
    catalog: Catalog,
    landing: Landing,
    inbox: Path,
    simulation: Simulation | None = None,
    progress: Callable[[str], Callable[[int, int], None]] | None = None,
) -> tuple[int, list[InputError]]:
    """Land what comes with the ecosystem (once) and every new file of the inbox.

    Args:
        simulation: what to deliver when nothing was ever received, and the inbox is empty.
        progress: what is done -> where to tell (done, of).

    Returns:
        how many landed, and what can't be read.
    """
    told = progress or (lambda _: lambda done, of: None)
    landed, refused = 0, []
    if catalog.sample is not None and not landing.receipts():
        landing.receive(catalog.sample, catalog.tables[0].name, EPOCH)
        landed += 1
    # What waits counts, too: a simulated marketplace would get mixed up with a delivered one.
    delivered = landing.receipts() or landing.new_files(inbox, settled_seconds=0)
    if simulation is not None and not delivered and not simulation.folder.exists():
        simulation.prepare(told("simulated"))
    simulated = landing.new_files(simulation.folder, settled_seconds=0) if simulation is not None else []
    files = simulated + landing.new_files(inbox)
    report = told("landed_files")
    for i, path in enumerate(files):
        report(i, len(files))
        try:
            landing.receive(path, delivered_at=EPOCH if i < len(simulated) else None)
            landed += 1
        except InputError as error:  # remembered by the landing; the other files go on
            refused.append(error)
    if files:
        report(len(files), len(files))
    return landed, refused
