"""Branches that are deleted, and come back."""

import time

from cases_branches import HOURS, create, names
from databricks.sdk.errors import NotFound
from databricks.sdk.service import postgres as pg
from ours import branch
from table import ABSENT, TIME, Answer, bad, case, either, emptied, exists, managed_by_parent, missing, operation


def deleted(o, id):
    """A branch that is deleted, not for good."""
    name = o.branch(id)
    o.need(f"the deletion of {id}", lambda: o.settled(o.api.delete_branch(name)))
    return name


def purged(o):
    """The operation that deleted a branch for good."""

    def make():
        begun = o.api.delete_branch(o.branch("purged"), purge=True)
        o.settled(begun)
        return begun

    return o.need("its purge", make)


def default(o):
    """Deletes a branch while it is the default one, but not a root."""
    name = o.branch("default", no_expiry=True)
    o.need("another default branch", lambda: o.default_branch(name))
    return o.api.delete_branch(name)


def during_init(o):
    """Deletes a branch while it is made. The service takes the call, and may then ignore it: as every good client does,
    this looks until the branch is gone, and sends it again."""
    o.api.create_branch(o.name, branch(**HOURS), "fleeting")
    name = f"{o.name}/branches/fleeting"
    o.api.delete_branch(name, purge=True)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            status = o.api.get_branch(name).status
            if status.current_state is pg.BranchStatusState.READY and status.pending_state is None:
                o.api.delete_branch(name, purge=True)
        except NotFound:
            return True
        time.sleep(0.2)
    return False


