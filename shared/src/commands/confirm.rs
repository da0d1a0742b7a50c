//! A question before something goes that does not come back.

use crate::error::{Error, Kind, Result};
use crate::ui::Ui;

/// Goes on where `yes` was given or somebody answers so.
///
/// # Errors
/// [`Kind::Guarded`] for a no, and where nobody is there to answer; `done_nothing` says what was not done.
pub fn confirm(ui: &mut Ui, yes: bool, question: &str, done_nothing: &str) -> Result<()> {
    if yes || ui.ask(question) {
        return Ok(());
    }
    let refused = Error::new(Kind::Guarded, done_nothing);
    if ui.can_ask() {
        return Err(refused);
    }
    Err(refused.because_of(question).hint("confirm with `--yes`: there is no terminal to ask"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_goes_on_and_without_a_terminal_only_the_flag() {
        let ui = || Ui::new(Box::new(std::io::sink()), Box::new(std::io::sink()), true);
        let asked = |answer: &'static str| {
            confirm(&mut ui().answered_by(Box::new(answer.as_bytes())), false, "Sure?", "nothing")
        };
        assert!(asked("y\n").is_ok());
        let no = asked("\n").unwrap_err();
        assert_eq!((no.kind, no.hints.len()), (Kind::Guarded, 0));
        let nobody = confirm(&mut ui(), false, "Sure?", "nothing").unwrap_err();
        assert!(nobody.hints[0].contains("--yes"));
        assert!(confirm(&mut ui(), true, "Sure?", "nothing").is_ok());
    }
}
