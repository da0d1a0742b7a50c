"""Database credentials, and the logins they are for."""

from ours import after, seconds
from table import ABSENT, TEXT, TIME, Answer, case, either, login_refused, malformed, missing, required

UNAUTHORIZED = "OAuth: User is not authorized"


def mint(o, **life):
    return o.credential(o.branch(), **life)


def life(wanted):
    """Mints a credential, and gives how many minutes it lives; the clocks are two machines'."""

    def call(o):
        asked = after(0).seconds
        return round((mint(o, **wanted(o)).expire_time.seconds - asked) / 60)

    return call


def named(o, name):
    """Asks for a credential of an endpoint by another name."""
    return o.api.generate_database_credential(name)


def both(o):
    """Two credentials, which are valid at once."""
    tokens = [mint(o).token, mint(o).token]
    return [o.login(o.branch(), password=token) for token in tokens] == [o.me(), o.me()]


def elsewhere(o):
    """Logs in to a branch with another branch's credential."""
    token = o.credential(o.branch("other")).token
    o.login(o.branch())
    return o.login(o.branch(), password=token)


CASES = [
    case(
        "credential",
        "a credential is no operation",
        lambda o: mint(o) and True,
        Answer(body={"token": TEXT, "expire_time": TIME, "name": ABSENT, "done": ABSENT}, gives=True),
        "[L]",
    ),
    case("credential-hour", "it lives an hour", life(lambda o: {}), Answer(gives=60), "[L]"),
    case(
        "credential-ttl",
        "it lives as long as is wanted",
        life(lambda o: {"ttl": seconds(600)}),
        Answer(gives=10),
        "[S]",
    ),
    case(
        "credential-time",
        "it lives until it is wanted",
        life(lambda o: {"expire_time": after(1200)}),
        Answer(gives=20),
        "[S]",
    ),
    case("credential-ttl-least", "300 seconds", life(lambda o: {"ttl": seconds(300)}), Answer(gives=5), "[S]"),
    case("credential-ttl-most", "3600 seconds", life(lambda o: {"ttl": seconds(3600)}), Answer(gives=60), "[S]"),
    case("credential-ttl-short", "299 seconds", lambda o: mint(o, ttl=seconds(299)), either(".+"), "[S]"),
    case("credential-ttl-long", "3601 seconds", lambda o: mint(o, ttl=seconds(3601)), either(".+"), "[S]"),
    case("credential-ttl-negative", "less than nothing", lambda o: mint(o, ttl=seconds(-1)), either(".+"), "[S]"),
    case("credential-time-near", "an end in a minute", lambda o: mint(o, expire_time=after(60)), either(".+"), "[S]"),
    case("credential-time-far", "an end in two hours", lambda o: mint(o, expire_time=after(7200)), either(".+"), "[S]"),
    case(
        "credential-both",
        "a time to live and an end",
        lambda o: mint(o, ttl=seconds(600), expire_time=after(600)),
        either(".+"),
        "[?]",
    ),
    case(
        "credential-ttl-minutes",
        "a time to live that is no duration",
        lambda o: o.call("POST", "credentials", body={"endpoint": o.endpoint(o.branch()).name, "ttl": "10m"}),
        malformed(),
        "[?]",
    ),
    case(
        "credential-no-endpoint",
        "of no endpoint",
        lambda o: o.call("POST", "credentials", body={}),
        required("endpoint"),
        "[L]",
    ),
    case(
        "credential-empty-endpoint",
        "of an endpoint without a name",
        lambda o: named(o, ""),
        required("endpoint"),
        "[L]",
    ),
    case(
        "credential-branch",
        "of a branch instead of an endpoint",
        lambda o: named(o, o.branch()),
        [missing("endpoint"), *either(".*endpoint.*")],
        "[?]",
    ),
    case(
        "credential-missing",
        "of an endpoint that is not there",
        lambda o: named(o, f"{o.branch()}/endpoints/none"),
        missing("endpoint"),
        "[L]",
    ),
    case(
        "credential-no-branch",
        "of a branch that is not there",
        lambda o: named(o, f"{o.name}/branches/none/endpoints/none"),
        missing("branch"),
        "[L]",
    ),
    case(
        "credential-no-project",
        "of a project that is not there",
        lambda o: named(o, f"{o.name}-none/branches/none/endpoints/none"),
        missing("project"),
        "[L]",
    ),
    case(
        "login",
        "a login as whom the credential is for",
        lambda o: o.login(o.branch()) == o.me(),
        Answer(gives=True),
        "[L]",
    ),
    case("login-two", "many credentials are valid at once", both, Answer(gives=True), "[F]"),
    case(
        "login-stranger",
        "a login as somebody else",
        lambda o: o.login(o.branch(), user="somebody@else"),
        login_refused("(OAuth|authentication failed|role)"),
        "[F]",
    ),
    case(
        "login-token",
        "the workspace's token is no password",
        lambda o: o.login(o.branch(), password="dapi0123456789"),
        login_refused(UNAUTHORIZED),
        "[F]",
    ),
    case(
        "login-plain", "a login without TLS", lambda o: o.login(o.branch(), sslmode="disable"), login_refused(""), "[L]"
    ),
    case(
        "login-database",
        "a login to a database that is not there",
        lambda o: o.login(o.branch(), dbname="none"),
        login_refused('database "none" does not exist'),
        "[L]",
    ),
]
