//! The workspace: which credential counts, whether the host is there, whether it takes the credential, and its clock.

use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;
use serde_json::json;

use super::check::{Check, skipped};
use super::programs::{Said, ask};
use crate::api::{ApiError, Client, Probe};
use crate::auth::Auth;
use crate::error::{Error, Kind, Result};
use crate::ui;

/// A name must be resolved, and a connection taken, within this time each.
const STAGE: Duration = Duration::from_secs(4);
/// The first call must be answered within this time.
const CALL: Duration = Duration::from_secs(5);
/// The same with the token for it, which the Databricks CLI may have to renew first.
const ANSWER: Duration = Duration::from_secs(12);
/// The same where no connection was taken meanwhile: what is left is a way through a proxy.
const ANSWER_WITHOUT_WIRE: Duration = Duration::from_secs(2);
/// From here on a difference of clocks is worth a word, and a failure.
const SKEW_WARN: SignedDuration = SignedDuration::from_secs(30);
const SKEW_FAIL: SignedDuration = SignedDuration::from_mins(5);

/// What the first call does.
const ASKING: &str = "asking who the credential belongs to";

/// What follows here, for where it can't be looked at.
const REST: [(&str, &str); 3] = [
    ("host.reachable", "the workspace's host"),
    ("credential.accepted", "the credential"),
    ("host.clock", "the clock"),
];

/// The wire to the host, without a proxy.
#[derive(Debug)]
enum Wire {
    Open,
    NoName(String),
    NoConnection(String),
}

/// What came back from the workspace.
#[derive(Debug)]
enum Heard {
    /// An HTTP answer: the user, and how far its clock is ahead.
    Answer(Result<String>, Option<SignedDuration>),
    /// Nothing: the failure of the connection, or that time was up.
    Nothing { sent: bool, why: String },
    /// It was not asked, for want of a token.
    NoToken(Error),
}

/// What was found, and what the checks of what is in the workspace go on with.
pub struct Found {
    /// The findings.
    pub checks: Vec<Check>,
    /// A client, and the user behind its credential; none where the workspace is out of reach.
    pub reached: Option<(Client, String)>,
}

/// Looks at everything between the settings and the first answer.
pub async fn look(auth: Result<Auth>) -> Found {
    let auth = match auth {
        Ok(auth) => auth,
        Err(error) => {
            let mut checks = vec![Check::failed("credential.source", &error)];
            checks.extend(skipped(&REST, "there is no credential"));
            return Found { checks, reached: None };
        }
    };
    let mut checks = vec![source(&auth)];
    let (cli, (wire, client, heard)) = tokio::join!(cli(&auth), hear(&auth));
    checks.extend(cli);
    checks.push(host(&auth.host, &wire, &heard));
    checks.push(accepted(&auth.source, &heard));
    checks.push(clock(&heard));
    let reached = match (client, heard) {
        (Some(client), Heard::Answer(Ok(user), _)) => Some((client, user)),
        _ => None,
    };
    Found { checks, reached }
}

/// Which credential won, and what lost against it.
fn source(auth: &Auth) -> Check {
    let reasons = auth.explain();
    let side = |wins: bool| {
        let words = reasons.iter().filter(move |reason| reason.wins == wins);
        words.map(|reason| format!("{}: {}", reason.source, reason.why)).collect::<Vec<_>>().join("; ")
    };
    let (won, lost) = (side(true), side(false));
    let lost = if lost.is_empty() { lost } else { format!("; passed over: {lost}") };
    Check::ok("credential.source", format!("credential for {}: {} ({won}{lost})", auth.host, auth.source))
        .with("host", auth.host.as_str())
        .with("source", auth.source.as_str())
        .with("reasons", json!(reasons))
}

/// The program that gives tokens, where one does.
async fn cli(auth: &Auth) -> Option<Check> {
    let program = auth.program()?;
    let (id, shown) = ("credential.cli", program.display());
    Some(match ask(program, ["--version"]).await {
        Said::Well(text) => {
            let version = text.lines().next().unwrap_or_default();
            Check::ok(id, format!("{shown} is {version}")).with("version", version)
        }
        said => Check::warn(
            id,
            format!("{shown} does not tell its version: {}", said.trouble().unwrap_or_default()),
        )
        .cure("install the Databricks CLI anew"),
    })
}

fn late(limit: Duration) -> Heard {
    Heard::Nothing { sent: true, why: format!("no answer came within {} s", limit.as_secs()) }
}

