//! `embedded reset`: everything of the embedded Lakebase goes.

use std::fs;
use std::io::{BufRead, IsTerminal, Write};

use super::{say, stop};
use crate::error::{Error, ErrorKind, IoContext, Result, embedded_command};
use crate::home::Home;

/// Deletes all that the server made, once that is confirmed.
pub(super) fn run(home: &Home, yes: bool, err: &mut dyn Write) -> Result<()> {
    if !home.exists() {
        return say(err, "there is nothing to delete");
    }
    if !yes {
        let stdin = std::io::stdin();
        let refused = || {
            Error::new(
                ErrorKind::Guarded,
                "nothing was deleted: this deletes every project of the embedded Lakebase",
            )
            .hint(format!("confirm with {}", embedded_command("reset --yes")))
        };
        if !stdin.is_terminal() {
            return Err(refused());
        }
        let question = format!("Delete every project and branch in `{}`? Type yes: ", home.root().display());
        write!(err, "{question}").and_then(|()| err.flush()).doing(|| "can't ask".to_owned())?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).doing(|| "can't read the answer".to_owned())?;
        if answer.trim() != "yes" {
            return Err(refused());
        }
    }
    // Held to the end: no server starts on a home that is half gone.
    let Some(down) = stop::bring_down(home)? else { return say(err, "there is nothing to delete") };
    // By name, one after the other: the folder may be one that the user chose and keeps other things in. The state goes last but
    // for the branches it speaks of, so that an interrupted reset is never taken for lost data.
    home.delete_folders().doing(|| format!("can't delete `{}`", home.branches().display()))?;
    for file in home.files()? {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing(|| format!("can't delete `{}`", file.display()));
            }
            _ => {}
        }
    }
    home.vanish(down.lock)?;
    say(err, "everything of the embedded Lakebase is deleted")
}
