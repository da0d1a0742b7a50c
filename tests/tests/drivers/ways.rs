//! What the tests of this file share while any of them runs: a project whose database's seat the gateway has taken, with
//! its port published on the host, as an IDE finds it; and the direct way to the same branch.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

use e2e::{Lab, Ran, free_port};

/// The local service's credentials. Nothing of them is the branch's.
const USER: &str = "shop";
const PASSWORD: &str = "it's local: 100%";
const DATABASE: &str = "shop_local";

/// Where a PostgreSQL is, as libpq and every driver here reads it from the environment.
#[derive(Debug, Clone)]
pub struct Server(pub BTreeMap<String, String>);

impl Server {
    /// One on this machine.
    pub fn local(port: u16, user: &str, password: &str, database: &str) -> Self {
        let port = port.to_string();
        let pairs = [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port),
            ("PGUSER", user),
            ("PGPASSWORD", password),
            ("PGDATABASE", database),
        ];
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
    }

    /// The same with another database, or any other variable of libpq.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.0.insert(name.to_owned(), value.to_owned());
        other
    }

    /// One of the variables.
    pub fn get(&self, name: &str) -> &str {
        &self.0[name]
    }
}

/// The two ways to one branch, and what they need.
pub struct Ways {
    /// The machine.
    pub lab: Arc<Lab>,
    /// Through the gateway, with the local credentials.
    pub through: Server,
    /// The branch itself, with a login of its own.
    pub direct: Server,
    /// The gateway's image.
    pub image: String,
    end: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// The one that is up.
static SHARED: Mutex<Weak<Ways>> = Mutex::new(Weak::new());

impl Ways {
    /// The one that another test holds, or a new one. It ends with the last test that holds it.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let ways = Arc::new(Self::start());
            *shared = Arc::downgrade(&ways);
            ways
        })
    }

    fn start() -> Self {
        let lab = Arc::new(Lab::with_embedded());
        let (ready, facts) = channel();
        let (end, ended) = channel();
        // A project borrows its lab: the thread owns both.
        let keeper = std::thread::spawn({
            let lab = Arc::clone(&lab);
            move || {
                let port = free_port();
                let compose = format!(
                    "services:\n  postgres:\n    image: postgres:17\n    ports: [\"127.0.0.1:{port}:5432\"]\n    environment:\n      POSTGRES_USER: {USER}\n      POSTGRES_PASSWORD: \"{PASSWORD}\"\n      POSTGRES_DB: {DATABASE}\n"
                );
                let config =
                    "LAKEBASE_PROJECT_NAME=shop\nLAKEBASE_PROFILE=embedded\nLAKEBASE_CONNECT=gateway\n";
                let project = lab.project("shop", &[("compose.yaml", &compose), ("lakebase.config", config)]);
                project.cargo("init").ok();
                project.lakebase("up -d --wait").ok();
                let id = project.lakebase("ps -q postgres").ok().stdout;
                let image = ["inspect", "--format", "{{.Config.Image}}", id.trim()];
                let image = project.run("docker", image).ok().stdout.trim().to_owned();
                let env = project.cargo("env --format json").ok().stdout;
                let env: serde_json::Value = serde_json::from_str(&env).unwrap();
                let direct = env.as_object().unwrap().iter().filter(|(key, _)| key.starts_with("PG"));
                let direct = direct.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()));
                ready.send((port, image, Server(direct.collect()))).unwrap();
                // Until the sender is dropped.
                let _ = ended.recv();
            }
        });
        // If there are none, the thread has said why.
        let (port, image, direct) = facts.recv().expect("the seat is taken");
        let through = Server::local(port, USER, PASSWORD, DATABASE);
        Self { lab, through, direct, image, end: Some(end), keeper: Some(keeper) }
    }

    /// A program that is to find `server`.
    pub fn command(&self, server: &Server, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(program.as_ref().to_str().unwrap(), arguments);
        command.envs(&server.0);
        command
    }

    /// The same, run to its end.
    pub fn run(&self, server: &Server, program: impl AsRef<Path>, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(server, program, arguments))
    }

    /// What SQL says there, unaligned and without headers.
    pub fn sql(&self, server: &Server, sql: &str) -> String {
        let psql = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql];
        self.run(server, "psql", &psql).ok().stdout.trim().to_owned()
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}
