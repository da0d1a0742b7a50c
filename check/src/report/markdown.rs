//! The report for a comment on a change.

use super::Report;
use crate::verdict::Grade;

/// Where the comment of one run finds that of the run before, to put itself in its place.
pub const MARK: &str = "<!-- lakebase check -->";

/// The text.
pub fn text(report: &Report<'_>) -> String {
    let mut text =
        format!("{MARK}\n### {}\n\n| | measured | limit |\n|---|---|---|\n", inert(&report.headline()));
    for line in &report.verdict.lines {
        let measured = inert(&line.measured);
        let measured = if line.grade >= Grade::Limit { format!("**{measured}**") } else { measured };
        text.push_str(&format!(
            "| {} {} | {measured} | {} |\n",
            line.grade,
            inert(&line.about),
            inert(&line.beside())
        ));
    }
    text.push('\n');
    for (word, words) in report.why() {
        text.push_str(&format!("**{word}**: {}\n\n", inert(&words)));
    }
    for note in &report.verdict.notes {
        text.push_str(&format!("**Note**: {}\n\n", inert(note)));
    }
    text.push_str(&inert(&report.sensors()));
    text.push('\n');
    text
}

/// Words from elsewhere: no line breaks, which end a row, no bars, which end a cell, no HTML, no mention of people.
fn inert(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '|' => out.push_str("\\|"),
            '<' => out.push_str("&lt;"),
            '@' => out.push_str("&#64;"),
            c if c.is_whitespace() || c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_elsewhere_stay_in_their_cell() {
        assert_eq!(inert("a|b\nc <img> @all"), "a\\|b c &lt;img> &#64;all");
    }
}
