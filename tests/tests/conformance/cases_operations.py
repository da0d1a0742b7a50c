"""Operations, and the client's waits for them."""

import re

from cases_branches import HOURS
from ours import branch
from table import TEXT, TRACE, Answer, case, ended, refused

UNKNOWN = refused(404, "NOT_FOUND", f"operation id not found{TRACE}", "NotFound")


def begun(o):
    """The operation of a branch's creation."""
    return o.need("an operation", lambda: o.api.create_branch(o.name, branch(**HOURS), "dev"))


def two(o):
    """Two changes of one branch are two operations."""
    names = {begun(o).name(), o.api.delete_branch(o.branch("second"), purge=True).name()}
    return len(names)


CASES = [
    case(
        "operation-get",
        "an operation under its own name",
        lambda o: (begun(o).wait(), o.api.get_operation(begun(o).name()))[1],
        ended("Branch", "/branches/dev", name=TEXT, **{"@type": re.compile(r"type\.googleapis\.com/.+Branch")}),
        "[T]",
    ),
    case(
        "operation-again",
        "a wait for what is done",
        lambda o: (begun(o).wait(), begun(o).wait())[1].branch_id,
        Answer(gives="dev"),
        "[S]",
    ),
    case(
        "operation-done",
        "the client's question whether it is done",
        lambda o: (begun(o).wait(), begun(o).done())[1],
        Answer(gives=True),
        "[S]",
    ),
    case(
        "operation-metadata",
        "the client reads its metadata",
        lambda o: (begun(o).done(), type(begun(o).metadata()).__name__)[1],
        Answer(gives="BranchOperationMetadata"),
        "[S]",
    ),
    case("operation-names", "every operation has a name of its own", two, Answer(gives=2), "[S]"),
    case(
        "operation-missing",
        "an operation that is not there",
        lambda o: o.api.get_operation(f"{o.name}/operations/none"),
        UNKNOWN,
        "[L]",
    ),
    case(
        "operation-missing-branch",
        "an operation of a branch that is not there",
        lambda o: o.api.get_operation(f"{o.production}/operations/none"),
        UNKNOWN,
        "[L]",
    ),
    case(
        "operation-base64",
        "an id with a slash, a plus and an equals sign",
        lambda o: o.api.get_operation(f"{o.production}/operations/YWJj/ZGVm+Zw=="),
        UNKNOWN,
        "[L]",
    ),
]
