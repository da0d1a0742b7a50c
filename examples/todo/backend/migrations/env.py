"""How Alembic reaches the database: the same way as the app."""

from logging.config import fileConfig

from alembic import context

from todo import database, models

fileConfig(context.config.config_file_name, disable_existing_loggers=False)

if context.is_offline_mode():
    # `alembic upgrade … --sql`: prints what would run, and needs no database.
    context.configure(dialect_name="postgresql", target_metadata=models.Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
else:
    with database.engine().connect() as connection:
        context.configure(connection=connection, target_metadata=models.Base.metadata)
        with context.begin_transaction():
            context.run_migrations()
