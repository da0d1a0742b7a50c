//! The report for a terminal: a line each, the measured beside its limit.

use super::Report;

/// The lines.
pub fn text(report: &Report<'_>) -> String {
    let wide = report.verdict.lines.iter().map(|line| line.about.chars().count()).max().unwrap_or_default();
    let mut text = report.headline();
    text.push('\n');
    for line in &report.verdict.lines {
        let limit = super::in_brackets(line);
        let limit = if limit.is_empty() { limit } else { format!("  {limit}") };
        let pad = " ".repeat(wide.saturating_sub(line.about.chars().count()));
        text.push_str(&format!("{} {}{pad}  {}{limit}\n", line.grade, line.about, line.measured));
    }
    for (word, words) in report.why() {
        text.push_str(&format!("{word}: {words}\n"));
    }
    for note in &report.verdict.notes {
        text.push_str(&format!("Note: {note}\n"));
    }
    text.push_str(&report.sensors());
    text
}
