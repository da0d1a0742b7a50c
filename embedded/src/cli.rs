//! The commands `embedded start|stop|status|env|user|fault|logs|reset`, for whichever program offers them.

mod client;
mod fault;
mod logs;
mod reset;
mod start;
mod status;
mod stop;
mod user;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::discover;
use crate::error::{IoContext, Result};
use crate::home::{Home, Lookup};

/// How often a starting or stopping server is looked at.
const POLL: Duration = Duration::from_millis(5);

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
    /// Let further identities talk to the server, each with its own token
    #[command(subcommand)]
    User(user::UserCommand),
    /// Let something go wrong on the running server, for tests of clients
    #[command(subcommand)]
    Fault(fault::FaultCommand),
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
    /// A fault to begin with, as `embedded fault add` takes it, in one argument; may be repeated
    #[arg(long = "fault", value_name = "FAULT")]
    pub faults: Vec<String>,
}

/// Runs a command. Data go to `out`, the rest to `err`; the environment is asked through `env`.
pub fn run(command: Command, env: Lookup<'_>, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    let home = Home::locate(env)?;
    match command {
        Command::Start(args) => start::run(&home, &args, env, err),
        Command::Stop => stop::run(&home, err),
        Command::Status { json } => status::print(&home, json, out),
        Command::Env => print_env(env, out),
        Command::Fault(command) => fault::run(&home, &command, out, err),
        Command::User(command) => user::run(&home, &command, out, err),
        Command::Logs { follow } => logs::run(&home, follow, out),
        Command::Reset { yes } => reset::run(&home, yes, err),
        Command::Serve { start, detached } => start::serve(&home, &start, detached, env),
    }
}

fn say(to: &mut dyn Write, text: &str) -> Result<()> {
    match writeln!(to, "{text}").and_then(|()| to.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.doing(|| "can't write the answer".to_owned()),
    }
}

fn print_env(env: Lookup<'_>, out: &mut dyn Write) -> Result<()> {
    let workspace = discover(env)?;
    exports(out, &[("DATABRICKS_HOST", workspace.host), ("DATABRICKS_TOKEN", workspace.token)])
}

/// Prints variables as lines that a shell takes in.
fn exports(out: &mut dyn Write, variables: &[(&str, String)]) -> Result<()> {
    variables
        .iter()
        .try_for_each(|(name, value)| say(out, &format!("export {name}='{}'", value.replace('\'', r"'\''"))))
}
