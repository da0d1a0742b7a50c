//! The programs and drivers that developers use, at a seat that the gateway has taken: each does through it what it does
//! at a database. `programs` are PostgreSQL's own, `rust_drivers` those of Rust, the scripts those of Python and
//! Node; `drivers_own_tests` runs what their authors ship, directly and through the gateway, on servers of `plain`.

mod drivers_own_tests;
mod plain;
mod programs;
mod rust_drivers;
mod ways;

use std::path::Path;
use std::process::Command;

use e2e::{Ran, tools};
use ways::Ways;

/// Python's drivers, pinned; `distro` is for asyncpg's own tests.
const REQUIREMENTS: &str = "asyncpg==0.32.0\npsycopg[binary]==3.3.9\npsycopg2-binary==2.9.13\nSQLAlchemy==2.1.9\ngreenlet==3.5.6\ntyping_extensions==4.16.0\ndistro==1.9.0\n";
/// Node's, pinned, with those of its dependencies that speak to the server.
const PACKAGES: &str = "pg@8.23.1\npg-cursor@2.22.0\npg-copy-streams@7.0.0\npg-protocol@1.16.1\npg-pool@3.14.0\npg-types@2.2.0\n";

/// What every script here checks.
const CHECKS: [&str; 12] = [
    "encryption",
    "parameters",
    "rollback",
    "prepared statements",
    "errors",
    "cancel",
    "notifications",
    "copy",
    "large values",
    "cursors",
    "pipelines",
    "start up options",
];

/// Runs a script, which has to print the names of these checks.
#[track_caller]
fn checked(command: &mut Command, checks: &[&str]) {
    let ran = Ran::of(command).ok();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), checks, "{}", ran.stderr);
}

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name);
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn python(name: &str, checks: &[&str]) {
    let ways = Ways::shared();
    let python = tools::python(&ways.lab, "drivers", REQUIREMENTS);
    // Without the compiled files, which would lie in the checkout.
    checked(&mut ways.command(&ways.through, python, &["-B", &script(name)]), checks);
}

#[test]
fn psycopg_has_all_it_has_at_a_database() {
    python("psycopg_driver.py", &CHECKS);
}

#[test]
fn asyncpg_has_all_it_has_at_a_database() {
    python("asyncpg_driver.py", &CHECKS);
}

#[test]
fn sqlalchemy_has_all_it_has_at_a_database() {
    let checks = [
        "encryption",
        "parameters",
        "rollback",
        "errors",
        "large values",
        "cursors",
        "reflection",
        "async sessions",
        "start up options",
    ];
    python("sqlalchemy_driver.py", &checks);
}

#[test]
fn node_postgres_has_all_it_has_at_a_database() {
    let ways = Ways::shared();
    let modules = tools::node_modules(&ways.lab, "drivers-node", PACKAGES);
    let mut command = ways.command(&ways.through, "node", &[&script("node_postgres_driver.js")]);
    checked(command.env("NODE_PATH", modules), &CHECKS);
}
