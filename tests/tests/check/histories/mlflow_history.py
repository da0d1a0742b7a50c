"""mlflow's tables, by its own revisions and its own env.py."""

import importlib
import os
from pathlib import Path

PACKAGE = "mlflow.store.db_migrations"


def url():
    return os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://", 1)


def steps():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(folder()))
    revisions = reversed(list(ScriptDirectory.from_config(config).walk_revisions()))
    return [[one.revision, [[one.path, f"db/versions/{Path(one.path).name}"]]] for one in revisions]


def folder():
    import mlflow

    return Path(mlflow.__file__).parent / "store/db_migrations"


def warm():
    import alembic.config  # noqa: F401
    import psycopg2  # noqa: F401

    import mlflow.store.model_registry.dbmodels.models  # noqa: F401
    import mlflow.store.tracking.dbmodels.models  # noqa: F401
    import mlflow.store.workspace.dbmodels.models  # noqa: F401
    import mlflow.utils.mlflow_tags  # noqa: F401


def run(words):
    import alembic.config

    if words[1:] == ["begin"]:
        # The tables that `mlflow server` itself makes before the first revision.
        import sqlalchemy

        from mlflow.store.tracking.dbmodels.initial_models import Base

        Base.metadata.create_all(sqlalchemy.create_engine(url()))
        return 0
    return alembic.config.main(words[1:])
