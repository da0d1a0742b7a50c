//! The embedded Lakebase: one background server that speaks the Lakebase REST API on loopback and runs real PostgreSQL.
//!
//! A branch is a PostgreSQL of its own on a copy of its parent's data directory, taken while the parent runs and, where
//! the file system can, sharing blocks with it. Clients reach it through the server's gateway only, with a database
//! credential as the password, as on the service.
//!
//! [`cli`] is what the command lines call, [`discover`] what a client calls; the rest is the server. The library
//! reads no environment variable itself and prints nothing: both come in as arguments.

pub mod activity;
pub mod api_error;
pub mod app;
pub mod catalog;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod env_vars;
pub mod error;
pub mod gate;
pub mod handlers;
pub mod home;
pub mod installation;
pub mod log;
pub mod postgres;
pub mod routes;
pub mod server;
pub mod snapshot;
pub mod state;
pub mod tokens;
pub mod views;

mod discover;
mod http;
mod random;

pub use discover::{Workspace, discover};
pub use error::{Error, ErrorKind};
