//! Which Compose files a call means, found as Compose finds them (compose-go, `cli/options.go`): naming any
//! file turns its own search off, so whoever adds one must name the rest.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::env_file;
use crate::env_vars::{self, Env};
use crate::error::{Error, Kind, Result};

const BASES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What a call to Compose says about its files.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Values of `-f`.
    pub files: Vec<String>,
    /// Value of `--project-directory`.
    pub project_directory: Option<String>,
    /// Values of `--env-file`.
    pub env_files: Vec<String>,
}

/// The Compose files, in order; as written where they were written, else absolute.
///
/// # Errors
/// [`Kind::NoModel`] where there is none, [`Kind::Unsupported`] for standard input, [`Kind::Io`].
pub fn find(choice: &Choice, env: &Env, cwd: &Path) -> Result<Vec<PathBuf>> {
    find_any(choice, env, cwd)?.ok_or_else(|| {
        Error::new(Kind::NoModel, "no Compose file was found")
            .because_of(format!("there is no {} in this folder or above", BASES.join(", ")))
            .hint("change to the project's folder, or name the file with `docker compose -f FILE lakebase …`")
    })
}

/// The same; `None` where no file is named and none is found.
///
/// # Errors
/// As for [`find`], but for a search without a result.
pub fn find_any(choice: &Choice, env: &Env, cwd: &Path) -> Result<Option<Vec<PathBuf>>> {
    let named = if choice.files.is_empty() { from_variable(choice, env, cwd)? } else { choice.files.clone() };
    if named.iter().any(|file| file == "-") {
        return Err(Error::new(Kind::Unsupported, "a Compose file on standard input can't be changed")
            .hint("save it to a file and name that with `-f`"));
    }
    if !named.is_empty() {
        return named
            .into_iter()
            .map(|file| exists(PathBuf::from(file), cwd))
            .collect::<Result<_>>()
            .map(Some);
    }
    let start = choice.project_directory.as_ref().map_or_else(|| cwd.to_owned(), |folder| cwd.join(folder));
    let first = |folder: &Path, names: &[&str]| {
        names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
    };
    for folder in start.ancestors() {
        if let Some(base) = first(folder, &BASES) {
            return Ok(Some([Some(base), first(folder, &OVERRIDES)].into_iter().flatten().collect()));
        }
    }
    Ok(None)
}

/// The path of the override file for a set of files: beside the first of them, one per project and set.
pub fn override_path(files: &[PathBuf], project: &str, cwd: &Path) -> PathBuf {
    let mut digest = Sha256::new();
    for file in files {
        digest.update(cwd.join(file).to_string_lossy().as_bytes());
        digest.update([0]);
    }
    let hash: String = digest.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let first = files.first().map(|file| cwd.join(file)).unwrap_or_else(|| cwd.join("compose.yaml"));
    let beside = first.parent().unwrap_or(cwd);
    beside.join(env_file::FOLDER).join(format!("{project}-{hash}.yaml"))
}

/// Puts the override file in place, if it is not there already. Its folder git-ignores itself.
///
/// # Errors
/// [`Kind::Io`]
pub fn write_override(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    env_file::folder(path.parent().and_then(Path::parent).unwrap_or(Path::new(".")))?;
    // The local database's own password may be in it.
    env_file::replace(path, text, 0o600)
}

fn exists(file: PathBuf, cwd: &Path) -> Result<PathBuf> {
    if cwd.join(&file).is_file() {
        return Ok(file);
    }
    Err(Error::new(Kind::NoModel, format!("there is no Compose file `{}`", file.display()))
        .hint("correct `-f` or `COMPOSE_FILE`"))
}

/// `COMPOSE_FILE`, from the environment or from the project's `.env`.
fn from_variable(choice: &Choice, env: &Env, cwd: &Path) -> Result<Vec<String>> {
    let (value, separator) = match env.get(env_vars::COMPOSE_FILE) {
        Some(value) => (Some(value.to_owned()), None),
        None => from_dotenv(choice, cwd)?,
    };
    let separator = env.get(env_vars::COMPOSE_PATH_SEPARATOR).map(str::to_owned).or(separator);
    let separator = separator.unwrap_or_else(|| if cfg!(windows) { ";".into() } else { ":".into() });
    let value = value.unwrap_or_default();
    // A relative path means one relative to the folder of the call.
    Ok(value.split(&separator).filter(|file| !file.is_empty()).map(str::to_owned).collect())
}

