//! Roles and databases inside a branch: the SQL of the server's own superuser.

use tokio_postgres::Client;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{ADMIN, Postgres};

/// The role that reads and writes everything and owns nothing.
pub const SUPERUSER: &str = "databricks_superuser";
/// The database that a project is born with.
pub const FIRST_DATABASE: &str = "databricks_postgres";
/// The identity that every home of the embedded Lakebase has. It holds an `@`, as identities of the service do.
pub const IDENTITY: &str = "developer@embedded.lakebase";

/// A role as PostgreSQL has it.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct RoleRow {
    pub name: String,
    pub can_login: bool,
    pub createdb: bool,
    pub createrole: bool,
    pub bypassrls: bool,
    /// Member of [`SUPERUSER`].
    pub is_superuser: bool,
}

/// A database as PostgreSQL has it.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct DatabaseRow {
    pub name: String,
    pub owner: String,
}

/// Attributes of a role; `None` leaves one as it is (or off, for a new role).
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Attributes {
    pub createdb: Option<bool>,
    pub createrole: Option<bool>,
    pub bypassrls: Option<bool>,
}

/// Quotes an identifier for SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text for SQL, with standard-conforming strings.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether `name` can be the name of a role or database that a client makes.
pub fn is_free_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && !name.contains('\0')
        && !name.starts_with("pg_")
        && ![ADMIN, SUPERUSER, "postgres", "template0", "template1", "public", "none"].contains(&name)
}

/// Makes roles and database of a new project's cluster.
pub async fn bootstrap(postgres: &Postgres, major: u32, owner: &str) -> Result<()> {
    let model = postgres.connect("template1").await?;
    let mut granted = "pg_read_all_data, pg_write_all_data, pg_monitor, pg_signal_backend".to_owned();
    if major >= 16 {
        granted.push_str(", pg_create_subscription");
    }
    if major >= 17 {
        granted.push_str(", pg_maintain");
    }
    // Roles are the whole cluster's. What is granted in the database that others are copied from holds in each of them: a second
    // developer can make tables, too, without owning those that are there, as in the service's ancestor.
    let sql = format!(
        "CREATE ROLE {SUPERUSER} NOLOGIN; GRANT {granted} TO {SUPERUSER}; GRANT ALL ON SCHEMA public TO {SUPERUSER}"
    );
    run(&model.client, &sql).await?;
    drop(model);
    let control = postgres.connect("postgres").await?;
    let attributes = Attributes { createdb: Some(true), createrole: Some(true), bypassrls: Some(true) };
    create_role(&control.client, owner, true, attributes, true, None).await?;
    create_database(&control.client, FIRST_DATABASE, owner).await
}

/// Creates a role.
pub async fn create_role(
    client: &Client,
    name: &str,
    login: bool,
    attributes: Attributes,
    superuser: bool,
    password: Option<&str>,
) -> Result<()> {
    let mut sql = format!("CREATE ROLE {} {}", identifier(name), if login { "LOGIN" } else { "NOLOGIN" });
    sql.push_str(&attributes.words());
    if let Some(password) = password {
        sql.push_str(&format!(" PASSWORD {}", literal(password)));
    }
    if superuser {
        sql.push_str(&format!(" IN ROLE {SUPERUSER}"));
    }
    run(client, &sql).await
}

/// Changes a role's attributes and, where given, whether it is a member of [`SUPERUSER`].
pub async fn alter_role(
    client: &Client,
    name: &str,
    attributes: Attributes,
    superuser: Option<bool>,
) -> Result<()> {
    let name = identifier(name);
    let words = attributes.words();
    if !words.is_empty() {
        run(client, &format!("ALTER ROLE {name}{words}")).await?;
    }
    match superuser {
        Some(true) => run(client, &format!("GRANT {SUPERUSER} TO {name}")).await,
        Some(false) => run(client, &format!("REVOKE {SUPERUSER} FROM {name}")).await,
        None => Ok(()),
    }
}

/// Drops a role; what it owns goes to `heir` first, in every database, where one is given.
pub async fn drop_role(postgres: &Postgres, name: &str, heir: Option<&str>) -> Result<()> {
    let control = postgres.connect("postgres").await?;
    if let Some(heir) = heir {
        for database in
            databases(&control.client).await?.into_iter().map(|row| row.name).chain(["postgres".to_owned()])
        {
            let there = postgres.connect(&database).await?;
            let (from, to) = (identifier(name), identifier(heir));
            run(&there.client, &format!("REASSIGN OWNED BY {from} TO {to}; DROP OWNED BY {from}")).await?;
        }
    }
    run(&control.client, &format!("DROP ROLE {}", identifier(name))).await
}

