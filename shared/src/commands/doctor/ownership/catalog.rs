//! What the catalog of a database says of owners and members. Reads only, in a transaction that could not write.

use tokio_postgres::Row;

use super::{Facts, Group, Owner, Role, Schema};
use crate::error::Result;
use crate::sql::Session;

/// So many names of a kind are told.
pub const FIRST: usize = 10;

/// From this version on, being a member and being let to become the role are two things.
const TELLS_SET: i32 = 160_000;

/// Everything with an owner that a migration may want to alter: `owner`, `kind`, `name`. Not what belongs to an extension,
/// PostgreSQL itself or another session, and no sequence that goes with its table.
const OBJECTS: &str = "
SELECT c.relowner AS owner,
       CASE WHEN c.relkind IN ('r', 'p', 'f') THEN 'table' WHEN c.relkind = 'S' THEN 'sequence' ELSE 'view' END AS kind,
       format('%I.%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class c JOIN spaces n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                  AND (d.deptype = 'e' OR (c.relkind = 'S' AND d.deptype IN ('a', 'i'))))
UNION ALL
SELECT n.nspowner, 'schema', quote_ident(n.nspname) FROM spaces n
WHERE n.nspname <> 'public'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid = n.oid
                  AND d.deptype = 'e')
UNION ALL
SELECT t.typowner, 'type', format('%I.%I', n.nspname, t.typname)
FROM pg_catalog.pg_type t JOIN spaces n ON n.oid = t.typnamespace
WHERE (t.typtype IN ('e', 'd') OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid
                  AND d.deptype = 'e')
UNION ALL
SELECT p.proowner, 'function', format('%I.%I', n.nspname, p.proname)
FROM pg_catalog.pg_proc p JOIN spaces n ON n.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                  AND d.deptype = 'e')";

/// The schemas that are not PostgreSQL's own.
const SPACES: &str = "SELECT oid, nspname, nspowner FROM pg_catalog.pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'";

/// Reads everything that the findings need. `role` is the configured one.
///
/// # Errors
/// [`crate::error::Kind::Database`] in the server's words.
pub async fn read(session: &Session, user: &str, role: Option<&str>) -> Result<Facts> {
    session.run("BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = '10s'").await?;
    let head = "SELECT current_setting('server_version_num')::int, current_database()::text";
    let head = one(session.rows(head, &[]).await?);
    let (version, database): (i32, String) =
        head.map_or_else(Default::default, |row| (row.get(0), row.get(1)));
    let role = match role {
        Some(name) => Some(self::role(session, version, name).await?),
        None => None,
    };
    let who = role.as_ref().map_or(user, |role| &role.name);
    let owners = owners(session, version, who).await?;
    let heir = match &role {
        Some(role) => role.clone(),
        None => heir(session, version, &owners, &database).await?,
    };
    let schemas = schemas(session, who, &heir.name).await?;
    session.run("ROLLBACK").await?;
    Ok(Facts { version, user: user.to_owned(), database, role, owners, heir, schemas })
}

async fn role(session: &Session, version: i32, name: &str) -> Result<Role> {
    let statement =
        format!("SELECT {} FROM pg_catalog.pg_roles r WHERE r.rolname = $1::text", may_be_set(version));
    let row = one(session.rows(&statement, &[&name]).await?);
    let may_be_set = row.as_ref().is_some_and(|row| row.get(0));
    Ok(Role { name: name.to_owned(), exists: row.is_some(), may_be_set })
}

/// Whether the user may start a session as the role `r`.
fn may_be_set(version: i32) -> String {
    let right = if version >= TELLS_SET { "SET" } else { "MEMBER" };
    format!("pg_has_role(current_user, r.oid, '{right}')")
}

