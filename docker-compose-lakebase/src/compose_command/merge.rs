//! The files of a merge, from which a check's services are built and mounted in the place of the checkout's.

use std::fs;
use std::path::{Path, PathBuf};

use lakebase::commands::session::World;
use lakebase::env_file;
use lakebase::error::{Error, Result};
use lakebase::identity;
use lakebase_check::command;

/// A folder with a merge, which goes with it. It is beside the Compose file: an engine that is in a machine of its own sees
/// the project's folder, and may see no other one.
pub struct Merge {
    /// The checkout's root, without links.
    root: PathBuf,
    /// The merge's root.
    into: PathBuf,
}

impl Merge {
    /// Writes the merge of HEAD and `reference` into the folder `into`.
    ///
    /// # Errors
    /// Those of [`command::merge`], and of writing.
    pub fn write(reference: &str, into: PathBuf, world: &mut World<'_>) -> Result<Self> {
        let root = identity::worktree_root(&world.cwd)?;
        let failed = |error| Error::io("making a folder for the merge", &error);
        let root = root.canonicalize().map_err(failed)?;
        env_file::folder(into.parent().and_then(Path::parent).unwrap_or(Path::new(".")))?;
        fs::create_dir(&into).map_err(failed)?;
        let merge = Self { root, into };
        command::merge(reference, &merge.into, world)?;
        Ok(merge)
    }

    /// Where a place of this machine is in the merge; `None` where it is not in there: it is of another folder, or no
    /// commit has it.
    pub fn place(&self, place: &str) -> Option<String> {
        // As Compose writes it.
        let place = place.replace("$$", "$");
        let place = Path::new(&place);
        let inside = place.is_absolute().then(|| place.canonicalize().ok())??;
        let moved = self.into.join(inside.strip_prefix(&self.root).ok()?);
        moved.exists().then(|| moved.to_str().map(str::to_owned))?
    }

    /// A Compose file that is not the same in the merge.
    pub fn changed<'a>(&self, files: &'a [PathBuf], cwd: &Path) -> Option<&'a Path> {
        let differs = |file: &&PathBuf| {
            let here = cwd.join(file);
            let there = here.to_str().and_then(|here| self.place(here));
            there.is_some_and(|there| fs::read(there).ok() != fs::read(here).ok())
        };
        files.iter().find(differs).map(PathBuf::as_path)
    }

    /// Removes it now; gives the folder where that failed.
    pub fn remove(self) -> Option<PathBuf> {
        let into = self.into.clone();
        drop(self);
        into.exists().then_some(into)
    }
}

impl Drop for Merge {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.into);
    }
}
