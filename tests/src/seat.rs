//! The smallest project with a gateway in its database's seat.

use std::collections::BTreeMap;
use std::process::Command;

use crate::{Lab, Project, Ran, free_port};

/// The variables that choose the stand-in images are not of the project: it has one service, and the gateway takes its
/// seat.
const COMPOSE: &str = "services:
  db:
    image: postgres:17
    environment: {POSTGRES_PASSWORD: local}
    ports: [\"127.0.0.1:PORT:5432\"]
";

/// A project of one service, the database, published on the host.
pub struct Seat<'a> {
    /// The checkout.
    pub project: Project<'a>,
    /// The host's port of the seat.
    pub port: u16,
}

impl<'a> Seat<'a> {
    /// Makes the project; `init` and `up` are the test's. `more` is added to its configuration.
    pub fn new(lab: &'a Lab, name: &str, more: &str) -> Self {
        let port = free_port();
        let config = format!("LAKEBASE_PROJECT_NAME={name}\nLAKEBASE_CONNECT=gateway\n{more}");
        let compose = COMPOSE.replace("PORT", &port.to_string());
        let project = lab.project(name, &[("lakebase.config", &config), ("compose.yaml", &compose)]);
        Self { project, port }
    }

    /// The same on the embedded Lakebase, and up.
    pub fn up(lab: &'a Lab, name: &str) -> Self {
        let seat = Self::new(lab, name, "LAKEBASE_PROFILE=embedded\n");
        seat.project.cargo("init").ok();
        seat.project.lakebase("up -d --wait").ok();
        seat
    }

    /// A new session at the seat, with the local password.
    pub fn psql(&self, sql: &str) -> Command {
        let url = format!("postgresql://postgres:local@127.0.0.1:{}/postgres", self.port);
        self.project.command("psql", ["-XAtqc", sql, &url])
    }

    /// Whether a new session gets in, and if not, why.
    pub fn session(&self) -> Ran {
        Ran::of(&mut self.psql("SELECT 1"))
    }

    /// A new session that must get in.
    #[track_caller]
    pub fn enter(&self) {
        assert_eq!(self.session().ok().stdout, "1\n");
    }
}

impl Project<'_> {
    /// Service -> (container id, when it was started).
    pub fn containers(&self) -> BTreeMap<String, (String, String)> {
        let format = "{{index .Config.Labels \"com.docker.compose.service\"}} {{.Id}} {{.State.StartedAt}}";
        let line = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            Some((words.next()?, (words.next()?, words.next()?)))
        };
        self.inspect(format).lines().filter_map(line).collect()
    }
}
