//! The file of the projects that an agent serves, so that the next one can go on where it was killed.

use std::path::{Path, PathBuf};

use lakebase::env_file;
use serde_json::Value;

use super::Project;

fn path(folder: &Path) -> PathBuf {
    folder.join("projects.json")
}

/// Writes the projects down, for the user alone. A disk that is full costs the next agent its memory, and this one
/// nothing.
pub fn write<'a>(folder: &Path, projects: impl Iterator<Item = &'a Project>) {
    let projects: Vec<&Project> = projects.collect();
    if let Ok(text) = serde_json::to_string_pretty(&projects) {
        let _ = env_file::replace(&path(folder), &text, 0o600);
    }
}

/// Reads the projects of the agent before. One that was written by another version and is not understood is left out:
/// its own `up` brings it back.
pub fn read(folder: &Path) -> Vec<Project> {
    let text = std::fs::read_to_string(path(folder)).unwrap_or_default();
    let projects: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    projects.into_iter().filter_map(|project| serde_json::from_value(project).ok()).collect()
}

/// Removes one project, where it is there.
pub fn remove(folder: &Path, key: &str) {
    let projects = read(folder);
    if projects.iter().any(|project| project.key() == key) {
        write(folder, projects.iter().filter(|project| project.key() != key));
    }
}

/// Removes the file.
pub fn forget(folder: &Path) {
    let _ = std::fs::remove_file(path(folder));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lakebase::auth::{Auth, Way};
    use lakebase::config::{Layer, Settings};
    use lakebase::env_vars::Env;

    use super::*;
    use crate::agent::{Docker, Place, Registration};

    fn registration(name: &str) -> Registration {
        let env: Env =
            [("DATABRICKS_HOST", "https://w"), ("DATABRICKS_TOKEN", "hunter2")].into_iter().collect();
        registration_of(name, &env)
    }

    fn registration_of(name: &str, env: &Env) -> Registration {
        let settings = Settings::layered(Layer::default(), &Env::default(), None);
        let auth = Auth::resolve(&settings, env, &|| unreachable!("no profile is `embedded`")).unwrap();
        let docker =
            Docker { program: "docker".into(), flags: Vec::new(), variables: Vec::new(), folder: "/".into() };
        let endpoint = "projects/p/branches/b/endpoints/primary";
        let place = Place { project: name, service: "db", endpoint, only: None };
        Registration::new(docker, place, Way::of(&auth, &settings, env, &[], Path::new("/")))
    }

    #[test]
    fn what_is_written_is_read_again_and_holds_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let crossing = serde_json::to_string(&registration("one")).unwrap();
        assert!(crossing.contains("hunter2"), "the agent itself gets the token");
        let projects = ["one", "two"].map(|name| registration(name).open().0);
        write(folder.path(), projects.iter());
        assert_eq!(read(folder.path()), projects);
        let file = path(folder.path());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&file).unwrap().contains("hunter2"));
        forget(folder.path());
        assert!(!file.exists());
    }

    #[test]
    fn a_client_secret_of_the_environment_stays_in_memory() {
        let env: Env = [
            ("DATABRICKS_HOST", "https://w"),
            ("DATABRICKS_CLIENT_ID", "ada"),
            ("DATABRICKS_CLIENT_SECRET", "hunter2"),
        ]
        .into_iter()
        .collect();
        let folder = tempfile::tempdir().unwrap();
        let (project, secret) = registration_of("one", &env).open();
        assert_eq!(secret.unwrap().expose(), "hunter2", "the agent itself gets it");
        write(folder.path(), std::iter::once(&project));
        assert_eq!(read(folder.path()), [project]);
        assert!(!std::fs::read_to_string(path(folder.path())).unwrap().contains("hunter2"));
    }

    #[test]
    fn one_project_is_removed_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| registration(name).open().0);
        write(folder.path(), [&one, &two].into_iter());
        for _ in 0..2 {
            remove(folder.path(), &one.key());
            assert_eq!(read(folder.path()), std::slice::from_ref(&two));
        }
        forget(folder.path());
        remove(folder.path(), &two.key());
        assert!(!path(folder.path()).exists());
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), []);
        let project = registration("one").open().0;
        let file = path(folder.path());
        let known = serde_json::to_value(&project).unwrap();
        std::fs::write(&file, serde_json::json!([{"of": "another time"}, known, 7]).to_string()).unwrap();
        assert_eq!(read(folder.path()), [project]);
        for text in ["", "{}", "[", "nonsense"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(folder.path()), [], "{text}");
        }
    }

    #[test]
    fn a_folder_that_takes_no_file_is_no_reason_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(path(folder.path())).unwrap();
        write(folder.path(), [registration("one").open().0].iter());
        assert_eq!(read(folder.path()), []);
    }
}
