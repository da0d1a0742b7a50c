"""wagtail's tables, and those of Django's and taggit's that they stand on, by `manage.py migrate`."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"


def steps():
    """A step is what leaves every application with one last migration: what Django refuses otherwise."""
    import django
    from django.conf import settings

    settings.MIGRATION_MODULES = {}
    django.setup()
    from django.apps import apps
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None)
    plan = []
    for leaf in sorted(loader.graph.leaf_nodes()):
        plan += [node for node in loader.graph.forwards_plan(leaf) if node not in plan]
    steps, files, open_ends = [], [], {}
    for label in sorted({label for label, _ in plan}):
        folder = Path(apps.get_app_config(label).path) / "migrations"
        files.append([str(folder / "__init__.py"), f"history/{label}/migrations/__init__.py"])
    for label, name in plan:
        source = Path(apps.get_app_config(label).path) / "migrations" / f"{name}.py"
        files.append([str(source), f"history/{label}/migrations/{name}.py"])
        ends = open_ends.setdefault(label, set())
        ends -= {name for app, name in loader.graph.node_map[label, name].parents if app == label}
        ends.add(name)
        if all(len(ends) == 1 for ends in open_ends.values()):
            steps.append([f"{label}.{name}", files])
            files = []
    assert not files
    return steps


def warm():
    import django
    import psycopg  # noqa: F401
    from django.core.management import get_commands  # noqa: F401

    django.setup()
    import django.core.management.commands.migrate  # noqa: F401


def run(words):
    if words[1:] == ["begin"]:
        return 0
    from django.core.management import execute_from_command_line
    from django.db import connections

    url = urlsplit(os.environ["DATABASE_URL"])
    connections["default"].settings_dict.update(
        NAME=unquote(url.path[1:]),
        USER=unquote(url.username),
        PASSWORD=unquote(url.password),
        HOST=url.hostname,
        PORT=url.port,
    )
    return execute_from_command_line(words[1:])