/// Creates a database.
pub async fn create_database(client: &Client, name: &str, owner: &str) -> Result<()> {
    run(client, &format!("CREATE DATABASE {} OWNER {}", identifier(name), identifier(owner))).await
}

/// Renames a database, or gives it to another owner.
pub async fn alter_database(
    client: &Client,
    name: &str,
    new_name: Option<&str>,
    owner: Option<&str>,
) -> Result<()> {
    if let Some(owner) = owner {
        run(client, &format!("ALTER DATABASE {} OWNER TO {}", identifier(name), identifier(owner))).await?;
    }
    if let Some(new_name) = new_name.filter(|new_name| *new_name != name) {
        run(client, &format!("ALTER DATABASE {} RENAME TO {}", identifier(name), identifier(new_name)))
            .await?;
    }
    Ok(())
}

/// Drops a database, ending its sessions.
pub async fn drop_database(client: &Client, name: &str) -> Result<()> {
    run(client, &format!("DROP DATABASE {} WITH (FORCE)", identifier(name))).await
}

/// The databases that are not PostgreSQL's own, by name.
pub async fn databases(client: &Client) -> Result<Vec<DatabaseRow>> {
    let sql = "SELECT datname, pg_get_userbyid(datdba)::text FROM pg_database
               WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY oid";
    let rows = client.query(sql, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| DatabaseRow { name: row.get(0), owner: row.get(1) }).collect())
}

/// The roles that are neither PostgreSQL's own nor ours, in the order of their creation.
pub async fn roles(client: &Client) -> Result<Vec<RoleRow>> {
    let sql = "SELECT r.rolname, r.rolcanlogin, r.rolcreatedb, r.rolcreaterole, r.rolbypassrls,
                      EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                              WHERE m.member = r.oid AND g.rolname = $1)
               FROM pg_roles r WHERE r.rolname !~ '^pg_' AND r.rolname NOT IN ($1, $2) ORDER BY r.oid";
    let rows = client.query(sql, &[&SUPERUSER, &ADMIN]).await.map_err(failed)?;
    let role = |row: &tokio_postgres::Row| RoleRow {
        name: row.get(0),
        can_login: row.get(1),
        createdb: row.get(2),
        createrole: row.get(3),
        bypassrls: row.get(4),
        is_superuser: row.get(5),
    };
    Ok(rows.iter().map(role).collect())
}

/// The stored password verifier of a role that may log in; none where it has no password.
pub async fn password_verifier(client: &Client, name: &str) -> Result<Option<String>> {
    let sql = "SELECT rolpassword FROM pg_authid
               WHERE rolname = $1 AND rolcanlogin AND coalesce(rolvaliduntil > now(), true)";
    let row = client.query_opt(sql, &[&name]).await.map_err(failed)?;
    Ok(row.and_then(|row| row.get(0)))
}

/// Whether there is a role that looks as this server makes those of identities: it may log in, has no password, and is a
/// member of [`SUPERUSER`].
pub async fn is_identity_role(client: &Client, name: &str) -> Result<bool> {
    let sql = "SELECT FROM pg_authid r WHERE r.rolname = $1 AND r.rolcanlogin AND r.rolpassword IS NULL
               AND EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                           WHERE m.member = r.oid AND g.rolname = $2)";
    Ok(client.query_opt(sql, &[&name, &SUPERUSER]).await.map_err(failed)?.is_some())
}

/// Whether there is a role of this name.
pub async fn is_role(client: &Client, name: &str) -> Result<bool> {
    let row = client.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&name]).await.map_err(failed)?;
    Ok(row.is_some())
}

/// Size of all databases together, in bytes.
pub async fn size(client: &Client) -> Result<u64> {
    let sql = "SELECT sum(pg_database_size(oid))::bigint FROM pg_database";
    let bytes: i64 = client.query_one(sql, &[]).await.map_err(failed)?.get(0);
    Ok(bytes.unsigned_abs())
}

impl Attributes {
    fn words(self) -> String {
        let word = |value: Option<bool>, name: &str| match value {
            Some(true) => format!(" {name}"),
            Some(false) => format!(" NO{name}"),
            None => String::new(),
        };
        word(self.createdb, "CREATEDB")
            + &word(self.createrole, "CREATEROLE")
            + &word(self.bypassrls, "BYPASSRLS")
    }
}

/// Runs statements in one transaction. DDL takes no parameters, so names and texts in them are quoted by the caller.
async fn run(client: &Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(failed)
}

/// PostgreSQL's own message is the best description there is; statements, which may hold a password, are not in it.
fn failed(error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(error) => Error::new(ErrorKind::Postgres, error.message().to_owned()),
        None => Error::new(ErrorKind::Postgres, "a query of the server failed").because(error),
    }
}
