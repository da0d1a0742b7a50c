//! The settings of a PostgreSQL.

use std::fs;
use std::path::Path;

use super::Account;
use crate::error::{IoContext, Result};
use crate::installation::Installation;

/// Sessions of one PostgreSQL. On macOS each costs a file of the one process that starts them all.
const MAX_CONNECTIONS: u32 = if cfg!(target_os = "macos") { 100 } else { 600 };

/// Writes the settings anew at each start, so that a newer program brings newer ones.
pub(super) fn write(
    data: &Path,
    installation: &Installation,
    account: Option<Account>,
    statistics: bool,
) -> Result<()> {
    let wanted: &[&str] = if statistics { &["pg_stat_statements"] } else { &[] };
    let libraries = installation.libraries(wanted).join(",");
    // A failed statement may hold a password, and an error's DETAIL rows of production: neither belongs into a log.
    let mut settings = format!(
        "# Written by the embedded Lakebase at each start.\n\
             shared_preload_libraries = '{libraries}'\n\
             pg_stat_statements.track = all\n\
             unix_socket_permissions = 0700\n\
             max_connections = {MAX_CONNECTIONS}\n\
             shared_buffers = 32MB\n\
             dynamic_shared_memory_type = posix\n\
             wal_level = replica\n\
             max_wal_senders = 4\n\
             max_replication_slots = 10\n\
             min_wal_size = 16MB\n\
             max_wal_size = 512MB\n\
             jit = off\n\
             log_checkpoints = off\n\
             log_min_error_statement = panic\n\
             log_error_verbosity = terse\n\
             log_parameter_max_length_on_error = 0\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n"
    );
    if cfg!(target_os = "linux") {
        // One call for the whole file system instead of one for each file of the copy.
        settings.push_str("recovery_init_sync_method = syncfs\n");
        // A client that is cut leaves no query behind, whose locks the next one would wait for. PostgreSQL 14 can look for
        // it on Linux alone, and refuses to start elsewhere.
        settings.push_str("client_connection_check_interval = 2s\n");
    }
    // The folder of the socket is private to PostgreSQL's user: whoever gets there has been authenticated by the gateway.
    for (name, text) in [("postgresql.conf", settings.as_str()), ("pg_hba.conf", "local all all trust\n")] {
        let path = data.join(name);
        fs::write(&path, text)
            .and_then(|()| Account::own(account, &path))
            .doing(|| format!("can't write `{}`", path.display()))?;
    }
    Ok(())
}
