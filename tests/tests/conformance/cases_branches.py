"""Branches: creating, reading, listing."""

import datetime
import re

from databricks.sdk.service import postgres as pg
from ours import after, branch, seconds
from table import (
    ABSENT,
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
    refused,
    required,
)

HOURS = {"ttl": seconds(21_600)}
#: What an id can't be, by a name for it.
BAD_IDS = {
    "upper": "Dev",
    "digit": "1dev",
    "hyphen-first": "-dev",
    "hyphen-last": "dev-",
    "underscore": "dev_ada",
    "dot": "dev.ada",
    "slash": "dev/ada",
    "space": "dev ada",
    "umlaut": "dév",
    "quote": "dev'ada",
    "long": "d" * 64,
}


def create(id, parent=None, **spec):
    return lambda o: o.api.create_branch(parent or o.name, branch(**(spec or HOURS)), id)


def names(o, **options):
    return [it.name.removeprefix(f"{o.name}/branches/") for it in o.api.list_branches(o.name, **options)]


def pages(o):
    """The branches, in pages of one; that no page came empty is seen in the number of calls."""
    o.branch("one"), o.branch("two")
    before = len(o.wire.responses)
    listed = names(o, page_size=1)
    calls = len(o.wire.responses) - before
    return sorted(listed) == ["one", "production", "two"] and calls in (3, 4)


def replaced(o):
    """Creates a branch anew that is there, with another life: it keeps its uid."""
    before = o.api.get_branch(o.branch())
    spec = branch(expire_time=after(86_400))
    made = o.settled(o.api.create_branch(o.name, spec, "dev", replace_existing=True))
    now = o.api.get_branch(o.branch())
    return made["uid"] == before.uid == now.uid and now.status.expire_time.seconds > before.status.expire_time.seconds


def past(o):
    made = o.api.get_project(o.name).create_time.ToDatetime()
    moment = max(
        datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - datetime.timedelta(seconds=1), made
    )
    spec = pg.BranchSpec(ttl=seconds(21_600)).as_dict()
    spec = {**spec, "source_branch_time": moment.isoformat() + "Z"}
    return o.call("POST", f"{o.name}/branches", {"branch_id": "past"}, {"spec": spec})


def eleventh(o):
    """Fills the project's ten branches, and asks for one more."""
    for number in range(10 - len(names(o))):
        o.branch(f"b{number}")
    return o.api.create_branch(o.name, branch(**HOURS), "eleventh")


QUOTA = [
    refused(status, code, ".+", raises)
    for status, plain in (
        (400, "BadRequest"),
        (403, "PermissionDenied"),
        (409, "ResourceConflict"),
        (429, "TooManyRequests"),
    )
    for code, raises in (
        ("QUOTA_EXCEEDED", plain),
        ("RESOURCE_LIMIT_EXCEEDED", plain),
        ("RESOURCE_EXHAUSTED", "ResourceExhausted"),
    )
]

