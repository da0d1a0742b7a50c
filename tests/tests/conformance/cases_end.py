"""The end of the project: deleted, back, and deleted for good."""

from cases_projects import listed
from table import ABSENT, TIME, Answer, case, either, emptied, missing, operation


def soft_deleted(o):
    """Deletes our project, not for good, and says what is then seen of it."""
    o.settled(o.api.delete_project(o.name))
    return o.api.get_project(o.name)


def purged(o):
    o.gone = o.api.delete_project(o.name, purge=True)
    return o.gone


#: These need nothing of the project but itself; the last one deletes it for good.
CASES = [
    case(
        "project-undelete-there",
        "undeleting a project that is not deleted",
        lambda o: o.api.undelete_project(o.name),
        either(".+"),
        "[?]",
    ),
    case(
        "project-undelete-missing",
        "undeleting a project that is not there",
        lambda o: o.api.undelete_project(f"{o.name}-none"),
        missing("project"),
        "[L]",
    ),
    case(
        "project-delete-missing",
        "deleting a project that is not there",
        lambda o: o.api.delete_project(f"{o.name}-none"),
        missing("project"),
        "[L]",
    ),
    case(
        "project-delete-soft",
        "a deleted project says since when and until when",
        soft_deleted,
        Answer(body={"delete_time": TIME, "purge_time": TIME}),
        "[S]",
    ),
    case(
        "project-deleted-list", "a deleted project is not in the list", lambda o: listed(o), Answer(gives=False), "[S]"
    ),
    case(
        "project-deleted-show",
        "a deleted project is in the list that shows those",
        lambda o: listed(o, show_deleted=True),
        Answer(gives=True),
        "[S]",
    ),
    case(
        "project-deleted-branches",
        "the branches of a deleted project",
        lambda o: list(o.api.list_branches(o.name)),
        [missing("project"), Answer()],
        "[?]",
    ),
    case(
        "project-undelete",
        "undeleting it, with the client's wait",
        lambda o: o.api.undelete_project(o.name).wait(),
        operation("Project", "", done=True, error=ABSENT),
        "[S]",
    ),
    case(
        "project-undeleted",
        "it is there again",
        lambda o: o.api.get_project(o.name),
        Answer(body={"delete_time": ABSENT, "purge_time": ABSENT}),
        "[S]",
    ),
    case(
        "project-purge",
        "deleting it for good, with the client's wait",
        lambda o: purged(o).wait(),
        emptied("Project", ""),
        "[L]",
    ),
    case("project-purged", "it is not found", lambda o: o.api.get_project(o.name), missing("project"), "[L]"),
    case(
        "project-purged-operation",
        "the operation outlives it",
        lambda o: o.api.get_operation(o.gone.name()),
        emptied("Project", ""),
        "[S]",
    ),
]
