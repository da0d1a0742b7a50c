//! The commands that both faces offer: one file each, named as the command.

pub mod admit;
pub mod aliases;
pub mod branches;
mod confirm;
pub mod destroy;
pub mod diff;
pub mod doctor;
pub mod env;
mod freshness;
mod ignore;
pub mod init;
pub mod prune;
pub mod psql;
pub mod reset;
pub mod room;
mod roster;
pub mod run;
pub mod session;
pub mod status;
mod table;

use clap::Subcommand;

use crate::error::Result;
use session::World;

/// What needs no Compose.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the project, its database and the configuration file where they are missing
    Init(init::Args),
    /// Show the branch of this git branch, and where each setting comes from
    Status(status::Args),
    /// List every branch of the project: its age, when it expires, and whose it is
    Branches(branches::Args),
    /// Print a login to the branch as variables, or write it to .env.lakebase
    Env(env::Args),
    /// Open psql on the branch
    Psql(psql::Args),
    /// Show how the branch's schema differs from its parent's
    Diff(diff::Args),
    /// Make the branch anew, as its parent is now
    Reset(reset::Args),
    /// Delete the branches made here whose git branch is merged or gone
    Prune(prune::Args),
    /// Look for what is wrong with this machine, the configuration, the workspace and the branch
    Doctor(doctor::Args),
    /// Delete the branch and .env.lakebase
    Destroy(destroy::Args),
    /// Print short names for daily use, to be evaluated by the shell
    Aliases(aliases::Args),
}

impl Command {
    /// The words of the commands, for a face that must tell them from its own.
    pub const NAMES: [&str; 11] = [
        "init", "status", "doctor", "branches", "env", "psql", "diff", "reset", "prune", "destroy", "aliases",
    ];

    /// Runs the command. Gives the exit code. `problem` is for `doctor`.
    ///
    /// # Errors
    /// Each command's own.
    pub async fn run(self, world: &mut World<'_>, problem: doctor::Problem) -> Result<u8> {
        match self {
            Self::Init(args) => init::run(args, world).await,
            Self::Status(args) => status::run(args, world).await,
            Self::Branches(args) => branches::run(args, world).await,
            Self::Env(args) => env::run(args, world).await,
            Self::Psql(args) => psql::run(args, world).await,
            Self::Diff(args) => return diff::run(args, world).await,
            Self::Reset(args) => reset::run(args, world).await,
            Self::Prune(args) => prune::run(args, world).await,
            Self::Doctor(args) => doctor::run(args, world, problem, doctor::programs::on_path).await,
            Self::Destroy(args) => destroy::run(&args.session(world)?, world).await,
            Self::Aliases(args) => aliases::run(&args, world),
        }
        .map(|()| 0)
    }
}
