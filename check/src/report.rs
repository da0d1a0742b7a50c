//! The verdict as people and machines read it.

mod github;
mod html;
mod json;
mod markdown;
mod terminal;

use std::fmt;

use crate::facts::Facts;
use crate::limits::Limits;
use crate::verdict::{Answer, Grade, Line, Verdict};

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Format {
    /// Lines for a terminal.
    Text,
    /// A table for a comment.
    Markdown,
    /// One document for machines.
    Json,
    /// Annotations for a step of GitHub Actions; the Markdown goes to the step's summary.
    Github,
    /// A page that stands alone, with a timeline.
    Html,
}

/// All that a report is made of.
pub struct Report<'a> {
    /// What was measured.
    pub facts: &'a Facts,
    /// What is too much.
    pub limits: &'a Limits,
    /// What comes of it.
    pub verdict: &'a Verdict,
}

impl Report<'_> {
    /// The report in one form.
    pub fn in_form(&self, format: Format) -> String {
        match format {
            Format::Text => terminal::text(self),
            Format::Markdown => markdown::text(self),
            Format::Json => json::text(self),
            Format::Github => github::text(self),
            Format::Html => html::text(self),
        }
    }

    /// `✓`, `✗` or `?`.
    fn sign(&self) -> char {
        match self.verdict.answer {
            Answer::Pass => '✓',
            Answer::Limit | Answer::Failed => '✗',
            Answer::Unknown => '?',
        }
    }

    fn headline(&self) -> String {
        format!("{} Migration check: {} · {}", self.sign(), self.facts.name, self.verdict.sentence)
    }

    /// Why and what to do, for the gravest line.
    fn why(&self) -> Vec<(&'static str, String)> {
        let Some(worst) = self.verdict.worst() else { return Vec::new() };
        let why = worst.why.iter().map(|why| ("Why", why.clone()));
        why.chain(worst.instead.iter().map(|instead| ("Try", instead.clone()))).collect()
    }

    fn sensors(&self) -> String {
        let sensors =
            if self.facts.sensors.is_empty() { "none".into() } else { self.facts.sensors.join(", ") };
        let unseen =
            if self.facts.unseen.is_empty() { "nothing".into() } else { self.facts.unseen.join("; ") };
        format!("Sensors: {sensors}. Not seen: {unseen}.")
    }
}

/// What stands beside the measured, in running text: nothing where both are the same words.
fn in_brackets(line: &Line) -> String {
    let beside = line.beside();
    if beside.is_empty() || beside == line.measured {
        return String::new();
    }
    let word = if line.limit.starts_with(|c: char| c.is_ascii_digit()) { "limit" } else { "wanted:" };
    format!("({word} {beside})")
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fine => " ",
            Self::Unseen => "?",
            Self::Excepted => "~",
            Self::Warning => "!",
            Self::Limit | Self::Failed => "✗",
        })
    }
}
