"""Endpoints."""

import re

from databricks.sdk.service import postgres as pg
from ours import mask, seconds
from table import (
    ABSENT,
    TEXT,
    TIME,
    Answer,
    bad,
    bad_id,
    case,
    either,
    emptied,
    ended,
    exists,
    login_refused,
    malformed,
    managed_by_parent,
    missing,
    operation,
    refused,
    required,
)

READ_WRITE = pg.EndpointType.ENDPOINT_TYPE_READ_WRITE
READ_ONLY = pg.EndpointType.ENDPOINT_TYPE_READ_ONLY


def endpoint(kind=READ_ONLY, **spec):
    return pg.Endpoint(spec=pg.EndpointSpec(endpoint_type=kind, **spec))


def create(id, kind=READ_ONLY, parent=None, **spec):
    return lambda o: o.api.create_endpoint(parent or o.branch(), endpoint(kind, **spec), id)


def primary(o):
    return o.endpoint(o.branch()).name


def update(o, *paths, name=None, **spec):
    return o.api.update_endpoint(name or primary(o), endpoint(READ_WRITE, **spec), mask(*paths)).wait()


def raw(o, spec, id="none"):
    return o.call("POST", f"{o.branch()}/endpoints", {"endpoint_id": id}, {"spec": spec})


def pages(o):
    """The endpoints of a branch, in pages of one."""
    o.reader(o.branch())
    first = o.call("GET", f"{o.branch()}/endpoints", {"page_size": 1})
    kinds = [it.status.endpoint_type for it in o.api.list_endpoints(o.branch(), page_size=1)]
    return len(first["endpoints"]) == 1 and sorted(kind.name for kind in kinds) == [READ_ONLY.name, READ_WRITE.name]


def same_hosts(o):
    """Whether the host of a read-only endpoint is its read-only host."""
    hosts = o.api.get_endpoint(o.reader(o.branch())).status.hosts
    return hosts.host == hosts.read_only_host


def disabled(o):
    """Logs in to a branch whose endpoint is disabled."""
    o.need("a disabled endpoint", lambda: (o.credential(o.branch()), update(o, "spec.disabled", disabled=True)))
    return o.login(o.branch())


def enabled(o):
    update(o, "spec.disabled", disabled=False)
    return o.login(o.branch(), patient=True) == o.me()


HOST = re.compile(r"ep-[a-z0-9-]+\.database\..+")
POOLED = re.compile(r"ep-[a-z0-9-]+-pooler\.database\..+")

