"""Runs the migrations, against `sqlalchemy.url` where a caller set it, else against the configured database."""

import sqlalchemy
from alembic import context

from shop.database import metadata
from shop.settings import Settings

url = context.config.get_main_option("sqlalchemy.url") or Settings.from_environment().database_url

if context.is_offline_mode():
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
