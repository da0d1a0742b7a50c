//! A real PostgreSQL as the branch, the real program in the seat, and a feed between the test and the program.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod feed;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tempfile::TempDir;

pub use feed::Feed;
use feed::lines;

/// The identity on the branch.
pub const IDENTITY: &str = "ada@example.org";
/// Its first token: PostgreSQL's method `password` asks for it in the clear over TLS, as the service does.
pub const TOKEN: &str = "token-1";
/// The local password.
pub const PASSWORD: &str = "local s3cret";

const PROGRAM: &str = env!("CARGO_BIN_EXE_lakebase-gateway");

/// A PostgreSQL that takes nothing but TLS and a password in the clear.
pub struct Branch {
    folder: TempDir,
    postgres: Option<Child>,
    pub port: u16,
    pub certificate: String,
}

impl Branch {
    pub fn start() -> Self {
        Self::with("")
    }

    /// With more lines of configuration.
    pub fn with(more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut branch = Self { folder, postgres: None, port, certificate };
        let data = branch.data();
        std::fs::create_dir(&data).unwrap();
        branch.give(&data);
        let output = branch
            .command("initdb")
            .args(["-D", data.to_str().unwrap(), "-A", "trust", "-U", "boss", "--no-sync"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        branch.write("server.crt", &branch.certificate);
        branch.write("server.key", &key.serialize_pem());
        branch.write("pg_hba.conf", "local all all trust\nhostssl all all all password\n");
        branch.write(
            "postgresql.conf",
            &format!("port={port}\nlisten_addresses='127.0.0.1,127.0.0.2'\nunix_socket_directories='{}'\nssl=on\nfsync=off\nmax_connections=620\n{more}\n", data.display()),
        );
        branch.run();
        branch.sql(&format!("CREATE ROLE \"{IDENTITY}\" LOGIN CREATEROLE CREATEDB PASSWORD '{TOKEN}'"));
        branch.sql(&format!("GRANT pg_read_all_stats, pg_signal_backend TO \"{IDENTITY}\""));
        branch.sql(&format!("CREATE DATABASE branchdb OWNER \"{IDENTITY}\""));
        branch
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn owner() -> Option<User> {
        let find = |name| User::from_name(name).unwrap();
        Uid::effective().is_root().then(|| find("postgres").or_else(|| find("nobody")).unwrap())
    }

    fn give(&self, path: &Path) {
        if let Some(owner) = Self::owner() {
            nix::unistd::chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        self.give(&path);
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        if let Some(owner) = Self::owner() {
            command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Starts it, also after [`Self::stop`].
    pub fn run(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = self.command("postgres").arg("-D").arg(self.data()).stderr(log).spawn().unwrap();
        self.postgres = Some(child);
        wait("PostgreSQL to start", || {
            self.admin("SELECT 1").output().unwrap().status.success().then_some(())
        });
    }

    /// The process that takes connections.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.postgres.as_ref().unwrap().id()).unwrap())
    }

    /// Ends it and all its sessions at once.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.postgres.take() {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            let _ = kill(pid, Signal::SIGINT);
            // A test may have ended while it was stopped.
            let _ = kill(pid, Signal::SIGCONT);
            let _ = child.wait();
        }
    }

    fn admin(&self, sql: &str) -> Command {
        let mut command = Command::new("psql");
        let target = format!("host={} port={} user=boss dbname=postgres", self.data().display(), self.port);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &target, "-c", sql]);
        command
    }

    /// Runs SQL as the superuser, beside the gateway.
    pub fn sql(&self, sql: &str) -> String {
        let output = self.admin(sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes `token` the only one that is accepted.
    pub fn accept(&self, token: &str) {
        self.sql(&format!("ALTER ROLE \"{IDENTITY}\" PASSWORD '{token}'"));
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program of PostgreSQL: from PATH, or where Debian keeps the newest.
fn binary(name: &str) -> PathBuf {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
    let mut versions: Vec<u32> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        })
        .unwrap_or_default();
    versions.sort_unstable();
    folders.extend(versions.iter().rev().map(|version| format!("/usr/lib/postgresql/{version}/bin").into()));
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("`{name}` is missing: install PostgreSQL"))
}

/// The program, serving.
pub struct Seat {
    child: Child,
    log: Receiver<String>,
    said: std::cell::RefCell<Vec<String>>,
    control: PathBuf,
    _folder: TempDir,
    pub port: u16,
}

impl Seat {
    /// In front of `branch`, with the usual login.
    pub fn start(branch: &Branch) -> Self {
        Self::with(branch, &[])
    }

    /// The same with more variables, which win.
    pub fn with(branch: &Branch, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("control");
        let mut command = Command::new(PROGRAM);
        command
            .arg("serve")
            .env_clear()
            .env("POSTGRES_USER", "shop")
            .env("POSTGRES_PASSWORD", PASSWORD)
            .env("POSTGRES_DB", "shopdb")
            .env("PGPORT", "0")
            .env("LAKEBASE_UPSTREAM", format!("localhost:{}", branch.port))
            .env("LAKEBASE_USER", IDENTITY)
            .env("LAKEBASE_DATABASE", "branchdb")
            .env("LAKEBASE_CA", &branch.certificate)
            .env("LAKEBASE_BRANCH", "dev-ada")
            .env("LAKEBASE_CONTROL", &control)
            .envs(more.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        let first = log.recv_timeout(Duration::from_secs(20)).unwrap();
        let mut said = vec![first.clone()];
        while !said.last().unwrap().contains("listening") {
            said.push(log.recv_timeout(Duration::from_secs(20)).unwrap());
        }
        let rest = said.last().unwrap().strip_prefix("listening on port ").unwrap();
        let port = rest.split(' ').next().unwrap().parse().unwrap();
        Self { child, log, said: said.into(), control, _folder: folder, port }
    }

    /// With a token that is good for an hour.
    pub fn fed(branch: &Branch) -> (Self, Feed) {
        let seat = Self::start(branch);
        let mut feed = seat.feed();
        feed.token(TOKEN, 3600);
        seat.ready();
        (seat, feed)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// A feed that the program has greeted.
    pub fn feed(&self) -> Feed {
        let child = Command::new(PROGRAM)
            .arg("feed")
            .env("LAKEBASE_CONTROL", &self.control)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Feed::of(child)
    }

    /// Starts a `tap`; gives it with its input, and its lines.
    pub fn tap(&self) -> (Child, Receiver<String>) {
        let mut command = Command::new(PROGRAM);
        command.arg("tap").env("LAKEBASE_CONTROL", &self.control);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        (child, lines)
    }

    /// Starts a `healthy` that waits until there is news.
    pub fn healthy_when_news(&self) -> Child {
        let mut command = Command::new(PROGRAM);
        command.args(["healthy", "600"]).env("LAKEBASE_CONTROL", &self.control);
        command.stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs `healthy`.
    pub fn healthy(&self) -> Output {
        Command::new(PROGRAM).arg("healthy").env("LAKEBASE_CONTROL", &self.control).output().unwrap()
    }

    /// Permissions of the control socket.
    pub fn control_mode(&self) -> u32 {
        std::fs::metadata(&self.control).unwrap().permissions().mode()
    }

    /// Waits until a token is held.
    pub fn ready(&self) {
        wait("a token to be held", || self.healthy().status.success().then_some(()));
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.said.borrow_mut().extend(self.log.try_iter());
        self.said.borrow().join("\n")
    }

    /// `psql` with the right login; `more` are connection parameters, the last of a name wins.
    pub fn psql(&self, more: &str, sql: &str) -> Command {
        let mut command = Command::new("psql");
        let target = format!("host=127.0.0.1 port={} user=shop dbname=shopdb {more}", self.port);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &target, "-c", sql]);
        command
            .env("PGPASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn query(&self, more: &str, sql: &str) -> String {
        let output = self.psql(more, sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What `psql` says about a login or a query that has to fail.
    /// Sends these rows to a table and gets them back, then one value of thirty megabytes, without and with TLS.
    pub fn carries_bulk(&self, rows: u32) {
        let folder = tempfile::tempdir().unwrap();
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        let text: String = (0..rows).map(|number| format!("{number}\t{number:0>90}\n")).collect();
        std::fs::write(&there, &text).unwrap();
        self.query("", "CREATE TABLE bulk (id int, text text)");
        for ssl in ["disable", "require"] {
            let more = format!("sslmode={ssl}");
            self.query(&more, "TRUNCATE bulk");
            self.query(&more, &format!("\\copy bulk FROM '{}'", there.display()));
            self.query(&more, &format!("\\copy (SELECT * FROM bulk ORDER BY id) TO '{}'", back.display()));
            assert!(std::fs::read(&back).unwrap() == text.as_bytes(), "{ssl}");
            assert_eq!(self.query(&more, "SELECT repeat('x', 30000000)").len(), 30_000_000);
        }
    }

    pub fn failure(&self, more: &str) -> String {
        let output = self.psql(more, "SELECT 1").output().unwrap();
        assert!(!output.status.success(), "{more} should have failed");
        String::from_utf8(output.stderr).unwrap()
    }

    /// What tokio-postgres needs.
    pub fn target(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("shop").password(PASSWORD).dbname("shopdb");
        config
    }

    /// Sends SIGTERM; gives how it ended and how long that took.
    pub fn terminate(mut self) -> (std::process::ExitStatus, Duration) {
        let began = Instant::now();
        kill(self.pid(), Signal::SIGTERM).unwrap();
        (self.child.wait().unwrap(), began.elapsed())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer, for a minute at most.
pub fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
