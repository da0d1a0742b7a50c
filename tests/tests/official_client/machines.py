"""Signs in as a machine and reads a row: `oauth-m2m` or `github-oidc`, whichever the environment is for.

Usage: machines.py AUTH_TYPE
"""

import os
import sys

import psycopg
from databricks.sdk import WorkspaceClient


def refused(call):
    """What the client says of a call that has to fail."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("this should have been refused")


auth_type, client_id = sys.argv[1], os.environ["DATABRICKS_CLIENT_ID"]
w = WorkspaceClient()
assert w.config.auth_type == auth_type, w.config.auth_type
assert w.current_user.me().user_name == client_id

# A database user is the same identity.
endpoint = next(iter(w.postgres.list_endpoints("projects/shop/branches/production")))
host, port = endpoint.status.hosts.host.split(":")
token = w.postgres.generate_database_credential(endpoint.name).token
with psycopg.connect(
    host=host, port=port, dbname="databricks_postgres", user=client_id, password=token, sslmode="require"
) as connection:
    assert connection.execute("SELECT current_user").fetchone() == (client_id,)

# What is wrong is said in the server's words.
if auth_type == "oauth-m2m":
    said = refused(lambda: WorkspaceClient(client_secret="wrong").current_user.me())
    assert "invalid_client: Client authentication failed" in said, said
else:
    said = refused(lambda: WorkspaceClient(token_audience="https://github.com/somebody").current_user.me())
    assert "invalid_grant" in said, said
print(f"{auth_type} signed in")
