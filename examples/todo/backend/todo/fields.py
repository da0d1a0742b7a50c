"""What a request may say: each function takes a value as it came and returns it checked, or ends the request with 400."""

import datetime

from flask import abort, request


def body() -> dict:
    value = request.get_json(silent=True)
    if not isinstance(value, dict):
        abort(400, "the body must be a JSON object, sent as application/json")
    return value


def _text(name: str, value, limit: int) -> str:
    if not isinstance(value, str):
        abort(400, f"`{name}` must be a string")
    value = value.strip()
    if len(value) > limit:
        abort(400, f"`{name}` is longer than {limit} characters")
    if "\0" in value or not value.isascii() and value.encode("utf-8", "ignore").decode() != value:
        abort(400, f"`{name}` has a character that cannot be stored")
    return value


def title(value) -> str:
    value = _text("title", value, 200)
    if not value:
        abort(400, "`title` must not be empty")
    return value


def description(value) -> str | None:
    return None if value is None else _text("description", value, 10_000) or None


def assignee(value) -> str | None:
    return None if value is None else _text("assignee", value, 100) or None


def done(value) -> bool:
    if not isinstance(value, bool):
        abort(400, "`done` must be true or false")
    return value


def priority(value) -> int:
    if isinstance(value, bool) or value not in (1, 2, 3):
        abort(400, "`priority` must be 1, 2 or 3")
    return int(value)


def due_on(value) -> datetime.date | None:
    if value is None:
        return None
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError):
        abort(400, "`due_on` must be a date such as 2026-01-31, or null")


TASK = {f.__name__: f for f in (title, description, assignee, done, priority, due_on)}


def task(values: dict) -> dict:
    """The fields of a task that the body names, checked."""
    unknown = sorted(set(values) - set(TASK))
    if unknown:
        abort(400, f"`{unknown[0]}` is no field of a task; the fields are {', '.join(TASK)}")
    return {name: TASK[name](value) for name, value in values.items()}


def number(name: str, default: int, limit: int) -> int:
    """A whole number of the query string, from 1 to the limit."""
    value = request.args.get(name, str(default))
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:12]) <= limit):
        abort(400, f"`{name}` must be a whole number from 1 to {limit}")
    return int(value)


def page() -> tuple[int, int]:
    """`page` and `per_page` of the query string."""
    return number("page", 1, 1_000_000), number("per_page", 20, 100)
