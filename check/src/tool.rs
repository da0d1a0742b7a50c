//! The migration tools' own commands: the way up where none is configured, and the way back to where production is.
//!
//! Sources: each tool's manual of its command line.

use std::path::Path;

use lakebase::error::{Error, Kind, Result};
use lakebase::freshness::Tool;

use crate::history::Found;

/// A tool's files, and its command to run what has not run.
struct Way {
    name: &'static str,
    is_here: fn(&Path) -> bool,
    up: &'static [&'static str],
}

/// Rails writes the schema of the database into the developer's own `db/` after each run, and a fork's is not wanted there.
const NO_DUMP: &str = "SCHEMA=/dev/null";

const WAYS: [Way; 9] = [
    Way {
        name: "Alembic",
        is_here: |at| at.join("alembic.ini").is_file(),
        up: &["alembic", "upgrade", "head"],
    },
    Way {
        name: "Django",
        is_here: |at| at.join("manage.py").is_file(),
        up: &["python", "manage.py", "migrate", "--noinput"],
    },
    Way {
        name: "Rails",
        is_here: |at| at.join("bin/rails").is_file(),
        up: &["bin/rails", "db:migrate", NO_DUMP],
    },
    Way {
        name: "Prisma",
        is_here: |at| at.join("prisma/schema.prisma").is_file(),
        up: &["npx", "prisma", "migrate", "deploy"],
    },
    Way {
        name: "Knex",
        is_here: |at| {
            ["js", "cjs", "mjs", "ts"].iter().any(|end| at.join(format!("knexfile.{end}")).is_file())
        },
        up: &["npx", "knex", "migrate:latest"],
    },
    Way {
        name: "diesel",
        is_here: |at| at.join("diesel.toml").is_file(),
        up: &["diesel", "migration", "run", "--locked-schema"],
    },
    Way {
        name: "sqlx",
        is_here: |at| at.join("migrations").is_dir() && manifest_has(at, "sqlx"),
        up: &["sqlx", "migrate", "run"],
    },
    Way {
        name: "refinery",
        is_here: |at| at.join("migrations").is_dir() && manifest_has(at, "refinery"),
        up: &["refinery", "migrate", "-e", "DATABASE_URL", "-p", "migrations"],
    },
    Way {
        name: "Flyway",
        is_here: |at| at.join("flyway.toml").is_file() || at.join("flyway.conf").is_file(),
        up: &["flyway", "migrate"],
    },
];

/// Whether a Cargo project depends on a crate, as far as its manifest says so itself.
fn manifest_has(folder: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    text.lines().any(|line| {
        let line = line.trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
            || line == format!("[dependencies.{name}]")
    })
}

/// The command of the one tool whose files are in the folder.
///
/// # Errors
/// [`Kind::Usage`] where there is none, or more than one.
pub fn command(folder: &Path) -> Result<Vec<String>> {
    let here: Vec<&Way> = WAYS.iter().filter(|way| (way.is_here)(folder)).collect();
    let hint =
        "write the command: `cargo lakebase check -- alembic upgrade head`, or configure `check-command`";
    match here.as_slice() {
        [way] => Ok(way.up.iter().map(|word| (*word).to_owned()).collect()),
        [] => Err(Error::new(Kind::Usage, "there is no migration command")
            .because_of(format!(
                "none stands after `--`, none is configured, and `{}` has no file of a migration tool that is known",
                folder.display()
            ))
            .hint(hint)),
        several => {
            let names: Vec<&str> = several.iter().map(|way| way.name).collect();
            Err(Error::new(Kind::Usage, "which migration command is meant can't be told")
                .because_of(format!("there are files of {}", names.join(" and ")))
                .hint(hint))
        }
    }
}

