//! The texts of SQL, as far as `check` reads them: where one statement ends, and what it begins with.
//!
//! Source: the PostgreSQL manual, "Lexical Structure".

/// The statements of a text, without the comments and blanks around them; those that hold nothing else are left out.
pub fn statements(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        let end = end_of_statement(rest);
        let statement = bare(&rest[..end]);
        if !statement.is_empty() {
            all.push(statement);
        }
        match rest.get(end + 1..) {
            Some(after) => rest = after,
            None => return all,
        }
    }
}

/// The `nth` statement, from 0, of a text that begins with the words of a command.
pub fn nth_of(text: &str, command: &str, nth: usize) -> Option<String> {
    statements(text).into_iter().filter(|statement| begins(statement, command)).nth(nth).map(str::to_owned)
}

/// Whether a statement begins with the first and has the last word of a command's tag, such as `CREATE INDEX` for
/// `CREATE UNIQUE INDEX`.
pub fn begins(statement: &str, tag: &str) -> bool {
    let words: Vec<String> = words(statement).take(6).map(str::to_uppercase).collect();
    let mut tag = tag.split(' ');
    let first = tag.next().unwrap_or_default();
    words.first().is_some_and(|word| word == first)
        && tag.next_back().is_none_or(|last| words.iter().any(|word| word == last))
}

/// The words of a command that is written as a line: as they are, or the shell's where it says more than words.
pub fn command(line: &str) -> Vec<String> {
    let plain = |c: char| c.is_alphanumeric() || " \t-_./:,@+%=".contains(c);
    // A variable before the program is the shell's, too.
    let has_variable = line.split_whitespace().next().is_some_and(|word| word.contains('='));
    if line.chars().all(plain) && !has_variable {
        line.split_whitespace().map(str::to_owned).collect()
    } else {
        ["sh", "-c", line].map(str::to_owned).to_vec()
    }
}

/// The words of a statement, comments apart.
pub fn words(statement: &str) -> impl Iterator<Item = &str> {
    bare(statement).split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty())
}

/// A text without the blanks and comments at its beginning and the blanks at its end.
pub fn bare(text: &str) -> &str {
    let mut rest = text.trim();
    loop {
        let after = if rest.starts_with("--") {
            rest.find('\n').map_or(rest.len(), |at| at + 1)
        } else if rest.starts_with("/*") {
            end_of_comment(rest)
        } else {
            return rest;
        };
        rest = rest[after..].trim_start();
    }
}

