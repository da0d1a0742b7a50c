"""Projects."""

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
    ended,
    exists,
    malformed,
    missing,
    operation,
    required,
)


def project(**spec):
    return pg.Project(spec=pg.ProjectSpec(**spec))


#: What the cases' own project is made as.
BORN = project(display_name="Conformance")


#: What endpoints are made as.
ENDPOINTS = project(
    default_endpoint_settings=pg.ProjectDefaultEndpointSettings(
        autoscaling_limit_min_cu=1, autoscaling_limit_max_cu=2, suspend_timeout_duration=seconds(300)
    )
)


def update(o, *paths, name=None, **spec):
    return o.api.update_project(name or o.name, project(**spec), mask(*paths)).wait()


def create(id):
    """Creates a project whose id is made of ours, so that one that is not refused is ours, too."""
    return lambda o: o.api.create_project(project(), id.replace("OURS", o.id.upper()).replace("ours", o.id))


def listed(o, **options):
    """Whether our project is in the list, once."""
    return [project.name for project in o.api.list_projects(**options)].count(o.name) == 1


def in_pages_of_one(o):
    """The first page holds one project and says where the next one begins, and ours is on one of them."""
    first = o.call("GET", "projects", {"page_size": 1})
    return len(first["projects"]) == 1 and listed(o, page_size=1)


def default_back(o):
    """Makes another branch the default one, and production again."""
    names = [o.branch("next", no_expiry=True), o.production]
    return [o.default_branch(name)["status"]["default_branch"] for name in names] == names


def kept_native_login(o):
    """What a mask does not name stays, whatever the body holds."""
    return update(o, "spec.display_name", display_name="A", enable_pg_native_login=True).status.enable_pg_native_login


