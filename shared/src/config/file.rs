//! `lakebase.config`: `KEY=VALUE` lines that a shell may source as well.

use std::path::Path;

use super::{Key, Layer};
use crate::error::{Error, Kind, Result};

/// The file's name.
pub const NAME: &str = "lakebase.config";

/// Reads the text of a `lakebase.config`; `path` is for the error only. Lines may start with `export`;
/// values may be quoted; what is not a `LAKEBASE_` variable is left to the shell.
///
/// # Errors
/// [`Kind::BadConfig`] with the line: a line that is no assignment, a key that does not exist, or a value
/// that a shell would expand.
pub fn parse(path: &Path, text: &str) -> Result<Layer> {
    let mut layer = Layer::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |why: String| {
            Error::new(Kind::BadConfig, format!("line {} of `{}` {why}", number + 1, path.display()))
        };
        let Some((variable, value)) = assignment(line).map_err(bad)? else { continue };
        if let Some(key) = Key::from_variable(&variable) {
            layer.insert(key, value);
        } else if variable.starts_with("LAKEBASE_") {
            let known: Vec<String> = Key::ALL.into_iter().map(Key::variable).collect();
            return Err(bad(format!("sets `{variable}`, which is no setting"))
                .hint(format!("the settings are {}", known.join(", "))));
        }
    }
    Ok(layer)
}

/// Whether a value can be written so that it is read back as it was, and a shell runs nothing in it.
pub fn is_writable(value: &str) -> bool {
    !value.contains('\'') && !value.chars().any(char::is_control)
}

/// The text with `key` set to `value`: its line replaced where it has one, else a line added after the
/// last assignment. Comments, blank lines and their order stay as they were. `value` [`is_writable`].
pub fn with(text: &str, key: Key, value: &str) -> String {
    let variable = key.variable();
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    let quote = if value.chars().all(plain) { "" } else { "'" };
    let wanted = format!("{variable}={quote}{value}{quote}{newline}");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let set_by = |line: &str| matches!(assignment(line), Ok(Some((name, _))) if name == variable);
    if let Some(at) = lines.iter().rposition(|line| set_by(line)) {
        if matches!(assignment(lines[at]), Ok(Some((_, old))) if old == value) {
            return text.to_owned();
        }
        return lines[..at].concat() + &wanted + &lines[at + 1..].concat();
    }
    let after = lines
        .iter()
        .rposition(|line| matches!(assignment(line), Ok(Some(_))))
        .map_or(lines.len(), |at| at + 1);
    let mut head = lines[..after].concat();
    if !head.is_empty() && !head.ends_with('\n') {
        head.push_str(newline);
    }
    head + &wanted + &lines[after..].concat()
}

/// The assignment on a line, if it is one. `Err` says what is wrong with the line, as the end of a sentence.
fn assignment(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let Some((name, value)) = line.split_once('=') else {
        return Err("is not KEY=VALUE".into());
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(format!("is not KEY=VALUE: {name:?} is no name"));
    }
    if !name.starts_with("LAKEBASE_") {
        return Ok(Some((name.to_owned(), String::new())));
    }
    unquote(value).map(|value| Some((name.to_owned(), value)))
}

/// A value as a shell would see it, where the shell would expand nothing in it.
fn unquote(raw: &str) -> Result<String, String> {
    let comment = |rest: &str| rest.trim().is_empty() || rest.trim_start().starts_with('#');
    if let Some(quote) = raw.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let Some((value, rest)) = raw[1..].split_once(quote) else {
            return Err("has a quote that is not closed".into());
        };
        if !comment(rest) {
            return Err("has text after the closing quote".into());
        }
        return if quote == '"' { plain(value, "$`\\") } else { Ok(value.to_owned()) };
    }
    let value = match raw.find(|c: char| c.is_ascii_whitespace()) {
        Some(at) if !comment(&raw[at..]) => return Err("has a blank in a value without quotes".into()),
        Some(at) => &raw[..at],
        None => raw,
    };
    plain(value, "$`\\'\"*?;&|<>()~#")
}

fn plain(value: &str, special: &str) -> Result<String, String> {
    match value.find(|c| special.contains(c)) {
        Some(_) => Err("has a character that a shell would act on; put the value in single quotes".into()),
        None => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Layer> {
        parse(Path::new(NAME), text)
    }

    #[test]
    fn comments_quotes_exports_and_foreign_variables_are_understood() {
        let layer = read(
            "# ours\nLAKEBASE_PROJECT_NAME=shop # the shop\nexport LAKEBASE_DATABASE='my db'\n\nOTHER=$(date)\nLAKEBASE_TTL=\"2h\"\r\n",
        )
        .unwrap();
        assert_eq!(layer[&Key::ProjectName], "shop");
        assert_eq!(layer[&Key::Database], "my db");
        assert_eq!(layer[&Key::Ttl], "2h");
        assert_eq!(layer.len(), 3);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for bad in [
            "LAKEBASE_PROJEKT=x",
            "just words",
            "LAKEBASE_TTL=$TTL",
            "LAKEBASE_TTL='2h",
            "LAKEBASE_TTL=2 h",
            "LAKEBASE_TTL='2h'x",
            "a-b=c",
        ] {
            let error = read(&format!("# first\n{bad}\n")).unwrap_err();
            assert_eq!(error.kind, Kind::BadConfig);
            assert!(error.message.starts_with("line 2 of `lakebase.config`"), "{}", error.message);
        }
    }

    #[test]
    fn writing_a_key_leaves_the_rest_as_it_was() {
        let text = "# head\nLAKEBASE_PROJECT_NAME=shop  # why\n\n# tail\n";
        let once = with(text, Key::ProjectId, "u-1");
        assert_eq!(once, "# head\nLAKEBASE_PROJECT_NAME=shop  # why\nLAKEBASE_PROJECT_ID=u-1\n\n# tail\n");
        assert_eq!(with(&once, Key::ProjectId, "u-1"), once);
        assert_eq!(with(&once, Key::ProjectId, "u-2"), once.replace("u-1", "u-2"));
        assert_eq!(with("", Key::ProjectId, "u"), "LAKEBASE_PROJECT_ID=u\n");
        assert_eq!(with("A=b", Key::ProjectId, "u"), "A=b\nLAKEBASE_PROJECT_ID=u\n");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,300}") {
            let _ = read(&text);
        }

        #[test]
        fn a_written_key_is_read_back_and_every_other_line_stays(
            lines in proptest::collection::vec("(#.{0,20}|[A-Z]{1,8}=[a-z]{0,8}|LAKEBASE_TTL=[0-9]{1,3}h|LAKEBASE_PROJECT_ID=[a-z]{0,8}|)", 0..12),
            value in "[^'\\p{C}]{1,40}",
        ) {
            let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            let written = with(&text, Key::ProjectId, &value);
            prop_assert_eq!(&read(&written).unwrap()[&Key::ProjectId], &value);
            let others = |text: &str| -> Vec<String> {
                text.lines().filter(|line| !line.starts_with("LAKEBASE_PROJECT_ID")).map(str::to_owned).collect()
            };
            prop_assert_eq!(others(&written), others(&text));
            prop_assert_eq!(with(&written, Key::ProjectId, &value), written);
        }
    }
}
