//! The small projects of checks. Each is written down in a file that its check keeps locked for as long as it lives: who can
//! lock it knows that the check is over, however it ended, and wherever its containers are. (A process id would prove
//! nothing after a restart, in a container, or where two machines share an engine.)

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lakebase::commands::session::World;
use lakebase::compose::overlay::rehearsal::CHECK;
use lakebase::env_file;
use lakebase::env_vars::Env;
use lakebase::error::{Error, Kind, Result};
use lakebase::identity;
use lakebase::record::Record;
use lakebase::ui::Ui;
use lakebase_gateway::random;
use serde::{Deserialize, Serialize};

use crate::agent;
use crate::call::Call;
use crate::real::Real;

/// How a finished record ends.
const EXTENSION: &str = "json";

/// A small project, as it is written down. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The Compose project's name, which no other project has. Its containers are labelled with it, and no others.
    pub project: String,
    /// The repository that it rehearses a migration of: its common folder.
    repository: PathBuf,
    /// The engine's own id, for the same name may stand for another engine tomorrow.
    engine: String,
    /// The override file.
    overlay: PathBuf,
}

/// A record of this process: its file goes with it, unless something of the project was left.
pub struct Held {
    /// What is written down.
    pub rehearsal: Rehearsal,
    /// The file, and the lock on it; none without a home folder, or where files can't be locked.
    file: Option<(PathBuf, File)>,
    /// Whether nothing of the project is there.
    is_clean: std::cell::Cell<bool>,
}

impl Held {
    /// Says that containers are about to be made, or how their removal ended.
    pub fn note(&self, is_clean: bool) {
        self.is_clean.set(is_clean);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((path, _lock)) = self.file.take_if(|_| self.is_clean.get()) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Rehearsal {
    /// A project beside `of`, of a name that no other one has. Its override file is at `overlay` of that name.
    ///
    /// # Errors
    /// [`Kind::NoRepository`]; [`Kind::Io`] where the system gives no random bytes.
    pub fn new(
        of: &str,
        folder: &Path,
        engine: String,
        overlay: impl FnOnce(&str) -> PathBuf,
    ) -> Result<Self> {
        let bytes: [u8; 4] =
            random::bytes().ok_or_else(|| Error::new(Kind::Io, "the system gives no random bytes"))?;
        let nonce: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let project = format!("{of}-check-{}-{nonce}", std::process::id());
        let overlay = overlay(&project);
        Ok(Self { project, repository: identity::repository(folder)?, engine, overlay })
    }

    /// The override file.
    pub fn overlay(&self) -> &Path {
        &self.overlay
    }

    /// Where the files of a merge go, if one is judged.
    pub fn merge(&self) -> PathBuf {
        self.overlay.with_extension("merge")
    }

    /// Writes it down for as long as this process lives.
    ///
    /// # Errors
    /// [`Kind::Io`]
    pub fn hold(self, env: &Env) -> Result<Held> {
        let file = match folder(env) {
            Some(folder) => self.write(&folder).map_err(|error| {
                Error::io(format!("writing down a check in `{}`", folder.display()), &error)
            })?,
            None => None,
        };
        Ok(Held { rehearsal: self, file, is_clean: true.into() })
    }

    /// The file appears under its name when it is locked already.
    fn write(&self, folder: &Path) -> std::io::Result<Option<(PathBuf, File)>> {
        fs::create_dir_all(folder)?;
        let path = folder.join(&self.project).with_extension(EXTENSION);
        let begun = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&begun)?;
        if file.try_lock().is_err() {
            // A record that nobody can lock would be taken for that of a check which is over.
            fs::remove_file(&begun)?;
            return Ok(None);
        }
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(&begun, &path)?;
        Ok(Some((path, file)))
    }

    /// What the engine has of it: each command that removes, with what it removes.
    async fn found(&self, real: &Real) -> Result<Vec<(Vec<&'static str>, Vec<String>)>> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let check = format!("label={CHECK}={}", self.project);
        let containers = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &project, "--filter", &check];
        let lists = [
            (vec!["rm", "--force", "--volumes"], containers.to_vec(), ""),
            (
                vec!["network", "rm"],
                vec!["network", "ls", "--filter", &project, "--format", "{{.Name}}"],
                "_",
            ),
            (vec!["volume", "rm"], vec!["volume", "ls", "--filter", &project, "--format", "{{.Name}}"], "_"),
            (
                vec!["image", "rm"],
                vec!["image", "ls", "--filter", &project, "--format", "{{.Repository}}:{{.Tag}}"],
                "-",
            ),
        ];
        let mut found = Vec::new();
        for (remove, list, after) in lists {
            // What the developer's Compose file names has a name of its own, and may be in use by now.
            let own = if after.is_empty() { String::new() } else { format!("{}{after}", self.project) };
            let names = real.docker(&list).await?;
            let names: Vec<String> =
                names.lines().filter(|name| name.starts_with(&own)).map(str::to_owned).collect();
            if !names.is_empty() {
                found.push((remove, names));
            }
        }
        Ok(found)
    }
}

/// The project of a check that is over, which nobody else looks after now.
pub struct Dead {
    /// What was written down.
    pub rehearsal: Rehearsal,
    path: PathBuf,
    _lock: File,
}

