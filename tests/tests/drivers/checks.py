"""What the scripts share. A check is a function; its name is printed once it held, and the first that does not ends all."""

import asyncio
import os
import time

# Incompressible, so that what a connection is slow with is not hidden.
LARGE = os.urandom(20 * 1024 * 1024)
# What start-up options are to set, and what the server calls it then.
OPTIONS = "-c statement_timeout=54321 -c work_mem=7MB"
SETTINGS = ("54321ms", "7MB")
# A session's query, seen from another session.
RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%' AND application_name = "


def run(*checks):
    """Runs each check, plain or async, and says so."""
    for check in checks:
        if asyncio.iscoroutinefunction(check):
            asyncio.run(check())
        else:
            check()
        print(check.__name__.replace("_", " "), flush=True)


def until(what, look):
    """Looks until there is something to see."""
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def equal(found, wanted):
    """Says what was found where it is not what was wanted; not megabytes of it."""
    assert found == wanted, f"{found!r:.300} is not {wanted!r:.300}"
