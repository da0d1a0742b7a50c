//! What the local database's service says of itself: where it listens, and who may come in.

use std::path::Path;

use serde_json::Value;

use super::model::{Model, Mount, Service};
use crate::connection::escape;

/// The port of every PostgreSQL that names none.
const PORT: u16 = 5432;

/// The mounts through which the database reads `POSTGRES_PASSWORD_FILE` and the like.
pub fn files(database: &Service) -> impl Iterator<Item = &Mount> {
    let named = |name: &str| name.starts_with("POSTGRES_") && name.ends_with("_FILE");
    let files = database.environment.iter().filter(move |(name, _)| named(name));
    let files: Vec<&Path> = files.filter_map(|(_, file)| Some(Path::new(file.as_ref()?.as_str()?))).collect();
    let holds_one = move |mount: &&Mount| files.iter().any(|file| file.starts_with(&mount.target));
    database.volumes.iter().filter(|mount| mount.kind == "bind").filter(holds_one)
}

/// The port that the database listens on, where its command or `PGPORT` says another than the usual one
/// (PostgreSQL documentation, `postgres`: `-p`, `--port`, `-c port=`).
pub fn port(database: &Service) -> Option<u16> {
    let words = database.command();
    let next = words.iter().skip(1).map(Some).chain([None]);
    let mut found = None;
    for (word, next) in words.iter().zip(next) {
        let text = match *word {
            "-p" | "--port" => next.copied(),
            "-c" | "--set" => next.and_then(|next| next.strip_prefix("port=")),
            word => ["--port=", "-cport=", "-p"].iter().find_map(|prefix| word.strip_prefix(prefix)),
        };
        found = text.and_then(|text| text.trim().parse().ok()).or(found);
    }
    let variable = || database.environment.get("PGPORT")?.as_ref()?.as_str()?.parse().ok();
    found.or_else(variable)
}

/// Whether a variable has a value that leads anywhere.
pub fn is_usable(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty())
}

/// Whether a `DATABASE_URL` may be meant for the database: it has no value yet, or leads to a PostgreSQL (in the words
/// of libpq, JDBC or an ORM).
pub fn may_be_ours(value: Option<&Value>) -> bool {
    let Some(url) = value.and_then(Value::as_str).filter(|text| !text.trim().is_empty()) else { return true };
    let scheme = url.trim().split("//").next().unwrap_or_default().to_ascii_lowercase();
    ["postgres", "pgsql", "postgis"].iter().any(|name| scheme.contains(name))
}

/// The URL of the database with the credentials that it declares; `None` where it reads them from a file, which
/// only its container can.
pub fn url(model: &Model, database: &str) -> Option<String> {
    let service = model.services.get(database)?;
    let declared =
        |name: &str| service.environment.get(name)?.as_ref()?.as_str().filter(|text| !text.is_empty());
    if ["POSTGRES_USER_FILE", "POSTGRES_PASSWORD_FILE", "POSTGRES_DB_FILE"]
        .iter()
        .any(|name| declared(name).is_some())
    {
        return None;
    }
    let user = declared("POSTGRES_USER").unwrap_or("postgres");
    let login = match declared("POSTGRES_PASSWORD") {
        Some(password) => format!("{}:{}", escape(user), escape(password)),
        None => escape(user),
    };
    let name = escape(declared("POSTGRES_DB").unwrap_or(user));
    Some(format!("postgresql://{login}@{database}:{}/{name}", port(service).unwrap_or(PORT)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_url_of_another_kind_of_database_is_not_ours() {
        for url in [
            "",
            " ",
            "postgres://x/y",
            "postgresql+psycopg://u:p@db/x",
            "jdbc:postgresql://db/x",
            "PostGIS://db/x",
        ] {
            assert!(may_be_ours(Some(&url.into())), "{url}");
        }
        assert!(may_be_ours(None));
        for url in ["mysql://postgres/x", "sqlite:///postgres.db", "redis://r"] {
            assert!(!may_be_ours(Some(&url.into())), "{url}");
        }
    }

    #[test]
    fn a_port_is_read_as_postgres_reads_it() {
        for (command, environment, expected) in [
            (json!(["postgres", "-p", "5433"]), json!({}), Some(5433)),
            (json!(["-c", "fsync=off", "-c", "port=5434"]), json!({}), Some(5434)),
            (json!(["postgres", "--port=5435"]), json!({"PGPORT": "1"}), Some(5435)),
            (json!(["postgres", "-p5436"]), json!({}), Some(5436)),
            (json!(null), json!({"PGPORT": "5437"}), Some(5437)),
            (json!(["-c", "max_connections=7"]), json!({}), None),
            (json!(["-p"]), json!({}), None),
        ] {
            let service = json!({"command": command, "environment": environment});
            let service: Service = serde_json::from_value(service).unwrap();
            assert_eq!(port(&service), expected, "{command}");
        }
    }
}
