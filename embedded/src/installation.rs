//! Finding PostgreSQL on the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::env_vars;
use crate::error::{Error, ErrorKind, Result};
use crate::home::Lookup;

/// Oldest major version that is supported.
pub const OLDEST_MAJOR: u32 = 14;

/// One PostgreSQL on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Folder with `postgres` and `initdb`, symbolic links resolved.
    pub bin: PathBuf,
    /// Major version.
    pub major: u32,
}

/// All usable installations, the preferred one first: where a folder is given, that one alone; else what PATH leads to,
/// then the usual folders of Debian, Homebrew and RPM, newest first.
pub fn find(given: Option<&Path>, env: Lookup<'_>) -> Result<Vec<Installation>> {
    if let Some(bin) = given {
        return match inspect(bin) {
            Some(installation) if installation.major >= OLDEST_MAJOR => Ok(vec![installation]),
            Some(old) => Err(Error::new(
                ErrorKind::NoPostgres,
                format!("PostgreSQL {} in `{}` is too old", old.major, bin.display()),
            )
            .hint(format!("PostgreSQL {OLDEST_MAJOR} or later is needed; {}", install_line()))),
            None => Err(Error::new(
                ErrorKind::NoPostgres,
                format!("no PostgreSQL in `{}`: `postgres` and `initdb` are expected there", bin.display()),
            )
            .hint(format!("correct `--postgres-bin` or `{}`", env_vars::POSTGRES_BIN))),
        };
    }
    let mut found: Vec<Installation> = Vec::new();
    for bin in on_path(env).into_iter().chain(usual_folders()) {
        if let Some(installation) = inspect(&bin)
            && installation.major >= OLDEST_MAJOR
            && !found.contains(&installation)
        {
            found.push(installation);
        }
    }
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::NoPostgres,
            "no PostgreSQL programs (`postgres`, `initdb`) were found",
        )
        .hint(format!(
            "install PostgreSQL {OLDEST_MAJOR} or later ({}), or set `{}` to their folder",
            install_line(),
            env_vars::POSTGRES_BIN
        )));
    }
    Ok(found)
}

/// Folders that PATH leads to: next to `postgres`, and where `pg_config` says.
fn on_path(env: Lookup<'_>) -> Vec<PathBuf> {
    let Some(path) = env(env_vars::PATH) else { return Vec::new() };
    let which = |name: &str| which::which_in(name, Some(&path), "/").ok();
    let beside = which("postgres").and_then(|file| Some(file.canonicalize().ok()?.parent()?.to_owned()));
    let told = which("pg_config").and_then(|file| {
        let output = Command::new(file).arg("--bindir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    });
    beside.into_iter().chain(told).collect()
}

/// Where packages put PostgreSQL without linking it into PATH, newest version first.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders = versioned("/usr/lib/postgresql", "", "bin"); // Debian, Ubuntu
    folders.extend(versioned("/usr", "pgsql-", "bin")); // RPM of the PostgreSQL project
    for prefix in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        folders.extend(versioned(prefix, "postgresql@", "bin")); // Homebrew
        folders.push(Path::new(prefix).join("postgresql/bin"));
    }
    folders
}

fn versioned(parent: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(below)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// What lies in `bin`, if it is a whole PostgreSQL server.
fn inspect(bin: &Path) -> Option<Installation> {
    let postgres = bin.join("postgres").canonicalize().ok()?;
    let bin = postgres.parent()?.to_owned();
    if !bin.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(&postgres).arg("--version").output().ok()?;
    let major = parse_major(&String::from_utf8(output.stdout).ok()?)?;
    Some(Installation { bin, major })
}

/// The major version in `postgres (PostgreSQL) 15.17 (Debian …)`, also of a `17beta1` or `18devel`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

/// The command that installs PostgreSQL on this system.
fn install_line() -> &'static str {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default().to_lowercase();
    let like = |names: &[&str]| {
        release
            .lines()
            .filter_map(|line| line.strip_prefix("id=").or_else(|| line.strip_prefix("id_like=")))
            .any(|value| value.trim_matches('"').split(' ').any(|id| names.contains(&id)))
    };
    if cfg!(target_os = "macos") {
        "`brew install postgresql@17`"
    } else if like(&["debian", "ubuntu"]) {
        "`sudo apt-get install postgresql`"
    } else if like(&["fedora", "rhel", "centos"]) {
        "`sudo dnf install postgresql-server`"
    } else {
        "from your system's packages"
    }
}

impl Installation {
    /// The names among `wanted` that exist as loadable libraries here.
    pub(crate) fn libraries<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        let root = self.bin.parent().unwrap_or(&self.bin);
        let suffix = if cfg!(target_os = "macos") { "dylib" } else { "so" };
        // Debian and RPM keep them in lib, Homebrew and a plain build in lib/postgresql.
        let folders = [root.join("lib"), root.join("lib/postgresql"), root.join("lib64/postgresql")];
        wanted
            .iter()
            .copied()
            .filter(|name| folders.iter().any(|folder| folder.join(format!("{name}.{suffix}")).is_file()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_read_from_any_kind_of_version() {
        let cases = [
            ("postgres (PostgreSQL) 15.17 (Debian 15.17-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 17beta1", Some(17)),
            ("postgres (PostgreSQL) 18", Some(18)),
            ("sh: not found", None),
        ];
        for (text, major) in cases {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }

    #[test]
    fn a_machine_without_postgres_is_told_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(Some(folder.path()), &|_| None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoPostgres);
        assert!(error.hint.unwrap().contains(env_vars::POSTGRES_BIN));
    }
}
