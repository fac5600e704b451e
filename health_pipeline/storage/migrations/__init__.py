"""Alembic migrations of the state database. Run by :func:`health_pipeline.storage.state.open_state`."""
