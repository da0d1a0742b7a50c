//! The folder that holds everything, and what lies where in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::env_vars;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::random;

/// Port of the HTTP API where nothing else is asked for.
pub const DEFAULT_PORT: u16 = 7432;
/// Port in the name of a PostgreSQL's socket; its folder is private, so every branch uses the same.
pub const SOCKET_PORT: u16 = 5432;
/// Longest path of a unix socket, in bytes, that both Linux (107) and macOS (103) take.
const MAX_SOCKET_PATH: usize = 103;

/// Looks up an environment variable: `Some` where it is set and not empty text of another encoding.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The folder.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// What a running server tells about itself in `server.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// Process id of the server.
    pub pid: u32,
    /// Port of its HTTP API on 127.0.0.1.
    pub port: u16,
}

/// The lock that a server, `stop` or `reset` holds on the home. Dropping it lets go.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

impl Home {
    /// Finds the folder by its setting, else in the user's state folder, else (for root, whose own home is closed to the
    /// unprivileged user that PostgreSQL runs as) in `/var/lib`. Creates nothing.
    pub fn locate(env: Lookup<'_>) -> Result<Self> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = if let Some(root) = set(env_vars::HOME) {
            root
        } else if nix::unistd::geteuid().is_root() {
            PathBuf::from("/var/lib/lakebase/embedded")
        } else if let Some(state) = set(env_vars::XDG_STATE_HOME).filter(|path| path.is_absolute()) {
            state.join("lakebase/embedded")
        } else {
            let user = set(env_vars::USER_HOME).ok_or_else(|| {
                Error::new(ErrorKind::State, "no folder for the embedded Lakebase: `HOME` is not set")
                    .hint(format!("set `{}` to a folder", env_vars::HOME))
            })?;
            let below = if cfg!(target_os = "macos") {
                "Library/Application Support/lakebase/embedded"
            } else {
                ".local/state/lakebase/embedded"
            };
            user.join(below)
        };
        let root = std::path::absolute(&root).doing(|| format!("can't resolve `{}`", root.display()))?;
        let home = Self { root };
        let longest = home.socket_file("br-quiet-lake-00000000");
        if longest.as_os_str().len() > MAX_SOCKET_PATH {
            let message = format!(
                "the folder of the embedded Lakebase has too long a path: sockets below `{}` would exceed {MAX_SOCKET_PATH} bytes",
                home.root.display()
            );
            return Err(Error::new(ErrorKind::State, message)
                .hint(format!("set `{}` to a folder with a shorter path", env_vars::HOME)));
        }
        Ok(home)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The state, one JSON file.
    pub fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// The API's bearer token.
    pub fn token_file(&self) -> PathBuf {
        self.root.join("token")
    }

    /// The key that signs database credentials.
    pub fn signing_key_file(&self) -> PathBuf {
        self.root.join("signing.key")
    }

    /// The identities that were added.
    pub fn identities_file(&self) -> PathBuf {
        self.root.join("identities.json")
    }

    /// Held by whoever changes the identities.
    pub fn identities_lock_file(&self) -> PathBuf {
        self.root.join("identities.lock")
    }

    /// Certificate of the endpoints.
    pub fn certificate_file(&self) -> PathBuf {
        self.root.join("tls.crt")
    }

    /// Private key of the certificate.
    pub fn certificate_key_file(&self) -> PathBuf {
        self.root.join("tls.key")
    }

    /// What the server logs.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Where a running server says how to reach it.
    pub fn running_file(&self) -> PathBuf {
        self.root.join("server.json")
    }

