//! `.env.lakebase`: the one file that may hold a credential, written on demand only.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::identity;
use crate::secret::Secret;

/// The file's name, beside the project's configuration.
pub const NAME: &str = ".env.lakebase";

/// The first line of the file; without it a file of that name is not ours.
const MARK: &str = "# Written by lakebase; holds a short-lived login. Do not commit.";

/// The folder of what is ours beside the project's files. It git-ignores itself.
pub const FOLDER: &str = ".lakebase";

/// A file that is being written, in the folder that it is for. What a killed command leaves of it the next one takes over, so
/// that there is never a second one.
const NEW: &str = ".lakebase-new";

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

/// Whether the file may be written.
///
/// # Errors
/// [`Kind::Guarded`] where git would commit the file or a file that is not ours is in the way; [`Kind::Io`].
pub fn allowed(path: &Path) -> Result<()> {
    if !identity::is_left_out(path)? {
        return Err(Error::new(
            Kind::Guarded,
            format!("`{}` is not written: git would commit it", path.display()),
        )
        .because_of("it would hold a login to a copy of production")
        .hint(format!("run `echo {NAME} >> .gitignore`, and `git rm --cached {NAME}` if it is tracked")));
    }
    ours_or_absent(path).map(drop)
}

/// Writes the variables, readable by the user alone, all or nothing.
///
/// # Errors
/// Those of [`allowed`]; [`Kind::Io`].
pub fn write(path: &Path, variables: &[(&str, Secret)]) -> Result<()> {
    allowed(path)?;
    let mut text = format!("{MARK}\n");
    for (key, value) in variables {
        text.push_str(&line(Format::Dotenv, key, value));
        text.push('\n');
    }
    put(path, &hidden(path)?, text.as_bytes(), 0o600)
}

/// Where the file is written: if that is cut short, git must not commit what is left of it either.
fn hidden(path: &Path) -> Result<PathBuf> {
    let new = path.with_file_name(NEW);
    if identity::is_left_out(&new)? {
        return Ok(new);
    }
    let folder = folder(path.parent().unwrap_or(Path::new(".")))?;
    let new = folder.join(NEW);
    if identity::is_left_out(&new)? {
        return Ok(new);
    }
    Err(Error::new(Kind::Guarded, format!("`{}` is not written", path.display()))
        .because_of(format!("git would commit what is in `{}` while it is written", folder.display()))
        .hint(format!("run `echo {NEW} >> .gitignore`")))
}

/// Removes the file, if it is there, and what is left of one that was never finished. Gives whether it was there.
///
/// # Errors
/// [`Kind::Guarded`] where a file of that name is not ours; [`Kind::Io`].
pub fn remove(path: &Path) -> Result<bool> {
    for new in [path.with_file_name(NEW), path.with_file_name(FOLDER).join(NEW)] {
        let is_left = || {
            let file = File::open(&new).ok()?;
            file.try_lock().ok()?;
            std::fs::read(&new).is_ok_and(|text| text.starts_with(MARK.as_bytes())).then_some(file)
        };
        // Nobody writes it now: it is locked.
        if is_left().is_some() {
            let _ = std::fs::remove_file(&new);
        }
    }
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

/// Makes the folder of what is ours below `parent`, where it is missing.
///
/// # Errors
/// [`Kind::Io`]
pub fn folder(parent: &Path) -> Result<PathBuf> {
    let folder = parent.join(FOLDER);
    let failed = |error| Error::io(format!("making the folder `{}`", folder.display()), &error);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    // A folder of that name with something in it may be the user's: what git sees there is not ours to say.
    let mut others = std::fs::read_dir(&folder).map_err(failed)?;
    if !others.any(|entry| entry.is_ok_and(|entry| entry.file_name() != NEW)) {
        replace(&folder.join(".gitignore"), "*\n", 0o644)?;
    }
    Ok(folder)
}

/// Puts `text` in place of the file: written beside it, then renamed, so that nobody sees half of it.
///
/// # Errors
/// [`Kind::Io`]; the old file is then as it was.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    put(path, &path.with_file_name(NEW), text.as_bytes(), mode)
}

