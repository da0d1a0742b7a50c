//! PostgreSQL's table lock modes, and whom each of them keeps waiting.
//!
//! Source: the PostgreSQL manual, 13.3.1 "Table-Level Locks", table 13.2.

use std::fmt;

use serde::Serialize;

/// A table lock mode, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the manual's names")]
pub enum Mode {
    AccessShare,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}

/// A client of production that goes on working while a migration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// `SELECT`.
    Reader,
    /// `INSERT`, and changes of rows that nobody else touches.
    Writer,
    /// Changes of a row that the migration may have changed, too.
    Row,
}

impl Client {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Row];

    /// The table lock that it needs.
    pub fn needs(self) -> Mode {
        match self {
            Self::Reader => Mode::AccessShare,
            Self::Writer | Self::Row => Mode::RowExclusive,
        }
    }

    /// As a report names many of them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "readers",
            Self::Writer => "writers",
            Self::Row => "updates of one row",
        }
    }
}

impl Mode {
    /// Every mode, the weakest first.
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// The mode that `pg_locks.mode` calls so, such as `AccessExclusiveLock`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix("Lock")?;
        Self::ALL.into_iter().find(|mode| format!("{mode:?}") == name)
    }

    /// As SQL writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowShare => "ROW SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::Exclusive => "EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// Whether a session that holds this mode keeps another one waiting that wants `other`.
    pub fn conflicts(self, other: Self) -> bool {
        let weakest = match self {
            Self::AccessShare => return other == Self::AccessExclusive,
            Self::RowShare => Self::Exclusive,
            Self::RowExclusive => Self::Share,
            Self::ShareUpdateExclusive => Self::ShareUpdateExclusive,
            // The one mode that does not conflict with itself though it does with weaker ones.
            Self::Share => return other >= Self::RowExclusive && other != Self::Share,
            Self::ShareRowExclusive => Self::RowExclusive,
            Self::Exclusive => Self::RowShare,
            Self::AccessExclusive => Self::AccessShare,
        };
        other >= weakest
    }

    /// Whether the mode keeps such a client waiting at the table itself.
    pub fn blocks(self, client: Client) -> bool {
        self.conflicts(client.needs())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_those_of_the_manual() {
        // Table 13.2, a row for each held mode, X where the requested mode waits.
        let table =
            [".......X", "......XX", "....XXXX", "...XXXXX", "..XX.XXX", "..XXXXXX", ".XXXXXXX", "XXXXXXXX"];
        for (held, row) in Mode::ALL.into_iter().zip(table) {
            for (wanted, mark) in Mode::ALL.into_iter().zip(row.chars()) {
                assert_eq!(held.conflicts(wanted), mark == 'X', "{held} against {wanted}");
                assert_eq!(held.conflicts(wanted), wanted.conflicts(held), "{held} and {wanted}");
            }
        }
    }

    #[test]
    fn the_catalogs_names_are_understood_and_no_others() {
        assert_eq!(Mode::parse("ShareRowExclusiveLock"), Some(Mode::ShareRowExclusive));
        assert_eq!(Mode::parse("ExclusiveLock"), Some(Mode::Exclusive));
        for other in ["SIReadLock", "Exclusive", ""] {
            assert_eq!(Mode::parse(other), None, "{other}");
        }
    }
}
