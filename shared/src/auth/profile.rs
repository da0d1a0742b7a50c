//! The file of profiles, `~/.databrickscfg`: sections of keys, each section for itself.

use std::fmt;
use std::path::{Path, PathBuf};

use ini::Ini;

use crate::env_vars::{self, Env};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The section that is no profile, but says which one is the default.
const SETTINGS: &str = "__settings__";
/// The profile that counts where none is named.
pub(super) const DEFAULT: &str = "DEFAULT";

/// A file of profiles as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Profiles {
    path: PathBuf,
    /// Every section in the order of the file, its keys in lower case.
    sections: Vec<(String, Vec<(String, Secret)>)>,
}

/// A file may hold tokens; its path and the names of its profiles are no secret.
impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Profiles").field(&self.path).field(&self.names()).finish()
    }
}

impl Profiles {
    /// Where the file is: `DATABRICKS_CONFIG_FILE`, else `~/.databrickscfg`.
    pub fn place(env: &Env) -> Option<PathBuf> {
        let home = || env.get(env_vars::HOME).map(PathBuf::from);
        match env.get(env_vars::DATABRICKS_CONFIG_FILE) {
            // As the Databricks SDKs have it: a file of variables knows no shell.
            Some(path) => match path.strip_prefix("~/") {
                Some(inside) => Some(home()?.join(inside)),
                None => Some(PathBuf::from(path)),
            },
            None => Some(home()?.join(".databrickscfg")),
        }
    }

    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`Kind::Io`] where it can't be read, [`Kind::BadConfig`] where it is no file of profiles.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("reading `{}`", path.display()), &error)),
        }
    }

    /// The profiles of a file's text.
    ///
    /// # Errors
    /// [`Kind::BadConfig`] with the line's number; never with the line, which may hold a token.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let text = text.trim_start_matches('\u{feff}');
        let ini = Ini::load_from_str_noescape(text).map_err(|error| {
            let message = format!("line {} of `{}` can't be read", error.line, path.display());
            Error::new(Kind::BadConfig, message).hint("write `key = value` lines below a `[profile]` line")
        })?;
        let section = |(name, keys): (Option<&str>, &ini::Properties)| {
            let keys = keys.iter().map(|(key, value)| (key.trim().to_lowercase(), Secret::new(value.trim())));
            Some((name?.trim().to_owned(), keys.collect()))
        };
        Ok(Self { path: path.to_owned(), sections: ini.iter().filter_map(section).collect() })
    }

    /// The file, as a user finds it.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// The names of the profiles.
    pub fn names(&self) -> Vec<&str> {
        self.sections.iter().map(|(name, _)| name.as_str()).filter(|name| *name != SETTINGS).collect()
    }

    /// The profile that the file itself names as its default.
    ///
    /// # Errors
    /// As for [`Profiles::keys`].
    pub fn default_profile(&self) -> Result<Option<&str>> {
        let Some(settings) = self.section(SETTINGS)? else { return Ok(None) };
        let named = settings.iter().find(|(key, _)| key == "default_profile");
        Ok(named.map(|(_, value)| value.expose()).filter(|name| !name.is_empty()))
    }

    /// The keys of a profile that have a value; `None` where there is no such profile.
    ///
    /// # Errors
    /// [`Kind::BadConfig`] where the profile or a key of it is there twice: which one was meant can't be told.
    pub fn keys(&self, profile: &str) -> Result<Option<Vec<(&str, &Secret)>>> {
        if profile == SETTINGS {
            let message =
                format!("`{SETTINGS}` is no profile: `{}` keeps its own settings there", self.path());
            return Err(Error::new(Kind::BadConfig, message).hint("name another profile"));
        }
        let Some(section) = self.section(profile)? else { return Ok(None) };
        Ok(Some(section.iter().map(|(key, value)| (key.as_str(), value)).collect()))
    }

    fn section(&self, wanted: &str) -> Result<Option<Vec<&(String, Secret)>>> {
        let mut found = self.sections.iter().filter(|(name, _)| name == wanted);
        let Some((_, keys)) = found.next() else { return Ok(None) };
        let twice = |what: String| {
            Error::new(Kind::BadConfig, format!("{what} twice in `{}`", self.path()))
                .hint("remove the one that does not count")
        };
        if found.next().is_some() {
            return Err(twice(format!("the section `[{wanted}]` is there")));
        }
        let keys: Vec<_> = keys.iter().filter(|(_, value)| !value.expose().is_empty()).collect();
        for (index, (key, _)) in keys.iter().enumerate() {
            if keys[..index].iter().any(|(before, _)| before == key) {
                return Err(twice(format!("the section `[{wanted}]` has `{key}`")));
            }
        }
        Ok(Some(keys))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Profiles> {
        Profiles::parse(Path::new("/home/ada/.databrickscfg"), text)
    }

    fn token<'a>(profiles: &'a Profiles, profile: &str) -> Option<&'a str> {
        let keys = profiles.keys(profile).unwrap()?;
        keys.into_iter().find(|(key, _)| *key == "token").map(|(_, value)| value.expose())
    }

    #[test]
    fn sections_are_not_merged_and_keys_have_no_case() {
        let text = "\u{feff}; ours\n[DEFAULT]\nhost = https://d\ntoken = d\n\n[team]\nHOST : https://t\nToken=t%1\\2\n[bare]\nhost=https://b\n# end\n";
        let profiles = parse(text).unwrap();
        assert_eq!(profiles.names(), ["DEFAULT", "team", "bare"]);
        assert_eq!(token(&profiles, "team"), Some("t%1\\2"));
        assert_eq!(token(&profiles, "bare"), None, "DEFAULT does not shine through");
        assert_eq!(token(&profiles, "TEAM"), None);
    }

    #[test]
    fn an_empty_value_is_none() {
        let profiles = parse("[team]\ntoken =\nhost = h\n").unwrap();
        assert_eq!(profiles.keys("team").unwrap().unwrap().len(), 1);
    }

    #[test]
    fn what_is_there_twice_is_an_error_where_it_is_meant() {
        let profiles = parse("[a]\ntoken=1\n[a]\ntoken=2\n[b]\ntoken=1\nTOKEN=2\n[c]\ntoken=3\n").unwrap();
        assert_eq!(token(&profiles, "c"), Some("3"));
        for profile in ["a", "b"] {
            let error = profiles.keys(profile).unwrap_err();
            assert_eq!(error.kind, Kind::BadConfig);
            assert!(error.message.contains("twice"), "{error}");
        }
    }

    #[test]
    fn the_settings_name_the_default_and_are_no_profile() {
        let profiles = parse("[__settings__]\ndefault_profile = team\n[team]\nhost = h\n").unwrap();
        assert_eq!(profiles.default_profile().unwrap(), Some("team"));
        assert_eq!(profiles.names(), ["team"]);
        assert_eq!(profiles.keys(SETTINGS).unwrap_err().kind, Kind::BadConfig);
        assert_eq!(parse("[__settings__]\ndefault_profile =\n").unwrap().default_profile().unwrap(), None);
        assert_eq!(parse("").unwrap().default_profile().unwrap(), None);
    }

    #[test]
    fn neither_an_error_nor_debug_shows_a_line() {
        let error = parse("[team]\nhunter2\n").unwrap_err();
        assert!(error.message.starts_with("line 2 of") || error.message.starts_with("line 3 of"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(!format!("{:?}", parse("[team]\ntoken=hunter2\n").unwrap()).contains("hunter2"));
    }

    #[test]
    fn the_file_is_found_by_variable_or_home() {
        let place = |pairs: &[(&str, &str)]| Profiles::place(&pairs.iter().copied().collect());
        assert_eq!(place(&[("HOME", "/h")]), Some("/h/.databrickscfg".into()));
        assert_eq!(place(&[("HOME", "/h"), ("DATABRICKS_CONFIG_FILE", "~/x")]), Some("/h/x".into()));
        assert_eq!(place(&[("DATABRICKS_CONFIG_FILE", "/x")]), Some("/x".into()));
        assert_eq!(place(&[]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_an_error(text in "[\\[\\]a-z=:#;\"'\\\\ \n\t\u{e4}]{0,80}") {
            if let Ok(profiles) = parse(&text) {
                for name in profiles.names() {
                    let _ = profiles.keys(name);
                }
                let _ = profiles.default_profile();
            }
        }
    }
}
