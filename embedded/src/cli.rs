//! The commands `embedded start|stop|status|env|logs|reset`, for whichever program offers them.

mod status;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::discover;
use crate::env_vars;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::{Home, Lookup, Running, replace_file};
use crate::postgres::{Stop, postmaster, signal_stop};
use crate::server::{self, Options};

/// How often a starting or stopping server is looked at.
const POLL: Duration = Duration::from_millis(5);
/// How long a server may take to start. It starts no PostgreSQL, so this is for machines under great load.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take to stop: its PostgreSQLs get a minute before their sessions are cut.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// A command of the embedded Lakebase.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Start the server in the background; says so when it runs already
    Start(StartArgs),
    /// Stop the server and every PostgreSQL of it
    Stop,
    /// Show whether the server runs, and its projects and branches
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print DATABRICKS_HOST and DATABRICKS_TOKEN as lines for a shell
    Env,
    /// Print the server's log
    Logs {
        /// Go on printing as the log grows
        #[arg(long, short)]
        follow: bool,
    },
    /// Delete the server's projects, branches and keys, all of them
    Reset {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Run the server in the foreground
    #[command(hide = true)]
    Serve {
        /// What is served
        #[command(flatten)]
        start: StartArgs,
        /// Started by `start`: leave the terminal, and leave word where the start fails
        #[arg(long, hide = true)]
        detached: bool,
    },
}

/// What a start can be told.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StartArgs {
    /// Port of the HTTP API on 127.0.0.1; 0 for any free one [default: that of the last start, else 7432]
    #[arg(long)]
    pub port: Option<u16>,
    /// Folder with `postgres` and `initdb` [default: searched for]
    #[arg(long, value_name = "FOLDER")]
    pub postgres_bin: Option<PathBuf>,
}

/// Why a server in the background did not start, as it tells the one who started it.
#[derive(Serialize, Deserialize)]
struct Failure {
    kind: ErrorKind,
    message: String,
    cause: String,
    hint: Option<String>,
}

/// Runs a command. Data go to `out`, the rest to `err`; the environment is asked through `env`.
pub fn run(command: Command, env: Lookup<'_>, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    let home = Home::locate(env)?;
    match command {
        Command::Start(args) => start(&home, &args, err),
        Command::Stop => stop(&home, err),
        Command::Status { json } => status::print(&home, json, out),
        Command::Env => print_env(env, out),
        Command::Logs { follow } => logs(&home, follow, out),
        Command::Reset { yes } => reset(&home, yes, err),
        Command::Serve { start, detached } => serve(&home, &start, detached, env),
    }
}

fn say(to: &mut dyn Write, text: &str) -> Result<()> {
    match writeln!(to, "{text}").and_then(|()| to.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.doing(|| "can't write the answer".to_owned()),
    }
}

fn start(home: &Home, args: &StartArgs, err: &mut dyn Write) -> Result<()> {
    home.create()?;
    if let Some(running) = home.running() {
        let asked = args.port.filter(|port| *port != 0 && *port != running.port);
        say(err, &format!("the embedded Lakebase runs already: http://127.0.0.1:{}", running.port))?;
        return match asked {
            None => Ok(()),
            Some(port) => {
                Err(Error::new(ErrorKind::Refused, format!("it can't change to port {port} while it runs"))
                    .hint("stop it first: `cargo lakebase embedded stop`"))
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
    if let Some(port) = args.port {
        command.arg("--port").arg(port.to_string());
    }
    if let Some(bin) = &args.postgres_bin {
        // The server's working directory is another one.
        command.arg("--postgres-bin").arg(std::path::absolute(bin).unwrap_or_else(|_| bin.clone()));
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
                    .hint("see `cargo lakebase embedded logs`")
            }));
        }
        std::thread::sleep(POLL);
    }
    Err(Error::new(ErrorKind::Io, format!("the server did not start within {} s", START_PATIENCE.as_secs()))
        .hint("see `cargo lakebase embedded logs`"))
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

