"""A to-do list: Flask, SQLAlchemy, Alembic, and Redis Stack for the search."""

import logging

from flask import Flask, jsonify
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from . import info, search, tasks

log = logging.getLogger(__name__)


def create_app() -> Flask:
    """The app as gunicorn serves it; starts building the search index."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    app = Flask(__name__)
    app.json.sort_keys = False
    app.register_blueprint(info.routes)
    app.register_blueprint(tasks.routes)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(OperationalError, database_error)
    search.index.start()
    return app


def http_error(error: HTTPException):
    """Every error as JSON: {"error": …} and the status code."""
    response = jsonify(error=error.description)
    response.status_code = error.code
    retry_after = getattr(error, "retry_after", None)
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def database_error(error: OperationalError):
    """The database cannot be reached, or ended the session."""
    log.warning("database: %s", error.orig)
    return jsonify(error="the database does not answer; try again"), 503
