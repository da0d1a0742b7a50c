//! `docker compose lakebase`: the Compose face, behind all of its doors.

mod agent;
mod call;
mod compose_command;
mod config_json;
mod doctor;
mod gateway;
mod interrupt;
mod real;

use std::process::ExitCode;

use call::{About, Call};
use clap::{CommandFactory, Parser, Subcommand};
use doors::{argv, plugins};
use lakebase::commands;
use lakebase::commands::doctor::Known;
use lakebase::commands::session::World;
use lakebase::env_vars::{self, Env};
use lakebase::error::{Error, Kind, Result};
use lakebase::ui::Ui;
use lakebase_check::limits;

/// Docker Compose on a branch of your Lakebase production database
///
/// Any Compose command runs on the model with the branch in the place of the local database:
/// `docker compose lakebase up -d`, `… logs -f`, `… down`. These are our own:
#[derive(Parser)]
#[command(
    name = "docker compose lakebase",
    bin_name = "docker compose lakebase",
    version,
    override_usage = "docker compose lakebase [OPTIONS] [COMPOSE FLAGS] COMMAND [ARGUMENTS]",
    after_help = OPTIONS
)]
struct Cli {
    #[command(subcommand)]
    command: Own,
}

#[derive(Subcommand)]
enum Own {
    #[command(flatten)]
    Common(commands::Command),
    /// Will this migration work against production? Run in a service's container, on throw-away branches
    Check(compose_command::check::CheckArgs),
    /// The embedded Lakebase: the same API and real PostgreSQL on this machine
    #[command(subcommand)]
    Embedded(lakebase_embedded::cli::Command),
    /// Bring logins to the gateways of running projects (started by `up`)
    #[command(hide = true)]
    Agent {
        /// End the agent that runs, and forget its projects
        #[arg(long)]
        stop: bool,
    },
    /// Tell Docker where the front door is (used by install.sh)
    #[command(subcommand, hide = true)]
    Doors(config_json::Change),
}

/// Our own options; everything from the command on is Compose's.
const OPTIONS: &str = "\
Options of `up` and whatever else creates containers; like Compose's own flags they stand before the command:
      --fresh      Make the branch anew
      --keep       Go on with a branch that tests nothing any more: ahead of the migrations, or one was edited
      --plan       Print what would be done, and stop; with --json for machines
      --free-slot  Where the project is full, delete the branch made here whose git branch is over, else the one used longest ago
      --wait-slot  Where the project is full, wait up to an hour until somebody deletes a branch";

/// Words of [`Own`] besides the common ones.
const OWN: [&str; 5] = ["agent", "check", "embedded", "doors", "help"];

fn main() -> ExitCode {
    let mut ui = Ui::of_process();
    match settle(&mut ui) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn settle(ui: &mut Ui) -> Result<u8> {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect::<Result<_, _>>().map_err(
            |argument| Error::new(Kind::Usage, format!("an argument is no UTF-8: {}", argument.display())),
        )?;
    if arguments.first().is_some_and(|first| first == "docker-cli-plugin-metadata") {
        ui.json(&metadata());
        return Ok(0);
    }
    let env: Env = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let call = Call::parse(&arguments);
    match call.about {
        Some(About::Help) => {
            ui.data(&Cli::command().render_long_help().to_string());
            return Ok(0);
        }
        Some(About::Version) => {
            ui.data(concat!("docker compose lakebase ", env!("CARGO_PKG_VERSION")));
            return Ok(0);
        }
        None if call.command.is_empty() => return Err(Call::no_command()),
        None => {}
    }
    if !commands::Command::NAMES.contains(&call.name()) && !OWN.contains(&call.name()) {
        return with_world(&env, ui, async |world| compose_command::run(&call, world).await.map(|()| 0));
    }
    let words = std::iter::once("docker compose lakebase".to_owned()).chain(call.command.iter().cloned());
    let own = match Cli::try_parse_from(words) {
        Ok(cli) => cli.command,
        Err(error) => {
            let _ = error.print();
            return Ok(if error.use_stderr() { Kind::Usage.exit_code() } else { 0 });
        }
    };
    match own {
        Own::Doors(change) => {
            let flag = argv::values(&call.docker, "--config", None).pop();
            let variable = env.get(env_vars::DOCKER_CONFIG).map(std::ffi::OsStr::new);
            let home = env.get(env_vars::HOME).map(std::ffi::OsStr::new);
            let folder = plugins::config_folder(flag, variable, home).ok_or_else(|| {
                Error::new(Kind::NoDocker, "Docker's configuration folder can't be found")
                    .hint("set HOME or DOCKER_CONFIG")
            })?;
            config_json::apply(&change, &folder)?;
        }
        Own::Agent { stop: true } => agent::stop(&env),
        Own::Agent { stop: false } => {
            return with_world(&env, ui, async |world| agent::serve(world.env).await.map(|()| 0));
        }
        Own::Embedded(command) => {
            let lookup = |name: &str| env.get(name).map(str::to_owned);
            let (out, err) = ui.handles();
            lakebase_embedded::cli::run(command, &lookup, out, err)?;
        }
        Own::Check(args) => {
            return in_world(&env, ui, async |world, docker| {
                compose_command::check::run(&call, args, docker, world).await
            });
        }
        Own::Common(command) => {
            return with_world(&env, ui, async |world| {
                match command {
                    commands::Command::Destroy(args) => compose_command::destroy(&call, args, world).await?,
                    commands::Command::Prune(args) => compose_command::prune(&call, args, world).await?,
                    commands::Command::Doctor(args) => {
                        let face = async |known: Known<'_>| doctor::checks(&call, known).await;
                        commands::doctor::run(args, world, limits::problem, face).await?;
                    }
                    command => return command.run(world, limits::problem).await,
                }
                Ok(0)
            });
        }
    }
    Ok(0)
}

/// Runs `work` until it ends or Docker goes away.
fn with_world(env: &Env, ui: &mut Ui, work: impl AsyncFnOnce(&mut World<'_>) -> Result<u8>) -> Result<u8> {
    in_world(env, ui, async |world, docker| {
        tokio::select! {
            ended = work(world) => ended,
            error = docker.ended() => Err(error),
        }
    })
}

/// Runs `work` until it ends; it is told when Docker goes away.
fn in_world(
    env: &Env,
    ui: &mut Ui,
    work: impl AsyncFnOnce(&mut World<'_>, interrupt::Docker) -> Result<u8>,
) -> Result<u8> {
    let lookup = |name: &str| env.get(name).map(str::to_owned);
    let embedded = || agent::embedded(&lookup);
    let cwd = std::env::current_dir().map_err(|error| Error::io("finding the current folder", &error))?;
    let mut world = World { env, cwd, embedded: &embedded, ui };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting", &error))?;
    let ended = runtime.block_on(async { work(&mut world, interrupt::Docker::heard(env)).await });
    // A name that nobody resolves must not keep an answer that is there already.
    runtime.shutdown_background();
    ended
}

/// What Docker wants to know of a plugin (Docker CLI, `cli-plugins/metadata`).
fn metadata() -> serde_json::Value {
    serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "Lakebase for Docker Compose",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": "Docker Compose on a branch of your Lakebase production database",
    })
}
