//! A fault in words, as it is given on the command line and over the API, and what the words mean.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::call::{self, Call};

/// How a fault is written; printed by `embedded fault add --help`.
pub const GRAMMAR: &str = "\
A fault is a line of words: what it strikes, when, what it does, and how often.

  CALL          `branches.create`, `credentials.create`, `operations.get`, `me.get`, …;
                `branches.*`, `*.list` and `*` for several; or method and path below the API's,
                `POST /projects/*/branches`. Without one: every call
  branch=ID     only what names this branch
  before|after  in place of the call, or once it took effect: before, unless it says so

  delay=MS      it takes longer
  drop          the connection is closed without an answer
  cut           the connection is closed after half of the answer
  status=N      this status; with code=CODE, retry-after=SECONDS, and at the end message=TEXT
  garbage[=html|json|empty]  status 200 and not what belongs there

  stay-in-init[=SECONDS]     a new branch stays in INIT, for that time or until the fault is cleared
  ignore-delete[=init]       a branch's deletion is accepted and then ignored; in INIT only
  refuse-logins=N            the first N logins at each new endpoint fail (any, with branch=ID)
  expire-tokens=SECONDS      credentials and access tokens live no longer
  max-ttl=SECONDS            a branch may not expire later than that
  quota=N                    branches of a project; with code=CODE and status=N (any 4xx)
  already-exists=400|409     how a taken id is refused
  page-size=N                lists have no more entries a page
  clock-skew=SECONDS         the server's clock is wrong by that
  no-event-triggers          a branch gives its users no event triggers, as PostgreSQL alone
  no-pg-stat-statements      a branch's PostgreSQL starts without pg_stat_statements

  times=N|always             how often: once, unless it says so; the last nine: always

