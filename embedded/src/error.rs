//! The error of this crate: kind, message, causes, hint.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of trouble it is, for whoever chooses an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The embedded server does not run, and the call needs it.
    Stopped,
    /// The HTTP port is in use by somebody else.
    PortTaken,
    /// No usable PostgreSQL binaries were found.
    NoPostgres,
    /// Another server holds the home folder.
    Locked,
    /// The home folder's files are damaged, unknown, or in an unusable place.
    State,
    /// Reading or writing failed.
    Io,
    /// PostgreSQL failed to do what was asked.
    Postgres,
    /// What is asked for contradicts what is there, or what is being done.
    Refused,
    /// The command line contradicts what runs.
    Usage,
    /// A setting has a value that can't be used.
    Setting,
    /// Refused to protect something: an unconfirmed reset, another user's server.
    Guarded,
}

/// An error with its causes and what to do about it. Never holds a secret.
#[derive(Debug)]
pub struct Error {
    /// The kind of trouble.
    pub kind: ErrorKind,
    /// One line, without a full stop.
    pub message: String,
    /// What to do, where there is something.
    pub hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without cause and hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// Message and causes in one line, for a log.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// A command of the embedded Lakebase as a user types it: by whichever of the two programs is there.
pub(crate) fn embedded_command(command: &str) -> String {
    format!("`cargo lakebase embedded {command}` or `docker lakebase embedded {command}`")
}

/// Adds kind and message to an error of input and output.
pub(crate) trait IoContext<T> {
    /// Turns the error into one of kind [`ErrorKind::Io`] that says what was being done.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(ErrorKind::Io, what()).because(error))
    }
}

/// As the house shows its errors: one exit code for each kind that a user can act on.
impl From<Error> for lakebase::error::Error {
    fn from(error: Error) -> Self {
        use lakebase::error::Kind;
        let kind = match error.kind {
            ErrorKind::Stopped => Kind::EmbeddedStopped,
            ErrorKind::PortTaken => Kind::PortTaken,
            ErrorKind::NoPostgres => Kind::NoPostgres,
            ErrorKind::Io => Kind::Io,
            ErrorKind::Usage => Kind::Usage,
            ErrorKind::Setting => Kind::BadConfig,
            ErrorKind::Guarded => Kind::Guarded,
            ErrorKind::Refused | ErrorKind::Locked | ErrorKind::State | ErrorKind::Postgres => Kind::Embedded,
        };
        let mut shown = Self::new(kind, error.message.clone());
        if let Some(cause) = std::error::Error::source(&error) {
            shown = shown.because(cause);
        }
        match error.hint {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    }
}