CASES = [
    case(
        "delete-root",
        "deleting the root branch",
        lambda o: o.api.delete_branch(o.production),
        managed_by_parent(r"Cannot delete root branch '.+'\. Root branches cannot be deleted independently\."),
        "[L]",
    ),
    case(
        "delete-root-purge",
        "deleting the root branch for good",
        lambda o: o.api.delete_branch(o.production, purge=True),
        managed_by_parent(r"Cannot delete root branch '.+'\. Root branches cannot be deleted independently\."),
        "[L]",
    ),
    case(
        "delete-parent",
        "deleting a branch that has a child",
        lambda o: (
            o.branch("child", source_branch=o.branch("parent", no_expiry=True), **HOURS),
            o.api.delete_branch(o.branch("parent")),
        ),
        bad(".+"),
        "[-]",
    ),
    case(
        "delete-parent-purge",
        "deleting it for good",
        lambda o: o.api.delete_branch(o.branch("parent"), purge=True),
        bad(".+"),
        "[-]",
    ),
    case(
        "delete-missing",
        "deleting a branch that is not there",
        lambda o: o.api.delete_branch(f"{o.name}/branches/none"),
        missing("branch"),
        "[L]",
    ),
    case(
        "delete-no-project",
        "deleting a branch of a project that is not there",
        lambda o: o.api.delete_branch(f"{o.name}-none/branches/none"),
        missing("project"),
        "[L]",
    ),
    case(
        "delete-operation",
        "deleting answers with an operation",
        lambda o: o.api.delete_branch(o.branch("gone"), purge=True),
        operation("Branch", "/branches/gone"),
        "[T]",
    ),
    case(
        "delete-soft",
        "deleting, with the client's wait",
        lambda o: o.api.delete_branch(o.branch("deleted")).wait(),
        emptied("Branch", "/branches/deleted"),
        "[L]",
    ),
    case(
        "deleted-get",
        "a deleted branch can be seen, or not",
        lambda o: o.api.get_branch(o.branch("deleted")),
        [
            Answer(body={"status.current_state": "DELETED", "status.delete_time": TIME, "status.purge_time": TIME}),
            missing("branch"),
        ],
        "[?]",
    ),
    case(
        "deleted-list",
        "a deleted branch is not in the list",
        lambda o: "deleted" in names(o),
        Answer(gives=False),
        "[S]",
    ),
    case(
        "deleted-show",
        "a deleted branch is in the list that shows those",
        lambda o: "deleted" in names(o, show_deleted=True),
        Answer(gives=True),
        "[S]",
    ),
    case(
        "deleted-again",
        "deleting a deleted branch",
        lambda o: o.api.delete_branch(o.branch("deleted")),
        [missing("branch"), operation("Branch", "/branches/deleted"), *either(".+")],
        "[?]",
    ),
    case(
        "deleted-endpoints",
        "the endpoints of a deleted branch",
        lambda o: list(o.api.list_endpoints(o.branch("deleted"))),
        [missing("branch"), Answer()],
        "[?]",
    ),
    case(
        "deleted-id",
        "the id of a deleted branch is taken, or not",
        lambda o: (deleted(o, "kept-name"), create("kept-name")(o)),
        [*exists("branch"), operation("Branch", "/branches/kept-name")],
        "[?]",
    ),
    case(
        "undelete",
        "undeleting, with the client's wait",
        lambda o: o.api.undelete_branch(o.branch("deleted")).wait(),
        operation("Branch", "/branches/deleted", done=True, error=ABSENT),
        "[S]",
    ),
    case(
        "undeleted",
        "an undeleted branch is there again",
        lambda o: o.api.get_branch(o.branch("deleted")),
        Answer(body={"status.current_state": "READY", "status.delete_time": ABSENT, "status.purge_time": ABSENT}),
        "[S]",
    ),
    case(
        "undelete-there",
        "undeleting a branch that is not deleted",
        lambda o: o.api.undelete_branch(o.branch("deleted")),
        either(".+"),
        "[?]",
    ),
    case(
        "undelete-missing",
        "undeleting a branch that is not there",
        lambda o: o.api.undelete_branch(f"{o.name}/branches/none"),
        missing("branch"),
        "[L]",
    ),
    case(
        "undelete-no-project",
        "undeleting a branch of a project that is not there",
        lambda o: o.api.undelete_branch(f"{o.name}-none/branches/none"),
        missing("project"),
        "[L]",
    ),
    case(
        "purge",
        "deleting for good, with the client's wait",
        lambda o: o.api.delete_branch(o.branch("purged-now"), purge=True).wait(),
        emptied("Branch", "/branches/purged-now"),
        "[L]",
    ),
    case(
        "purged-get",
        "it is not found",
        lambda o: (purged(o), o.api.get_branch(o.branch("purged"))),
        missing("branch"),
        "[L]",
    ),
    case(
        "purged-show",
        "nor in the list that shows the deleted",
        lambda o: purged(o) and "purged" in names(o, show_deleted=True),
        Answer(gives=False),
        "[S]",
    ),
    case(
        "purged-undelete",
        "nor can it be undeleted",
        lambda o: (purged(o), o.api.undelete_branch(o.branch("purged"))),
        missing("branch"),
        "[S]",
    ),
    case(
        "purged-operation",
        "the operation outlives it",
        lambda o: o.api.get_operation(purged(o).name()),
        emptied("Branch", "/branches/purged"),
        "[S]",
    ),
    case("purged-done", "the operation is done", lambda o: purged(o).done(), Answer(gives=True), "[S]"),
    case(
        "purged-id",
        "its id is free again",
        lambda o: purged(o) and o.settled(create("purged")(o))["branch_id"],
        Answer(gives="purged"),
        "[L]",
    ),
    case(
        "purge-deleted",
        "deleting for good what is deleted",
        lambda o: o.api.delete_branch(deleted(o, "deleted-too"), purge=True).wait(),
        emptied("Branch", "/branches/deleted-too"),
        "[S]",
    ),
    case("delete-init", "deleting a branch while it is made", during_init, Answer(status=404, gives=True), "[F]"),
    case("delete-default", "deleting the default branch", default, bad(".+"), "[-]"),
]
