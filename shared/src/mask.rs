//! The project's SQL for new copies of production: run once, before anybody gets a login, and proved afterwards by a mark on
//! the branch itself.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::config::{Key, Settings};
use crate::ensure::Report;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::sql::Session;

/// What a mark begins with.
const MARK: &str = "lakebase: masked ";

/// The files of `after-branch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masks {
    files: Vec<File>,
    /// Of the files, and of the role that runs them.
    digest: String,
    /// Whether a branch that they did not run on is withheld.
    pub required: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    /// As it was written.
    name: String,
    text: String,
}

/// What a branch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// These files ran on it.
    Same,
    /// Others did, or these as they were before.
    Other,
    /// None did.
    None,
}

impl Masks {
    /// Reads the files, whose paths are relative to `folder`. Gives nothing where none is wanted.
    ///
    /// # Errors
    /// [`Kind::NotMasked`] where there must be some and there are none, [`Kind::BadConfig`] where one can't be read.
    pub fn read(settings: &Settings, folder: &Path) -> Result<Option<Self>> {
        let required = settings.require_mask()?;
        let names = settings.after_branch();
        if names.is_empty() {
            return if required { Err(nothing_masks()) } else { Ok(None) };
        }
        let read = |name: &str| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Error::new(Kind::BadConfig, format!("`{}` can't be read", path.display()))
                    .because(&error)
                    .because_of(match settings.get(Key::AfterBranch) {
                        Some(setting) => format!("after-branch names it, in {}", setting.origin),
                        None => String::new(),
                    })
                    .hint("correct `after-branch`: its paths are relative to the project's file")
            })?;
            Ok(File { name: name.to_owned(), text })
        };
        let files = names.into_iter().map(read).collect::<Result<Vec<File>>>()?;
        let mut sum = Sha256::new();
        let texts = files.iter().map(|file| file.text.as_str());
        for part in std::iter::once(settings.text(Key::Role).unwrap_or_default()).chain(texts) {
            sum.update(part.len().to_be_bytes());
            sum.update(part);
        }
        Ok(Some(Self { files, digest: hex(&sum.finalize()), required }))
    }

    /// The files as they were named, in the order in which they run.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// What the branch with this `uid` says.
    ///
    /// # Errors
    /// [`Kind::Database`] in the server's words.
    pub async fn mark(&self, session: &Session, uid: &str) -> Result<Mark> {
        let marks = session
            .text(&format!(
                "SELECT pg_catalog.string_agg(description, E'\\n') FROM pg_catalog.pg_description
                 WHERE classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass AND description LIKE '{MARK}%'"
            ))
            .await?
            .unwrap_or_default();
        let ours = self.own_mark(uid);
        let of_fork = &ours[..ours.len() - self.digest.len()];
        Ok(if marks.lines().any(|mark| mark == ours) {
            Mark::Same
        } else if marks.lines().any(|mark| mark.starts_with(of_fork)) {
            Mark::Other
        } else {
            Mark::None
        })
    }

    /// Runs the files in one transaction, with the mark at its end; two terminals do it one after the other, and the second
    /// finds it done.
    ///
    /// # Errors
    /// [`Kind::NotMasked`] in the server's words, with file and line where they are known.
    pub async fn apply(&self, session: &Session, uid: &str, report: Report<'_>) -> Result<()> {
        let not_masked = |error: Error| Error { kind: Kind::NotMasked, ..error };
        let lock = "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('lakebase: masking'))";
        session.text(lock).await.map_err(not_masked)?;
        if self.mark(session, uid).await.map_err(not_masked)? == Mark::Same {
            return session.run("ROLLBACK").await.map_err(not_masked);
        }
        let transaction = "SELECT pg_catalog.txid_current()";
        let ours = session.text(transaction).await.map_err(not_masked)?;
        for file in &self.files {
            report(Event::Masking { file: file.name.clone() });
            session.script(&file.name, &file.text).await.map_err(not_masked)?;
            // The next one starts as this one did.
            let reset = format!("RESET ALL; RESET ROLE; {transaction}");
            if session.text(&reset).await.map_err(not_masked)? != ours {
                return Err(Error::new(Kind::NotMasked, format!("`{}` ends its transaction", file.name))
                    .because_of("all files run in one, so that a branch is masked as a whole or not at all")
                    .hint("take `BEGIN`, `COMMIT` and `ROLLBACK` out of the file"));
            }
        }
        session.run(RENEW_STATISTICS).await.map_err(not_masked)?;
        session.run(&leave(&self.own_mark(uid))).await.map_err(not_masked)?;
        // A constraint may wait until here, and would show a row in detail.
        session.script("COMMIT", "COMMIT").await.map_err(not_masked)
    }

    /// It names the branch: production may have been filled from a dump of a masked one.
    fn own_mark(&self, uid: &str) -> String {
        let mut fork = hex(&Sha256::digest(uid));
        fork.truncate(16);
        format!("{MARK}{fork} {}", self.digest)
    }
}

