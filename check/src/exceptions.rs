//! Exceptions: lines of the verdict that do not decide, for a reason and until a day.
//!
//! `RULE[@OBJECT] until YYYY-MM-DD: REASON`, several with semicolons between them.

use jiff::civil::Date;
use serde::Serialize;

use crate::verdict::{Grade, Line};

/// Between two exceptions.
pub const BETWEEN: char = ';';
/// Lines that may be excepted, as [`Line::rule`] names them. That a migration fails is nothing to except.
pub const RULES: [&str; 10] =
    ["result", "stall", "locks", "written", "queue", "left", "queries", "heads", "down", "twice"];

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The line.
    pub rule: String,
    /// What it is about, such as a table; everything, where it is missing.
    pub object: Option<String>,
    /// The last day on which it holds.
    pub until: Date,
    /// Why.
    pub reason: String,
}

/// All of a project, on one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exceptions {
    /// They.
    pub all: Vec<Exception>,
    /// The day, in UTC.
    pub today: Date,
}

impl Exception {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let head = text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len());
        let (rule, rest) = text.split_at(head);
        if !RULES.contains(&rule) {
            return Err(format!("has no rule at its beginning; the rules are {}", RULES.join(", ")));
        }
        // A name may hold these words; the first place where a day and a colon follow ends it.
        let day = |at: usize| rest.get(at + UNTIL.len()..at + UNTIL.len() + DAY)?.parse::<Date>().ok();
        let places = rest.match_indices(UNTIL).map(|(at, _)| at);
        let found = places
            .filter_map(|at| Some((at, day(at)?)))
            .find(|(at, _)| rest[at + UNTIL.len() + DAY..].starts_with(':'));
        let Some((at, until)) = found else {
            return Err("has no day: write ` until YYYY-MM-DD: ` before the reason".into());
        };
        let reason = rest[at + UNTIL.len() + DAY + 1..].trim().to_owned();
        if reason.is_empty() {
            return Err("has no reason behind its day".into());
        }
        let object = match rest[..at].strip_prefix('@').map(str::trim) {
            Some("") => return Err("has no object behind its `@`".into()),
            Some(object) => Some(object.to_owned()),
            None if rest[..at].trim().is_empty() => None,
            None => return Err("has words between its rule and its day; an object stands behind `@`".into()),
        };
        Ok(Self { rule: rule.to_owned(), object, until, reason })
    }

    /// As it is named: `stall@orders`.
    pub fn name(&self) -> String {
        self.object.as_ref().map_or_else(|| self.rule.clone(), |object| format!("{}@{object}", self.rule))
    }

    fn is_of(&self, rule: &str, object: &str) -> bool {
        self.rule == rule && self.object.as_deref().is_none_or(|own| own == object)
    }
}

const UNTIL: &str = " until ";
/// Characters of `YYYY-MM-DD`.
const DAY: usize = 10;

impl Exceptions {
    /// Reads the list.
    ///
    /// # Errors
    /// Which of them is wrong, and how.
    pub fn parse(text: &str, today: Date) -> Result<Self, String> {
        let items = text.split(BETWEEN).map(str::trim).filter(|item| !item.is_empty());
        let read = |item| Exception::parse(item).map_err(|why| format!("`{item}` {why}"));
        Ok(Self { all: items.map(read).collect::<Result<_, _>>()?, today })
    }

    fn in_force(&self) -> impl Iterator<Item = &Exception> {
        self.all.iter().filter(|one| one.until >= self.today)
    }

    /// Whether such an object is excepted from a rule today.
    pub fn cover(&self, rule: &str, object: &str) -> bool {
        self.in_force().any(|one| one.is_of(rule, object))
    }

    /// Excepts the lines of which everything that is too much is excepted. Gives what to say about the exceptions themselves:
    /// those whose day has passed, and those that nothing needed.
    pub fn apply(&self, lines: &mut [Line]) -> Vec<String> {
        let mut needed = vec![false; self.all.len()];
        for line in lines.iter_mut().filter(|line| matches!(line.grade, Grade::Warning | Grade::Limit)) {
            let mut first = None;
            let mut by = |object: Option<&str>| {
                let fits = |one: &Exception| match object {
                    Some(object) => one.is_of(line.rule, object),
                    None => one.rule == line.rule && one.object.is_none(),
                };
                let fitting =
                    self.all.iter().enumerate().filter(|(_, one)| one.until >= self.today && fits(one));
                fitting.fold(false, |_, (place, one)| {
                    needed[place] = true;
                    first.get_or_insert_with(|| one.clone());
                    true
                })
            };
            let is_excepted = if line.objects.is_empty() {
                by(None)
            } else {
                // All are asked: each exception that fits was needed.
                let covered: Vec<bool> = line.objects.iter().map(|object| by(Some(object))).collect();
                covered.into_iter().all(|is_covered| is_covered)
            };
            if is_excepted && let Some(one) = first {
                line.grade = Grade::Excepted;
                line.excepted = Some(one);
            }
        }
        let mut notes = Vec::new();
        for (one, needed) in self.all.iter().zip(needed) {
            if one.until < self.today {
                notes.push(format!("the exception `{}` ended on {}: {}", one.name(), one.until, one.reason));
            } else if !needed
                && !lines.iter().any(|line| line.rule == one.rule && line.grade == Grade::Unseen)
            {
                notes.push(format!(
                    "the exception `{}` was not needed ({}): remove it",
                    one.name(),
                    one.reason
                ));
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Exceptions, String> {
        Exceptions::parse(text, date(2026, 11, 23))
    }

    #[test]
    fn an_exception_has_a_rule_a_day_and_a_reason() {
        let all = read("stall@orders until 2027-01-31: nightly window, agreed: Ada; heads until 2026-12-24: merged soon;").unwrap().all;
        assert_eq!(all[0].name(), "stall@orders");
        assert_eq!(
            (all[0].until, all[0].reason.as_str()),
            (date(2027, 1, 31), "nightly window, agreed: Ada")
        );
        assert_eq!((all[1].name().as_str(), &all[1].object), ("heads", &None));
        for (bad, why) in [
            ("speed until 2027-01-01: x", "no rule"),
            ("stall: x", "no day"),
            ("stall until 2027-02-30: x", "no day"),
            ("stall until tomorrow: x", "no day"),
            ("stall until 2027-01-01", "no day"),
            ("stall until 2027-01-01: ", "no reason"),
            ("stall@ until 2027-01-01: x", "no object"),
            ("stall orders until 2027-01-01: x", "words between"),
            ("heads until 2027-01-01: x; y", "`y` has no rule"),
        ] {
            assert!(read(bad).unwrap_err().contains(why), "{bad}: {:?}", read(bad));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(stall|heads|@|;|:| until |2027-01-01|[ -~é]){0,12}") {
            let _ = read(&text);
        }

        #[test]
        fn what_is_written_is_read_back(
            rule in prop::sample::select(RULES.to_vec()),
            object in prop::option::of("[!-~&&[^;]]([ -~é&&[^;]]{0,20}[!-~&&[^;]])?"),
            days in 0..20_000_i32,
            reason in "[!-~&&[^;]]([ -~é&&[^;]]{0,30}[!-~&&[^;]])?",
        ) {
            let until = date(2000, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap();
            let at = object.as_ref().map_or_else(String::new, |object| format!("@{object}"));
            let all = read(&format!("{rule}{at} until {until}: {reason}")).unwrap().all;
            prop_assert_eq!(all, vec![Exception { rule: rule.into(), object, until, reason }]);
        }
    }
}
