//! Docker's config.json: our folder put first into `cliPluginsExtraDirs`, and taken out again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use doors::plugins::MARK;
use lakebase::env_file;
use lakebase::error::{Error, Kind, Result};
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Serializer, Value};

/// What the mark holds where there was no config.json before us, so that none is left behind.
const MADE: &str = "config.json is ours";
const KEY: &str = "cliPluginsExtraDirs";

/// What to do with the folder of the front door.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum Change {
    /// Let Docker look into the folder first
    Add {
        /// The folder that holds the front door
        folder: PathBuf,
    },
    /// Let Docker forget the folder
    Remove {
        /// The folder that holds the front door
        folder: PathBuf,
    },
}

/// Changes the config.json of Docker's configuration folder; every other key and their order stay. A file
/// that `add` made and that holds nothing else goes with `remove`. The folder of the front door is
/// marked before Docker hears of it, and the mark goes last.
///
/// # Errors
/// [`Kind::BadConfig`] where the file is no JSON object; it is then left as it was. [`Kind::Io`].
pub fn apply(change: &Change, config_folder: &Path) -> Result<()> {
    let path = config_folder.join("config.json");
    // A link into the user's dotfiles is written through.
    let path = path.canonicalize().unwrap_or(path);
    let (text, mode) = match fs::read_to_string(&path) {
        Ok(text) => (text, fs::metadata(&path).map_or(0o600, |data| data.permissions().mode() & 0o777)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (String::new(), 0o600),
        Err(error) => return Err(Error::io(format!("reading `{}`", path.display()), &error)),
    };
    let new = changed(&text, change).map_err(|why| {
        Error::new(Kind::BadConfig, format!("`{}` is left as it was", path.display()))
            .because_of(why)
            .hint("mend the file, then run the command again")
    })?;
    let (Change::Add { folder } | Change::Remove { folder }) = change;
    let mark = folder.join(MARK);
    if matches!(change, Change::Add { .. }) && !mark.exists() {
        env_file::replace(&mark, if text.is_empty() { MADE } else { "" }, 0o644)?;
    }
    let made = fs::read_to_string(&mark).is_ok_and(|text| text == MADE);
    let done = match new {
        None => Ok(()),
        Some(new) if made && new == "{}" => fs::remove_file(&path)
            .map_err(|error| Error::io(format!("removing `{}`", path.display()), &error)),
        Some(new) => {
            fs::create_dir_all(config_folder)
                .map_err(|error| Error::io(format!("making `{}`", config_folder.display()), &error))?;
            env_file::replace(&path, &new, mode)
        }
    };
    if done.is_ok() && matches!(change, Change::Remove { .. }) {
        let _ = fs::remove_file(mark);
    }
    done
}

/// The new text; `None` where nothing changes.
fn changed(text: &str, change: &Change) -> Result<Option<String>, String> {
    let mut root: Map<String, Value> = match text.trim() {
        "" => Map::new(),
        // Not the parser's message: config.json may hold credentials.
        text => serde_json::from_str(text).map_err(|error| {
            format!("it is no JSON object (line {}, column {})", error.line(), error.column())
        })?,
    };
    let old = match root.get(KEY) {
        None => Vec::new(),
        Some(Value::Array(folders)) => folders.clone(),
        Some(_) => return Err(format!("`{KEY}` is no list")),
    };
    let (Change::Add { folder } | Change::Remove { folder }) = change;
    let folder = Value::from(folder.to_str().ok_or("the folder's path is no UTF-8")?);
    let mut new: Vec<Value> = old.iter().filter(|known| **known != folder).cloned().collect();
    if matches!(change, Change::Add { .. }) {
        new.insert(0, folder);
    }
    if new == old {
        return Ok(None);
    }
    if new.is_empty() {
        root.shift_remove(KEY);
    } else {
        root.insert(KEY.into(), Value::Array(new));
    }
    // Docker itself writes the file with tabs and without a line break at the end.
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"\t"));
    serde::Serialize::serialize(&root, &mut serializer).map_err(|error| error.to_string())?;
    String::from_utf8(out).map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add() -> Change {
        Change::Add { folder: "/ours".into() }
    }

    fn remove() -> Change {
        Change::Remove { folder: "/ours".into() }
    }

    #[test]
    fn adding_and_removing_leaves_the_text_as_it_was() {
        let text = "{\n\t\"auths\": {\n\t\t\"z\": {}\n\t},\n\t\"a\": 1\n}";
        let added = changed(text, &add()).unwrap().unwrap();
        let value: Value = serde_json::from_str(&added).unwrap();
        assert_eq!(value[KEY], serde_json::json!(["/ours"]));
        assert_eq!(changed(&added, &add()).unwrap(), None);
        assert_eq!(changed(&added, &remove()).unwrap().unwrap(), text);
        assert_eq!(changed(text, &remove()).unwrap(), None);
    }

    #[test]
    fn ours_comes_first_and_others_keep_their_order() {
        let text = r#"{"cliPluginsExtraDirs":["/b","/ours","/a"]}"#;
        let added = changed(text, &add()).unwrap().unwrap();
        let value: Value = serde_json::from_str(&added).unwrap();
        assert_eq!(value[KEY], serde_json::json!(["/ours", "/b", "/a"]));
    }

    #[test]
    fn a_file_that_was_not_there_goes_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("docker");
        let ours = folder.path().join("ours");
        fs::create_dir(&ours).unwrap();
        apply(&Change::Add { folder: ours.clone() }, &config).unwrap();
        assert!(config.join("config.json").is_file() && ours.join(MARK).is_file());
        apply(&Change::Remove { folder: ours.clone() }, &config).unwrap();
        assert!(!config.join("config.json").exists() && !ours.join(MARK).exists());
    }

    #[test]
    fn what_is_no_object_is_left_alone_and_not_quoted() {
        for bad in ["[]", "{\"auth\": \"hunter2\"", "{\"cliPluginsExtraDirs\": \"/x\"}"] {
            let why = changed(bad, &add()).unwrap_err();
            assert!(!why.contains("hunter2"));
        }
    }
}
