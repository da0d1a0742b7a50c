//! `embedded fault`: what goes wrong on demand, for tests of clients.

use std::io::Write;

use serde_json::{Value, json};

use super::{client, say};
use crate::error::Result;
use crate::faults::GRAMMAR;
use crate::home::Home;

/// A command about faults.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum FaultCommand {
    /// Set a fault on the running server
    #[command(after_long_help = GRAMMAR, after_help = "More with --help")]
    Add {
        /// The words of the fault
        #[arg(required = true, value_name = "WORD", allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// List the faults that are set, and how often each struck
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Lift all faults, or the one of a number
    Clear {
        /// Its number, as `list` says
        id: Option<u64>,
    },
}

/// Runs one of them.
pub(super) fn run(
    home: &Home,
    command: &FaultCommand,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let path = "/embedded/faults";
    match command {
        FaultCommand::Add { words } => {
            let set = client::call(home, "POST", path, &json!({"fault": words.join(" ")}))?;
            say(err, &format!("fault {} is set", set["id"]))
        }
        FaultCommand::List { json } => {
            let faults = client::call(home, "GET", path, &Value::Null)?;
            if *json {
                return say(out, &format!("{faults:#}"));
            }
            for fault in faults["faults"].as_array().into_iter().flatten() {
                let left = match &fault["left"] {
                    Value::Null => "always".to_owned(),
                    left => format!("{left} left"),
                };
                let text = fault["fault"].as_str().unwrap_or_default();
                say(out, &format!("{}: {text} (struck {} times, {left})", fault["id"], fault["struck"]))?;
            }
            Ok(())
        }
        FaultCommand::Clear { id } => {
            let path = id.map_or_else(|| path.to_owned(), |id| format!("{path}/{id}"));
            let cleared = client::call(home, "DELETE", &path, &Value::Null)?;
            say(err, &format!("faults lifted: {}", cleared["cleared"]))
        }
    }
}
