"""Makes every call of the API with the official client, happy and failing, and says where the answers are not those of the
table: without options on the embedded Lakebase, with --live on a real workspace. What it needs is in a project of its own,
with a random name, which is gone at the end; nothing else is touched."""

import argparse
import json
import signal
import sys
import time
from urllib.parse import urlsplit

import cases_branches
import cases_credentials
import cases_databases
import cases_deletion
import cases_end
import cases_endpoints
import cases_expiry
import cases_identity
import cases_operations
import cases_projects
import cases_roles
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import DatabricksError
from ours import Ours, Unprepared
from table import ABSENT, Seen, at, difference, told

#: In the order of the calls; what a group made is gone before the next one begins. The last one deletes the project.
GROUPS = [
    cases_identity.CASES,
    cases_projects.CASES,
    cases_branches.CASES,
    cases_branches.FULL,
    cases_expiry.CASES,
    cases_deletion.CASES,
    cases_endpoints.CASES,
    cases_roles.CASES,
    cases_databases.CASES,
    cases_credentials.CASES,
    cases_operations.CASES,
    cases_end.CASES,
]


def say(text):
    print(text, file=sys.stderr, flush=True)


def observe(ours, case):
    """Makes a case's call."""
    before = len(ours.wire.responses)
    seen, raised = Seen(), None
    try:
        seen.value = case.call(ours)
    except Unprepared as error:
        seen.raises, seen.message = "Unprepared", str(error)
        return seen
    except Exception as error:
        # The client tries again what it takes for a passing trouble, and gives up with the last answer as the cause.
        cause = error.__cause__ if isinstance(error, TimeoutError) else None
        raised = cause if isinstance(cause, DatabricksError) else error
        seen.raises, seen.message = type(raised).__name__, str(raised)
    responses = ours.wire.responses[before:]
    if responses and (raised is None or isinstance(raised, DatabricksError)):
        last = responses[-1]
        seen.status, seen.headers = last.status_code, last.headers
        try:
            seen.body = last.json()
        except ValueError:
            seen.body = last.text
        if raised is not None:
            code, message = at(seen.body, "error_code"), at(seen.body, "message")
            seen.code = None if code is ABSENT else code
            seen.message = seen.body if message is ABSENT else message
            if not isinstance(seen.message, str):
                seen.message = json.dumps(seen.message)
    return seen


def judge(ours, case, live):
    """The row of a case in what is printed."""
    wants = case.wants if live or case.embedded is None else case.embedded[0]
    begun = time.monotonic()
    differs = difference(wants, observe(ours, case))
    spent = round((time.monotonic() - begun) * 1000)
    table, got = (open_text(ours, text) for text in differs) if differs else (told(wants), None)
    known = None if live or case.embedded is None else case.embedded[1]
    return {
        "id": case.id,
        "what": case.what,
        "mark": case.mark,
        "same": differs is None,
        "table": table,
        "got": got,
        "known": known,
        "ms": spent,
    }


def open_text(ours, text):
    """A text without secrets and without what moves a terminal's cursor."""
    for secret in ours.secret:
        text = text.replace(secret, "****")
    return "".join(letter if letter.isprintable() else " " for letter in text)


def run(ours, only, live):
    """The rows of the cases whose names hold `only`. Those before them in their groups are tried, too: a group is a story."""
    rows = []
    for group in GROUPS:
        wanted = [place for place, case in enumerate(group) if only in case.id]
        tried = [judge(ours, case, live) for case in group[: max(wanted, default=-1) + 1]]
        rows += [tried[place] for place in wanted]
        if wanted and group is not GROUPS[-1]:
            ours.clear()
    return rows


def aligned(rows):
    """Rows of text under each other, in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]) for row in rows)


def report(rows, untried, live):
    says = "live says" if live else "the embedded Lakebase says"
    known = [row for row in rows if row["known"]]
    if known:
        print(aligned([("knowingly otherwise", "why"), *((row["id"], row["known"]) for row in known)]) + "\n")
    differing = [row for row in rows if not row["same"]]
    if differing:
        table = [("case", "mark", "table says", says)]
        table += [(row["id"], row["mark"], row["table"], row["got"]) for row in differing]
        print(aligned(table) + "\n")
    for call in untried:
        print(f"no case makes this call: {call}")
    print(f"conformance: {len(rows)} cases, {len(differing)} differ")


def stop(number, _frame):
    raise SystemExit(128 + number)


def stop_later(number, _frame):
    """While the project is deleted, one more Ctrl-C is not meant for that; the one after it is."""
    say("the project is being deleted; once more leaves it behind")
    signal.signal(number, stop)


def leave(ours):
    """Leaves the workspace as it was."""
    try:
        for name in ours.end() if ours else []:
            say(f"{name} is still there: delete it by hand")
    except Exception as error:
        say(f"{ours.name} may still be there, delete it by hand: {error}")


def main():
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__, allow_abbrev=False)
    parser.add_argument("--live", action="store_true", help="hold a real workspace against the table")
    parser.add_argument("--json", action="store_true", help="print everything for machines")
    parser.add_argument("--list", action="store_true", help="print the cases, and make no call")
    parser.add_argument("only", nargs="?", default="", help="only the cases whose id contains this")
    options = parser.parse_args()
    every = [case for group in GROUPS for case in group]
    assert len({case.id for case in every}) == len(every), "two cases have one id"
    if options.list:
        print(aligned([(case.id, case.mark, case.what) for case in every]))
        return 0
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    ours, rows = None, []
    try:
        client = WorkspaceClient(config=Config(retry_timeout_seconds=60))
        if not options.live and urlsplit(client.config.host).hostname not in ("127.0.0.1", "localhost"):
            say(f"error: {client.config.host} is no embedded Lakebase: a real workspace needs --live")
            return 2
        ours = Ours(client, say)
        say(f"{ours.host}: {ours.name}")
        # The first cases need it, and are about it.
        ours.born = ours.api.create_project(cases_projects.BORN, ours.id)
        ours.settled(ours.born)
        rows = run(ours, options.only, options.live)
    except Exception as error:
        say(f"error: {error}")
        return 2
    finally:
        signal.signal(signal.SIGINT, stop_later)
        signal.signal(signal.SIGTERM, stop_later)
        leave(ours)
    untried = [] if options.only else ours.wire.untried()
    if options.json:
        differ = sum(not row["same"] for row in rows)
        print(json.dumps({"cases": len(rows), "differ": differ, "untried": untried, "results": rows}, indent=1))
    else:
        report(rows, untried, options.live)
    return 0 if all(row["same"] for row in rows) and not untried else 1


if __name__ == "__main__":
    sys.exit(main())
