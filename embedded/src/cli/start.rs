//! `embedded start`: the server in the background, and how it says why it did not start.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{POLL, StartArgs, say};
use crate::env_vars;
use crate::error::{Error, ErrorKind, IoContext, Result, embedded_command};
use crate::faults::Spec;
use crate::home::{Home, Lookup, Running, replace_file};
use crate::server::{self, Options};

/// How long a server may take to start. It starts no PostgreSQL, so this is for machines under great load.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Why a server in the background did not start, as it tells the one who started it.
#[derive(Serialize, Deserialize)]
struct Failure {
    kind: ErrorKind,
    message: String,
    cause: String,
    hint: Option<String>,
}

/// Starts the server in the background, unless one runs.
pub(super) fn run(home: &Home, args: &StartArgs, env: Lookup<'_>, err: &mut dyn Write) -> Result<()> {
    faults(args)?;
    home.create()?;
    if let Some(running) = home.running() {
        let asked = args.port.filter(|port| *port != 0 && *port != running.port);
        say(err, &format!("the embedded Lakebase runs already: http://127.0.0.1:{}", running.port))?;
        return match asked {
            None if !args.faults.is_empty() => {
                Err(Error::new(ErrorKind::Usage, "it takes no faults of a start while it runs")
                    .hint(format!("set them with {}", embedded_command("fault add"))))
            }
            None => Ok(()),
            Some(port) => {
                Err(Error::new(ErrorKind::Usage, format!("it can't change to port {port} while it runs"))
                    .hint(format!("stop it first: {}", embedded_command("stop"))))
            }
        };
    }
    let _ = fs::remove_file(home.failure_file());
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(home.log_file())
        .doing(|| format!("can't write `{}`", home.log_file().display()))?;
    let errors = log.try_clone().doing(|| "can't use the server's log".to_owned())?;
    let program = std::env::current_exe().doing(|| "can't find this program's own file".to_owned())?;
    let mut command = std::process::Command::new(program);
    command.args(["embedded", "serve", "--detached"]);
    // Nothing of the caller's environment but what a server reads: a token there would live on in it.
    command.env_clear();
    for name in env_vars::OF_THE_SERVER {
        if let Some(value) = env(name) {
            command.env(name, value);
        }
    }
    if let Some(port) = args.port {
        command.arg("--port").arg(port.to_string());
    }
    if let Some(bin) = &args.postgres_bin {
        // The server's working directory is another one.
        command.arg("--postgres-bin").arg(std::path::absolute(bin).unwrap_or_else(|_| bin.clone()));
    }
    for fault in &args.faults {
        command.arg(format!("--fault={fault}"));
    }
    let mut child = command
        .env(env_vars::HOME, home.root())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .doing(|| "can't start the server".to_owned())?;
    let running = wait_until_up(home, &mut child)?;
    say(err, &format!("the embedded Lakebase runs: http://127.0.0.1:{}", running.port))
}

/// The faults that a start is given.
fn faults(args: &StartArgs) -> Result<Vec<Spec>> {
    let parse = |line: &String| {
        line.parse().map_err(|error: String| {
            Error::new(ErrorKind::Usage, format!("`--fault` can't be `{line}`"))
                .because(error)
                .hint(format!("see {}", embedded_command("fault add --help")))
        })
    };
    args.faults.iter().map(parse).collect()
}

/// Closes what the caller had open beside the three standard descriptors: whoever waits for the end of a pipe of theirs would
/// wait for the server's.
fn close_inherited() {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    // The one that they are read through is among them, and closed by itself.
    let open: Vec<i32> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        let _ = nix::unistd::close(descriptor);
    }
}

fn wait_until_up(home: &Home, child: &mut Child) -> Result<Running> {
    let deadline = Instant::now() + START_PATIENCE;
    while Instant::now() < deadline {
        if let Some(running) = home.running()
            && (running.pid == child.id() || child.try_wait().ok().flatten().is_some())
        {
            // Its own, or that of another start that was first.
            return Ok(running);
        }
        if let Some(status) = child.try_wait().doing(|| "can't wait for the server".to_owned())? {
            return Err(failure(home).unwrap_or_else(|| {
                Error::new(ErrorKind::Io, format!("the server ended at once ({status})"))
                    .hint(format!("see {}", embedded_command("logs")))
            }));
        }
        std::thread::sleep(POLL);
    }
    // It has started nothing of its own yet, and must not come up after all once its user was told that it did not.
    let _ = child.kill().and_then(|()| child.wait());
    Err(Error::new(ErrorKind::Io, format!("the server did not start within {} s", START_PATIENCE.as_secs()))
        .hint(format!("see {}", embedded_command("logs"))))
}

/// What a server that ended at its start left behind.
fn failure(home: &Home) -> Option<Error> {
    let text = fs::read(home.failure_file()).ok()?;
    let _ = fs::remove_file(home.failure_file());
    let failure: Failure = serde_json::from_slice(&text).ok()?;
    let mut error = Error::new(failure.kind, failure.message);
    error.hint = failure.hint;
    Some(if failure.cause.is_empty() { error } else { error.because(failure.cause) })
}

/// Runs the server in this process; a detached one leaves word where its start fails.
pub(super) fn serve(home: &Home, args: &StartArgs, detached: bool, env: Lookup<'_>) -> Result<()> {
    if detached {
        close_inherited();
        // A session of its own: the terminal's Ctrl-C and hang-up are not meant for it.
        nix::unistd::setsid()
            .map_err(|error| Error::new(ErrorKind::Io, "can't leave the terminal").because(error))?;
    }
    let options = Options { port: args.port, postgres_bin: args.postgres_bin.clone(), faults: faults(args)? };
    let result = server::serve(home, &options, env);
    if let (true, Err(error)) = (detached, &result) {
        let chain = error.chain();
        let failure = Failure {
            kind: error.kind,
            cause: chain.strip_prefix(&error.message).unwrap_or_default().trim_start_matches(": ").to_owned(),
            message: error.message.clone(),
            hint: error.hint.clone(),
        };
        if let Ok(text) = serde_json::to_vec(&failure) {
            let _ = replace_file(&home.failure_file(), &text);
        }
    }
    result
}
