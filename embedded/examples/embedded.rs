//! The smallest program that offers the commands: `embedded start`, `embedded stop`, … Used by the tests of this crate.

use clap::Parser;
use lakebase_embedded::cli;

#[derive(Parser)]
enum Program {
    /// The embedded Lakebase
    #[command(subcommand)]
    Embedded(cli::Command),
}

fn main() -> std::process::ExitCode {
    let Program::Embedded(command) = Program::parse();
    let env = |name: &str| std::env::var(name).ok();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match cli::run(command, &env, &mut out, &mut err) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(err, "error: {:?}: {}", error.kind, error.chain());
            if let Some(hint) = &error.hint {
                let _ = writeln!(err, "hint: {hint}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}