/// Puts a line below the others of a file, with the line ending that they have; makes the file where there is none.
///
/// # Errors
/// [`Kind::Io`]; the old file is then as it was.
pub fn append(path: &Path, line: &str) -> Result<()> {
    let failed = |error| Error::io(format!("reading `{}`", path.display()), &error);
    let (mut text, mode) = match std::fs::read(path) {
        Ok(text) => (text, std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Vec::new(), 0o644),
        Err(error) => return Err(failed(error)),
    };
    let end: &[u8] = if text.windows(2).any(|pair| pair == b"\r\n") { b"\r\n" } else { b"\n" };
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.extend_from_slice(end);
    }
    text.extend_from_slice(line.as_bytes());
    text.extend_from_slice(end);
    put(path, &path.with_file_name(NEW), &text, mode)
}

fn put(path: &Path, new: &Path, text: &[u8], mode: u32) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("writing `{}`", path.display()), &error);
    let mut file = mine(new, mode).map_err(failed)?;
    let written = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(new, path))
        .map_err(failed);
    if written.is_err() {
        let _ = std::fs::remove_file(new);
    }
    written
}

/// The file of that name, empty, and nobody else's until it is closed.
fn mine(new: &Path, mode: u32) -> std::io::Result<File> {
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(new)?;
        file.lock()?;
        let (about, there) = (file.metadata()?, std::fs::symlink_metadata(new));
        // Whoever had it before may have renamed it meanwhile.
        let is_there = there.as_ref().is_ok_and(|it| (it.dev(), it.ino()) == (about.dev(), about.ino()));
        if is_there {
            // One that was left may have been for a file that more may read.
            if about.permissions().mode() & 0o777 & !mode != 0 {
                file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            }
            file.set_len(0)?;
            return Ok(file);
        }
        // A link is nothing that was left by us.
        if there.is_ok_and(|it| it.is_symlink()) {
            std::fs::remove_file(new)?;
        }
    }
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

    #[test]
    fn what_a_killed_command_left_is_hidden_from_git_and_taken_over() {
        let folder = checkout();
        let path = folder.path().join(NAME);
        let left = folder.path().join(FOLDER).join(NEW);
        // given a command that was killed while it wrote a login
        std::fs::create_dir(left.parent().unwrap()).unwrap();
        std::fs::write(&left, format!("{MARK}\nDATABASE_URL='postgre")).unwrap();
        // when the next one writes a shorter one, then nothing is left, and git would not have committed it
        write(&path, &[]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{MARK}\n"));
        assert!(identity::is_left_out(&left).unwrap() && !left.exists());
        assert!(!path.with_file_name(NEW).exists());
        // and what is left is removed with the file, or without one
        for there in [true, false] {
            std::fs::write(&left, format!("{MARK}\n")).unwrap();
            assert_eq!(remove(&path).unwrap(), there);
            assert!(!left.exists());
        }
    }

    #[test]
    fn a_folder_of_the_users_that_git_commits_gets_no_login() {
        let folder = checkout();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        std::fs::write(folder.path().join(FOLDER).join("mine"), "").unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(write(&path, &[]).unwrap_err().kind, Kind::Guarded);
        // unless git ignores what is written beside it
        std::fs::write(folder.path().join(".gitignore"), format!("{NAME}\n{NEW}\n")).unwrap();
        write(&path, &[]).unwrap();
    }

    #[test]
    fn what_was_left_for_more_to_read_is_for_the_user_alone_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("file"), folder.path().join(NEW));
        std::fs::write(&new, "longer than the new one").unwrap();
        replace(&path, "new", 0o600).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let other = folder.path().join("other");
        std::fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, &new).unwrap();
        replace(&path, "newer", 0o600).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "newer");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs");
    }

    #[test]
    fn who_writes_at_the_same_time_writes_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["one", "two"];
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = folder.path().join(names[writer % 2]);
                scope.spawn(move || {
                    let text = writer.to_string().repeat(1000 * (writer + 1));
                    (0..20).for_each(|_| replace(&path, &text, 0o600).unwrap());
                });
            }
        });
        for name in names {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            let writer: usize = text[..1].parse().unwrap();
            assert_eq!(text, writer.to_string().repeat(1000 * (writer + 1)));
        }
        assert!(!folder.path().join(NEW).exists());
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
