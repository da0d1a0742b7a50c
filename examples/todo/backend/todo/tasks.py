"""The tasks: list, add, change, toggle, delete, search."""

from flask import Blueprint, abort, request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from . import database, fields, search
from .models import Task

routes = Blueprint("tasks", __name__, url_prefix="/api/tasks")


def paged(tasks, page: int, per_page: int, total: int) -> dict:
    return {
        "tasks": [task.as_json() for task in tasks],
        "page": page,
        "per_page": per_page,
        "pages": -(-total // per_page),
        "total": total,
    }


def find(session: Session, task_id: int) -> Task:
    task = session.get(Task, task_id, with_for_update=True) if task_id < 2**63 else None
    return task or abort(404, f"there is no task {task_id}")


def save(session: Session, task: Task) -> dict:
    """Commits; the search hears of it only then."""
    session.commit()
    search.index.put(task)
    return task.as_json()


@routes.get("")
def list_tasks():
    page, per_page = fields.page()
    with database.session() as session:
        total = session.scalar(select(func.count()).select_from(Task))
        found = session.scalars(select(Task).order_by(Task.id.desc()).limit(per_page).offset((page - 1) * per_page))
        return paged(found, page, per_page, total)


@routes.post("")
def add_task():
    values = fields.body()
    if "title" not in values:
        abort(400, "`title` is missing")
    with database.session() as session:
        task = Task(**fields.task(values))
        session.add(task)
        return save(session, task), 201


@routes.put("/<int:task_id>")
def change_task(task_id: int):
    """Changes the fields that the body names."""
    values = fields.task(fields.body())
    if not values:
        abort(400, f"the body names no field; the fields are {', '.join(fields.TASK)}")
    with database.session() as session:
        task = find(session, task_id)
        for name, value in values.items():
            setattr(task, name, value)
        return save(session, task)


@routes.patch("/<int:task_id>/toggle")
def toggle_task(task_id: int):
    with database.session() as session:
        task = find(session, task_id)
        task.done = not task.done
        return save(session, task)


@routes.delete("/<int:task_id>")
def delete_task(task_id: int):
    with database.session() as session:
        session.delete(find(session, task_id))
        session.commit()
    search.index.remove(task_id)
    return "", 204


@routes.get("/search")
def search_tasks():
    """The tasks in which each word of `q` begins a word of title, description or assignee; newest first."""
    page, per_page = fields.page()
    words = search.words(request.args.get("q", ""))
    if not words:
        abort(400, "`q` must hold a word to search for")
    ids, total = search.index.find(words, (page - 1) * per_page, per_page)
    with database.session() as session:
        found = {task.id: task for task in session.scalars(select(Task).where(Task.id.in_(ids)))}
    return paged([found[i] for i in ids if i in found], page, per_page, total)
