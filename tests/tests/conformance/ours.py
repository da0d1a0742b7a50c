"""The project that everything happens in: made with a random name, and gone at the end."""

import datetime
import secrets
import time

import psycopg
from databricks.sdk import WorkspaceClient
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import DatabricksError, NotFound
from databricks.sdk.service import postgres as pg
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from wire import API, Wire

#: How long to wait for one operation, and for a fresh branch to take logins, in seconds.
PATIENCE = 300
FIRST_LOGIN = 60


class Unprepared(Exception):
    """What a case needs could not be made: its call was not tried."""


def seconds(number):
    return Duration(seconds=number)


def after(number):
    """The time in so many seconds."""
    moment = Timestamp()
    moment.FromDatetime(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=number))
    return moment


def mask(*paths):
    return FieldMask(list(paths))


def branch(**spec):
    return pg.Branch(spec=pg.BranchSpec(**spec))


class Ours:
    """The project, its client, and what cases share."""

    def __init__(self, client, say):
        self.mark = secrets.token_hex(5)
        self.id = f"conformance-{self.mark}"
        self.name = f"projects/{self.id}"
        self.wire = Wire(self.mark)
        self.w = self.wire.attach(client)
        self.api = client.postgres
        self.host = client.config.host
        self.say = say
        self.made = {}
        #: What must not be printed.
        self.secret = {client.config.token} - {None}
        self.production = f"{self.name}/branches/production"

    def call(self, method, path, query=None, body=None, **options):
        """A call that the client has no method for, with its credential and its way to raise errors."""
        if not path.startswith("/"):
            path = f"{API}/{path}"
        return self.w.api_client.do(method, path, query=query, body=body, **options)

    def bare(self, method, path, authorization=None):
        """A call without the client's credential."""

        def header(request):
            request.headers.pop("Authorization", None)
            if authorization:
                request.headers["Authorization"] = authorization
            return request

        return self.call(method, path, auth=header)

    def stranger(self):
        """A client with a token that nobody issued."""
        client = WorkspaceClient(host=self.host, token="dapi0123456789", auth_type="pat")
        return self.wire.attach(client)

    def settled(self, begun):
        """The result of an operation; asked for more often than the client's own wait does."""
        end = time.monotonic() + PATIENCE
        while not (operation := self.api.get_operation(begun.name())).done:
            if time.monotonic() > end:
                raise TimeoutError(f"{operation.name} is not done after {PATIENCE} s")
            time.sleep(0.1)
        if operation.error:
            raise RuntimeError(f"{operation.name}: {operation.error.message}")
        return operation.response

    def need(self, what, make):
        """What `make` gives, once; its errors are not those of the case."""
        if what not in self.made:
            try:
                self.made[what] = make()
            except Exception as error:
                raise Unprepared(f"{what}: {error}") from error
        return self.made[what]

    def branch(self, id="dev", **spec):
        """The name of a branch that is ready, made where it is not there; its specification is six hours of life."""
        name = f"{self.name}/branches/{id}"
        spec = spec or {"ttl": seconds(21_600)}
        return self.need(name, lambda: self.settled(self.api.create_branch(self.name, branch(**spec), id)))["name"]

    def role(self, name, parent, **spec):
        """A role in a branch, by the name of both."""
        wanted = pg.Role(spec=pg.RoleRoleSpec(postgres_role=name.replace("-", "_"), **spec))
        create = lambda: self.settled(self.api.create_role(parent, wanted, role_id=name))  # noqa: E731
        return self.need(f"{parent}/roles/{name}", create)["name"]

    def database(self, name, parent):
        """A database in a branch, owned by its creator's role."""
        owner = self.creator(parent)
        spec = pg.DatabaseDatabaseSpec(role=owner["name"], postgres_database=name.replace("-", "_"))
        wanted = pg.Database(spec=spec)
        create = lambda: self.settled(self.api.create_database(parent, wanted, database_id=name))  # noqa: E731
        return self.need(f"{parent}/databases/{name}", create)["name"]

    def reader(self, parent):
        """A read-only endpoint of a branch."""
        spec = pg.EndpointSpec(endpoint_type=pg.EndpointType.ENDPOINT_TYPE_READ_ONLY)
        create = lambda: self.settled(self.api.create_endpoint(parent, pg.Endpoint(spec=spec), "reader"))  # noqa: E731
        return self.need(f"{parent}/endpoints/reader", create)["name"]

    def me(self):
        return self.need("me", lambda: self.w.current_user.me().user_name)

    def creator(self, parent):
        """The role of whoever makes these calls."""

        def find():
            return next(r for r in self.api.list_roles(parent) if r.status.postgres_role == self.me()).as_dict()

        return self.need(f"creator of {parent}", find)

    def endpoint(self, parent):
        """The read-write endpoint of a branch."""

        def find():
            read_write = pg.EndpointType.ENDPOINT_TYPE_READ_WRITE
            return next(e for e in self.api.list_endpoints(parent) if e.status.endpoint_type == read_write)

        return self.need(f"endpoint of {parent}", find)

    def credential(self, parent, **life):
        minted = self.api.generate_database_credential(self.endpoint(parent).name, **life)
        self.secret.add(minted.token)
        return minted

    def login(self, parent, patient=False, **more):
        """Logs in to a branch and says as whom. A fresh branch may refuse the first tries: those are repeated. One who is
        `patient` repeats them whatever the server says: a change that has just been made may take its time."""
        host, _, port = self.endpoint(parent).status.hosts.host.partition(":")
        given = {"user": self.me(), "dbname": "databricks_postgres", "sslmode": "require", "connect_timeout": 30}
        given = {**given, "host": host, "port": port or "5432", **more}
        end = time.monotonic() + FIRST_LOGIN
        while True:
            password = more.get("password") or self.need(f"login of {parent}", lambda: self.credential(parent).token)
            try:
                with psycopg.connect(**{**given, "password": password}) as connection:
                    return connection.execute("SELECT current_user::text").fetchone()[0]
            except psycopg.OperationalError as error:
                early = patient or "External authorization failed" in str(error)
                if not early or time.monotonic() > end:
                    raise
                self.made.pop(f"login of {parent}", None)
                time.sleep(4)

    def clear(self):
        """Takes away what the cases of a group made: every branch but production, children first."""
        self.made = {"me": self.made["me"]} if "me" in self.made else {}
        self.unprotect()
        if self.api.get_project(self.name).status.default_branch != self.production:
            self.default_branch(self.production)
        listed = self.api.list_branches(self.name, show_deleted=True)
        made = sorted((it for it in listed if it.name != self.production), key=lambda it: it.create_time.ToDatetime())
        for it in reversed(made):
            try:
                self.settled(self.api.delete_branch(it.name, purge=True))
            except NotFound:
                pass
            except DatabricksError as error:
                self.say(f"{it.name} is not gone: {error}")

    def default_branch(self, name):
        """Makes a branch the project's default one."""
        spec = pg.Project(spec=pg.ProjectSpec(default_branch=name))
        return self.settled(self.api.update_project(self.name, spec, mask("spec.default_branch")))

    def unprotect(self):
        """Protected branches keep themselves and their project from being deleted."""
        for it in self.api.list_branches(self.name):
            if it.status.is_protected:
                change = branch(is_protected=False)
                self.settled(self.api.update_branch(it.name, change, mask("spec.is_protected")))

    def end(self):
        """Purges the project, and those whose ids were to be refused and were not. Gives the names of those that are still
        there."""
        left = self.there()
        for attempt in range(3):
            for project in left:
                try:
                    if project.name == self.name and not project.delete_time:
                        self.unprotect()
                    self.settled(self.api.delete_project(project.name, purge=True))
                except NotFound:
                    pass
                except Exception as error:
                    self.say(f"{project.name} is not gone yet: {error}")
                    time.sleep(attempt + 1)
            left = self.there()
            if not left:
                break
        return [project.name for project in left]

    def there(self):
        """The projects that are ours, deleted ones too."""
        listed = self.api.list_projects(show_deleted=True)
        return [it for it in listed if self.mark in it.name or it.name in self.wire.created]
