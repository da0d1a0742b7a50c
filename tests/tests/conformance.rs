//! The embedded Lakebase beside the table of what the service answers: every call of the API, happy and failing, made with
//! the official client (`conformance/`). `tests/conformance.sh --live` holds a real workspace against the same table.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{Lab, Ran, signal, tools, wait_for};
use serde_json::{Value, json};

/// The client, as `official_client` has it.
const REQUIREMENTS: &str = include_str!("official_client/requirements.txt");

/// The fewest cases that are a table of every call.
const CASES: u64 = 300;

/// What the embedded Lakebase knowingly answers otherwise, of the cases whose names hold `endpoint-`.
const KNOWN: [&str; 4] =
    ["endpoint-host", "endpoint-pooled-host", "endpoint-read-only-pooled-host", "endpoint-settings"];

/// The script, for the lab's embedded Lakebase.
fn conformance(lab: &Lab, options: &[&str]) -> Command {
    let python = tools::python(lab, "official-client", REQUIREMENTS);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/main.py");
    // Without the compiled files, which would lie in the checkout.
    let mut command = lab.command(python.to_str().unwrap(), ["-B", script.to_str().unwrap()]);
    command.args(options).env("DATABRICKS_HOST", lab.host()).env("DATABRICKS_TOKEN", lab.token());
    command
}

/// The ids of a lab's projects, deleted ones too.
fn projects(lab: &Lab) -> Vec<String> {
    let listed = lab.read("projects?show_deleted=true");
    let ids = listed["projects"].as_array().unwrap().iter();
    ids.map(|project| project["project_id"].as_str().unwrap().to_owned()).collect()
}

/// A lab with somebody else's project in its workspace.
fn lab_with_a_shop() -> Lab {
    let lab = Lab::with_embedded();
    lab.api("POST", "projects?project_id=shop", &json!({"spec": {"display_name": "The shop"}}));
    wait_for("the shop", || {
        let branches = lab.read("projects/shop/branches");
        (branches["branches"][0]["status"]["current_state"] == "READY").then_some(())
    });
    lab
}

#[test]
fn the_embedded_lakebase_answers_every_call_as_the_table_says() {
    // Given somebody else's project in the workspace.
    let lab = lab_with_a_shop();
    let shop = lab.read("projects/shop");

    // When every case is tried.
    let ran = Ran::of(conformance(&lab, &["--json"]).env("PYTHONWARNINGS", "ignore"));

    // Then none differs, and the workspace is as it was.
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:#?}"));
    let differing = report["results"].as_array().unwrap().iter().filter(|row| row["same"] == false);
    let differing: Vec<String> =
        differing.map(|row| format!("{}: {} instead of {}", row["id"], row["got"], row["table"])).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(report["untried"], json!([]), "calls of the API that no case makes, or only with one outcome");
    let cases = report["cases"].as_u64().unwrap();
    assert!(cases >= CASES, "{cases} cases");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(projects(&lab), ["shop"]);
    assert_eq!(lab.read("projects/shop"), shop);
    // Past the test's own capture, for whoever reads the output of tests/run.sh.
    writeln!(std::io::stderr(), "\nconformance: {cases} cases, {} differ", report["differ"]).unwrap();
}

#[test]
fn a_live_workspace_is_held_against_the_same_table() {
    // Given a workspace that answers otherwise here and there: the embedded Lakebase, where it knowingly does.
    let lab = lab_with_a_shop();

    // When the cases of endpoints run as on a real one.
    let ran = Ran::of(&mut conformance(&lab, &["--live", "endpoint-"])).fails(1, &[]);

    // Then exactly these differ, each with both answers in its row, and nothing of it is left.
    let rows: Vec<&str> = ran.stdout.lines().filter(|line| line.contains("endpoint-")).collect();
    let ids: Vec<&str> = rows.iter().filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(ids, KNOWN, "{}", ran.stdout);
    assert!(rows[0].contains("ep-") && rows[0].contains("127.0.0.1:"), "{}", rows[0]);
    let header = ran.stdout.lines().next().unwrap();
    assert!(header.contains("table says") && header.ends_with("live says"), "{header}");
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("conformance: ") && last.ends_with(" cases, 4 differ"), "{last}");
    assert!(!ran.all().contains(&lab.token()), "a token was printed");
    assert_eq!(projects(&lab), ["shop"]);
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing_behind() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        // Given a run in the midst of its cases.
        let lab = lab_with_a_shop();
        let mut command = conformance(&lab, &["--live"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut child = Reaped(child);
        wait_for("a branch of its own", || {
            let own = projects(&lab).into_iter().find(|id| id.starts_with("conformance-"))?;
            let branches = lab.read(&format!("projects/{own}/branches"));
            (branches["branches"].as_array()?.len() > 1).then_some(())
        });

        // When it is interrupted.
        signal(&child.0.id().to_string(), name);

        // Then its project is gone, and nothing else.
        assert_eq!(child.0.wait().unwrap().code(), Some(code), "SIG{name}");
        assert_eq!(projects(&lab), ["shop"]);
    }
}

#[test]
fn a_real_workspace_is_not_touched_without_being_asked_for() {
    // Given a workspace under a name that the script does not know for this machine's.
    let lab = Lab::with_embedded();
    let mut command = conformance(&lab, &[]);
    command.env("DATABRICKS_HOST", lab.host().replace("127.0.0.1", "127.1"));

    // When the script is called without `--live`, then it says so, and has changed nothing.
    Ran::of(&mut command).fails(2, &["127.1", "a real workspace needs --live"]);
    assert_eq!(projects(&lab), [""; 0]);
}

/// A process that does not outlive its test.
struct Reaped(std::process::Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