/// The failure to have any file.
fn nothing_masks() -> Error {
    Error::new(Kind::NotMasked, "no branch is handed out: nothing masks it")
        .because_of("require-mask is `true`, and after-branch names no file")
        .hint("write the file of SQL that masks production's rows, and name it in the project's file: `after-branch`")
}

/// PostgreSQL's statistics hold values of the columns, those of before too.
const RENEW_STATISTICS: &str = "
DO $lakebase$
DECLARE
  changed record;
BEGIN
  FOR changed IN
    SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname) AS path
    FROM pg_catalog.pg_stat_xact_user_tables s
    CROSS JOIN LATERAL (
      SELECT s.relid UNION SELECT a.relid FROM pg_catalog.pg_partition_ancestors(s.relid) AS a(relid)
    ) AS of(relid)
    JOIN pg_catalog.pg_class c ON c.oid = of.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0
  LOOP
    BEGIN
      EXECUTE 'ANALYZE ' || changed.path;
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
END
$lakebase$";

/// Leaves a mark: the comment of a large object without content. Anybody may make one and read its comment, no schema grows,
/// and no tool that compares schemas sees it.
fn leave(mark: &str) -> String {
    format!(
        "DO $lakebase$
BEGIN
  EXECUTE pg_catalog.format('COMMENT ON LARGE OBJECT %s IS %L', pg_catalog.lo_create(0), '{mark}');
END
$lakebase$"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;
    use crate::env_vars::Env;

    fn settings(pairs: &[(Key, &str)]) -> Settings {
        let layer: Layer = pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Settings::layered(Layer::new(), &Env::default(), Some(("lakebase.config".into(), layer)))
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_file_that_is_missing_and_a_mask_that_is_missing_are_told_before_anything_is_made() {
        let folder = folder(&[("a.sql", "SELECT 1")]);
        let read = |pairs: &[(Key, &str)]| Masks::read(&settings(pairs), folder.path());
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[(Key::RequireMask, "false")]).unwrap(), None);
        assert_eq!(read(&[(Key::RequireMask, "true")]).unwrap_err().kind, Kind::NotMasked);
        assert_eq!(read(&[(Key::RequireMask, "yes")]).unwrap_err().kind, Kind::BadConfig);
        let missing = read(&[(Key::AfterBranch, "a.sql, b.sql")]).unwrap_err();
        assert_eq!(missing.kind, Kind::BadConfig);
        assert!(
            missing.to_string().contains("b.sql") && missing.to_string().contains("lakebase.config"),
            "{missing}"
        );
        let found = read(&[(Key::AfterBranch, "a.sql"), (Key::RequireMask, "true")]).unwrap().unwrap();
        assert!(found.required && found.files.len() == 1);
    }

    #[test]
    fn a_mark_is_of_the_files_their_order_the_role_and_the_fork() {
        let folder = folder(&[("a.sql", "1"), ("b.sql", "2"), ("ab.sql", "12"), ("none.sql", "")]);
        let mark = |files: &str, role: &str, uid: &str| {
            let settings = settings(&[(Key::AfterBranch, files), (Key::Role, role)]);
            Masks::read(&settings, folder.path()).unwrap().unwrap().own_mark(uid)
        };
        let all = [
            mark("a.sql,b.sql", "team", "br-1"),
            mark("b.sql,a.sql", "team", "br-1"),
            mark("ab.sql,none.sql", "team", "br-1"),
            mark("a.sql,b.sql", "", "br-1"),
            mark("a.sql,b.sql", "team", "br-2"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| one != other));
            let text = one.strip_prefix(MARK).unwrap();
            // It stands inside of quotes.
            assert!(text.chars().all(|c| c.is_ascii_hexdigit() || c == ' '), "{text}");
        }
        assert_eq!(all[0], mark("a.sql,b.sql", "team", "br-1"));
    }
}
