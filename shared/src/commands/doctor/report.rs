//! The findings on paper: lines for people, one document for machines.

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::check::{Check, Status};
use crate::error::{Error, Kind, Result};
use crate::ui::{Ui, visible};

/// Prints the findings.
///
/// # Errors
/// [`Kind::Unwell`] where one of them failed.
pub fn print(checks: &[Check], as_json: bool, ui: &mut Ui) -> Result<()> {
    if as_json {
        ui.json(&document(checks));
    } else {
        for check in checks {
            let style = style(check.status);
            let word = check.status.word();
            // The padding stands outside of the colour, so that it is no line under the word.
            let gap = " ".repeat(6 - word.len());
            let mut lines = lines(check).into_iter();
            ui.data(&format!("{style}{word}{style:#}{gap}{}", lines.next().unwrap_or_default()));
            lines.for_each(|line| ui.data(&format!("      {line}")));
        }
    }
    verdict(checks)
}

/// What the exit code says.
fn verdict(checks: &[Check]) -> Result<()> {
    match count(checks, Status::Fail) {
        0 => Ok(()),
        failed => {
            let things = if failed == 1 { "one thing that needs" } else { "things that need" };
            let many = if failed == 1 { String::new() } else { format!("{failed} ") };
            Err(Error::new(Kind::Unwell, format!("doctor found {many}{things} a hand"))
                .hint("begin with the first `fail`: those after it may come of it"))
        }
    }
}

fn style(status: Status) -> Style {
    match status {
        Status::Ok => AnsiColor::Green.on_default(),
        Status::Warn => AnsiColor::Yellow.on_default().bold(),
        Status::Fail => AnsiColor::Red.on_default().bold(),
        Status::Skip => Style::new().dimmed(),
    }
}

/// The finding without its first word: what, and the first cure on the same line; below it, what to copy and the rest.
fn lines(check: &Check) -> Vec<String> {
    let mut cures = check.cure.iter().map(|cure| harmless(cure));
    let mut first = harmless(&check.what);
    if let Some(cure) = cures.next() {
        first.push_str(&format!(" — {cure}"));
    }
    // Blanks inside a statement may be part of a name.
    let copy = check.copy.iter().map(|line| format!("    {}", visible(line).replace(['\n', '\t'], " ")));
    std::iter::once(first).chain(copy).chain(cures.map(|cure| format!("— {cure}"))).collect()
}

/// A text that can neither drive the terminal nor look like another line.
fn harmless(text: &str) -> String {
    visible(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn count(checks: &[Check], status: Status) -> usize {
    checks.iter().filter(|check| check.status == status).count()
}

fn document(checks: &[Check]) -> Value {
    let of = |status| count(checks, status);
    json!({
        "healthy": of(Status::Fail) == 0,
        "version": env!("CARGO_PKG_VERSION"),
        "counts": {
            "ok": of(Status::Ok), "warn": of(Status::Warn), "fail": of(Status::Fail), "skip": of(Status::Skip),
        },
        "checks": checks.iter().map(Check::document).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_and_what_to_do_and_below_it_what_to_copy() {
        let mut check = Check::fail("x.y", "it is broken").cure("run this:").cure("then that");
        check.copy.push("GRANT a TO b;".into());
        assert_eq!(lines(&check), ["it is broken — run this:", "    GRANT a TO b;", "— then that"]);
    }

    #[test]
    fn hostile_words_stay_on_their_line_and_drive_nothing() {
        let check = Check::warn("x.y", "branch \u{1b}[2Jx\nok    all is well\r\u{9b}31m").cure("a\tb");
        let lines = lines(&check);
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(char::is_control), "{lines:?}");
        assert!(lines[0].contains("\\u{1b}[2Jx ok all is well"), "{lines:?}");
    }

    #[test]
    fn warnings_are_healthy_and_failures_are_counted() {
        let (ok, warn, skip) = (Check::ok("a", ""), Check::warn("b", ""), Check::skip("c", "c", "b"));
        let fail = Check::fail("d", "");
        assert!(verdict(&[ok.clone(), warn.clone(), skip.clone()]).is_ok());
        let error = verdict(&[ok.clone(), fail.clone()]).unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (Kind::Unwell, "doctor found one thing that needs a hand")
        );
        let document = document(&[ok, warn, fail.clone(), skip, fail]);
        assert_eq!(document["healthy"], false);
        assert_eq!(document["counts"], json!({"ok": 1, "warn": 1, "fail": 2, "skip": 1}));
        assert_eq!(document["checks"][2], json!({"id": "d", "status": "fail", "what": "", "cure": []}));
    }
}
