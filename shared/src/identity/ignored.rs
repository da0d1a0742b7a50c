//! What git leaves out of a checkout.

use std::path::{Path, PathBuf};

use git2::Repository;

/// The ignore rules of a repository; outside of one nothing is ignored.
pub struct Ignored(Option<(Repository, PathBuf)>);

impl Ignored {
    /// The rules for a folder and what is in it.
    pub fn of(folder: &Path) -> Self {
        let found = || {
            let repository = Repository::discover(folder).ok()?;
            let root = repository.workdir()?.to_owned();
            Some((repository, root))
        };
        Self(found())
    }

    /// Whether git ignores a path.
    pub fn has(&self, path: &Path) -> bool {
        let Some((repository, root)) = &self.0 else { return false };
        let inside = path.strip_prefix(root).map(Path::to_owned).or_else(|_| {
            // The folder may have been named by another way than git does.
            path.canonicalize()
                .ok()
                .and_then(|path| path.strip_prefix(root).map(Path::to_owned).ok())
                .ok_or(())
        });
        inside.is_ok_and(|inside| repository.is_path_ignored(inside).unwrap_or(false))
    }
}
