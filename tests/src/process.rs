//! The background processes of a lab: the agent and the embedded server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Lab, wait_for};

impl Lab {
    /// The process id of the agent, while it runs.
    pub fn agent(&self) -> Option<String> {
        let lock = self.path("home/.local/state/lakebase/agent/agent.lock");
        fs::read_to_string(lock).ok().filter(|pid| runs(pid))
    }

    /// Ends the agent by a signal, and waits for its end.
    pub fn kill_agent(&self, signal: &str) {
        let pid = self.agent().expect("an agent runs");
        self.run("kill", [signal, &pid]).ok();
        wait_for("the agent to end", || (!runs(&pid)).then_some(()));
    }

    /// The process id of the embedded server, which must run.
    pub fn embedded_pid(&self) -> String {
        let status = self.run("cargo-lakebase", ["embedded", "status", "--json"]).ok().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["pid"].to_string()
    }
}

/// Whether a process runs; one that ended and was not waited for does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    !pid.is_empty() && stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// A process that stands still, until this is dropped.
pub struct Frozen(String);

impl Frozen {
    /// Freezes the process.
    pub fn new(pid: &str) -> Self {
        let frozen = Self(pid.to_owned());
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0]).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking(), "kill {signal}");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}
