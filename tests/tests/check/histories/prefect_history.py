"""prefect's tables, by its own revisions and its own env.py."""

import os
from pathlib import Path


def steps():
    import prefect.server.database as database
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    folder = Path(database.__file__).parent / "_migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("version_locations", str(folder / "versions/postgresql"))
    revisions = reversed(list(ScriptDirectory.from_config(config).walk_revisions()))
    return [[one.revision, [[one.path, f"db/versions/{Path(one.path).name}"]]] for one in revisions]


def warm():
    os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = "postgresql+asyncpg://nobody@localhost/none"
    import alembic.config  # noqa: F401
    import asyncpg  # noqa: F401

    import prefect.blocks.core  # noqa: F401
    import prefect.server.events.actions  # noqa: F401
    import prefect.server.events.schemas.automations  # noqa: F401
    from prefect.server.database.dependencies import provide_database_interface

    provide_database_interface()


def run(words):
    if words[1:] == ["begin"]:
        return 0
    import anyio
    from prefect.server.database.dependencies import provide_database_interface
    from prefect.server.database.orm_models import AsyncPostgresORMConfiguration

    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1)
    provide_database_interface().database_config.connection_url = url.replace("sslmode=", "ssl=")
    # The checkout's own files, of which there are no more than at that time.
    AsyncPostgresORMConfiguration.versions_dir = property(lambda _: Path("db/versions").resolve())
    # prefect's environment wants the thread in which `prefect server database` calls alembic.
    return anyio.run(anyio.to_thread.run_sync, upgrade, words[1:])


def upgrade(words):
    import alembic.config

    try:
        return alembic.config.main(words)
    except SystemExit as end:
        return end.code
