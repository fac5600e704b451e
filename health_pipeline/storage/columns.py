"""Table schemas whose columns say what they are: the text shows in the Dagster UI and stays in the Parquet files."""

from __future__ import annotations

import pyarrow as pa


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """A column with its description."""
    return pa.field(name, kind, metadata={"description": description})
