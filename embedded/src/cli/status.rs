//! `embedded status`: whether the server runs, and what it has.

use std::io::Write;

use serde_json::json;

use super::say;
use crate::error::Result;
use crate::home::Home;
use crate::postgres::postmaster;
use crate::state::{Phase, State};

/// Prints the report, as text or as JSON. Reads the state's file, so it answers while the server is stopped, too.
pub(super) fn print(home: &Home, json: bool, out: &mut dyn Write) -> Result<()> {
    let running = home.running();
    let state = State::load(home)?;
    let mut branches = Vec::new();
    for (project, branch) in state.branches() {
        let up = postmaster(&home.branch_folder(&branch.uid).join("data")).is_some();
        let phase = match (&branch.deleted, branch.phase) {
            (Some(_), _) => "DELETED",
            (None, Phase::Init) => "INIT",
            (None, Phase::Ready) => "READY",
        };
        let ports: Vec<u16> = branch.endpoints.iter().map(|endpoint| endpoint.port).collect();
        branches.push(json!({
            "project": project.id, "branch": branch.id, "state": phase, "postgres_running": up, "ports": ports,
            "expire_time": branch.expires.map(|time| time.to_string()), "bytes": branch.size,
        }));
    }
    if json {
        let report = json!({
            "running": running.is_some(),
            "pid": running.as_ref().map(|it| it.pid),
            "host": running.as_ref().map(|it| format!("http://127.0.0.1:{}", it.port)),
            "home": home.root(),
            "branches": branches,
        });
        return say(out, &format!("{report:#}"));
    }
    match running {
        Some(it) => say(out, &format!("running: http://127.0.0.1:{}, process {}", it.port, it.pid))?,
        None => say(out, "stopped")?,
    }
    say(out, &format!("home: {}", home.root().display()))?;
    for branch in branches {
        let text = |name: &str| branch[name].as_str().unwrap_or_default().to_owned();
        let engine = if branch["postgres_running"] == true { "running" } else { "idle" };
        let expiry =
            branch["expire_time"].as_str().map(|time| format!(", expires {time}")).unwrap_or_default();
        let port = &branch["ports"][0];
        say(
            out,
            &format!(
                "{}/{}: {}, {engine}, port {port}{expiry}",
                text("project"),
                text("branch"),
                text("state")
            ),
        )?;
    }
    Ok(())
}
