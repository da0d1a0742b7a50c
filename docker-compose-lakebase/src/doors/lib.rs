//! What both programs know of Docker's plugins: how a call is written, and where the real Compose is.
//! Standard library only, since the small front door stands before every `docker compose`.

pub mod argv;
pub mod plugins;