/// How statements begin whose literals are a part of the schema, or of how the session works.
const OF_SCHEMA: [&str; 10] =
    ["ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "LOCK", "REVOKE", "SET", "SHOW", "START"];

/// What a statement speaks of that has a secret in its literals, in any case.
const SECRETIVE: [&str; 4] = ["password", "secret", "token", "connection"];

/// The text without the values in it: of all that reads and changes rows every one, of the rest the texts where one may be a
/// secret. Who migrates rows by an ORM sends them in the statements themselves.
pub fn without_values(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    for one in statements(text) {
        // A part of `rest` as it is of `text`.
        let at = one.as_ptr() as usize - rest.as_ptr() as usize;
        out.push_str(&rest[..at]);
        let first = one.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_uppercase();
        let is_of_schema = OF_SCHEMA.contains(&first.as_str());
        let lower = one.to_lowercase();
        if !is_of_schema || SECRETIVE.iter().any(|word| lower.contains(word)) {
            mask(one, !is_of_schema, first == "DO", &mut out);
        } else {
            out.push_str(one);
        }
        rest = &rest[at + one.len()..];
    }
    out + rest
}

/// Appends a statement with `…` for its texts, and for its numbers where they count. A text in dollars may be a `block`.
fn mask(statement: &str, numbers: bool, block: bool, out: &mut String) {
    let mut at = 0;
    while let Some(c) = statement[at..].chars().next() {
        let (before, rest) = statement.split_at(at);
        let value = match c {
            '\'' => Some(end_of_quoted(rest, '\'', follows_escape(before))),
            '$' if !follows_name(before) => end_of_dollar(rest),
            '0'..='9' if numbers && !follows_name(before) => {
                Some(rest.find(|c: char| !is_of_name(c) && c != '.').unwrap_or(rest.len()))
            }
            _ => None,
        };
        let length = match (value, c) {
            (Some(length), _) => length,
            (None, '"') => end_of_quoted(rest, '"', false),
            (None, '-') if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            (None, '/') if rest.starts_with("/*") => end_of_comment(rest),
            (None, c) => c.len_utf8(),
        };
        match value {
            Some(_) if c == '$' && block => {
                let tag = rest[1..].find('$').map_or(rest.len(), |at| at + 2);
                let (open, body) = rest[..length].split_at(tag);
                let (body, close) = body.strip_suffix(open).map_or((body, ""), |body| (body, open));
                out.push_str(open);
                mask(body, numbers, false, out);
                out.push_str(close);
            }
            Some(_) if c.is_ascii_digit() => out.push('…'),
            Some(_) => out.push_str("'…'"),
            None => out.push_str(&rest[..length]),
        }
        at += length;
    }
}

/// Where the first statement ends: at its semicolon, or at the end of the text.
fn end_of_statement(text: &str) -> usize {
    let mut at = 0;
    let mut depth = 0_usize;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match c {
            ';' if depth == 0 => return at,
            '(' => {
                depth += 1;
                1
            }
            ')' => {
                depth = depth.saturating_sub(1);
                1
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => end_of_comment(rest),
            '\'' => end_of_quoted(rest, '\'', follows_escape(&text[..at])),
            '"' => end_of_quoted(rest, '"', false),
            '$' if !follows_name(&text[..at]) => end_of_dollar(rest).unwrap_or(1),
            c => c.len_utf8(),
        };
    }
    at
}

/// Comments nest.
fn end_of_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A doubled quote stands for itself, and so does one behind a backslash where `E'…'` says so.
fn end_of_quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return at + 1,
            }
        }
    }
    text.len()
}

/// The end of `$tag$…$tag$`; `None` where no such text begins here.
fn end_of_dollar(text: &str) -> Option<usize> {
    let close = text[1..].find('$')? + 2;
    let tag = &text[..close];
    let name = &tag[1..tag.len() - 1];
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| text[close..].find(tag).map_or(text.len(), |at| close + at + close))
}

fn follows_escape(before: &str) -> bool {
    let mut back = before.chars().rev();
    matches!(back.next(), Some('e' | 'E')) && !back.next().is_some_and(is_of_name)
}

