//! The one window to the terminal: data to stdout, everything else to stderr, colour only where it is seen.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::ops::RangeInclusive;

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
        let escaped = |c: char| match c {
            c if c == '\n' || is_seen(c) => c.to_string(),
            c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        };
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

/// The text with control and invisible characters made visible, so that a name from git or the API can neither drive the
/// terminal nor look like another name. Line breaks stay.
pub fn visible(text: &str) -> String {
    let harmless = |c: char| is_seen(c) || matches!(c, '\n' | '\t');
    text.chars().map(|c| if harmless(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Whether a character can be seen, or at least the room that it takes: it is neither a control nor a format character (of
/// which some turn the order of the text round them), and none that Unicode has a terminal leave out.
fn is_seen(c: char) -> bool {
    !c.is_control() && INVISIBLE.iter().all(|range| !range.contains(&c))
}

/// Unicode's general categories Cf, Zl and Zp, and its property `Default_Ignorable_Code_Point`.
const INVISIBLE: [RangeInclusive<char>; 25] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_from_outside_are_made_visible() {
        assert_eq!(visible("a\u{1b}[31mb\u{7}\tc\nd"), "a\\u{1b}[31mb\\u{7}\tc\nd");
    }

    /// What a command prints as JSON.
    fn printed(value: &Value) -> String {
        let (mut reader, writer) = std::io::pipe().unwrap();
        Ui::new(Box::new(writer), Box::new(std::io::sink()), false).json(value);
        std::io::read_to_string(&mut reader).unwrap()
    }

    #[test]
    fn a_name_can_not_turn_the_order_of_the_line_round_it() {
        assert_eq!(visible("ab\u{202e}gpj.exe\u{2066}\u{200f}"), "ab\\u{202e}gpj.exe\\u{2066}\\u{200f}");
        assert_eq!(printed(&Value::from("\u{202e}\u{e0041}")), "\"\\u202e\\udb40\\udc41\"\n");
    }

    proptest! {
        /// The peer is the table of Unicode that the regular expressions have.
        #[test]
        fn no_invisible_character_gets_out(text in r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}a]{0,40}") {
            let out = visible(&text);
            prop_assert!(out.chars().all(|c| matches!(c, ' '..='~' | '\n' | '\t')), "{out:?}");
            let json = printed(&Value::from(text.as_str()));
            prop_assert!(json.chars().all(|c| matches!(c, ' '..='~' | '\n')), "{json:?}");
            prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::from(text));
        }

        #[test]
        fn words_of_any_script_stay_as_they_are(
            text in r"[\p{L}\p{M}\p{N}\p{P}\p{S} \n\t&&[^\p{Default_Ignorable_Code_Point}]]{0,40}"
        ) {
            prop_assert_eq!(visible(&text), text.as_str());
            prop_assert_eq!(serde_json::from_str::<Value>(&printed(&Value::from(text.as_str()))).unwrap(), Value::from(text));
        }
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
