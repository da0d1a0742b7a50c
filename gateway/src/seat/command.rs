//! The command line: a word, no flags, for a container's entry point has nothing else to say.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::config::{self, Config};
use super::lines::Ask;
use super::log::Log;
use super::{client, serve};

/// How long open sessions may take to end when the process was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_millis(300);
const USAGE: &str = "usage: lakebase-gateway serve | feed | tap | healthy [SECONDS] | --version";

/// Runs what `words` say, with the environment through `lookup`. The exit code is 0, 1 for what did not work, 64 for words
/// that are none.
pub fn run(words: &[String], lookup: impl Fn(&str) -> Option<String>) -> ExitCode {
    let log = Log::new(std::io::stderr());
    let outcome = match words {
        [word] if word == "serve" => return serve(lookup, log),
        [word] if word == "feed" => {
            client::converse(&config::control(&lookup), &Ask::Feed, std::io::stdin(), std::io::stdout())
                .map_err(|error| format!("the feed ended: {error}"))
        }
        [word] if word == "tap" => {
            client::converse(&config::control(&lookup), &Ask::Tap, std::io::stdin(), std::io::stdout())
                .map_err(|error| format!("the tap ended: {error}"))
        }
        [word] if word == "healthy" => client::healthy(&config::control(&lookup), 0),
        [word, hold] if word == "healthy" => match hold.parse() {
            Ok(hold) => client::healthy(&config::control(&lookup), hold),
            Err(_) => Err(format!("`{hold}` is no number of seconds")),
        },
        [word] if word == "--version" => {
            writeln!(std::io::stdout(), "lakebase-gateway {}", env!("CARGO_PKG_VERSION"))
                .map_err(|error| error.to_string())
        }
        _ => {
            log.line(USAGE);
            return ExitCode::from(64);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log.line(&why);
            ExitCode::FAILURE
        }
    }
}

fn serve(lookup: impl Fn(&str) -> Option<String>, log: Log) -> ExitCode {
    let log = Arc::new(log);
    let outcome = Config::read(lookup).map_err(|error| error.to_string()).and_then(|config| {
        // One thread: what it does for a session is a few system calls, and handing them to another thread costs as much.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let outcome =
            runtime.block_on(serve::run(config, Arc::clone(&log))).map_err(|error| error.to_string());
        runtime.shutdown_timeout(STOP_TIMEOUT);
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log.line(&why);
            ExitCode::FAILURE
        }
    }
}
