//! `aliases`: short names for daily use.

use clap::ValueEnum;

use super::session::World;
use crate::env_vars;
use crate::error::Result;

/// The short names and what they stand for.
const ALIASES: [(&str, &str); 7] = [
    ("dev-local", "docker compose --profile local up -d"),
    ("dev-lakebase", "docker compose lakebase up -d"),
    ("dev-down", "docker compose lakebase down"),
    ("dev-destroy", "docker compose lakebase destroy"),
    ("dev-status", "docker compose lakebase status"),
    ("refresh-token", "cargo lakebase env --write"),
    ("lakebase-init", "cargo lakebase init"),
];

/// Arguments of `aliases`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to print for [default: the one in $SHELL]
    shell: Option<Shell>,
}

/// A family of shells with one way to write an alias.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Sh,
    Fish,
}

/// Prints one alias a line.
///
/// # Errors
/// None now.
pub fn run(args: &Args, world: &mut World<'_>) -> Result<()> {
    let name = world.env.get(env_vars::SHELL).and_then(|path| path.rsplit('/').next());
    let shell = args.shell.or_else(|| Shell::from_str(name?, true).ok()).unwrap_or(Shell::Sh);
    for (name, command) in ALIASES {
        world.ui.data(&match shell {
            Shell::Fish => format!("alias {name} '{command}';"),
            Shell::Bash | Shell::Zsh | Shell::Sh => format!("alias {name}='{command}'"),
        });
    }
    Ok(())
}
