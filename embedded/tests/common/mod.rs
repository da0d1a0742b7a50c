//! A server of its own for each test: started as a user would, ended when the test ends, however it ends.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]
#![allow(clippy::needless_pass_by_value, reason = "bodies are written where they are used")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The one identity.
pub const IDENTITY: &str = "developer@embedded.lakebase";
/// A branch's expiry far enough away not to matter.
pub const TTL: &str = "3600s";

/// A server on a home of its own.
pub struct Server {
    home: TempDir,
    env: Vec<(String, String)>,
    host: String,
    token: String,
}

/// The program: the example of this crate, built with its tests.
pub fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples/embedded");
    assert!(
        program.exists(),
        "{} is missing: `cargo build -p lakebase-embedded --examples`",
        program.display()
    );
    program
}

impl Server {
    /// A home without a running server.
    pub fn stopped() -> Self {
        let home = tempfile::Builder::new().prefix("lb").tempdir_in("/tmp").unwrap();
        // PostgreSQL runs as another user under root and has to pass through.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(home.path(), open).unwrap();
        // Docker's bridge is not what these tests are about.
        let env = vec![("LAKEBASE_EMBEDDED_BIND".to_owned(), String::new())];
        Self { home, env, host: String::new(), token: String::new() }
    }

    /// A running server.
    pub fn start() -> Self {
        let mut server = Self::stopped();
        server.start_again();
        server
    }

    /// A running server with project `shop`, whose branch `production` is ready.
    pub fn with_project() -> Self {
        let server = Self::start();
        server.create("/projects?project_id=shop", json!({"spec": {}}));
        server
    }

    /// Starts the server; on any free port the first time, on the same one later.
    pub fn start_again(&mut self) {
        let args: &[&str] = if self.host.is_empty() { &["start", "--port", "0"] } else { &["start"] };
        let output = self.run(args);
        assert!(output.status.success(), "{output:?}\n{}", self.log());
        let env = String::from_utf8(self.run(&["env"]).stdout).unwrap();
        let value = |name: &str| {
            env.lines().find_map(|line| line.strip_prefix(&format!("export {name}='"))?.strip_suffix('\''))
        };
        self.host = value("DATABRICKS_HOST").unwrap().to_owned();
        self.token = value("DATABRICKS_TOKEN").unwrap().to_owned();
    }

