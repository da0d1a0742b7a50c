"""When branches end, and what protects them."""

import re

from cases_branches import QUOTA, create
from ours import after, branch, mask, seconds
from table import TIME, ABSENT, TRACE, Answer, bad, case, either, ended, malformed, missing

#: Longest life, and more than it.
MONTH = 30 * 86_400
MUST = "Expiration must be specified when creating a branch"
TOO_LONG = f"expiration time exceeds the maximum expiration time{TRACE}"


def update(o, *paths, name=None, **spec):
    return o.api.update_branch(name or o.branch(), branch(**spec), mask(*paths)).wait()


def life(made):
    """Seconds from a branch's creation to its end."""
    return made.status.expire_time.seconds - made.create_time.seconds


def given(wanted):
    """Creates a branch with a life that is nearly what is wanted; the clocks are two machines'."""

    def call(o):
        made = o.api.create_branch(o.name, branch(**wanted(o)), "given").wait()
        o.settled(o.api.delete_branch(made.name, purge=True))
        return round(life(made) / 60)

    return call


def extended(o):
    """Extends a branch as the service wants it: by the time of its end."""
    end = after(2 * 86_400)
    return update(o, "spec.expiration", expire_time=end).status.expire_time.seconds - end.seconds


def repeated(o):
    """Sends the same time to live again, which counts from the branch's creation and so extends nothing."""
    made = o.api.get_branch(o.branch("repeated", ttl=seconds(3600)))
    again = update(o, "spec.expiration", name=made.name, ttl=seconds(3600))
    return again.status.expire_time.seconds - made.status.expire_time.seconds


def parent(o):
    """A branch that has a child."""
    name = o.branch("parent", no_expiry=True)
    o.branch("child", source_branch=name, ttl=seconds(21_600))
    return name


def protected(o):
    return o.branch("protected", no_expiry=True, is_protected=True)


NEAR_ZERO = re.compile(r"-?[01]")

