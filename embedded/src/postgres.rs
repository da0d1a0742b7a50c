//! One PostgreSQL process over one data directory: made, started, adopted, stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::Home;
use crate::installation::Installation;

/// The superuser of our own connections. Nobody else can be it: endpoints refuse the name.
pub const ADMIN: &str = "lakebase_admin";
/// Port in the name of the socket; the folder is private, so every branch uses the same.
pub const SOCKET_PORT: u16 = 5432;
/// How often a starting or stopping server is looked at.
const POLL: Duration = Duration::from_millis(5);
/// How long a PostgreSQL may take to come up, a recovery after a crash included.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long a PostgreSQL may take to end its sessions and write everything, before they are cut.
pub(crate) const FAST_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end at once. It kills its own processes that do not listen after five seconds.
pub(crate) const IMMEDIATE_PATIENCE: Duration = Duration::from_secs(20);
/// Size of a write-ahead log segment in MiB: a branch copies at least one or two, so they are smaller than the default of 16.
const WAL_SEGMENT_MB: u32 = 4;

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

/// How a PostgreSQL is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, everything is written.
    Fast,
    /// At once; for data that are deleted next.
    Immediate,
}

/// A branch's PostgreSQL.
#[derive(Debug, Clone)]
pub struct Postgres {
    folder: PathBuf,
    socket: PathBuf,
    installation: Installation,
    account: Option<Account>,
}

