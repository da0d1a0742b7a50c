//! How old Compose may be, and how it writes its version.

use std::fmt;

/// Major and minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

/// The oldest Compose that knows `!reset` for whole services.
pub const OLDEST: Version = Version(2, 24);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What `version --short` printed, without what some builds write round it.
pub fn shown(printed: &str) -> &str {
    printed.trim().trim_start_matches('v')
}

/// The version that `version --short` printed, such as `2.40.3-3` or `v2.24.0`.
pub fn parse(printed: &str) -> Option<Version> {
    let mut numbers = shown(printed).split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    Some(Version(numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        assert_eq!(parse("v2.24.0\n"), Some(OLDEST));
        assert_eq!(parse("2.40.3-3"), Some(Version(2, 40)));
        assert!(parse("5.0-rc1") > Some(OLDEST) && parse("2.23.3") < Some(OLDEST));
        for text in ["", "2", "soon", "2.x"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
