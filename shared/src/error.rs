//! Errors: what failed, why, what to do, and one exit code.

use std::fmt;

/// What kind of failure it was. Each kind has one exit code; the table in `README.md` is checked against
/// [`Kind::ALL`] by a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line could not be understood.
    Usage,
    /// The folder lies in no git repository.
    NoRepository,
    /// Git knows no user name or e-mail.
    NoGitUser,
    /// HEAD is on no branch, so there is no name to give to the Lakebase branch.
    DetachedHead,
    /// Neither `lakebase.config` nor `metadata.lakebase` in a Cargo.toml was found, or they lack a value.
    NoConfig,
    /// Both kinds of configuration exist.
    TwoConfigs,
    /// A configuration value is malformed or contradicts the service.
    BadConfig,
    /// Docker is not installed, or its engine does not answer.
    NoDocker,
    /// Docker Compose is not installed, or is older than 2.24.
    NoCompose,
    /// There is no Compose file, or Compose itself refuses the model.
    NoModel,
    /// Which service is the local database can't be told.
    NoDatabaseService,
    /// No Databricks credential was found.
    NoCredential,
    /// The workspace refused the credential, or the identity lacks the right.
    Denied,
    /// The Lakebase project does not exist.
    NoProject,
    /// The Lakebase API answered with an error.
    Api,
    /// The Lakebase API could not be reached, or did not finish in time.
    Unreachable,
    /// The embedded Lakebase is not running.
    EmbeddedStopped,
    /// A TCP port is taken by another program.
    PortTaken,
    /// No PostgreSQL server binaries were found.
    NoPostgres,
    /// The embedded Lakebase failed in another way.
    Embedded,
    /// A guard refused to touch something that is not a branch of ours.
    Guarded,
    /// There is no Lakebase branch for this git branch.
    NoBranch,
    /// The branch limit of the project is reached.
    Quota,
    /// A program that we start is missing or failed.
    Program,
    /// Reading or writing a file failed.
    Io,
    /// The user, or Docker on the user's behalf, ended the command.
    Interrupted,
    /// Something that this version can't do.
    Unsupported,
    /// The branch tests nothing any more: it is ahead of the project's migrations, or one of them was edited since.
    Stale,
    /// Production's rows would be handed out unmasked, or masking them failed.
    NotMasked,
    /// The branch's database refused a login or a statement.
    Database,
    /// `doctor` found something that needs a hand.
    Unwell,
}

impl Kind {
    /// Every kind, in the order of the exit codes.
    pub const ALL: [Self; 31] = [
        Self::Usage,
        Self::NoRepository,
        Self::NoGitUser,
        Self::DetachedHead,
        Self::NoConfig,
        Self::TwoConfigs,
        Self::BadConfig,
        Self::NoDocker,
        Self::NoCompose,
        Self::NoModel,
        Self::NoDatabaseService,
        Self::NoCredential,
        Self::Denied,
        Self::NoProject,
        Self::Api,
        Self::Unreachable,
        Self::EmbeddedStopped,
        Self::PortTaken,
        Self::NoPostgres,
        Self::Embedded,
        Self::Guarded,
        Self::NoBranch,
        Self::Quota,
        Self::Program,
        Self::Io,
        Self::Interrupted,
        Self::Unsupported,
        Self::Stale,
        Self::NotMasked,
        Self::Database,
        Self::Unwell,
    ];

    /// The process's exit code: 64 for usage, 65 to 99 for the rest (0 to 3 belong to `check`, and after
    /// the exec the code is Compose's own).
    pub fn exit_code(self) -> u8 {
        64 + self as u8
    }
}

/// A failure as a user reads it.
#[derive(Debug, Clone)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// What failed, one sentence without a full stop.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do, the best first.
    pub hints: Vec<String>,
}

/// A result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Adds a cause, and the causes behind it.
    #[must_use]
    pub fn because(mut self, cause: &dyn std::error::Error) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            // Wrappers often repeat what they wrap; one line each is enough.
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds a cause that is words already, such as what a program printed.
    #[must_use]
    pub fn because_of(mut self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        if !cause.trim().is_empty() {
            self.causes.push(cause.trim().to_owned());
        }
        self
    }

    /// Adds something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// A failed read or write of `what`.
    pub fn io(what: impl fmt::Display, cause: &std::io::Error) -> Self {
        Self::new(Kind::Io, format!("{what} failed")).because(cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_code_between_64_and_99() {
        let codes: Vec<u8> = Kind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes, (64..64 + 31).collect::<Vec<u8>>());
    }

    #[test]
    fn the_readme_lists_each_code_with_its_kind() {
        let readme = include_str!("../../README.md");
        for kind in Kind::ALL {
            let row = format!("| {} | `{kind:?}` |", kind.exit_code());
            assert!(readme.contains(&row), "README.md lacks the row {row}");
        }
    }
}
