//! Processes: the background ones of a lab, and any of the machine, signalled, frozen and measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Lab, Ran, wait_for};

impl Lab {
    /// The process id of the agent, while it runs.
    pub fn agent(&self) -> Option<String> {
        let lock = self.path("home/.local/state/lakebase/agent/agent.lock");
        fs::read_to_string(lock).ok().filter(|pid| runs(pid))
    }

    /// The process ids of all agents of this lab, those that the lock does not name too.
    pub fn agents(&self) -> Vec<String> {
        let home = format!("HOME={}", self.path("home").display());
        let read = |pid: &str, file: &str| fs::read_to_string(Path::new("/proc").join(pid).join(file));
        let is_ours = |pid: &String| {
            read(pid, "cmdline").is_ok_and(|words| words.ends_with("docker-compose-lakebase\0agent\0"))
                && read(pid, "environ").is_ok_and(|all| all.split('\0').any(|pair| pair == home))
        };
        let all = fs::read_dir("/proc").expect("/proc");
        all.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(is_ours)
            .collect()
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

/// Sends a signal, by its name without `SIG`, to a process that must be there.
#[track_caller]
pub fn signal(pid: &str, name: &str) {
    Ran::of(Command::new("kill").args([&format!("-{name}"), pid])).ok();
}

/// The name of a process's program, as far as the kernel keeps it; `None` once it has ended.
pub fn comm(pid: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

/// Most memory that a process has ever held, in bytes.
pub fn memory_peak(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
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
