"""Studies and timings, run by hand; their results are written to docs/."""
