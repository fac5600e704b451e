"""What everything declared in YAML has in common."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Declared(BaseModel):
    """Base of everything declared in YAML: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    moved: ClassVar[dict[str, str]] = {}
    """Keys at the top of the file that stood here once -> what to do with one that still does."""
