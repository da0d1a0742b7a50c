//! Drivers' own tests, as their authors ship them: each has the same outcome through the gateway as at a plain PostgreSQL.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2e::{Ran, tools};

use crate::plain::{Gateway, Plain};
use crate::ways::{Server, Ways};
use crate::{REQUIREMENTS, script};

/// Goes of a test that had two outcomes, alone and so with the machine for itself. Some of these tests measure time.
const GOES: usize = 3;
/// Goes of which both sides must have the same outcome.
const ENOUGH: usize = 2;
/// A test that says how soon a client feels that nobody reads, not what it is answered: it wants an error to come back before
/// 4 MB are written, and the buffers of two connections hold more than those of one. How much depends on who gets a processor.
const NOT_COMPARED: &str = "tests.test_execute.TestExecuteMany.test_executemany_server_failure_during_writes";

/// Test -> what became of it.
type Outcomes = BTreeMap<String, String>;

/// A driver's tests beside one server.
struct Suite<'a> {
    ways: &'a Ways,
    python: &'a Path,
    server: Server,
    folder: PathBuf,
}

impl<'a> Suite<'a> {
    /// `source` are the tests, `name` is this run's.
    fn new(ways: &'a Ways, python: &'a Path, source: &Path, server: &Server, name: &str) -> Self {
        let folder = ways.lab.path(&format!("projects/{name}"));
        std::fs::create_dir(&folder).unwrap();
        // Alone: beside them lies the driver's own source, which is not built.
        Ran::of(ways.lab.command("cp", ["-R"]).arg(source.join("tests")).arg(&folder)).ok();
        // As psycopg2's tests want to be told; and where their files may lie.
        let server = server.with("PSYCOPG2_TESTDB", server.get("PGDATABASE"));
        let server = server.with("HOME", folder.to_str().unwrap());
        Self { ways, python, server, folder }
    }

    /// Runs these tests, or all.
    fn run(&self, tests: &[&str]) -> Outcomes {
        let file = self.folder.join("outcomes.json");
        let _ = std::fs::remove_file(&file);
        let arguments = ["-B", "-W", "ignore", &script("suite.py"), file.to_str().unwrap()];
        let mut command = self.ways.command(&self.server, self.python, &arguments);
        let ran = Ran::of(command.args(tests).current_dir(&self.folder)).ok();
        std::fs::write(self.folder.join("log"), ran.all()).unwrap();
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }
}

/// The tests of `package`, of which `least` pass at a plain PostgreSQL, have the same outcomes through the gateway.
fn same_outcomes(package: &str, least: usize) {
    let ways = Ways::shared();
    let python = tools::python(&ways.lab, "drivers", REQUIREMENTS);
    let source = tools::python_source(&ways.lab, &python, package);
    let name = package.split("==").next().unwrap();
    // Each has a server of its own: they make the same roles and databases.
    let (one, other) = (Plain::start(&ways), Plain::start(&ways));
    let gateway = Gateway::start(&ways, &other);
    let direct = Suite::new(&ways, &python, &source, &one.server, &format!("{name}-direct"));
    let through = Suite::new(&ways, &python, &source, &gateway.server, &format!("{name}-through"));
    let (mut wanted, mut found) = std::thread::scope(|scope| {
        let wanted = scope.spawn(|| direct.run(&[]));
        let found = through.run(&[]);
        (wanted.join().unwrap(), found)
    });
    assert!(wanted.keys().eq(found.keys()), "not the same tests ran");
    for outcomes in [&mut wanted, &mut found] {
        outcomes.remove(NOT_COMPARED);
    }
    let differ: Vec<String> =
        wanted.keys().filter(|test| wanted.get(*test) != found.get(*test)).cloned().collect();
    for test in differ {
        println!("{test}: directly {}, through the gateway {}", wanted[&test], found[&test]);
        let goes = (0..GOES).map(|_| (direct.run(&[&test]), through.run(&[&test])));
        let agreed = goes.filter(|(wanted, found)| wanted == found).count();
        if agreed >= ENOUGH {
            found.insert(test.clone(), wanted[&test].clone());
        }
    }
    let count = |outcome: &str| wanted.values().filter(|one| one.starts_with(outcome)).count();
    let (passed, failed, skipped) = (count("passed"), count("failed"), count("skipped"));
    println!(
        "{package}: {passed} passed, {failed} failed, {skipped} skipped, directly and through the gateway"
    );
    let differ: Vec<_> = wanted.iter().filter(|(test, outcome)| found.get(*test) != Some(outcome)).collect();
    assert!(differ.is_empty(), "otherwise through the gateway: {differ:#?}");
    assert!(passed >= least, "only {passed} passed, {failed} failed: {wanted:#?}");
}

#[test]
fn asyncpgs_own_tests_have_the_same_outcomes_through_the_gateway() {
    same_outcomes("asyncpg==0.32.0", 280);
}

#[test]
#[ignore = "minutes long: tests/run.sh --full"]
fn psycopg2s_own_tests_have_the_same_outcomes_through_the_gateway() {
    same_outcomes("psycopg2==2.9.13", 700);
}
