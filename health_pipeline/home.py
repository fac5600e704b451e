"""Where everything a deployment writes lives: one folder, chosen by ``HEALTH_PIPELINE_HOME``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from health_pipeline.errors import UserError

VARIABLE = "HEALTH_PIPELINE_HOME"
DEFAULT = ".health-pipeline"


@dataclass(frozen=True)
class Home:
    """Paths below the home folder, which is ``./.health-pipeline`` unless ``HEALTH_PIPELINE_HOME`` says otherwise."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        return cls(Path(os.environ.get(VARIABLE) or DEFAULT).expanduser().resolve())

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    def inbox(self, ecosystem: str) -> Path:
        """Files dropped here are picked up by the inbox sensor."""
        return self.root / "inbox" / ecosystem

    @property
    def dagster(self) -> Path:
        """``DAGSTER_HOME``."""
        return self.root / "dagster"

    @property
    def state_url(self) -> str:
        """SQLAlchemy URL of what people and the outbox change."""
        return os.environ.get("HEALTH_PIPELINE_STATE_URL") or f"sqlite:///{self.root / 'state.db'}"

    def unwritable(self, error: OSError) -> UserError:
        """What to say when the home can't be written."""
        return UserError(
            f"Can't write to {self.root}: {error.strerror}.", f"Set {VARIABLE} to a folder you can write to."
        )

    def report(self, ecosystem: str) -> Path:
        return self.root / "report" / ecosystem / "report.html"
