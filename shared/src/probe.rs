//! The first login to a branch, before anything relies on it: a new branch may refuse some, and a sleeping one wakes.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};

use crate::api::Client;
use crate::connection::Connection;
use crate::ensure::{self, Live, Report, Target};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::sql::{Refused, Session};

/// A branch may refuse its first logins for this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause between two tries, and the later ones; jitter makes each up to twice as long.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];
/// A branch of this age knows its users: what it refuses, it will refuse in a minute, too.
const YOUNG: SignedDuration = SignedDuration::from_mins(10);
/// A login that takes longer is worth a word.
const QUIET: Duration = Duration::from_secs(1);

/// The database that is meant, and how it is entered.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// Its name.
    pub database: &'a str,
    /// The role that the session starts as, if it is not the user.
    pub role: Option<&'a str>,
    /// PEM of an authority to trust beside the public ones.
    pub ca: Option<&'a str>,
}

/// Logs in. Where the branch refuses that as new ones do, a new login is minted, which is then the one in `live`, and
/// tried for a minute.
///
/// # Errors
/// [`Kind::Unreachable`] where this machine can't reach the endpoint, [`Kind::Database`] in the server's words, and those of
/// minting.
pub async fn probe(
    client: &Client,
    target: &Target,
    door: Door<'_>,
    live: &mut Live,
    report: Report<'_>,
) -> Result<Session> {
    let began = Instant::now();
    let branch = target.path.branch.to_string();
    let [first, later] = PAUSES;
    let pauses = ExponentialBuilder::default().with_min_delay(first).with_max_delay(later);
    let mut pauses = pauses.without_max_times().with_jitter().build();
    let mut told = false;
    loop {
        let connection = Connection::new(live, door.database, door.role);
        let opening = Session::open(&connection, door.ca);
        tokio::pin!(opening);
        let opened = tokio::select! {
            opened = &mut opening => opened,
            () = sleep(QUIET), if !told => {
                told = true;
                report(Event::Entering { branch: branch.clone() });
                opening.await
            }
        };
        let error = match opened {
            Ok(session) => return Ok(session),
            Err(Refused::NotYet(error)) => error,
            Err(Refused::Login(error)) if is_young(live) => error,
            Err(refused) => return Err(hinted(refused.into())),
        };
        let pause = pauses.next().unwrap_or(later);
        if began.elapsed() + pause > PATIENCE {
            return Err(hinted(error).because_of(format!("it was tried for {} s", PATIENCE.as_secs())));
        }
        if !told {
            told = true;
            report(Event::Entering { branch: branch.clone() });
        }
        sleep(pause).await;
        // What was refused once may be refused for good: a token knows when it was made.
        ensure::renew(client, target, live).await?;
    }
}

fn is_young(live: &Live) -> bool {
    let age = live.branch.created.or(live.branch.forked).map(|at| Timestamp::now().duration_since(at));
    live.created || age.is_none_or(|age| age < YOUNG)
}

fn hinted(error: Error) -> Error {
    match error.kind {
        Kind::Database => error
            .hint("run `docker compose lakebase doctor`: it says who may log in, and where the database is"),
        _ => error,
    }
}
