"""Run by Alembic inside `storage.database.connect`, on its connection and in its transaction.

A new revision: copy the newest file of `versions`, write what changes, set `HEAD` in
`storage/database.py`. A test holds that all revisions together give the tables of `storage/tables`.
"""

from alembic import context

from storage.tables import metadata

# render_as_batch: SQLite alters a table by making it anew.
context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
