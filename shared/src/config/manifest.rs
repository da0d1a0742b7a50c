//! `[workspace.metadata.lakebase]` and `[package.metadata.lakebase]` of a Cargo.toml.

use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use serde_json::Value;
use toml_edit::{DocumentMut, Item};

use super::{Key, Layer};
use crate::error::{Error, Kind, Result};

/// What cargo says of the project's settings, and the manifest that holds them. `None` where no manifest
/// has a `metadata.lakebase`. The workspace's table wins over a package's, as cargo has it for profiles.
///
/// # Errors
/// [`Kind::Program`] where cargo fails; [`Kind::BadConfig`] for a key that does not exist or no text;
/// [`Kind::TwoConfigs`] where two packages of the workspace have one.
pub fn read(manifest: &Path) -> Result<Option<(PathBuf, Layer)>> {
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().map_err(|error| {
        Error::new(Kind::Program, format!("cargo could not read `{}`", manifest.display())).because(&error)
    })?;
    let root = metadata.workspace_root.join("Cargo.toml").into_std_path_buf();
    let table = |value: &Value| value.get("lakebase").filter(|table| !table.is_null()).cloned();
    if let Some(found) = table(&metadata.workspace_metadata) {
        return layer(&root, &found).map(|layer| Some((root, layer)));
    }
    let mut packages = metadata.packages.iter().filter_map(|package| {
        Some((package.manifest_path.clone().into_std_path_buf(), table(&package.metadata)?))
    });
    let Some((path, found)) = packages.next() else { return Ok(None) };
    if let Some((second, _)) = packages.next() {
        return Err(Error::new(Kind::TwoConfigs, "two packages have a `metadata.lakebase`")
            .because_of(format!("`{}` and `{}`", path.display(), second.display()))
            .hint("keep one, as `[workspace.metadata.lakebase]` of the workspace's Cargo.toml"));
    }
    layer(&path, &found).map(|layer| Some((path, layer)))
}

fn layer(path: &Path, table: &Value) -> Result<Layer> {
    let bad = |what: String| Error::new(Kind::BadConfig, format!("`{}`: {what}", path.display()));
    let table = table.as_object().ok_or_else(|| bad("`metadata.lakebase` is no table".into()))?;
    let mut layer = Layer::new();
    for (name, value) in table {
        let known = || Key::ALL.map(Key::name).join(", ");
        let key = Key::from_name(name).ok_or_else(|| {
            bad(format!("`metadata.lakebase.{name}` is no setting"))
                .hint(format!("the settings are {}", known()))
        })?;
        let value = text(value, key.separator())
            .ok_or_else(|| bad(format!("`metadata.lakebase.{name}` is no text, list or switch")))?;
        layer.insert(key, value);
    }
    Ok(layer)
}

/// A value as `lakebase.config` would have it: a list in one text, a switch as a word.
fn text(value: &Value, separator: &str) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            Some(items?.join(separator))
        }
        _ => None,
    }
}

/// The manifest's text with `key` set to `value` in its `metadata.lakebase`; comments and order stay.
///
/// # Errors
/// [`Kind::BadConfig`] where the text is no TOML or has no such table.
pub fn with(path: &Path, text: &str, key: Key, value: &str) -> Result<String> {
    let bad = |why: String| {
        Error::new(Kind::BadConfig, format!("`{}` can't be edited", path.display())).because_of(why)
    };
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| bad(error.to_string()))?;
    let owner = ["workspace", "package"].into_iter().find(|owner| {
        let table = document.get(owner).and_then(|item| item.get("metadata"));
        table.and_then(|metadata| metadata.get("lakebase")).is_some_and(Item::is_table_like)
    });
    let owner = owner.ok_or_else(|| bad("it has no `metadata.lakebase`".into()))?;
    let table = document[owner]["metadata"]["lakebase"]
        .as_table_like_mut()
        .ok_or_else(|| bad("`metadata.lakebase` is no table".into()))?;
    if table.get(key.name()).and_then(Item::as_str) == Some(value) {
        return Ok(text.to_owned());
    }
    match table.get_mut(key.name()).and_then(Item::as_value_mut) {
        // The old value's surroundings hold a trailing comment.
        Some(old) => {
            let decor = old.decor().clone();
            *old = value.into();
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key.name(), toml_edit::value(value));
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::env_vars::Env;

    const MANIFEST: &str = "[package]\nname = \"shop\" # the shop\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[package.metadata.lakebase]\n# where it lives\nproject-name = \"shop\" # id\nttl = \"2h\"\n\n[dependencies]\n";

    fn project(manifest: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        let path = folder.path().join("Cargo.toml");
        std::fs::write(&path, manifest).unwrap();
        (folder, path)
    }

    #[test]
    fn a_packages_table_is_read_as_cargo_reads_it() {
        let (_folder, path) = project(MANIFEST);
        let (_, layer) = read(&path).unwrap().unwrap();
        assert_eq!(layer[&Key::ProjectName], "shop");
        assert_eq!(layer[&Key::Ttl], "2h");
    }

    #[test]
    fn a_manifest_without_the_table_has_no_settings() {
        let (_folder, path) = project("[package]\nname = \"shop\"\nversion = \"0.1.0\"\n");
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_list_and_a_switch_are_settings_too() {
        let more = "after-branch = [\"mask.sql\", \"trim.sql\"]\nrequire-mask = true\ncheck-except = [\"heads until 2027-01-31: a, b\", \"down until 2027-01-31: c\"]\nttl = \"2h\"";
        let (_folder, path) = project(&MANIFEST.replace("ttl = \"2h\"", more));
        let (path, layer) = read(&path).unwrap().unwrap();
        let settings = Settings::layered(Layer::new(), &Env::default(), Some((path, layer)));
        assert_eq!(settings.after_branch(), ["mask.sql", "trim.sql"]);
        assert!(settings.require_mask().unwrap());
        let excepted = "heads until 2027-01-31: a, b;down until 2027-01-31: c";
        assert_eq!(settings.text(Key::CheckExcept), Some(excepted));
        let (_folder, path) = project(&MANIFEST.replace("\"2h\"", "2"));
        assert_eq!(read(&path).unwrap_err().kind, Kind::BadConfig);
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused() {
        let (_folder, path) = project(&MANIFEST.replace("ttl", "tll"));
        assert_eq!(read(&path).unwrap_err().kind, Kind::BadConfig);
    }

    #[test]
    fn writing_the_id_adds_one_line_and_changes_none() {
        let path = Path::new("Cargo.toml");
        let once = with(path, MANIFEST, Key::ProjectId, "u-1").unwrap();
        assert_eq!(once, MANIFEST.replace("ttl = \"2h\"\n", "ttl = \"2h\"\nproject-id = \"u-1\"\n"));
        assert_eq!(with(path, &once, Key::ProjectId, "u-1").unwrap(), once);
        let kept = with(path, MANIFEST, Key::ProjectName, "other").unwrap();
        assert_eq!(kept, MANIFEST.replace("project-name = \"shop\"", "project-name = \"other\""));
    }
}