fn serve(home: &Home, args: &StartArgs, detached: bool, env: Lookup<'_>) -> Result<()> {
    if detached {
        // A session of its own: the terminal's Ctrl-C and hang-up are not meant for it.
        nix::unistd::setsid()
            .map_err(|error| Error::new(ErrorKind::Io, "can't leave the terminal").because(error))?;
    }
    let options = Options { port: args.port, postgres_bin: args.postgres_bin.clone() };
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

fn stop(home: &Home, err: &mut dyn Write) -> Result<()> {
    let was = bring_down(home)?;
    say(err, if was { "the embedded Lakebase is stopped" } else { "the embedded Lakebase was not running" })
}

/// Stops server and PostgreSQLs; says whether anything ran. The home's lock is free afterwards.
fn bring_down(home: &Home) -> Result<bool> {
    if !home.exists() {
        return Ok(false);
    }
    let deadline = Instant::now() + STOP_PATIENCE;
    let mut ran = false;
    let _lock = loop {
        if let Some(running) = home.running() {
            ran = true;
            let pid = i32::try_from(running.pid).unwrap_or(0);
            // The lock is held, so the process that wrote the file lives: this is no other one's number.
            if pid > 1 && matches!(kill(Pid::from_raw(pid), Signal::SIGTERM), Err(nix::Error::EPERM)) {
                return Err(Error::new(ErrorKind::Refused, "the server belongs to another user"));
            }
        }
        // Also waits for a server that is only just starting and has not said yet where it runs.
        if let Some(lock) = home.lock(Duration::from_millis(500))? {
            break lock;
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                ErrorKind::Io,
                format!("the server did not stop within {} s", STOP_PATIENCE.as_secs()),
            )
            .hint("see `cargo lakebase embedded logs`"));
        }
    };
    // What a killed server left running.
    let data: Vec<PathBuf> = match fs::read_dir(home.branches()) {
        Ok(entries) => entries.flatten().map(|entry| entry.path().join("data")).collect(),
        Err(_) => Vec::new(),
    };
    for data in &data {
        if let Some((pid, _)) = postmaster(data) {
            ran = true;
            signal_stop(pid, Stop::Fast)?;
        }
    }
    for data in &data {
        while let Some((pid, _)) = postmaster(data) {
            if Instant::now() > deadline {
                signal_stop(pid, Stop::Immediate)?;
            }
            std::thread::sleep(POLL);
        }
    }
    let _ = fs::remove_file(home.running_file());
    Ok(ran)
}

fn print_env(env: Lookup<'_>, out: &mut dyn Write) -> Result<()> {
    let workspace = discover(env)?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    say(out, &format!("export DATABRICKS_HOST={}", quoted(&workspace.host)))?;
    say(out, &format!("export DATABRICKS_TOKEN={}", quoted(&workspace.token)))
}

fn logs(home: &Home, follow: bool, out: &mut dyn Write) -> Result<()> {
    let path = home.log_file();
    let read = || format!("can't read `{}`", path.display());
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !follow => return Ok(()),
        other => other.doing(read)?,
    };
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut chunk).doing(read)?;
        if count > 0 {
            match out.write_all(&chunk[..count]).and_then(|()| out.flush()) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                other => other.doing(|| "can't write the log".to_owned())?,
            }
        } else if follow {
            std::thread::sleep(Duration::from_millis(200));
            // A new start may have begun the log anew.
            let here = file.stream_position().doing(read)?;
            if fs::metadata(&path).is_ok_and(|meta| meta.len() < here) {
                file = File::open(&path).doing(read)?;
                file.seek(SeekFrom::Start(0)).doing(read)?;
            }
        } else {
            return Ok(());
        }
    }
}

fn reset(home: &Home, yes: bool, err: &mut dyn Write) -> Result<()> {
    if !home.exists() {
        return say(err, "there is nothing to delete");
    }
    if !yes {
        let stdin = std::io::stdin();
        let refused = || {
            Error::new(
                ErrorKind::Refused,
                "nothing was deleted: this deletes every project of the embedded Lakebase",
            )
            .hint("confirm with `cargo lakebase embedded reset --yes`")
        };
        if !stdin.is_terminal() {
            return Err(refused());
        }
        let question = format!("Delete every project and branch in `{}`? Type yes: ", home.root().display());
        write!(err, "{question}").and_then(|()| err.flush()).doing(|| "can't ask".to_owned())?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).doing(|| "can't read the answer".to_owned())?;
        if answer.trim() != "yes" {
            return Err(refused());
        }
    }
    bring_down(home)?;
    let Some(_lock) = home.lock(Duration::from_secs(1))? else {
        return Err(Error::new(ErrorKind::Locked, "a server was started meanwhile; nothing was deleted"));
    };
    // By name, one after the other: the folder may be one that the user chose and keeps other things in. The state goes last but
    // for the branches it speaks of, so that an interrupted reset is never taken for lost data.
    for folder in [home.branches(), home.sockets()] {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing(|| format!("can't delete `{}`", folder.display()));
            }
            _ => {}
        }
    }
    let files = [
        home.state_file(),
        home.running_file(),
        home.failure_file(),
        home.token_file(),
        home.signing_key_file(),
        home.certificate_file(),
        home.certificate_key_file(),
        home.log_file(),
        home.log_file().with_extension("log.1"),
    ];
    for file in files {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing(|| format!("can't delete `{}`", file.display()));
            }
            _ => {}
        }
    }
    say(err, "everything of the embedded Lakebase is deleted")
}
