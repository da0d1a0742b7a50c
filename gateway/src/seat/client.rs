//! `feed`, `tap` and `healthy`: the other end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::lines::{self, Ask, Health};

/// How long the answer about the gateway's health may take beyond what was asked for.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Joins `input` and `output` with the control socket at `path` for what `ask` says, until either side ends.
pub fn converse(
    path: &Path,
    ask: &Ask,
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> io::Result<()> {
    let mut socket = UnixStream::connect(path)?;
    socket.write_all(&lines::write(ask))?;
    let mut up = socket.try_clone()?;
    // Not joined: the end of the gateway ends this process, whether or not the host says any more.
    std::thread::spawn(move || {
        let _ = io::copy(&mut input, &mut up);
        let _ = up.shutdown(Shutdown::Write);
    });
    let mut chunk = [0; 16 * 1024];
    loop {
        match socket.read(&mut chunk)? {
            0 => return Ok(()),
            count => {
                output.write_all(&chunk[..count])?;
                // A host that waits for a line must not wait for a buffer.
                output.flush()?;
            }
        }
    }
}

/// Asks the gateway whether a client could log in now; gives the reason if not. The answer comes as soon as it is not the
/// one that was last given, at the latest after `hold` seconds. So an engine that can only ask at regular intervals hears
/// at once, and yet seldom has to ask.
pub fn healthy(path: &Path, hold: u64) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Answer {
        health: Health,
    }
    let ask = || {
        let mut socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(HEALTH_TIMEOUT + Duration::from_secs(hold)))?;
        socket.write_all(&lines::write(&Ask::Health { hold }))?;
        let mut line = String::new();
        BufReader::new(socket.take(lines::MAX_LINE as u64)).read_line(&mut line)?;
        Ok::<_, io::Error>(serde_json::from_str::<Answer>(&line)?)
    };
    let answer = ask().map_err(|error| format!("the gateway does not answer: {error}"))?;
    match answer.health {
        Health { ok: true, .. } => Ok(()),
        Health { why, .. } => Err(why.unwrap_or_default()),
    }
}