CASES = [
    case(
        "project-create",
        "creating a project answers with an operation",
        lambda o: o.settled(o.born) and o.born.name().startswith(f"{o.name}/operations/"),
        ended("Project", "", name=TEXT, **{"status.project_id": TEXT, "spec": ABSENT}),
        "[T]",
    ),
    case(
        "project-create-wait",
        "the client's wait ends with the project",
        lambda o: o.born.wait().name == o.name,
        Answer(gives=True),
        "[S]",
    ),
    case(
        "project-get",
        "a project, with its status and without its specification",
        lambda o: o.api.get_project(o.name),
        Answer(
            body={
                "name": re.compile("projects/conformance-.+"),
                "project_id": re.compile("conformance-.+"),
                "uid": TEXT,
                "create_time": TIME,
                "update_time": TIME,
                "delete_time": ABSENT,
                "spec": ABSENT,
                "status.project_id": re.compile("conformance-.+"),
                "status.display_name": "Conformance",
                "status.default_branch": re.compile("projects/conformance-.+/branches/production"),
                "status.owner": TEXT,
                "status.pg_version": re.compile(r"1[4-9]|2\d"),
                "status.history_retention_duration": re.compile(r"\d+s"),
                "status.enable_pg_native_login": False,
                "status.branch_logical_size_limit_bytes": re.compile(r"\d+"),
                "status.synthetic_storage_size_bytes": re.compile(r"\d+"),
                "status.default_endpoint_settings.autoscaling_limit_min_cu": re.compile(r"[\d.]+"),
                "status.default_endpoint_settings.autoscaling_limit_max_cu": re.compile(r"[\d.]+"),
            }
        ),
        "[L]",
    ),
    case(
        "project-uid",
        "its uid is not its id",
        lambda o: o.api.get_project(o.name).uid != o.id,
        Answer(gives=True),
        "[L]",
    ),
    case(
        "project-get-missing",
        "a project that is not there",
        lambda o: o.api.get_project(f"{o.name}-none"),
        missing("project"),
        "[L]",
    ),
    case("project-list", "the list holds our project", listed, Answer(gives=True), "[S]"),
    case(
        "project-list-most",
        "the list in pages of 100, the most",
        lambda o: listed(o, page_size=100),
        Answer(gives=True),
        "[S]",
    ),
    case("project-list-pages", "the list in pages of one", in_pages_of_one, Answer(gives=True), "[S]"),
    case(
        "project-list-negative",
        "a page of less than nothing",
        lambda o: list(o.api.list_projects(page_size=-1)),
        either(".*page_size.*"),
        "[S]",
    ),
    case(
        "project-list-token",
        "a page token that the service never gave",
        lambda o: list(o.api.list_projects(page_token="none")),
        either(".+"),
        "[?]",
    ),
    case("project-duplicate", "an id that is taken", create("ours"), exists("project"), "[?]"),
    case(
        "project-id-missing",
        "no id",
        lambda o: o.call("POST", "projects", body={"spec": {}}),
        required("project_id"),
        "[L]",
    ),
    case("project-id-empty", "an empty id", create(""), required("project_id"), "[L]"),
    case("project-id-upper", "an id in capitals", create("OURS"), bad_id("project_id", "CONFORMANCE-.+"), "[L]"),
    case(
        "project-id-digit",
        "an id that begins with a digit",
        create("1ours"),
        bad_id("project_id", "1conformance-.+"),
        "[L]",
    ),
    case(
        "project-id-hyphen",
        "an id that ends with a hyphen",
        create("ours-"),
        bad_id("project_id", "conformance-.+-"),
        "[L]",
    ),
    case(
        "project-id-long",
        "an id of 64 characters",
        lambda o: create(f"ours{'x' * (64 - len(o.id))}")(o),
        bad_id("project_id", "conformance-.+"),
        "[L]",
    ),
    case(
        "project-update",
        "another display name, with the client's wait",
        lambda o: update(o, "spec.display_name", display_name="Renamed").status.display_name,
        ended("Project", "", **{"status.display_name": "Renamed"}),
        "[S]",
    ),
    case(
        "project-update-operation",
        "a change answers with an operation",
        lambda o: o.api.update_project(o.name, project(display_name="B"), mask("spec.display_name")),
        operation("Project", ""),
        "[T]",
    ),
    case("project-update-mask", "a change of what the mask names only", kept_native_login, Answer(gives=False), "[S]"),
    case(
        "project-update-no-mask",
        "a change without a mask",
        lambda o: o.call("PATCH", o.name, body={"spec": {"display_name": "C"}}),
        either(".*update_mask.*"),
        "[?]",
    ),
    case(
        "project-update-unknown",
        "a change of what no project has",
        lambda o: update(o, "spec.none"),
        either(".*spec.none.*"),
        "[?]",
    ),
    case(
        "project-update-missing",
        "a change of a project that is not there",
        lambda o: update(o, "spec.display_name", name=f"{o.name}-none", display_name="D"),
        missing("project"),
        "[L]",
    ),
    case(
        "project-update-name-long",
        "a display name of 257 characters",
        lambda o: update(o, "spec.display_name", display_name="x" * 257),
        either(".+"),
        "[S]",
    ),
    case(
        "project-update-history",
        "a history of two days, the least",
        lambda o: update(o, "spec.history_retention_duration", history_retention_duration=seconds(172_800)),
        ended("Project", "", **{"status.history_retention_duration": "172800s"}),
        "[S]",
    ),
    case(
        "project-update-history-short",
        "a history of less than two days",
        lambda o: update(o, "spec.history_retention_duration", history_retention_duration=seconds(172_799)),
        either(".+"),
        "[S]",
    ),
    case(
        "project-update-history-long",
        "a history of more than 35 days",
        lambda o: update(o, "spec.history_retention_duration", history_retention_duration=seconds(3_024_001)),
        either(".+"),
        "[S]",
    ),
    case(
        "project-update-tags",
        "tags",
        lambda o: update(o, "spec.custom_tags", custom_tags=[pg.ProjectCustomTag(key="team", value="shop")]),
        ended("Project", "", **{"status.custom_tags": [{"key": "team", "value": "shop"}]}),
        "[S]",
    ),
    case(
        "project-update-no-tags",
        "no tags any more",
        lambda o: update(o, "spec.custom_tags", custom_tags=[]).status.custom_tags or [],
        Answer(gives=[]),
        "[S]",
    ),
    case(
        "project-update-endpoints",
        "what endpoints are made as, from here on",
        lambda o: (
            o.settled(o.api.update_project(o.name, ENDPOINTS, mask("spec.default_endpoint_settings"))),
            o.endpoint(o.branch("sized", no_expiry=True)),
        )[1].status.autoscaling_limit_max_cu,
        Answer(gives=2),
        "[S]",
    ),
    case(
        "project-default-branch",
        "another default branch, and the first one again",
        default_back,
        Answer(gives=True),
        "[S]",
    ),
    case(
        "project-default-missing",
        "a default branch that is not there",
        lambda o: update(o, "spec.default_branch", default_branch=f"{o.name}/branches/none"),
        missing("branch"),
        "[-]",
    ),
    case(
        "project-default-expiring",
        "a default branch that expires",
        lambda o: update(o, "spec.default_branch", default_branch=o.branch()),
        either(".+"),
        "[?]",
    ),
    case(
        "project-body-broken",
        "a body that is no JSON",
        lambda o: o.call(
            "POST", f"{o.name}/branches?branch_id=none", data="{", headers={"Content-Type": "application/json"}
        ),
        malformed(),
        "[?]",
    ),
    case(
        "project-body-list",
        "a body that is a list",
        lambda o: o.call("PATCH", o.name, {"update_mask": "spec.display_name"}, [None, {"display_name": "F"}, {}, {}]),
        malformed(),
        "[?]",
    ),
    case(
        "project-body-types",
        "a body of other types",
        lambda o: o.call("PATCH", o.name, {"update_mask": "spec.display_name"}, {"spec": {"display_name": [1]}}),
        malformed(),
        "[?]",
    ),
    case(
        "project-protected",
        "deleting a project with a protected branch",
        lambda o: (o.branch("kept", no_expiry=True, is_protected=True), o.api.delete_project(o.name)),
        bad(".+"),
        "[S]",
    ),
]
