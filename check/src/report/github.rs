//! The report for a step of GitHub Actions: annotations, which GitHub shows beside the change.
//!
//! Source: "Workflow commands for GitHub Actions", and how its toolkit escapes them (`actions/toolkit`, `core/src/command.ts`).

use super::Report;
use crate::verdict::{Answer, Grade};

/// A workflow command for the verdict, and one for each line that is worth a word.
pub fn text(report: &Report<'_>) -> String {
    let verdict = report.verdict;
    let kind = match verdict.answer {
        Answer::Pass if verdict.worst().is_none() => "notice",
        Answer::Pass => "warning",
        Answer::Limit | Answer::Failed | Answer::Unknown => "error",
    };
    let title = format!("Migration check: {}", report.facts.name);
    let why: String = report.why().iter().map(|(word, words)| format!("\n{word}: {words}")).collect();
    let mut all = vec![command(kind, &title, &format!("{} {}{why}", report.sign(), verdict.sentence))];
    for line in &verdict.lines {
        let kind = match line.grade {
            Grade::Fine | Grade::Unseen | Grade::Excepted => continue,
            Grade::Warning => "warning",
            Grade::Limit | Grade::Failed => "error",
        };
        let limit = super::in_brackets(line);
        let limit = if limit.is_empty() { limit } else { format!(" {limit}") };
        all.push(command(kind, &line.about, &format!("{}{limit}", line.measured)));
    }
    all.extend(verdict.notes.iter().map(|note| command("warning", "Migration check: note", note)));
    all.join("\n")
}

fn command(kind: &str, title: &str, text: &str) -> String {
    format!("::{kind} title={}::{}", property(title), data(text))
}

/// What stands behind the second pair of colons.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// What stands between the two pairs.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_written_as_the_toolkit_does() {
        let written = command("error", "a: b, 5%", "x:\r\ny, 100%0A\n::error::z");
        assert_eq!(written, "::error title=a%3A b%2C 5%25::x:%0D%0Ay, 100%250A%0A::error::z");
    }

    proptest! {
        #[test]
        fn no_text_begins_a_command_of_its_own(title in "[a-z:,%\r\n]{0,20}", text in "[a-z:,%\r\n]{0,40}") {
            let written = command("error", &title, &text);
            prop_assert_eq!(written.lines().count(), 1);
            let (head, said) = written[2..].split_once("::").unwrap();
            let back = |text: &str| {
                let text = text.replace("%3A", ":").replace("%2C", ",").replace("%0D", "\r").replace("%0A", "\n");
                text.replace("%25", "%")
            };
            prop_assert_eq!(back(head.strip_prefix("error title=").unwrap()), title);
            prop_assert_eq!(back(said), text);
        }
    }
}
