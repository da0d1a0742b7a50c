"""The search index: RediSearch over the tasks of the database in use.

Each process builds an index of its own, named by a number drawn at its start, and drops those of earlier ones. So an app
that comes back on another branch of the database never serves the hits of the one before, whatever the two have in
common. The index is built in the background; until it is complete a search is answered with 503 and Retry-After.
"""

import functools
import logging
import os
import re
import secrets
import threading
import time

import redis
from sqlalchemy import select
from werkzeug.exceptions import BadRequest, ServiceUnavailable

from . import database
from .models import Task

log = logging.getLogger(__name__)
BATCH = 2000
# RediSearch's own limit on how deep a result can be read.
DEPTH = 10_000


def words(text: str) -> list[str]:
    """A text's words, the same for what is indexed and what is searched for: letters and digits, case folded."""
    return re.findall(r"[^\W_]+", text.casefold())


def not_ready(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"{reason}; try again in a second", retry_after=1)


class Index:
    def __init__(self):
        self.lock = threading.Lock()
        self.ready = False
        self.building = False
        self.changed: set[int] = set()  # Tasks written while the index is built: read again at its end.
        self.name = ""

    @functools.cached_property
    def redis(self) -> redis.Redis:
        url = os.environ.get("REDIS_URL", "redis://redis:6379")
        return redis.Redis.from_url(url, protocol=2, decode_responses=True, socket_connect_timeout=2, socket_timeout=10)

    def start(self):
        """Builds the index anew in the background, unless that is under way."""
        with self.lock:
            if self.building:
                return
            self.building, self.ready = True, False
        threading.Thread(target=self._build, name="search-index", daemon=True).start()

    def state(self) -> str:
        return "ready" if self.ready else "building"

    def put(self, task: Task):
        self._write(task.id, lambda: self.redis.hset(self._key(task.id), mapping=self._document(task)))

    def remove(self, task_id: int):
        self._write(task_id, lambda: self.redis.delete(self._key(task_id)))

    def find(self, wanted: list[str], offset: int, limit: int) -> tuple[list[int], int]:
        """Ids of the tasks that have a word beginning with each of the wanted ones, and how many there are in all."""
        if not self.ready:
            raise not_ready("the search index is being built")
        if offset + limit > DEPTH:
            raise BadRequest(f"a search shows its first {DEPTH} hits only; ask for more words")
        query = " ".join(f"{word}*" for word in wanted)
        try:
            total, *keys = self.redis.execute_command(
                "FT.SEARCH", self.name, query, "NOCONTENT", "VERBATIM", "SORTBY", "id", "DESC",
                "LIMIT", offset, limit, "TIMEOUT", 8000, "DIALECT", 2,
            )  # fmt: skip
        except redis.ResponseError as error:
            log.warning("search: %s; building the index anew", error)
            self.start()
            raise not_ready("the search index was lost and is being built anew") from error
        except redis.RedisError as error:
            raise not_ready("Redis does not answer") from error
        return [int(key.rpartition(":")[2]) for key in keys], total

    def _key(self, task_id: int) -> str:
        return f"{self.name}:{task_id}"

    @staticmethod
    def _document(task) -> dict:
        text = " ".join(filter(None, (task.title, task.description, task.assignee)))
        return {"id": task.id, "words": " ".join(words(text))}

    def _write(self, task_id: int, write):
        with self.lock:
            if self.building:
                self.changed.add(task_id)
                return
        try:
            write()
        except redis.RedisError as error:
            log.warning("search: %s; building the index anew", error)
            self.start()

    def _build(self):
        while True:
            try:
                self._build_once()
                return
            except Exception as error:  # Redis or the database may come back.
                log.warning("search: the index could not be built (%s), trying again", error)
                time.sleep(1)

    def _build_once(self):
        started = time.monotonic()
        for old in self.redis.execute_command("FT._LIST"):
            if old.startswith("todo:"):
                self.redis.execute_command("FT.DROPINDEX", old, "DD")
        # Any prefix finds all its words: neither a shortest length nor a largest number of them.
        self.redis.execute_command("FT.CONFIG", "SET", "MINPREFIX", 1)
        self.redis.execute_command("FT.CONFIG", "SET", "MAXEXPANSIONS", 1_000_000)
        self.name = f"todo:{secrets.token_hex(6)}"
        self.redis.execute_command(
            "FT.CREATE", self.name, "ON", "HASH", "PREFIX", 1, f"{self.name}:", "STOPWORDS", 0,
            "SCHEMA", "id", "NUMERIC", "SORTABLE", "words", "TEXT", "NOSTEM",
        )  # fmt: skip
        count = 0
        columns = select(Task.id, Task.title, Task.description, Task.assignee)
        with database.engine().connect().execution_options(yield_per=BATCH) as connection:
            for rows in connection.execute(columns).partitions():
                self._load(rows)
                count += len(rows)
        while True:
            with self.lock:
                changed, self.changed = self.changed, set()
                if not changed:
                    self.building, self.ready = False, True
                    break
            with database.engine().connect() as connection:
                rows = connection.execute(columns.where(Task.id.in_(changed))).all()
            self._load(rows, gone=changed - {row.id for row in rows})
        log.info("search: %d tasks indexed in %.1f s", count, time.monotonic() - started)

    def _load(self, rows, gone=()):
        pipeline = self.redis.pipeline(transaction=False)
        for row in rows:
            pipeline.hset(self._key(row.id), mapping=self._document(row))
        for task_id in gone:
            pipeline.delete(self._key(task_id))
        pipeline.execute()


index = Index()
