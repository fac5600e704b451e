"""Alembic's entry point: runs on the connection and inside the transaction that ``open_state`` holds."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