Examples:
  branches.create after drop
  * delay=50 always
  POST /projects/*/branches status=429 retry-after=2 times=3
  quota=2 code=RESOURCE_EXHAUSTED status=429";

/// Whether a call takes effect before a fault strikes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It does not, where the fault answers in its place.
    Before,
    /// It does.
    After,
}

/// What is sent instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbage {
    /// A page, as a proxy sends.
    Html,
    /// JSON whose fields are of other types.
    Json,
    /// Nothing.
    Empty,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "described in the grammar")]
pub enum Kind {
    Delay(Duration),
    Drop,
    Cut,
    Status { status: u16, code: Option<String>, retry_after: Option<u64>, message: Option<String> },
    Garbage(Garbage),
    StayInInit(Option<Duration>),
    IgnoreDelete { in_init_only: bool },
    RefuseLogins(u32),
    ExpireTokens(i64),
    MaxTtl(i64),
    Quota { branches: usize, status: u16, code: String },
    AlreadyExists(u16),
    PageSize(usize),
    ClockSkew(i64),
    NoEventTriggers,
    NoStatistics,
}

/// The calls that a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Calls {
    Named(String),
    At { method: String, path: String },
}

/// A fault as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    text: String,
    calls: Calls,
    /// The branch that it is about, if about one.
    pub branch: Option<String>,
    /// When it strikes.
    pub moment: Moment,
    /// What it does.
    pub kind: Kind,
    /// How often; without end, if none.
    pub times: Option<u32>,
}

impl Spec {
    /// Whether a call is one that it strikes, as far as the call says.
    pub fn strikes(&self, call: &Call) -> bool {
        let meant = match &self.calls {
            Calls::Named(pattern) => call::matches(pattern, &call.name),
            Calls::At { method, path } => *method == call.method && call::is_path(path, &call.path),
        };
        meant && (self.branch.is_none() || self.branch == call.branch)
    }

    /// Whether it is about this branch, or about all.
    pub fn concerns(&self, branch: &str) -> bool {
        self.branch.as_deref().is_none_or(|only| only == branch)
    }

    /// Whether it strikes a call as a whole, and not a part of what the server does.
    pub fn is_of_calls(&self) -> bool {
        matches!(
            self.kind,
            Kind::Delay(_)
                | Kind::Drop
                | Kind::Cut
                | Kind::Status { .. }
                | Kind::Garbage(_)
                | Kind::PageSize(_)
        )
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is read on the way.
#[derive(Default)]
struct Words {
    calls: Option<Calls>,
    branch: Option<String>,
    moment: Option<Moment>,
    kind: Option<(String, Option<String>)>,
    times: Option<Option<u32>>,
    status: Option<u16>,
    code: Option<String>,
    retry_after: Option<u64>,
    message: Option<String>,
}

/// The words that say what a fault does.
const KINDS: [&str; 15] = [
    "delay",
    "drop",
    "cut",
    "garbage",
    "stay-in-init",
    "ignore-delete",
    "refuse-logins",
    "expire-tokens",
    "max-ttl",
    "quota",
    "already-exists",
    "page-size",
    "clock-skew",
    "no-event-triggers",
    "no-pg-stat-statements",
];

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (line, message) = match text.split_once("message=") {
            Some((line, message)) => (line, Some(message.trim().to_owned())),
            None => (text, None),
        };
        let mut words = Words { message, ..Words::default() };
        let mut rest = line.split_whitespace();
        while let Some(word) = rest.next() {
            words.read(word, &mut rest)?;
        }
        words.finish(text.trim())
    }
}

impl Words {
    fn read<'a>(&mut self, word: &str, rest: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        match (key, value) {
            ("before", None) => put(&mut self.moment, Moment::Before, word),
            ("after", None) => put(&mut self.moment, Moment::After, word),
            ("always", None) | ("times", Some("always")) => put(&mut self.times, None, word),
            ("once", None) => put(&mut self.times, Some(1), word),
            ("times", Some(value)) => put(&mut self.times, Some(number(key, value, 1, u32::MAX)?), word),
            ("branch", Some(value)) => put(&mut self.branch, value.to_owned(), word),
            ("status", Some(value)) => put(&mut self.status, number(key, value, 200, 599)?, word),
            ("code", Some(value)) => put(&mut self.code, value.to_owned(), word),
            ("retry-after", Some(value)) => {
                put(&mut self.retry_after, number(key, value, 0, u64::MAX)?, word)
            }
            (key, value) if KINDS.contains(&key) => {
                put(&mut self.kind, (key.to_owned(), value.map(str::to_owned)), word)
            }
            ("GET" | "POST" | "PATCH" | "PUT" | "DELETE", None) => {
                let path = rest.next().filter(|path| path.starts_with('/'));
                let path = path.ok_or_else(|| format!("`{word}` needs a path, such as `/projects/*`"))?;
                put(&mut self.calls, Calls::At { method: key.to_owned(), path: path.to_owned() }, word)
            }
            (name, None) if call::names().iter().any(|known| call::matches(name, known)) => {
                put(&mut self.calls, Calls::Named(name.to_owned()), word)
            }
            _ => Err(format!("`{word}` is no word of a fault")),
        }
    }

    fn finish(self, text: &str) -> Result<Spec, String> {
        let settings = self.kind.as_ref().is_some_and(|(key, _)| KINDS[6..].contains(&key.as_str()));
        let (is_plain, is_quota) =
            (self.kind.is_none(), self.kind.as_ref().is_some_and(|it| it.0 == "quota"));
        if !is_plain && (self.retry_after.is_some() || self.message.is_some()) {
            return Err("`retry-after` and `message` belong to `status`".to_owned());
        }
        if !is_plain && !is_quota && (self.code.is_some() || self.status.is_some()) {
            return Err("`status` and `code` belong to an answer of their own, or to `quota`".to_owned());
        }
        let kind = match self.kind {
            None => {
                let status =
                    self.status.ok_or("a fault says what it does, such as `drop` or `status=503`")?;
                let Self { code, retry_after, message, .. } = self;
                Kind::Status { status, code, retry_after, message }
            }
            Some((key, value)) => kind(&key, value.as_deref(), self.status, self.code)?,
        };
        let times = self.times.unwrap_or(if settings { None } else { Some(1) });
        let spec = Spec {
            text: text.to_owned(),
            calls: self.calls.unwrap_or_else(|| Calls::Named("*".to_owned())),
            branch: self.branch,
            moment: self.moment.unwrap_or(Moment::Before),
            kind,
            times,
        };
        if !spec.is_of_calls() && spec.calls != Calls::Named("*".to_owned()) {
            return Err(
                "this fault strikes what the server does, not a call: it takes no name of one".to_owned()
            );
        }
        Ok(spec)
    }
}

fn kind(key: &str, value: Option<&str>, status: Option<u16>, code: Option<String>) -> Result<Kind, String> {
    let needed = || value.ok_or_else(|| format!("`{key}` needs a number: `{key}=N`"));
    Ok(match (key, value) {
        ("delay", _) => Kind::Delay(Duration::from_millis(number(key, needed()?, 0, 600_000)?)),
        ("drop", None) => Kind::Drop,
        ("cut", None) => Kind::Cut,
        ("garbage", None | Some("html")) => Kind::Garbage(Garbage::Html),
        ("garbage", Some("json")) => Kind::Garbage(Garbage::Json),
        ("garbage", Some("empty")) => Kind::Garbage(Garbage::Empty),
        ("stay-in-init", None) => Kind::StayInInit(None),
        ("stay-in-init", Some(text)) => {
            Kind::StayInInit(Some(Duration::from_secs(number(key, text, 0, 86_400)?)))
        }
        ("ignore-delete", None) => Kind::IgnoreDelete { in_init_only: false },
        ("ignore-delete", Some("init")) => Kind::IgnoreDelete { in_init_only: true },
        ("refuse-logins", _) => Kind::RefuseLogins(number(key, needed()?, 1, u32::MAX)?),
        ("expire-tokens", _) => Kind::ExpireTokens(number(key, needed()?, 1, 3600)?),
        ("max-ttl", _) => Kind::MaxTtl(number(key, needed()?, 1, i64::MAX)?),
        ("quota", _) => {
            let status = status.unwrap_or(400);
            if !(400..500).contains(&status) {
                return Err("the status of `quota` is from 400 to 499".to_owned());
            }
            let code = code.unwrap_or_else(|| "QUOTA_EXCEEDED".to_owned());
            Kind::Quota { branches: number(key, needed()?, 0, usize::MAX)?, status, code }
        }
        ("already-exists", Some("400")) => Kind::AlreadyExists(400),
        ("already-exists", Some("409")) => Kind::AlreadyExists(409),
        ("page-size", _) => Kind::PageSize(number(key, needed()?, 1, usize::MAX)?),
        ("clock-skew", _) => Kind::ClockSkew(number(key, needed()?, -MAX_SKEW, MAX_SKEW)?),
        ("no-event-triggers", None) => Kind::NoEventTriggers,
        ("no-pg-stat-statements", None) => Kind::NoStatistics,
        (key, Some(value)) => return Err(format!("`{key}` can't be `{value}`")),
        (key, None) => return Err(format!("`{key}` needs a value")),
    })
}

/// Largest skew of the clock either way, in seconds: a hundred years.
pub const MAX_SKEW: i64 = 100 * 366 * 86_400;

fn number<T: FromStr + PartialOrd>(key: &str, text: &str, least: T, most: T) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("`{key}` can't be `{text}`"))
}

fn put<T>(place: &mut Option<T>, value: T, word: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{word}` is one word too many")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Spec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_examples_of_the_grammar_are_understood() {
        let examples: Vec<&str> = GRAMMAR.split("Examples:\n").nth(1).unwrap().lines().collect();
        assert_eq!(examples.len(), 4);
        for example in examples {
            assert_eq!(parse(example).to_string(), example.trim());
        }
        let dropped = parse("branches.create after drop");
        assert_eq!((dropped.moment, &dropped.kind, dropped.times), (Moment::After, &Kind::Drop, Some(1)));
        assert_eq!(parse("* delay=50 always").times, None);
        assert_eq!(parse("page-size=1").times, None);
        let limited = parse("status=403 code=PERMISSION_DENIED message=Source IP address: x=1 is blocked");
        let Kind::Status { status, code, message, .. } = limited.kind else { panic!("{limited:?}") };
        assert_eq!((status, code.as_deref()), (403, Some("PERMISSION_DENIED")));
        assert_eq!(message.as_deref(), Some("Source IP address: x=1 is blocked"));
    }

    #[test]
    fn a_fault_strikes_the_calls_that_it_names() {
        let create = Call::of("POST", "/api/2.0/postgres/projects/shop/branches", "branch_id=dev").unwrap();
        for text in ["drop", "* drop", "branches.* drop", "POST /projects/*/branches drop", "branch=dev drop"]
        {
            assert!(parse(text).strikes(&create), "{text}");
        }
        for text in ["branches.list drop", "GET /projects/*/branches drop", "branch=other drop"] {
            assert!(!parse(text).strikes(&create), "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            "branches.create",
            "branches.creat drop",
            "drop cut",
            "drop before after",
            "drop=1",
            "delay",
            "delay=soon",
            "status=9",
            "POST drop",
            "quota=1 status=500",
            "drop retry-after=1",
            "cut code=X",
            "already-exists=404",
            "garbage=xml",
            "branches.delete ignore-delete",
            "times=0 drop",
            "expire-tokens=0",
        ] {
            assert!(text.parse::<Spec>().is_err(), "{text}");
        }
    }
}
