//! `docker-compose`, the small front door: Docker starts it in the place of Compose, and it becomes the real
//! Compose for every call that is not `lakebase`, and our program for that one.
//!
//! It fails open: whatever goes wrong, the real Compose runs. `LAKEBASE_SHIM=off` turns it off.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use doors::{argv, plugins};

const OUR_PLUGIN: &str = "docker-lakebase";
const OUR_PROGRAM: &str = "docker-compose-lakebase";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let folders = plugin_folders(&arguments);
    let off = env::var_os("LAKEBASE_SHIM").is_some_and(|value| value == "off");
    let readable: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    if !off
        && argv::lakebase_after_compose(&readable).is_some()
        && let Some(ours) = our_program(&folders)
    {
        become_program(&ours, &arguments);
    }
    let me: Option<PathBuf> = env::current_exe().and_then(|path| path.canonicalize()).ok();
    if let Some(real) = plugins::real_compose(&folders, me.as_deref()) {
        become_program(&real, &arguments);
    }
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        b"error: Docker Compose is not installed\nhint: install Docker Compose 2.24 or later\n",
    );
    ExitCode::FAILURE
}

fn plugin_folders(arguments: &[OsString]) -> Vec<PathBuf> {
    let flags: Vec<String> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let flags = &flags[..argv::docker_flags(&flags)];
    let flag = argv::values(flags, "--config", None).pop();
    let (variable, home) = (env::var_os("DOCKER_CONFIG"), env::var_os("HOME"));
    plugins::folders(plugins::config_folder(flag, variable.as_deref(), home.as_deref()).as_deref())
}

/// The plugin that Docker knows, or the program on PATH.
fn our_program(folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    plugins::find(folders, OUR_PLUGIN)
        .or_else(|| plugins::find(&env::split_paths(&path).collect::<Vec<_>>(), OUR_PROGRAM))
}

/// Becomes `program`; returns only when that failed.
fn become_program(program: &Path, arguments: &[OsString]) {
    let mut command = Command::new(program);
    command.args(arguments);
    #[cfg(unix)]
    {
        let _ = std::os::unix::process::CommandExt::exec(&mut command);
    }
}
