//! The embedded Lakebase: one background server that speaks the Lakebase REST API on loopback and runs real PostgreSQL.
//!
//! A branch is a PostgreSQL of its own on a copy of its parent's data directory, taken while the parent runs and, where
//! the file system can, sharing blocks with it. Clients reach it through the server's gateway only, with a database
//! credential as the password, as on the service.
//!
//! [`cli`] is what the command lines call, [`discover()`] what a client calls; the rest is the server. The library
//! reads no environment variable itself and prints nothing: both come in as arguments.
//!
//! Beside the service's routes there are some of its own, behind the developer's bearer token, for tests of clients:
//! `GET` and `PATCH /embedded/clock` (`{"skew_seconds": 3600}`) and `POST /embedded/suspend` (`{"endpoint": NAME}`) for what takes
//! time there; `/embedded/faults` for what goes wrong (see `embedded fault add --help`): `GET`, `POST` (`{"fault": LINE}`), `PUT`
//! (`{"faults": [LINE]}`), `DELETE`, `DELETE /embedded/faults/{id}`; and `GET /embedded/calls?since=NUMBER`, which calls were made,
//! by whom, when, and with what status. `GET /embedded/github-oidc` stands for GitHub, and asks for a job's own token.

pub mod cli;

mod activity;
mod api_error;
mod app;
mod calls;
mod catalog;
mod certificate;
mod clock;
mod controller;
mod discover;
mod env_vars;
mod error;
mod faults;
mod gate;
mod handlers;
mod home;
mod http;
mod identities;
mod installation;
mod log;
mod postgres;
mod random;
mod routes;
mod server;
mod snapshot;
mod state;
mod tokens;
mod views;

pub use discover::{Workspace, discover};
pub use env_vars::OF_THE_HOME as VARIABLES;
pub use error::{Error, ErrorKind};
