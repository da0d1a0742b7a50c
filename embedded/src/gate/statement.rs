//! The statements that PostgreSQL leaves to a superuser and the service gives to members of `databricks_superuser`.
//!
//! What is taken for one of them here is rebuilt: its first words are ours, so that nothing else can be meant by them.

/// A statement that the gate may run for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What it is about.
    pub about: About,
    /// The statement, rebuilt.
    pub sql: String,
    /// What a client hears once it ran.
    pub tag: &'static str,
}

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A new event trigger.
    NewEventTrigger,
    /// An event trigger that is there.
    EventTrigger,
    /// The extension `pg_stat_statements`.
    Statistics,
}

const STATISTICS: &str = "pg_stat_statements";

/// Whether a text whose beginning this is can become a statement that is wanted; none where more has to be seen. It is asked
/// of every statement of every client, so it looks at a byte or two.
pub(super) fn may_begin(start: &[u8]) -> Option<bool> {
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace())?;
    Some(matches!(first.to_ascii_lowercase(), b'c' | b'a' | b'd' | b'-' | b'/'))
}

/// The one of these statements that a text is, if it is one.
pub(super) fn recognise(text: &str) -> Option<Wanted> {
    if may_begin(text.as_bytes()) != Some(true) {
        return None;
    }
    let mut words = Words { rest: text };
    let first = words.keyword()?;
    let (prefix, tag, about) = match first.as_str() {
        "create" => ("CREATE", "CREATE EVENT TRIGGER", About::NewEventTrigger),
        "alter" => ("ALTER", "ALTER EVENT TRIGGER", About::EventTrigger),
        "drop" => ("DROP", "DROP EVENT TRIGGER", About::EventTrigger),
        "comment" if words.keyword()? == "on" => ("COMMENT ON", "COMMENT", About::EventTrigger),
        _ => return None,
    };
    match words.keyword()?.as_str() {
        "event" if words.keyword()? == "trigger" => {
            Some(Wanted { about, sql: format!("{prefix} EVENT TRIGGER{}", words.rest), tag })
        }
        "extension" => extension(&first, words),
        _ => None,
    }
}

/// `CREATE` and `DROP EXTENSION` of the one extension that counts statements.
fn extension(first: &str, mut words: Words<'_>) -> Option<Wanted> {
    let tag = match first {
        "create" => "CREATE EXTENSION",
        "drop" => "DROP EXTENSION",
        _ => return None,
    };
    let mut sql = tag.to_owned();
    let mut name = words.identifier()?;
    if name == "if" {
        if first == "create" {
            (words.keyword()? == "not").then_some(())?;
            sql.push_str(" IF NOT EXISTS");
        } else {
            sql.push_str(" IF EXISTS");
        }
        (words.keyword()? == "exists").then_some(())?;
        name = words.identifier()?;
    }
    (name == STATISTICS).then_some(())?;
    sql.push_str(" pg_stat_statements");
    let mut next = words.keyword();
    if first == "create" {
        if next.as_deref() == Some("with") {
            next = words.keyword();
        }
        if next.as_deref() == Some("schema") {
            sql.push_str(" SCHEMA ");
            sql.push_str(&crate::catalog::identifier(&words.identifier()?));
            next = words.keyword();
        }
        if next.as_deref() == Some("cascade") {
            next = words.keyword();
        }
    } else if next.as_deref() == Some("restrict") {
        next = words.keyword();
    }
    (next.is_none() && words.is_at_end()).then_some(Wanted { about: About::Statistics, sql, tag })
}

