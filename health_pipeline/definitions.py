"""What ``dagster`` loads."""

from health_pipeline.build import build_defs

defs = build_defs()
