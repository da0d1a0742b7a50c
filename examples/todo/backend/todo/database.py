"""The database in use: DATABASE_URL, turned into what SQLAlchemy takes, here and nowhere else."""

import functools
import os

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.orm import Session


def url() -> URL:
    """DATABASE_URL (`postgresql://…` or `postgres://…`) for the psycopg driver.

    Parsed, not edited as text: user and password may hold percent-encoded characters, and the password may be a long token.
    """
    value = os.environ.get("DATABASE_URL")
    if not value:
        raise SystemExit("todo: DATABASE_URL is not set")
    return make_url(value).set(drivername="postgresql+psycopg")


@functools.cache
def engine() -> Engine:
    """One engine per process; a connection that the server has ended is replaced before it is used."""
    return create_engine(url(), pool_pre_ping=True, connect_args={"connect_timeout": 10})


def session() -> Session:
    return Session(engine())
