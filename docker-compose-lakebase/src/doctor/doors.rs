//! The four front doors: there, in their order, of one version.

use std::path::{Path, PathBuf};

use doors::plugins::{self, MARK};
use lakebase::commands::doctor::check::Check;
use lakebase::commands::doctor::programs::{self, Said};
use lakebase::env_vars::Env;
use serde_json::Value;

use crate::call::Call;
use crate::real::plugin_folders;

/// What turns the front door off.
const SHIM: &str = "LAKEBASE_SHIM";
/// The plugin behind `docker lakebase`.
const PLUGIN: &str = "docker-lakebase";
/// What our programs say before their versions.
const NAMES: [(&str, &str); 2] =
    [("docker-compose-lakebase", "docker compose lakebase "), ("cargo-lakebase", "cargo lakebase ")];

/// What is on the machine.
#[derive(Debug, Default)]
struct Facts {
    /// Docker's config.json, where it can't be read as Docker reads it.
    unreadable: Option<PathBuf>,
    /// Every `docker-compose` that Docker finds, in its order, and whether it is a front door.
    composes: Vec<(PathBuf, bool)>,
    /// Whether the door is turned off.
    is_off: bool,
    plugin: Program,
    /// Those of [`NAMES`] on PATH.
    programs: [Program; 2],
}

/// One of our programs.
#[derive(Debug, Default)]
enum Program {
    #[default]
    Missing,
    /// Where it is, and its version or why it tells none.
    Found(PathBuf, Result<String, String>),
}

/// Looks at the doors.
pub async fn checks(call: &Call, env: &Env) -> Vec<Check> {
    let folders = plugin_folders(call, env);
    let named = |at: usize| {
        let (name, words) = NAMES[at];
        async move {
            match programs::ours(name).await {
                Some((path, said)) => Program::of(path, &said, words),
                None => Program::Missing,
            }
        }
    };
    let plugin = async {
        let Some(path) = plugins::find(&folders, PLUGIN) else { return Program::Missing };
        let said = programs::ask(&path, ["--version"]).await;
        Program::of(path, &said, NAMES[0].1)
    };
    let (plugin, compose, cargo) = tokio::join!(plugin, named(0), named(1));
    // The user's own plugins stand before the system's, beside config.json.
    let config =
        folders.iter().find(|folder| folder.ends_with("cli-plugins")).and_then(|folder| folder.parent());
    let facts = Facts {
        unreadable: config.map(|folder| folder.join("config.json")).filter(|file| !is_object(file)),
        composes: composes(&folders),
        is_off: env.get(SHIM) == Some("off"),
        plugin,
        programs: [compose, cargo],
    };
    facts.checks()
}

/// Whether a file is a JSON object, or not there.
fn is_object(file: &Path) -> bool {
    match std::fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).is_ok_and(|value: Value| value.is_object()),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn composes(folders: &[PathBuf]) -> Vec<(PathBuf, bool)> {
    let in_folder = |folder: &PathBuf| {
        let found = plugins::find(std::slice::from_ref(folder), "docker-compose")?;
        Some((found, folder.join(MARK).is_file()))
    };
    folders.iter().filter_map(in_folder).collect()
}

impl Program {
    fn of(path: PathBuf, said: &Said, words: &str) -> Self {
        let version = match said {
            Said::Well(text) => match text.strip_prefix(words) {
                Some(version) => Ok(version.to_owned()),
                None => Err("it is another program".to_owned()),
            },
            said => Err(said.trouble().unwrap_or_default()),
        };
        Self::Found(path, version)
    }

    /// The finding; `missing` where it is not there.
    fn check(&self, id: &str, name: &str, missing: Check) -> Check {
        let ours = env!("CARGO_PKG_VERSION");
        let again = "run `./install.sh` again, and see which one comes first in PATH";
        match self {
            Self::Missing => missing,
            Self::Found(path, Ok(version)) if version == ours => {
                Check::ok(id, format!("`{name}` is {} ({version})", path.display())).with("version", ours)
            }
            Self::Found(path, Ok(version)) => {
                let what =
                    format!("`{name}` is {}, version {version}; this program is {ours}", path.display());
                Check::fail(id, what).cure(again).with("version", version.as_str())
            }
            Self::Found(path, Err(why)) => {
                Check::fail(id, format!("`{name}` is {}, which does not work: {why}", path.display()))
                    .cure(again)
            }
        }
    }
}

