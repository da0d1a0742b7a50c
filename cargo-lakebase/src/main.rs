//! `cargo lakebase`: the cargo face.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lakebase::auth::Embedded;
use lakebase::commands::session::World;
use lakebase::commands::{self, run};
use lakebase::env_vars::Env;
use lakebase::error::{Error, Kind, Result};
use lakebase::secret::Secret;
use lakebase::ui::Ui;

/// A branch of your Lakebase production database for every git branch
#[derive(Parser)]
#[command(name = "cargo lakebase", bin_name = "cargo lakebase", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Face,
}

#[derive(Subcommand)]
enum Face {
    #[command(flatten)]
    Common(commands::Command),
    /// Run a command with the branch in its environment
    Run(run::Args),
    /// Will this migration work against production? Measured on throw-away branches
    Check(lakebase_check::command::Args),
    /// The embedded Lakebase: the same API and real PostgreSQL on this machine
    #[command(subcommand)]
    Embedded(lakebase_embedded::cli::Command),
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    // cargo passes the subcommand's own name on.
    if arguments.get(1).is_some_and(|first| first == "lakebase") {
        arguments.remove(1);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Kind::Usage.exit_code() } else { 0 });
        }
    };
    let env: Env = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let mut ui = Ui::of_process();
    match settle(cli.command, &env, &mut ui) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn settle(command: Face, env: &Env, ui: &mut Ui) -> Result<u8> {
    let lookup = |name: &str| env.get(name).map(str::to_owned);
    if let Face::Embedded(command) = command {
        let (out, err) = ui.handles();
        lakebase_embedded::cli::run(command, &lookup, out, err)?;
        return Ok(0);
    }
    let embedded = || {
        let found = lakebase_embedded::discover(&lookup)?;
        Ok(Embedded { host: found.host, token: Secret::new(found.token), ca: found.ca })
    };
    let cwd = std::env::current_dir().map_err(|error| Error::io("finding the current folder", &error))?;
    let mut world = World { env, cwd, embedded: &embedded, ui };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting", &error))?;
    let ended = runtime.block_on(async {
        match command {
            Face::Common(command) => command.run(&mut world, lakebase_check::limits::problem).await,
            Face::Run(args) => run::run(args, &mut world).await.map(|()| 0),
            Face::Check(args) => lakebase_check::command::run(args, &mut world).await,
            Face::Embedded(_) => Ok(0),
        }
    });
    // A name that nobody resolves must not keep an answer that is there already.
    runtime.shutdown_background();
    ended
}
