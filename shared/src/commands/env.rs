//! `env`: a login to the branch, as variables or as `.env.lakebase`.

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::ignore;
use super::room::Full;
use super::session::{Session, SettingArgs, World};
use crate::connection::MISLEADING;
use crate::env_file;
use crate::error::Result;

/// Arguments of `env`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to print the variables
    #[arg(long, value_enum, default_value_t = Format::Dotenv)]
    format: Format,
    /// Write .env.lakebase beside the configuration instead, for the user alone
    #[arg(long, conflicts_with = "format")]
    write: bool,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    full: Full,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Dotenv,
    Shell,
    Fish,
    Json,
}

/// Makes the branch live and hands the login out.
///
/// # Errors
/// Those of the session, of [`Session::live`] and of the file.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let session = Session { full: args.full, ..Session::open(args.settings, world)? };
    let file = session.project.folder(&world.cwd).join(env_file::NAME);
    if args.write {
        // Before anything is made.
        ignore::offer(&file, world.ui)?;
    }
    let live = session.live(world.ui).await?;
    let variables = session.variables(&live);
    if args.write {
        env_file::write(&file, &variables)?;
        world.ui.note(&format!("Wrote {}", file.display()));
        return Ok(());
    }
    let format = match args.format {
        Format::Json => {
            let pairs: Map<String, Value> = variables
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Value::from(value.expose())))
                .collect();
            world.ui.json(&Value::Object(pairs));
            return Ok(());
        }
        Format::Dotenv => env_file::Format::Dotenv,
        Format::Shell => env_file::Format::Shell,
        Format::Fish => env_file::Format::Fish,
    };
    for name in MISLEADING {
        if let Some(line) = env_file::unset(format, name) {
            world.ui.data(&line);
        }
    }
    for (key, value) in &variables {
        world.ui.data(&env_file::line(format, key, value));
    }
    Ok(())
}
