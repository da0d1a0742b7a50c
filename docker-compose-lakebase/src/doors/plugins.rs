//! Where Docker looks for its plugins, and which of them is the real Compose (Docker CLI,
//! `cli-plugins/manager`).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// A file that marks a folder of front doors: the `docker-compose` beside it is not the real one.
pub const MARK: &str = ".lakebase-front-door";

/// Docker's system folders, in its order.
const SYSTEM: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The folder of Docker's configuration: `--config`, `DOCKER_CONFIG`, or `~/.docker`.
pub fn config_folder(flag: Option<&str>, variable: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let set = |value: &&OsStr| !value.is_empty();
    flag.map(PathBuf::from)
        .or_else(|| variable.filter(set).map(PathBuf::from))
        .or_else(|| home.filter(set).map(|home| Path::new(home).join(".docker")))
}

/// The folders in which Docker looks for plugins, in its order: those that config.json adds, the user's, the
/// system's.
pub fn folders(config: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(config) = config {
        let text = fs::read_to_string(config.join("config.json")).unwrap_or_default();
        folders.extend(extra_folders(&text).into_iter().map(PathBuf::from));
        folders.push(config.join("cli-plugins"));
    }
    folders.extend(SYSTEM.iter().map(PathBuf::from));
    folders
}

/// The first executable of that name in `folders`.
pub fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| is_executable(path))
}

/// The first `docker-compose` that is neither a front door of ours nor `me` (a canonical path).
pub fn real_compose(folders: &[PathBuf], me: Option<&Path>) -> Option<PathBuf> {
    let others = folders.iter().filter(|folder| !folder.join(MARK).is_file());
    let is_me = |path: &PathBuf| me.is_some() && path.canonicalize().ok().as_deref() == me;
    others.map(|folder| folder.join("docker-compose")).find(|path| is_executable(path) && !is_me(path))
}

fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    let may = |data: &fs::Metadata| std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let may = |_: &fs::Metadata| true;
    fs::metadata(path).is_ok_and(|data| data.is_file() && may(&data))
}

/// The strings of `cliPluginsExtraDirs` in the text of a config.json; none where there is no such list.
///
/// A scan, not a parser: the front door must stay small. It knows strings with their escapes, so a key
/// inside another string does not fool it. A property test compares it with a parser.
fn extra_folders(text: &str) -> Vec<String> {
    let mut tokens = Tokens { rest: text };
    let mut depth = 0;
    let mut key = None;
    while let Some(token) = tokens.next() {
        match token {
            Token::Mark('{' | '[') if depth == 1 && key.as_deref() == Some("cliPluginsExtraDirs") => {
                return list(&mut tokens);
            }
            Token::Mark('{' | '[') => depth += 1,
            Token::Mark('}' | ']') => depth -= 1,
            Token::Mark(',') if depth == 1 => key = None,
            Token::Text(text) if depth == 1 && key.is_none() => key = Some(text),
            _ => {}
        }
    }
    Vec::new()
}

fn list(tokens: &mut Tokens<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for token in tokens {
        match token {
            Token::Text(text) => found.push(text),
            Token::Mark(',') => {}
            Token::Mark(_) => break,
        }
    }
    found
}

enum Token {
    Text(String),
    Mark(char),
}

struct Tokens<'a> {
    rest: &'a str,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = self.rest.find(['"', '{', '}', '[', ']', ','])?;
        let mut chars = self.rest[start..].char_indices();
        let (_, first) = chars.next()?;
        if first != '"' {
            self.rest = &self.rest[start + 1..];
            return Some(Token::Mark(first));
        }
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[start + at + 1..];
                    return Some(Token::Text(text));
                }
                '\\' => text.push(unescape(&mut chars)?),
                c => text.push(c),
            }
        }
        None
    }
}

fn unescape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let hex = |chars: &mut std::str::CharIndices<'_>| -> Option<u32> {
        (0..4).try_fold(0, |value, _| Some(value * 16 + chars.next()?.1.to_digit(16)?))
    };
    Some(match chars.next()?.1 {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => match hex(chars)? {
            high @ 0xd800..0xdc00 => {
                let (Some((_, '\\')), Some((_, 'u'))) = (chars.next(), chars.next()) else { return None };
                let low = hex(chars)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?
            }
            code => char::from_u32(code)?,
        },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_list_is_read_and_only_at_the_top() {
        let text = json!({
            "auths": {"x": {"cliPluginsExtraDirs": ["/no"]}},
            "note": "\"cliPluginsExtraDirs\": [\"/no\"]",
            "cliPluginsExtraDirs": ["/a b", "/ü\"\\"],
            "after": [["/no"]],
        });
        assert_eq!(extra_folders(&text.to_string()), ["/a b", "/ü\"\\"]);
        assert_eq!(extra_folders(&format!("{text:#}")), ["/a b", "/ü\"\\"]);
        assert_eq!(extra_folders("{}"), [""; 0]);
        assert_eq!(extra_folders("{\"cliPluginsExtraDirs\": "), [""; 0]);
    }

    #[test]
    fn the_real_compose_is_the_first_that_is_not_us() {
        let config = tempfile::tempdir().unwrap();
        let (ours, users) = (config.path().join("ours"), config.path().join("cli-plugins"));
        for folder in [&ours, &users] {
            std::fs::create_dir(folder).unwrap();
            let path = folder.join("docker-compose");
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let text = json!({"cliPluginsExtraDirs": [ours.to_str().unwrap()]}).to_string();
        std::fs::write(config.path().join("config.json"), text).unwrap();
        let folders = folders(Some(config.path()));
        let me = ours.join("docker-compose").canonicalize().unwrap();
        assert_eq!(real_compose(&folders, None), Some(ours.join("docker-compose")));
        assert_eq!(real_compose(&folders, Some(&me)), Some(users.join("docker-compose")));
        std::fs::write(ours.join(MARK), "").unwrap();
        assert_eq!(real_compose(&folders, None), Some(users.join("docker-compose")));
        assert_eq!(find(&folders, "docker-gone"), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("(.{0,8}|cliPluginsExtraDirs)", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_scan_reads_what_a_parser_reads(before in json(), folders in proptest::collection::vec(".{0,12}", 0..4), after in json()) {
            let text = json!({"before": before, "cliPluginsExtraDirs": folders, "zafter": after});
            prop_assert_eq!(&extra_folders(&text.to_string()), &folders);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = extra_folders(&text);
        }
    }
}
