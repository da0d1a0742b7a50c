//! A command under a blow.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::Ran;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// No command may take longer, whatever strikes it: its own patience is half of that.
const LONGEST: Duration = Duration::from_secs(90);

/// Runs a command to its end. `None` where it hangs, and is then killed.
pub fn run(command: &mut Command) -> Option<Ran> {
    let line = format!("{:?}", command.get_program());
    let child = spawn(command);
    end(line, child, || ())
}

/// Starts a command, sends it a signal once `is_there`, and gives what it said until then. Its whole group gets the signal, as
/// from a terminal.
pub fn interrupt(command: &mut Command, signal: Signal, mut is_there: impl FnMut() -> bool) -> Option<Ran> {
    let line = format!("{:?}", command.get_program());
    let mut child = spawn(command);
    let until = Instant::now() + LONGEST;
    while !is_there() {
        // A command that ended before it came there was not struck; what it did is looked at all the same.
        if child.try_wait().expect("a child").is_some() {
            return end(line, child, || ());
        }
        if Instant::now() > until {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // Not by the program `kill`: of a group's number some versions read the first digit, and -1 is everybody.
    killpg(Pid::from_raw(child.id().cast_signed()), signal).expect("the command still runs");
    end(line, child, || ())
}

/// Starts a command in a group of its own.
pub fn spawn(command: &mut Command) -> Child {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    quiet.process_group(0).spawn().expect("the program starts")
}

/// Waits for its end, calls `ended`, and gives what it said. `None` where it hangs, and is then killed.
pub fn end(line: String, mut child: Child, ended: impl FnOnce()) -> Option<Ran> {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let until = Instant::now() + LONGEST;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if Instant::now() > until {
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    ended();
    let (stdout, stderr) = (stdout.join().expect("text"), stderr.join().expect("text"));
    status.map(|status| Ran { line, code: status.code(), stdout, stderr })
}