CASES = [
    case(
        "endpoint-born",
        "the endpoint that a branch is born with",
        lambda o: o.api.get_endpoint(primary(o)),
        Answer(
            body={
                "endpoint_id": TEXT,
                "name": re.compile("projects/.+/branches/dev/endpoints/.+"),
                "parent": re.compile("projects/.+/branches/dev"),
                "uid": re.compile("ep-.+"),
                "create_time": TIME,
                "update_time": TIME,
                "spec": ABSENT,
                "status.endpoint_type": "ENDPOINT_TYPE_READ_WRITE",
                "status.current_state": re.compile("INIT|ACTIVE|IDLE"),
                "status.disabled": False,
                "status.autoscaling_limit_min_cu": re.compile(r"[\d.]+"),
                "status.autoscaling_limit_max_cu": re.compile(r"[\d.]+"),
                "status.suspend_timeout_duration": re.compile(r"\d+s"),
                "status.group.min": 1,
                "status.group.max": 1,
                "status.hosts.host": TEXT,
            }
        ),
        "[L]",
    ),
    case(
        "endpoint-host",
        "every endpoint has a name of its own",
        lambda o: o.api.get_endpoint(primary(o)),
        Answer(body={"status.hosts.host": HOST}),
        "[L]",
        embedded=(
            [Answer(body={"status.hosts.host": re.compile(r"127\.0\.0\.1:\d+")})],
            "one machine has one name: an endpoint is told by its port",
        ),
    ),
    case(
        "endpoint-pooled-host",
        "a read-write endpoint has a host with a pool",
        lambda o: o.api.get_endpoint(primary(o)),
        Answer(body={"status.hosts.read_write_pooled_host": POOLED}),
        "[L]",
        embedded=(
            [Answer(body={"status.hosts.read_write_pooled_host": ABSENT})],
            "there is no pool; the service's refuses the logins that this house uses",
        ),
    ),
    case(
        "endpoint-read-only-pooled-host",
        "a read-only endpoint has one, too",
        lambda o: o.api.get_endpoint(o.reader(o.branch())),
        Answer(body={"status.hosts.read_only_pooled_host": POOLED}),
        "[S]",
        embedded=(
            [Answer(body={"status.hosts.read_only_pooled_host": ABSENT})],
            "there is no pool",
        ),
    ),
    case(
        "endpoint-get-missing",
        "an endpoint that is not there",
        lambda o: o.api.get_endpoint(f"{o.branch()}/endpoints/none"),
        missing("endpoint"),
        "[L]",
    ),
    case(
        "endpoint-get-no-branch",
        "an endpoint of a branch that is not there",
        lambda o: o.api.get_endpoint(f"{o.name}/branches/none/endpoints/none"),
        missing("branch"),
        "[L]",
    ),
    case(
        "endpoint-get-no-project",
        "an endpoint of a project that is not there",
        lambda o: o.api.get_endpoint(f"{o.name}-none/branches/none/endpoints/none"),
        missing("project"),
        "[L]",
    ),
    case(
        "endpoint-list-no-branch",
        "the endpoints of a branch that is not there",
        lambda o: list(o.api.list_endpoints(f"{o.name}/branches/none")),
        missing("branch"),
        "[L]",
    ),
    case("endpoint-list-pages", "the endpoints in pages of one", pages, Answer(gives=True), "[S]"),
    case(
        "endpoint-list-negative",
        "a page of less than nothing",
        lambda o: list(o.api.list_endpoints(o.branch(), page_size=-1)),
        either(".*page_size.*"),
        "[S]",
    ),
    case(
        "endpoint-create",
        "creating a read-only endpoint, with the client's wait",
        lambda o: create("second")(o).wait(),
        ended(
            "Endpoint",
            "/branches/[^/]+/endpoints/second",
            spec=ABSENT,
            **{"status.endpoint_type": "ENDPOINT_TYPE_READ_ONLY", "status.hosts.read_only_host": TEXT},
        ),
        "[S]",
    ),
    case(
        "endpoint-create-operation",
        "creating an endpoint answers with an operation",
        create("third"),
        operation("Endpoint", "/branches/[^/]+/endpoints/third"),
        "[T]",
    ),
    case(
        "endpoint-read-only-hosts",
        "the host of a read-only endpoint is its read-only host",
        same_hosts,
        Answer(gives=True),
        "[S]",
    ),
    case(
        "endpoint-second",
        "a second read-write endpoint",
        create("none", READ_WRITE),
        bad("read_write endpoint already exists"),
        "[L]",
    ),
    case(
        "endpoint-duplicate",
        "an id that is taken",
        lambda o: (o.reader(o.branch()), create("reader")(o)),
        exists("endpoint"),
        "[?]",
    ),
    case(
        "endpoint-replace",
        "an id that is taken, to be replaced",
        lambda o: (
            o.reader(o.branch()),
            o.api.create_endpoint(
                o.branch(), endpoint(autoscaling_limit_max_cu=2), "reader", replace_existing=True
            ).wait(),
        )[1].status.autoscaling_limit_max_cu,
        Answer(gives=2),
        "[S]",
    ),
    case("endpoint-type-missing", "no type", lambda o: raw(o, {}), either(".*endpoint_type.*"), "[S]"),
    case(
        "endpoint-type-unknown", "a type that is none", lambda o: raw(o, {"endpoint_type": "NONE"}), malformed(), "[?]"
    ),
    case(
        "endpoint-id-missing",
        "no id",
        lambda o: o.call("POST", f"{o.branch()}/endpoints", body={"spec": {"endpoint_type": READ_ONLY.value}}),
        required("endpoint_id"),
        "[L]",
    ),
    case("endpoint-id-bad", "an id that is none", create("Bad_Id"), bad_id("endpoint_id", "Bad_Id"), "[L]"),
    case(
        "endpoint-create-no-branch",
        "in a branch that is not there",
        lambda o: create("none", parent=f"{o.name}/branches/none")(o),
        missing("branch"),
        "[L]",
    ),
    case(
        "endpoint-grow",
        "another limit, with the client's wait",
        lambda o: update(o, "spec.autoscaling_limit_max_cu", autoscaling_limit_max_cu=2),
        ended("Endpoint", "/branches/[^/]+/endpoints/.+", **{"status.autoscaling_limit_max_cu": 2}),
        "[S]",
    ),
    case(
        "endpoint-limit-least",
        "less than half a unit",
        create("none", autoscaling_limit_min_cu=0.25, autoscaling_limit_max_cu=1),
        either(".+"),
        "[S]",
    ),
    case(
        "endpoint-limit-most",
        "more than 64 units",
        create("none", autoscaling_limit_min_cu=60, autoscaling_limit_max_cu=65),
        either(".+"),
        "[S]",
    ),
    case(
        "endpoint-limit-apart",
        "limits more than 16 units apart",
        create("none", autoscaling_limit_min_cu=1, autoscaling_limit_max_cu=18),
        either(".+"),
        "[S]",
    ),
    case(
        "endpoint-limit-order",
        "a least above the most",
        create("none", autoscaling_limit_min_cu=4, autoscaling_limit_max_cu=2),
        either(".+"),
        "[S]",
    ),
    case(
        "endpoint-suspend",
        "another time of idling",
        lambda o: update(
            o, "spec.suspension", suspend_timeout_duration=seconds(60)
        ).status.suspend_timeout_duration.seconds,
        Answer(gives=60),
        "[S]",
    ),
    case(
        "endpoint-suspend-short",
        "less than a minute of idling",
        create("none", suspend_timeout_duration=seconds(59)),
        either(".+"),
        "[S]",
    ),
    case(
        "endpoint-suspend-long",
        "more than a week of idling",
        create("none", suspend_timeout_duration=seconds(604_801)),
        either(".+"),
        "[S]",
    ),
    case(
        "endpoint-suspend-both",
        "a time of idling and none",
        create("none", suspend_timeout_duration=seconds(600), no_suspension=True),
        either(".+"),
        "[S]",
    ),
    case(
        "endpoint-settings",
        "settings of PostgreSQL",
        lambda o: update(o, "spec.settings", settings=pg.EndpointSettings(pg_settings={"work_mem": "8MB"})),
        ended("Endpoint", "/branches/[^/]+/endpoints/.+", **{"status.settings.pg_settings.work_mem": "8MB"}),
        "[S]",
        embedded=([refused(501, "NOT_IMPLEMENTED", ".+", "NotImplemented")], "settings of PostgreSQL are not offered"),
    ),
    case(
        "endpoint-update-missing",
        "a change of an endpoint that is not there",
        lambda o: update(o, "spec.disabled", name=f"{o.branch()}/endpoints/none", disabled=True),
        missing("endpoint"),
        "[L]",
    ),
    case(
        "endpoint-update-unknown",
        "a change of what no endpoint has",
        lambda o: update(o, "spec.none"),
        either(".*spec.none.*"),
        "[?]",
    ),
    case(
        "endpoint-login", "an endpoint takes logins", lambda o: o.login(o.branch()) == o.me(), Answer(gives=True), "[L]"
    ),
    case("endpoint-disabled-login", "a disabled one takes none", disabled, login_refused(""), "[S]"),
    case(
        "endpoint-disabled",
        "a disabled one says so",
        lambda o: o.api.get_endpoint(primary(o)),
        Answer(body={"status.disabled": True}),
        "[S]",
    ),
    case("endpoint-enabled", "enabled again, it takes logins", enabled, Answer(gives=True), "[S]"),
    case(
        "endpoint-delete-primary",
        "deleting the read-write endpoint",
        lambda o: o.api.delete_endpoint(primary(o)),
        managed_by_parent(r"Cannot delete primary endpoint '.+'\..*"),
        "[L]",
    ),
    case(
        "endpoint-delete-missing",
        "deleting an endpoint that is not there",
        lambda o: o.api.delete_endpoint(f"{o.branch()}/endpoints/none"),
        missing("endpoint"),
        "[L]",
    ),
    case(
        "endpoint-delete",
        "deleting a read-only endpoint, with the client's wait",
        lambda o: o.api.delete_endpoint(o.reader(o.branch())).wait(),
        emptied("Endpoint", "/branches/[^/]+/endpoints/reader"),
        "[S]",
    ),
    case(
        "endpoint-deleted",
        "it is not found",
        lambda o: o.api.get_endpoint(o.reader(o.branch())),
        missing("endpoint"),
        "[L]",
    ),
]
