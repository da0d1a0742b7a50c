//! `run -- CMD`: a command on the host with the branch in its environment. The cargo face's own.

use super::room::Full;
use super::session::{Session, SettingArgs, World, exec_with_login};
use crate::error::{Error, Kind, Result};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    full: Full,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Makes the branch live and becomes the command; its exit code is the command's own.
///
/// # Errors
/// Those of the session and of [`Session::live`]; [`Kind::Program`] where there is no such command.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let (name, arguments) =
        args.command.split_first().ok_or_else(|| Error::new(Kind::Usage, "no command"))?;
    let program = which::which_in(name, world.env.get("PATH"), &world.cwd).map_err(|error| {
        Error::new(Kind::Program, format!("the command `{name}` was not found")).because(&error)
    })?;
    let session = Session { full: args.full, ..Session::open(args.settings, world)? };
    let live = session.live(world.ui).await?;
    Err(exec_with_login(&program, arguments, &session.variables(&live)))
}
