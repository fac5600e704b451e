"""``python -m health_pipeline.cli``."""

from health_pipeline.cli import main

main()