fn follows_name(before: &str) -> bool {
    before.chars().next_back().is_some_and(is_of_name)
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_end_at_their_own_semicolons_only() {
        let text = "-- first\nSELECT ';' ; /* a; /* b; */ */ CREATE FUNCTION f() AS $x$ a; $y$ ; $x$;\n\
                    SELECT E'\\';', \"a;\"\"b\", 'it''s;'; ; CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); -- end;";
        assert_eq!(
            statements(text),
            [
                "SELECT ';'",
                "CREATE FUNCTION f() AS $x$ a; $y$ ; $x$",
                "SELECT E'\\';', \"a;\"\"b\", 'it''s;'",
                "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
            ]
        );
    }

    #[test]
    fn a_line_that_says_more_than_words_is_the_shells() {
        assert_eq!(
            command("alembic -c db.ini  upgrade head"),
            ["alembic", "-c", "db.ini", "upgrade", "head"]
        );
        for line in ["cd db && make up", "A=1 make up", "psql -c 'SELECT 1'", "make up > /dev/null"] {
            assert_eq!(command(line), ["sh", "-c", line]);
        }
    }

    #[test]
    fn a_statement_of_a_batch_is_found_by_its_tag() {
        let batch = "ALTER TABLE a ADD x int; create unique\nindex i on a (x); ALTER TABLE b ADD y int";
        assert_eq!(nth_of(batch, "ALTER TABLE", 1).unwrap(), "ALTER TABLE b ADD y int");
        assert_eq!(nth_of(batch, "CREATE INDEX", 0).unwrap(), "create unique\nindex i on a (x)");
        assert_eq!(nth_of(batch, "DROP TABLE", 0), None);
    }

    #[test]
    fn values_of_rows_and_passwords_are_left_out() {
        for (text, expected) in [
            (
                "UPDATE \"user's\" SET email = 'ada@x', n = 1.5 WHERE id = 7",
                "UPDATE \"user's\" SET email = '…', n = … WHERE id = …",
            ),
            (
                "INSERT INTO t1 (a2) VALUES ($1, E'it\\'s', $q$x$q$, -3)",
                "INSERT INTO t1 (a2) VALUES ($1, E'…', '…', -…)",
            ),
            (
                "SELECT 1; ALTER TABLE t ALTER a SET DEFAULT 'x'; SELECT 'cut",
                "SELECT …; ALTER TABLE t ALTER a SET DEFAULT 'x'; SELECT '…'",
            ),
            (
                "-- UPDATE t SET a = 'x'\nUPDATE t SET a = 'ada'",
                "-- UPDATE t SET a = 'x'\nUPDATE t SET a = '…'",
            ),
            (
                "DO $x$ BEGIN UPDATE t SET a = 'ada' WHERE id = 7; END $x$",
                "DO $x$ BEGIN UPDATE t SET a = '…' WHERE id = …; END $x$",
            ),
            ("(SELECT 'ada') UNION VALUES ('bob')", "(SELECT '…') UNION VALUES ('…')"),
            ("PREPARE p AS INSERT INTO t VALUES ('ada')", "PREPARE p AS INSERT INTO t VALUES ('…')"),
            (
                "ALTER DATABASE d SET \"app.jwt_secret\" TO 'hush'",
                "ALTER DATABASE d SET \"app.jwt_secret\" TO '…'",
            ),
            ("SET lock_timeout = '2s'", "SET lock_timeout = '2s'"),
            ("ALTER ROLE app PASSWORD 'hush'", "ALTER ROLE app PASSWORD '…'"),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'host=h password=hush' PUBLICATION p",
                "CREATE SUBSCRIPTION s CONNECTION '…' PUBLICATION p",
            ),
            ("ALTER TABLE t ALTER a TYPE varchar(40)", "ALTER TABLE t ALTER a TYPE varchar(40)"),
        ] {
            assert_eq!(without_values(text), expected);
        }
    }

    proptest! {
        #[test]
        fn no_value_of_a_row_is_left(value in "[a-z\\\\' ;$\"]{0,20}", number in 100_000..999_999_u32) {
            let quoted = value.replace('\'', "''");
            let text = format!("UPDATE t SET a = 'secret{quoted}', b = {number}; DELETE FROM t WHERE a = 'secret{quoted}'");
            let shown = without_values(&text);
            prop_assert!(!shown.contains("secret") && !shown.contains(&number.to_string()), "{shown}");
        }

        #[test]
        fn any_text_is_read_to_its_end(text in "[-/*'\"$;()eEa1 \n\\\\é]{0,60}") {
            for statement in statements(&text) {
                prop_assert!(text.contains(statement) && !statement.is_empty());
            }
            without_values(&text);
        }

        #[test]
        fn what_is_quoted_stays_whole(inner in "[^']{0,30}", tagged in "[^$]{0,30}", name in "[^\"]{1,20}") {
            let parts = [format!("SELECT '{inner}'"), format!("DO $q${tagged}$q$"), format!("TABLE \"{name}\"")];
            let whole = parts.join(";");
            prop_assert_eq!(statements(&whole), parts.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
