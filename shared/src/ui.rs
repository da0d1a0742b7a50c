//! The one window to the terminal: data to stdout, everything else to stderr, colour only where it is seen.

use std::io::{BufRead, BufReader, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp, Zoned};
use serde_json::Value;

use crate::error::Error;
use crate::event::Event;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const STRONG: Style = Style::new().bold();

/// The handles that a command writes to.
pub struct Ui {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// A spinner needs a terminal; elsewhere each event is a line.
    spinner: Option<indicatif::ProgressBar>,
    terminal: bool,
    /// Where answers come from; none where nobody sits there.
    answers: Option<Box<dyn BufRead>>,
}

impl Ui {
    /// The process's own stdout and stderr.
    pub fn of_process() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let ui = Self::new(Box::new(anstream::stdout()), Box::new(anstream::stderr()), terminal);
        let somebody = terminal && std::io::stdin().is_terminal();
        if somebody { ui.answered_by(Box::new(BufReader::new(std::io::stdin()))) } else { ui }
    }

    /// Any two handles; `terminal` says whether moving progress makes sense on `err`.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>, terminal: bool) -> Self {
        Self { out, err, spinner: None, terminal, answers: None }
    }

    /// The same with somebody who answers questions.
    #[must_use]
    pub fn answered_by(mut self, answers: Box<dyn BufRead>) -> Self {
        self.answers = Some(answers);
        self
    }

    /// Whether a question would be answered.
    pub fn can_ask(&self) -> bool {
        self.answers.is_some()
    }

    /// Asks for a yes or no. Anything but `y` or `yes` is a no, and so is nobody's answer.
    pub fn ask(&mut self, question: &str) -> bool {
        self.rest();
        let Some(answers) = &mut self.answers else { return false };
        let _ = write!(self.err, "{} [y/N] ", visible(question));
        let _ = self.err.flush();
        let mut answer = String::new();
        answers.read_line(&mut answer).is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// The two handles themselves, for a room that writes its own text.
    pub fn handles(&mut self) -> (&mut dyn Write, &mut dyn Write) {
        (&mut *self.out, &mut *self.err)
    }

    /// A line of data. A reader that went away is no failure of ours.
    pub fn data(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    /// One JSON document as data.
    pub fn json(&mut self, value: &Value) {
        // JSON itself allows more of them inside a text than a terminal takes as text.
        let inert = |c: char| !c.is_control() || c == '\n';
        let escaped = |c: char| if inert(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
        self.data(&format!("{value:#}").chars().map(escaped).collect::<String>());
    }

    /// A line about what was done.
    pub fn note(&mut self, line: &str) {
        self.rest();
        let _ = writeln!(self.err, "{}", visible(line));
    }

    /// Something the user may want to act on.
    pub fn warn(&mut self, line: &str) {
        self.rest();
        let _ = writeln!(self.err, "{WARNING}warning:{WARNING:#} {}", visible(line));
    }

    /// A failure: what, why, what to do.
    pub fn error(&mut self, error: &Error) {
        self.rest();
        let mut line = |style: Style, label: &str, text: &str| {
            // A line of somebody else's words must not look like one of ours.
            let text = visible(text).replace('\n', "\n    ");
            let _ = writeln!(self.err, "{style}{label}:{style:#} {text}");
        };
        line(ERROR, "error", &error.message);
        error.causes.iter().for_each(|cause| line(STRONG, "caused by", cause));
        error.hints.iter().for_each(|hint| line(HINT, "hint", hint));
    }

    /// Progress of long work.
    pub fn event(&mut self, event: &Event) {
        let text = match event {
            Event::Creating { branch, parent } => format!("Creating branch {branch} from {parent}"),
            Event::Deleting { branch } => format!("Deleting branch {branch}"),
            Event::Waiting { branch } => format!("Waiting for branch {branch}"),
            Event::Entering { branch } => format!("Waiting for branch {branch} to take logins"),
            Event::Masking { file } => format!("Running {file} on the new branch"),
            Event::Shortened { life } => {
                format!("The workspace allows a branch no longer life: trying {}", duration(*life))
            }
            Event::Full => "Waiting until somebody deletes a branch of the project".to_owned(),
            Event::CreatingProject { project } => format!("Creating project {project}"),
            Event::CreatingDatabase { database } => format!("Creating database {database}"),
        };
        if !self.terminal {
            return self.note(&text);
        }
        self.rest();
        let spinner = indicatif::ProgressBar::new_spinner().with_message(visible(&text));
        spinner.enable_steady_tick(std::time::Duration::from_millis(100));
        self.spinner = Some(spinner);
    }

    /// Moving progress of one piece of long work, where a terminal shows it. Gives whether one does.
    pub fn progress(&mut self, text: &str) -> bool {
        if !self.terminal {
            return false;
        }
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = indicatif::ProgressBar::new_spinner();
            spinner.enable_steady_tick(std::time::Duration::from_millis(100));
            spinner
        });
        spinner.set_message(visible(text));
        true
    }

    /// Ends the moving progress, if there is any.
    pub fn rest(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

/// The text with control characters made visible, so that a name from git or the API can't drive the
/// terminal. Line breaks stay.
pub fn visible(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if harmless(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// A duration in the unit that fits it, rounded: `3 s`, `12 min`, `36 h`, `3 d`.
pub fn duration(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    let rounded = |unit: i64| (seconds + unit / 2) / unit;
    match (rounded(60), rounded(3600)) {
        _ if seconds < 60 => format!("{seconds} s"),
        (minutes, _) if minutes < 120 => format!("{minutes} min"),
        (_, hours) if hours < 48 => format!("{hours} h"),
        _ => format!("{} d", rounded(86_400)),
    }
}

/// A moment on the local clock: the time of today, else date and time.
pub fn clock(at: Timestamp) -> String {
    let zoned = at.to_zoned(jiff::tz::TimeZone::system());
    let today = Zoned::now().date() == zoned.date();
    zoned.strftime(if today { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_from_outside_are_made_visible() {
        assert_eq!(visible("a\u{1b}[31mb\u{7}\tc\nd"), "a\\u{1b}[31mb\\u{7}\tc\nd");
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        let ui = || Ui::new(Box::new(std::io::sink()), Box::new(std::io::sink()), true);
        for (answer, yes) in [("y\n", true), ("YES\n", true), ("n\n", false), ("\n", false), ("", false)] {
            let mut ui = ui().answered_by(Box::new(answer.as_bytes()));
            assert!(ui.can_ask());
            assert_eq!(ui.ask("Sure?"), yes, "{answer:?}");
        }
        assert!(!ui().can_ask() && !ui().ask("Sure?"));
    }

    #[test]
    fn durations_are_rounded_to_the_unit_that_fits() {
        let read = |seconds| duration(SignedDuration::from_secs(seconds));
        assert_eq!(read(-5), "0 s");
        assert_eq!(read(59), "59 s");
        assert_eq!(read(3599), "60 min");
        assert_eq!(read(7200), "2 h");
        assert_eq!(read(86_399), "24 h");
        assert_eq!(read(7 * 86_400 - 1), "7 d");
    }
}