CASES = [
    case(
        "expiry-none",
        "no word about the end",
        lambda o: o.api.create_branch(o.name, branch(), "none"),
        either(MUST),
        "[L]",
    ),
    case(
        "expiry-null-spec",
        "a specification that is null is none",
        lambda o: o.call("POST", f"{o.name}/branches", {"branch_id": "none"}, {"spec": None}),
        either(MUST),
        "[-]",
    ),
    case("expiry-ttl", "a time to live", given(lambda o: {"ttl": seconds(3600)}), Answer(gives=60), "[L]"),
    case("expiry-time", "the time of the end", given(lambda o: {"expire_time": after(7200)}), Answer(gives=120), "[S]"),
    case(
        "expiry-month",
        "a time to live of nearly 30 days",
        given(lambda o: {"ttl": seconds(MONTH - 60)}),
        Answer(gives=MONTH // 60 - 1),
        "[L]",
    ),
    case(
        "expiry-never",
        "no end",
        lambda o: o.api.create_branch(o.name, branch(no_expiry=True), "never").wait(),
        ended("Branch", "/branches/never", **{"status.expire_time": ABSENT}),
        "[S]",
    ),
    case("expiry-never-false", "`no_expiry` that is false", create("none", no_expiry=False), either(".+"), "[S]"),
    case(
        "expiry-ttl-and-time",
        "a time to live and the time of the end",
        lambda o: create("none", ttl=seconds(3600), expire_time=after(3600))(o),
        either(".+"),
        "[S]",
    ),
    case(
        "expiry-ttl-and-never",
        "a time to live and no end",
        create("none", ttl=seconds(3600), no_expiry=True),
        either(".+"),
        "[S]",
    ),
    case(
        "expiry-time-and-never",
        "the time of the end and no end",
        lambda o: create("none", expire_time=after(3600), no_expiry=True)(o),
        either(".+"),
        "[S]",
    ),
    case(
        "expiry-ttl-long",
        "a time to live of 31 days",
        create("none", ttl=seconds(MONTH + 86_400)),
        either(TOO_LONG),
        "[L]",
    ),
    case(
        "expiry-time-far",
        "an end in 31 days",
        lambda o: create("none", expire_time=after(MONTH + 86_400))(o),
        either(TOO_LONG),
        "[L]",
    ),
    case("expiry-ttl-zero", "a time to live of nothing", create("none", ttl=seconds(0)), either(".+"), "[-]"),
    case("expiry-ttl-negative", "a time to live of less", create("none", ttl=seconds(-60)), either(".+"), "[-]"),
    case(
        "expiry-time-past",
        "an end that has been",
        lambda o: create("none", expire_time=after(-60))(o),
        either(".+"),
        "[-]",
    ),
    case(
        "expiry-ttl-hours",
        "a time to live that is no duration",
        lambda o: o.call("POST", f"{o.name}/branches", {"branch_id": "none"}, {"spec": {"ttl": "6h"}}),
        malformed(),
        "[?]",
    ),
    case(
        "expiry-time-word",
        "an end that is no time",
        lambda o: o.call("POST", f"{o.name}/branches", {"branch_id": "none"}, {"spec": {"expire_time": "tomorrow"}}),
        malformed(),
        "[?]",
    ),
    case("expiry-extend", "a later end", extended, Answer(gives=NEAR_ZERO), "[L]"),
    case("expiry-repeat", "the same time to live again extends nothing", repeated, Answer(gives=NEAR_ZERO), "[L]"),
    case(
        "expiry-extend-answer",
        "the end of a branch is changed, with the client's wait",
        lambda o: update(o, "spec.expiration", expire_time=after(86_400)),
        ended("Branch", "/branches/dev", **{"status.expire_time": TIME, "spec": ABSENT}),
        "[T]",
    ),
    case(
        "expiry-drop",
        "no end any more, and one again",
        lambda o: (
            update(o, "spec.expiration", no_expiry=True).status.expire_time,
            update(o, "spec.expiration", expire_time=after(3600)).status.expire_time is not None,
        )
        == (None, True),
        Answer(gives=True),
        "[S]",
    ),
    case(
        "expiry-extend-long",
        "a later end, in 31 days",
        lambda o: update(o, "spec.expiration", expire_time=after(MONTH + 86_400)),
        either(TOO_LONG),
        "[L]",
    ),
    case(
        "expiry-extend-past",
        "an end that has been",
        lambda o: update(o, "spec.expiration", expire_time=after(-60)),
        either(".+"),
        "[-]",
    ),
    case(
        "expiry-extend-both",
        "two ends at once",
        lambda o: update(o, "spec.expiration", expire_time=after(3600), no_expiry=True),
        either(".+"),
        "[S]",
    ),
    case(
        "expiry-extend-no-mask",
        "a later end, without a mask",
        lambda o: o.call("PATCH", o.branch(), body={"spec": {"no_expiry": True}}),
        either(".*update_mask.*"),
        "[?]",
    ),
    case(
        "expiry-extend-unknown",
        "a change of what no branch has",
        lambda o: update(o, "spec.none"),
        either(".*spec.none.*"),
        "[?]",
    ),
    case(
        "expiry-extend-missing",
        "a later end of a branch that is not there",
        lambda o: update(o, "spec.expiration", name=f"{o.name}/branches/none", expire_time=after(3600)),
        missing("branch"),
        "[L]",
    ),
    case(
        "expiry-extend-no-project",
        "a later end in a project that is not there",
        lambda o: update(o, "spec.expiration", name=f"{o.name}-none/branches/dev", expire_time=after(3600)),
        missing("project"),
        "[L]",
    ),
    case(
        "expiry-default",
        "an end for the default branch",
        lambda o: update(o, "spec.expiration", name=o.production, expire_time=after(3600)),
        bad(".+"),
        "[L]",
    ),
    case(
        "expiry-parent",
        "an end for a branch that has a child",
        lambda o: update(o, "spec.expiration", name=parent(o), expire_time=after(3600)),
        bad(".+"),
        "[L]",
    ),
    case(
        "expiry-protected",
        "an end for a protected branch",
        lambda o: update(o, "spec.expiration", name=protected(o), expire_time=after(3600)),
        bad(".+"),
        "[L]",
    ),
    case(
        "expiry-protect",
        "protection for a branch that expires",
        lambda o: update(o, "spec.is_protected", is_protected=True),
        bad(".+"),
        "[L]",
    ),
    case(
        "expiry-protected-create",
        "a protected branch that expires",
        create("none", ttl=seconds(3600), is_protected=True),
        either(".+"),
        "[L]",
    ),
    case(
        "protected-second",
        "a second protected branch",
        lambda o: (protected(o), create("none", no_expiry=True, is_protected=True)(o)),
        [*QUOTA, *either(".+")],
        "[F]",
    ),
    case(
        "protected-delete",
        "deleting a protected branch",
        lambda o: o.api.delete_branch(protected(o)),
        bad("cannot delete protected branch"),
        "[L]",
    ),
    case(
        "protected-purge",
        "deleting a protected branch for good",
        lambda o: o.api.delete_branch(protected(o), purge=True),
        bad("cannot delete protected branch"),
        "[L]",
    ),
    case(
        "protected-endpoint",
        "deleting an endpoint of a protected branch",
        lambda o: o.api.delete_endpoint(o.reader(protected(o))),
        bad(".+"),
        "[S]",
    ),
    case(
        "protected-release",
        "a branch that is protected no more can be deleted",
        lambda o: (
            update(o, "spec.is_protected", name=protected(o), is_protected=False).status.is_protected,
            o.api.delete_branch(protected(o), purge=True).wait(),
        )[0],
        Answer(gives=False),
        "[S]",
    ),
]
