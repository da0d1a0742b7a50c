//! A call of the running server's own controls.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::Home;
use crate::{discover, tokens};

/// How long an answer may take; controls do nothing that takes time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls the server of a home; gives what it answers.
pub(super) fn call(home: &Home, method: &str, path: &str, body: &Value) -> Result<Value> {
    let running = home.running().ok_or_else(discover::stopped)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, running.port));
    let token = tokens::read_bearer(home)?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().doing(|| "can't talk to the embedded Lakebase".to_owned())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    if head.split(' ').nth(1) == Some("200") {
        return Ok(value);
    }
    let message = value["message"].as_str().unwrap_or("it answers otherwise than expected");
    Err(Error::new(ErrorKind::Usage, format!("the embedded Lakebase refuses: {message}")))
}