/// Tries the wire and asks the workspace, at the same time.
async fn hear(auth: &Auth) -> (Wire, Option<Client>, Heard) {
    let asking = async {
        let client = match Client::new(auth.clone()).await {
            Ok(client) => client,
            Err(error) => return (None, Heard::NoToken(error)),
        };
        let heard = match tokio::time::timeout(CALL, client.probe()).await {
            Err(_) => late(CALL),
            Ok(Ok(Probe { user, ahead })) => {
                Heard::Answer(user.map_err(|error| error.into_error(ASKING)), ahead)
            }
            Ok(Err(ApiError::Transport { sent, why })) => Heard::Nothing { sent, why },
            Ok(Err(ApiError::Before(error))) => Heard::NoToken(error),
            Ok(Err(refused)) => Heard::NoToken(refused.into_error(ASKING)),
        };
        (Some(client), heard)
    };
    tokio::pin!(asking);
    let began = tokio::time::Instant::now();
    let (wire, early) = {
        let wire = wire(&auth.host);
        tokio::pin!(wire);
        tokio::select! {
            wire = &mut wire => (wire, None),
            heard = &mut asking => match &heard {
                // Whoever answers needs no looking at.
                (_, Heard::Answer(..)) => (Wire::Open, Some(heard)),
                _ => (wire.await, Some(heard)),
            },
        }
    };
    let limit = if matches!(wire, Wire::Open) { ANSWER } else { began.elapsed() + ANSWER_WITHOUT_WIRE };
    let (client, heard) = match early {
        Some(heard) => heard,
        None => tokio::time::timeout_at(began + limit, asking).await.unwrap_or_else(|_| (None, late(limit))),
    };
    (wire, client, heard)
}

async fn wire(host: &str) -> Wire {
    let url = Url::parse(host).ok();
    let Some((name, port)) =
        url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)))
    else {
        return Wire::NoName("it is no host name".to_owned());
    };
    let late = || format!("nothing came within {} s", STAGE.as_secs());
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<_> = match tokio::time::timeout(STAGE, tokio::net::lookup_host((bare, port))).await {
        Err(_) => return Wire::NoName(late()),
        Ok(Err(error)) => return Wire::NoName(error.to_string()),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    match tokio::time::timeout(STAGE, tokio::net::TcpStream::connect(addresses.as_slice())).await {
        Err(_) => Wire::NoConnection(late()),
        Ok(Err(error)) => Wire::NoConnection(error.to_string()),
        Ok(Ok(_)) => Wire::Open,
    }
}

fn host(host: &str, wire: &Wire, heard: &Heard) -> Check {
    let id = "host.reachable";
    let why = match heard {
        Heard::Answer(..) => return Check::ok(id, format!("{host} answers")),
        Heard::NoToken(_) if matches!(wire, Wire::Open) => {
            return Check::ok(id, format!("{host} takes connections"));
        }
        Heard::NoToken(error) => (true, error.to_string()),
        Heard::Nothing { sent, why } => (*sent, why.clone()),
    };
    let broken = |stage: &str, what: String| Check::fail(id, what).with("stage", stage);
    match (wire, why) {
        (Wire::NoName(why), _) => broken("dns", format!("the name of {host} can't be resolved: {why}"))
            .cure("check the host's spelling, the network and the VPN")
            .cure("where only a proxy leads out, set HTTPS_PROXY"),
        (Wire::NoConnection(why), _) => broken("tcp", format!("{host} takes no connection: {why}"))
            .cure("check the network, the VPN and the firewall")
            .cure("where only a proxy leads out, set HTTPS_PROXY"),
        (Wire::Open, (false, why)) if host.starts_with("https") => {
            broken("tls", format!("{host} takes connections, but no TLS to it can be trusted: {why}")).cure(
                "where a proxy puts its own certificate in, add its authority to the system's trusted ones",
            )
        }
        (Wire::Open, (_, why)) => {
            broken("http", format!("{host} takes connections, but does not answer: {why}"))
                .cure("check that it is the workspace's address, then run the same command again")
        }
    }
}

/// `source` is where the credential was read: who is told by `doctor` that it was refused must not
/// be sent to `doctor` for that.
fn accepted(source: &str, heard: &Heard) -> Check {
    let id = "credential.accepted";
    match heard {
        Heard::NoToken(error) if error.kind == Kind::Unreachable => {
            Check::skip(id, "the credential", "the workspace does not answer")
        }
        Heard::NoToken(error) => Check::failed(id, error),
        Heard::Nothing { .. } => Check::skip(id, "the credential", "the workspace does not answer"),
        Heard::Answer(Ok(user), _) => {
            Check::ok(id, format!("the workspace knows the credential as {user}")).with("user", user.as_str())
        }
        Heard::Answer(Err(error), _) if error.kind == Kind::Denied => Check::fail(id, error.to_string())
            .cure(format!(
                "the credential of {source} is wrong, expired, or of another workspace: put a new one there"
            )),
        Heard::Answer(Err(error), _) => Check::failed(id, error),
    }
}