/// The command that leads back to where production is, from the one that led away; `None` where the tool has none, or
/// nothing was pending.
pub fn back(up: &[String], found: &Found) -> Option<Vec<String>> {
    let count = found.pending.len();
    if count == 0 {
        return None;
    }
    let program = |name: &str| {
        up.iter().position(|word| word == name || word.ends_with(&format!("/{name}"))).map(|at| &up[..=at])
    };
    let with = |before: &[String], words: &[&str]| {
        Some(before.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect())
    };
    match found.tool? {
        Tool::Alembic => {
            let to = match found.at.as_slice() {
                [] => "base",
                [one] => one.as_str(),
                // Back to several heads at once is no one command.
                _ => return None,
            };
            // Options such as `-c other.ini` stand between the program and its command.
            let at = up.iter().position(|word| word == "upgrade")?;
            with(&up[..at], &["downgrade", to])
        }
        Tool::Sqlx => {
            let last = found.at.iter().filter_map(|at| at.parse::<i64>().ok()).max().unwrap_or(0);
            with(program("sqlx")?, &["migrate", "revert", "--target-version", &last.to_string()])
        }
        Tool::Diesel => {
            // A step back takes the schema away from what the checkout's `schema.rs` says, which diesel would write anew, or
            // with `--locked-schema` take for a failure: it gets a configuration that names no such file, nor the folder.
            let folder = found.files.first().and_then(|up| Path::new(up).parent()?.parent()?.to_str());
            let words = ["migration", "revert", "--number", &count.to_string(), "--config-file", "/dev/null"];
            let place = folder.map_or_else(Vec::new, |folder| vec!["--migration-dir", folder]);
            with(program("diesel")?, &[&words[..], &place].concat())
        }
        Tool::Rails => with(program("rails")?, &["db:rollback", &format!("STEP={count}"), NO_DUMP]),
        // Django goes back application by application; Prisma, Flyway and refinery do not go back at all.
        Tool::Django => django(up, found),
        Tool::Prisma | Tool::Flyway | Tool::Refinery => None,
    }
}

/// Django's way back, where one application alone has something pending.
fn django(up: &[String], found: &Found) -> Option<Vec<String>> {
    let (application, _) = found.pending.first()?.split_once('.')?;
    if found.pending.iter().any(|id| id.split_once('.').is_none_or(|(other, _)| other != application)) {
        return None;
    }
    let last = found.at.iter().filter_map(|id| id.split_once('.')).filter(|(other, _)| *other == application);
    let to = last.map(|(_, name)| name).max().unwrap_or("zero");
    let at = up.iter().position(|word| word == "migrate")?;
    let mut words: Vec<String> = up[..=at].to_vec();
    words.extend([application.to_owned(), to.to_owned(), "--noinput".to_owned()]);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn back_of(tool: Tool, up: &str, pending: &[&str], at: &[&str]) -> Option<String> {
        let list = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        let files = pending.iter().map(|id| format!("db/migrations/{id}_a/up.sql")).collect();
        let found =
            Found { tool: Some(tool), pending: list(pending), files, at: list(at), ..Found::default() };
        back(&words(up), &found).map(|words| words.join(" "))
    }

    #[test]
    fn the_way_back_ends_where_production_is() {
        assert_eq!(
            back_of(Tool::Alembic, "poetry run alembic -c db.ini upgrade head", &["b"], &["a"]).unwrap(),
            "poetry run alembic -c db.ini downgrade a"
        );
        assert_eq!(
            back_of(Tool::Alembic, "alembic upgrade head", &["a"], &[]).unwrap(),
            "alembic downgrade base"
        );
        assert_eq!(back_of(Tool::Alembic, "alembic upgrade head", &[], &["a"]), None);
        assert_eq!(
            back_of(Tool::Sqlx, "sqlx migrate run", &["3"], &["1", "2"]).unwrap(),
            "sqlx migrate revert --target-version 2"
        );
        assert_eq!(
            back_of(Tool::Diesel, "diesel migration run", &["3", "4"], &[]).unwrap(),
            "diesel migration revert --number 2 --config-file /dev/null --migration-dir db/migrations"
        );
        let migrate = "python manage.py migrate";
        assert_eq!(
            back_of(Tool::Django, migrate, &["shop.0003_c"], &["auth.0009_z", "shop.0001_a", "shop.0002_b"])
                .unwrap(),
            "python manage.py migrate shop 0002_b --noinput"
        );
        assert_eq!(back_of(Tool::Django, migrate, &["shop.0003_c", "auth.0010_x"], &[]), None);
        assert_eq!(back_of(Tool::Alembic, "make migrate", &["b"], &["a"]), None);
        assert_eq!(back_of(Tool::Flyway, "flyway migrate", &["2"], &["1"]), None);
    }

    #[test]
    fn the_command_is_that_of_the_one_tool_whose_files_are_there() {
        let folder = std::env::temp_dir().join(format!("lakebase-check-tool-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("migrations")).unwrap();
        assert!(command(&folder).unwrap_err().causes[0].contains("no file of a migration tool"));
        std::fs::write(folder.join("Cargo.toml"), "[dependencies]\nsqlx = \"0.9\"\n").unwrap();
        assert_eq!(command(&folder).unwrap(), ["sqlx", "migrate", "run"]);
        std::fs::write(folder.join("alembic.ini"), "").unwrap();
        assert!(command(&folder).unwrap_err().causes[0].contains("Alembic and sqlx"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
