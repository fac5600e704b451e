"""What an ecosystem declares: its table, dimensions, metrics, detection settings and known events."""

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog, Column, Dimension, Event, Metric, Sum, Table

__all__ = ["Catalog", "Column", "Dimension", "Event", "Metric", "Sum", "Table", "load_catalog"]
