//! What long work tells while it runs; [`crate::ui::Ui`] turns it into words.

use jiff::SignedDuration;

/// A step of the way to a live branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A branch is being made from its parent.
    Creating {
        /// Id of the new branch.
        branch: String,
        /// Id of the branch that it is a copy of.
        parent: String,
    },
    /// A branch is being deleted.
    Deleting {
        /// Its id.
        branch: String,
    },
    /// The branch exists but is not ready yet.
    Waiting {
        /// Its id.
        branch: String,
    },
    /// The branch takes its time to let somebody in: it is new, or was asleep.
    Entering {
        /// Its id.
        branch: String,
    },
    /// The project's SQL for new copies is being run.
    Masking {
        /// The file.
        file: String,
    },
    /// The workspace allows no such long life, so the branch gets a shorter one.
    Shortened {
        /// How long it shall live now.
        life: SignedDuration,
    },
    /// The project's branch limit is reached, and somebody has to delete one.
    Full,
    /// A project is being made.
    CreatingProject {
        /// Its id.
        project: String,
    },
    /// A database is being made.
    CreatingDatabase {
        /// Its name in PostgreSQL.
        database: String,
    },
}
