"""Commands as one has to type them."""

from __future__ import annotations

import shlex

from health_pipeline.catalog.loader import bundled_ecosystems
from health_pipeline.catalog.model import Catalog

DEFAULT_ECOSYSTEM = "eu_dsa"


def as_typed(catalog: Catalog, command: str) -> str:
    """A command for an ecosystem: ``health-pipeline run -e marketplace``; without ``-e`` for the default one."""
    name, folder = catalog.name, catalog.folder
    if name == DEFAULT_ECOSYSTEM and bundled_ecosystems()[name] == folder:
        return f"health-pipeline {command}"
    return (
        f"health-pipeline {command} -e {name if bundled_ecosystems().get(name) == folder else shlex.quote(str(folder))}"
    )
