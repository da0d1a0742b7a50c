//! The lines on what a migration leaves behind it: in the schema, for the old application, and for the way back.

use super::lines::Lines;
use super::words::some;
use super::{Grade, Line};
use crate::advice;

impl Lines<'_> {
    /// What nobody wants and is there now.
    pub fn left(&self) -> Line {
        let up = self.up();
        let about = "Left behind";
        let gone = up.gone_unnamed();
        let grave =
            |what: &str| matches!(what, "invalid index" | "broken function" | "empty materialized view");
        let mut shown = gone.clone();
        shown.extend(up.left.iter().map(|left| format!("{} `{}`", left.what, left.name)));
        if shown.is_empty() {
            return self.line("left", about, "nothing".into(), "0".into(), Grade::Fine);
        }
        let is_grave = !gone.is_empty() || up.left.iter().any(|left| grave(&left.what));
        let grade = if is_grave { Grade::Limit } else { Grade::Warning };
        let mut line = self.line("left", about, some(&shown), "0".into(), grade);
        let quoted = |text: &String| text.split('`').nth(1).unwrap_or(text).to_owned();
        line.objects = up.left.iter().map(|left| left.name.clone()).chain(gone.iter().map(quoted)).collect();
        line.why = up.left.first().map(|left| format!("{} `{}`: {}", left.what, left.name, left.why));
        if !gone.is_empty() {
            line.why =
                Some(format!("{}: something that nobody named went with what it depends on", some(&gone)));
            line.instead = Some("drop it by its name, and make it again on the new schema".into());
        }
        line
    }

    /// Whether the old application still works.
    pub fn queries(&self) -> Line {
        let Some(queries) = &self.facts.queries else {
            return self.line("queries", "Old application", "not tried".into(), "0".into(), Grade::Unseen);
        };
        if queries.worked == 0 {
            return self.line(
                "queries",
                "Old application",
                "no query is known".into(),
                "0".into(),
                Grade::Unseen,
            );
        }
        let about = format!("Old application: {} queries", queries.worked);
        let Some((text, why)) = queries.broken.first() else {
            return self.line("queries", &about, "all work".into(), "0".into(), Grade::Fine);
        };
        let count = queries.broken.len();
        let fail = if count == 1 { "1 fails".into() } else { format!("{count} fail, such as") };
        let measured = format!("{fail} `{}`", advice::quoted(text));
        let mut line = self.line("queries", &about, measured, "0".into(), Grade::Limit);
        line.why = Some(format!("`{}`: {why}", advice::quoted(text)));
        line.instead = Some("expand first, contract when no old application runs: keep the old name until then, as a column or a view".into());
        line
    }

    /// Whether the history is one line.
    pub fn history(&self) -> Option<Line> {
        let heads = self.facts.heads.as_ref()?;
        let about = "Heads of the history";
        let grade = if heads.len() > 1 { Grade::Limit } else { Grade::Fine };
        let measured = if heads.len() > 1 {
            format!("{}: {}", heads.len(), some(heads))
        } else {
            heads.len().to_string()
        };
        let mut line = self.line("heads", about, measured, "1".into(), grade);
        if heads.len() > 1 {
            line.why = Some("the history forks, and nothing says which of them runs first".into());
            line.instead = Some(
                "make one follow the other (`down_revision`), or merge them: `alembic merge heads`".into(),
            );
        }
        Some(line)
    }

    /// Whether the way back leads back.
    pub fn down(&self) -> Line {
        let about = "Down and up again";
        let Some(down) = &self.facts.down else {
            return self.line("down", about, "not tried".into(), "clean".into(), Grade::Unseen);
        };
        let lost = |by_down: bool| down.lost.iter().find(|lost| lost.by_down == by_down);
        let (trouble, why) = if down.refuses {
            // Somebody decided that.
            let measured = "there is no way back, which it says itself".into();
            let mut line = self.line("down", about, measured, "clean".into(), Grade::Warning);
            line.why = Some(format!("it said: {}", down.words));
            line.instead = Some("have the next step forward ready, in case this one goes wrong".into());
            return line;
        } else if !down.ok {
            ("the way back fails".to_owned(), "whoever has to undo it in a hurry can't")
        } else if let Some(first) = down.differs.first() {
            let measured = match down.differs.len() {
                1 => format!("1 object is not as before: {first}"),
                count => format!("{count} objects are not as before, such as {first}"),
            };
            (measured, "after down the schema is not what it was")
        } else if let Some(lost) = lost(true) {
            (format!("{} are lost", lost.what), "the way back takes what was there before")
        } else if down.up_again == Some(false) {
            ("up fails after down".to_owned(), "the way back leaves something that is in the way")
        } else if let Some(lost) = lost(false) {
            // What is meant to go is gone, with a way back or without.
            let measured = format!("{} are lost", lost.what);
            let mut line = self.line("down", about, measured, "clean".into(), Grade::Warning);
            line.why = Some("the migration takes it, and no way back can bring it again".into());
            line.instead = Some("do that in a release of its own, when nobody will go back behind it".into());
            return line;
        } else {
            return self.line("down", about, "clean".into(), "clean".into(), Grade::Fine);
        };
        let mut line = self.line("down", about, trouble, "clean".into(), Grade::Limit);
        let said = if down.words.is_empty() { String::new() } else { format!("; it said: {}", down.words) };
        line.why = Some(format!("{why}{said}"));
        line.instead = Some("write the downgrade, or say in it that there is none".into());
        line
    }

    /// Whether a second run does nothing.
    pub fn again(&self) -> Line {
        let about = "The same command twice";
        let Some(again) = &self.facts.again else {
            let why =
                if self.tool.is_none() { "no migration tool that keeps a history" } else { "not tried" };
            return self.line("twice", about, why.into(), "does nothing".into(), Grade::Unseen);
        };
        let measured = match (again.ok, again.changed.first()) {
            (true, None) => {
                return self.line("twice", about, "does nothing".into(), "does nothing".into(), Grade::Fine);
            }
            (false, _) => "fails".to_owned(),
            (true, Some(first)) if again.changed.len() == 1 => format!("changes 1 object more: {first}"),
            (true, Some(first)) => format!("changes {} objects more, such as {first}", again.changed.len()),
        };
        let mut line = self.line("twice", about, measured, "does nothing".into(), Grade::Limit);
        line.why = Some("a deployment that is cut off, or starts two of it, runs the command again".into());
        line.instead = Some("let the tool's own history say that it has run".into());
        line
    }
}
