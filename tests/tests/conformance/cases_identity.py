"""Who is asking, where tokens come from, and what is no API at all."""

import re

from table import ABSENT, TEXT, Answer, case, malformed, no_credential, no_route, refused

ME = "/api/2.0/preview/scim/v2/Me"
NUMBER = re.compile(r"\d+")


def oauth_refusal(code):
    """OAuth's own form of an error, in which the client finds the word under `error`."""
    body = {"error": re.compile("invalid_client|unauthorized_client|invalid_request"), "error_code": ABSENT}
    return Answer(status=code, raises="BadRequest" if code == 400 else "Unauthenticated", body=body)


def form(o, text):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    path = "/oidc/v1/token"
    return o.w.api_client.do("POST", path, data=text, headers=headers, auth=lambda request: request)


CASES = [
    case("me", "who is asking", lambda o: o.w.current_user.me(), Answer(body={"userName": TEXT, "id": TEXT}), "[L]"),
    case(
        "me-workspace",
        "the workspace's number is in a header",
        lambda o: o.call("GET", ME, response_headers=["X-Databricks-Org-Id"])["X-Databricks-Org-Id"],
        Answer(headers={"X-Databricks-Org-Id": NUMBER}, gives=NUMBER),
        "[S]",
    ),
    case(
        "me-no-credential", "who is asking, without a credential", lambda o: o.bare("GET", ME), no_credential(), "[L]"
    ),
    case(
        "me-bad-token",
        "who is asking, with a token that nobody issued",
        lambda o: o.stranger().current_user.me(),
        no_credential(),
        "[-]",
    ),
    case(
        "list-no-credential",
        "projects, without a credential",
        lambda o: o.bare("GET", "projects"),
        no_credential(),
        "[L]",
    ),
    case(
        "list-bad-token",
        "projects, with a token that nobody issued",
        lambda o: list(o.stranger().postgres.list_projects()),
        no_credential(),
        "[-]",
    ),
    case(
        "list-other-scheme",
        "projects, with a credential of another scheme",
        lambda o: o.bare("GET", "projects", "Negotiate YWJj"),
        no_credential(),
        "[L]",
    ),
    case(
        "create-no-credential",
        "a branch, without a credential",
        lambda o: o.bare("POST", f"{o.name}/branches?branch_id=none"),
        no_credential(),
        "[L]",
    ),
    case(
        "discovery-config",
        "where the tokens of a workspace come from",
        lambda o: o.call("GET", "/.well-known/databricks-config", auth=lambda request: request),
        Answer(body={"oidc_endpoint": re.compile(r"https?://.+/oidc.*")}),
        "[S]",
    ),
    case(
        "discovery-oauth",
        "what the token endpoint is",
        lambda o: o.call("GET", "/oidc/.well-known/oauth-authorization-server", auth=lambda request: request),
        Answer(body={"token_endpoint": re.compile(r"https?://.+/oidc.*/v1/token"), "issuer": TEXT}),
        "[S]",
    ),
    case(
        "token-unknown-client",
        "a token for a client that nobody knows",
        lambda o: form(o, "grant_type=client_credentials&scope=all-apis&client_id=none&client_secret=none"),
        [oauth_refusal(400), oauth_refusal(401)],
        "[?]",
    ),
    case(
        "route-unknown",
        "a route that is none",
        lambda o: o.call("GET", "nothing"),
        no_route("GET", "/postgres/nothing"),
        "[L]",
    ),
    case(
        "route-below",
        "a route that is none, below a project",
        lambda o: o.call("GET", f"{o.name}/nothing"),
        no_route("GET", "/postgres/projects/.+/nothing"),
        "[L]",
    ),
    case(
        "route-method",
        "a method that a route has not",
        lambda o: o.call("PUT", o.name, body={}),
        no_route("PUT", "/postgres/projects/.+"),
        "[L]",
    ),
    case(
        "route-post",
        "a POST to a route that is none",
        lambda o: o.call("POST", f"{o.name}/nothing", body={}),
        no_route("POST", "/postgres/projects/.+/nothing"),
        "[L]",
    ),
    case(
        "path-no-text",
        "a path that is no UTF-8",
        lambda o: o.call("GET", "projects/%FF"),
        [refused(404, "NOT_FOUND", ".+", "NotFound"), *malformed()],
        "[?]",
    ),
]
