//! The user that PostgreSQL runs as, and what belongs to it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::error::{Error, ErrorKind, IoContext, Result};

/// The unprivileged user that PostgreSQL runs as when the server is root's.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Account {
    /// None unless this process is root's; then `postgres`, else `nobody`.
    pub fn find() -> Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = nix::unistd::User::from_name(name) {
                return Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
            }
        }
        Err(Error::new(
            ErrorKind::State,
            "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`",
        )
        .hint("run the embedded Lakebase as an ordinary user"))
    }

    /// Makes sure that this account can pass through every folder above `home`.
    pub fn can_reach(&self, home: &Path) -> Result<()> {
        use std::os::unix::fs::MetadataExt;
        for folder in home.ancestors() {
            let meta = fs::metadata(folder).doing(|| format!("can't look at `{}`", folder.display()))?;
            let bit = if meta.uid() == self.uid {
                0o100
            } else if meta.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if meta.mode() & bit == 0 {
                let message = format!(
                    "PostgreSQL runs as an unprivileged user here, which can't pass through `{}`",
                    folder.display()
                );
                return Err(Error::new(ErrorKind::State, message).hint(format!(
                    "set `{}` to a folder that others may pass through",
                    crate::env_vars::HOME
                )));
            }
        }
        Ok(())
    }

    /// Hands a file or folder to an account, where there is one.
    pub(crate) fn own(account: Option<Self>, path: &Path) -> std::io::Result<()> {
        account.map_or(Ok(()), |account| chown(path, Some(account.uid), Some(account.gid)))
    }
}

/// Makes a folder with mode 0700 that belongs to PostgreSQL's user.
pub(crate) fn private_folder(path: &Path, account: Option<Account>) -> Result<()> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .and_then(|()| Account::own(account, path))
        .doing(|| format!("can't create `{}`", path.display()))
}
