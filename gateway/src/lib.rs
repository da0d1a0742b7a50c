//! The PostgreSQL start-up, TLS, authentication and cancel protocol, and a proxy on it.
//!
//! What the crate knows of PostgreSQL ends where a session begins: it reads the packets before the first
//! query, decides with the caller's [`Authenticator`] whether the client may enter and where it goes, and from
//! then on moves bytes both ways without looking at them. So everything a session can carry (COPY,
//! LISTEN, pipelining, large messages) passes unchanged.
//!
//! The order of the modules is the order of a connection: [`message`] parses, [`tls`] encrypts, [`frontend`]
//! speaks to the client, [`upstream`] to the server, [`proxy`] joins the two, [`session`] is the whole life.
//!
//! Source of the protocol: the PostgreSQL manual, chapter "Frontend/Backend Protocol".

pub mod frontend;
pub mod message;
pub mod proxy;
pub mod session;
pub mod tls;
pub mod upstream;

mod secret;

pub use frontend::{Login, Refusal};
pub use secret::Secret;
pub use session::{Admission, Authenticator, Outcome, SessionOptions, serve};
pub use upstream::Upstream;
