//! One PostgreSQL process over one data directory: made, started, adopted, stopped.

mod account;
mod log;
mod process;
mod settings;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tokio::process::Command;

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::{Home, SOCKET_PORT};
use crate::installation::Installation;

pub use account::Account;
pub(crate) use account::private_folder;
pub(crate) use log::bound as bound_log;
pub use process::Stop;
pub(crate) use process::{is_ready, postmaster, signal_stop};

/// The superuser of our own connections. Nobody else can be it: endpoints refuse the name.
pub const ADMIN: &str = "lakebase_admin";
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

/// A branch's PostgreSQL.
#[derive(Debug, Clone)]
pub struct Postgres {
    folder: PathBuf,
    socket: PathBuf,
    socket_file: PathBuf,
    installation: Installation,
    account: Option<Account>,
}

impl Postgres {
    /// The PostgreSQL of branch `uid`, whose data lie in the folder of that name below the home's branches.
    pub fn new(home: &Home, uid: &str, installation: Installation, account: Option<Account>) -> Self {
        let (socket, socket_file) = (home.socket_folder(uid), home.socket_file(uid));
        Self { folder: home.branch_folder(uid), socket, socket_file, installation, account }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The socket itself.
    pub fn socket_file(&self) -> &Path {
        &self.socket_file
    }

    /// The process, if it lives.
    pub fn pid(&self) -> Option<Pid> {
        postmaster(&self.data()).map(|(pid, _)| pid)
    }

    /// Whether it lives and takes connections.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.data())
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
        Err(Error::new(ErrorKind::Postgres, "`initdb` failed").because(log::last_line(&said)))
    }

    /// Starts the process and waits until it takes connections. One that runs already is adopted. Without `statistics` it does
    /// not count statements.
    pub async fn start(&self, statistics: bool) -> Result<()> {
        // The memory of a postmaster that was killed lives until its last child has ended, which takes a moment.
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            match self.try_start(statistics).await {
                Err(error) if error.chain().contains("shared memory block") && Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => return other,
            }
        }
    }

    async fn try_start(&self, statistics: bool) -> Result<()> {
        let data = self.data();
        let mut child = None;
        if self.pid().is_none() {
            private_folder(&self.socket, self.account)?;
            settings::write(&data, &self.installation, self.account, statistics)?;
            let log = log::open(&self.folder)?;
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
                let message =
                    format!("PostgreSQL did not start, see `{}`", log::file(&self.folder).display());
                return Err(Error::new(ErrorKind::Postgres, message).because(log::last_words(&self.folder)));
            }
            if Instant::now() > deadline {
                // It goes on, recovering perhaps; the next attempt finds it where it is then.
                let message = format!("PostgreSQL takes no connections after {} s", START_PATIENCE.as_secs());
                return Err(Error::new(ErrorKind::Postgres, message).because(log::last_words(&self.folder)));
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
            .options(self.options_of_control())
            .connect_timeout(Duration::from_secs(30));
        let (client, connection) = config
            .connect(tokio_postgres::NoTls)
            .await
            .map_err(|error| Error::new(ErrorKind::Postgres, "can't connect to PostgreSQL").because(error))?;
        let task = tokio::spawn(async move {
            // An error of the connection reaches whoever waits for an answer on it.
            let _ = connection.await;
        });
        Ok(Control { client, task, event_triggers_setting: self.has_event_triggers_setting() })
    }

    /// What a connection of ours begins with. Nothing that a user left in a database may run as our superuser: no event trigger
    /// (before PostgreSQL 17, which has a setting for that, as a replica, for which the gate lets nobody make one), and no object
    /// that stands before PostgreSQL's own in a search path.
    fn options_of_control(&self) -> &'static str {
        // A failing statement may hold a password; the log of PostgreSQL must not.
        if self.has_event_triggers_setting() {
            "-c log_min_error_statement=panic -c search_path=pg_catalog -c event_triggers=off"
        } else {
            "-c log_min_error_statement=panic -c search_path=pg_catalog -c session_replication_role=replica"
        }
    }

    /// Whether this PostgreSQL can set all event triggers off.
    fn has_event_triggers_setting(&self) -> bool {
        self.installation.major >= 17
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
}

/// A connection of our own; it ends when this is dropped.
pub struct Control {
    /// The client, for queries.
    pub client: tokio_postgres::Client,
    task: tokio::task::JoinHandle<()>,
    event_triggers_setting: bool,
}

impl Control {
    /// Whether no event trigger fires here, however it is enabled; without this, one that is enabled for replicas or always does.
    pub fn is_out_of_reach(&self) -> bool {
        self.event_triggers_setting
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}
