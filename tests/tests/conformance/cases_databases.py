"""Databases of a branch."""

import re

from cases_roles import BAD_IDS, NO_LOGIN, listed
from databricks.sdk.service import postgres as pg
from ours import mask
from table import ABSENT, TEXT, Answer, bad, case, either, emptied, ended, missing, operation


def database(o, name="none", owner=None):
    spec = pg.DatabaseDatabaseSpec(role=owner or o.creator(o.branch())["name"], postgres_database=name)
    return pg.Database(spec=spec)


def create(id, name="none", parent=None, owner=None, **options):
    return lambda o: o.api.create_database(parent or o.branch(), database(o, name, owner), database_id=id, **options)


def update(o, *paths, name=None, **spec):
    wanted = pg.Database(spec=pg.DatabaseDatabaseSpec(**{"role": None, **spec}))
    return o.api.update_database(name or o.database("orders", o.branch()), wanted, mask(*paths)).wait()


CASES = [
    case(
        "database-born",
        "the database that a project is born with",
        lambda o: o.api.get_database(f"{o.branch()}/databases/databricks-postgres"),
        Answer(
            body={
                "database_id": "databricks-postgres",
                "name": re.compile("projects/.+/branches/dev/databases/databricks-postgres"),
                "parent": re.compile("projects/.+/branches/dev"),
                "spec": ABSENT,
                "status.database_id": "databricks-postgres",
                "status.postgres_database": "databricks_postgres",
                "status.role": re.compile("projects/.+/branches/dev/roles/.+"),
            }
        ),
        "[L]",
    ),
    case(
        "database-create",
        "creating a database, with the client's wait",
        lambda o: create("made", "made_db")(o).wait(),
        ended(
            "Database",
            "/branches/[^/]+/databases/made",
            database_id="made",
            spec=ABSENT,
            **{"status.postgres_database": "made_db", "status.role": re.compile("projects/.+/branches/dev/roles/.+")},
        ),
        "[S]",
    ),
    case(
        "database-create-operation",
        "creating a database answers with an operation",
        create("other", "other"),
        operation("Database", "/branches/[^/]+/databases/other"),
        "[T]",
    ),
    case(
        "database-create-no-id",
        "a database whose id the service makes",
        lambda o: o.settled(create(None, "unnamed")(o))["database_id"],
        Answer(gives=TEXT),
        "[S]",
    ),
    case(
        "database-create-no-name",
        "a database without a name in PostgreSQL",
        create("nameless", None),
        [operation("Database", "/branches/[^/]+/databases/nameless"), *either(".*postgres_database.*")],
        "[?]",
    ),
    case(
        "database-create-no-owner",
        "a database without an owner",
        lambda o: o.call(
            "POST", f"{o.branch()}/databases", {"database_id": "none"}, {"spec": {"postgres_database": "none"}}
        ),
        either(".*role.*"),
        "[S]",
    ),
    case(
        "database-create-owner-missing",
        "a database of a role that is not there",
        lambda o: create("none", owner=f"{o.branch()}/roles/none")(o),
        [missing("role"), *either(".*role.*")],
        "[?]",
    ),
    case(
        "database-create-owner-name",
        "a database of a role by its id instead of its name",
        create("none", owner="owner"),
        [missing("role"), *either(".*role.*")],
        "[?]",
    ),
    case(
        "database-duplicate",
        "an id that is taken",
        lambda o: (o.database("taken", o.branch()), create("taken", "taken")(o)),
        bad("database with that name already exists"),
        "[?]",
    ),
    case(
        "database-replace",
        "an id that is taken, to be replaced",
        lambda o: (
            o.settled(create("taken", "taken", replace_existing=True)(o))["database_id"]
            if o.database("taken", o.branch())
            else None
        ),
        Answer(gives="taken"),
        "[S]",
    ),
    *(
        case(
            f"database-id-{name}",
            f"the id `{id}`" if len(id) < 64 else "an id of 64 characters",
            create(id),
            either(".*database_id.*"),
            "[S]",
        )
        for name, id in BAD_IDS.items()
    ),
    case(
        "database-create-no-branch",
        "in a branch that is not there",
        lambda o: create("none", parent=f"{o.name}/branches/none")(o),
        missing("branch"),
        "[L]",
    ),
    case(
        "database-get-missing",
        "a database that is not there",
        lambda o: o.api.get_database(f"{o.branch()}/databases/none"),
        missing("database"),
        "[L]",
    ),
    case(
        "database-get-no-branch",
        "a database of a branch that is not there",
        lambda o: o.api.get_database(f"{o.name}/branches/none/databases/none"),
        missing("branch"),
        "[L]",
    ),
    case(
        "database-list-no-branch",
        "the databases of a branch that is not there",
        lambda o: list(o.api.list_databases(f"{o.name}/branches/none")),
        missing("branch"),
        "[L]",
    ),
    case(
        "database-list-pages",
        "the databases in pages of one",
        lambda o: o.database("taken", o.branch()) and "taken" in listed(o, o.api.list_databases, "database_id"),
        Answer(gives=True),
        "[S]",
    ),
    case(
        "database-rename",
        "another name in PostgreSQL, with the client's wait",
        lambda o: update(o, "spec.postgres_database", postgres_database="renamed"),
        ended(
            "Database",
            "/branches/[^/]+/databases/orders",
            **{"status.postgres_database": "renamed", "status.database_id": "orders"},
        ),
        "[S]",
    ),
    case(
        "database-renamed",
        "it takes logins under it",
        lambda o: o.login(o.branch(), dbname="renamed") == o.me(),
        Answer(gives=True),
        "[S]",
    ),
    case(
        "database-give",
        "another owner",
        lambda o: update(o, "spec.role", role=o.role("heir", o.branch(), auth_method=NO_LOGIN)),
        ended("Database", "/branches/[^/]+/databases/orders", **{"status.role": re.compile(".+/roles/heir")}),
        "[S]",
    ),
    case(
        "database-give-missing",
        "an owner that is not there",
        lambda o: update(o, "spec.role", role=f"{o.branch()}/roles/none"),
        [missing("role"), *either(".*role.*")],
        "[?]",
    ),
    case(
        "database-update-unknown",
        "a change of what no database has",
        lambda o: update(o, "spec.none"),
        either(".*spec.none.*"),
        "[?]",
    ),
    case(
        "database-update-missing",
        "a change of a database that is not there",
        lambda o: update(o, "spec.postgres_database", name=f"{o.branch()}/databases/none", postgres_database="none"),
        missing("database"),
        "[L]",
    ),
    case(
        "database-copied",
        "a branch has its parent's roles and databases",
        lambda o: (
            o.database("kept", o.branch("parent", no_expiry=True)),
            o.branch("copy", source_branch=o.branch("parent", no_expiry=True), no_expiry=True),
            o.api.get_database(f"{o.branch('copy')}/databases/kept"),
        )[2].status.postgres_database,
        Answer(gives="kept"),
        "[-]",
    ),
    case(
        "database-delete",
        "deleting a database, with the client's wait",
        lambda o: o.api.delete_database(o.database("taken", o.branch())).wait(),
        emptied("Database", "/branches/[^/]+/databases/taken"),
        "[S]",
    ),
    case(
        "database-deleted",
        "it is not found",
        lambda o: o.api.get_database(o.database("taken", o.branch())),
        missing("database"),
        "[L]",
    ),
    case(
        "database-delete-missing",
        "deleting a database that is not there",
        lambda o: o.api.delete_database(f"{o.branch()}/databases/none"),
        missing("database"),
        "[L]",
    ),
]
