"""Is the app up, and which database does it serve?"""

import os

from flask import Blueprint
from sqlalchemy import func, select, text

from . import database, search
from .models import Task

routes = Blueprint("info", __name__, url_prefix="/api")


@routes.get("/health")
def health():
    with database.engine().connect() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ok"}


@routes.get("/info")
def info():
    with database.session() as session:
        name, version = session.execute(text("SELECT current_database(), current_setting('server_version')")).one()
        return {
            "db_source": os.environ.get("DB_SOURCE", "local"),
            "branch": os.environ.get("LAKEBASE_BRANCH_PATH"),
            "database": name,
            "server_version": version,
            "alembic_revision": session.scalar(text("SELECT version_num FROM alembic_version")),
            "tasks": session.scalar(select(func.count()).select_from(Task)),
            "search": search.index.state(),
        }