    /// Sets an environment variable of later commands.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Runs `embedded …` on this home.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.arg("embedded").args(args).env("LAKEBASE_EMBEDDED_HOME", self.home.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command.output().unwrap()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default()
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.home.path().join("server.json")).unwrap();
        let running: Value = serde_json::from_str(&text).unwrap();
        i32::try_from(running["pid"].as_i64().unwrap()).unwrap()
    }

    /// Kills the server without warning and waits until it is gone.
    pub fn kill(&self) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        wait("the server to be gone", || {
            std::fs::File::open(self.home.path().join("lock")).unwrap().try_lock_shared().ok()
        });
    }

    /// Sends a request below `/api/2.0/postgres` with the token; gives status and body.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.request(method, &format!("/api/2.0/postgres{path}"), Some(&self.token), body)
    }

    /// Sends any request.
    pub fn request(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
        let answer = self.exchange(method, path, token, body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Sends any request; gives what came back, whatever that is.
    pub fn exchange(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> String {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        self.send(method, path, authorization.as_slice(), &body)
    }

    /// Sends any request with any headers; gives what came back, whatever that is.
    pub fn send(&self, method: &str, path: &str, headers: &[(String, String)], body: &str) -> String {
        let address = self.host.strip_prefix("http://").unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = Vec::new();
        // One that is cut off may end in an error; what came before is there all the same.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    /// Sends a request below `/api/2.0/postgres` with the token; gives what came back, whatever that is.
    pub fn raw(&self, method: &str, path: &str, body: &Value) -> String {
        self.exchange(method, &format!("/api/2.0/postgres{path}"), Some(&self.token), body)
    }

    /// Sends a request outside of the API's routes, with the token.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.request(method, path, Some(&self.token), body)
    }

    /// Moves the server's clock away from the real time.
    pub fn skew(&self, seconds: i64) {
        let (status, body) = self.control("PATCH", "/embedded/clock", &json!({"skew_seconds": seconds}));
        assert_eq!(status, 200, "{body}");
    }

    /// A GET that has to work.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A call that has to fail; gives status and body.
    pub fn refused(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.call(method, path, body);
        assert!(status >= 400, "{method} {path} should have failed: {body}");
        (status, body)
    }

    /// A call that gives an operation; waits for its end and gives its response.
    pub fn operate(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, operation) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {operation}");
        let ended = self.wait_for(operation["name"].as_str().unwrap());
        assert!(ended.get("error").is_none(), "{method} {path}: {ended}\n{}", self.log());
        ended["response"].clone()
    }

    pub fn create(&self, path: &str, body: Value) -> Value {
        self.operate("POST", path, &body)
    }

    /// Creates branch `id` of project `shop` from `production`.
    pub fn branch(&self, id: &str) -> Value {
        self.create(&format!("/projects/shop/branches?branch_id={id}"), json!({"spec": {"ttl": TTL}}))
    }

    /// Waits until the operation has ended; gives it.
    pub fn wait_for(&self, operation: &str) -> Value {
        wait("an operation to end", || {
            let current = self.get(&format!("/{operation}"));
            (current["done"] == true).then_some(current)
        })
    }

    /// The port of a branch's read-write endpoint.
    pub fn port(&self, branch: &str) -> u16 {
        let endpoint = self.get(&format!("/projects/shop/branches/{branch}/endpoints/primary"));
        let host = endpoint["status"]["hosts"]["host"].as_str().unwrap().to_owned();
        host.strip_prefix("127.0.0.1:").unwrap().parse().unwrap()
    }

    /// A database credential for a branch's endpoint.
    pub fn credential(&self, branch: &str) -> String {
        self.psql(branch).password
    }

    /// `psql` on a branch, logged in with a new credential.
    pub fn psql(&self, branch: &str) -> Psql {
        self.psql_as(IDENTITY, &self.token, branch)
    }

    /// The same as another identity, which has the API's token `token`.
    pub fn psql_as(&self, user: &str, token: &str, branch: &str) -> Psql {
        let endpoint = format!("projects/shop/branches/{branch}/endpoints/primary");
        let body = json!({"endpoint": endpoint});
        let (status, body) = self.request("POST", "/api/2.0/postgres/credentials", Some(token), &body);
        assert_eq!(status, 200, "{body}");
        Psql {
            port: self.port(branch),
            user: user.into(),
            database: "databricks_postgres".into(),
            password: body["token"].as_str().unwrap().to_owned(),
            more: "sslmode=require".into(),
        }
    }

    /// Adds an identity; gives the variables that it signs in with.
    pub fn add_user(&self, args: &[&str]) -> HashMap<String, String> {
        let output = self.run(&[&["user", "add"], args].concat());
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let variable = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once("='")?;
            Some((name.to_owned(), value.strip_suffix('\'')?.to_owned()))
        };
        text.lines().map(|line| variable(line).unwrap()).collect()
    }

    /// One value from a branch.
    pub fn query(&self, branch: &str, sql: &str) -> String {
        self.psql(branch).query(sql)
    }

    /// The folder of a branch's data.
    pub fn folder(&self, branch: &Value) -> PathBuf {
        self.home.path().join("branches").join(branch["uid"].as_str().unwrap())
    }

    /// The process id of a branch's PostgreSQL.
    pub fn postmaster(&self, branch: &Value) -> i32 {
        let file = self.folder(branch).join("data/postmaster.pid");
        std::fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let output = self.run(&["stop"]);
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.log());
        } else {
            assert!(output.status.success(), "{output:?}");
        }
    }
}

/// A `psql` that is about to run.
#[derive(Clone)]
pub struct Psql {
    pub port: u16,
    pub user: String,
    pub database: String,
    pub password: String,
    /// More connection parameters.
    pub more: String,
}

impl Psql {
    pub fn command(&self, sql: &str) -> Command {
        let mut command = Command::new("psql");
        let (user, database) = (&self.user, &self.database);
        let target =
            format!("host=127.0.0.1 port={} user='{user}' dbname='{database}' {}", self.port, self.more);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"]).arg(target);
        if !sql.is_empty() {
            command.args(["-c", sql]);
        }
        command
            .env("PGPASSWORD", &self.password)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, sql: &str) -> Child {
        self.command(sql).spawn().unwrap()
    }

    pub fn query(&self, sql: &str) -> String {
        let output = self.command(sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs `sql`, which has to fail; gives what `psql` said.
    pub fn failure(&self, sql: &str) -> String {
        let output = self.command(sql).output().unwrap();
        assert!(!output.status.success(), "{sql} should have failed");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Checks that a refusal has this status and code, and these words in its message.
pub fn check((status, error): (u16, Value), expected: u16, code: &str, words: &str) {
    assert_eq!(status, expected, "{error}");
    assert_eq!(error["error_code"], code, "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{error}");
}

/// Asks until there is an answer, for a minute at most.
pub fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
