//! The side of `up`: the agent is started where it does not run, and told about the project.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lakebase::env_vars::{self, Env};
use lakebase::error::{Error, Kind, Result};

use super::{Call, Docker, Registration, VERSION, Wish, folder, kept, socket};

/// A new agent listens within this time.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Tells the agent about a project; starts it first where it does not run, or is another version.
///
/// # Errors
/// [`Kind::Program`] where no agent can be started, [`Kind::Io`] where its folder can't be made.
pub fn register(registration: Registration, env: &Env) -> Result<()> {
    let folder = folder(env).ok_or_else(|| {
        Error::new(Kind::Io, "there is no place for the agent's socket").hint("set HOME or XDG_RUNTIME_DIR")
    })?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)))
        .map_err(|error| Error::io(format!("making the folder `{}`", folder.display()), &error))?;
    let line = line(Wish::Serve(Box::new(registration)))?;
    let until = Instant::now() + START_WITHIN;
    let mut started = false;
    loop {
        if tell(&socket(&folder), &line) {
            return Ok(());
        }
        if !started {
            start(&folder, env)?;
            started = true;
        }
        if Instant::now() > until {
            return Err(Error::new(Kind::Program, "the agent that renews logins did not start")
                .because_of(fs::read_to_string(folder.join("agent.log")).unwrap_or_default())
                .hint("run the command again, or use `LAKEBASE_CONNECT=direct`"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether an agent runs that serves this project with logins for this endpoint.
pub fn knows(docker: &Docker, project: &str, endpoint: &str, env: &Env) -> bool {
    let wish = Wish::Know { key: docker.key(project), endpoint: endpoint.to_owned() };
    let (Some(folder), Ok(line)) = (folder(env), line(wish)) else { return false };
    tell(&socket(&folder), &line)
}

/// Tells the agent that a project is being taken down, so that nobody waits for its gateway to come back. Where no agent
/// runs, the next one won't know of it.
pub fn forget(docker: &Docker, project: &str, env: &Env) {
    let key = docker.key(project);
    let (Some(folder), Ok(line)) = (folder(env), line(Wish::Forget { key: key.clone() })) else { return };
    if !tell(&socket(&folder), &line) {
        kept::remove(&folder, &key);
    }
}

fn line(wish: Wish) -> Result<String> {
    serde_json::to_string(&Call { version: VERSION.to_owned(), wish })
        .map_err(|_| Error::new(Kind::Program, "the project can't be described to the agent"))
}

/// The process id of the agent, while one listens. Nothing is said to it.
pub fn process(env: &Env) -> Option<String> {
    let folder = folder(env)?;
    UnixStream::connect(socket(&folder)).ok()?;
    fs::read_to_string(folder.join("agent.lock")).ok()
}

/// Ends the agent, if one runs, and forgets its projects. The next `up` starts another.
pub fn stop(env: &Env) {
    if let Some(folder) = folder(env) {
        // What is no registration of its version ends it.
        tell(&socket(&folder), "{}");
        kept::forget(&folder);
    }
}

/// Whether an agent of this version said yes to the line.
fn tell(socket: &Path, line: &str) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    if writeln!(stream, "{line}").is_err() {
        return false;
    }
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).is_ok() && answer.trim() == "ok"
}

fn start(folder: &Path, env: &Env) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Program, "the agent that renews logins could not be started").because(&error)
    };
    // Without a log where the disk has no room for one.
    let log = fs::File::create(folder.join("agent.log")).map_or_else(|_| Stdio::null(), Stdio::from);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("agent").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir("/");
    // The credential comes over the socket; nothing of it is in the agent's environment.
    for name in env_vars::databricks_secrets() {
        command.env_remove(name);
    }
    if env.get(env_vars::DOCKER_PLUGIN_SOCKET).is_some() {
        command.env_remove(env_vars::DOCKER_PLUGIN_SOCKET);
    }
    command.spawn().map(drop).map_err(failed)
}
