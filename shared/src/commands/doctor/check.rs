//! One finding: how it stands, and what to do about it.

use serde_json::{Map, Value, json};

use crate::error::Error;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and may not for long, or not for everything.
    Warn,
    /// Something will not work.
    Fail,
    /// It was not looked at, since what it depends on failed.
    Skip,
}

impl Status {
    /// The word that a line starts with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One finding. Its texts may hold whatever git, the API or a program said: the report makes them harmless.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was looked at, the same in every version, such as `git.user`.
    pub id: String,
    /// How it stands.
    pub status: Status,
    /// The finding, one sentence.
    pub what: String,
    /// What to do, in this order.
    pub cure: Vec<String>,
    /// Statements or lines that a cure is about, to be copied as they are.
    pub copy: Vec<String>,
    /// The same for machines.
    pub data: Map<String, Value>,
}

impl Check {
    /// A finding of any kind.
    pub fn new(id: impl Into<String>, status: Status, what: impl Into<String>) -> Self {
        let (cure, copy) = (Vec::new(), Vec::new());
        Self { id: id.into(), status, what: what.into(), cure, copy, data: Map::new() }
    }

    /// As it should be.
    pub fn ok(id: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(id, Status::Ok, what)
    }

    /// Worth a look.
    pub fn warn(id: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(id, Status::Warn, what)
    }

    /// Broken.
    pub fn fail(id: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(id, Status::Fail, what)
    }

    /// Broken, in the words of the error that a command would end with.
    pub fn failed(id: impl Into<String>, error: &Error) -> Self {
        let check = Self::new(id, Status::Fail, error.to_string());
        Self { cure: error.hints.clone(), ..check }
    }

    /// Not looked at.
    pub fn skip(id: impl Into<String>, what: &str, why: &str) -> Self {
        Self::new(id, Status::Skip, format!("{what}: not checked, since {why}"))
    }

    /// Adds something to do.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure.push(cure.into());
        self
    }

    /// Adds a fact for machines.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// The same where a failure is no reason to worry.
    #[must_use]
    pub fn softened(self) -> Self {
        let status = if self.status == Status::Fail { Status::Warn } else { self.status };
        Self { status, ..self }
    }

    /// The finding as JSON.
    pub fn document(&self) -> Value {
        let mut document =
            json!({"id": self.id, "status": self.status.word(), "what": self.what, "cure": self.cure});
        if !self.copy.is_empty() {
            document["copy"] = json!(self.copy);
        }
        if !self.data.is_empty() {
            document["data"] = Value::Object(self.data.clone());
        }
        document
    }
}

/// One skipped finding for each id and what it is about.
pub fn skipped(all: &[(&str, &str)], why: &str) -> Vec<Check> {
    all.iter().map(|(id, what)| Check::skip(*id, what, why)).collect()
}
