"""Below the client: what is on the wire, and a fence round what may be sent."""

from urllib.parse import parse_qs, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter

API = "/api/2.0/postgres"
IN_BRANCH = [
    f"{method} projects/*/branches/*/{kind}{one}"
    for kind in ("endpoints", "databases", "roles")
    for method, one in (("POST", ""), ("GET", ""), ("GET", "/*"), ("PATCH", "/*"), ("DELETE", "/*"))
]
#: Every call of the API, by what its path is like; each is to be made with success and in vain.
ROUTES = [
    *(f"{method} projects" for method in ("POST", "GET")),
    *(f"{method} projects/*" for method in ("GET", "PATCH", "DELETE")),
    "POST projects/*/undelete",
    *(f"{method} projects/*/branches" for method in ("POST", "GET")),
    *(f"{method} projects/*/branches/*" for method in ("GET", "PATCH", "DELETE")),
    "POST projects/*/branches/*/undelete",
    *IN_BRANCH,
    "POST projects/*/branches/*/roles/*/password",
    *(f"GET {parent}/operations/*" for parent in ("projects/*", "projects/*/branches/*")),
    "POST credentials",
    "GET /api/2.0/preview/scim/v2/Me",
]
#: Those that are never refused, and the one that is not granted here: no case can make a client of OAuth.
GRANTED = ["GET /.well-known/databricks-config", "GET /oidc/.well-known/oauth-authorization-server"]
REFUSED = ["POST /oidc/v1/token"]


class Fenced(Exception):
    """A call that would change what is not ours; it was not sent."""


class Wire(HTTPAdapter):
    """Notes every response and refuses every call that would change anything but projects whose ids hold `mark`, the
    random part of our own project's id, and projects that were created here though they should not have been."""

    def __init__(self, mark):
        super().__init__()
        self.mark = mark
        self.responses = []
        self.created = set()

    def send(self, request, **options):
        self.check(request.method, request.url)
        response = super().send(request, **options)
        self.responses.append(response)
        if response.ok and request.method == "POST" and urlsplit(request.url).path == f"{API}/projects":
            self.created.add("/".join(response.json()["name"].split("/")[:2]))
        return response

    def check(self, method, url):
        parts = urlsplit(url)
        path = unquote(parts.path)
        if method in ("GET", "HEAD") or path in (f"{API}/credentials", "/oidc/v1/token"):
            return
        names = path.removeprefix(f"{API}/").split("/")
        if method == "POST" and path == f"{API}/projects":
            # Without an id, the service is to refuse the call.
            chosen = parse_qs(parts.query).get("project_id", [""])[0]
            ours = not chosen or self.mark in chosen.lower()
        else:
            within = len(names) > 1 and names[0] == "projects" and not {"", ".", ".."} & set(names)
            ours = within and (self.mark in names[1] or f"projects/{names[1]}" in self.created)
        if not ours:
            raise Fenced(f"{method} {path} is not of our project")

    def attach(self, client):
        """Puts this below a `WorkspaceClient`."""
        session: requests.Session = client.api_client._api_client._session
        for scheme in ("http://", "https://"):
            session.mount(scheme, self)
        return client

    def untried(self):
        """The calls that were not made with success, and those that were not made in vain."""
        made = {(like(response.request), response.ok) for response in self.responses}
        wanted = [(route, ok) for route in ROUTES for ok in (True, False)]
        wanted += [(route, True) for route in GRANTED] + [(route, False) for route in REFUSED]
        return [f"{route} {'with success' if ok else 'in vain'}" for route, ok in wanted if (route, ok) not in made]


def like(request):
    """The route of a request."""
    path = urlsplit(request.url).path
    if not path.startswith(f"{API}/"):
        return f"{request.method} {path}"
    names = path.removeprefix(f"{API}/").split("/")
    if "operations" in names:
        # What follows is opaque, and may hold slashes.
        names = [*names[: names.index("operations") + 1], "*"]
    return f"{request.method} " + "/".join("*" if place % 2 else name for place, name in enumerate(names))
