//! `lakebase-gateway`: the gateway in the seat of a local Postgres service. See [`lakebase_gateway::seat`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    lakebase_gateway::seat::command::run(&words, |name| std::env::var(name).ok())
}
