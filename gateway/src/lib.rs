//! The PostgreSQL start-up, TLS, authentication and cancel protocol, and a proxy on it.
//!
//! What the crate knows of PostgreSQL ends where a session begins: it reads the packets before the first
//! query, decides with the caller's [`Authenticator`] whether the client may enter and where it goes, and from
//! then on moves bytes both ways without looking at them. So everything a session can carry (COPY,
//! LISTEN, pipelining, large messages) passes unchanged. Where a caller asks for it, a [`tap`] tells it which statements run.
//!
//! The order of the modules is the order of a connection: [`message`] parses, [`tls`] encrypts, [`scram`] checks a password,
//! [`frontend`] speaks to the client, [`resolve`] and [`upstream`] to the server, [`refusal`] holds either's errors, [`proxy`]
//! joins the two, [`session`] is the whole life; [`random`] serves them. [`frames`] finds messages in the stream, for [`tap`]. [`seat`] puts it all in a container's place: the
//! program `lakebase-gateway`.
//!
//! Source of the protocol: the PostgreSQL manual, chapter "Frontend/Backend Protocol".

pub mod frames;
pub mod frontend;
pub mod message;
pub mod proxy;
pub mod random;
pub mod refusal;
pub mod resolve;
pub mod scram;
pub mod seat;
pub mod session;
pub mod stream;
pub mod tap;
pub mod tls;
pub mod upstream;

mod secret;

pub use frontend::{Account, Encryption, Login, Method, Policy};
pub use refusal::{Refusal, ServerError};
pub use secret::Secret;
pub use session::{Admission, Authenticator, Opened, Outcome, SessionOptions, open, serve, serve_tapped};
pub use tap::{SessionId, Status, Tap, TapError, TapEvent, Tapping};
pub use upstream::{Remote, Upstream, UpstreamError};
