//! Every environment variable that the embedded Lakebase reads, through the lookup that its caller passes in.

/// Folder that holds everything. Default: see [`crate::home::Home::locate`].
pub const HOME: &str = "LAKEBASE_EMBEDDED_HOME";
/// Port of the HTTP API on loopback. Default: the port of the last start, else [`crate::home::DEFAULT_PORT`].
pub const PORT: &str = "LAKEBASE_EMBEDDED_PORT";
/// Folder of the PostgreSQL programs (`postgres`, `initdb`). Default: searched for.
pub const POSTGRES_BIN: &str = "LAKEBASE_EMBEDDED_POSTGRES_BIN";
/// Comma-separated IP addresses that endpoints listen on besides 127.0.0.1; empty for none. Default: Docker's bridge, while it exists.
pub const BIND: &str = "LAKEBASE_EMBEDDED_BIND";
/// Seconds by which the server's clock runs ahead (negative: behind). For tests of what expires;
/// `PATCH /embedded/clock` moves a running server's. Default: 0.
pub const CLOCK_SKEW: &str = "LAKEBASE_EMBEDDED_CLOCK_SKEW";
/// Seconds (1 to 3600) that a database credential lives at most, whatever is asked for: shorter than the API's 300. For tests
/// of what expires. Default: what is asked for.
pub const TOKEN_TTL: &str = "LAKEBASE_EMBEDDED_TOKEN_TTL";
/// Faults that the server begins with, as `--fault` takes them, separated by semicolons. Default: none.
pub const FAULTS: &str = "LAKEBASE_EMBEDDED_FAULTS";
/// The user's state folder of the XDG base directory specification.
pub const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// The user's home folder.
pub const USER_HOME: &str = "HOME";
/// Folders searched for programs.
pub const PATH: &str = "PATH";
/// The variables that a home is found by.
pub const OF_THE_HOME: [&str; 3] = [HOME, XDG_STATE_HOME, USER_HOME];
/// All that a server started in the background gets of its caller's environment.
pub const OF_THE_SERVER: [&str; 13] = [
    HOME,
    PORT,
    POSTGRES_BIN,
    BIND,
    CLOCK_SKEW,
    TOKEN_TTL,
    FAULTS,
    XDG_STATE_HOME,
    USER_HOME,
    PATH,
    "LANG",
    "TZ",
    "TMPDIR",
];