async fn owners(session: &Session, version: i32, who: &str) -> Result<Vec<Owner>> {
    let statement = format!(
        "WITH spaces AS ({SPACES}), objects AS ({OBJECTS})
SELECT r.rolname::text, r.rolcanlogin, r.rolsuper,
       coalesce((SELECT pg_has_role(w.oid, r.oid, 'USAGE') FROM pg_catalog.pg_roles w WHERE w.rolname = $1::text), false),
       count(*) FILTER (WHERE o.kind = 'table'),
       (array_agg(o.name ORDER BY o.name) FILTER (WHERE o.kind = 'table'))[1:{FIRST}],
       count(*) FILTER (WHERE o.kind <> 'table'),
       (array_agg(o.kind || ' ' || o.name ORDER BY o.kind, o.name) FILTER (WHERE o.kind <> 'table'))[1:{FIRST}],
       (SELECT array_agg(m.rolname::text ORDER BY m.rolname) FROM pg_catalog.pg_roles m
        WHERE m.rolcanlogin AND NOT m.rolsuper AND m.rolname <> current_user
          AND (EXISTS (SELECT FROM pg_catalog.pg_auth_members a
                       WHERE a.roleid = r.oid AND a.member = m.oid AND a.admin_option)
               OR ({version} < {TELLS_SET} AND m.rolcreaterole)))
FROM objects o JOIN pg_catalog.pg_roles r ON r.oid = o.owner
GROUP BY r.oid, r.rolname, r.rolcanlogin, r.rolsuper ORDER BY r.rolname"
    );
    let names = |row: &Row, at: usize| row.get::<_, Option<Vec<String>>>(at).unwrap_or_default();
    let owner = |row: &Row| Owner {
        name: row.get(0),
        can_login: row.get(1),
        superuser: row.get(2),
        has_rights: row.get(3),
        tables: Group { count: row.get(4), first: names(row, 5) },
        others: Group { count: row.get(6), first: names(row, 7) },
        granters: names(row, 8),
    };
    Ok(session.rows(&statement, &[&who]).await?.iter().map(owner).collect())
}

/// The role that everything should belong to, where none is configured: of those that nobody logs in as, the one that has
/// most tables; else one after the database.
async fn heir(session: &Session, version: i32, owners: &[Owner], database: &str) -> Result<Role> {
    let shared = |owner: &&Owner| {
        !owner.can_login && !owner.superuser && !owner.is_of_the_service() && owner.tables.count > 0
    };
    if let Some(owner) = owners.iter().filter(shared).max_by_key(|owner| owner.tables.count) {
        return role(session, version, &owner.name).await;
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let stem: String = database.chars().take(50).map(plain).collect();
    let names = ["owner", "owners", "team"].map(|end| format!("{stem}_{end}"));
    // One that somebody logs in as is another thing.
    let statement =
        "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolcanlogin AND rolname::text = ANY($1)";
    let taken: Vec<String> =
        session.rows(statement, &[&names.as_slice()]).await?.iter().map(|row| row.get(0)).collect();
    let name = names.iter().find(|name| !taken.contains(name)).unwrap_or(&names[2]);
    role(session, version, name).await
}

async fn schemas(session: &Session, who: &str, heir: &str) -> Result<Vec<Schema>> {
    let right = |parameter: &str| {
        format!(
            "coalesce((SELECT has_schema_privilege(w.oid, n.oid, 'CREATE') FROM pg_catalog.pg_roles w
                       WHERE w.rolname = {parameter}::text), false)"
        )
    };
    let statement = format!(
        "WITH spaces AS ({SPACES})
SELECT quote_ident(n.nspname), pg_get_userbyid(n.nspowner)::text, {}, {}
FROM spaces n WHERE n.nspname = 'public' OR EXISTS (
  SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                  AND d.deptype = 'e'))
ORDER BY n.nspname",
        right("$1"),
        right("$2")
    );
    let schema = |row: &Row| Schema {
        name: row.get(0),
        owner: row.get(1),
        is_open: row.get(2),
        is_open_to_heir: row.get(3),
    };
    Ok(session.rows(&statement, &[&who, &heir]).await?.iter().map(schema).collect())
}

fn one(rows: Vec<Row>) -> Option<Row> {
    rows.into_iter().next()
}
