//! The gateway in a container, in the seat of a project's local Postgres service: the program `lakebase-gateway`.
//!
//! It accepts the login that the local service declares and gives the client a session on the Lakebase branch, with a
//! token that a process on the host hands over. The token is in this process's memory and nowhere else.
//!
//! The databases: the local one (`POSTGRES_DB`), or none named, is `LAKEBASE_DATABASE`; any other name is the branch's database of
//! that name, so `template1`, and `postgres` where it is not the local one, are the branch's own.
//!
//! [`config`] reads the environment, [`serve`] listens, [`door`] says who enters, [`tokens`] holds the token, [`control`] and
//! [`lines`] take it from the host, [`client`] is the other end of that, [`tap`] keeps what the sessions do for who asks, [`log`]
//! writes, [`command`] is the command line.

pub mod client;
pub mod command;
pub mod config;
pub mod control;
pub mod door;
pub mod lines;
pub mod log;
pub mod serve;
pub mod tap;
pub mod tokens;
