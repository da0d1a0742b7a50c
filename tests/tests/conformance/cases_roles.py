"""Roles and databases of a branch."""

import re

from databricks.sdk.service import postgres as pg
from ours import mask
from table import (
    ABSENT,
    TEXT,
    Answer,
    bad,
    case,
    either,
    emptied,
    ended,
    failed,
    login_refused,
    malformed,
    missing,
    operation,
)

NO_LOGIN = pg.RoleAuthMethod.NO_LOGIN
PASSWORD = pg.RoleAuthMethod.PG_PASSWORD_SCRAM_SHA_256
SUPERUSER = pg.RoleMembershipRole.DATABRICKS_SUPERUSER
#: Ids of roles and databases that are none, by a name for them.
BAD_IDS = {"short": "abc", "long": "a" * 64, "upper": "Role", "underscore": "my_role", "hyphen": "role-"}


def role(name="none", **spec):
    return pg.Role(spec=pg.RoleRoleSpec(postgres_role=name, **spec))


def create(id, name="none", parent=None, **spec):
    return lambda o: o.api.create_role(parent or o.branch(), role(name, **spec), role_id=id)


def update(o, *paths, id="owner", **spec):
    name = id if "/" in id else o.role(id, o.branch(), auth_method=NO_LOGIN)
    return o.api.update_role(name, pg.Role(spec=pg.RoleRoleSpec(**spec)), mask(*paths)).wait()


def listed(o, list, id):
    """The ids of a list, in pages of one, each once."""
    ids = [getattr(it, id) for it in list(o.branch(), page_size=1)]
    return len(ids) == len(set(ids)) and ids


def joined(o):
    """Makes a role a member of the superusers, and replaces it by one that is not."""
    spec = {"membership_roles": [SUPERUSER]}
    first = o.api.create_role(o.branch(), role("joined", auth_method=NO_LOGIN, **spec), role_id="joined").wait()
    plain = role("joined", auth_method=NO_LOGIN)
    second = o.api.create_role(o.branch(), plain, role_id="joined", replace_existing=True).wait()
    return first.status.membership_roles == [SUPERUSER] and not second.status.membership_roles


def native(o, enabled):
    spec = pg.Project(spec=pg.ProjectSpec(enable_pg_native_login=enabled))
    return o.settled(o.api.update_project(o.name, spec, mask("spec.enable_pg_native_login")))


def revealed(o):
    """The password of a role with one."""

    def reveal():
        password = o.api.reveal_role_password(o.role("native", o.branch(), auth_method=PASSWORD)).password
        o.secret.add(password)
        return password

    return o.need("a password", reveal)


def native_login(o, enabled):
    """Logs in with a password of PostgreSQL's own."""
    password = revealed(o)
    if enabled:
        o.need("native login", lambda: native(o, True))
    return o.login(o.branch(), patient=enabled, user="native", password=password)


def owning(o):
    """A role that owns a database."""
    name = o.role("owning", o.branch(), auth_method=NO_LOGIN)
    spec = pg.Database(spec=pg.DatabaseDatabaseSpec(role=name, postgres_database="owned"))
    o.need("what it owns", lambda: o.settled(o.api.create_database(o.branch(), spec, database_id="owned")))
    return name


