//! The offer to have git ignore the file that may hold a login.

use std::path::Path;

use crate::env_file;
use crate::error::Result;
use crate::identity;
use crate::ui::Ui;

/// Sees that `file` may be written. Where git would commit it and somebody is there to ask, an entry for it is offered first.
///
/// # Errors
/// Those of [`env_file::allowed`] and [`env_file::append`].
pub fn offer(file: &Path, ui: &mut Ui) -> Result<()> {
    let refused = env_file::allowed(file);
    if !ui.can_ask() || identity::is_left_out(file)? {
        return refused;
    }
    let Some(list) = identity::ignore_list(file)? else { return refused };
    let (name, list_name) = (env_file::NAME, list.display());
    if !ui.ask(&format!("git would commit {name}. Add it to {list_name}?")) {
        return refused;
    }
    env_file::append(&list, name)?;
    ui.note(&format!("Added {name} to {list_name}"));
    env_file::allowed(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;
    use crate::error::Kind;

    /// A checkout with a folder in it, both by the names that git has for them.
    fn checkout() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        git2::Repository::init(folder.path()).unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("api")).unwrap();
        let file = root.join("api").join(env_file::NAME);
        (folder, root, file)
    }

    fn quiet() -> Ui {
        Ui::new(Box::new(std::io::sink()), Box::new(std::io::sink()), true)
    }

    fn answered(file: &Path, answer: &'static str) -> Result<()> {
        offer(file, &mut quiet().answered_by(Box::new(answer.as_bytes())))
    }

    fn is_refused(answer: Result<()>) -> bool {
        answer.is_err_and(|error| error.kind == Kind::Guarded && error.hints[0].contains(env_file::NAME))
    }

    #[test]
    fn only_a_yes_changes_the_list_and_it_is_asked_once() {
        let (_folder, root, file) = checkout();
        let list = root.join(".gitignore");
        assert!(is_refused(offer(&file, &mut quiet())), "nobody is there");
        assert!(is_refused(answered(&file, "n\n")) && is_refused(answered(&file, "")));
        assert!(!list.exists());
        answered(&file, "y\n").unwrap();
        assert_eq!(fs::read_to_string(&list).unwrap(), ".env.lakebase\n");
        assert!(identity::is_left_out(&file).unwrap());
        // From then on nothing is asked: without anybody to answer it goes on.
        offer(&file, &mut quiet()).unwrap();
        assert_eq!(fs::read_to_string(&list).unwrap(), ".env.lakebase\n");
    }

    #[test]
    fn the_nearest_list_gets_a_line_as_its_others_are_and_keeps_its_rights() {
        let (_folder, root, file) = checkout();
        let (near, far) = (root.join("api/.gitignore"), root.join(".gitignore"));
        fs::write(&far, "target\n").unwrap();
        for (before, after) in [
            ("", ".env.lakebase\n"),
            ("dist\n", "dist\n.env.lakebase\n"),
            ("dist", "dist\n.env.lakebase\n"),
            ("dist\r\nlog\r\n", "dist\r\nlog\r\n.env.lakebase\r\n"),
            ("dist\r\nlog", "dist\r\nlog\r\n.env.lakebase\r\n"),
            (".env.lakebase\n!.env.*\n", ".env.lakebase\n!.env.*\n.env.lakebase\n"),
        ] {
            fs::write(&near, before).unwrap();
            fs::set_permissions(&near, fs::Permissions::from_mode(0o640)).unwrap();
            answered(&file, "yes\n").unwrap_or_else(|error| panic!("{before:?}: {error}"));
            assert_eq!(fs::read_to_string(&near).unwrap(), after);
            assert_eq!(near.metadata().unwrap().permissions().mode() & 0o777, 0o640);
            assert!(identity::is_left_out(&file).unwrap(), "{before:?}");
        }
        assert_eq!(fs::read_to_string(&far).unwrap(), "target\n");
        // A list need not be UTF-8.
        fs::write(&near, b"\xe9t\xe9\n").unwrap();
        answered(&file, "y\n").unwrap();
        assert_eq!(fs::read(&near).unwrap(), b"\xe9t\xe9\n.env.lakebase\n");
    }

    #[test]
    fn no_list_outside_of_the_checkout_is_touched() {
        let (_folder, root, file) = checkout();
        // given a list that is a link out of the checkout
        let outside = tempfile::tempdir().unwrap();
        let theirs = outside.path().join("list");
        fs::write(&theirs, "theirs\n").unwrap();
        symlink(&theirs, root.join("api/.gitignore")).unwrap();
        assert!(is_refused(answered(&file, "y\n")));
        // and a checkout inside of another
        let inner = root.join("inner");
        git2::Repository::init(&inner).unwrap();
        fs::write(root.join(".gitignore"), "outer\n").unwrap();
        answered(&inner.join(env_file::NAME), "y\n").unwrap();
        // then neither list has changed
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs\n");
        assert_eq!(fs::read_to_string(root.join(".gitignore")).unwrap(), "outer\n");
        assert_eq!(fs::read_to_string(inner.join(".gitignore")).unwrap(), ".env.lakebase\n");
    }

    #[test]
    fn what_git_tracks_is_not_cured_by_an_entry_so_none_is_offered() {
        let (_folder, root, file) = checkout();
        fs::write(&file, "").unwrap();
        let repository = git2::Repository::open(&root).unwrap();
        let mut index = repository.index().unwrap();
        index.add_path(Path::new("api/.env.lakebase")).unwrap();
        index.write().unwrap();
        assert!(is_refused(answered(&file, "y\n")));
        assert!(!root.join(".gitignore").exists());
    }
}
