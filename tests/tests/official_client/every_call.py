"""Every call that the official client has for projects, branches and what lies in them, on the workspace that
DATABRICKS_HOST and DATABRICKS_TOKEN name. Ends with an error at the first answer that is not as the client expects."""

import datetime
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from databricks.sdk import WorkspaceClient
from databricks.sdk.common.lro import LroOptions
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import AlreadyExists, BadRequest, InvalidParameterValue, NotFound, Unauthenticated
from databricks.sdk.service import postgres as pg
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SOON = LroOptions(timeout=timedelta(minutes=2))


@contextmanager
def refused(kind, words):
    """The block has to fail with this class and these words."""
    try:
        yield
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        assert words in str(error), error
        return
    raise AssertionError(f"{kind.__name__} expected")


w = WorkspaceClient()
api = w.postgres
me = w.current_user.me().user_name
assert "@" in me, me

# A project: production branch, its endpoint, a database, a role for its creator.
operation = api.create_project(pg.Project(spec=pg.ProjectSpec(display_name="The shop")), "shop")
assert operation.name().startswith("projects/shop/operations/")
project = operation.wait(SOON)
assert (project.name, project.status.owner) == ("projects/shop", me)
assert project.uid and project.uid != "shop"
assert operation.done()
with refused(AlreadyExists, "already exists"):
    api.create_project(pg.Project(), "shop")
assert [p.name for p in api.list_projects(page_size=1)] == ["projects/shop"]
production = api.get_branch(project.status.default_branch)
assert production.status.default and production.status.current_state == pg.BranchStatusState.READY
assert production.status.expire_time is None

# A row in production.
def login(branch, **more):
    endpoint = next(
        e
        for e in api.list_endpoints(branch)
        if e.status.endpoint_type == pg.EndpointType.ENDPOINT_TYPE_READ_WRITE
    )
    credential = api.generate_database_credential(endpoint.name, ttl=Duration(seconds=600))
    left = credential.expire_time.ToDatetime() - datetime.datetime.utcnow()
    # The end is a whole second, rounded up.
    assert timedelta(seconds=590) < left <= timedelta(seconds=601), left
    host, port = endpoint.status.hosts.host.split(":")
    more = {"dbname": "databricks_postgres", "user": me, "sslmode": "require", **more}
    return psycopg.connect(host=host, port=port, password=credential.token, **more)


with login(production.name) as connection:
    connection.execute("CREATE TABLE tasks AS SELECT 1 AS id, 'carried over' AS title")

# A branch with a time to live.
spec = pg.BranchSpec(source_branch=production.name, ttl=Duration(seconds=21600))
branch = api.create_branch("projects/shop", pg.Branch(spec=spec), "dev-ada").wait(SOON)
assert branch.status.current_state == pg.BranchStatusState.READY
assert branch.status.source_branch == production.name and branch.status.source_branch_lsn
assert branch.status.logical_size_bytes > 0
life = branch.status.expire_time.ToDatetime() - branch.create_time.ToDatetime()
assert life == timedelta(seconds=21600), life
assert [b.status.branch_id for b in api.list_branches("projects/shop", page_size=1)] == ["production", "dev-ada"]
with refused(AlreadyExists, "branch with such id already exists"):
    api.create_branch("projects/shop", pg.Branch(spec=spec), "dev-ada")
with refused(BadRequest, "cannot have child branches"):
    child = pg.BranchSpec(source_branch=branch.name, ttl=Duration(seconds=600))
    api.create_branch("projects/shop", pg.Branch(spec=child), "child")
with refused(InvalidParameterValue, "Expiration must be specified"):
    api.create_branch("projects/shop", pg.Branch(spec=pg.BranchSpec()), "none")
with refused(NotFound, "branch id not found"):
    api.get_branch("projects/shop/branches/none")

# Its rows are production's, and its own from here on.
with login(branch.name) as connection:
    assert connection.info.pgconn.ssl_in_use
    assert connection.execute("SELECT title FROM tasks WHERE id = 1").fetchone() == ("carried over",)
    connection.execute("INSERT INTO tasks VALUES (2, 'mine')")
with login(production.name) as connection:
    assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (1,)

# Its life is extended.
later = Timestamp()
later.FromDatetime(datetime.datetime.utcnow() + timedelta(days=1))
extended = api.update_branch(
    branch.name, pg.Branch(spec=pg.BranchSpec(expire_time=later)), FieldMask(["spec.expiration"])
).wait(SOON)
assert extended.status.expire_time.ToDatetime() > branch.status.expire_time.ToDatetime()

# Endpoints.
endpoint = api.get_endpoint(f"{branch.name}/endpoints/primary")
assert endpoint.status.current_state == pg.EndpointStatusState.ACTIVE
assert endpoint.status.suspend_timeout_duration.seconds == 300
spec = pg.EndpointSpec(endpoint_type=pg.EndpointType.ENDPOINT_TYPE_READ_WRITE)
with refused(BadRequest, "read_write endpoint already exists"):
    api.create_endpoint(branch.name, pg.Endpoint(spec=spec), "second")
