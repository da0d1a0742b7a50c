//! Every branch of the project beside what this machine recorded of them.

use super::session::Session;
use crate::api::{Branch, Client, Project};
use crate::ensure;
use crate::error::Result;
use crate::identity::Fate;
use crate::record::Entry;
use crate::slots;

/// What the service lists, and what was recorded here.
pub struct Roster {
    /// The project.
    pub project: Project,
    /// All of its branches.
    pub branches: Vec<Branch>,
    /// What this machine recorded as made for this user, with what became of each git branch.
    pub recorded: Vec<(Entry, Fate)>,
}

impl Roster {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`crate::error::Kind::NoProject`], [`crate::error::Kind::BadConfig`] where the project's uid is another, and the
    /// API's own: a list that is not whole is no list.
    pub async fn read(session: &Session, client: &Client) -> Result<Self> {
        let id = &session.target.path.project;
        let (project, branches) = tokio::join!(client.project(id), client.branches(id));
        let project = ensure::check_project(&session.target, project)?;
        let branches =
            branches.map_err(|error| error.into_error(&format!("listing the branches of project {id}")))?;
        let entries =
            session.record.as_ref().map(|record| record.of_project(&project.uid)).unwrap_or_default();
        let recorded = slots::of_user(entries, &session.identity);
        Ok(Self { project, branches, recorded })
    }
}