fn clock(heard: &Heard) -> Check {
    let (id, what) = ("host.clock", "the clock");
    let Heard::Answer(_, ahead) = heard else {
        return Check::skip(id, what, "the workspace does not answer");
    };
    let Some(ahead) = ahead else { return Check::skip(id, what, "the workspace does not tell the time") };
    let apart = ahead.abs();
    let side = if ahead.is_negative() { "ahead of" } else { "behind" };
    let words = format!("this machine's clock is {} {side} the workspace's", ui::duration(apart));
    let set = "set the clock: `timedatectl set-ntp true`, or the system's settings for date and time";
    let check = if apart > SKEW_FAIL {
        Check::fail(id, format!("{words}, so that logins seem to have expired, or not to be valid yet"))
            .cure(set)
    } else if apart > SKEW_WARN {
        Check::warn(id, words).cure(set)
    } else {
        Check::ok(id, "this machine's clock and the workspace's agree")
    };
    check.with("ahead_seconds", ahead.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    const HOST: &str = "https://w.example";

    fn answer(user: Result<&str, &str>, ahead: Option<i64>) -> Heard {
        let user = user.map(str::to_owned).map_err(|words| Error::new(Kind::Denied, words).hint("log in"));
        Heard::Answer(user, ahead.map(SignedDuration::from_secs))
    }

    fn nothing(sent: bool) -> Heard {
        Heard::Nothing { sent, why: "broken".into() }
    }

    #[test]
    fn each_stage_of_the_way_fails_in_its_own_words() {
        let stage = |wire: Wire, heard: Heard| {
            let check = host(HOST, &wire, &heard);
            (check.status, check.data.get("stage").and_then(|stage| stage.as_str().map(str::to_owned)))
        };
        let no = || "no".to_owned();
        assert_eq!(stage(Wire::NoName(no()), nothing(false)), (Status::Fail, Some("dns".into())));
        assert_eq!(stage(Wire::NoConnection(no()), nothing(false)), (Status::Fail, Some("tcp".into())));
        assert_eq!(stage(Wire::Open, nothing(false)), (Status::Fail, Some("tls".into())));
        assert_eq!(stage(Wire::Open, nothing(true)), (Status::Fail, Some("http".into())));
        // Through a proxy there is an answer without a wire.
        assert_eq!(stage(Wire::NoName(no()), answer(Ok("ada"), None)), (Status::Ok, None));
        let no_token = || Heard::NoToken(Error::new(Kind::NoCredential, "log in"));
        assert_eq!(stage(Wire::Open, no_token()), (Status::Ok, None));
        assert_eq!(stage(Wire::NoName(no()), no_token()), (Status::Fail, Some("dns".into())));
    }

    #[test]
    fn a_credential_is_accepted_refused_or_not_tried() {
        assert_eq!(accepted("a file", &answer(Ok("ada@example.com"), None)).status, Status::Ok);
        let refused = accepted("a file", &answer(Err("no"), None));
        assert!(refused.status == Status::Fail && !refused.cure.is_empty(), "{refused:?}");
        assert_eq!(accepted("a file", &nothing(true)).status, Status::Skip);
        let log_in = Heard::NoToken(Error::new(Kind::NoCredential, "no token").hint("log in"));
        assert_eq!(
            (accepted("a file", &log_in).status, accepted("a file", &log_in).cure),
            (Status::Fail, vec!["log in".to_owned()])
        );
        let out_of_reach = Heard::NoToken(Error::new(Kind::Unreachable, "no"));
        assert_eq!(accepted("a file", &out_of_reach).status, Status::Skip);
    }

    #[test]
    fn clocks_may_differ_by_half_a_minute() {
        let status = |ahead| clock(&answer(Ok("ada"), ahead)).status;
        assert_eq!([Some(0), Some(30), Some(-30)].map(status), [Status::Ok; 3]);
        assert_eq!([Some(31), Some(-299)].map(status), [Status::Warn; 2]);
        assert_eq!([Some(301), Some(-86_400)].map(status), [Status::Fail; 2]);
        assert_eq!(status(None), Status::Skip);
        assert_eq!(clock(&nothing(true)).status, Status::Skip);
        assert!(clock(&answer(Ok("ada"), Some(3600))).what.contains("60 min behind"));
        // The clock shows also where the credential is refused, perhaps for that reason.
        assert_eq!(clock(&answer(Err("no"), Some(3600))).status, Status::Fail);
    }
}
