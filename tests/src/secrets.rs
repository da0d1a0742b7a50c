//! Looks for logins and workspace credentials where none may be. What it reports are places, never what stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Lab, comm};

/// How the first part of every JWT begins: `{"` in base64.
const JWT: &str = "eyJ";

/// The secrets of a lab: the credential of its workspace, and every login that was ever minted for one of its endpoints.
#[derive(Debug, Clone)]
pub struct Secrets {
    credential: String,
    /// The embedded server's state: the endpoints that are the lab's own.
    state: PathBuf,
}

impl Secrets {
    /// Those of the lab.
    pub fn of(lab: &Lab) -> Self {
        Self { credential: lab.token(), state: lab.path("embedded/state.json") }
    }

    /// Whether the bytes hold one of them, or a login of anybody's.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        text.contains(&self.credential) || logins(&text).next().is_some()
    }

    /// Whether the bytes hold one of this lab's own: other tests run on the same machine.
    pub fn of_the_lab_are_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let ours = |claims: &str| {
            let audience = audience(claims);
            // Read when it matters: endpoints come and go.
            audience
                .is_some_and(|uid| fs::read_to_string(&self.state).is_ok_and(|state| state.contains(&uid)))
        };
        text.contains(&self.credential) || logins(&text).any(ours)
    }

    /// The files below a folder that hold one. Fails where there is no file to look into.
    #[track_caller]
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let (mut found, mut looked) = (Vec::new(), 0);
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    looked += 1;
                    found.extend(self.are_in(&fs::read(&path).unwrap()).then_some(path));
                }
            }
        }
        assert!(looked > 0, "there is no file in {}", folder.display());
        found
    }
}

/// The claims of everything that is formed as a login, even without its signature.
fn logins(text: &str) -> impl Iterator<Item = &str> {
    let part = |text: &str| {
        let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        text.bytes().take_while(belongs).count()
    };
    text.match_indices(JWT).filter_map(move |(at, _)| {
        let header = part(&text[at..]);
        let claims = text[at + header..].strip_prefix('.')?;
        let length = part(claims);
        (header >= 16 && length >= 32).then(|| &claims[..length])
    })
}

/// Uid of the endpoint that a login's claims are for.
fn audience(claims: &str) -> Option<String> {
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(claims["aud"].as_str()?.to_owned())
}

/// Looks at the command line and the environment of every process, again and again, until it is told to stop. Root may read
/// them all; another user those of its own processes.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sighted>,
}

/// What a watch has seen.
#[derive(Debug, Default)]
pub struct Sighted {
    /// `program: command line` or `program: environment`, where a secret of the lab was.
    pub found: BTreeSet<String>,
    /// The names of all programs that were looked at.
    pub programs: BTreeSet<String>,
    /// How often all processes were looked at.
    pub rounds: u32,
}

impl Watch {
    /// Begins.
    pub fn new(secrets: Secrets) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut sighted = Sighted::default();
            while !stopped.load(Ordering::Relaxed) || sighted.rounds == 0 {
                look(&secrets, &mut sighted);
                sighted.rounds += 1;
            }
            sighted
        });
        Self { stop, thread }
    }

    /// Ends, and tells.
    pub fn end(self) -> Sighted {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// One look at every process.
fn look(secrets: &Secrets, sighted: &mut Sighted) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else { continue };
        let program = comm(pid);
        for (file, what) in [("cmdline", "command line"), ("environ", "environment")] {
            // A process that has ended meanwhile has neither.
            let Ok(bytes) = fs::read(entry.path().join(file)) else { continue };
            if secrets.of_the_lab_are_in(&bytes) {
                // The name once more: between a fork and an exec it was the parent's.
                let name = comm(pid).or_else(|| program.clone()).unwrap_or_default();
                sighted.found.insert(format!("{name}: {what}"));
            }
        }
        sighted.programs.extend(program);
    }
}
