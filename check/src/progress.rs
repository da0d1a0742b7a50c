//! What a user sees while a run lasts: which run, which statement, how long.

use std::time::Duration;

use lakebase::ui::Ui;

use crate::advice;

/// Between two lines where no terminal moves.
const QUIET: Duration = Duration::from_secs(30);

/// The progress of one run.
pub struct Shown<'a> {
    what: &'a str,
    told: Duration,
}

impl<'a> Shown<'a> {
    /// Of a run that is called so.
    pub fn new(what: &'a str) -> Self {
        Self { what, told: Duration::ZERO }
    }

    /// A line of the command's own.
    pub fn line(&mut self, line: &str, ui: &mut Ui) {
        ui.note(&format!("{} | {line}", self.what));
    }

    /// Time goes by.
    pub fn tick(&mut self, elapsed: Duration, statement: Option<&str>, ui: &mut Ui) {
        let statement = statement.map_or_else(|| "waiting for its first statement".into(), advice::quoted);
        let text = format!("{}: {} s, {statement}", self.what, elapsed.as_secs());
        if ui.progress(&text) {
            return;
        }
        if elapsed >= self.told + QUIET {
            self.told = elapsed;
            ui.note(&text);
        }
    }
}
