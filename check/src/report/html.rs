//! The report as one file for a browser that stands alone: no script, no picture, no font, nothing from a network.
//!
//! Everything from elsewhere (names, statements, messages) goes through [`inert`] or [`words`], and the page's own policy forbids
//! whatever would slip through.

mod statements;
mod timeline;

use super::Report;
use crate::verdict::{Answer, Grade, Line, span};

/// Items of a list that are shown.
const ITEMS: usize = 50;
/// Characters of one line of the verdict that are shown.
const CELL: usize = 2_000;

/// The page.
pub fn text(report: &Report<'_>) -> String {
    let facts = report.facts;
    let verdict = report.verdict;
    let shown = statements::chosen(facts);
    let rows: String = verdict.lines.iter().map(row).collect();
    let why: String = report
        .why()
        .into_iter()
        .map(|(word, text)| format!("<p><strong>{word}</strong>: {}</p>\n", words(&clip(&text))))
        .collect();
    let notes =
        verdict.notes.iter().map(|note| format!("<p><strong>Note</strong>: {}</p>\n", words(&clip(note))));
    let notes: String = notes.collect();
    let mood = match verdict.answer {
        Answer::Pass => "fine",
        Answer::Unknown => "unseen",
        Answer::Limit | Answer::Failed => "bad",
    };
    let head = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n",
        inert(&clip(&report.headline())),
        include_str!("html/page.css"),
    );
    let verdict_part = format!(
        "<header class=\"{mood}\">\n<p class=\"name\">Migration check · {}</p>\n\
         <h1><span class=\"sign\">{}</span> {}</h1>\n<p class=\"small\">{}</p>\n</header>\n\
         <section>\n<h2>Measured, beside its limit</h2>\n<table class=\"lines\">\n\
         <thead><tr><th scope=\"col\">what</th><th scope=\"col\">measured</th><th scope=\"col\">limit</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n{why}{notes}</section>\n",
        inert(&clip(&facts.name)),
        report.sign(),
        words(&clip(&verdict.sentence)),
        meaning(verdict.answer),
    );
    let mut page = head + "<body>\n<main>\n" + &verdict_part;
    page.push_str(&timeline::section(facts, &shown));
    page.push_str(&statements::section(facts, &shown));
    page.push_str(&lists(report));
    page.push_str(&format!(
        "<footer><p>{}</p></footer>\n</main>\n</body>\n</html>",
        words(&report.sensors())
    ));
    page
}

/// What the answer means for whoever waits for it.
fn meaning(answer: Answer) -> String {
    let words = match answer {
        Answer::Pass => "it works on production's rows, within every limit",
        Answer::Limit => "it exceeds a limit on production's rows",
        Answer::Failed => "it fails on production's rows",
        Answer::Unknown => "nobody can tell: take it for no answer, not for a good one",
    };
    format!("Exit code {}: {words}.", answer.exit_code())
}

fn row(line: &Line) -> String {
    let (class, word) = match line.grade {
        Grade::Fine => ("fine", "ok"),
        Grade::Unseen => ("unseen", "not seen"),
        Grade::Excepted => ("unseen", "excepted"),
        Grade::Warning => ("warning", "warning"),
        Grade::Limit => ("bad", "over limit"),
        Grade::Failed => ("bad", "failed"),
    };
    let sign = if line.grade == Grade::Fine { "✓".to_owned() } else { line.grade.to_string() };
    let limit = words(&clip(&line.beside()));
    format!(
        "<tr class=\"{class}\" data-rule=\"{}\"><th scope=\"row\"><div class=\"about\"><span class=\"grade\"><span class=\"sign\">{sign}\
         </span> {word}</span> <span>{}</span></div></th><td>{}</td><td class=\"limit\">{limit}</td></tr>\n",
        inert(line.rule),
        words(&line.about),
        words(&clip(&line.measured)),
    )
}

/// What the lines of the verdict count, item by item.
fn lists(report: &Report<'_>) -> String {
    let facts = report.facts;
    let mut lists = Vec::new();
    let broken = facts.queries.iter().flat_map(|queries| &queries.broken);
    lists.push((
        "Queries of the old application that fail now",
        broken
            .map(|(text, why)| format!("<pre>{}</pre><p>{}</p>", inert(text), inert(why)))
            .collect::<Vec<_>>(),
    ));
    let left = facts.up.left.iter().map(|left| {
        format!("{} <code>{}</code>: {}", inert(&left.what), inert(&left.name), words(&left.why))
    });
    lists.push(("Left behind", left.collect()));
    let down = facts.down.iter();
    let differs = down.clone().flat_map(|down| &down.differs).map(|text| words(text));
    let lost = down.flat_map(|down| &down.lost);
    let lost = lost.map(|lost| format!("{} are lost", words(&lost.what)));
    lists.push(("Not as before, after the way down", differs.chain(lost).collect()));
    let again = facts.again.iter().flat_map(|again| &again.changed);
    lists.push(("Changed by the second run", again.map(|text| words(text)).collect()));
    let all = lists.into_iter().filter(|(_, items)| !items.is_empty());
    all.map(|(title, items)| list(title, &items)).collect()
}

fn list(title: &str, items: &[String]) -> String {
    let shown: String = items.iter().take(ITEMS).map(|item| format!("<li>{item}</li>\n")).collect();
    let rest = items.len().saturating_sub(ITEMS);
    let rest =
        if rest > 0 { format!("<p class=\"small\">{rest} more are not shown.</p>\n") } else { String::new() };
    format!("<section>\n<h2>{title}</h2>\n<ul>\n{shown}</ul>\n{rest}</section>\n")
}

/// A text from elsewhere as text of the page, and of its attributes: no markup, no characters that change the direction or the
/// place of others.
fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}');
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The same, with what stands between backticks as code.
fn words(text: &str) -> String {
    let parts: Vec<String> = text.split('`').map(inert).collect();
    let mut out = String::new();
    for (place, part) in parts.iter().enumerate() {
        let is_closed = place + 1 < parts.len();
        match (place % 2, is_closed) {
            (0, _) => out.push_str(part),
            (_, true) => out.push_str(&format!("<code>{part}</code>")),
            // The last backtick opens nothing.
            (_, false) => out.push_str(&format!("`{part}")),
        }
    }
    out
}

fn clip(text: &str) -> String {
    if text.chars().count() <= CELL {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(CELL).collect::<String>())
    }
}

/// A moment of the run.
fn moment(ms: f64) -> String {
    if ms < 1.0 { "0 ms".into() } else { span(ms) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code_and_nothing_is_markup() {
        assert_eq!(words("a `b<i>` c"), "a <code>b&lt;i&gt;</code> c");
        assert_eq!(words("a `b"), "a `b");
        assert_eq!(words("`a` and `b"), "<code>a</code> and `b");
        assert_eq!(inert("x\u{202e}y\u{0}\"'"), "x\u{fffd}y\u{fffd}&quot;&#39;");
    }

    proptest! {
        #[test]
        fn no_text_opens_a_tag_or_ends_an_attribute(text in ".{0,80}") {
            let shown = inert(&text);
            prop_assert!(!shown.contains(['<', '>', '"', '\'']));
            let tags = words(&text).replace("<code>", "").replace("</code>", "");
            prop_assert!(!tags.contains(['<', '>', '"', '\'']));
        }
    }
}