spec = pg.EndpointSpec(endpoint_type=pg.EndpointType.ENDPOINT_TYPE_READ_ONLY)
reader = api.create_endpoint(branch.name, pg.Endpoint(spec=spec), "reader").wait(SOON)
assert reader.status.hosts.read_only_host == reader.status.hosts.host
spec.autoscaling_limit_max_cu = 2
grown = api.update_endpoint(
    reader.name, pg.Endpoint(spec=spec), FieldMask(["spec.autoscaling_limit_max_cu"])
).wait(SOON)
assert grown.status.autoscaling_limit_max_cu == 2
api.delete_endpoint(reader.name).wait(SOON)
with refused(BadRequest, "Cannot delete primary endpoint"):
    api.delete_endpoint(endpoint.name)

# Roles and databases.
creator = next(r for r in api.list_roles(branch.name) if r.status.postgres_role == me)
assert creator.status.identity_type == pg.RoleIdentityType.USER
spec = pg.RoleRoleSpec(postgres_role="app_owner", auth_method=pg.RoleAuthMethod.NO_LOGIN)
role = api.create_role(branch.name, pg.Role(spec=spec), role_id="app-owner").wait(SOON)
assert role.status.auth_method == pg.RoleAuthMethod.NO_LOGIN
with refused(BadRequest, "role with that name already exists"):
    api.create_role(branch.name, pg.Role(spec=spec), role_id="app-owner")
spec = pg.RoleRoleSpec(attributes=pg.RoleAttributes(createdb=True))
role = api.update_role(role.name, pg.Role(spec=spec), FieldMask(["spec.attributes.createdb"])).wait(SOON)
assert role.status.attributes.createdb and api.get_role(role.name).status.attributes.createdb
spec = pg.DatabaseDatabaseSpec(role=role.name, postgres_database="orders")
database = api.create_database(branch.name, pg.Database(spec=spec), database_id="orders").wait(SOON)
assert (database.status.postgres_database, database.status.role) == ("orders", role.name)
spec = pg.DatabaseDatabaseSpec(role=creator.name)
database = api.update_database(database.name, pg.Database(spec=spec), FieldMask(["spec.role"])).wait(SOON)
assert api.get_database(database.name).status.role == creator.name
assert len(list(api.list_databases(branch.name))) == 2
with login(branch.name, dbname="orders") as connection:
    connection.execute("CREATE TABLE made_by_the_owner ()")
api.delete_database(database.name).wait(SOON)
api.delete_role(role.name).wait(SOON)
spec = pg.RoleRoleSpec(postgres_role="app_login")
login_role = api.create_role(branch.name, pg.Role(spec=spec), role_id="app-login").wait(SOON)
assert login_role.status.auth_method == pg.RoleAuthMethod.PG_PASSWORD_SCRAM_SHA_256
native = pg.ProjectSpec(enable_pg_native_login=True)
api.update_project("projects/shop", pg.Project(spec=native), FieldMask(["spec.enable_pg_native_login"])).wait(SOON)
password = api.reveal_role_password(login_role.name).password
with psycopg.connect(
    host="127.0.0.1",
    port=endpoint.status.hosts.host.split(":")[1],
    dbname="databricks_postgres",
    user="app_login",
    password=password,
    sslmode="require",
) as connection:
    assert connection.execute("SELECT current_user").fetchone() == ("app_login",)

# Wrong tokens.
with refused(Unauthenticated, "Credential was not sent"):
    next(iter(WorkspaceClient(host=w.config.host, token="wrong").postgres.list_projects()))
try:
    psycopg.connect(
        host="127.0.0.1",
        port=endpoint.status.hosts.host.split(":")[1],
        dbname="databricks_postgres",
        user=me,
        password=w.config.token,
        sslmode="require",
    )
    raise AssertionError("a workspace token is no database password")
except psycopg.OperationalError as error:
    assert "OAuth: User is not authorized" in str(error), error

# Deletion: softly and back, then for good; the operation stays readable.
api.delete_branch(branch.name).wait(SOON)
assert api.get_branch(branch.name).status.current_state == pg.BranchStatusState.DELETED
api.undelete_branch(branch.name).wait(SOON)
with login(branch.name) as connection:
    assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (2,)
deletion = api.delete_branch(branch.name, purge=True)
deletion.wait(SOON)
with refused(NotFound, "branch id not found"):
    api.get_branch(branch.name)
assert api.get_operation(deletion.name()).done
with refused(BadRequest, "Cannot delete root branch"):
    api.delete_branch(production.name)
api.delete_project("projects/shop").wait(SOON)
api.undelete_project("projects/shop").wait(SOON)
api.delete_project("projects/shop", purge=True).wait(SOON)
assert list(api.list_projects()) == []

print("every call answered")
