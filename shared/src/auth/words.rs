//! Words of another program or server, made fit to be shown: no control characters, nothing that looks like a token.

use crate::secret::{MASK, Secret};

/// More than this of somebody's words helps nobody, in characters.
const LONGEST: usize = 2000;
/// How the tokens of Databricks begin, and each JSON Web Token.
const BEGINNINGS: [&str; 5] = ["dapi", "dose", "dkea", "doau", "eyJ"];
/// A word of letters and digits of this length is more likely a secret than a name.
const LONG_WORD: usize = 32;

/// The words without control characters, the given secrets, and what looks like one.
pub(super) fn shown(text: &str, secrets: &[&Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(|secret| secret.expose()).filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, MASK);
    }
    let text = masked(&plain(&text));
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

/// Without escape sequences of terminals and other control characters; line breaks stay.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A sequence such as `ESC [ 31 m`, which colours words.
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\n' => out.push('\n'),
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

fn masked(text: &str) -> String {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '~');
    let (mut out, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(if looks_secret(word) { MASK } else { word });
        let other = after.find(in_word).unwrap_or(after.len());
        out.push_str(&after[..other]);
        rest = &after[other..];
    }
    out
}

fn looks_secret(word: &str) -> bool {
    let has = |kind: fn(&char) -> bool| word.chars().any(|c| kind(&c));
    let begins = BEGINNINGS.iter().any(|beginning| word.starts_with(beginning) && word.len() >= 12);
    let long = word.len() >= LONG_WORD && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic);
    begins || (long && !is_uuid(word))
}

/// An id of a request or of a service principal; it opens nothing.
fn is_uuid(word: &str) -> bool {
    let lengths = word.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_stay_and_secrets_go() {
        let ours = Secret::new("s3cr3t");
        for (said, heard) in [
            ("Error: no profile `team`\n", "Error: no profile `team`"),
            ("\u{1b}[31mred\u{1b}[0m\u{7}\tand\r\nblue", "red and\nblue"),
            ("token dapi0123456789abcdef0123456789abcdef-2 is bad", "token **** is bad"),
            ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlMTIz", "****.****.c2lnbmF0dXJlMTIz"),
            ("the secret s3cr3t!", "the secret ****!"),
            ("request 7f8b0a3e-1d2c-4b5a-9e8f-001122334455", "request 7f8b0a3e-1d2c-4b5a-9e8f-001122334455"),
            (
                "see https://adb-1234567890123456.7.azuredatabricks.net/oidc/v1/token",
                "see https://adb-1234567890123456.7.azuredatabricks.net/oidc/v1/token",
            ),
            ("refresh 0123456789abcdefghijklmnopqrstuvwx", "refresh ****"),
        ] {
            assert_eq!(shown(said, &[&ours]), heard);
        }
    }

    #[test]
    fn words_have_an_end() {
        assert!(shown(&"ä ".repeat(9000), &[]).chars().count() < LONGEST + 5);
    }

    proptest! {
        #[test]
        fn nothing_that_drives_a_terminal_is_left(text in any::<String>()) {
            let shown = shown(&text, &[]);
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
        }

        #[test]
        fn a_token_goes_wherever_it_stands(before in "[ -~]{0,20}", token in "dapi[0-9a-f]{32}", after in "[ -~]{0,20}") {
            let said = format!("{before}{token}{after}");
            prop_assert!(!shown(&said, &[]).contains(&token));
        }

        #[test]
        fn a_known_secret_goes_whatever_it_looks_like(before in ".{0,20}", secret in "[a-z ]{4,20}", after in ".{0,20}") {
            let shown = shown(&format!("{before}{secret}{after}"), &[&Secret::new(secret.clone())]);
            prop_assert!(!shown.contains(&secret) || before.contains(&secret) || after.contains(&secret));
        }
    }
}
