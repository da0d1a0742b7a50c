//! Plain PostgreSQL servers of one test, on this machine: with TLS, and a superuser with a password, since drivers' own tests
//! make roles, databases and settings. And the gateway's container in front of one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::{Ran, free_port, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, chown};

use crate::ways::{Server, Ways};

/// The superuser, and its password, which psycopg2's tests put into a string without quotes. Both are the gateway's local ones
/// too, so that a test sees no difference.
const USER: &str = "suite";
const PASSWORD: &str = "suites-own";

/// A server, which ends with this.
pub struct Plain {
    /// Where it is.
    pub server: Server,
    folder: tempfile::TempDir,
    certificate: String,
    process: Option<Child>,
}

impl Plain {
    /// A new one.
    pub fn start(ways: &Ways) -> Self {
        let folder = tempfile::Builder::new().prefix("lb-plain-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let port = free_port();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        let server = Server::local(port, USER, PASSWORD, USER);
        let mut plain = Self { server, folder, certificate, process: None };
        let data = plain.path("data");
        fs::create_dir(&data).unwrap();
        give(&data);
        let options =
            ["--auth=trust", "--username=boss", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"];
        Ran::of(program("initdb").args(options).arg(&data)).ok();
        for (name, text) in [
            ("server.crt", plain.certificate.as_str()),
            ("server.key", &key.serialize_pem()),
            // As a Lakebase branch does: a password in the clear, over TLS.
            ("pg_hba.conf", "local all all trust\nhostssl all all all password\n"),
            (
                "postgresql.conf",
                &format!(
                    "port={port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{}'\nssl=on\nfsync=off\njit=off\nmax_connections=300\nmax_prepared_transactions=20\n",
                    data.display()
                ),
            ),
        ] {
            let path = data.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            give(&path);
        }
        let log = fs::File::create(plain.path("log")).unwrap();
        let mut postgres = program("postgres");
        postgres.arg("-D").arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        plain.process = Some(postgres.spawn().unwrap());
        let boss = plain.server.with("PGHOST", data.to_str().unwrap()).with("PGUSER", "boss");
        let boss = boss.with("PGDATABASE", "postgres");
        wait_for("PostgreSQL", || {
            (ways.run(&boss, "psql", &["-Xc", "SELECT 1"]).code == Some(0)).then_some(())
        });
        ways.sql(&boss, &format!("CREATE ROLE {USER} SUPERUSER LOGIN PASSWORD '{PASSWORD}'"));
        ways.sql(&boss, &format!("CREATE DATABASE {USER} OWNER {USER}"));
        plain
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), Signal::SIGINT);
            let _ = process.wait();
        }
    }
}

/// The gateway's container in front of a plain server, on the host's own network, with a login for it.
pub struct Gateway<'a> {
    /// Where it is.
    pub server: Server,
    ways: &'a Ways,
    container: String,
    feed: Option<Child>,
}

impl<'a> Gateway<'a> {
    /// In front of this server.
    pub fn start(ways: &'a Ways, plain: &Plain) -> Self {
        let server = plain.server.with("PGPORT", &free_port().to_string());
        let upstream = format!("localhost:{}", plain.server.get("PGPORT"));
        let variables = [
            ("POSTGRES_USER", USER),
            ("POSTGRES_PASSWORD", PASSWORD),
            ("POSTGRES_DB", USER),
            ("PGPORT", server.get("PGPORT")),
            ("LAKEBASE_UPSTREAM", &upstream),
            ("LAKEBASE_USER", USER),
            ("LAKEBASE_DATABASE", USER),
            ("LAKEBASE_CA", &plain.certificate),
        ];
        let mut run = ways.lab.command("docker", ["run", "--detach", "--rm", "--network", "host"]);
        for (name, value) in variables {
            // By name: the values travel in the environment.
            run.args(["--env", name]).env(name, value);
        }
        let container = Ran::of(run.arg(&ways.image)).ok().stdout.trim().to_owned();
        let mut gateway = Self { server, ways, container, feed: None };
        let exec = |words: &[&str]| {
            ways.lab
                .command("docker", [&["exec", "-i", &gateway.container, "/lakebase-gateway"], words].concat())
        };
        let mut feed = exec(&["feed"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // The login of a plain server is its password, and does not end.
        let login = serde_json::json!({"token": PASSWORD, "expires": "2099-01-01T00:00:00Z"});
        writeln!(feed.stdin.as_mut().unwrap(), "{login}").unwrap();
        wait_for("the gateway", || (Ran::of(&mut exec(&["healthy"])).code == Some(0)).then_some(()));
        gateway.feed = Some(feed);
        gateway
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        let _ = self.ways.lab.command("docker", ["rm", "--force", &self.container]).output();
        // Which ends with it.
        let _ = self.feed.take().map(|mut feed| feed.wait());
    }
}

/// PostgreSQL refuses to run as root.
fn owner() -> Option<User> {
    let find = |name| User::from_name(name).unwrap();
    Uid::effective().is_root().then(|| find("postgres").or_else(|| find("nobody")).unwrap())
}

fn give(path: &Path) {
    if let Some(owner) = owner() {
        chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
    }
}

/// A program of PostgreSQL's server, as a user who may run it: from PATH, or where Debian keeps the newest.
fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<u32> =
        versions.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable();
    folders.extend(versions.iter().rev().map(|version| format!("/usr/lib/postgresql/{version}/bin").into()));
    let program = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    let mut command =
        Command::new(program.unwrap_or_else(|| panic!("`{name}` is missing: install PostgreSQL")));
    command.current_dir("/");
    if let Some(owner) = owner() {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    command
}