impl Postgres {
    /// The PostgreSQL of branch `uid`, whose data lie in the folder of that name below the home's branches.
    pub fn new(home: &Home, uid: &str, installation: Installation, account: Option<Account>) -> Self {
        Self { folder: home.branch_folder(uid), socket: home.socket_folder(uid), installation, account }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of the socket.
    pub fn socket_folder(&self) -> &Path {
        &self.socket
    }

    /// The socket itself.
    pub fn socket_file(&self) -> PathBuf {
        self.socket.join(format!(".s.PGSQL.{SOCKET_PORT}"))
    }

    /// The process, if it lives.
    pub fn pid(&self) -> Option<Pid> {
        postmaster(&self.data()).map(|(pid, _)| pid)
    }

    /// Whether it lives and takes connections.
    pub fn is_ready(&self) -> bool {
        postmaster(&self.data()).is_some_and(|(_, ready)| ready)
    }

    /// Makes an empty cluster whose data directory is `data` (a new folder).
    pub async fn initialise(&self, data: &Path) -> Result<()> {
        private_folder(data, self.account)?;
        let output = self
            .command("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--no-instructions", "--username", ADMIN])
            .arg(if cfg!(target_os = "macos") { "--locale=C" } else { "--locale=C.UTF-8" })
            .arg(format!("--wal-segsize={WAL_SEGMENT_MB}"))
            .arg("--pgdata")
            .arg(data)
            .stdin(Stdio::null())
            .output()
            .await
            .doing(|| "can't run `initdb`".to_owned())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(ErrorKind::Postgres, "`initdb` failed").because(last_line(&said)))
    }

    /// Starts the process and waits until it takes connections. One that runs already is adopted.
    pub async fn start(&self) -> Result<()> {
        // The memory of a postmaster that was killed lives until its last child has ended, which takes a moment.
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            match self.try_start().await {
                Err(error) if error.chain().contains("shared memory block") && Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => return other,
            }
        }
    }

    async fn try_start(&self) -> Result<()> {
        let data = self.data();
        let mut child = None;
        if self.pid().is_none() {
            private_folder(&self.socket, self.account)?;
            self.write_settings(&data)?;
            let log = self.open_log()?;
            let errors = log.try_clone().doing(|| "can't use the log of PostgreSQL".to_owned())?;
            let mut command = self.command("postgres");
            command.arg("-D").arg(&data).arg("-k").arg(&self.socket).args([
                "-h",
                "",
                "-p",
                &SOCKET_PORT.to_string(),
            ]);
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
            child = Some(command.spawn().doing(|| "can't run `postgres`".to_owned())?);
        }
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if self.is_ready() {
                // Dropped children are reaped by tokio once they end.
                return Ok(());
            }
            let ended = match &mut child {
                Some(child) => child.try_wait().doing(|| "can't wait for PostgreSQL".to_owned())?.is_some(),
                None => self.pid().is_none(),
            };
            if ended {
                let message = format!("PostgreSQL did not start, see `{}`", self.log_file().display());
                return Err(Error::new(ErrorKind::Postgres, message).because(self.last_words()));
            }
            if Instant::now() > deadline {
                // It goes on, recovering perhaps; the next attempt finds it where it is then.
                let message = format!("PostgreSQL takes no connections after {} s", START_PATIENCE.as_secs());
                return Err(Error::new(ErrorKind::Postgres, message).because(self.last_words()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops the process and waits until it is gone. One that does not run is no error.
    pub async fn stop(&self, how: Stop) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let steps = [(Stop::Fast, FAST_PATIENCE), (Stop::Immediate, IMMEDIATE_PATIENCE)];
        let first = usize::from(how == Stop::Immediate);
        for (how, patience) in &steps[first..] {
            signal_stop(pid, *how)?;
            let deadline = Instant::now() + *patience;
            while Instant::now() < deadline {
                if self.pid() != Some(pid) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Err(Error::new(ErrorKind::Postgres, format!("PostgreSQL, process {pid}, does not end")))
    }

    /// A connection of our own superuser to `database`.
    pub async fn connect(&self, database: &str) -> Result<Control> {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(&self.socket)
            .port(SOCKET_PORT)
            .user(ADMIN)
            .dbname(database)
            .application_name("lakebase-embedded")
            // A failing statement may hold a password; the log of PostgreSQL must not.
            .options("-c log_min_error_statement=panic")
            .connect_timeout(Duration::from_secs(30));
        let (client, connection) = config
            .connect(tokio_postgres::NoTls)
            .await
            .map_err(|error| Error::new(ErrorKind::Postgres, "can't connect to PostgreSQL").because(error))?;
        let task = tokio::spawn(async move {
            // An error of the connection reaches whoever waits for an answer on it.
            let _ = connection.await;
        });
        Ok(Control { client, task })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.installation.bin.join(program));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", if cfg!(target_os = "macos") { "C" } else { "C.UTF-8" })
            .current_dir("/")
            // A group of its own: Ctrl-C at a server in the foreground is not meant for PostgreSQL.
            .process_group(0);
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Writes the settings anew at each start, so that a newer program brings newer ones.
    fn write_settings(&self, data: &Path) -> Result<()> {
        let libraries = self.installation.libraries(&["pg_stat_statements"]).join(",");
        let mut settings = format!(
            "# Written by the embedded Lakebase at each start.\n\
             shared_preload_libraries = '{libraries}'\n\
             unix_socket_permissions = 0700\n\
             max_connections = 100\n\
             shared_buffers = 32MB\n\
             dynamic_shared_memory_type = posix\n\
             wal_level = replica\n\
             max_wal_senders = 4\n\
             max_replication_slots = 10\n\
             min_wal_size = 16MB\n\
             max_wal_size = 512MB\n\
             jit = off\n\
             log_checkpoints = off\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n"
        );
        if cfg!(target_os = "linux") {
            // One call for the whole file system instead of one for each file of the copy.
            settings.push_str("recovery_init_sync_method = syncfs\n");
        }
        // The folder of the socket is private to PostgreSQL's user: whoever gets there has been authenticated by the gateway.
        for (name, text) in [("postgresql.conf", settings.as_str()), ("pg_hba.conf", "local all all trust\n")]
        {
            let path = data.join(name);
            fs::write(&path, text)
                .and_then(|()| Account::own(self.account, &path))
                .doing(|| format!("can't write `{}`", path.display()))?;
        }
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    fn open_log(&self) -> Result<File> {
        let path = self.log_file();
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .doing(|| format!("can't write `{}`", path.display()))
    }

    /// The last line of PostgreSQL's log: its own reason for ending.
    fn last_words(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.log_file())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).into_owned())
        };
        let tail = read().unwrap_or_default();
        let fatal = tail.lines().rev().find(|line| line.contains("FATAL")).map(str::to_owned);
        fatal.unwrap_or_else(|| last_line(&tail))
    }
}

/// A connection of our own; it ends when this is dropped.
pub struct Control {
    /// The client, for queries.
    pub client: tokio_postgres::Client,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes a folder with mode 0700 that belongs to PostgreSQL's user.
pub(crate) fn private_folder(path: &Path, account: Option<Account>) -> Result<()> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .and_then(|()| Account::own(account, path))
        .doing(|| format!("can't create `{}`", path.display()))
}

/// The postmaster of a data directory and whether it takes connections, from its `postmaster.pid` (line 1 the process
/// id, line 8 the state). A file left behind by a process that is gone is seen through.
pub(crate) fn postmaster(data: &Path) -> Option<(Pid, bool)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?);
    if cfg!(target_os = "linux") {
        // A postmaster works in its data directory; another process that got the same number does not.
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        if folder != data.canonicalize().ok()? {
            return None;
        }
    } else {
        kill(pid, None).ok()?;
    }
    Some((pid, lines.nth(6).is_some_and(|state| state.trim() == "ready")))
}

/// Signals a postmaster to stop.
pub(crate) fn signal_stop(pid: Pid, how: Stop) -> Result<()> {
    let signal = match how {
        Stop::Fast => Signal::SIGINT,
        Stop::Immediate => Signal::SIGQUIT,
    };
    match kill(pid, signal) {
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(error) => Err(Error::new(ErrorKind::Postgres, "can't signal PostgreSQL").because(error)),
    }
}

fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim().to_owned()
}
