//! The project's migration files: a bounded walk, and the reading of those that a tool is asked about.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::craft::{Migration, folder, name};
use super::{Tool, alembic};
use crate::identity::Ignored;

/// No deeper than this below the project's folder.
const DEPTH: usize = 12;
/// No more entries of folders than this, and no more migrations of one tool.
const ENTRIES: usize = 30_000;
const MIGRATIONS: usize = 5_000;
/// A longer file is not read; nobody edits it.
const LONGEST: u64 = 4 << 20;
/// What is never a project's own, whether or not git ignores it.
const FOREIGN: [&str; 8] =
    ["node_modules", "target", "venv", "env", "site-packages", "__pycache__", "bower_components", "Pods"];

/// The files of a project that could hold a migration.
#[derive(Debug, Clone, Default)]
pub struct Files {
    root: PathBuf,
    /// Below the root, with slashes, in order.
    paths: Vec<String>,
    /// Further folders of Alembic's, from its `alembic.ini`.
    versions: BTreeSet<String>,
    /// Whether the walk came to its end.
    complete: bool,
}

impl Files {
    /// Walks through the project. What git ignores, hidden folders, links and other checkouts are left out.
    pub fn find(root: &Path) -> Self {
        let ignored = Ignored::of(root);
        let mut files = Self { root: root.to_owned(), complete: true, ..Self::default() };
        let mut open = vec![(root.to_owned(), String::new(), 0)];
        let mut left = ENTRIES;
        while let Some((here, below, depth)) = open.pop() {
            let Ok(entries) = std::fs::read_dir(&here) else { continue };
            let entries: Vec<std::fs::DirEntry> = entries.filter_map(Result::ok).collect();
            if left < entries.len() {
                files.complete = false;
                break;
            }
            left -= entries.len();
            if depth > 0 && is_worktree(&here.join(".git")) {
                continue;
            }
            for entry in entries {
                let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else {
                    continue;
                };
                let path = format!("{below}{name}");
                if kind.is_file() && is_of_interest(&name) {
                    files.paths.push(path);
                } else if kind.is_dir()
                    && !name.starts_with('.')
                    && !FOREIGN.contains(&name.as_str())
                    && !ignored.has(&entry.path())
                {
                    match depth {
                        DEPTH => files.complete = false,
                        _ => open.push((entry.path(), format!("{path}/"), depth + 1)),
                    }
                }
            }
        }
        files.paths.sort();
        let inis = files.paths.iter().filter(|path| name(path) == alembic::INI);
        let places = inis.filter_map(|ini| {
            let text = String::from_utf8(files.read(ini)?).ok()?;
            Some(alembic::places(folder(ini), &text))
        });
        files.versions = places.flatten().collect();
        files
    }

    /// A tool's migrations; `None` where there may be more than were found.
    pub fn of(&self, tool: Tool) -> Option<Vec<Migration>> {
        let craft = tool.craft();
        let is_file = |path: &&String| {
            (craft.is_file)(path)
                || tool == Tool::Alembic && path.ends_with(".py") && self.versions.contains(folder(path))
        };
        let paths: Vec<&String> = self.paths.iter().filter(is_file).collect();
        if !self.complete || paths.len() > MIGRATIONS {
            return None;
        }
        let read = |path: &str| self.read(path);
        Some(paths.into_iter().filter_map(|path| (craft.migration)(path, &read(path)?, &read)).collect())
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let path = self.root.join(path);
        path.metadata().ok().filter(|about| about.len() <= LONGEST)?;
        std::fs::read(path).ok()
    }
}

fn is_of_interest(name: &str) -> bool {
    [".sql", ".py", ".rb", ".rs"].iter().any(|end| name.ends_with(end)) || name == alembic::INI
}

/// Whether a folder is another checkout of a repository: its migrations are another git branch's.
fn is_worktree(git: &Path) -> bool {
    git.is_file() && std::fs::read_to_string(git).is_ok_and(|text| text.contains("/worktrees/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn found(files: &Files, tool: Tool) -> Vec<String> {
        files.of(tool).unwrap().into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn what_is_not_the_projects_own_is_left_out() {
        let folder = project(&[
            ("api/migrations/1_a.sql", ""),
            ("api/target/migrations/2_b.sql", ""),
            ("web/node_modules/x/migrations/3_c.sql", ""),
            (".hidden/migrations/4_d.sql", ""),
            ("generated/migrations/5_e.sql", ""),
            ("other/.git", "gitdir: /shop/.git/worktrees/other\n"),
            ("other/migrations/6_f.sql", ""),
            ("module/.git", "gitdir: ../.git/modules/module\n"),
            ("module/migrations/7_g.sql", ""),
            (".gitignore", "generated/\n"),
        ]);
        std::os::unix::fs::symlink(folder.path().join("api"), folder.path().join("link")).unwrap();
        git2::Repository::init(folder.path()).unwrap();
        let files = Files::find(folder.path());
        assert_eq!(found(&files, Tool::Sqlx), ["api/migrations/1_a.sql", "module/migrations/7_g.sql"]);
        assert_eq!(found(&files, Tool::Alembic), Vec::<String>::new());
    }

    #[test]
    fn a_tree_without_an_end_is_not_taken_for_the_whole() {
        let deep = vec!["d"; DEPTH + 2].join("/");
        let folder = project(&[("migrations/1_a.sql", ""), (&format!("{deep}/migrations/2_b.sql"), "")]);
        assert_eq!(Files::find(folder.path()).of(Tool::Sqlx), None);
    }

    #[test]
    fn alembics_further_folders_are_found() {
        let migration = "revision = 'a'\ndown_revision = None\n";
        let folder = project(&[
            ("api/alembic.ini", "[alembic]\nversion_locations = %(here)s/db/main ./db/more,\n    model\n"),
            ("api/db/main/a.py", migration),
            ("api/db/more/a.py", migration),
            ("api/model/a.py", migration),
            ("api/model/env.py", "print()"),
            ("api/other/a.py", migration),
        ]);
        let files = Files::find(folder.path());
        assert_eq!(found(&files, Tool::Alembic), ["api/db/main/a.py", "api/db/more/a.py", "api/model/a.py"]);
    }

    #[test]
    fn a_project_that_is_not_there_has_no_files() {
        assert_eq!(found(&Files::find(Path::new("/nowhere")), Tool::Rails), Vec::<String>::new());
    }
}
