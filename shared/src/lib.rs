//! The pipe from a git checkout to a live Lakebase branch, shared by both plugins.
//!
//! ```text
//! git identity -> branch id -> Lakebase API -> a live branch -> connection facts
//!     -> { Compose model | environment of a command | .env file } -> exec
//! ```
//!
//! Modules stand in the order of the pipe: each uses those before it, and the five at the top that any may
//! use. Nothing here reads the process's environment, prints, or ends the process: the world enters as
//! arguments ([`env_vars::Env`], a folder, an [`ui::Ui`]) and leaves as values and [`error::Error`]s.

pub mod env_vars;
pub mod error;
pub mod event;
pub mod secret;
pub mod ui;

pub mod identity;

pub mod branch;

pub mod config;

pub mod auth;

pub mod api;

pub mod plan;

pub mod ensure;

pub mod connection;

pub mod sql;

pub mod probe;

pub mod mask;

pub mod schema;

pub mod env_file;

pub mod record;

pub mod freshness;

pub mod forks;

pub mod slots;

pub mod compose;

pub mod commands;
