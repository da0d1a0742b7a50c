//! `check`: will this migration work against production?
//!
//! ```text
//! the project's command on a fork -> what passed the wire, what the server's own sensors saw, what its catalogs say
//!     -> facts -> findings against limits -> a verdict and its reports
//! ```
//!
//! What needs no server is pure, such as [`timeline`], [`stall`], [`deadlock`] and [`verdict`].

pub mod advice;
pub mod antagonist;
pub mod catalog;
pub mod command;
pub mod deadlock;
pub mod differences;
pub mod door;
pub mod exceptions;
pub mod facts;
pub mod fork;
pub mod history;
pub mod limits;
pub mod lock;
pub mod lost;
pub mod manual;
pub mod offending;
pub mod place;
pub mod probe;
pub mod progress;
pub mod queries;
pub mod report;
pub mod runner;
pub mod runs;
pub mod sampler;
pub mod sensor;
pub mod stall;
pub mod text;
pub mod timeline;
pub mod tool;
pub mod verdict;
pub mod wire;