fn from_dotenv(choice: &Choice, cwd: &Path) -> Result<(Option<String>, Option<String>)> {
    let folder = choice.project_directory.as_ref().map_or_else(|| cwd.to_owned(), |folder| cwd.join(folder));
    let files = match choice.env_files.as_slice() {
        [] => vec![folder.join(".env")],
        named => named.iter().map(|file| cwd.join(file)).collect(),
    };
    let (mut value, mut separator) = (None, None);
    for file in files {
        // A missing one is Compose's to complain about.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (slot, name) in
            [(&mut value, env_vars::COMPOSE_FILE), (&mut separator, env_vars::COMPOSE_PATH_SEPARATOR)]
        {
            if let Some(found) = dotenv_value(&text, name) {
                if found.contains('$') {
                    return Err(Error::new(
                        Kind::Unsupported,
                        format!("`{name}` in `{}` names another variable", file.display()),
                    )
                    .hint(format!("export {name}, or name the files with `-f`")));
                }
                *slot = Some(found);
            }
        }
    }
    Ok((value, separator))
}

/// The last value that a dotenv text gives a variable, without its quotes and trailing comment.
fn dotenv_value(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().rev().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim_start();
        let quoted = |quote: char| value.strip_prefix(quote)?.split(quote).next();
        let bare = || value.split(" #").next().unwrap_or_default().trim_end();
        Some(quoted('\'').or_else(|| quoted('"')).unwrap_or_else(bare).to_owned())
    });
    values.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn names(folder: &tempfile::TempDir, choice: &Choice, env: &[(&str, &str)], cwd: &str) -> Vec<String> {
        let found = find(choice, &env.iter().copied().collect(), &folder.path().join(cwd)).unwrap();
        let inside = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap_or(path).display().to_string();
        found.iter().map(inside).collect()
    }

    #[test]
    fn the_default_files_are_found_from_a_folder_below() {
        let project = folder(&["docker-compose.yml", "compose.yml", "compose.override.yaml", "src/x"]);
        assert_eq!(names(&project, &Choice::default(), &[], "src"), ["compose.yml", "compose.override.yaml"]);
    }

    #[test]
    fn flags_come_before_the_variable_before_the_env_file() {
        let project = folder(&["a.yaml", "b.yaml", "c.yaml", "compose.yaml"]);
        std::fs::write(project.path().join(".env"), "X=1\nCOMPOSE_FILE=\"c.yaml\" # c\n").unwrap();
        let flag = Choice { files: vec!["a.yaml".into()], ..Choice::default() };
        let env = [("COMPOSE_FILE", "a.yaml:b.yaml")];
        assert_eq!(names(&project, &flag, &env, ""), ["a.yaml"]);
        assert_eq!(names(&project, &Choice::default(), &env, ""), ["a.yaml", "b.yaml"]);
        assert_eq!(names(&project, &Choice::default(), &[], ""), ["c.yaml"]);
    }

    #[test]
    fn nothing_found_and_standard_input_are_errors() {
        let empty = folder(&[]);
        let kind = |files: &[&str]| {
            let choice =
                Choice { files: files.iter().map(|file| (*file).to_owned()).collect(), ..Choice::default() };
            find(&choice, &Env::default(), empty.path()).unwrap_err().kind
        };
        assert_eq!(kind(&["gone.yaml"]), Kind::NoModel);
        assert_eq!(kind(&["-"]), Kind::Unsupported);
    }

    #[test]
    fn the_override_lies_beside_the_first_file_and_ignores_itself() {
        let project = folder(&["deploy/a.yaml"]);
        let files = [PathBuf::from("deploy/a.yaml")];
        let path = override_path(&files, "shop", project.path());
        assert_eq!(path.parent().unwrap(), project.path().join("deploy/.lakebase"));
        assert_ne!(path, override_path(&[files[0].clone(), "b.yaml".into()], "shop", project.path()));
        write_override(&path, "services: {}\n").unwrap();
        let written = path.metadata().unwrap().modified().unwrap();
        write_override(&path, "services: {}\n").unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), written);
        assert_eq!(std::fs::read_to_string(path.with_file_name(".gitignore")).unwrap(), "*\n");
    }
}
