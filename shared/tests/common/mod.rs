//! A workspace in the test's own process: a small HTTP server, and what it was asked.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use lakebase::auth::{Auth, Embedded};
use lakebase::config::{Key, Layer, Settings};
use lakebase::env_vars::Env;
use lakebase::error::{Error, Kind, Result};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub authorization: String,
    pub body: String,
}

/// An answer: status, headers, body.
pub struct Answer(pub u16, pub Vec<(&'static str, String)>, pub String);

impl Answer {
    pub fn ok(body: &serde_json::Value) -> Self {
        Self(200, Vec::new(), body.to_string())
    }

    pub fn status(status: u16, body: &str) -> Self {
        Self(status, Vec::new(), body.to_owned())
    }
}

/// A server that lives as long as the test.
pub struct Server {
    pub port: u16,
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request by `answer`, which also gets the number of requests before it of the same method and path.
    pub fn start(answer: impl Fn(&Request, usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<Request>>> = Arc::default();
        let keeping = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let Some(request) = read(&stream) else { continue };
                let same = |it: &&Request| it.method == request.method && it.path == request.path;
                let before = {
                    let mut heard = keeping.lock().unwrap();
                    heard.push(request.clone());
                    heard.iter().filter(same).count() - 1
                };
                let Answer(status, headers, body) = answer(&request, before);
                let headers: String =
                    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { port, heard }
    }

    pub fn host(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All that was asked.
    pub fn heard(&self) -> Vec<Request> {
        self.heard.lock().unwrap().clone()
    }

    /// The requests in a line each.
    pub fn calls(&self) -> Vec<String> {
        self.heard().into_iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    /// How often a path was asked.
    pub fn count(&self, path: &str) -> usize {
        self.heard().iter().filter(|request| request.path == path).count()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "authorization" => value.trim().clone_into(&mut authorization),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, authorization, body: String::from_utf8(body).ok()? })
}

/// Runs a future to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The credential of these variables, and of a profile of our configuration if one is named.
pub fn resolve(profile: Option<&str>, env: &[(&str, &str)]) -> Result<Auth> {
    let stopped = || -> Result<Embedded> { Err(Error::new(Kind::EmbeddedStopped, "stopped")) };
    let flags: Layer = profile.map(|profile| (Key::Profile, profile.to_owned())).into_iter().collect();
    let settings = Settings::layered(flags, &Env::default(), None);
    Auth::resolve(&settings, &env.iter().copied().collect(), &stopped)
}

/// An error with all that a user reads of it.
pub fn words(error: &Error) -> String {
    format!("{error} | {}", error.hints.join(" | "))
}
