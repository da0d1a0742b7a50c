"""What a case is: a call with a name, and what the API answers to it.

Sources of the facts, the mark of a case:
  [S]  the official SDK's own description of the call
  [T]  the vendor's own test double
  [L]  recorded from the live service
  [F]  reports from the field
  [?]  contradictory or unknown in detail: each spelling that is reported or plausible is accepted
  [-]  the vendor's documentation, never recorded
"""

import re
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

#: A field that must not be there.
ABSENT = type("Absent", (), {"__repr__": lambda self: "absent"})()
#: What may follow a message of the service.
TRACE = r"( \[TraceId: [0-9a-fA-F-]+\])?"
#: The pattern that ids of projects, branches and endpoints match, as its error shows it.
ID_PATTERN = re.escape("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TEXT = re.compile(r".+")


@dataclass
class Answer:
    """One answer that is right. Of success, `body` and `headers` are what the last response holds by path, and `gives` is
    what the call returns; `message` and `raises` (the class that the client raises, and no other) are of a failure."""

    status: Optional[int] = 200
    code: Any = None
    message: Optional[str] = None
    raises: Optional[str] = None
    body: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    gives: Any = None


@dataclass
class Seen:
    """What a call came to: the last response as it was on the wire, and what the client made of it."""

    status: Optional[int] = None
    code: Any = None
    message: Optional[str] = None
    raises: Optional[str] = None
    body: Any = None
    headers: Any = None
    value: Any = None

    def __str__(self):
        words = [str(word) for word in (self.status, self.code, self.raises) if word is not None]
        if self.message:
            words.append(f'"{self.message}"')
        return " ".join(words) or "no answer"


@dataclass
class Case:
    """A row of the table. `call` is given the project that everything happens in (`ours.Ours`). `embedded` is set where
    the embedded Lakebase knowingly says something else: its answers, and why."""

    id: str
    what: str
    call: Callable
    wants: list
    mark: str
    embedded: Optional[tuple] = None


def case(id, what, call, wants, mark, embedded=None):
    return Case(id, what, call, wants if isinstance(wants, list) else [wants], mark, embedded)


def refused(status, code, message, raises):
    return Answer(status=status, code=code, message=message, raises=raises)


def invalid(message):
    return refused(400, "INVALID_PARAMETER_VALUE", message, "InvalidParameterValue")


def bad(message):
    return refused(400, "BAD_REQUEST", message, "BadRequest")


def either(message):
    """For refusals of which only the words, or not even those, are known."""
    return [invalid(message), bad(message)]


def required(field):
    return invalid(rf"Field '{field}' is required, expected non-default value \(not \"\"\)!")


def bad_id(field, got):
    """An id that is none; `got` is a pattern."""
    return invalid(rf"Field {field} must match pattern {ID_PATTERN}, got '{got}'\.")


def missing(kind):
    return refused(404, "NOT_FOUND", f"{kind} id not found{TRACE}", "NotFound")


def no_route(method, path):
    """No route; `path` is a pattern."""
    message = f"No API found for '{method} {path}'"
    return refused(404, "ENDPOINT_NOT_FOUND", message, "NotFound")


def exists(kind):
    """A taken id of a project, branch or endpoint: two spellings are reported."""
    message = rf"({kind} with such id already exists|{kind} already exists; {kind}_name:\"[^\"]*\"){TRACE}"
    return [refused(409, "ALREADY_EXISTS", message, "AlreadyExists"), bad(message)]


def malformed():
    """A body that can't be read; the service's words are not known."""
    return [refused(400, "MALFORMED_REQUEST", ".+", "BadRequest"), *either(".+")]


def no_credential():
    message = r"Credential was not sent or was of an unsupported type for this API\. \[ReqId: [0-9a-fA-F-]+\]"
    return refused(401, 401, message, "Unauthenticated")


def managed_by_parent(message):
    """The refusal to delete what lives and dies with its parent."""
    answer = bad(message)
    answer.body = {
        "details.0.@type": re.compile(r".*ErrorInfo"),
        "details.0.domain": "databricks.com",
        "details.0.reason": "RESOURCE_CONFLICT",
        "details.0.metadata.declarative_context": "MANAGED_BY_PARENT",
        "details.1.@type": re.compile(r".*RequestInfo"),
    }
    return answer


def login_refused(message):
    """A login that PostgreSQL refuses."""
    return Answer(status=None, message=f".*{message}.*", raises="OperationalError")


def failed(message):
    """An operation that came to nothing, as the client's wait tells it."""
    return Answer(status=None, message=f"operation failed: {message}", raises="Exception")


def operation(kind, path, **body):
    """An operation on the resource at this path below its project."""
    wanted = {
        "name": re.compile(rf"projects/[^/]+{path}/operations/.+"),
        "metadata.@type": f"type.googleapis.com/databricks.postgres.v1.{kind}OperationMetadata",
        **body,
    }
    return Answer(body=wanted)


def ended(kind, path, **body):
    """An operation that has come to its end, with the resource."""
    return operation(kind, path, done=True, error=ABSENT, **{f"response.{key}": value for key, value in body.items()})


def emptied(kind, path):
    """The same of a deletion."""
    return operation(
        kind, path, done=True, error=ABSENT, **{"response.@type": "type.googleapis.com/google.protobuf.Empty"}
    )


def at(value, path):
    """What a body holds under a path of names and numbers with dots between them."""
    for step in path.split("."):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return ABSENT
    return value


def fits(wanted, value):
    if isinstance(wanted, re.Pattern):
        return isinstance(value, (str, int, float)) and wanted.fullmatch(str(value)) is not None
    # To Python `True` is 1, to JSON it is not.
    if isinstance(wanted, bool) or isinstance(value, bool):
        return value is wanted
    return value == wanted


def shown(wanted):
    return f"/{wanted.pattern}/" if isinstance(wanted, re.Pattern) else repr(wanted)


def told(answers):
    """Which answers are right, in words."""
    codes = dict.fromkeys(" ".join(str(it) for it in (a.status, a.code, a.raises) if it is not None) for a in answers)
    messages = dict.fromkeys(f"/{answer.message}/" for answer in answers if answer.message is not None)
    return " ".join([" | ".join(codes), *messages])


def faults(answer, seen):
    """In what `seen` is not this answer: what was wanted, and what is. None where it is another kind of answer."""
    if (answer.status, answer.code, answer.raises) != (seen.status, seen.code, seen.raises):
        return None
    if type(answer.code) is not type(seen.code) or not re.fullmatch(
        answer.message or ".*", seen.message or "", re.DOTALL
    ):
        return None
    values = [(path, wanted, at(seen.body, path)) for path, wanted in answer.body.items()]
    values += [(name, wanted, (seen.headers or {}).get(name, ABSENT)) for name, wanted in answer.headers.items()]
    if answer.gives is not None:
        values.append(("gives", answer.gives, seen.value))
    return [
        (f"{name}={shown(wanted)}", f"{name}={value!r}") for name, wanted, value in values if not fits(wanted, value)
    ]


def difference(answers, seen):
    """None where one of the answers is what was seen; or what the table says, and what was seen."""
    differing = [found for found in (faults(answer, seen) for answer in answers) if found is not None]
    if [] in differing:
        return None
    if not differing:
        return told(answers), str(seen)
    nearest = min(differing, key=len)
    return " ".join(wanted for wanted, _ in nearest), " ".join(value for _, value in nearest)