CASES = [
    case(
        "branch-born",
        "the branch that a project is born with",
        lambda o: o.api.get_branch(o.production),
        Answer(
            body={
                "branch_id": "production",
                "name": re.compile("projects/.+/branches/production"),
                "parent": re.compile("projects/[^/]+"),
                "uid": re.compile("br-.+"),
                "create_time": TIME,
                "update_time": TIME,
                "spec": ABSENT,
                "status.branch_id": "production",
                "status.current_state": "READY",
                "status.default": True,
                "status.is_protected": False,
                "status.expire_time": ABSENT,
                "status.source_branch": ABSENT,
                "status.state_change_time": TIME,
            }
        ),
        "[L]",
    ),
    case(
        "branch-create",
        "creating a branch answers with an operation",
        create("begun"),
        operation("Branch", "/branches/begun"),
        "[L]",
    ),
    case(
        "branch-create-wait",
        "the client's wait ends with the branch, made of the default one",
        lambda o: o.api.create_branch(o.name, branch(**HOURS), "waited").wait(),
        ended(
            "Branch",
            "/branches/waited",
            spec=ABSENT,
            uid=re.compile("br-.+"),
            **{
                "status.current_state": "READY",
                "status.default": False,
                "status.is_protected": False,
                "status.expire_time": TIME,
                "status.source_branch": re.compile("projects/.+/branches/production"),
                "status.source_branch_lsn": re.compile("[0-9A-F]+/[0-9A-F]+"),
                "status.source_branch_time": TIME,
                "status.logical_size_bytes": re.compile(r"\d+"),
                "status.state_change_time": TIME,
            },
        ),
        "[L]",
    ),
    case(
        "branch-create-id-in-body",
        "the id in the body, too, as some clients send it",
        lambda o: o.call(
            "POST",
            f"{o.name}/branches",
            {"branch_id": "both"},
            {"branch_id": "both", "spec": {"source_branch": o.production, "ttl": "21600s"}},
        ),
        operation("Branch", "/branches/both"),
        "[-]",
    ),
    case(
        "branch-create-child",
        "a branch of a branch",
        lambda o: o.settled(create("child", source_branch=o.branch("lasting", no_expiry=True), **HOURS)(o))["status"][
            "source_branch"
        ],
        Answer(gives=re.compile("projects/.+/branches/lasting")),
        "[S]",
    ),
    case(
        "branch-create-past",
        "a branch of the past",
        past,
        operation("Branch", "/branches/past"),
        "[S]",
        embedded=(
            [refused(501, "NOT_IMPLEMENTED", ".+", "NotImplemented")],
            "a branch is a copy of what is there now: there is no history",
        ),
    ),
    case("branch-duplicate", "an id that is taken", lambda o: (o.branch(), create("dev")(o)), exists("branch"), "[?]"),
    case("branch-replace", "an id that is taken, to be replaced", replaced, Answer(gives=True), "[S]"),
    case(
        "branch-replace-new",
        "an id that is free, to be replaced",
        lambda o: o.settled(o.api.create_branch(o.name, branch(**HOURS), "new", replace_existing=True))["branch_id"],
        Answer(gives="new"),
        "[S]",
    ),
    case(
        "branch-id-missing",
        "no id",
        lambda o: o.call("POST", f"{o.name}/branches", body={"spec": {"ttl": "600s"}}),
        required("branch_id"),
        "[L]",
    ),
    case("branch-id-empty", "an empty id", create(""), required("branch_id"), "[L]"),
    *(
        case(
            f"branch-id-{name}",
            f"the id `{id}`" if len(id) < 64 else "an id of 64 characters",
            create(id),
            bad_id("branch_id", re.escape(id)),
            "[L]",
        )
        for name, id in BAD_IDS.items()
    ),
    case(
        "branch-id-longest",
        "an id of 63 characters",
        lambda o: o.settled(create("d" * 63)(o))["branch_id"],
        Answer(gives="d" * 63),
        "[L]",
    ),
    case(
        "branch-create-no-project",
        "in a project that is not there; it is missed before the bad id",
        lambda o: o.api.create_branch(f"{o.name}-none", branch(**HOURS), "Bad_Id"),
        missing("project"),
        "[L]",
    ),
    case(
        "branch-source-missing",
        "of a branch that is not there",
        lambda o: create("none", source_branch=f"{o.name}/branches/none", **HOURS)(o),
        missing("branch"),
        "[L]",
    ),
    case(
        "branch-source-name",
        "of a branch by its id instead of its name",
        create("none", source_branch="production", **HOURS),
        [missing("branch"), *either(".+")],
        "[?]",
    ),
    case(
        "branch-source-other",
        "of a branch of another project",
        lambda o: create("none", source_branch=f"{o.name}-none/branches/production", **HOURS)(o),
        [missing("branch"), missing("project"), *either(".+")],
        "[?]",
    ),
    case(
        "branch-source-expiring",
        "of a branch that expires",
        lambda o: create("none", source_branch=o.branch(), **HOURS)(o),
        bad("Branches with an expiration date cannot have child branches"),
        "[L]",
    ),
    case(
        "branch-create-types",
        "a specification that is none",
        lambda o: o.call("POST", f"{o.name}/branches", {"branch_id": "none"}, {"spec": 5}),
        malformed(),
        "[?]",
    ),
    case(
        "branch-get-missing",
        "a branch that is not there",
        lambda o: o.api.get_branch(f"{o.name}/branches/none"),
        missing("branch"),
        "[L]",
    ),
    case(
        "branch-get-no-project",
        "a branch of a project that is not there",
        lambda o: o.api.get_branch(f"{o.name}-none/branches/none"),
        missing("project"),
        "[L]",
    ),
    case(
        "branch-list",
        "the branches",
        lambda o: {"production", "dev"} <= {*names(o), o.branch() and "dev"},
        Answer(gives=True),
        "[S]",
    ),
    case(
        "branch-list-no-project",
        "the branches of a project that is not there",
        lambda o: list(o.api.list_branches(f"{o.name}-none")),
        missing("project"),
        "[L]",
    ),
    case(
        "branch-list-negative",
        "a page of less than nothing",
        lambda o: list(o.api.list_branches(o.name, page_size=-1)),
        either(".*page_size.*"),
        "[S]",
    ),
]

#: These want a project with production only.
FULL = [
    case("branch-list-pages", "the branches in pages of one", pages, Answer(gives=True), "[S]"),
    case("branch-quota", "one branch more than ten", eleventh, QUOTA, "[F]"),
]