    /// Where a server that could not start says why.
    pub fn failure_file(&self) -> PathBuf {
        self.root.join("start-failure.json")
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The folder of all branches' data. The only place below which data are ever deleted.
    pub fn branches(&self) -> PathBuf {
        self.root.join("branches")
    }

    /// The folder of one branch.
    pub fn branch_folder(&self, uid: &str) -> PathBuf {
        self.branches().join(uid)
    }

    /// The private folder of one branch's socket, kept short: the last eight characters of its uid.
    pub fn socket_folder(&self, uid: &str) -> PathBuf {
        let short = uid.rsplit('-').next().unwrap_or(uid);
        self.sockets().join(short)
    }

    /// The socket of one branch's PostgreSQL.
    pub fn socket_file(&self, uid: &str) -> PathBuf {
        self.socket_folder(uid).join(format!(".s.PGSQL.{SOCKET_PORT}"))
    }

    /// The folder of all sockets' folders.
    pub fn sockets(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The folders of branches that are there, also half-made and half-deleted ones. What is named otherwise is not ours: the home
    /// may be a folder that its user keeps other things in.
    pub fn branch_folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.branches()).into_iter().flatten().flatten();
        let ours = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let uid = name.to_str().and_then(|name| name.split('.').next());
            uid.is_some_and(|uid| random::is_uid("br", uid)) && entry.path().is_dir()
        };
        entries.filter(ours).map(|entry| entry.path()).collect()
    }

    /// Deletes the folders of branches and sockets, and those above them, unless they hold what is not ours.
    pub fn delete_folders(&self) -> std::io::Result<()> {
        let gone = |result: std::io::Result<()>| match result {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        for folder in self.branch_folders() {
            gone(fs::remove_dir_all(folder))?;
        }
        for folder in fs::read_dir(self.sockets()).into_iter().flatten().flatten() {
            let socket = folder.path().join(format!(".s.PGSQL.{SOCKET_PORT}"));
            let _ = fs::remove_file(socket.with_extension(format!("{SOCKET_PORT}.lock")));
            let _ = fs::remove_file(socket);
            // One that is not empty stays.
            let _ = fs::remove_dir(folder.path());
        }
        for folder in [self.branches(), self.sockets()] {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Whether anything was ever made here.
    pub fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// Makes the folders. For root they may be passed through (mode 0711), for PostgreSQL runs as another user; what
    /// lies in them stays closed.
    pub fn create(&self) -> Result<()> {
        let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
        let is_new = !self.branches().exists();
        for folder in [self.root.clone(), self.branches(), self.sockets()] {
            fs::create_dir_all(&folder).doing(|| format!("can't create `{}`", folder.display()))?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode))
                .doing(|| format!("can't set the mode of `{}`", folder.display()))?;
        }
        if is_new && cfg!(target_os = "linux") {
            spread_out(&self.branches());
        }
        Ok(())
    }

    /// Takes the lock, for whoever is going to change the home. Waits up to `patience` for a shorter holder.
    pub fn lock(&self, patience: Duration) -> Result<Option<HomeLock>> {
        let path = self.lock_file();
        let open = || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            options.open(&path).doing(|| format!("can't open `{}`", path.display()))
        };
        let mut file = open()?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    // What a killed server left says a number that may be a stranger's by now, and from here on the lock
                    // would vouch for it.
                    let _ = fs::remove_file(self.running_file());
                    return Ok(Some(HomeLock { _file: file }));
                }
                // A reset deleted the file while we waited for it; the lock is another file now.
                Ok(()) => file = open()?,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(
                        Error::new(ErrorKind::Io, format!("can't lock `{}`", path.display())).because(error)
                    );
                }
            }
        }
    }

    /// Files of ours beside the folders and the lock, whether or not they are there; those that a crash left half-written, too.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = vec![
            self.state_file(),
            self.running_file(),
            self.failure_file(),
            self.token_file(),
            self.signing_key_file(),
            self.identities_file(),
            self.identities_lock_file(),
            self.certificate_file(),
            self.certificate_key_file(),
            self.log_file(),
            self.log_file().with_extension("log.1"),
        ];
        let entries = fs::read_dir(&self.root).doing(|| format!("can't read `{}`", self.root.display()))?;
        let beside = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(BESIDE.as_bytes());
        files.extend(entries.flatten().filter(|entry| beside(&entry.file_name())).map(|entry| entry.path()));
        Ok(files)
    }

    /// Deletes what is left once the files are gone: the lock, while it is held, and the folder, unless its user keeps other
    /// things in it.
    pub fn vanish(&self, lock: HomeLock) -> Result<()> {
        let path = self.lock_file();
        fs::remove_file(&path).doing(|| format!("can't delete `{}`", path.display()))?;
        drop(lock);
        // A folder that is not empty stays, and so does one that somebody has just begun to use anew.
        if fs::remove_dir(&self.root).is_ok()
            && let Some(parent) = self.root.parent().filter(|parent| parent.ends_with("lakebase"))
        {
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }

    /// Whether a server holds the lock right now.
    pub fn is_locked(&self) -> bool {
        // A shared lock, so that two who look do not see each other.
        match File::open(self.lock_file()) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        }
    }

    /// The server that runs here. `None` when none does, also when one left its file behind.
    pub fn running(&self) -> Option<Running> {
        if !self.is_locked() {
            return None;
        }
        let text = fs::read_to_string(self.running_file()).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Deletes the data of one branch. The folder is renamed first, so that a half-deleted one is never taken for a branch.
    pub fn delete_branch_folder(&self, name: &str) -> std::io::Result<()> {
        let Some(doomed) = self.doom_branch_folder(name)? else { return Ok(()) };
        match fs::remove_dir_all(doomed) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Gives the folder of a branch a name under which it is only there to be deleted, and says which; none where it is not there.
    /// Nothing but a direct child of [`Home::branches`] is ever touched.
    pub fn doom_branch_folder(&self, name: &str) -> std::io::Result<Option<PathBuf>> {
        if !is_folder_name(name) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "not the name of a branch's folder",
            ));
        }
        let folder = self.branches().join(name);
        if name.ends_with(GONE) {
            return Ok(Some(folder));
        }
        // One that was doomed before may still be there.
        let number = random::hex::<4>().map_err(std::io::Error::other)?;
        let doomed = self.branches().join(format!("{name}.{number}{GONE}"));
        match fs::rename(&folder, &doomed) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other.map(|()| Some(doomed)),
        }
    }
}

/// Tells ext4 to put each child of `folder` into a part of the disk of its own (attribute `T`). Otherwise all branches share one
/// part, and ext4, which does not use the place of a deleted file again for a minute or more, has to step over every
/// file of the branches deleted just before: copying 1,300 small files then took 1.5 s instead of 0.05 s. Other file
/// systems know no such attribute, and where the program is missing it is merely slower.
fn spread_out(folder: &Path) {
    let quiet = std::process::Stdio::null;
    let mut chattr = std::process::Command::new("chattr");
    let _ = chattr.arg("+T").arg(folder).stdin(quiet()).stdout(quiet()).stderr(quiet()).status();
}

/// Whether the open `file` is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Beginning of the name of a file that is being written, to replace another.
const BESIDE: &str = ".new-";
/// Suffix of a branch folder that is still being made.
pub const PARTIAL: &str = ".partial";
/// Suffix of a branch folder that is being deleted.
const GONE: &str = ".gone";

/// A uid, with at most our suffixes: no path separator, no dot at the start.
fn is_folder_name(name: &str) -> bool {
    !name.starts_with('.')
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// Replaces a file as a whole: written beside it, synchronised, renamed. Mode 0600.
pub fn replace_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().prefix(BESIDE).tempfile_in(folder)?;
    beside.write_all(content)?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    // The rename itself is durable once the folder is.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