CASES = [
    case(
        "role-born",
        "the role of a project's creator",
        lambda o: o.api.get_role(o.creator(o.branch())["name"]),
        Answer(
            body={
                "role_id": TEXT,
                "name": re.compile("projects/.+/branches/dev/roles/.+"),
                "parent": re.compile("projects/.+/branches/dev"),
                "spec": ABSENT,
                "status.postgres_role": TEXT,
                "status.auth_method": "LAKEBASE_OAUTH_V1",
                "status.identity_type": re.compile("USER|SERVICE_PRINCIPAL"),
                "status.membership_roles": ["DATABRICKS_SUPERUSER"],
            }
        ),
        "[L]",
    ),
    case(
        "role-create",
        "creating a role without login, with the client's wait",
        lambda o: create("made", "made_role", auth_method=NO_LOGIN)(o).wait(),
        ended(
            "Role",
            "/branches/[^/]+/roles/made",
            role_id="made",
            spec=ABSENT,
            **{"status.role_id": "made", "status.postgres_role": "made_role", "status.auth_method": "NO_LOGIN"},
        ),
        "[S]",
    ),
    case(
        "role-create-operation",
        "creating a role answers with an operation",
        create("other", "other"),
        operation("Role", "/branches/[^/]+/roles/other"),
        "[T]",
    ),
    case(
        "role-create-method",
        "a role without identity has a password",
        lambda o: o.settled(create("plain", "plain")(o))["status"]["auth_method"],
        Answer(gives="PG_PASSWORD_SCRAM_SHA_256"),
        "[S]",
    ),
    case(
        "role-create-no-id",
        "a role whose id the service makes",
        lambda o: o.settled(create(None, "unnamed")(o))["role_id"],
        Answer(gives=TEXT),
        "[S]",
    ),
    case(
        "role-create-no-name",
        "a role without a name in PostgreSQL",
        create("nameless", None),
        [operation("Role", "/branches/[^/]+/roles/nameless"), *either(".*postgres_role.*")],
        "[?]",
    ),
    case(
        "role-duplicate",
        "an id that is taken",
        lambda o: (o.role("taken", o.branch()), create("taken", "taken")(o)),
        bad("role with that name already exists"),
        "[L]",
    ),
    case(
        "role-duplicate-name",
        "a name in PostgreSQL that is taken",
        lambda o: (o.role("taken", o.branch()), create("free", "taken")(o)),
        bad("role with that name already exists"),
        "[L]",
    ),
    case(
        "role-replace",
        "replacing a role takes away the memberships that are not sent",
        joined,
        Answer(gives=True),
        "[S]",
    ),
    *(
        case(
            f"role-id-{name}",
            f"the id `{id}`" if len(id) < 64 else "an id of 64 characters",
            create(id),
            either(".*role_id.*"),
            "[S]",
        )
        for name, id in BAD_IDS.items()
    ),
    case(
        "role-create-no-branch",
        "in a branch that is not there",
        lambda o: create("none", parent=f"{o.name}/branches/none")(o),
        missing("branch"),
        "[L]",
    ),
    case(
        "role-create-method-unknown",
        "a method that is none",
        lambda o: o.call(
            "POST",
            f"{o.branch()}/roles",
            {"role_id": "none"},
            {"spec": {"postgres_role": "none", "auth_method": "NONE"}},
        ),
        malformed(),
        "[?]",
    ),
    case(
        "role-get-missing",
        "a role that is not there",
        lambda o: o.api.get_role(f"{o.branch()}/roles/none"),
        missing("role"),
        "[L]",
    ),
    case(
        "role-get-no-branch",
        "a role of a branch that is not there",
        lambda o: o.api.get_role(f"{o.name}/branches/none/roles/none"),
        missing("branch"),
        "[L]",
    ),
    case(
        "role-list-no-branch",
        "the roles of a branch that is not there",
        lambda o: list(o.api.list_roles(f"{o.name}/branches/none")),
        missing("branch"),
        "[L]",
    ),
    case(
        "role-list-pages",
        "the roles in pages of one",
        lambda o: o.role("taken", o.branch()) and "taken" in listed(o, o.api.list_roles, "role_id"),
        Answer(gives=True),
        "[S]",
    ),
    case(
        "role-update",
        "other attributes, with the client's wait",
        lambda o: update(o, "spec.attributes.createdb", attributes=pg.RoleAttributes(createdb=True)),
        ended(
            "Role",
            "/branches/[^/]+/roles/owner",
            **{"status.attributes.createdb": True, "status.attributes.createrole": False},
        ),
        "[S]",
    ),
    case(
        "role-update-members",
        "other memberships",
        lambda o: update(o, "spec.membership_roles", membership_roles=[SUPERUSER]),
        ended("Role", "/branches/[^/]+/roles/owner", **{"status.membership_roles": ["DATABRICKS_SUPERUSER"]}),
        "[S]",
    ),
    case(
        "role-update-unknown",
        "a change of what no role has",
        lambda o: update(o, "spec.none"),
        either(".*spec.none.*"),
        "[?]",
    ),
    case(
        "role-update-missing",
        "a change of a role that is not there",
        lambda o: update(
            o, "spec.attributes.createdb", id=f"{o.branch()}/roles/none", attributes=pg.RoleAttributes(createdb=True)
        ),
        missing("role"),
        "[L]",
    ),
    case(
        "password-reveal",
        "the password of a role",
        lambda o: bool(revealed(o)),
        Answer(body={"password": TEXT, "name": ABSENT, "done": ABSENT}),
        "[S]",
    ),
    case(
        "password-none",
        "the password of a role without login",
        lambda o: o.api.reveal_role_password(o.role("owner", o.branch(), auth_method=NO_LOGIN)),
        either(".+"),
        "[?]",
    ),
    case(
        "password-missing",
        "the password of a role that is not there",
        lambda o: o.api.reveal_role_password(f"{o.branch()}/roles/none"),
        missing("role"),
        "[L]",
    ),
    case(
        "native-off",
        "a login with it, where the project does not allow that",
        lambda o: native_login(o, False),
        login_refused(""),
        "[S]",
    ),
    case(
        "native-on",
        "a login with it, where the project allows it",
        lambda o: native_login(o, True),
        Answer(gives="native"),
        "[S]",
    ),
    case(
        "native-wrong",
        "a login with another password",
        lambda o: o.login(o.branch(), user="native", password="wrong"),
        login_refused(""),
        "[S]",
    ),
    case(
        "role-delete-owner",
        "deleting a role that owns something",
        lambda o: o.api.delete_role(owning(o)).wait(),
        [*either(".+"), failed(".+")],
        "[S]",
    ),
    case(
        "role-delete-reassign",
        "deleting it, with an heir",
        lambda o: o.api.delete_role(owning(o), reassign_owned_to=o.creator(o.branch())["name"]).wait(),
        emptied("Role", "/branches/[^/]+/roles/owning"),
        "[S]",
    ),
    case(
        "role-delete-reassigned",
        "what it owned is the heir's",
        lambda o: o.api.get_database(f"{o.branch()}/databases/owned").status.role == o.creator(o.branch())["name"],
        Answer(gives=True),
        "[S]",
    ),
    case(
        "role-delete",
        "deleting a role, with the client's wait",
        lambda o: o.api.delete_role(o.role("taken", o.branch())).wait(),
        emptied("Role", "/branches/[^/]+/roles/taken"),
        "[S]",
    ),
    case(
        "role-deleted", "it is not found", lambda o: o.api.get_role(o.role("taken", o.branch())), missing("role"), "[L]"
    ),
    case(
        "role-delete-missing",
        "deleting a role that is not there",
        lambda o: o.api.delete_role(f"{o.branch()}/roles/none"),
        missing("role"),
        "[L]",
    ),
]
