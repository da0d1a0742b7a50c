//! `embedded logs`: what the server wrote, and goes on writing.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::error::{IoContext, Result};
use crate::home::Home;

/// Prints the log; with `follow` until the reader has enough.
pub(super) fn run(home: &Home, follow: bool, out: &mut dyn Write) -> Result<()> {
    let path = home.log_file();
    let read = || format!("can't read `{}`", path.display());
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !follow => return Ok(()),
        other => other.doing(read)?,
    };
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut chunk).doing(read)?;
        if count > 0 {
            match out.write_all(&chunk[..count]).and_then(|()| out.flush()) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                other => other.doing(|| "can't write the log".to_owned())?,
            }
        } else if follow {
            std::thread::sleep(Duration::from_millis(200));
            // A long log is begun anew under the same name.
            let (here, there) = (file.metadata().doing(read)?, fs::metadata(&path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) != (here.dev(), here.ino())) {
                file = File::open(&path).doing(read)?;
            }
        } else {
            return Ok(());
        }
    }
}
