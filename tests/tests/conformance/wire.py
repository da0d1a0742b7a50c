"""Below the client: what is on the wire, and a fence round what may be sent."""

from urllib.parse import parse_qs, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter

API = "/api/2.0/postgres"


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
        if path == f"{API}/projects":
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
