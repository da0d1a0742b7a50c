//! The configuration: the one file, and where each value comes from.

use std::path::Path;

use super::Problem;
use super::check::Check;
use crate::commands::session::Project;
use crate::config::{Key, Settings};
use crate::error::{Error, Kind, Result};

/// The findings; `folder` is what the names of files in the settings are relative to, `others` reads what nobody here does.
pub fn checks(project: &Result<Project>, folder: &Path, others: Problem) -> Vec<Check> {
    let project = match project {
        Ok(project) => project,
        Err(error) => return vec![Check::failed("config.file", error)],
    };
    let file = match &project.source {
        Some(source) => Check::ok("config.file", format!("configuration {}", source.path().display())),
        // What is missing then is told by the settings themselves.
        None => Check::ok("config.file", "no configuration file; flags, variables and defaults count"),
    };
    let settings = Key::ALL.into_iter().filter_map(|key| setting(key, &project.settings, folder, others));
    std::iter::once(file).chain(settings).collect()
}

/// The finding about one setting; none where it is not set and need not be.
fn setting(key: Key, settings: &Settings, folder: &Path, others: Problem) -> Option<Check> {
    let id = format!("config.{}", key.name());
    if let Some(error) = problem(key, settings, folder).or_else(|| others(key, settings)) {
        return Some(Check::failed(id, &error));
    }
    let setting = settings.get(key)?;
    let what = format!("{} is {} ({})", key.name(), setting.value, setting.origin);
    Some(Check::ok(id, what).with("value", setting.value.as_str()).with("origin", setting.origin.to_string()))
}

/// What is wrong with a setting.
fn problem(key: Key, settings: &Settings, folder: &Path) -> Option<Error> {
    match key {
        Key::ProjectName => settings.project().err(),
        Key::ParentBranch => settings.parent_branch().err(),
        Key::Ttl => settings.ttl().err(),
        Key::MaxAge => settings.max_age().err(),
        Key::Connect => settings.connect().err(),
        // What is wrong with `connect` is said there.
        Key::Role => settings.native_role().err().filter(|error| error.kind == Kind::NoConfig),
        Key::RequireMask => settings.require_mask().err(),
        Key::AfterBranch => {
            let missing = settings.after_branch().into_iter().find(|file| !folder.join(file).is_file())?;
            let origin = settings.get(key).map(|setting| setting.origin.to_string()).unwrap_or_default();
            Some(
                Error::new(Kind::BadConfig, format!("`{missing}` of {} is not there", key.name()))
                    .because_of(format!("it is looked for in {}, and named by {origin}", folder.display()))
                    .hint("correct the path: it is relative to the configuration's folder"),
            )
        }
        Key::ProjectId | Key::Database | Key::Profile | Key::DatabaseService => None,
        // The crate `check` reads its own.
        Key::CheckCommand
        | Key::CheckDown
        | Key::CheckService
        | Key::CheckMaxStall
        | Key::CheckMaxDuration
        | Key::CheckMaxWal
        | Key::CheckMaxQueue
        | Key::CheckExcept => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;
    use crate::config::Layer;
    use crate::env_vars::Env;

    fn of(pairs: &[(Key, &str)]) -> Vec<Check> {
        let file: Layer = pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let settings =
            Settings::layered(Layer::new(), &Env::default(), Some(("/p/lakebase.config".into(), file)));
        checks(&Ok(Project { settings, source: None }), Path::new("/nowhere"), |_, _| None)
    }

    fn status(checks: &[Check], id: &str) -> Option<Status> {
        checks.iter().find(|check| check.id == id).map(|check| check.status)
    }

    #[test]
    fn every_value_says_where_it_comes_from() {
        let checks = of(&[(Key::ProjectName, "shop"), (Key::Ttl, "2h")]);
        let said: Vec<&str> = checks.iter().map(|check| check.what.as_str()).collect();
        assert!(said.contains(&"project-name is shop (/p/lakebase.config)"), "{said:?}");
        assert!(said.contains(&"ttl is 2h (/p/lakebase.config)"), "{said:?}");
        assert!(said.contains(&"connect is gateway (default)"), "{said:?}");
        assert!(checks.iter().all(|check| check.status == Status::Ok));
        assert_eq!(status(&checks, "config.role"), None);
    }

    #[test]
    fn every_bad_value_is_found_in_one_go() {
        let checks = of(&[(Key::Ttl, "soon"), (Key::Connect, "x"), (Key::AfterBranch, "mask.sql")]);
        for id in ["config.project-name", "config.ttl", "config.connect", "config.after-branch"] {
            assert_eq!(status(&checks, id), Some(Status::Fail), "{id}");
        }
        let checks = of(&[(Key::ProjectName, "shop"), (Key::Connect, "password")]);
        assert_eq!(status(&checks, "config.role"), Some(Status::Fail));
        let two = Err(Error::new(Kind::TwoConfigs, "two").hint("keep one"));
        let checks = super::checks(&two, Path::new("/"), |_, _| None);
        assert_eq!((checks.len(), checks[0].cure.as_slice()), (1, ["keep one".to_owned()].as_slice()));
    }
}