/// The projects of this repository whose checks are over, and left their records: they were killed, or could not tidy up.
pub fn dead(folder: &Path, env: &Env) -> Vec<Dead> {
    let Ok(repository) = identity::repository(folder) else { return Vec::new() };
    let files = self::folder(env).and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten();
    let dead = |path: PathBuf| {
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        match file.try_lock() {
            Ok(()) => {}
            // Somebody lives, or nobody can say.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
        let rehearsal: Rehearsal = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (rehearsal.repository == repository).then_some(Dead { rehearsal, path, _lock: file })
    };
    files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == EXTENSION))
        .filter_map(dead)
        .collect()
}

/// The engine's own id.
///
/// # Errors
/// [`Kind::NoDocker`]
pub async fn engine(real: &Real) -> Result<String> {
    Ok(real.docker(&["info", "--format", "{{.ID}}"]).await?.trim().to_owned())
}

/// Removes what `dead` checks left on the engine with the id `engine`. What can't be removed is warned of, and tried again by
/// the next check.
pub async fn sweep(dead: Vec<Dead>, engine: &str, real: &Real, env: &Env, cwd: &Path, ui: &mut Ui) {
    for dead in dead.into_iter().filter(|dead| dead.rehearsal.engine == engine) {
        match dead.remove(real).await {
            Err(error) => ui.warn(&format!(
                "what a check that was killed left could not be removed (project {}): {error}",
                dead.rehearsal.project
            )),
            Ok(true) => {
                ui.note(&format!("Removed what a check that was killed left: {}", dead.rehearsal.project));
                agent::forget(&real.for_agent(env, cwd), &dead.rehearsal.project, env);
            }
            // A Compose that outlived its check may still make containers; the record goes when there was nothing any more.
            Ok(false) => drop(fs::remove_file(&dead.path)),
        }
    }
}

/// The same where no check is about to run. Without anything to remove, Docker is not asked; without Docker, that is said.
pub async fn prune(call: &Call, is_dry_run: bool, world: &mut World<'_>) {
    let dead = dead(&world.cwd, world.env);
    if dead.is_empty() {
        return;
    }
    let found = async {
        let real = Real::find(call, world.env)?;
        Ok::<_, Error>((engine(&real).await?, real))
    };
    match found.await {
        Ok((engine, _)) if is_dry_run => {
            for dead in dead.iter().filter(|dead| dead.rehearsal.engine == engine) {
                world.ui.note(&format!("would remove what a killed check left: {}", dead.rehearsal.project));
            }
        }
        Ok((engine, real)) => sweep(dead, &engine, &real, world.env, &world.cwd, world.ui).await,
        Err(error) => world.ui.warn(&format!("what a killed check left was not looked for: {error}")),
    }
}

impl Dead {
    /// Gives whether there was anything.
    async fn remove(&self, real: &Real) -> Result<bool> {
        let found = self.rehearsal.found(real).await?;
        for (remove, names) in &found {
            let words: Vec<&str> = remove.iter().copied().chain(names.iter().map(String::as_str)).collect();
            real.docker(&words).await?;
        }
        let overlay = &self.rehearsal.overlay;
        let is_ours = overlay.parent().is_some_and(|folder| folder.ends_with(env_file::FOLDER))
            && overlay
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&self.rehearsal.project));
        if is_ours {
            let _ = fs::remove_file(overlay);
            let _ = fs::remove_dir_all(self.rehearsal.merge());
        }
        Ok(!found.is_empty())
    }
}

/// `checks`, beside the record of branches.
fn folder(env: &Env) -> Option<PathBuf> {
    Some(Record::of(env)?.folder().join("checks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(home: &Path) -> Env {
        [("HOME", home.to_str().unwrap())].into_iter().collect()
    }

    /// A repository, and the record of a check in it.
    fn rehearsal(folder: &Path) -> Rehearsal {
        std::process::Command::new("git").args(["init", "-q"]).current_dir(folder).status().unwrap();
        Rehearsal::new("shop", folder, "engine".into(), |project| {
            folder.join(".lakebase").join(format!("{project}.yaml"))
        })
        .unwrap()
    }

    #[test]
    fn a_check_that_lives_is_not_dead_and_one_of_another_repository_not_ours() {
        let (home, here, there) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let env = at(home.path());
        let held = rehearsal(here.path()).hold(&env).unwrap();
        rehearsal(there.path());
        assert!(dead(here.path(), &env).is_empty(), "it lives");
        // when its end comes without a word, as that of a killed process
        let wanted = held.rehearsal.clone();
        held.note(false);
        drop(held);
        assert!(dead(there.path(), &env).is_empty(), "it is another repository's");
        let found = dead(here.path(), &env);
        assert_eq!(found.iter().map(|one| &one.rehearsal).collect::<Vec<_>>(), [&wanted]);
        assert!(dead(here.path(), &env).is_empty(), "one at a time tidies up");
    }

    #[test]
    fn a_record_goes_with_a_check_that_left_nothing() {
        let (home, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let env = at(home.path());
        let held = rehearsal(here.path()).hold(&env).unwrap();
        held.note(false);
        held.note(true);
        drop(held);
        assert!(dead(here.path(), &env).is_empty());
        assert_eq!(fs::read_dir(folder(&env).unwrap()).unwrap().count(), 0);
        // Nor does one that is not whole count for anything.
        fs::write(folder(&env).unwrap().join("x.json"), "{\"project\":").unwrap();
        assert!(dead(here.path(), &env).is_empty());
    }
}
