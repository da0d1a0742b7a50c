//! `.env.lakebase`: the one file that may hold a credential, written on demand only.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::identity;
use crate::secret::Secret;

/// The file's name, beside the project's configuration.
pub const NAME: &str = ".env.lakebase";

/// The first line of the file; without it a file of that name is not ours.
const MARK: &str = "# Written by lakebase; holds a short-lived login. Do not commit.";

/// A form of assignments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `KEY='value'`, for Compose's `env_file` and dotenv libraries.
    Dotenv,
    /// `export KEY='value'`, for `eval` in a POSIX shell.
    Shell,
    /// `set -gx KEY 'value';`, for `source` in fish.
    Fish,
}

/// One assignment. A line break in a value stays inside its quotes.
pub fn line(format: Format, key: &str, value: &Secret) -> String {
    let value = value.expose();
    match format {
        Format::Dotenv if value.contains('\'') => {
            format!("{key}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('$', r"\$"))
        }
        Format::Dotenv => format!("{key}='{value}'"),
        Format::Shell => format!("export {key}='{}'", value.replace('\'', r"'\''")),
        Format::Fish => format!("set -gx {key} '{}';", value.replace('\\', r"\\").replace('\'', r"\'")),
    }
}

/// The line that takes a variable out of a shell's environment; a dotenv file has none.
pub fn unset(format: Format, key: &str) -> Option<String> {
    match format {
        Format::Dotenv => None,
        Format::Shell => Some(format!("unset {key}")),
        Format::Fish => Some(format!("set -e {key};")),
    }
}

/// Writes the variables, readable by the user alone, all or nothing.
///
/// # Errors
/// [`Kind::Guarded`] where git would commit the file or a file that is not ours is in the way; [`Kind::Io`].
pub fn write(path: &Path, variables: &[(&str, Secret)]) -> Result<()> {
    if !identity::is_left_out(path)? {
        return Err(Error::new(
            Kind::Guarded,
            format!("`{}` is not written: git would commit it", path.display()),
        )
        .because_of("it would hold a login to a copy of production")
        .hint(format!("run `echo {NAME} >> .gitignore`, and `git rm --cached {NAME}` if it is tracked")));
    }
    ours_or_absent(path)?;
    let mut text = format!("{MARK}\n");
    for (key, value) in variables {
        text.push_str(&line(Format::Dotenv, key, value));
        text.push('\n');
    }
    replace(path, &text, 0o600)
}

/// Removes the file, if it is there. Gives whether it was.
///
/// # Errors
/// [`Kind::Guarded`] where a file of that name is not ours; [`Kind::Io`].
pub fn remove(path: &Path) -> Result<bool> {
    if !ours_or_absent(path)? {
        return Ok(false);
    }
    std::fs::remove_file(path)
        .map(|()| true)
        .map_err(|error| Error::io(format!("removing `{}`", path.display()), &error))
}

/// Whether our file is there.
fn ours_or_absent(path: &Path) -> Result<bool> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("reading `{}`", path.display()), &error)),
        Ok(text) if text.starts_with(MARK.as_bytes()) => Ok(true),
        Ok(_) => Err(Error::new(Kind::Guarded, format!("`{}` was not written by lakebase", path.display()))
            .hint("move it away, then run the command again")),
    }
}

/// Puts `text` in place of the file: written beside it, then renamed, so that nobody sees half of it.
///
/// # Errors
/// [`Kind::Io`]; the old file is then as it was.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("writing `{}`", path.display()), &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    let mut file = builder.prefix(".lakebase-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkout() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        git2::Repository::init(folder.path()).unwrap();
        std::fs::write(folder.path().join(".gitignore"), NAME).unwrap();
        folder
    }

    #[test]
    fn it_is_for_the_user_alone_and_goes_again() {
        use std::os::unix::fs::PermissionsExt;
        let folder = checkout();
        let path = folder.path().join(NAME);
        write(&path, &[("DATABASE_URL", Secret::new("postgresql://u:p@h/d"))]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{MARK}\nDATABASE_URL='postgresql://u:p@h/d'\n"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }

    #[test]
    fn a_file_that_git_would_commit_is_refused() {
        let folder = checkout();
        std::fs::write(folder.path().join(".gitignore"), "").unwrap();
        let error = write(&folder.path().join(NAME), &[]).unwrap_err();
        assert_eq!(error.kind, Kind::Guarded);
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn somebody_elses_file_is_neither_written_nor_removed() {
        let folder = checkout();
        let path = folder.path().join(NAME);
        std::fs::write(&path, "MINE=1").unwrap();
        assert_eq!(write(&path, &[]).unwrap_err().kind, Kind::Guarded);
        assert_eq!(remove(&path).unwrap_err().kind, Kind::Guarded);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "MINE=1");
    }

    /// What a shell has in `V` after the line.
    fn sourced(line: &str) -> String {
        let script = format!("{line}\nprintf %s \"$V\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    proptest! {
        // Each case starts a shell.
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The peer is the system's shell. A dotenv line without an apostrophe is one that it reads the same way.
        #[test]
        fn a_shell_gets_back_any_value(value in "[^\0\r]{0,40}|[ '\"$`\\\\!#\n]{1,12}") {
            prop_assert_eq!(sourced(&line(Format::Shell, "V", &Secret::new(&value))), value.clone());
            if !value.contains('\'') {
                prop_assert_eq!(sourced(&line(Format::Dotenv, "V", &Secret::new(&value))), value);
            }
        }
    }
}