impl Facts {
    fn checks(&self) -> Vec<Check> {
        let [compose, cargo] = &self.programs;
        let there = |program: &Program| matches!(program, Program::Found(..));
        let gone = "install it: `./install.sh`";
        let missing = |id: &str, name: &str, fails: bool| {
            let what = format!("`{name}` is not on PATH");
            let check = if fails { Check::fail(id, what) } else { Check::warn(id, what) };
            check.cure("add the folder that install.sh names to PATH").cure(gone)
        };
        let no_plugin = Check::warn("doors.plugin", "`docker lakebase` is not installed").cure(gone);
        vec![
            self.front(),
            self.real(),
            self.plugin.check("doors.plugin", "docker lakebase", no_plugin),
            compose.check("doors.path", NAMES[0].0, missing("doors.path", NAMES[0].0, !there(&self.plugin))),
            cargo.check("doors.cargo", NAMES[1].0, missing("doors.cargo", NAMES[1].0, false)),
        ]
    }

    /// Whether `docker compose lakebase` reaches us.
    fn front(&self) -> Check {
        let id = "doors.compose";
        if let Some(file) = &self.unreadable {
            return Check::fail(
                id,
                format!("`{}` is no JSON object, so Docker passes it over", file.display()),
            )
            .cure("mend the file");
        }
        let door = self.composes.iter().position(|(_, is_door)| *is_door);
        match (door, self.composes.first()) {
            (Some(0), _) if self.is_off => {
                Check::warn(id, format!("{SHIM}=off turns the front door off")).cure(format!("unset {SHIM}"))
            }
            (Some(0), Some((door, _))) => {
                Check::ok(id, format!("`docker compose` is the front door {}", door.display()))
            }
            (Some(at), Some((first, _))) => {
                let door = &self.composes[at].0;
                let folder = door.parent().unwrap_or(Path::new("/"));
                let what = format!(
                    "`docker compose` is {}, which stands before the front door {}",
                    first.display(),
                    door.display()
                );
                Check::fail(id, what)
                    .cure(format!("run `docker-compose-lakebase doors add {}`", folder.display()))
            }
            _ => Check::fail(id, "`docker compose lakebase` is not known: there is no front door")
                .cure("install it: `./install.sh`; until then `docker-compose-lakebase up` does the same"),
        }
    }

    /// The Compose that does the work.
    fn real(&self) -> Check {
        match self.composes.iter().find(|(_, is_door)| !is_door) {
            Some((real, _)) => Check::ok("doors.real", format!("the real Compose is {}", real.display())),
            None => Check::fail(
                "doors.real",
                "behind the front door, there is no Compose in Docker's plugin folders",
            )
            .cure("install Docker Compose 2.24 or later"),
        }
    }
}

#[cfg(test)]
mod tests {
    use lakebase::commands::doctor::check::Status;

    use super::*;

    fn found(version: &str) -> Program {
        Program::Found("/bin/x".into(), Ok(version.into()))
    }

    fn current() -> Program {
        found(env!("CARGO_PKG_VERSION"))
    }

    fn facts() -> Facts {
        Facts {
            composes: vec![("/ours/docker-compose".into(), true), ("/usr/docker-compose".into(), false)],
            plugin: current(),
            programs: [current(), current()],
            ..Facts::default()
        }
    }

    #[track_caller]
    fn statuses(facts: &Facts, wanted: [Status; 5]) {
        let checks = facts.checks();
        let ids: Vec<&str> = checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["doors.compose", "doors.real", "doors.plugin", "doors.path", "doors.cargo"]);
        assert_eq!(checks.iter().map(|check| check.status).collect::<Vec<_>>(), wanted, "{checks:#?}");
    }

    use Status::{Fail, Ok as Well, Warn};

    #[test]
    fn the_door_must_stand_first_and_a_compose_behind_it() {
        statuses(&facts(), [Well; 5]);
        let mut second = facts();
        second.composes.reverse();
        statuses(&second, [Fail, Well, Well, Well, Well]);
        assert!(second.front().cure[0].contains("doors add /ours"), "{:?}", second.front());
        let mut none = facts();
        none.composes.remove(0);
        statuses(&none, [Fail, Well, Well, Well, Well]);
        let mut alone = facts();
        alone.composes.pop();
        statuses(&alone, [Well, Fail, Well, Well, Well]);
        statuses(&Facts { is_off: true, ..facts() }, [Warn, Well, Well, Well, Well]);
        statuses(&Facts { unreadable: Some("/c".into()), ..facts() }, [Fail, Well, Well, Well, Well]);
    }

    #[test]
    fn programs_must_be_there_and_of_one_version() {
        let missing = || [Program::Missing, Program::Missing];
        statuses(&Facts { programs: missing(), ..facts() }, [Well, Well, Well, Warn, Warn]);
        let nothing = Facts { plugin: Program::Missing, programs: missing(), ..facts() };
        statuses(&nothing, [Well, Well, Warn, Fail, Warn]);
        let old = Facts { plugin: found("0.0.1"), programs: [current(), found("0.0.1")], ..facts() };
        statuses(&old, [Well, Well, Fail, Well, Fail]);
        let broken = Program::of("/x".into(), &Said::Well("hello".into()), NAMES[0].1);
        statuses(&Facts { plugin: broken, ..facts() }, [Well, Well, Fail, Well, Well]);
    }
}