/// Reads words of SQL one by one.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// Passes over blanks and comments, which nest.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
            if let Some(line) = self.rest.strip_prefix("--") {
                self.rest = line.find(['\n', '\r']).map_or("", |end| &line[end..]);
            } else if self.rest.starts_with("/*") {
                let mut depth = 0_usize;
                let mut at = 0;
                loop {
                    let after = &self.rest[at..];
                    if after.starts_with("/*") {
                        depth += 1;
                        at += 2;
                    } else if after.starts_with("*/") {
                        depth -= 1;
                        at += 2;
                        if depth == 0 {
                            break;
                        }
                    } else if let Some(next) = after.chars().next() {
                        at += next.len_utf8();
                    } else {
                        break;
                    }
                }
                self.rest = &self.rest[at..];
            } else {
                return;
            }
        }
    }

    /// The next word that is not quoted, in small letters.
    fn keyword(&mut self) -> Option<String> {
        self.skip();
        let end = self
            .rest
            .find(|character: char| !(character.is_alphanumeric() || matches!(character, '_' | '$')))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() || !word.is_ascii() {
            return None;
        }
        self.rest = rest;
        Some(word.to_ascii_lowercase())
    }

    /// The next name, quoted or not.
    fn identifier(&mut self) -> Option<String> {
        self.skip();
        let Some(mut quoted) = self.rest.strip_prefix('"') else { return self.keyword() };
        let mut name = String::new();
        loop {
            let end = quoted.find('"')?;
            name.push_str(&quoted[..end]);
            quoted = &quoted[end + 1..];
            match quoted.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    quoted = more;
                }
                None => {
                    self.rest = quoted;
                    return (!name.is_empty()).then_some(name);
                }
            }
        }
    }

    /// Whether nothing more is said.
    fn is_at_end(&mut self) -> bool {
        self.skip();
        while let Some(rest) = self.rest.strip_prefix(';') {
            self.rest = rest;
            self.skip();
        }
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sql(text: &str) -> Option<String> {
        recognise(text).map(|wanted| wanted.sql)
    }

    #[test]
    fn event_triggers_are_found_behind_blanks_and_comments() {
        let rest = " x ON ddl_command_end EXECUTE FUNCTION f();";
        for start in [
            "CREATE EVENT TRIGGER",
            " create\tevent\n trigger",
            "-- a word\n/* and /* more */ */ Create /* here */ Event Trigger",
        ] {
            assert_eq!(
                sql(&format!("{start}{rest}")),
                Some(format!("CREATE EVENT TRIGGER{rest}")),
                "{start}"
            );
        }
        assert_eq!(sql("ALTER EVENT TRIGGER x DISABLE").as_deref(), Some("ALTER EVENT TRIGGER x DISABLE"));
        assert_eq!(sql("drop event trigger\"x\"").as_deref(), Some("DROP EVENT TRIGGER\"x\""));
        let comment = recognise("COMMENT ON EVENT TRIGGER x IS 'y'").unwrap();
        assert_eq!((comment.tag, comment.about), ("COMMENT", About::EventTrigger));
    }

    #[test]
    fn anything_else_is_left_to_postgresql() {
        for text in [
            "",
            "SELECT 1",
            "CREATE TABLE event (trigger int)",
            "CREATE EVENTTRIGGER x",
            "CREATE EVENT TRIGGERS x",
            "CREATE \"EVENT\" TRIGGER x",
            "DROP TRIGGER x ON event",
            "/* CREATE EVENT TRIGGER",
            "COMMENT ON TABLE event IS 'trigger'",
            "ALTER EVENT",
            "CREATE EXTENSION hstore",
            "CREATE EXTENSION pg_stat_statements VERSION '1.4'",
            "CREATE EXTENSION pg_stat_statements; DROP TABLE t",
            "CREATE EXTENSION \"pg_stat_statements",
            "DROP EXTENSION pg_stat_statements CASCADE",
            "DROP EXTENSION pg_stat_statements, hstore",
            "ALTER EXTENSION pg_stat_statements UPDATE",
        ] {
            assert_eq!(recognise(text), None, "{text}");
        }
    }

    #[test]
    fn the_extension_is_rebuilt_word_by_word() {
        assert_eq!(
            sql("create extension if not exists \"pg_stat_statements\" with schema \"A\"\"b\" cascade ;")
                .as_deref(),
            Some("CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA \"A\"\"b\"")
        );
        assert_eq!(
            sql("DROP EXTENSION IF EXISTS pg_stat_statements -- no more").as_deref(),
            Some("DROP EXTENSION IF EXISTS pg_stat_statements")
        );
        assert_eq!(
            sql("CREATE EXTENSION PG_STAT_STATEMENTS").as_deref(),
            Some("CREATE EXTENSION pg_stat_statements")
        );
    }

    proptest! {
        #[test]
        fn hostile_texts_never_panic(text in "[ -/*\"';cCreateEvntTigr\u{e4}]{0,60}") {
            let _ = recognise(&text);
        }

        #[test]
        fn what_is_taken_begins_with_words_of_ours(text in "(/\\*|\\*/|--|\n| |\"|CREATE|EVENT|TRIGGER|x|;){0,12}") {
            if let Some(wanted) = recognise(&text) {
                prop_assert!(wanted.sql.starts_with("CREATE EVENT TRIGGER"));
            }
        }
    }
}
